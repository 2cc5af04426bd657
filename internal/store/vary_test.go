package store

import (
	"net/http"
	"slices"
	"testing"
)

// An answer is for the requests whose headers have the same values where its Vary names them.
func TestSelection(t *testing.T) {
	first := http.Header{"Accept": {"*/*"}, "origin": {"a", "b"}, "X-Tenant": {"1"}, "Accept-Encoding": {"br"}, "User-Agent": {"x"}}
	for _, tt := range []struct {
		vary  []string
		names []string
		other http.Header
		want  bool
	}{
		{nil, nil, http.Header{}, true},
		{[]string{"accept-encoding, X-Tenant,authorization"}, nil, http.Header{}, true}, // no host sees it, in the key, in the scope
		{[]string{"ORIGIN", "accept"}, []string{"Accept", "Origin"}, http.Header{"Accept": {"*/*"}, "Origin": {"a, b"}}, true},
		{[]string{"origin, Accept"}, []string{"Accept", "Origin"}, http.Header{"Accept": {"*/*"}, "Origin": {"a"}}, false},
		{[]string{"Origin"}, []string{"Origin"}, http.Header{}, false},
		{[]string{"Origin, origin,, "}, []string{"Origin"}, http.Header{"Origin": {"a", "b"}}, true},
		{[]string{"Referer"}, []string{"Referer"}, http.Header{"Accept": {"text/html"}}, true},
		{[]string{"Referer"}, []string{"Referer"}, http.Header{"Referer": {""}}, false},
		{[]string{"Accept, User-Agent"}, []string{"Accept", "User-Agent"}, http.Header{"Accept": {"x"}, "User-Agent": {"*/*"}}, false},
	} {
		s := SelectionOf(http.Header{"Vary": tt.vary}, first)
		if !slices.Equal(s.Names, tt.names) || s.Has(tt.other) != tt.want || !s.Has(first) {
			t.Errorf("Vary %q: %+v has %v: %v, want %v and %v", tt.vary, s, tt.other, s.Has(tt.other), tt.names, tt.want)
		}
	}
}
