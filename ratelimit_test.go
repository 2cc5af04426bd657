package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A permit is held to the end of the body, and given back at every end of it
// (invariant 4).
func TestPermitIsHeldToTheEndOfTheBody(t *testing.T) {
	for name, end := range map[string]func(*held){
		"terminator": func(h *held) {
			h.Send(endEvent + doneEvent)
			io.ReadFull(h.resp.Body, make([]byte, len(endEvent+doneEvent))) // and never closes, as some SDKs
		},
		"EOF":             func(h *held) { h.Send(endEvent); h.End(); h.readAll() },
		"cut":             func(h *held) { h.End(); h.readAll() },
		"reset":           func(h *held) { h.Break(errors.New("reset")); h.readAll() },
		"malformed":       func(h *held) { h.Send("data: {\n\n"); h.readAll() },
		"error frame":     func(h *held) { h.Send("data: {\"error\":{}}\n\n"); h.readAll() },
		"closed":          func(h *held) { h.resp.Body.Close() },
		"closed twice":    func(h *held) { h.resp.Body.Close(); h.resp.Body.Close() },
		"closed in Read":  func(h *held) { go h.readAll(); synctest.Wait(); h.resp.Body.Close() },
		"cancelled":       func(h *held) { h.cancel() },
		"cancelled twice": func(h *held) { h.cancel(); h.readAll(); h.resp.Body.Close() },
		"stalled":         func(h *held) { h.readAll() }, // the clock ends it
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newPiped()
				rt := over(t, base, noBreaker, WithRateLimit(RatePolicy{InFlight: 2, MaxWait: Off}))
				other := base.hold(t, rt)
				h := base.hold(t, rt)
				<-time.After(time.Second)
				if got := asks(t.Context(), rt, chatStream); !refused(got) {
					t.Errorf("while two streams are open a third call gave %v, want a refusal", got)
				}
				end(h)
				synctest.Wait()
				again := base.hold(t, rt)
				// Exactly one came back: the other's is still out.
				if got := asks(t.Context(), rt, chatStream); !refused(got) {
					t.Errorf("behind the end one call too many gave %v, want a refusal", got)
				}
				for _, h := range []*held{other, h, again} {
					h.leave()
				}
				synctest.Wait()
				if s := rt.Status().Endpoints[0].Limits[0]; s.InFlight != 0 || s.Waiting != 0 {
					t.Errorf("when all have left: %+v", s)
				}
			})
		})
	}
}

// A JSON answer is whole when the caller gets it, and its exchange over; what
// cannot be judged is held to the end.
func TestPermitOfAnswersThatAreNoStreams(t *testing.T) {
	packed := gives(200, asJSON, goodJSON, "Content-Encoding", "br")
	for _, tt := range []struct {
		name string
		base handler
		opts []Option
		held bool
	}{
		{"json", gives(200, asJSON, goodJSON), nil, false},
		{"refusal", gives(400, asJSON, goodJSON), nil, false},
		{"packed", packed, nil, true},
		{"json above MaxBuffer", gives(200, asJSON, goodJSON), []Option{WithStream(StreamPolicy{MaxBuffer: 10})}, true},
	} {
		for _, close := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", tt.name, close), func(t *testing.T) {
				rt := over(t, newHosts(tt.base), append(tt.opts, noBreaker, WithRateLimit(RatePolicy{InFlight: 1, MaxWait: Off}))...)
				req, _ := post(t.Context(), "https://a", chatJSON)
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				if got := asks(t.Context(), rt, chatJSON); refused(got) != tt.held {
					t.Errorf("before the end a second call gave %v, want a refusal: %v", got, tt.held)
				}
				if close {
					resp.Body.Close()
				} else {
					io.Copy(io.Discard, resp.Body)
				}
				if got := asks(t.Context(), rt, chatJSON); refused(got) {
					t.Errorf("behind the end a call gave %v", got)
				}
			})
		}
	}
}

