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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// What a caller gets where no endpoint answered: breakwater's own answer with
// the *Error behind it, or that as a Go error.
func TestError_Of(t *testing.T) {
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
func TestError_OwnAnswers(t *testing.T) {
	limit := WithRateLimit(RatePolicy{PerSecond: 0.1, MaxWait: Off})
	kept := with("Cache-Control", "only-if-cached")
	const (
		unreachable = `"message":"breakwater: no endpoint answered: a: unreachable"`
		limited     = `"message":"breakwater: no endpoint answered: a: limited (1 of 1 per second)"`
		badKey      = `"message":"breakwater: the Idempotency-Key is empty"`
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
		{"chat, a bad key", "/chat/completions", refusing, underKey(""), 0, 400, `{"error":{` + badKey + `,"type":"breakwater_error","param":null,"code":"idempotency_key_invalid"}}`},
		{"messages, a bad key", "/v1/messages", refusing, underKey(""), 0, 400, `{"type":"error","error":{` + badKey + `,"type":"invalid_request_error","param":null,"code":"idempotency_key_invalid"}}`},
		{"messages, not kept", "/v1/messages", refusing, kept, 0, 504, `{"type":"error","error":{` + notCached + `,"type":"timeout_error","param":null,"code":"not_cached"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := over(t, newHosts(tt.base), once, limit, idempotent, WithCache(CachePolicy{}), WithEndpoints(at("a")...))
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

// ErrorOf is not nil where no endpoint answered, also if a host has sent the response. It is
// nil for answers, and for what the host says of the request.
func TestError_OfOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		base  handler
		class Class // empty: no error
	}{
		"answer":             {gives(200, asJSON, goodJSON), ""},
		"host's 503":         {failing503, ClassUnavailable},
		"host's 429":         {gives(429, asJSON, "{}"), ClassRateLimited},
		"host's 400":         {gives(400, asJSON, "{}"), ""},
		"caller's key":       {gives(401, asJSON, "{}"), ""},
		"redirect":           {gives(307, asJSON, "{}", "Location", "/elsewhere"), ""},
		"host in our name":   {gives(503, asJSON, "{}", headerError, "circuit_open"), ClassUnavailable},
		"answer in our name": {gives(200, asJSON, goodJSON, headerError, "circuit_open"), ""},
		"cut json, shown":    {gives(200, asJSON, goodJSON[:30]), ClassBadResponse},
		"stream, well begun": {gives(200, asStream, wholeStream), ""},
	} {
		got := asks(t.Context(), over(t, newHosts(tt.base), once), chatJSON)
		if got.resp == nil {
			t.Fatalf("%s: the call gave %v, want a response", name, got)
		}
		var failure *Error
		if err := ErrorOf(got.resp); errors.As(err, &failure) != (tt.class != "") || failure != nil && (failure.Class != tt.class || len(failure.Attempts) != 1) {
			t.Errorf("%s: ErrorOf = %+v, want %q", name, err, tt.class)
		}
		if got.header(headerError) != "" {
			t.Errorf("%s: a host's %s reached the caller", name, headerError)
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
func TestError_WithErrors(t *testing.T) {
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
func TestError_CallersEndIsAGoError(t *testing.T) {
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
func TestError_Unwraps(t *testing.T) {
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

func TestError_Timeout(t *testing.T) {
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
func TestError_Text(t *testing.T) {
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
func TestError_SecondsSaturate(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0", 0: "0", 1: "1", time.Second: "1", time.Second + 1: "2",
		100 * 365 * 24 * time.Hour: "3153600000", math.MaxInt64 - time.Second: "9223372036", math.MaxInt64: "9223372037",
	} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%v) = %s, want %s", d, got, want)
		}
	}
}

// A refusal of our own says which limit it was, how full it is, and when it is free, on each
// wire, as an answer and as an error.
func TestError_NamesTheLimit(t *testing.T) {
	wires := map[string]string{
		"/chat/completions": chatJSON, "/completions": `{"model":"m","prompt":"q"}`, "/responses": `{"model":"m","input":"q"}`,
		"/v1/messages": `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}]}`, "/embeddings": `{"model":"m","input":"q"}`,
	}
	held := func(req *http.Request) (*http.Response, error) { // a stream that is held open
		if err := fakehost.Sleep(req.Context(), 10*time.Second); err != nil {
			return nil, err
		}
		return gives(200, asJSON, goodJSON)(req)
	}
	for _, tt := range []struct {
		name   string
		policy RatePolicy
		asked  int // callers before
		waits  time.Duration
		want   LimitError
		text   string
		after  string // Retry-After; empty: none
	}{
		{"in flight, how long is not known", RatePolicy{InFlight: 2, MaxWait: Off}, 2, 0, LimitError{Limit: "in flight", InUse: 2, Max: 2}, "2 of 2 in flight", ""},
		{"in flight, for as long as nothing came free", RatePolicy{InFlight: 2, MaxWait: 5 * time.Second}, 5, 5 * time.Second, LimitError{Limit: "in flight", InUse: 2, Max: 2, RetryAfter: 5 * time.Second}, "2 of 2 in flight", "5"},
		{"per second", RatePolicy{PerSecond: 0.4, Burst: 2, MaxWait: Off}, 2, 0, LimitError{Limit: "per second", InUse: 2, Max: 2, RetryAfter: 2500 * time.Millisecond}, "2 of 2 per second", "3"},
		{"per second, soon", RatePolicy{PerSecond: 10, Burst: 2, MaxWait: Off}, 2, 0, LimitError{Limit: "per second", InUse: 2, Max: 2, RetryAfter: 100 * time.Millisecond}, "2 of 2 per second", "1"},
	} {
		for path, body := range wires {
			for _, asErrors := range []bool{false, true} {
				bubble(t, fmt.Sprintf("%s%s/%v", tt.name, path, asErrors), func(t *testing.T) {
					e := at("a")[0]
					e.Account, e.Models, e.Limits = "team", map[string]string{"m": "theirs"}, map[string]RatePolicy{"theirs": tt.policy}
					opts := []Option{WithEndpoints(e), once}
					if asErrors {
						opts = append(opts, WithErrors())
					}
					rt := over(t, newHosts(held), opts...)
					on := func(req *http.Request) { req.URL.Path = path }
					for range tt.asked {
						go asks(t.Context(), rt, body, on)
						synctest.Wait()
					}
					start := time.Now()
					got := asks(t.Context(), rt, body, on)
					err := got.err
					if !asErrors {
						err = ErrorOf(got.resp)
						if got.status() != 429 || got.header("Retry-After") != tt.after || !strings.Contains(got.body, "a: limited ("+tt.text) || got.header(headerRetry) != "false" {
							t.Errorf("got %v, want 429 with Retry-After %q and %q", got, tt.after, tt.text)
						}
					}
					var limit *LimitError
					var failure *Error
					if !errors.As(err, &limit) || !errors.As(err, &failure) || !errors.Is(err, ErrRateLimited) || time.Since(start) != tt.waits {
						t.Fatalf("the error is %v after %v", err, time.Since(start))
					}
					want := tt.want
					want.Account, want.Model, want.Waiting = "team", "theirs", limit.Waiting
					if *limit != want || failure.RetryAfter != want.RetryAfter || failure.Class != ClassLimited {
						t.Errorf("the error is %+v in %+v, want %+v", limit, failure, want)
					}
					elapse(time.Hour)
				})
			}
		}
	}
}

// Who waits for a limit is told of, and the time until it is free is judged by recent
// attempts.
func TestError_NamesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := over(t, newHosts(fakehost.After(4*time.Second, gives(200, asJSON, goodJSON))), once, WithEndpoints(at("a")...), WithRateLimit(RatePolicy{InFlight: 2, MaxWait: 5 * time.Second}))
		for range 3 { // it learns how long attempts take
			asks(t.Context(), rt, chatJSON)
		}
		for range 20 {
			go asks(t.Context(), rt, chatJSON)
		}
		synctest.Wait()
		go func() { // they wait still when the call gives up
			elapse(time.Second)
			for range 20 {
				go asks(t.Context(), rt, chatJSON)
			}
		}()
		got := asks(t.Context(), rt, chatJSON)
		var limit *LimitError
		if !errors.As(ErrorOf(got.resp), &limit) || limit.Waiting == 0 || !strings.Contains(got.body, fmt.Sprintf("2 of 2 in flight, %d waiting", limit.Waiting)) {
			t.Errorf("got %v, %+v", got, limit)
		}
		if n, err := strconv.Atoi(got.header("Retry-After")); err != nil || n < 1 || limit.RetryAfter <= 0 {
			t.Errorf("Retry-After is %q, %v", got.header("Retry-After"), limit.RetryAfter)
		}
		elapse(time.Hour)
	})
}

// A refusal because of circuits, pauses and limits says when the first endpoint can be asked.
func TestError_RetryAfter(t *testing.T) {
	for _, tt := range []struct {
		name   string
		a, b   handler
		opts   []Option
		before int
		status int
		least  int // of Retry-After
		most   int
	}{
		{"an open circuit", refusing, refusing, []Option{WithBreaker(BreakerPolicy{Consecutive: 1, OpenFor: time.Minute, MaxWait: Off})}, 8, 503, 1, 60},
		{"a pause", gives(429, asJSON, "{}", "Retry-After", "90"), gives(429, asJSON, "{}", "Retry-After", "70"), nil, 1, 429, 70, 70},
		{"a pause and a limit", gives(429, asJSON, "{}", "Retry-After", "90"), gives(200, asJSON, goodJSON), []Option{WithRateLimit(RatePolicy{PerSecond: 0.5, Burst: 1, MaxWait: Off})}, 2, 429, 1, 2},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(tt.b)
			base.Set("a", tt.a)
			rt := over(t, base, append([]Option{once, WithEndpoints(at("a", "b")...)}, tt.opts...)...)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // nobody waits for a probe
			defer cancel()
			var got seen
			for range tt.before + 1 {
				got = asks(ctx, rt, chatJSON)
			}
			n, err := strconv.Atoi(got.header("Retry-After"))
			if got.status() != tt.status || err != nil || n < tt.least || n > tt.most || got.header(headerRetry) != "false" {
				t.Errorf("got %v, want %d with Retry-After from %d to %d", got, tt.status, tt.least, tt.most)
			}
			var failure *Error
			if !errors.As(ErrorOf(got.resp), &failure) || failure.RetryAfter <= 0 {
				t.Errorf("the error is %+v", failure)
			}
		})
	}
}

// The error of a name that does not exist says which do, some of them if there are many,
// and no more of the name than fits.
func TestError_ListsTheNames(t *testing.T) {
	var many []Endpoint
	for i := range 30 {
		many = append(many, Endpoint{Name: fmt.Sprintf("host-%02d", i), URL: fmt.Sprintf("https://h%d", i), APIKey: "sk-secret"})
	}
	models := map[string]string{"flash": "x", "pro": "y"}
	for i := range 40 {
		models[fmt.Sprintf("z%02d", i)] = "z"
	}
	b := Endpoint{Name: "b", URL: "https://b", APIKey: "sk-secret", Models: map[string]string{"flash": "x", "pro": "y"}}
	c := Endpoint{Name: "c", URL: "https://c", APIKey: "sk-secret", Models: models}
	for _, tt := range []struct {
		name, endpoint, model string
		more                  []Endpoint
		want                  string
	}{
		{"nobody", "x", "m", []Endpoint{b}, `no endpoint has the name "x": there is "a", "b"`},
		{"nobody, of many", "x", "m", many, `there is "a", "host-00", "host-01", "host-02", "host-03", "host-04", "host-05", "host-06", "host-07", "host-08", "host-09", "host-10" and 19 more`},
		{"a model", "b", "gpt-5", []Endpoint{b}, `endpoint "b" has no name for the model "gpt-5": it has "flash", "pro"`},
		{"a model, of many", "c", "gpt-5", []Endpoint{c}, `"z09" and 30 more`},
		{"a long name", strings.Repeat("x", 5000), "m", []Endpoint{b}, `name "` + strings.Repeat("x", 64) + `…": there`},
		{"a long model", "b", strings.Repeat("y", 5000), []Endpoint{b}, `the model of the call: it`},
		{"a key for a model", "b", "sk-caller-0123456789", []Endpoint{b}, `the model of the call: it has`},
		{"control characters", "x\ny", "m", []Endpoint{b}, `name "x\ny": there`},
	} {
		for _, path := range []string{"/v1/chat/completions", "/v1/messages"} {
			t.Run(tt.name+path, func(t *testing.T) {
				rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithEndpoints(at("a")...), WithBackup(tt.more...))
				body := strings.Replace(chatJSON, `"model":"m"`, fmt.Sprintf(`"model":%q`, tt.model), 1)
				got := asks(WithCall(t.Context(), Call{Endpoint: tt.endpoint}), rt, body, with("Authorization", "Bearer sk-caller-0123456789"), func(req *http.Request) { req.URL.Path = path })
				var said struct{ Error struct{ Message string } }
				err := ErrorOf(got.resp)
				if json.Unmarshal([]byte(got.body), &said) != nil || err == nil || said.Error.Message != err.Error() || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %s, %v, want %s", got.body, err, tt.want)
				}
				if strings.Contains(got.body, "sk-") || len(got.body) > 2000 {
					t.Errorf("got %d bytes: %s", len(got.body), got.body)
				}
			})
		}
	}
}

// Where the endpoint that Call names does not exist, or does not have the model,
// nothing is tried and nobody is blamed. The error says what the named endpoint lacks.
func TestError_Unserved(t *testing.T) {
	for name, why := range map[string]Reason{"nobody": "", "b": ReasonModel} {
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
				said := Reason("")
				if errors.As(err, &own) && len(own.Attempts) == 1 {
					said = own.Attempts[0].PassedOver
				}
				if own == nil || said != why || (why == "") != (len(own.Attempts) == 0) || base.Count("") != 0 || asErrors != (got.resp == nil) {
					t.Errorf("got %v, %v after %d requests, want an *Error that says %q after none", got, err, base.Count(""), why)
				}
			})
		}
	}
}

// The text lists what failed alike once, with how often it did, and how often an endpoint was
// passed over for the same reason is of no interest.
func TestError_ListsNothingTwice(t *testing.T) {
	busy, open := Attempt{Endpoint: "a", Class: ClassUnavailable, Status: 503}, Attempt{Endpoint: "b", Class: ClassCircuitOpen, PassedOver: ReasonCircuit}
	for want, attempts := range map[string][]Attempt{
		"breakwater: no endpoint answered":                                                                                   nil,
		"breakwater: no endpoint answered: a: unavailable (503)":                                                             {busy},
		"breakwater: no endpoint answered: b: circuit_open; a: unavailable (503), 3 times":                                   {open, busy, busy, open, busy},
		"breakwater: no endpoint answered: a: unavailable (503); a: unavailable (500); b: unserved (model); b: circuit_open": {busy, {Endpoint: "a", Class: ClassUnavailable, Status: 500}, {Endpoint: "b", Class: ClassUnserved, PassedOver: ReasonModel}, open},
	} {
		if got := (&Error{Class: ClassUnavailable, Attempts: attempts}).Error(); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	}
}
