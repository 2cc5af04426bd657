package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// A permit is held to the end of the body, and given back at every end of it
// (invariant 4).
func TestLimit_PermitIsHeldToTheEndOfTheBody(t *testing.T) {
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
func TestLimit_PermitOfAnswersThatAreNoStreams(t *testing.T) {
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
func TestLimit_PermitComesBackFromFailedAttempts(t *testing.T) {
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
func TestLimit_WaitsThenGoesElsewhere(t *testing.T) {
	limits := func(p RatePolicy) map[string]RatePolicy { return map[string]RatePolicy{"": p} }
	ends, spills := at("a", "b"), at("a", "b")
	ends[0].Limits = limits(RatePolicy{InFlight: 1})
	spills[0].Limits = limits(RatePolicy{InFlight: 1, Spill: true})
	for _, tt := range []struct {
		name  string
		opts  []Option
		waits time.Duration
		by    string // who answers; "": nobody
	}{
		{"same tier: at once", []Option{WithEndpoints(ends...)}, 0, "b"},
		{"lower tier, if told: after MaxWait", []Option{WithEndpoints(spills[0]), WithBackup(spills[1])}, 5 * time.Second, "b"},
		{"lower tier: refused after MaxWait", []Option{WithEndpoints(ends[0]), WithBackup(ends[1])}, 5 * time.Second, ""},
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
					if len(trail) == 2 && trail[1].Endpoint == "b" && trail[1].PassedOver == ReasonSpill {
						trail = trail[:1]
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

// A limit of the user's own keeps a call in its tier, also if another endpoint of the tier
// fails. What the host has taught does not, nor does what is wrong with the endpoint.
func TestLimit_KeepsItsTier(t *testing.T) {
	good := gives(200, asJSON, goodJSON)
	full := func(spill bool) map[string]RatePolicy {
		return map[string]RatePolicy{"": {PerSecond: 0.01, Burst: 1, MaxWait: Off, Spill: spill}}
	}
	limited := func(e Endpoint, limits map[string]RatePolicy) Endpoint {
		e.Limits = limits
		return e
	}
	ends := at("a", "b", "c")
	for _, tt := range []struct {
		name   string
		tiers  []Option
		a, b   handler
		before int // calls
		want   string
	}{
		{"alone in its tier", []Option{WithEndpoints(limited(ends[0], full(false))), WithBackup(ends[2])}, good, good, 1, "429 limited"},
		{"told to spill", []Option{WithEndpoints(limited(ends[0], full(true))), WithBackup(ends[2])}, good, good, 1, "200 c"},
		{"another of the tier can", []Option{WithEndpoints(limited(ends[0], full(false)), ends[1]), WithBackup(ends[2])}, good, good, 2, "200 b"},
		{"another of the tier is down", []Option{WithEndpoints(limited(ends[0], full(false)), ends[1]), WithBackup(ends[2])}, good, failing503, 2, "503 b"},
		{"all of the tier are down", []Option{WithEndpoints(limited(ends[0], map[string]RatePolicy{"": {InFlight: 1, MaxWait: Off}})), WithBackup(ends[2])}, failing503, good, 0, "200 c"},
		{"a limit that the host has taught", []Option{WithEndpoints(limited(ends[0], map[string]RatePolicy{"": {Adaptive: true, MaxWait: Off}})), WithBackup(ends[2])}, gives(429, asJSON, "{}"), good, 3, "200 c"},
		{"of the second tier", []Option{WithEndpoints(ends[1]), WithBackup(limited(ends[0], full(false))), WithBackup(ends[2])}, good, failing503, 1, "503 b"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(good)
			base.Set("a", tt.a)
			base.Set("b", tt.b)
			rt := over(t, base, append([]Option{once, noBreaker}, tt.tiers...)...)
			for range tt.before {
				asks(t.Context(), rt, chatJSON)
			}
			asked := base.Count("c")
			got := asks(t.Context(), rt, chatJSON)
			by := got.header(headerEndpoint)
			if by == "" {
				by = got.header(headerOutcome)
			}
			if said := fmt.Sprintf("%d %s", got.status(), by); said != tt.want {
				t.Errorf("%s, want %s: %v", said, tt.want, got)
			}
			if spilt := base.Count("c") > asked; spilt != strings.HasSuffix(tt.want, "c") {
				t.Errorf("the worst tier was asked: %v", spilt)
			}
			if why := TrailOf(got.resp); !strings.HasSuffix(tt.want, "c") && tt.want != "200 b" && why[len(why)-1].PassedOver != ReasonSpill {
				t.Errorf("the trail does not say why c was not asked: %+v", why)
			}
		})
	}
}

// A silent endpoint is not left for a worse tier while a limit keeps the call in its own.
func TestLimit_KeepsItsTierInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		base.Set("b", fakehost.After(time.Hour, gives(200, asJSON, goodJSON)))
		ends := at("a", "b", "c")
		ends[0].Limits = map[string]RatePolicy{"": {PerSecond: 0.0001, Burst: 1, MaxWait: Off}}
		rt := over(t, base, once, WithStream(quick), WithEndpoints(ends[0], ends[1]), WithBackup(ends[2]))
		asks(WithCall(t.Context(), Call{Endpoint: "a"}), rt, chatJSON)
		start := time.Now()
		if got := asks(t.Context(), rt, chatJSON); got.header(headerEndpoint) != "b" || time.Since(start) != time.Hour || base.Count("c") != 0 {
			t.Errorf("%v after %v, %d requests to the backup", got, time.Since(start), base.Count("c"))
		}
	})
}

// A wait that cannot end before the caller's deadline is not begun: another
// endpoint is tried at once, or the call refused.
func TestLimit_DoesNotWaitInVain(t *testing.T) {
	for _, tt := range []struct {
		name          string
		backup, spill bool
		want          string
	}{
		{"alone", false, false, "429 after 0s"},
		{"with a backup", true, false, "429 after 0s"},
		{"with a backup that may take it", true, true, "200 after 0s"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			ends := at("a", "b")
			ends[0].Limits = map[string]RatePolicy{"": {PerSecond: 1, Spill: tt.spill}}
			opts := []Option{WithEndpoints(ends[0])}
			if tt.backup {
				opts = append(opts, WithBackup(ends[1]))
			}
			rt := over(t, newHosts(gives(200, asJSON, goodJSON)), opts...)
			asks(t.Context(), rt, chatJSON)
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			got := asks(ctx, rt, chatJSON)
			if said := fmt.Sprintf("%d after %v", got.status(), time.Since(start)); said != tt.want {
				t.Errorf("%s (%v), want %s", said, got, tt.want)
			}
		})
	}
}

// The caller's deadline and cancel end the wait for a permit, as Go errors,
// and take no permit with them (invariant 7).
func TestLimit_CallersEndEndsTheWait(t *testing.T) {
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

// Tokens are reserved by estimate before, and settled with the usage reported
// behind: an attempt that takes all tokens of a minute begins once they are back.
func TestLimit_TokensAreSettled(t *testing.T) {
	const perMinute, estimate = 6000, 509 // 9 for the body's 30 characters, and max_tokens
	const ask, askAll = `{"model":"m","max_tokens":500}`, `{"model":"m","max_tokens":6000}`
	usage := func(n int) string {
		return strings.Replace(goodJSON, `"total_tokens":3`, fmt.Sprintf(`"total_tokens":%d`, n), 1)
	}
	for _, tt := range []struct {
		name string
		base handler
		used int // of the minute's
	}{
		{"fewer than reserved", gives(200, asJSON, usage(100)), 100},
		{"more than reserved", gives(200, asJSON, usage(2000)), 2000},
		{"more than a minute has", gives(200, asJSON, usage(15_000)), 15_000},
		{"none reported", gives(200, asJSON, strings.Replace(goodJSON, `"usage"`, `"other"`, 1)), estimate},
		{"absurd", gives(200, asJSON, usage(-5)), estimate},
		{"stream", gives(200, asStream, goodEvent+endEvent+strings.Replace(usageEvent, "3", "42", 1)+doneEvent), 42},
		{"stream that reports none", gives(200, asStream, wholeStream), estimate},
		{"cut stream", gives(200, asStream, goodEvent), estimate},
		{"refused", gives(400, asJSON, "{}"), 0},
		{"failed", refusing, 0},
		{"under way", fakehost.After(30*time.Second, gives(400, asJSON, "{}")), estimate},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			var mu sync.Mutex
			var begun []time.Time
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				mu.Lock()
				begun = append(begun, time.Now())
				mu.Unlock()
				return tt.base(req)
			}), once, noBreaker, WithRateLimit(RatePolicy{TokensPerMinute: perMinute, MaxWait: 10 * time.Minute}))
			var first sync.WaitGroup
			first.Go(func() { asks(t.Context(), rt, ask) })
			synctest.Wait()
			asks(t.Context(), rt, askAll)
			first.Wait()
			if used := math.Round(begun[1].Sub(begun[0]).Seconds() * perMinute / 60); used != float64(tt.used) {
				t.Errorf("%v tokens are taken out of the minute's, want %d", used, tt.used)
			}
		})
	}
}

