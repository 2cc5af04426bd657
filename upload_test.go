package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/progress"
)

// What becomes of the caller's body: kept, or streamed on.

// A blockingBody is a caller's body that blocks for good after its text, and
// heeds nothing but Close, or not even that.
type blockingBody struct {
	text  io.Reader
	block chan struct{} // closed by Close; nil: Close ends no read
	end   chan struct{} // of the test: what heeds nothing ends then
	stuck func()        // called when a read blocks; nil: nobody wants to know
}

func (b *blockingBody) Read(p []byte) (int, error) {
	if n, _ := b.text.Read(p); n > 0 {
		return n, nil
	}
	if b.stuck != nil {
		b.stuck()
	}
	select {
	case <-b.block:
	case <-b.end:
	}
	return 0, io.ErrClosedPipe
}

func (b *blockingBody) Close() error {
	if b.block != nil {
		close(b.block)
		return nil
	}
	<-b.end // as one does that waits for its reader
	return nil
}

// A caller that leaves, or is out of time, hears of that and not of its body
// that fails for it, also if the host answers what it got until then.
func TestUpload_ThatFailsAsItsCallerLeaves(t *testing.T) {
	left := errors.New("the caller's cause")
	for _, tt := range []struct {
		name  string
		leave func(ctx context.Context, cancel context.CancelCauseFunc)
		want  error
		class Class
	}{
		{"leaves", func(_ context.Context, cancel context.CancelCauseFunc) { cancel(left) }, left, ClassCanceled},
		{"is out of time", func(ctx context.Context, _ context.CancelCauseFunc) { <-ctx.Done() }, context.DeadlineExceeded, ClassDeadline},
		{"stays", func(context.Context, context.CancelCauseFunc) {}, io.ErrClosedPipe, ClassCanceled},
	} {
		for _, status := range []int{200, 400} {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithTimeout(t.Context(), time.Minute)
				defer stop()
				ctx, cancel := context.WithCancelCause(ctx)
				defer cancel(nil)
				base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					tt.leave(ctx, cancel)
					io.Copy(io.Discard, req.Body)
					return &http.Response{StatusCode: status, Body: http.NoBody, Request: req}, nil
				})
				rt, err := New(anything, WithBase(base), WithRetry(RetryPolicy{MaxReplay: 10}))
				if err != nil {
					t.Fatal(err)
				}
				defer rt.Close()
				trail := &Trail{}
				body := io.MultiReader(strings.NewReader(strings.Repeat(" ", 100)), iotest.ErrReader(io.ErrClosedPipe))
				req, _ := http.NewRequestWithContext(WithCall(ctx, Call{Trail: trail}), http.MethodPost, "https://a/v1/chat/completions", io.NopCloser(body))
				resp, err := rt.RoundTrip(req)
				if !errors.Is(err, tt.want) {
					t.Errorf("%s, %d: got %v, %v, want %v", tt.name, status, resp, err, tt.want)
				}
				if all := trail.Attempts(); len(all) != 1 || all[0].Class != tt.class {
					t.Errorf("%s, %d: attempts %+v, want one that ended %s", tt.name, status, all, tt.class)
				}
			})
		}
	}
}

// A caller's body that blocks ends with the call's context: while it is read to
// be kept, and while it is streamed on, over HTTP/1.1 and HTTP/2.
func TestUpload_ThatBlocksEndsWithItsContext(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	h2 := server.Client().Transport.(*http.Transport)
	h1 := h2.Clone()
	h1.TLSClientConfig.NextProtos, h1.ForceAttemptHTTP2 = nil, false
	for name, base := range map[string]*http.Transport{"HTTP/1.1": h1, "HTTP/2": h2} {
		for _, size := range []int{0, 100} { // bytes before it blocks: to be kept, and more than that
			for _, heeds := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %d bytes, heeds Close %v", name, size, heeds), func(t *testing.T) {
					defer base.CloseIdleConnections()
					rt, err := New(anything, WithBase(base), WithRetry(RetryPolicy{MaxReplay: 10}))
					if err != nil {
						t.Fatal(err)
					}
					end := make(chan struct{})
					defer close(end)
					ctx, cancel := context.WithCancelCause(t.Context())
					body := &blockingBody{text: strings.NewReader(strings.Repeat(" ", size)), end: end, stuck: func() { cancel(errors.New("the caller's cause")) }}
					if heeds {
						body.block = make(chan struct{})
					}
					req, _ := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/v1/chat/completions", body)
					resp, err := rt.RoundTrip(req)
					if err == nil || err.Error() != "the caller's cause" {
						t.Errorf("got %v, %v, want the cause of the context's end", resp, err)
					}
					if left := stillHeld(rt); left != "" {
						t.Errorf("%s still held", left)
					}
				})
			}
		}
	}
}

// A closesEnds is a body like a file or a pipe: its Close ends its reads in an error.
type closesEnds struct {
	first  io.Reader
	closed chan struct{}
	once   sync.Once
}

