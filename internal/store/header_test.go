package store

import (
	"net/http"
	"testing"

	"github.com/breakwater-go/breakwater/internal/header"
)

// Others see nothing of a header that describes the first caller or the transfer;
// callers of other credentials see only what is known to describe neither.
func TestKeptHeader(t *testing.T) {
	h := http.Header{
		"Cache-Control": {`private="X-Mine"`, `no-cache="x-yours"`},
		"Connection":    {"close, X-Hop"},
	}
	all := map[string][2]bool{ // kept in a scope of one credential, and in a shared one
		"X-Request-Id": {true, true}, "x-trace-id": {true, true}, "Content-Language": {true, true}, header.Endpoint: {true, true}, "Cache-Control": {true, true},
		"X-Mine": {true, false}, "X-Unknown": {true, false}, "Etag": {true, false},
		"X-Yours": {}, "X-Hop": {}, "Connection": {}, "Date": {true, true}, "content-length": {}, "Te": {}, "Upgrade": {}, "Proxy-Authorization": {}, "Proxy-Authenticate": {}, "Age": {}, header.Attempts: {}, "breakwater-attempts": {},
		"Set-Cookie": {}, "X-Ratelimit-Remaining-Requests": {}, "Retry-After": {}, "Www-Authenticate": {}, "Openai-Organization": {}, "X-Litellm-Key-Spend": {},
	}
	for name := range all {
		if h[name] == nil {
			h[name] = []string{"7"}
		}
	}
	for i, shared := range []bool{false, true} {
		kept := KeptHeader(h, shared)
		for name, want := range all {
			if _, got := kept[name]; got != want[i] {
				t.Errorf("shared %v: %s is kept: %v, want %v", shared, name, got, want[i])
			}
		}
	}
	kept := KeptHeader(h, false)
	if kept.Set("X-Request-Id", "8"); h.Get("X-Request-Id") != "7" {
		t.Error("what is kept is a part of the answer's own header")
	}
	for stream, want := range map[bool]string{false: "application/json", true: "text/event-stream"} {
		if SetFormat(kept, stream); kept.Get("Content-Type") != want || kept.Get("Etag") != "" || kept.Get("X-Request-Id") != "8" {
			t.Errorf("SetFormat(%v) makes %v", stream, kept)
		}
	}
}
