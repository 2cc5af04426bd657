package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// What becomes of calls that end with their caller's deadline, timeout or
// cancel, whatever hosts, the caller's body and other callers do.

// An error of a clock of ours is a timeout for who asks as net.Error has it.
func TestDeadline_TimeoutsAreNetErrors(t *testing.T) {
	for _, err := range []error{
		ErrNoFirstToken, ErrStalled,
		&Error{Attempts: []Attempt{{Class: ClassUnreachable, Err: io.EOF}, {Class: ClassNoFirstToken, Err: ErrNoFirstToken}}},
	} {
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v is no timeout: %v", err, timeout)
		}
	}
	for _, err := range []error{ErrTruncated, ErrBadResponse, ErrCircuitOpen, ErrRateLimited, &Error{Attempts: []Attempt{{Class: ClassNoFirstToken, Err: ErrNoFirstToken}, {Class: ClassUnreachable, Err: io.EOF}}}} {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%v is a timeout", err)
		}
	}
}

// stagedServer is a host that waits, until its client leaves, at the stage that
// the path names.
func stagedServer(t *testing.T) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		stage, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		kind, text := asJSON, goodJSON
		if strings.Contains(string(body), `"stream":true`) {
			kind, text = asStream, goodEvent
		}
		w.Header().Set("Content-Type", kind)
		switch stage {
		case "well":
			io.WriteString(w, strings.Replace(text, goodEvent, wholeStream, 1))
			return
		case "headers":
		case "payload":
			w.WriteHeader(200)
			http.NewResponseController(w).Flush()
		case "blank":
			io.WriteString(w, "\n\n")
			http.NewResponseController(w).Flush()
		case "answer":
			io.WriteString(w, text[:len(goodEvent)])
			http.NewResponseController(w).Flush()
		case "refusal":
			w.WriteHeader(503)
			io.WriteString(w, "{")
			http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	return server
}

// http.Client.Timeout is the caller's end, over real loopback and under every
// layer: always a Go error that is a timeout, never an answer of breakwater's
// and never a mark against the host.
func TestDeadline_ClientTimeoutIsTheCallersEnd(t *testing.T) {
	server := stagedServer(t)
	for layers, opts := range layerings() {
		for _, stage := range []string{"headers", "payload", "blank", "answer", "refusal"} {
			for _, ask := range []string{chatJSON, chatStream} {
				t.Run(fmt.Sprintf("%s/%s/%d", layers, stage, len(ask)), func(t *testing.T) {
					t.Parallel()
					base := newBase()
					defer base.CloseIdleConnections()
					rt, err := New(append([]Option{WithBase(base)}, opts...)...)
					if err != nil {
						t.Fatal(err)
					}
					defer rt.Close()
					client := &http.Client{Transport: rt, Timeout: 20 * time.Millisecond}
					var callers sync.WaitGroup
					for n := range 12 {
						callers.Go(func() {
							req, _ := post(context.Background(), server.URL+"/"+stage, strings.Replace(ask, `"q"`, fmt.Sprintf(`"%d"`, n/2), 1))
							resp, err := client.Do(req)
							if err == nil {
								if resp.StatusCode != 200 && stage != "refusal" {
									t.Errorf("got %d", resp.StatusCode)
								}
								_, err = io.ReadAll(resp.Body)
								resp.Body.Close()
							}
							var timeout net.Error
							if limited := strings.Contains(layers, "limit") || layers == "all"; limited && err == nil {
								return // a 429 of breakwater's own, before the time was up
							}
							if !errors.As(err, &timeout) || !timeout.Timeout() {
								t.Errorf("the caller got %v, want a timeout", err)
							}
						})
					}
					callers.Wait()
					for _, e := range rt.Status().Endpoints {
						for _, c := range e.Circuits {
							if c.State != "closed" {
								t.Errorf("the circuit is %s", c.State)
							}
						}
					}
					base.CloseIdleConnections()
				})
			}
		}
	}
}