func (b *closesEnds) Read(p []byte) (int, error) {
	select {
	case <-b.closed:
		return 0, io.ErrClosedPipe
	default:
	}
	if n, _ := b.first.Read(p); n > 0 {
		return n, nil
	}
	<-b.closed // it is slow
	return 0, io.ErrClosedPipe
}

func (b *closesEnds) Close() error { b.once.Do(func() { close(b.closed) }); return nil }

// A host that refuses an upload before it has read it all is heard.
func TestUpload_EarlyRefusalIsHeard(t *testing.T) {
	for _, status := range []int{413, 401, 429, 503} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.ReadFull(r.Body, make([]byte, 1000)) // the upload is under way
			w.Header().Set("Content-Type", asJSON)
			w.WriteHeader(status)
			io.WriteString(w, `{"error":{"message":"too large"}}`)
			http.NewResponseController(w).Flush()
		}))
		server.EnableHTTP2 = true
		server.StartTLS()
		defer server.Close()
		for _, kind := range []string{"bare", "breakwater"} {
			t.Run(fmt.Sprintf("%d %s", status, kind), func(t *testing.T) {
				var rt http.RoundTripper = server.Client().Transport
				if kind != "bare" {
					own, err := New(anything, WithBase(rt), WithRetry(RetryPolicy{MaxReplay: 10}))
					if err != nil {
						t.Fatal(err)
					}
					defer own.Close()
					rt = own
				}
				body := &closesEnds{first: strings.NewReader(strings.Repeat(" ", 1000)), closed: make(chan struct{})}
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/chat/completions", body)
				req.ContentLength = 100_000
				resp, err := rt.RoundTrip(req)
				if err != nil || resp.StatusCode != status {
					t.Fatalf("got %v, %v, want the host's %d", resp, err, status)
				}
				resp.Body.Close()
			})
		}
	}
}

// A caller's body whose Close blocks holds nobody beyond the deadline.
func TestUpload_CloseThatBlocks(t *testing.T) {
	for name, opts := range map[string][]Option{
		"host hangs":   nil,
		"circuit open": {WithBreaker(BreakerPolicy{Consecutive: 1})},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				end := make(chan struct{})
				base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					<-req.Context().Done() // it dials
					return nil, req.Context().Err()
				})
				rt := over(t, base, append(opts, WithRetry(RetryPolicy{MaxReplay: 10}))...)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				body := &blockingBody{text: strings.NewReader(chatJSON), end: end}
				req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://a/v1/chat/completions", body)
				req.ContentLength = 1000
				start := time.Now()
				defer close(end)
				_, err := rt.RoundTrip(req)
				if took := time.Since(start); took > 1050*time.Millisecond {
					t.Errorf("RoundTrip returned %v after %v", err, took)
				}
			})
		})
	}
	t.Run("over before it begins", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			end := make(chan struct{})
			rt := over(t, newHosts(hanging))
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://a/v1/chat/completions", &blockingBody{text: strings.NewReader(chatJSON), end: end})
			start := time.Now()
			defer close(end)
			_, err := rt.RoundTrip(req)
			if took := time.Since(start); took > 50*time.Millisecond {
				t.Errorf("RoundTrip returned %v after %v", err, took)
			}
		})
	})
}

// A host that resets an upload half-way has failed, not the caller.
func TestUpload_ResetIsTheHosts(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.ReadFull(r.Body, make([]byte, 10))
		panic(http.ErrAbortHandler)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	rt, err := New(anything, WithBase(server.Client().Transport), WithRetry(RetryPolicy{MaxReplay: 10}))
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	trail := &Trail{}
	body := &closesEnds{first: strings.NewReader(strings.Repeat(" ", 1000)), closed: make(chan struct{})}
	req, _ := http.NewRequestWithContext(WithCall(t.Context(), Call{Trail: trail}), http.MethodPost, server.URL+"/v1/chat/completions", body)
	req.ContentLength = 100_000
	resp, err := rt.RoundTrip(req)
	if err != nil || trail.Attempts()[0].Class != ClassUnreachable {
		t.Errorf("got %v, %v, class %v: want an answer of ours, for a host that is unreachable", resp, err, trail.Attempts()[0].Class)
	}
}

// So does what a caller sends: the call ends in io.ErrNoProgress, whether the
// body is kept or streamed on, and no host is blamed.
func TestUpload_NoProgress(t *testing.T) {
	for name, length := range map[string]int64{"kept": 1000, "of a length unknown": -1, "streamed": 2 << 20, "streamed, of a length unknown": -2} {
		text := chatJSON[:20]
		if length == -2 {
			text, length = strings.Repeat(" ", 2<<20), -1
		}
		for setup, opts := range map[string][]Option{"alone": nil, "cached": {WithCache(CachePolicy{})}, "backed": {WithEndpoints(at("a")...), WithBackup(at("b")...)}} {
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				_, err := io.Copy(io.Discard, req.Body)
				req.Body.Close()
				if err == nil {
					err = errors.New("it came whole")
				}
				return nil, err
			}), append(opts, WithRetry(RetryPolicy{MaxReplay: 1 << 20}), WithBreaker(BreakerPolicy{Consecutive: 1}))...)
			body := newStuck(text)
			req, _ := post(t.Context(), "https://a", "")
			req.Body, req.ContentLength = body, length
			resp, err := rt.RoundTrip(req)
			if resp != nil || !errors.Is(err, io.ErrNoProgress) || body.spun.Load() > progress.MaxEmptyReads+1 {
				t.Errorf("%s, %s: %v after %d reads, want io.ErrNoProgress", name, setup, err, body.spun.Load())
			}
			for _, e := range rt.Status().Endpoints {
				for _, c := range e.Circuits {
					if c.State != "closed" {
						t.Errorf("%s, %s: the circuit of %s is %s", name, setup, e.Name, c.State)
					}
				}
			}
		}
	}
}