// A permit comes back from attempts that never became an answer.
func TestPermitComesBackFromFailedAttempts(t *testing.T) {
	for name, base := range map[string]handler{
		"error":        refusing,
		"server error": failing503,
		"cut json":     gives(200, asJSON, goodJSON[:30]),
		"empty stream": gives(200, asStream, ""),
		"error inside": gives(200, asJSON, `{"error":{}}`),
		"cancelled":    hanging,
		"panic":        func(*http.Request) (*http.Response, error) { panic("boom") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limit := WithRateLimit(RatePolicy{InFlight: 1, TokensPerMinute: 6000, MaxWait: Off})
				hosts := newHosts(base)
				rt := over(t, hosts, noBreaker, limit)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				func() {
					defer func() {
						if heard := recover() != nil; heard != (name == "panic") {
							t.Errorf("a panic reached the caller: %v, want %v", heard, !heard)
						}
					}()
					asks(ctx, rt, chatJSON)
				}()
				cancel()
				hosts.Set("a", gives(200, asJSON, goodJSON))
				if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
					t.Errorf("after it a call gave %v", got)
				}
				if left := stillHeld(rt); left != "" {
					t.Errorf("got %s left, want nothing", left)
				}
			})
		})
	}
	t.Run("failing Rewrite", func(t *testing.T) {
		e := at("a")[0]
		fail := true
		e.Rewrite = func(*http.Request) error {
			if fail {
				return errors.New("no")
			}
			return nil
		}
		rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithEndpoints(e), WithRateLimit(RatePolicy{InFlight: 1, MaxWait: Off}))
		asks(t.Context(), rt, chatJSON)
		fail = false
		if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
			t.Errorf("after it a call gave %v", got)
		}
	})
}

// Who finds no permit waits for MaxWait at most, then goes elsewhere, and if
// there is nobody is refused with 429.
func TestLimitWaitsThenGoesElsewhere(t *testing.T) {
	limits := func(p RatePolicy) map[string]RatePolicy { return map[string]RatePolicy{"": p} }
	ends := at("a", "b")
	ends[0].Limits = limits(RatePolicy{InFlight: 1})
	for _, tt := range []struct {
		name  string
		opts  []Option
		waits time.Duration
		by    string // who answers; "": nobody
	}{
		{"same tier: at once", []Option{WithEndpoints(ends...)}, 0, "b"},
		{"lower tier: after MaxWait", []Option{WithEndpoints(ends[0]), WithBackup(ends[1])}, 5 * time.Second, "b"},
		{"nobody else: refused after MaxWait", []Option{WithEndpoints(ends[0])}, 5 * time.Second, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newPiped()
				rt := over(t, base, tt.opts...)
				held := base.hold(t, rt)
				if held.resp.Header.Get(headerEndpoint) == "b" {
					held.leave()
					held = base.hold(t, rt) // its turn was b's
				}
				asked, askedBy := base.Count(""), base.Count(tt.by)
				start := time.Now()
				req, _ := post(t.Context(), "https://a", chatStream)
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				if d := time.Since(start); d != tt.waits {
					t.Errorf("it took %v, want %v", d, tt.waits)
				}
				asked, askedBy = base.Count("")-asked, base.Count(tt.by)-askedBy
				if got := resp.Header.Get(headerEndpoint); got != tt.by || asked != len(tt.by) || askedBy != asked {
					t.Errorf("answered by %q after %d attempts, %d of them there, want %q alone", got, asked, askedBy, tt.by)
				}
				trail := TrailOf(resp)
				if tt.by == "" {
					body, _ := io.ReadAll(resp.Body)
					if resp.StatusCode != 429 || resp.Header.Get(headerError) != "rate_limited" || resp.Header.Get(headerRetry) != "false" ||
						!strings.Contains(string(body), `"code":"rate_limited"`) || !errors.Is(ErrorOf(resp), ErrRateLimited) {
						t.Errorf("refused as %d %v %s, %v", resp.StatusCode, resp.Header, body, ErrorOf(resp))
					}
					if len(trail) != 1 || trail[0].N != 0 || trail[0].Class != ClassLimited || resp.Header.Get(headerAttempts) != "" {
						t.Errorf("the trail of a refusal: %+v", trail)
					}
				} else if tt.waits > 0 && (len(trail) != 2 || trail[0].Class != ClassLimited || trail[0].N != 0 || trail[1].N != 1) {
					t.Errorf("trail %+v, want a local refusal and attempt 1", trail)
				}
				resp.Body.Close()
				held.leave()
				synctest.Wait()
			})
		})
	}
}

