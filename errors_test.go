package breakwater

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// What a caller gets where no endpoint answered: breakwater's own answer with
// the *Error behind it, or that as a Go error.
func TestErrorOf(t *testing.T) {
	reset := errors.New("reset")
	for _, tt := range []struct {
		name   string
		base   handler
		opts   []Option
		before int // calls
		status int
		code   string
		is     error
		class  Class
	}{
		{"unreachable", func(*http.Request) (*http.Response, error) { return nil, reset }, nil, 0, 503, "unreachable", reset, ClassUnreachable},
		{"rate limited", gives(200, asJSON, goodJSON), []Option{WithRateLimit(RatePolicy{PerSecond: 0.1, MaxWait: Off})}, 1, 429, "rate_limited", ErrRateLimited, ClassLimited},
		{"paused", gives(429, asJSON, "{}", "Retry-After", "300"), nil, 1, 429, "paused", outcome.ErrPaused, ClassPaused},
		{"rewrite", gives(200, asJSON, goodJSON), []Option{WithEndpoints(Endpoint{Name: "r", URL: "https://a", Rewrite: func(*http.Request) error { return reset }})}, 0, 503, "rewrite", reset, ClassRewrite},
	} {
		for _, asErrors := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", tt.name, asErrors), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					opts := append(slices.Clone(tt.opts), once)
					if asErrors {
						opts = append(opts, WithErrors())
					}
					rt := over(t, newHosts(tt.base), opts...)
					for range tt.before {
						asks(t.Context(), rt, chatJSON)
					}
					got := asks(t.Context(), rt, chatJSON)
					err := got.err
					if !asErrors {
						if err != nil {
							t.Fatalf("the call gave the Go error %v, want an answer", err)
						}
						err = ErrorOf(got.resp)
						if got.status() != tt.status || got.header(headerError) != tt.code || got.header(headerRetry) != "false" || got.resp.ContentLength != int64(len(got.body)) {
							t.Errorf("the answer is %v of %d bytes, want %d %s", got, got.resp.ContentLength, tt.status, tt.code)
						}
						if tt.code != "paused" { // which says what the host said
							var body struct {
								Error struct {
									Message, Type, Code string
									Param               *string
								}
							}
							if json.Unmarshal([]byte(got.body), &body) != nil || body.Error.Code != tt.code || body.Error.Type != "breakwater_error" ||
								!strings.HasPrefix(body.Error.Message, "breakwater: ") || got.header("Content-Type") != "application/json" {
								t.Errorf("body %s, want the OpenAI error shape", got.body)
							}
						}
					}
					var own *Error
					if !errors.As(err, &own) || !errors.Is(err, tt.is) {
						t.Fatalf("error %v, want an *Error of %v", err, tt.is)
					}
					if len(own.Attempts) != 1 || own.Attempts[0].Class != tt.class || own.Attempts[0].Verdict != VerdictStop {
						t.Errorf("attempts %+v, want one that ended %s", own.Attempts, tt.class)
					}
				})
			})
		}
	}
}