// Invariant 1 for a streamed question: its body is closed exactly once on
// every path, and never read from after that.
func TestUpload_BodyIsClosedOnce(t *testing.T) {
	const large = `{"model":"m","x":"larger than the limit"}`
	closing := func(do handler) handler { // as every RoundTripper must
		return func(req *http.Request) (*http.Response, error) {
			io.Copy(io.Discard, req.Body)
			req.Body.Close()
			return do(req)
		}
	}
	unread := func(do handler) handler {
		return func(req *http.Request) (*http.Response, error) { req.Body.Close(); return do(req) }
	}
	for _, tt := range []struct {
		name  string
		base  handler
		opts  []Option
		setUp func(*testing.T, *Transport)
	}{
		{"answered", closing(gives(200, asJSON, goodJSON)), nil, nil},
		{"refused by the host, read", closing(failing503), nil, nil},
		{"refused by the host, not read", unread(failing503), nil, nil},
		{"connection failed, not read", unread(refusing), nil, nil},
		{"connection failed, read", closing(refusing), nil, nil},
		{"base does not close it", failing503, nil, nil},
		{"failing Rewrite", closing(refusing), []Option{WithEndpoints(Endpoint{Name: "r", URL: "https://a", Rewrite: func(*http.Request) error { return errors.New("no") }})}, nil},
		{"no permit", closing(refusing), []Option{WithRateLimit(RatePolicy{InFlight: 1, MaxWait: Off})}, func(t *testing.T, rt *Transport) {
			rt.now().ofOrigin(origin.Origin{Scheme: "https", Host: "a", Port: "443"}).limits.Get("", [32]byte{}).Acquire(t.Context(), new(limit.Lease), limit.Use{Prompt: 1})
		}},
		{"no such endpoint", closing(refusing), nil, nil},
		{"circuit open", closing(refusing), nil, func(t *testing.T, rt *Transport) {
			for range 5 {
				asks(t.Context(), rt, large)
			}
		}},
		{"paused", closing(gives(429, asJSON, "{}", "Retry-After", "500")), nil, func(t *testing.T, rt *Transport) { asks(t.Context(), rt, large) }},
		{"paused, waiting, cancelled", closing(gives(429, asJSON, "{}", "Retry-After", "30")), nil, func(t *testing.T, rt *Transport) { asks(t.Context(), rt, large) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := over(t, RoundTripperFunc(tt.base), append(tt.opts, WithRetry(RetryPolicy{MaxReplay: 10}))...)
				if tt.setUp != nil {
					tt.setUp(t, rt)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				time.AfterFunc(5*time.Second, cancel)
				if tt.name == "no such endpoint" {
					ctx = WithCall(ctx, Call{Endpoint: "nobody"})
				}
				req, tracked := post(ctx, "https://a", large)
				if resp, err := rt.RoundTrip(req); err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				if n := tracked.Closed(); n != 1 {
					t.Errorf("the caller's body was closed %d times, want 1", n)
				}
			})
		})
	}
}

// A body that can be sent once is whole for the attempt that sends it: here the
// one that probes the circuit, which opened while the call waited for its turn.
func TestUpload_BodySurvivesLocalRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const large = `{"model":"m","x":"larger than the limit"}`
		asked := 0
		base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			defer req.Body.Close()
			body, err := io.ReadAll(req.Body)
			if asked++; asked == 1 {
				elapse(500 * time.Millisecond)
				return failing503(req)
			}
			if string(body) != large || err != nil {
				t.Errorf("the host was sent %q, %v", body, err)
			}
			return answer(200, asJSON, goodJSON), nil
		})
		rt := over(t, base, WithEndpoints(at("a")...), WithRetry(RetryPolicy{MaxReplay: 10, Attempts: 1}),
			WithBreaker(BreakerPolicy{Consecutive: 1}), WithRateLimit(RatePolicy{PerSecond: 1, Burst: 1}))
		go asks(t.Context(), rt, chatJSON)
		elapse(100 * time.Millisecond)
		req, tracked := post(t.Context(), "https://a", large)
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if n := tracked.Closed(); resp.StatusCode != 200 || asked != 2 || n != 1 {
			t.Errorf("status %d after %d requests, the body closed %d times; want 200, 2, 1", resp.StatusCode, asked, n)
		}
	})
}