// Request.Cancel, the user's own, ends all that is done for a call, and leaves
// nothing behind; a call that ends before leaves nothing behind either.
func TestCancel_EndsAllThatIsDone(t *testing.T) {
	stages := map[string]func(*http.Request) (*http.Response, error){
		"headers": hanging,
		"answer": func(req *http.Request) (*http.Response, error) {
			return answerFrom(200, asStream, io.MultiReader(strings.NewReader(goodEvent), fakehost.ReaderFunc(func([]byte) (int, error) {
				<-req.Context().Done()
				return 0, req.Context().Err()
			}))), nil
		},
		"pause": gives(429, asJSON, "{}", "Retry-After", "30"),
		"retry": failing503,
	}
	for stage, do := range stages {
		for layers, opts := range layerings() {
			synctest.Test(t, func(t *testing.T) {
				rt := over(t, newHosts(do), opts...)
				cancel := make(chan struct{})
				time.AfterFunc(100*time.Millisecond, func() { close(cancel) })
				req, _ := post(context.Background(), "https://a", chatStream)
				req.Cancel = cancel //lint:ignore SA1019 this is what is tested
				start := time.Now()
				resp, err := rt.RoundTrip(req)
				if err == nil && resp.StatusCode == 200 {
					_, err = io.ReadAll(resp.Body)
				}
				if err == nil && time.Since(start) > 50*time.Millisecond || err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%s/%s: %v, %v after %v, want the cancel's error", layers, stage, resp, err, time.Since(start))
				}
				if resp != nil {
					resp.Body.Close()
				}
				synctest.Wait()
				if left := stillHeld(rt); left != "" {
					t.Errorf("%s/%s: %s still held", layers, stage, left)
				}
			})
		}
	}
	synctest.Test(t, func(t *testing.T) { // the bubble fails where a goroutine is left
		rt := over(t, newHosts(gives(200, asStream, wholeStream)))
		for _, whole := range []bool{true, false} {
			req, _ := post(context.Background(), "https://a", chatStream)
			req.Cancel = make(chan struct{}) //lint:ignore SA1019 this is what is tested
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if whole {
				io.Copy(io.Discard, resp.Body)
			} else {
				resp.Body.Close()
			}
		}
	})
}

// A blockingBody is a caller's body that blocks for good behind its text, and
// heeds nothing but Close, or not even that.
type blockingBody struct {
	text  io.Reader
	block chan struct{} // closed by Close; nil: Close ends no read
	end   chan struct{} // of the test: what heeds nothing ends then
	reads atomic.Int64
}

func (b *blockingBody) Read(p []byte) (int, error) {
	b.reads.Add(1)
	if n, _ := b.text.Read(p); n > 0 {
		return n, nil
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
					rt, err := New(WithBase(base), WithRetry(RetryPolicy{MaxReplay: 10}))
					if err != nil {
						t.Fatal(err)
					}
					end := make(chan struct{})
					defer close(end)
					body := &blockingBody{text: strings.NewReader(strings.Repeat(" ", size)), end: end}
					if heeds {
						body.block = make(chan struct{})
					}
					ctx, cancel := context.WithCancelCause(t.Context())
					time.AfterFunc(20*time.Millisecond, func() { cancel(errors.New("the caller's cause")) })
					req, _ := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/v1/chat/completions", body)
					resp, err := rt.RoundTrip(req)
					if err == nil || err.Error() != "the caller's cause" {
						t.Errorf("got %v, %v, want the cause of the context's end", resp, err)
					}
					if body.reads.Load() == 0 {
						t.Error("the body was not read: nothing was tested")
					}
					if left := stillHeld(rt); left != "" {
						t.Errorf("%s still held", left)
					}
				})
			}
		}
	}
}

