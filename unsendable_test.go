package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// What no transport can send is the caller's error, told once: no try more, no
// other endpoint, and nothing for the circuit that other callers share.
func TestUnsendable(t *testing.T) {
	var asked atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", asJSON)
		io.WriteString(w, goodJSON)
	})
	plain, h2 := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	defer plain.Close()
	h2.EnableHTTP2 = true
	h2.StartTLS()
	defer h2.Close()
	header := func(name string, values ...string) func(*http.Request) {
		return func(req *http.Request) { req.Header[name] = values }
	}
	trailer := func(name string) func(*http.Request) {
		return func(req *http.Request) { req.Trailer = http.Header{name: {"1"}}; req.ContentLength = -1 }
	}
	for _, tt := range []struct {
		name   string
		server *httptest.Server
		edit   func(*http.Request)
		want   string // part of the error
	}{
		{"header name with a blank", plain, header("X Trace", "1"), `begins with "X"`},
		{"header name with a colon", plain, header("X-Trace: 1", "1"), `begins with "X-Trace"`},
		{"empty header name", plain, header("", "1"), "header name"},
		{"header name that is not ASCII", h2, header("X-Tr\u00e4ce", "1"), `begins with "X-Tr"`},
		{"header value with a line break", plain, header("X-Trace", "1\n2"), `"X-Trace"`},
		{"header value with a NUL, over HTTP/2", h2, header("X-Trace", "1\x00"), `"X-Trace"`},
		{"trailer name with a blank", plain, trailer("X Sum"), `begins with "X"`},
		{"trailer that cannot be one, over HTTP/2", h2, trailer("Transfer-Encoding"), "trailer"},
		{"Upgrade over HTTP/2", h2, header("Upgrade", "websocket"), "Upgrade"},
		{"Connection over HTTP/2", h2, header("Connection", "upgrade"), "Connection"},
		{"Connection twice over HTTP/2", h2, header("Connection", "close", "close"), "Connection"},
		{"Transfer-Encoding over HTTP/2", h2, header("Transfer-Encoding", "gzip"), "Transfer-Encoding"},
		{"control character in the query", plain, func(req *http.Request) { req.URL.RawQuery = "a=\n" }, "control character"},
		{"an unknown scheme", plain, func(req *http.Request) { req.URL.Scheme = "gopher" }, `scheme "gopher"`},
	} {
		for _, backed := range []bool{false, true} {
			if backed && strings.HasPrefix(tt.name, "an unknown scheme") {
				continue // nobody's, where endpoints are given
			}
			t.Run(fmt.Sprintf("%s, backed %v", tt.name, backed), func(t *testing.T) {
				opts := []Option{WithBase(tt.server.Client().Transport)}
				if backed {
					opts = append(opts, WithEndpoints(Endpoint{Name: "a", URL: tt.server.URL, APIKey: "sk-a"}), WithBackup(Endpoint{Name: "b", URL: "http://127.0.0.1:1", APIKey: "sk-b"}))
				}
				rt, err := New(opts...)
				if err != nil {
					t.Fatal(err)
				}
				defer rt.Close()
				asked.Store(0)
				for range 6 {
					trail := &Trail{}
					req, _ := post(WithCall(t.Context(), Call{Trail: trail}), tt.server.URL, chatStream)
					req.URL.Path = "/v1/chat/completions"
					tt.edit(req)
					resp, err := rt.RoundTrip(req)
					if err == nil {
						resp.Body.Close()
						t.Fatalf("got %d, want an error", resp.StatusCode)
					}
					if !strings.Contains(err.Error(), tt.want) {
						t.Errorf("%v does not say %q", err, tt.want)
					}
					if n := len(trail.Attempts()); n > 1 {
						t.Errorf("%d attempts, want one at most", n)
					}
				}
				if n := asked.Load(); n != 0 {
					t.Errorf("%d requests reached the host", n)
				}
				req, _ := post(t.Context(), tt.server.URL, chatJSON)
				resp, err := rt.RoundTrip(req)
				if err != nil || resp.StatusCode != 200 || asked.Load() != 1 {
					t.Fatalf("the next call got %v, %v, want the host's answer", resp, err)
				}
				resp.Body.Close()
			})
		}
	}
}