// Those who wait go on in order of arrival, at the moment a permit comes back.
func TestPermitsGoInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newPiped()
		rt := over(t, base, WithRateLimit(RatePolicy{InFlight: 1, MaxWait: time.Minute}))
		start := time.Now()
		var mu sync.Mutex
		var order []string
		var callers sync.WaitGroup
		first := base.hold(t, rt)
		for n := range 4 {
			callers.Go(func() {
				<-time.After(time.Duration(n) * time.Second)
				h := base.hold(t, rt)
				mu.Lock()
				order = append(order, fmt.Sprintf("%d@%v", n, time.Since(start)))
				mu.Unlock()
				<-time.After(10 * time.Second)
				h.leave()
			})
		}
		<-time.After(10 * time.Second)
		if s := rt.Status().Endpoints[0].Limits[0]; s.InFlight != 1 || s.Waiting != 4 {
			t.Errorf("Status says %+v, want 1 in flight and 4 waiting", s)
		}
		first.leave()
		callers.Wait()
		if got := strings.Join(order, " "); got != "0@10s 1@20s 2@30s 3@40s" {
			t.Errorf("they went on %s", got)
		}
	})
}

// A wait that cannot end before the caller's deadline is not begun.
func TestLimitDoesNotWaitInVain(t *testing.T) {
	for _, tt := range []struct {
		name     string
		deadline time.Duration
		backup   bool
		want     string
	}{
		{"deadline before", 999 * time.Millisecond, false, "429 after 0s"},
		{"deadline when it would end", time.Second, false, "429 after 0s"},
		{"deadline behind", 1001 * time.Millisecond, false, "200 after 1s"},
		{"deadline before, a backup", 500 * time.Millisecond, true, "200 after 0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ends := at("a", "b")
				ends[0].Limits = map[string]RatePolicy{"": {PerSecond: 1}}
				opts := []Option{WithEndpoints(ends[0])}
				if tt.backup {
					opts = append(opts, WithBackup(ends[1]))
				}
				rt := over(t, newHosts(gives(200, asJSON, goodJSON)), opts...)
				asks(t.Context(), rt, chatJSON)
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				got := asks(ctx, rt, chatJSON)
				if said := fmt.Sprintf("%d after %v", got.status(), time.Since(start)); said != tt.want {
					t.Errorf("%s (%v), want %s", said, got, tt.want)
				}
			})
		})
	}
}

// The caller's deadline and cancel end the wait for a permit, as Go errors,
// and take no permit with them (invariant 7).
func TestCallersEndEndsTheWaitForAPermit(t *testing.T) {
	why := errors.New("why")
	for _, tt := range []struct {
		name string
		ctx  func(context.Context) (context.Context, context.CancelFunc)
		want error
	}{
		{"deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 2*time.Second)
		}, context.DeadlineExceeded},
		{"cancel", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(2*time.Second, func() { cancel(why) })
			return ctx, func() { cancel(nil) }
		}, why},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newPiped()
				rt := over(t, base, WithRateLimit(RatePolicy{InFlight: 1, MaxWait: 5 * time.Second}))
				held := base.hold(t, rt)
				for range 20 { // timers that end at one moment come in any order
					ctx, cancel := tt.ctx(t.Context())
					start := time.Now()
					got := asks(ctx, rt, chatStream)
					if !errors.Is(got.err, tt.want) || time.Since(start) != 2*time.Second {
						t.Fatalf("after %v: %v, want %v after 2s", time.Since(start), got, tt.want)
					}
					cancel()
				}
				held.leave()
				base.hold(t, rt).leave()
			})
		})
	}
}