// TestDeadline_EndsEverything: with a deadline, RoundTrip and every Read return
// within it and 50 ms, whatever the host, the caller's body and other callers
// for the same do, over a base that heeds its context.
func TestDeadline_EndsEverything(t *testing.T) {
	const grace = 50 * time.Millisecond
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 15))
			end := make(chan struct{})
			host := &whimsical{random: rand.New(rand.NewPCG(seed, 16)), end: end}
			opts := []Option{WithBase(fakehost.NewUnread(host.answers))}
			pick := func(o Option) {
				if random.IntN(2) == 0 {
					opts = append(opts, o)
				}
			}
			opts = append(opts, layerings()[[]string{"default", "gate alone", "breaker", "limit", "all", "as Go errors", "no clocks"}[random.IntN(7)]]...)
			pick(WithCache(CachePolicy{StaleWhileRevalidate: time.Hour}))
			pick(WithStream(StreamPolicy{Hedge: time.Second, Rescue: RescueRestart, ErrorFrames: true}))
			switch random.IntN(3) {
			case 0:
				opts = append(opts, WithEndpoints(deepSeekAt("a")))
			case 1:
				opts = append(opts, WithEndpoints(deepSeekAt("a"), deepSeekAt("a2")), WithBackup(at("b")...))
			}
			opts = append(opts, WithRetry(RetryPolicy{Attempts: 1 + random.IntN(3), MaxReplay: 1000}))
			rt, err := New(opts...)
			if err != nil {
				t.Fatal(err)
			}
			var callers sync.WaitGroup
			for range 12 {
				ask := []string{chatJSON, chatStream, chatStream, question(random.IntN(3))}[random.IntN(4)]
				after, within := time.Duration(random.IntN(60))*time.Second, time.Duration(1+random.IntN(20_000))*time.Millisecond
				how, kind, alone := random.IntN(3), random.IntN(8), random.IntN(4) == 0
				callers.Go(func() {
					elapse(after)
					start := time.Now()
					late := func(what string) {
						if took := time.Since(start); took > within+grace {
							t.Errorf("seed %d: %s took %v, with a deadline of %v", seed, what, took, within)
						}
					}
					ctx, client := t.Context(), &http.Client{Transport: rt}
					switch how {
					case 0:
						client.Timeout = within
					case 1:
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, within)
						defer cancel()
					case 2:
						var cancel context.CancelFunc
						ctx, cancel = context.WithCancel(ctx)
						time.AfterFunc(within, cancel)
						defer cancel()
					}
					if alone {
						ctx = WithCall(ctx, Call{NoShare: true})
					}
					req, _ := post(ctx, "https://a", ask)
					switch kind {
					case 0:
						req.Body = &blockingBody{text: strings.NewReader(ask[:10]), end: end}
						req.ContentLength = -1
					case 1:
						req.Body = &blockingBody{text: strings.NewReader(strings.Repeat(" ", 2000)), block: make(chan struct{}), end: end}
						req.ContentLength = 4000
					}
					resp, err := client.Do(req)
					late("RoundTrip")
					if err != nil {
						return
					}
					defer resp.Body.Close()
					for buf := make([]byte, 512); err == nil; {
						_, err = resp.Body.Read(buf)
						late("Read")
					}
				})
			}
			callers.Wait()
			close(end)
			rt.Close()
			synctest.Wait()
			if left := stillHeld(rt); left != "" {
				t.Errorf("seed %d: %s still held", seed, left)
			}
		})
	}
}

// A whimsical host heeds the request's context, and else does what it likes.
type whimsical struct {
	mu     sync.Mutex
	random *rand.Rand // guarded by mu
	end    chan struct{}
}