// No size of a limit overflows, nor does what hosts say they have used of it.
func TestLimit_LargestLimits(t *testing.T) {
	for _, perMinute := range []int{1, 1000, math.MaxInt32, math.MaxInt} {
		for _, used := range []string{"9999", "9223372036854775807", "1e300"} {
			synctest.Test(t, func(t *testing.T) {
				rt := over(t, newHosts(gives(200, asJSON, strings.Replace(goodJSON, `"total_tokens":3`, `"total_tokens":`+used, 1))),
					WithRateLimit(RatePolicy{TokensPerMinute: perMinute, PerSecond: 1e300, InFlight: math.MaxInt, MaxWait: math.MaxInt64}))
				for n := range 2 {
					if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
						t.Fatalf("%d tokens a minute, call %d: %v, want an answer", perMinute, n+1, got)
					}
				}
			})
		}
	}
}

func TestLimit_Defaults(t *testing.T) {
	for _, tt := range []struct{ policy, want RatePolicy }{
		{RatePolicy{PerSecond: 2, Burst: 3}, RatePolicy{PerSecond: 2, Burst: 3, MaxWait: 5 * time.Second}},
		{RatePolicy{PerSecond: 2}, RatePolicy{PerSecond: 2, Burst: 2, MaxWait: 5 * time.Second}},
		{RatePolicy{PerSecond: 2.5, MaxWait: time.Second}, RatePolicy{PerSecond: 2.5, Burst: 3, MaxWait: time.Second}},
		{RatePolicy{PerSecond: 0.5, MaxWait: Off}, RatePolicy{PerSecond: 0.5, Burst: 1}},
		{RatePolicy{PerSecond: 1e300}, RatePolicy{PerSecond: 1e300, Burst: math.MaxInt32, MaxWait: 5 * time.Second}},
		{RatePolicy{PerSecond: Off}, RatePolicy{Burst: 1, MaxWait: 5 * time.Second}},
	} {
		if got, err := tt.policy.resolve("WithRateLimit"); got != tt.want || err != nil {
			t.Errorf("%+v is %+v, %v, want %+v", tt.policy, got, err, tt.want)
		}
	}
}