// starts is a base that answers at once and notes when each attempt came.
type starts struct {
	begin time.Time
	mu    sync.Mutex
	times []time.Duration
}

func (s *starts) RoundTrip(*http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, time.Since(s.begin))
	return answer(200, asJSON, goodJSON), nil
}

func (s *starts) sorted() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.times))
}

func TestPerSecondAndBurst(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy RatePolicy
		calls  int
		want   string
	}{
		{"burst then rate", RatePolicy{PerSecond: 2, Burst: 3}, 6, "[0s 0s 0s 500ms 1s 1.5s]"},
		{"burst defaults to the rate", RatePolicy{PerSecond: 2}, 4, "[0s 0s 500ms 1s]"},
		{"burst defaults to the rate, rounded up", RatePolicy{PerSecond: 2.5}, 4, "[0s 0s 0s 400ms]"},
		{"burst defaults to one", RatePolicy{PerSecond: 0.5}, 3, "[0s 2s 4s]"},
		{"nobody waits beyond MaxWait", RatePolicy{PerSecond: 0.5, MaxWait: 3 * time.Second}, 5, "[0s 2s]"},
		{"MaxWait Off", RatePolicy{PerSecond: 1, MaxWait: Off}, 5, "[0s]"},
		{"MaxWait's default is 5s", RatePolicy{PerSecond: 1}, 10, "[0s 1s 2s 3s 4s 5s]"},
		{"no limit", RatePolicy{PerSecond: Off}, 5, "[0s 0s 0s 0s 0s]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := &starts{begin: time.Now()}
				rt := over(t, base, WithRateLimit(tt.policy))
				var callers sync.WaitGroup
				for range tt.calls {
					callers.Go(func() { asks(t.Context(), rt, chatJSON) })
				}
				callers.Wait()
				if got := fmt.Sprint(base.sorted()); got != tt.want {
					t.Errorf("attempts at %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// Who leaves the queue for a token gives back its place and no more: at any
// moment no more have been let through than Burst and the rate allow.
func TestLeavingTheQueueGivesBackNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := &starts{begin: time.Now()}
		rt := over(t, base, WithRateLimit(RatePolicy{PerSecond: 1}))
		for _, tt := range []struct{ at, deadline, leaves time.Duration }{
			{0, time.Minute, time.Minute},                                 // takes the burst
			{time.Millisecond, time.Minute, 899 * time.Millisecond},       // would go on at 1s, leaves at 0.9s
			{800 * time.Millisecond, 100 * time.Millisecond, time.Minute}, // refused: its turn would be at 2s
			{901 * time.Millisecond, 3 * time.Second, time.Minute},        // has the turn of the one who left
		} {
			go func() {
				<-time.After(tt.at)
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				time.AfterFunc(tt.leaves, cancel)
				asks(ctx, rt, chatJSON)
			}()
		}
		<-time.After(10 * time.Second)
		got := base.sorted()
		for i := range got {
			got[i] = got[i].Round(time.Microsecond) // nanoseconds are lost to rounding where a wait is computed
		}
		if fmt.Sprint(got) != "[0s 1s]" {
			t.Errorf("attempts at %v, want [0s 1s]", got)
		}
	})
}

// The same under random arrivals and departures.
func TestRateHoldsUnderRandomLeavers(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			const perSecond, burst = 2, 3
			random := rand.New(rand.NewPCG(seed, 1))
			base := &starts{begin: time.Now()}
			rt := over(t, base, WithRateLimit(RatePolicy{PerSecond: perSecond, Burst: burst, MaxWait: 8 * time.Second}))
			var callers sync.WaitGroup
			for range 300 {
				at := time.Duration(random.Int64N(int64(60 * time.Second)))
				stays := time.Duration(random.Int64N(int64(6 * time.Second)))
				leaves := random.IntN(5) == 0
				callers.Go(func() {
					<-time.After(at)
					ctx, cancel := context.WithTimeout(t.Context(), stays)
					if leaves { // without having said so
						ctx, cancel = context.WithCancel(t.Context())
						time.AfterFunc(stays, cancel)
					}
					defer cancel()
					asks(ctx, rt, chatJSON)
				})
			}
			callers.Wait()
			times := base.sorted()
			for i := range times {
				for j := i + burst; j < len(times); j++ {
					if allowed := burst + perSecond*(times[j]-times[i]+time.Microsecond).Seconds(); float64(j-i+1) > allowed {
						t.Fatalf("seed %d: %d attempts from %v to %v, want at most %.2f", seed, j-i+1, times[i], times[j], allowed)
					}
				}
			}
			if len(times) < 20 {
				t.Errorf("seed %d: %d attempts: little was tested", seed, len(times))
			}
		})
	}
}