func (b *whimsical) answers(req *http.Request) (*http.Response, error) {
	b.mu.Lock()
	what, slow, step := b.random.IntN(16), time.Duration(b.random.IntN(8_000))*time.Millisecond, time.Duration(b.random.IntN(3_000))*time.Millisecond
	b.mu.Unlock()
	ctx := req.Context()
	if req.Body != nil {
		sent := make(chan struct{})
		go func() {
			io.Copy(io.Discard, req.Body)
			req.Body.Close()
			close(sent)
		}()
		select {
		case <-sent:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := sleep(ctx, slow); err != nil {
		return nil, err
	}
	then := func(text string, end error) io.Reader { // byte for byte or so, then for good or to its end
		parts := strings.NewReader(text)
		return fakehost.ReaderFunc(func(p []byte) (int, error) {
			if err := sleep(ctx, step); err != nil {
				return 0, err
			}
			if n, _ := parts.Read(p[:min(len(p), 40)]); n > 0 {
				return n, nil
			}
			if end == nil {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return 0, end
		})
	}
	switch what {
	case 0:
		<-ctx.Done()
		return nil, ctx.Err()
	case 1:
		return nil, errors.New("reset")
	case 2:
		return answerFrom(200, asStream, then(goodEvent, nil)), nil
	case 3:
		return answerFrom(200, asStream, then(": keep-alive\n\n", nil)), nil
	case 4:
		return answerFrom(200, asJSON, then("\n\n\n\n", nil)), nil
	case 5:
		return answerFrom(200, asJSON, then(goodJSON[:20], errors.New("reset"))), nil
	case 6:
		return answerFrom(503, asJSON, then(`{"error":`, nil)), nil
	case 7:
		return gives(503, asJSON, "{}", "Retry-After", "5")(req)
	case 8:
		return gives(429, asJSON, "{}", "Retry-After", "2")(req)
	case 9:
		return gives(307, asJSON, "", "Location", "https://a/moved/chat/completions")(req)
	case 10:
		resp := answer(101, "", "")
		resp.Header.Set("Upgrade", "x")
		resp.Body = &blockingBody{text: strings.NewReader(""), block: make(chan struct{}), end: b.end}
		return resp, nil
	case 11:
		return answerFrom(200, asStream, fakehost.ReaderFunc(func([]byte) (int, error) { return 0, nil })), nil
	case 12:
		return answerFrom(503, asJSON, fakehost.ReaderFunc(func([]byte) (int, error) { return 0, nil })), nil
	case 13:
		return answerFrom(200, asStream, then(goodEvent+goodEvent+endEvent+doneEvent, io.EOF)), nil
	case 14:
		return answerFrom(200, asStream, then(goodEvent+goodEvent, errors.New("reset"))), nil
	}
	return answerFrom(200, asJSON, then(goodJSON, io.EOF)), nil
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
			w.Header().Set("Content-Type", asJSON)
			w.WriteHeader(status)
			io.WriteString(w, `{"error":{"message":"too large"}}`)
			http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond) // the rest of the refusal's way
		}))
		server.EnableHTTP2 = true
		server.StartTLS()
		defer server.Close()
		for _, kind := range []string{"bare", "breakwater"} {
			t.Run(fmt.Sprintf("%d %s", status, kind), func(t *testing.T) {
				var rt http.RoundTripper = server.Client().Transport
				if kind != "bare" {
					own, err := New(WithBase(rt), WithRetry(RetryPolicy{MaxReplay: 10}))
					if err != nil {
						t.Fatal(err)
					}
					defer own.Close()
					rt = own
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				body := &closesEnds{first: strings.NewReader(strings.Repeat(" ", 1000)), closed: make(chan struct{})}
				req, _ := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/v1/chat/completions", body)
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
	rt, err := New(WithBase(server.Client().Transport), WithRetry(RetryPolicy{MaxReplay: 10}))
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	trail := &Trail{}
	body := &closesEnds{first: strings.NewReader(strings.Repeat(" ", 1000)), closed: make(chan struct{})}
	req, _ := http.NewRequestWithContext(WithCall(ctx, Call{Trail: trail}), http.MethodPost, server.URL+"/v1/chat/completions", body)
	req.ContentLength = 100_000
	resp, err := rt.RoundTrip(req)
	if err != nil || trail.Attempts()[0].Class != ClassUnreachable {
		t.Errorf("got %v, %v, class %v: want an answer of ours, for a host that is unreachable", resp, err, trail.Attempts()[0].Class)
	}
}

// Who has canceled before it begins asks nobody.
func TestCancel_ClosedBefore(t *testing.T) {
	asked := 0
	for range 200 {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base)
		req, _ := post(context.Background(), "https://a", chatJSON)
		canceled := make(chan struct{})
		close(canceled)
		req.Cancel = canceled //lint:ignore SA1019 this is what is tested
		if resp, err := rt.RoundTrip(req); err == nil {
			resp.Body.Close()
		}
		asked += base.Count("a")
	}
	if asked > 0 {
		t.Errorf("of 200 calls canceled before they began, %d reached the host", asked)
	}
}

// An answer in memory that nobody reads to its end leaves no goroutine: the
// bubble fails where one is left.
func TestCancel_LeavesNoGoroutine(t *testing.T) {
	for name, do := range map[string]handler{"refusal": gives(400, asJSON, `{"error":{"message":"no"}}`), "JSON": gives(200, asJSON, goodJSON)} {
		bubble(t, name, func(t *testing.T) {
			req, _ := post(context.Background(), "https://a", chatJSON)
			req.Cancel = make(chan struct{}) //lint:ignore SA1019 this is what is tested
			if _, err := over(t, newHosts(do)).RoundTrip(req); err != nil {
				t.Fatal(err)
			}
		})
	}
}
