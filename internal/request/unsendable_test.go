package request

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What no transport sends is told from the request itself, or, where protocols
// differ, from what the transport says. Nothing else is.
func TestUnsendable(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(req *http.Request) { req.Header[name] = []string{value} }
	}
	for _, tt := range []struct {
		name string
		edit func(*http.Request)
		err  string // of the transport
		want string // part of what is returned; empty: nil
	}{
		{"a host that is down", nil, "connection refused", ""},
		{"an error that quotes a header", header("X-Trace", "invalid"), "X-Trace: invalid", ""},
		{"header name with a blank", header("X Trace", "1"), "any", `begins with "X"`},
		{"header value with a line break", header("X-Trace", "1\n2"), "any", `"X-Trace"`},
		{"trailer that cannot be one", func(req *http.Request) { req.Trailer = http.Header{"Transfer-Encoding": nil} }, "any", "trailer"},
		{"an unknown scheme", func(req *http.Request) { req.URL.Scheme = "gopher" }, "unsupported protocol scheme", `scheme "gopher"`},
		{"an unknown scheme that the transport knows", func(req *http.Request) { req.URL.Scheme = "unix" }, "connection refused", ""},
		{"a Host with a blank", func(req *http.Request) { req.Host = "a b" }, "any", "Host"},
		{"a control character in the query", func(req *http.Request) { req.URL.RawQuery = "a=\n" }, "any", "control character"},
		{"a path without a slash", nil, "invalid request :path", "slash"},
		{"large headers", nil, "request header list larger than peer's advertised limit", "larger"},
		{"Upgrade over HTTP/2", header("Upgrade", "websocket"), `http2: invalid Upgrade request header: ["websocket"]`, "Upgrade"},
		{"Upgrade over HTTP/1.1", header("Upgrade", "websocket"), "connection refused", ""},
		{"Connection over HTTP/2", header("Connection", "upgrade"), "http2: invalid Connection request header", "Connection"},
		{"Transfer-Encoding over HTTP/2", header("Transfer-Encoding", "gzip"), "http2: invalid Transfer-Encoding request header", "Transfer-Encoding"},
	} {
		req := httptest.NewRequest(http.MethodPost, "https://host.test/v1/chat/completions", nil)
		if tt.edit != nil {
			tt.edit(req)
		}
		err := Unsendable(req, errors.New(tt.err))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: Unsendable = %v, want %q", tt.name, err, tt.want)
		}
	}
}