// A body that is streamed on, and is not as long as it is said to be, is its
// caller's mistake.
func TestUnsendable_BodyOfAnotherLength(t *testing.T) {
	large := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("x", 100) + `"}]}`
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			io.WriteString(w, goodJSON)
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	h1 := server.Client().Transport.(*http.Transport).Clone()
	h1.TLSClientConfig.NextProtos, h1.ForceAttemptHTTP2 = nil, false
	h1.Protocols = new(http.Protocols)
	h1.Protocols.SetHTTP1(true)
	for name, base := range map[string]*http.Transport{"HTTP/1.1": h1, "HTTP/2": server.Client().Transport.(*http.Transport)} {
		for _, more := range []int64{-10, 10} {
			t.Run(fmt.Sprintf("%s, %+d bytes", name, more), func(t *testing.T) {
				defer base.CloseIdleConnections()
				rt, err := New(anything, WithBase(base), WithRetry(RetryPolicy{MaxReplay: 10}))
				if err != nil {
					t.Fatal(err)
				}
				for range 6 {
					req, _ := post(t.Context(), server.URL, large)
					req.ContentLength = int64(len(large)) + more
					resp, err := rt.RoundTrip(req)
					if err == nil && resp.StatusCode == 200 && more < 0 { // the server has what it was told of, and may answer first
						resp.Body.Close()
					} else if !errors.Is(err, reqbody.ErrLength) {
						t.Fatalf("got %v, %v, want an error of the length", resp, err)
					}
				}
				req, _ := post(t.Context(), server.URL, large)
				resp, err := rt.RoundTrip(req)
				if err != nil || resp.StatusCode != 200 {
					t.Fatalf("the next call got %v, %v, want an answer", resp, err)
				}
				resp.Body.Close()
			})
		}
	}
}

// New names a header that could not be sent.
func TestUnsendable_HeadersOfEndpoints(t *testing.T) {
	for name, want := range map[string]string{"X Trace": `begins with "X"`, "X-Trace": `"X-Trace"`} {
		_, err := New(WithEndpoints(Endpoint{URL: "https://a", Header: http.Header{name: {"1\n"}}}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: New says %v, want %s", name, err, want)
		}
	}
}

// What an endpoint's own Rewrite makes unsendable is not the caller's mistake.
func TestUnsendable_ByRewrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newHosts(gives(200, asJSON, goodJSON))
		base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			if err := header.Check(req.Header); err != nil { // as net/http
				return nil, fmt.Errorf("net/http: invalid header field value for %q", "Authorization")
			}
			return server.RoundTrip(req)
		})
		a := Endpoint{Name: "a", URL: "https://a", Rewrite: func(req *http.Request) error {
			req.Header.Set("Authorization", "Bearer token-from-a-file\n")
			return nil
		}}
		rt := over(t, base, WithEndpoints(a), WithBackup(at("b")...))
		if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
			t.Errorf("got %v, want the backup's answer", got)
		}
	})
}

// A key that cannot be sent is an error of New.
func TestUnsendable_Keys(t *testing.T) {
	for _, key := range []string{"sk-\x01", "sk-\x7f", "\x1b[200~sk-pasted\x1b[201~"} {
		rt, err := New(WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: key}), WithBackup(at("b")...), WithBase(&http.Transport{}))
		if err == nil {
			t.Errorf("New takes the key %q", key)
			if err := header.Check(http.Header{"Authorization": {"Bearer " + key}}); err != nil {
				t.Log("and every call will end in:", err)
			}
			rt.Close()
		}
	}
}

