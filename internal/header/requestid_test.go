package header

import (
	"net/http"
	"strings"
	"testing"
)

// Each known host's header is found, and that of an unknown host by the end of its name.
func TestHeader_RequestID(t *testing.T) {
	for _, name := range append(requestIDs[:], networkIDs[:]...) {
		if name != http.CanonicalHeaderKey(name) {
			t.Errorf("%s is not canonical, so it is never found", name)
		}
		if got := RequestID(http.Header{name: {"id-1"}}); got != "id-1" {
			t.Errorf("%s: RequestID = %q", name, got)
		}
		if !IsSafelisted(name) {
			t.Errorf("%s does not reach a caller who addressed another origin", name)
		}
	}
	for _, tt := range []struct {
		name string
		h    http.Header
		want string
	}{
		{"none", http.Header{"Date": {"now"}, "X-Request": {"1"}}, ""},
		{"no values", http.Header{"X-Request-Id": {}, "X-New-Trace-Id": {}}, ""},
		{"the first of several values", http.Header{"X-Request-Id": {"a", "b"}}, "a"},
		{"an empty one before another", http.Header{"X-Ds-Trace-Id": {""}, "X-Request-Id": {"a"}}, "a"},
		{"the host's own before a proxy's", http.Header{"X-Ds-Trace-Id": {"a"}, "X-Request-Id": {"b"}, "Cf-Ray": {"c"}}, "a"},
		{"an unknown host's before a network's", http.Header{"X-New-Requestid": {"a"}, "Cf-Ray": {"c"}}, "a"},
		{"the first of unknown names", http.Header{"X-B-Trace-Id": {"b"}, "X-A-Trace-Id": {"a"}, "X-C-Request-Id": {"c"}}, "a"},
		{"the client's own", http.Header{"X-Client-Request-Id": {"a"}, "X-Ms-Client-Request-Id": {"b"}}, ""},
		{"the client's own beside the host's", http.Header{"X-Client-Request-Id": {"a"}, "X-New-Trace-Id": {"b"}}, "b"},
		{"ends of names", http.Header{"X-New-Logid": {"a"}}, "a"},
		{"not canonical", http.Header{"x-request-id": {"a"}}, "a"},
		{"control characters", http.Header{"X-Request-Id": {" a\x00\tb\x1b[31m\u00e4\r\n "}}, "ab[31m"},
		{"nothing visible", http.Header{"X-Request-Id": {" \t"}, "Request-Id": {"a"}}, "a"},
		{"long", http.Header{"X-Request-Id": {strings.Repeat("a", 1<<20)}}, strings.Repeat("a", MaxRequestID)},
		{"as long as may be", http.Header{"X-Request-Id": {strings.Repeat("a", MaxRequestID)}}, strings.Repeat("a", MaxRequestID)},
	} {
		for range 5 { // whatever the order of the map
			if got := RequestID(tt.h); got != tt.want {
				t.Errorf("%s: RequestID = %q, want %q", tt.name, got, tt.want)
			}
		}
	}
	h := http.Header{"X-Request-Id": {"id"}, "Content-Type": {"x"}}
	if n := testing.AllocsPerRun(100, func() { RequestID(h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A value is bounded and visible whatever it is, and unchanged if it may be.
func FuzzVisible(f *testing.F) {
	for _, s := range []string{"", "a", " a b ", "\x00\xff", "\u4f60\u597d"} {
		f.Add(s, 4)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if limit < 0 {
			return
		}
		got := Visible(s, limit)
		if len(got) > limit || strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			t.Errorf("Visible(%q, %d) = %q", s, limit, got)
		}
		if again := Visible(got, limit); again != got {
			t.Errorf("Visible(%q) = %q", got, again)
		}
	})
}