// Attempts begin as the policy says, after a wait where there has to be one.
func TestLimit_PerSecond(t *testing.T) {
	for _, tt := range []struct {
		policy RatePolicy
		want   string
	}{
		{RatePolicy{PerSecond: 2.5}, "[0s 0s 0s 400ms 800ms]"},
		{RatePolicy{PerSecond: 1, MaxWait: Off}, "[0s]"},
		{RatePolicy{PerSecond: Off}, "[0s 0s 0s 0s 0s]"},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var mu sync.Mutex
			var times []time.Duration
			rt := over(t, RoundTripperFunc(func(*http.Request) (*http.Response, error) {
				mu.Lock()
				defer mu.Unlock()
				times = append(times, time.Since(start))
				return answer(200, asJSON, goodJSON), nil
			}), WithRateLimit(tt.policy))
			var callers sync.WaitGroup
			for range 5 {
				callers.Go(func() { asks(t.Context(), rt, chatJSON) })
			}
			callers.Wait()
			if got := fmt.Sprint(times); got != tt.want {
				t.Errorf("attempts at %s, want %s", got, tt.want)
			}
		})
	}
}

// Endpoints of one account share its limits; models and accounts have their own.
func TestLimit_SharedByAccount(t *testing.T) {
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
func TestLimit_OfTheEndpointGoFirst(t *testing.T) {
	e := at("a")[0]
	e.Models = map[string]string{"mine": "theirs", "other": "other", "free": "free"}
	e.Limits = map[string]RatePolicy{"theirs": {InFlight: 1, MaxWait: Off}, "": {InFlight: 2, MaxWait: Off}, "free": {InFlight: Off}}
	for _, tt := range []struct {
		model  string
		limits map[string]RatePolicy
		want   int // at once; 5: no limit
	}{
		{"mine", e.Limits, 1}, {"other", e.Limits, 2}, {"free", e.Limits, 5},
		{"mine", map[string]RatePolicy{"no model of it": {InFlight: 1, MaxWait: Off}}, 3},
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

// An adaptive limit follows what the host refuses and serves. Five streams are
// open of ten that may be, one more is refused by the host, and then as many are
// opened as may be.
func TestLimit_Adaptive(t *testing.T) {
	named := gives(429, asJSON, `{"error":{"message":"Your current concurrency is 6, which exceeds your concurrency limit of 3"}}`)
	for _, tt := range []struct {
		name    string
		refuses handler
		serves  bool // one of them, in between
		want    int
	}{
		{"a 429 lowers it", gives(429, asJSON, "{}"), false, 5},
		{"a 503 lowers it", failing503, false, 5},
		{"a 529 lowers it", gives(529, asJSON, "{}"), false, 5},
		{"a 500 does not", gives(500, asJSON, "{}"), false, 10},
		{"to the number it names", named, false, 3},
		{"and what is served raises it", named, true, 4},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			opens, refuses := newPiped(), false
			rt := over(t, newHosts(func(req *http.Request) (*http.Response, error) {
				if refuses {
					return tt.refuses(req)
				}
				return opens.RoundTrip(req)
			}), once, noBreaker, WithEndpoints(deepSeekAt("a")), WithRateLimit(RatePolicy{InFlight: 10, Adaptive: true, MaxWait: Off}))
			var open []*held
			fill := func(most int) {
				for len(open) < most && rt.now().tiers[0][0].limits.Get("m", [32]byte{}).Free(time.Now()) {
					open = append(open, opens.hold(t, rt))
				}
			}
			leave := func() { // by a cancel, which proves nothing
				for _, h := range open {
					h.cancel()
				}
				synctest.Wait()
				open = nil
			}
			fill(5)
			refuses = true
			if got := asks(t.Context(), rt, chatStream); got.status() < 429 || got.header(headerError) != "" {
				t.Fatalf("the host was to refuse, and the caller got %v", got)
			}
			if pauses := rt.Status().Endpoints[0].Pauses; len(pauses) > 0 {
				t.Errorf("pauses %+v, want none: fewer permits are rest enough", pauses)
			}
			refuses = false
			leave()
			if tt.serves {
				elapse(6 * time.Second) // it is quiet
				fill(50)
				open[0].Send(endEvent + doneEvent)
				open[0].readAll()
				leave()
			}
			fill(50)
			if got := len(open); got != tt.want {
				t.Errorf("%d are open at once, want %d", got, tt.want)
			}
			leave()
		})
	}
}

// A local refusal says nothing of the host: its circuit hears nothing of it.
func TestLimit_LocalRefusalsAreNeutral(t *testing.T) {
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

// Callers who left the queue keep no turn, whichever limit they waited for.
func TestLimit_LeaversKeepNoTurn(t *testing.T) {
	for name, p := range map[string]RatePolicy{
		"in flight":  {InFlight: 1, MaxWait: time.Minute},
		"per second": {PerSecond: 1, Burst: 1, MaxWait: time.Minute},
		"tokens":     {TokensPerMinute: 600, MaxWait: time.Minute}, // ten a second, 300 at once
	} {
		bubble(t, name, func(t *testing.T) {
			rt := over(t, newHosts(fakehost.After(time.Second, gives(200, asJSON, strings.Replace(goodJSON, `"usage"`, `"other"`, 1)))), WithRateLimit(p))
			start := time.Now()
			var callers sync.WaitGroup
			callers.Go(func() { asks(t.Context(), rt, `{"model":"m","max_tokens":600}`) })
			synctest.Wait()
			for n := range 15 {
				callers.Go(func() {
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(time.Duration(300+n)*time.Millisecond, cancel)
					asks(ctx, rt, `{"model":"m"}`)
				})
				synctest.Wait()
			}
			time.Sleep(500 * time.Millisecond)
			if got := asks(t.Context(), rt, `{"model":"m"}`); got.status() != 200 || time.Since(start) > 3*time.Second {
				t.Errorf("the next one has %v after %v, want an answer within 3s", got, time.Since(start))
			}
			callers.Wait()
			if left := stillHeld(rt); left != "" {
				t.Errorf("got %s left, want nothing", left)
			}
		})
	}
}

// A call waits for limits MaxWait in all, and not once for each endpoint.
func TestLimit_WaitsOnceInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newPiped()
		rt := over(t, base, WithEndpoints(at("a", "b", "c")...), WithRateLimit(RatePolicy{InFlight: 1}))
		held := []*held{base.hold(t, rt), base.hold(t, rt), base.hold(t, rt)}
		start := time.Now()
		if got := asks(t.Context(), rt, chatStream); !refused(got) || time.Since(start) != 5*time.Second {
			t.Errorf("it has %v after %v, want a refusal after 5s", got, time.Since(start))
		}
		for _, h := range held {
			h.leave()
		}
	})
}