// A call that leaves while it waits for tokens never was sent: the attempt it
// had taken out of the other bucket comes back, too.
func TestLeavingGivesBackBothBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := over(t, newHosts(gives(200, asJSON, goodJSON)),
			WithRateLimit(RatePolicy{PerSecond: 0.01, Burst: 2, TokensPerMinute: 600, MaxWait: time.Minute}))
		large := `{"model":"m","max_tokens":600}`
		asks(t.Context(), rt, large) // takes the minute's tokens, and settles: 3 used
		l := rt.limiters.All()[limiterKey{"https://a", "m"}]
		l.tokens.ReserveN(time.Now(), 597)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		time.AfterFunc(2*time.Second, cancel)
		asks(ctx, rt, `{"model":"m","max_tokens":200}`) // would wait 20s
		if n := l.attempts.TokensAt(time.Now()); n < 1 {
			t.Errorf("%.2f attempts are free, want the one that was not made", n)
		}
		if n := l.tokens.TokensAt(time.Now()); n != 20 {
			t.Errorf("%v tokens are free, want 20: those of 2s", n)
		}
	})
}

// Tokens are reserved by estimate before, and settled with the usage reported behind.
func TestTokensAreSettled(t *testing.T) {
	const perMinute, estimate = 6000, 509 // 9 for the body's 30 characters, and max_tokens
	const ask = `{"model":"m","max_tokens":500}`
	usage := func(n int) string {
		return strings.Replace(goodJSON, `"total_tokens":3`, fmt.Sprintf(`"total_tokens":%d`, n), 1)
	}
	for _, tt := range []struct {
		name string
		base handler
		used int // of the minute's
	}{
		{"fewer than reserved", gives(200, asJSON, usage(100)), 100},
		{"as reserved", gives(200, asJSON, usage(estimate)), estimate},
		{"more than reserved", gives(200, asJSON, usage(2000)), 2000},
		{"more than a minute has", gives(200, asJSON, usage(15_000)), 15_000},
		{"none reported", gives(200, asJSON, strings.Replace(goodJSON, `"usage"`, `"other"`, 1)), estimate},
		{"absurd", gives(200, asJSON, usage(-5)), estimate},
		{"stream", gives(200, asStream, goodEvent+endEvent+strings.Replace(usageEvent, "3", "42", 1)+doneEvent), 42},
		{"stream that reports none", gives(200, asStream, wholeStream), estimate},
		{"refused", gives(400, asJSON, "{}"), 0},
		{"failed", refusing, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l *limiter
				var reserved float64
				var rt *Transport
				rt = over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					l = rt.limiters.All()[limiterKey{"https://a", "m"}]
					reserved = perMinute - l.tokens.TokensAt(time.Now())
					return tt.base(req)
				}), WithRateLimit(RatePolicy{TokensPerMinute: perMinute}), WithRetry(RetryPolicy{Attempts: 1}))
				asks(t.Context(), rt, ask)
				if reserved != estimate {
					t.Errorf("%v tokens were reserved, want the estimate %d", reserved, estimate)
				}
				if used := perMinute - l.tokens.TokensAt(time.Now()); used != float64(tt.used) {
					t.Errorf("%v tokens are taken out of the minute's, want %d", used, tt.used)
				}
			})
		})
	}
}

