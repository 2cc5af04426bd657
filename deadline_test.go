package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
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

// staged is a host that waits, until its client leaves, at the stage that the path names.
func staged() http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
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
	}
}

// http.Client.Timeout is the caller's end, over net/http and under every layer:
// always a Go error that is a timeout, never an answer of breakwater's and never a
// mark against the host.
func TestDeadline_ClientTimeoutIsTheCallersEnd(t *testing.T) {
	for layers, opts := range layerings() {
		for _, stage := range []string{"headers", "payload", "blank", "answer", "refusal"} {
			for _, ask := range []string{chatJSON, chatStream} {
				bubble(t, fmt.Sprintf("%s/%s/%d", layers, stage, len(ask)), func(t *testing.T) {
					rt := over(t, servePipes(t, staged()), opts...)
					client := &http.Client{Transport: rt, Timeout: 20 * time.Millisecond}
					var callers sync.WaitGroup
					for n := range 12 {
						callers.Go(func() {
							req, _ := post(context.Background(), "http://host/"+stage, strings.Replace(ask, `"q"`, fmt.Sprintf(`"%d"`, n/2), 1))
							resp, err := client.Do(req)
							if err == nil {
								if resp.Header.Get(headerError) == "rate_limited" && (layers == "limit" || layers == "all") {
									resp.Body.Close()
									return // before its time was up, for it was not to get a permit in time
								}
								if resp.StatusCode != 200 {
									t.Errorf("got %d", resp.StatusCode)
								}
								_, err = io.ReadAll(resp.Body)
								resp.Body.Close()
							}
							var timeout net.Error
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
				})
			}
		}
	}
}

// A tardy context ends a while after its deadline, as any does on a loaded
// machine: a timer has to be run, too.
type tardy struct {
	context.Context
	deadline time.Time
}

func (c tardy) Deadline() (time.Time, bool) { return c.deadline, true }

// What breakwater itself has to say, where no host answered, comes within the
// caller's time. Behind it, the call ends in its deadline, even if the end of its
// context is still to come.
func TestDeadline_OwnAnswersComeInTime(t *testing.T) {
	const within = 10 * time.Second
	once := WithRetry(RetryPolicy{Attempts: 1})
	for _, tt := range []struct {
		name   string
		host   handler
		before string // another call for this, that has begun
		opts   []Option
		call   Call
		want   int // the status, in time
	}{
		{"a full limit", hanging, question(1), []Option{WithRateLimit(RatePolicy{InFlight: 1, MaxWait: Off})}, Call{}, 429},
		{"a pause", gives(429, asJSON, "{}", "Retry-After", "600"), question(1), []Option{once}, Call{}, 429},
		{"an empty answer", gives(200, asJSON, ""), "", []Option{once}, Call{}, 502},
		{"an endpoint that there is not", hanging, "", nil, Call{Endpoint: "none"}, 503},
	} {
		for layers, opts := range map[string][]Option{"cache": {WithCache(CachePolicy{})}, "no cache": nil, "Go errors": {WithErrors()}} {
			for _, delay := range []time.Duration{0, within} { // of the call, before it comes to breakwater
				bubble(t, fmt.Sprintf("%s/%s/%v", tt.name, layers, delay), func(t *testing.T) {
					rt := over(t, newHosts(tt.host), slices.Concat(tt.opts, opts, []Option{WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
						return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
							if _, ok := req.Context().Deadline(); ok {
								elapse(delay)
							}
							return next.RoundTrip(req)
						})
					})})...)
					if tt.before != "" {
						defer calls(t, rt, tt.before).cancel()
					}
					before := rt.Status().Failed
					ctx, cancel := context.WithTimeout(t.Context(), within+time.Second)
					defer cancel()
					got := asks(WithCall(tardy{ctx, time.Now().Add(within)}, tt.call), rt, chatJSON)
					failed := rt.Status().Failed - before
					var failure *Error
					switch {
					case delay > 0 && errors.Is(got.err, context.DeadlineExceeded) && failed == 0:
					case delay == 0 && layers == "Go errors" && errors.As(got.err, &failure) && failed == 1:
					case delay == 0 && layers != "Go errors" && got.status() == tt.want && failed == 1:
					default:
						t.Errorf("%v, %d failed", got, failed)
					}
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
			opts := []Option{anything, WithBase(fakehost.NewUnread(host.answers))}
			pick := func(o Option) {
				if random.IntN(2) == 0 {
					opts = append(opts, o)
				}
			}
			opts = append(opts, layerings()[[]string{"default", "gate alone", "breaker", "limit", "all", "as Go errors", "no clocks"}[random.IntN(7)]]...)
			pick(WithCache(CachePolicy{StaleWhileRevalidate: time.Hour}))
			pick(WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true, Rescue: RescueRestart, ErrorFrames: true}))
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