// Our own answers have the shape of the wire that the call came on: OpenAI's,
// or Anthropic's on Messages.
func TestOwnAnswers(t *testing.T) {
	limit := WithRateLimit(RatePolicy{PerSecond: 0.1, MaxWait: Off})
	kept := with("Cache-Control", "only-if-cached")
	const (
		unreachable = `"message":"breakwater: no endpoint answered: a: unreachable"`
		limited     = `"message":"breakwater: no endpoint answered: a: limited"`
		notCached   = `"message":"breakwater: nothing is kept that would answer this call"`
	)
	for _, tt := range []struct {
		name, path string
		base       handler
		edit       func(*http.Request)
		before     int // calls
		status     int
		body       string
	}{
		{"chat, unreachable", "/chat/completions", refusing, nil, 0, 503, `{"error":{` + unreachable + `,"type":"breakwater_error","param":null,"code":"unreachable"}}`},
		{"chat, limited", "/chat/completions", gives(200, asJSON, goodJSON), nil, 1, 429, `{"error":{` + limited + `,"type":"breakwater_error","param":null,"code":"rate_limited"}}`},
		{"chat, not kept", "/chat/completions", refusing, kept, 0, 504, `{"error":{` + notCached + `,"type":"breakwater_error","param":null,"code":"not_cached"}}`},
		{"responses, unreachable", "/responses", refusing, nil, 0, 503, `{"error":{` + unreachable + `,"type":"breakwater_error","param":null,"code":"unreachable"}}`},
		{"messages, unreachable", "/v1/messages", refusing, nil, 0, 503, `{"type":"error","error":{` + unreachable + `,"type":"overloaded_error","param":null,"code":"unreachable"}}`},
		{"messages, limited", "/v1/messages", gives(200, asJSON, pieces[21]), nil, 1, 429, `{"type":"error","error":{` + limited + `,"type":"rate_limit_error","param":null,"code":"rate_limited"}}`},
		{"messages, not kept", "/v1/messages", refusing, kept, 0, 504, `{"type":"error","error":{` + notCached + `,"type":"timeout_error","param":null,"code":"not_cached"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := over(t, newHosts(tt.base), once, limit, WithCache(CachePolicy{}), WithEndpoints(at("a")...))
				on := func(req *http.Request) { req.URL.Path = tt.path }
				for n := range tt.before {
					asks(t.Context(), rt, question(n), on)
				}
				edits := []func(*http.Request){on}
				if tt.edit != nil {
					edits = append(edits, tt.edit)
				}
				got := asks(t.Context(), rt, chatJSON, edits...)
				if got.status() != tt.status || got.body != tt.body || got.header("Content-Type") != asJSON || got.header(headerRetry) != "false" || got.err != nil {
					t.Errorf("got %v, want %d %s", got, tt.status, tt.body)
				}
			})
		})
	}
}

// ErrorOf is nil for all that breakwater did not write itself.
func TestErrorOfOthers(t *testing.T) {
	for name, base := range map[string]handler{
		"answer":             gives(200, asJSON, goodJSON),
		"host's 503":         failing503,
		"host's 400":         gives(400, asJSON, "{}"),
		"host in our name":   gives(503, asJSON, "{}", headerError, "circuit_open"),
		"cut json, shown":    gives(200, asJSON, goodJSON[:30]),
		"stream, well begun": gives(200, asStream, wholeStream),
	} {
		got := asks(t.Context(), over(t, newHosts(base), once), chatJSON)
		if got.resp == nil {
			t.Fatalf("%s: the call gave %v, want a response", name, got)
		}
		if err := ErrorOf(got.resp); err != nil {
			t.Errorf("%s: ErrorOf = %v, want nil", name, err)
		}
	}
	for name, resp := range map[string]*http.Response{
		"nil": nil, "no request": {Header: http.Header{headerError: {"circuit_open"}}},
		"foreign": {Header: http.Header{headerError: {"circuit_open"}}, Request: &http.Request{}},
	} {
		if err := ErrorOf(resp); err != nil {
			t.Errorf("%s: ErrorOf = %v, want nil", name, err)
		}
		if trail := TrailOf(resp); trail != nil {
			t.Errorf("%s: TrailOf = %v, want nil", name, trail)
		}
	}
}

// WithErrors makes Go errors of exhausted calls, also where a host did answer;
// what is the caller's to see stays a response, and with it its body.
func TestWithErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		base   handler
		status int // of the response; 0: a Go error
	}{
		{"answer", gives(200, asJSON, goodJSON), 200},
		{"503", failing503, 0},
		{"429", gives(429, asJSON, "{}"), 0},
		{"cut json", gives(200, asJSON, goodJSON[:30]), 0},
		{"error inside", gives(200, asJSON, `{"error":{}}`), 0},
		{"empty stream", gives(200, asStream, ""), 0},
		{"400", gives(400, asJSON, "{}"), 400},
		{"404", gives(404, asJSON, "{}"), 404},
		{"401 of the caller's own key", gives(401, asJSON, "{}"), 401},
		{"402 of the caller's own key", gives(402, asJSON, "{}"), 402},
		{"redirect", gives(307, asJSON, ""), 307},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rt := over(t, newHosts(tt.base), once, WithErrors())
			got := asks(t.Context(), rt, chatJSON)
			if got.status() != tt.status {
				t.Fatalf("the call gave %v, want status %d", got, tt.status)
			}
			var own *Error
			if isOwn := errors.As(got.err, &own); isOwn != (tt.status == 0) {
				t.Errorf("error %v", got.err)
			}
			if own != nil && (len(own.Attempts) != 1 || own.Attempts[0].Endpoint != "a") {
				t.Errorf("attempts %+v, want one at a", own.Attempts)
			}
			if s := rt.Status(); s.Failed != map[bool]int64{true: 1, false: 0}[tt.status == 0] {
				t.Errorf("Status().Failed = %d", s.Failed)
			}
		})
	}
}

// The caller's own cancel and deadline are Go errors, whatever the options.
func TestTheCallersEndIsAGoError(t *testing.T) {
	why := errors.New("why")
	for _, opts := range [][]Option{nil, {WithErrors()}, {WithEndpoints(at("a")...), WithBackup(at("b")...)}, {WithCache(CachePolicy{})}} {
		synctest.Test(t, func(t *testing.T) {
			rt := over(t, newHosts(hanging), append(slices.Clone(opts), WithStream(StreamPolicy{FirstToken: Off, Thinking: Off, Queued: Off}))...)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if got := asks(ctx, rt, chatJSON); !errors.Is(got.err, context.DeadlineExceeded) {
				t.Errorf("deadline: %v, want it as a Go error", got)
			}
			cancel()
			ctx, because := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { because(why) })
			start := time.Now()
			if got := asks(ctx, rt, chatJSON); !errors.Is(got.err, why) || time.Since(start) != time.Second {
				t.Errorf("cancel: %v after %v, want its cause after 1s", got, time.Since(start))
			}
			ctx, cancel = context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			client := &http.Client{Transport: rt}
			req, _ := post(ctx, "https://a", chatJSON)
			var timeout interface{ Timeout() bool }
			if _, err := client.Do(req); !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("through http.Client: %v, want a timeout", err)
			}
		})
	}
}

// An *Error unwraps to what every attempt ended in.
func TestErrorUnwraps(t *testing.T) {
	first, second := errors.New("first"), fmt.Errorf("second: %w", io.ErrUnexpectedEOF)
	err := fmt.Errorf("above: %w", &Error{Attempts: []Attempt{{Err: first}, {Status: 503}, {Err: second}, {Err: ErrCircuitOpen}}})
	for _, target := range []error{first, second, io.ErrUnexpectedEOF, ErrCircuitOpen} {
		if !errors.Is(err, target) {
			t.Errorf("errors.Is(err, %v) = false", target)
		}
	}
	for _, target := range []error{ErrRateLimited, context.Canceled, ErrTruncated} {
		if errors.Is(err, target) {
			t.Errorf("errors.Is(err, %v) = true", target)
		}
	}
	if n := len((&Error{}).Unwrap()); n != 0 {
		t.Errorf("an empty *Error unwraps to %d errors", n)
	}
	if !errors.Is(ErrTruncated, io.ErrUnexpectedEOF) {
		t.Error("ErrTruncated is no io.ErrUnexpectedEOF")
	}
}

func TestErrorTimeout(t *testing.T) {
	for _, tt := range []struct {
		name     string
		attempts []Attempt
		want     bool
	}{
		{"no attempts", nil, false},
		{"no first token", []Attempt{{Class: ClassNoFirstToken, Err: ErrNoFirstToken}}, true},
		{"stalled", []Attempt{{Class: ClassStalled, Err: ErrStalled}}, true},
		{"deadline", []Attempt{{Class: ClassDeadline, Err: context.DeadlineExceeded}}, true},
		{"dial timeout", []Attempt{{Class: ClassUnreachable, Err: &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}}}, true},
		{"wrapped timeout", []Attempt{{Class: ClassUnreachable, Err: fmt.Errorf("x: %w", &net.DNSError{IsTimeout: true})}}, true},
		{"refused", []Attempt{{Class: ClassUnreachable, Err: &net.OpError{Op: "dial", Err: errors.New("refused")}}}, false},
		{"503", []Attempt{{Class: ClassUnavailable, Status: 503}}, false},
		{"the last one decides", []Attempt{{Class: ClassNoFirstToken, Err: ErrNoFirstToken}, {Class: ClassUnavailable, Status: 503}}, false},
		{"the last one decides, again", []Attempt{{Class: ClassUnavailable, Status: 503}, {Class: ClassNoFirstToken, Err: ErrNoFirstToken}}, true},
	} {
		err := error(&Error{Attempts: tt.attempts})
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || timeout.Timeout() != tt.want {
			t.Errorf("%s: Timeout() = %v, want %v", tt.name, !tt.want, tt.want)
		}
	}
}

// An *Error tells endpoints, classes and statuses, and describes the network's errors.
func TestErrorText(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"none", nil, "a: unreachable"},
		{"refused", &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "a: unreachable (dial: connection refused)"},
		{"anything else", errors.New("proxyconnect http://user:secret@proxy"), "a: unreachable"},
	} {
		err := &Error{Attempts: []Attempt{{Endpoint: "a", Class: ClassUnreachable, Err: tt.err}}}
		if want := "breakwater: no endpoint answered: " + tt.want; err.Error() != want {
			t.Errorf("%s: Error() = %q, want %q", tt.name, err.Error(), want)
		}
	}
	err := &Error{Attempts: []Attempt{{Endpoint: "a", Class: ClassUnavailable, Status: 503, Err: errors.New("x")}, {Endpoint: "b", Class: ClassLimited}}}
	if want := "breakwater: no endpoint answered: a: unavailable (503); b: limited"; err.Error() != want {
		t.Errorf("Error() = %q, want %q", err.Error(), want)
	}
	if want := "breakwater: no endpoint answered"; (&Error{}).Error() != want {
		t.Errorf("Error() = %q, want %q", (&Error{}).Error(), want)
	}
}

// A wait as Retry-After has it is rounded up, never negative, and never wraps.
func TestSecondsSaturate(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0", 0: "0", 1: "1", time.Second: "1", time.Second + 1: "2",
		100 * 365 * 24 * time.Hour: "3153600000", math.MaxInt64 - time.Second: "9223372036", math.MaxInt64: "9223372037",
	} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%v) = %s, want %s", d, got, want)
		}
	}
}

// TrailOf tells the attempts of the response it is given, through http.Client
// too, and hands out a copy.
func TestTrailOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		base.Set("a", func(req *http.Request) (*http.Response, error) { elapse(time.Second); return failing503(req) })
		rt := over(t, base, WithEndpoints(at("a")...), WithBackup(Endpoint{Name: "b", URL: "https://b", Keyless: true, Models: map[string]string{"m": "theirs"}}))
		req, _ := post(t.Context(), "https://a", chatJSON)
		begin := time.Now()
		resp, err := (&http.Client{Transport: rt}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		trail := TrailOf(resp)
		if len(trail) != 3 {
			t.Fatalf("%d attempts, want 3: %+v", len(trail), trail)
		}
		for i, want := range []Attempt{
			{N: 1, Endpoint: "a", Model: "m", Start: begin, Elapsed: time.Second, Status: 503, Class: ClassUnavailable, Verdict: VerdictAgain},
			{N: 2, Endpoint: "a", Model: "m", Start: begin.Add(1500 * time.Millisecond), Wait: 500 * time.Millisecond, Elapsed: time.Second, Status: 503, Class: ClassUnavailable, Verdict: VerdictElsewhere},
			{N: 3, Endpoint: "b", Model: "theirs", Start: begin.Add(2500 * time.Millisecond), Status: 200, Class: ClassOK, Verdict: VerdictAccept, Bytes: int64(len(goodJSON)), Usage: Usage{TotalTokens: 3}},
		} {
			if !trail[i].Start.Equal(want.Start) {
				t.Errorf("attempt %d began %v after the call, want %v", i+1, trail[i].Start.Sub(begin), want.Start.Sub(begin))
			}
			trail[i].Start = want.Start
			if trail[i] != want {
				t.Errorf("attempt %d is\n%+v, want\n%+v", i+1, trail[i], want)
			}
		}
		trail[0].Endpoint = "changed"
		if TrailOf(resp)[0].Endpoint != "a" {
			t.Error("a change to what TrailOf returned changed the trail")
		}
		if got := (&http.Request{}); TrailOf(&http.Response{Request: got}) != nil {
			t.Error("TrailOf of a foreign response is not nil")
		}
	})
}

// From the cache comes no trail.
func TestTrailOfACachedAnswer(t *testing.T) {
	rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithCache(CachePolicy{}))
	if trail := TrailOf(asks(t.Context(), rt, chatJSON).resp); len(trail) != 1 {
		t.Errorf("TrailOf the first answer = %v, want one attempt", trail)
	}
	if trail := TrailOf(asks(t.Context(), rt, chatJSON).resp); trail != nil {
		t.Errorf("TrailOf a cached answer = %#v, want nil", trail)
	}
}

// Call.Trail tells those who never see the response, at any time, of the
// latest call.
func TestCallTrail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trail Trail
		if got := trail.Attempts(); got != nil {
			t.Errorf("before any call: %v, want nil", got)
		}
		base := newHosts(func(req *http.Request) (*http.Response, error) { elapse(time.Second); return failing503(req) })
		rt := over(t, base, WithErrors(), WithRetry(RetryPolicy{Attempts: 2}))
		ctx := WithCall(t.Context(), Call{Trail: &trail})
		var done sync.WaitGroup
		done.Go(func() { asks(ctx, rt, chatJSON) })
		elapse(500 * time.Millisecond) // while it is under way
		if got := trail.Attempts(); len(got) != 1 || got[0].N != 1 || got[0].Class != "" || got[0].Endpoint != "a" {
			t.Errorf("while the first attempt is under way: %+v", got)
		}
		done.Wait()
		if got := trail.Attempts(); len(got) != 2 || got[1].N != 2 || got[1].Status != 503 || got[1].Verdict != VerdictStop {
			t.Errorf("behind the call: %+v, want two attempts", got)
		}
		base.Set("a", gives(200, asJSON, goodJSON))
		asks(ctx, rt, chatJSON)
		if got := trail.Attempts(); len(got) != 1 || got[0].Class != ClassOK {
			t.Errorf("behind another call: %+v, want its one attempt", got)
		}
	})
}

// A Trail keeps what it tells, and nothing else of a finished call: neither the
// call with its body nor an attempt with its answer. So does the error of a call.
func TestTrail_KeepsTheBookOnly(t *testing.T) {
	whole, stream := gives(200, asJSON, goodJSON), gives(200, asStream, wholeStream)
	cached := WithCache(CachePolicy{TTL: time.Minute, StaleWhileRevalidate: time.Minute})
	hedged := WithStream(StreamPolicy{Hedge: time.Second})
	first := func(first, then handler) handler {
		var n atomic.Int64
		return func(req *http.Request) (*http.Response, error) {
			if n.Add(1) == 1 {
				return first(req)
			}
			return then(req)
		}
	}
	for _, tt := range []struct {
		name  string
		ask   string
		do    handler
		calls int
		opts  []Option
	}{
		{"json", chatJSON, whole, 1, nil},
		{"stream", chatStream, stream, 1, nil},
		{"refused", chatJSON, gives(400, asJSON, "{}"), 1, nil},
		{"failed", chatJSON, failing503, 1, nil},
		{"failed, as an error", chatJSON, refusing, 1, []Option{WithErrors()}},
		{"hedged", chatJSON, first(fakehost.After(time.Minute, whole), whole), 1, []Option{hedged}},
		{"rescued", chatStream, first(breaks(asStream, goodEvent), stream), 1, []Option{WithStream(StreamPolicy{Rescue: RescueRestart})}},
		{"broken", chatStream, breaks(asStream, goodEvent), 1, nil},
		{"cached", chatJSON, whole, 2, []Option{cached}},
		{"cached stream", chatStream, stream, 2, []Option{cached}},
		{"too large to be kept", chatJSON, whole, 1, []Option{WithRetry(RetryPolicy{MaxReplay: 10})}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var made []weak.Pointer[call]
				var sent []weak.Pointer[attempt]
				rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					io.Copy(io.Discard, req.Body)
					mu.Lock()
					made = append(made, weak.Make(callOf(req.Context())))
					sent = append(sent, weak.Make(attemptOf(req.Context())))
					mu.Unlock()
					return tt.do(req)
				}), append(tt.opts, WithEndpoints(at("a", "b")...), WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
					return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
						resp, err := next.RoundTrip(req)
						if resp != nil {
							mu.Lock()
							defer mu.Unlock()
							made = append(made, weak.Make(callOf(resp.Request.Context())))
						}
						return resp, err
					})
				}))...)
				trails := make([]Trail, tt.calls)
				var ended []error
				for i := range trails {
					ended = append(ended, asks(WithCall(t.Context(), Call{Trail: &trails[i]}), rt, tt.ask).err)
				}
				elapse(time.Hour)
				synctest.Wait()
				for range 3 { // what a pool holds goes with the second
					runtime.GC()
				}
				for i, w := range made {
					if w.Value() != nil {
						t.Errorf("call %d of %d is kept", i+1, len(made))
					}
				}
				for i, w := range sent {
					if w.Value() != nil {
						t.Errorf("attempt %d of %d is kept", i+1, len(sent))
					}
				}
				if len(trails[0].Attempts()) == 0 || len(sent) == 0 {
					t.Errorf("trail %v of %d attempts: nothing was tested", trails[0].Attempts(), len(sent))
				}
				runtime.KeepAlive(trails)
				runtime.KeepAlive(ended)
			})
		})
	}
}

// Who keeps a response whose body was in memory keeps no copy of the request's.
func TestTrail_OfAResponseKeepsNoPrompt(t *testing.T) {
	cached := WithCache(CachePolicy{})
	for _, tt := range []struct {
		name  string
		do    handler
		opts  []Option
		calls int
	}{
		{"json", gives(200, asJSON, goodJSON), nil, 1},
		{"refused", gives(400, asJSON, "{}"), nil, 1},
		{"failed", refusing, nil, 1},
		{"cached", gives(200, asJSON, goodJSON), []Option{cached}, 2},
		{"refused, cached", gives(400, asJSON, "{}"), []Option{cached}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var buffers []weak.Pointer[reqbody.Buffer]
				rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					buffers = append(buffers, weak.Make(callOf(req.Context()).buffer))
					return newHosts(tt.do).RoundTrip(req)
				}), append(tt.opts, once)...)
				var kept []seen
				for range tt.calls {
					kept = append(kept, asks(t.Context(), rt, chatJSON))
				}
				elapse(time.Hour) // clocks that were stopped are gone, too
				synctest.Wait()
				for range 3 {
					runtime.GC()
				}
				for _, w := range buffers {
					if w.Value() != nil {
						t.Error("a kept response holds the request's body")
					}
				}
				if len(buffers) == 0 || tt.name != "cached" && TrailOf(kept[0].resp) == nil {
					t.Error("nothing was tested")
				}
				runtime.KeepAlive(kept)
			})
		})
	}
}

// Nor does who keeps the response of a stream that is over, read to its end or
// closed, alone or sharing it: neither the prompt, nor what came of the answer, nor
// what endpoints refused before.
func TestTrail_OfAStreamThatIsOverHoldsNothing(t *testing.T) {
	each, most := ifFull(8, 3), 64<<10
	text, pad := strings.Repeat("x", 300<<10), strings.Repeat("p", 300<<10)
	said := event(text)
	stream := gives(200, asStream, said+finishEvent+doneEvent)
	more := gives(200, asStream, event("more")+finishEvent+doneEvent)
	breaks, refuses := breaks(asStream, said), gives(503, asJSON, `{"error":"`+text+`"}`)
	fails := gives(200, asStream, said+`data: {"error":{"message":"`+text+`"}}`+"\n\n")
	restart, hedged := WithStream(StreamPolicy{Rescue: RescueRestart}), WithStream(StreamPolicy{Hedge: 2 * time.Second})
	for _, tt := range []struct {
		name string
		a, b handler // at the endpoint and its backup
		opts []Option
	}{
		{"whole", stream, nil, nil},
		{"rescued", breaks, stream, []Option{restart}},
		{"continued", breaks, more, nil},
		{"rescued in vain", breaks, breaks, []Option{restart}},
		{"an error inside", fails, fails, nil},
		{"an error inside, no rescue", fails, nil, []Option{WithStream(StreamPolicy{Rescue: RescueOff})}},
		{"hedged", fakehost.After(time.Minute, stream), stream, []Option{hedged}},
		{"refused before", refuses, stream, nil},
	} {
		for setup, opts := range map[string][]Option{"alone": nil, "shared": {WithCache(CachePolicy{MaxBytes: 1 << 10})}} {
			for _, closes := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/closes=%v", tt.name, setup, closes), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						base := newHosts(nil)
						base.Set("a", fakehost.After(time.Second, tt.a))
						base.Set("b", tt.b)
						rt := over(t, base, append(append(opts, noBreaker, once, WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b"))), tt.opts...)...)
						var mu sync.Mutex
						var kept []*http.Response
						ask := func(n int) {
							body := fmt.Sprintf(`{"model":"m","stream":true,"messages":[{"role":"user","content":"%d %s"}]}`, n, pad)
							req, _ := post(t.Context(), "https://a", body)
							resp, err := rt.RoundTrip(req)
							if err != nil || resp.StatusCode != 200 {
								t.Error(resp, err)
								return
							}
							if closes {
								io.ReadFull(resp.Body, make([]byte, 100))
								resp.Body.Close()
							} else {
								io.Copy(io.Discard, resp.Body)
							}
							resp.Request.Body, resp.Request.GetBody = nil, nil // the caller's own
							mu.Lock()
							defer mu.Unlock()
							kept = append(kept, resp)
						}
						before := heap()
						for n := range each {
							go ask(n)
							go ask(n) // who follows, where calls are shared
							elapse(time.Hour)
							synctest.Wait()
						}
						heap() // what a pool holds goes with the second
						if got := int(heap()) - int(before); got > each*most || len(kept) != 2*each {
							t.Errorf("%d KiB are held by %d responses", got>>10, len(kept))
						}
						runtime.KeepAlive(kept)
					})
				})
			}
		}
	}
}

// What Call overrides for one call, and for that one only.
func TestWithCall(t *testing.T) {
	t.Run("NoCache", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			rt := over(t, base, WithCache(CachePolicy{}))
			none := WithCall(t.Context(), Call{NoCache: true})
			for i, tt := range []struct {
				ctx   context.Context
				asked int
				said  string
			}{
				{none, 1, "breakwater; fwd=bypass"}, {t.Context(), 2, "breakwater; fwd=uri-miss"},
				{none, 3, "breakwater; fwd=bypass"}, {t.Context(), 3, "breakwater; hit; ttl=300"},
			} {
				got := asks(tt.ctx, rt, chatJSON)
				if said := got.header("Cache-Status"); base.Count("") != tt.asked || said != tt.said {
					t.Errorf("call %d: %d attempts so far, Cache-Status %q, want %d and %q", i+1, base.Count(""), said, tt.asked, tt.said)
				}
			}
		})
	})
	t.Run("NoCache is not answered from the cache when all fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			rt := over(t, base, once, WithCache(CachePolicy{TTL: time.Minute}))
			asks(t.Context(), rt, chatJSON)
			base.Set("a", failing503)
			if got := asks(WithCall(t.Context(), Call{NoCache: true}), rt, chatJSON); got.status() != 503 {
				t.Errorf("the call gave %v, want the host's 503", got)
			}
		})
	})
	t.Run("Endpoint", func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, once, WithEndpoints(at("a", "b")...), WithBackup(at("c")...))
		for _, name := range []string{"c", "b", "a", "b"} {
			if got := asks(WithCall(t.Context(), Call{Endpoint: name}), rt, chatJSON); got.header(headerEndpoint) != name {
				t.Errorf("Endpoint %s: %v", name, got)
			}
		}
		base.Set("b", failing503)
		before := base.Count("")
		if got := asks(WithCall(t.Context(), Call{Endpoint: "b"}), rt, chatJSON); got.status() != 503 || base.Count("")-before != 1 {
			t.Errorf("Endpoint b, failing: %v after %d attempts, want its 503 after one", got, base.Count("")-before)
		}
		for range 4 {
			if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
				t.Errorf("the next call: %v, want an answer", got)
			}
		}
	})
	t.Run("Scope", func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithCache(CachePolicy{}))
		for i, tt := range []struct {
			scope string
			asked int
		}{{"team", 1}, {"team", 1}, {"other", 2}, {"", 3}, {"team", 3}, {"", 3}} {
			asks(WithCall(t.Context(), Call{Scope: tt.scope}), rt, chatJSON)
			if n := base.Count(""); n != tt.asked {
				t.Errorf("call %d, scope %q: %d attempts so far, want %d", i+1, tt.scope, n, tt.asked)
			}
		}
	})
	t.Run("the inner one holds", func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithEndpoints(at("a", "b")...))
		ctx := WithCall(WithCall(t.Context(), Call{Endpoint: "a"}), Call{Endpoint: "b"})
		for range 2 {
			if got := asks(ctx, rt, chatJSON); got.header(headerEndpoint) != "b" {
				t.Errorf("answered by %s, want b", got.header(headerEndpoint))
			}
		}
	})
}

// Where the endpoint that Call names does not exist, or does not have the model,
// nothing is tried and nobody is blamed.
func TestUnserved(t *testing.T) {
	for _, name := range []string{"nobody", "b"} {
		for _, asErrors := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", name, asErrors), func(t *testing.T) {
				base := newHosts(gives(200, asJSON, goodJSON))
				b := Endpoint{Name: "b", URL: "https://b", APIKey: "sk", Models: map[string]string{"another": "theirs"}}
				opts := []Option{WithEndpoints(at("a")...), WithBackup(b)}
				if asErrors {
					opts = append(opts, WithErrors())
				}
				got := asks(WithCall(t.Context(), Call{Endpoint: name}), over(t, base, opts...), chatJSON)
				err := got.err
				if !asErrors {
					err = ErrorOf(got.resp)
					if got.status() != 503 || got.header(headerError) != "unserved" || got.header(headerRetry) != "false" {
						t.Errorf("got %v, want our own 503, unserved", got)
					}
				}
				var own *Error
				if !errors.As(err, &own) || len(own.Attempts) != 0 || base.Count("") != 0 || asErrors != (got.resp == nil) {
					t.Errorf("got %v, %v after %d requests, want an *Error without attempts after none", got, err, base.Count(""))
				}
			})
		}
	}
}