// No size of a limit overflows, nor does what hosts say they have used of it.
func TestLargestLimits(t *testing.T) {
	for _, perMinute := range []int{1, 1000, math.MaxInt32, math.MaxInt} {
		for _, used := range []string{"9999", "9223372036854775807", "1e300"} {
			synctest.Test(t, func(t *testing.T) {
				rt := over(t, newHosts(gives(200, asJSON, strings.Replace(goodJSON, `"total_tokens":3`, `"total_tokens":`+used, 1))),
					WithRateLimit(RatePolicy{TokensPerMinute: perMinute, PerSecond: 1e300, InFlight: math.MaxInt, MaxWait: math.MaxInt64}))
				if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
					t.Fatalf("%d tokens a minute: %v, want an answer", perMinute, got)
				}
				l := rt.limiters.All()[limiterKey{"https://a", "m"}]
				n, _ := strconv.ParseFloat(used, 64)
				reserved := float64(min(request.EstimateTokens([]byte(chatJSON)), perMinute))
				want := reserved + min(min(n, wire.MaxTokens)-reserved, 10*float64(perMinute))
				if got := float64(perMinute) - l.tokens.TokensAt(time.Now()); math.Abs(got-want) > float64(perMinute)*1e-15 {
					t.Errorf("of %d tokens a minute %v are used, want %v", perMinute, got, want)
				}
			})
		}
	}
	p, err := RatePolicy{PerSecond: 1e300}.resolve("WithRateLimit")
	if err != nil || p.Burst < math.MaxInt32 {
		t.Errorf("Burst of %v a second is %d, %v, want no less than that", p.PerSecond, p.Burst, err)
	}
	l := newLimiter(RatePolicy{PerSecond: 1e-12, Burst: 1, MaxWait: time.Minute})
	now := time.Now()
	l.attempts.AllowN(now, 1)
	if got := l.expected(now); got < time.Hour || l.bears(now) {
		t.Errorf("of an attempt in 30,000 years the next is expected in %v", got)
	}
}

// A question larger than a minute's tokens waits for a full bucket, and does
// not wait for ever.
func TestTokensLargerThanAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithRateLimit(RatePolicy{TokensPerMinute: 60, MaxWait: time.Minute}))
		for i, want := range []time.Duration{0, 3 * time.Second} { // the first one used 3 of 60
			start := time.Now()
			if got := asks(t.Context(), rt, `{"model":"m","max_tokens":100000}`); got.status() != 200 || time.Since(start) != want {
				t.Errorf("call %d: %v after %v, want an answer after %v", i+1, got, time.Since(start), want)
			}
		}
	})
}