// At twice the load, the capacity goes into answers and not into calls whose callers leave
// before their answer is there, however the deadline is set.
func TestLimit_PlacesGoToCallersWithTime(t *testing.T) {
	const inFlight, service, deadline, lasts = 10, 2 * time.Second, 10 * time.Second, 3 * time.Minute
	for _, tt := range []struct {
		name string
		body string
		opts []Option
	}{
		{"alone", chatJSON, nil},
		{"streams", chatStream, nil},
		{"two endpoints", chatJSON, []Option{WithEndpoints(at("a", "b")...)}},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			places := inFlight
			if tt.opts != nil {
				places *= 2
			}
			answer := gives(200, asJSON, goodJSON)
			if tt.body == chatStream {
				answer = gives(200, asStream, wholeStream)
			}
			rt := over(t, newHosts(func(req *http.Request) (*http.Response, error) {
				return fakehost.After(service/2+rand.N(service), answer)(req)
			}), append(tt.opts, WithRateLimit(RatePolicy{InFlight: inFlight, MaxWait: time.Minute}))...)
			var good atomic.Int64
			var callers sync.WaitGroup
			for start := time.Now(); time.Since(start) < lasts; time.Sleep(service / time.Duration(2*places)) {
				callers.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), deadline)
					defer cancel()
					if asks(ctx, rt, tt.body).status() == 200 {
						good.Add(1)
					}
				})
			}
			callers.Wait()
			if got, most := float64(good.Load()), float64(places)*lasts.Seconds()/service.Seconds(); got < 0.95*most {
				t.Errorf("%.0f answers, want at least 0.95 of %.0f", got, most)
			} else {
				t.Logf("%.3f", got/most)
			}
		})
	}
}

// The time in a queue is not the host's: a call that has waited for more than half of its
// time still lets the host answer.
func TestLimit_TheQueueIsNotTheHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := over(t, newHosts(fakehost.After(time.Second, gives(200, asJSON, goodJSON))), noBreaker, WithEndpoints(at("a", "b")...), WithRateLimit(RatePolicy{InFlight: 1, MaxWait: time.Minute}))
		limits := func(n int) *limit.Limiter { return rt.now().tiers[0][n].limits.Get("m", [32]byte{}) }
		var held [2]limit.Lease
		for n := range held {
			if err := limits(n).Acquire(t.Context(), &held[n], limit.Use{}); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(6*time.Second, func() { held[n].End(limit.Result{}) })
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if got := asks(ctx, rt, chatStream); got.status() != 200 || got.header(headerAttempts) != "1" || time.Since(start) != 7*time.Second {
			t.Errorf("it has %v after %v and %s attempts, want an answer to one after 7s", got, time.Since(start), got.header(headerAttempts))
		}
	})
}