// What HTTP/2 does not send is tried once, or is sent in another way.
func TestUnsendable_OverHTTP2(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", asJSON)
		io.WriteString(w, goodJSON)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for name, edit := range map[string]func(*http.Request){
		"path with no slash": func(req *http.Request) { req.URL.Path = "v1/chat/completions" },
		"TE":                 func(req *http.Request) { req.Header.Set("Te", "gzip") },
		"Keep-Alive":         func(req *http.Request) { req.Header.Set("Keep-Alive", "1") },
		"Proxy-Connection":   func(req *http.Request) { req.Header.Set("Proxy-Connection", "close") },
		"Content-Length":     func(req *http.Request) { req.Header.Set("Content-Length", "x") },
		"Expect":             func(req *http.Request) { req.Header.Set("Expect", "200-ok") },
		"Host":               func(req *http.Request) { req.Host = "a b" },
		"TransferEncoding":   func(req *http.Request) { req.TransferEncoding = []string{"gzip"} },
	} {
		t.Run(name, func(t *testing.T) {
			rt, err := New(WithBase(server.Client().Transport))
			if err != nil {
				t.Fatal(err)
			}
			defer rt.Close()
			asked.Store(0)
			tries := 0
			var last string
			for range 3 {
				trail := &Trail{}
				req, _ := post(WithCall(t.Context(), Call{Trail: trail}), server.URL+"/v1", chatJSON)
				edit(req)
				resp, err := rt.RoundTrip(req)
				if err == nil {
					resp.Body.Close()
					last = resp.Status
				} else {
					last = err.Error()
				}
				tries += len(trail.Attempts())
			}
			if asked.Load() == 0 && tries > 3 {
				t.Errorf("%d attempts of 3 calls that no transport sends; the last got %s", tries, last)
			}
			req, _ := post(t.Context(), server.URL+"/v1", chatJSON)
			resp, err := rt.RoundTrip(req)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("the next call got %v, %v", resp, err)
			}
			resp.Body.Close()
		})
	}
}

// What is the caller's own doing hurts no endpoint: the caller sees it, at once.
func TestUnsendable_CallersFaultsAreTheCallers(t *testing.T) {
	own := errors.New("own")
	dead, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	for _, tt := range []struct {
		name string
		opts []Option
		ctx  context.Context
		edit func(*http.Request)
		sent int
		want func(seen) bool
	}{
		{"a key with its line break", nil, t.Context(), with("Authorization", "Bearer sk-from-a-file\n"), 0, func(s seen) bool { return s.err != nil && !strings.Contains(s.err.Error(), "sk-") }},
		{"a deadline that has passed", nil, dead, func(*http.Request) {}, 0, func(s seen) bool { return errors.Is(s.err, context.DeadlineExceeded) }},
		{"a large body that fails", []Option{WithRetry(RetryPolicy{MaxReplay: 1})}, t.Context(), func(req *http.Request) {
			req.Body, req.ContentLength = io.NopCloser(fakehost.Cut(chatJSON, own)), -1
		}, 1, func(s seen) bool { return errors.Is(s.err, own) }},
		{"middleware that refuses", []Option{WithAttemptMiddleware(func(http.RoundTripper) http.RoundTripper {
			return RoundTripperFunc(func(*http.Request) (*http.Response, error) { return nil, own })
		})}, t.Context(), func(*http.Request) {}, 0, func(s seen) bool { return s.header(headerError) == string(ClassRewrite) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sent := 0
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				if strings.Contains(req.Header.Get("Authorization"), "\n") { // as net/http does
					req.Body.Close()
					return nil, errors.New("net/http: invalid header field value")
				}
				sent++
				if _, err := io.Copy(io.Discard, req.Body); err != nil {
					return nil, fmt.Errorf("sending: %w", err)
				}
				return answer(200, asJSON, goodJSON), nil
			}), tt.opts...)
			for range 6 {
				sent = 0
				if got := asks(tt.ctx, rt, chatJSON, tt.edit); sent != tt.sent || !tt.want(got) {
					t.Errorf("%d requests, the caller got %v", sent, got)
				}
			}
			if s := rt.Status(); len(s.Endpoints) > 0 && len(s.Endpoints[0].Circuits) > 0 && s.Endpoints[0].Circuits[0].State != "closed" {
				t.Errorf("the circuit is %+v", s.Endpoints[0].Circuits[0])
			}
		})
	}
}

// A header that no transport sends is the caller's fault only where it was to be
// sent: a host that was not given it fails by itself.
func TestUnsendable_ForeignFailuresAreNotTheCallers(t *testing.T) {
	for name, fails := range map[string]handler{"refuses": refusing, "cuts": breaks(asJSON, goodJSON[:30])} {
		base := newHosts(gives(200, asJSON, goodJSON))
		base.Set("b", fails)
		rt := over(t, base, WithEndpoints(at("b")...), WithBackup(at("c")...), WithBackup(at("a")...))
		if got := asks(t.Context(), rt, chatJSON, with("X-Note", "a\x01b")); got.header("Breakwater-Endpoint") != "c" {
			t.Errorf("%s: %v, want the answer of c", name, got)
		}
	}
}