// Endpoints of one account share its limits; models and accounts have their own.
func TestLimitsAreSharedByAccount(t *testing.T) {
	for _, tt := range []struct {
		name     string
		accounts [2]string
		models   [2]string // of the two endpoints
		shared   bool
	}{
		{"one account", [2]string{"x", "x"}, [2]string{"m", "m"}, true},
		{"two accounts", [2]string{"x", "y"}, [2]string{"m", "m"}, false},
		{"accounts by default", [2]string{}, [2]string{"m", "m"}, false},
		{"one account, two models", [2]string{"x", "x"}, [2]string{"m", "n"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ends := at("a", "b")
				for i := range ends {
					ends[i].Account = tt.accounts[i]
					ends[i].Models = map[string]string{"m": tt.models[i]}
				}
				base := newPiped()
				rt := over(t, base, WithEndpoints(ends...), WithRateLimit(RatePolicy{InFlight: 1, MaxWait: Off}))
				first := base.hold(t, rt)
				req, _ := post(t.Context(), "https://a", chatStream)
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				if shared := resp.StatusCode == 429; shared != tt.shared {
					t.Errorf("shared = %v (%d from %s), want %v", shared, resp.StatusCode, resp.Header.Get(headerEndpoint), tt.shared)
				}
				resp.Body.Close()
				first.leave()
			})
		})
	}
}

// Endpoint.Limits go over WithRateLimit, by the endpoint's own model names.
func TestEndpointLimitsGoOverWithRateLimit(t *testing.T) {
	e := at("a")[0]
	e.Models = map[string]string{"mine": "theirs", "other": "other", "free": "free"}
	e.Limits = map[string]RatePolicy{"theirs": {InFlight: 1, MaxWait: Off}, "": {InFlight: 2, MaxWait: Off}, "free": {InFlight: Off}}
	for _, tt := range []struct {
		model  string
		limits map[string]RatePolicy
		want   int // at once; 5: no limit
	}{
		{"mine", e.Limits, 1}, {"other", e.Limits, 2}, {"free", e.Limits, 5},
		{"mine", map[string]RatePolicy{"theirs": {InFlight: 1, MaxWait: Off}}, 1},
		{"other", map[string]RatePolicy{"theirs": {InFlight: 1, MaxWait: Off}}, 3},
		{"mine", map[string]RatePolicy{"mine": {InFlight: 1, MaxWait: Off}}, 3}, // not the endpoint's name for it
		{"mine", nil, 3},
	} {
		t.Run(fmt.Sprintf("%s by %v", tt.model, tt.limits), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := e
				e.Limits = tt.limits
				base := newPiped()
				rt := over(t, base, WithEndpoints(e), WithRateLimit(RatePolicy{InFlight: 3, MaxWait: Off}))
				var open []*http.Response
				for range 5 {
					req, _ := post(t.Context(), "https://a", strings.Replace(chatStream, `"m"`, `"`+tt.model+`"`, 1))
					resp, err := rt.RoundTrip(req)
					if err != nil {
						t.Fatal(err)
					}
					if resp.StatusCode == 200 {
						open = append(open, resp)
					}
				}
				if len(open) != tt.want {
					t.Errorf("%d at once, want %d", len(open), tt.want)
				}
				for _, resp := range open {
					resp.Body.Close()
				}
			})
		})
	}
}

// An adaptive limit follows what the host refuses and serves: streams are open
// until nobody may open more, one more is refused by the host, and then some are
// served, one after the other, while as many are open as may be.
func TestAdaptiveLimit(t *testing.T) {
	named := func(n int) handler {
		return gives(429, asJSON, fmt.Sprintf(`{"error":{"message":"Your current concurrency is 6, which exceeds your concurrency limit of %d"}}`, n))
	}
	busy := gives(429, asJSON, "{}")
	for _, tt := range []struct {
		name     string
		inFlight int
		open     int
		refuses  handler // nil: it does not
		rest     time.Duration
		serves   int
		want     int // that may be open at once then; 50: no limit
	}{
		{"no limit before the first refusal", 0, 10, nil, 0, 0, 50},
		{"InFlight holds before it", 10, 10, nil, 0, 0, 10},
		{"nor does it grow then", 10, 10, nil, time.Minute, 20, 10},
		{"a 429 stops the growth", 0, 5, busy, 0, 0, 5},
		{"a 429 lowers it", 10, 5, busy, 0, 0, 5},
		{"a 503 lowers it", 10, 5, failing503, 0, 0, 5},
		{"a 529 lowers it", 10, 5, gives(529, asJSON, "{}"), 0, 0, 5},
		{"a 500 does not", 10, 5, gives(500, asJSON, "{}"), 0, 0, 10},
		{"to the number it names", 10, 5, named(3), 0, 0, 3},
		{"a number above what is open is no word on that", 10, 5, named(40), 0, 0, 5},
		{"it grows by one in about a round", 0, 5, named(3), time.Second, 4, 4},
		{"and doubles in a round once it is quiet", 0, 5, named(3), 6 * time.Second, 3, 6},
		{"never above InFlight", 10, 5, named(3), 6 * time.Second, 50, 10},
		{"nor is there a limit ten minutes later", 0, 5, named(3), 11 * time.Minute, 1, 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opens, refuses := newPiped(), false
				rt := over(t, newHosts(func(req *http.Request) (*http.Response, error) {
					if refuses {
						return tt.refuses(req)
					}
					return opens.RoundTrip(req)
				}), once, noBreaker, WithEndpoints(deepSeekAt("a")), WithRateLimit(RatePolicy{InFlight: tt.inFlight, Adaptive: true, MaxWait: Off}))
				var open []*held
				free := rt.tiers[0][0].limits.of("m").permits.Free
				fill := func(most int) {
					for len(open) < most && free() {
						open = append(open, opens.hold(t, rt))
					}
				}
				leave := func(until func() bool) { // by a cancel, which proves nothing
					for ; len(open) > 0 && !until(); open = open[1:] {
						open[0].cancel()
						synctest.Wait()
					}
				}
				fill(tt.open)
				if refuses = tt.refuses != nil; refuses {
					before := rt.Status()
					if got := asks(t.Context(), rt, chatStream); got.status() < 429 || got.header(headerError) != "" || before.Endpoints[0].Limits[0].InFlight != tt.open {
						t.Fatalf("with %+v open the host was to refuse, and the caller got %v", before.Endpoints[0].Limits, got)
					}
					if pauses := rt.Status().Endpoints[0].Pauses; len(pauses) > 0 {
						t.Errorf("pauses %+v, want none: fewer permits are rest enough", pauses)
					}
				}
				refuses = false
				elapse(tt.rest)
				for range tt.serves {
					leave(free)
					fill(50)
					open[0].Send(endEvent + doneEvent)
					open[0].readAll()
					open = open[1:]
				}
				none := func() bool { return false }
				leave(none)
				fill(50)
				if got := len(open); got != tt.want {
					t.Errorf("%d are open at once, want %d", got, tt.want)
				}
				leave(none)
			})
		})
	}
}

// A local refusal says nothing of the host: its circuit hears nothing of it.
func TestLocalRefusalsAreNeutral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newPiped()
		rt := over(t, base, WithBreaker(BreakerPolicy{Consecutive: 1}), WithRateLimit(RatePolicy{InFlight: 1, MaxWait: Off}))
		held := base.hold(t, rt)
		for range 3 {
			asks(t.Context(), rt, chatStream)
		}
		if s := rt.Status().Endpoints[0].Circuits[0]; s.State != "closed" {
			t.Errorf("circuit %+v, want closed", s)
		}
		held.leave()
	})
}

// The number of limiters is bounded: model names come from callers.
func TestLimitersAreBounded(t *testing.T) {
	rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithRateLimit(RatePolicy{InFlight: 1}))
	for n := range maxLimiters + 100 {
		if got := asks(t.Context(), rt, fmt.Sprintf(`{"model":"m%d"}`, n)); got.status() != 200 {
			t.Fatal(got)
		}
	}
	if n := len(rt.limiters.All()); n > maxLimiters {
		t.Errorf("%d limiters, want at most %d", n, maxLimiters)
	}
}
