package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A ledger writes down which calls came to whom and when.
type ledger struct {
	mu    sync.Mutex
	trips []trip
}

type trip struct {
	call    int
	account string
	at      time.Time
}

func (l *ledger) add(call int, s seen) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range TrailOf(s.resp) {
		if a.N > 0 {
			l.trips = append(l.trips, trip{call, a.Endpoint, a.Start})
		}
	}
}

// extras are the times of all attempts that were not the first of their call
// at their account; accounts: of these only.
func (l *ledger) extras(accounts ...string) []time.Time {
	visited := make(map[trip]bool)
	var times []time.Time
	for _, t := range l.trips {
		key := trip{call: t.call, account: t.account}
		if visited[key] && (len(accounts) == 0 || slices.Contains(accounts, t.account)) {
			times = append(times, t.at)
		}
		visited[key] = true
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// Invariant 13: whatever fails, all attempts at an account but the first of each call
// stay within calls × Budget + 10 in any minute. They are counted
// when they are decided on, so the minutes are exact where nobody waits.
func TestRetry_ExtraAttemptsStayWithinTheBudget(t *testing.T) {
	random := func(req *http.Request) (*http.Response, error) {
		return []handler{failing503, refusing, gives(200, asJSON, goodJSON[:30]), gives(429, asJSON, "{}"),
			gives(429, asJSON, "{}", "Retry-After", "1"), gives(503, asJSON, "{}", "Retry-After", "1")}[rand.IntN(6)](req)
	}
	slow := func(req *http.Request) (*http.Response, error) {
		elapse(700 * time.Millisecond)
		return failing503(req)
	}
	atOnce := func(p RetryPolicy) []Option {
		p.MinDelay = Off
		return []Option{noBreaker, WithRetry(p)}
	}
	waiting := []Option{noBreaker, WithRetry(RetryPolicy{Attempts: 10})}
	all := 0
	for _, tt := range []struct {
		name   string
		do     handler
		opts   []Option
		budget float64
		waits  bool
	}{
		{"503s", failing503, atOnce(RetryPolicy{}), 0.2, false},
		{"slow 503s", slow, atOnce(RetryPolicy{}), 0.2, false},
		{"many attempts", failing503, atOnce(RetryPolicy{Attempts: 50}), 0.2, false},
		{"another budget", failing503, atOnce(RetryPolicy{Budget: 0.5, Attempts: 10}), 0.5, false},
		{"a large budget", failing503, atOnce(RetryPolicy{Budget: 3, Attempts: 10}), 3, false},
		{"refused", refusing, atOnce(RetryPolicy{}), 0.2, false},
		{"cut answers", gives(200, asJSON, goodJSON[:30]), atOnce(RetryPolicy{}), 0.2, false},
		{"429s with Retry-After 0", gives(429, asJSON, "{}", "Retry-After", "0"), atOnce(RetryPolicy{}), 0.2, true}, // they wait for turns
		{"503s with backoff", failing503, waiting, 0.2, true},
		{"429s", gives(429, asJSON, "{}"), waiting, 0.2, true},
		{"429s with Retry-After", gives(429, asJSON, "{}", "Retry-After", "1"), waiting, 0.2, true},
		{"503s with Retry-After", gives(503, asJSON, "{}", "Retry-After", "1"), waiting, 0.2, true},
		{"anything", random, waiting, 0.2, true},
		{"503s with a breaker", failing503, nil, 0.2, true},
		{"anything with a breaker", random, nil, 0.2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := over(t, newHosts(tt.do), append(tt.opts, WithEndpoints(at("a", "b")...), WithBackup(at("c")...))...)
				const calls = 600
				begin := time.Now()
				ledger := &ledger{}
				var began []time.Time
				var callers sync.WaitGroup
				for n := range calls { // five a second, for two minutes
					at := time.Duration(n) * 200 * time.Millisecond
					began = append(began, begin.Add(at))
					callers.Go(func() {
						elapse(at)
						ledger.add(n, asks(t.Context(), rt, chatJSON))
					})
				}
				callers.Wait()
				minutes := int(time.Since(begin)/time.Minute) + 1
				extras := ledger.extras()
				for _, account := range []string{"a", "b", "c"} {
					extras := ledger.extras(account)
					if allowed := calls*tt.budget + float64(minutes*budgetFloor); float64(len(extras)) > allowed {
						t.Errorf("%d extra attempts at %s in %d minutes, want at most %v", len(extras), account, minutes, allowed)
					}
					for _, end := range extras {
						within := func(times []time.Time) (n int) {
							for _, t := range times {
								if !t.After(end) && t.After(end.Add(-time.Minute)) {
									n++
								}
							}
							return n
						}
						if n, allowed := within(extras), float64(within(began))*tt.budget+budgetFloor; float64(n) > allowed && !tt.waits {
							t.Fatalf("%d extra attempts at %s in the minute up to %v, want at most %v", n, account, end.Sub(begin), allowed)
						}
					}
				}
				if n := len(ledger.trips) - len(extras); n > 3*calls {
					t.Errorf("%d first visits of %d calls at 3 accounts", n, calls)
				}
				all += len(extras)
			})
		})
	}
	if all < 500 {
		t.Errorf("%d extra attempts: little was tested", all)
	}
}

// Where the budget is spent, calls still go to accounts they have not been to,
// and the denial is told.
func TestRetry_BudgetSpent(t *testing.T) {
	for _, tt := range []struct {
		name   string
		budget float64
		extras int // of 20 calls, at two accounts
	}{
		{"default: the floor and a share", 0, 2 * (10 + 4)},
		{"another share", 0.5, 2 * (10 + 10)},
		{"off: none", Off, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				denied := 0
				ledger := &ledger{}
				rt := over(t, newHosts(failing503), noBreaker, WithEndpoints(at("a", "b")...), WithRetry(RetryPolicy{Budget: tt.budget, Attempts: 10, MinDelay: Off}),
					WithObserver(func(_ context.Context, e Event) {
						if e.Kind == KindBudget {
							denied++
						}
					}))
				for n := range 20 {
					got := asks(t.Context(), rt, chatJSON)
					if got.status() != 503 || got.header(headerRetry) != "false" {
						t.Errorf("call %d gave %v, want the host's 503", n, got)
					}
					ledger.add(n, got)
				}
				if n := len(ledger.extras()); n != tt.extras {
					t.Errorf("%d extra attempts, want %d", n, tt.extras)
				}
				if n := len(ledger.trips) - len(ledger.extras()); n != 40 {
					t.Errorf("%d first visits, want 40: both accounts by each call", n)
				}
				if denied == 0 {
					t.Error("no denial was told")
				}
				elapse(2 * time.Minute) // the budget comes back
				ledger.add(20, asks(t.Context(), rt, chatJSON))
				if n := len(ledger.extras()); n == tt.extras && tt.budget != Off {
					t.Error("two minutes later there is still no budget")
				}
			})
		})
	}
}

// Attempts bounds the tries of one account in one call.
func TestRetry_Attempts(t *testing.T) {
	shared := at("a", "b")
	shared[0].Account, shared[1].Account = "x", "x"
	for _, tt := range []struct {
		name   string
		policy RetryPolicy
		call   Call
		ends   []Endpoint
		want   string
	}{
		{"default", RetryPolicy{}, Call{}, at("a"), "a a a"},
		{"one", RetryPolicy{Attempts: 1}, Call{}, at("a"), "a"},
		{"off is one", RetryPolicy{Attempts: Off}, Call{}, at("a"), "a"},
		{"five", RetryPolicy{Attempts: 5}, Call{}, at("a"), "a a a a a"},
		{"the call's own", RetryPolicy{}, Call{Attempts: 2}, at("a"), "a a"},
		{"the call's own, above", RetryPolicy{Attempts: 1}, Call{Attempts: 4}, at("a"), "a a a a"},
		{"each account for itself", RetryPolicy{Attempts: 2}, Call{}, at("a", "b"), "a b a b"},
		{"an account not yet tried always may be", RetryPolicy{Attempts: 1}, Call{}, at("a", "b", "c"), "a b c"},
		{"endpoints of one account are one", RetryPolicy{Attempts: 3}, Call{}, shared, "a a a"},
		{"no failover for a call that names its endpoint", RetryPolicy{Attempts: 2}, Call{Endpoint: "b"}, at("a", "b"), "b b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked []string
				rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					asked = append(asked, req.URL.Host)
					return failing503(req)
				}), noBreaker, WithEndpoints(tt.ends...), WithRetry(tt.policy))
				rt.now().turn.Store(uint64(len(tt.ends) - 1)) // a's turn
				got := asks(WithCall(t.Context(), tt.call), rt, chatJSON)
				if got.status() != 503 || strings.Join(asked, " ") != tt.want {
					t.Errorf("attempts at %v, %v, want %s", asked, got, tt.want)
				}
				if n := got.header(headerAttempts); n != fmt.Sprint(len(asked)) {
					t.Errorf("%s = %s, want %d", headerAttempts, n, len(asked))
				}
			})
		})
	}
}

// Backoff doubles with full jitter: uniform from zero to an interval that
// doubles from MinDelay to MaxDelay.
func TestRetry_Backoff(t *testing.T) {
	for _, tt := range []struct {
		policy RetryPolicy
		bounds []time.Duration
	}{
		{RetryPolicy{}, []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second, 8 * time.Second}},
		{RetryPolicy{MinDelay: time.Second, MaxDelay: 3 * time.Second}, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second}},
		{RetryPolicy{MinDelay: 20 * time.Second}, []time.Duration{20 * time.Second, 20 * time.Second}},
		{RetryPolicy{MinDelay: Off}, []time.Duration{0, 0}},
	} {
		p, err := tt.policy.resolve()
		if err != nil {
			t.Fatal(err)
		}
		lowest, highest, sum := make([]time.Duration, len(tt.bounds)), make([]time.Duration, len(tt.bounds)), make([]time.Duration, len(tt.bounds))
		const draws = 4000
		for range draws {
			delays := p.newBackOff()
			for i := range tt.bounds {
				d := delays.NextBackOff()
				if d < 0 || d > tt.bounds[i] {
					t.Fatalf("%+v: delay %d is %v, want at most %v", tt.policy, i+1, d, tt.bounds[i])
				}
				if lowest[i] == 0 || d < lowest[i] {
					lowest[i] = d
				}
				highest[i] = max(highest[i], d)
				sum[i] += d
			}
		}
		for i, bound := range tt.bounds {
			// Nine tenths of 4000 draws: the chance that a uniform one misses them is below 1e-180.
			if mean := sum[i] / draws; lowest[i] > bound/10 || highest[i] < bound*9/10 || mean < bound*4/10 || mean > bound*6/10 {
				t.Errorf("%+v: delay %d is from %v to %v, %v on average, want all from 0 to %v", tt.policy, i+1, lowest[i], highest[i], mean, bound)
			}
		}
	}
}

// When attempts come: to the same account after a backoff, to another at once;
// and a wait that cannot end before the caller's deadline is not begun.
func TestRetry_Waits(t *testing.T) {
	const ms = time.Millisecond
	busy := func(retryAfter string) handler { return gives(503, asJSON, "{}", "Retry-After", retryAfter) }
	for _, tt := range []struct {
		name     string
		policy   RetryPolicy
		deadline time.Duration
		tiers    string // endpoints by name, a / between tiers
		base     handler
		want     string // who was asked when, and when the call ended
	}{
		{"backoff doubles", RetryPolicy{Attempts: 5}, 0, "a", failing503, "a0s a500ms a1.5s a3.5s a7.5s end 7.5s"},
		{"no backoff", RetryPolicy{MinDelay: Off}, 0, "a", failing503, "a0s a0s a0s end 0s"},
		{"another account at once", RetryPolicy{}, 0, "a b", failing503, "a0s b0s a500ms b500ms a1.5s b1.5s end 1.5s"},
		{"once again within patience, then a lower tier", RetryPolicy{}, 0, "a/b", failing503, "a0s a500ms b500ms b1s a1.5s b2s end 2s"},
		{"no patience", RetryPolicy{Patience: Off, Attempts: 1}, 0, "a/b", failing503, "a0s b0s end 0s"},
		{"patience shorter than the backoff", RetryPolicy{Patience: 400 * ms, Attempts: 1}, 0, "a/b", failing503, "a0s b0s end 0s"},
		{"Retry-After is the floor", RetryPolicy{Attempts: 2}, 0, "a", busy("3"), "a0s a3s end 3s"},
		{"Retry-After below the backoff", RetryPolicy{Attempts: 2}, 0, "a", gives(503, asJSON, "{}", "Retry-After-Ms", "100"), "a0s a500ms end 500ms"},
		{"Retry-After above MaxRetryAfter", RetryPolicy{MaxRetryAfter: 2 * time.Second}, 0, "a", busy("3"), "a0s end 0s"},
		{"Retry-After of MaxRetryAfter", RetryPolicy{MaxRetryAfter: 3 * time.Second, Attempts: 2}, 0, "a", busy("3"), "a0s a3s end 3s"},
		{"deadline before the backoff's end", RetryPolicy{}, 499 * ms, "a", failing503, "a0s end 0s"},
		{"deadline at the backoff's end", RetryPolicy{}, 500 * ms, "a", failing503, "a0s end 0s"},
		{"deadline behind the backoff's end", RetryPolicy{}, 501 * ms, "a", failing503, "a0s a500ms end 500ms"},
		{"deadline before the Retry-After", RetryPolicy{}, 2 * time.Second, "a", busy("3"), "a0s end 0s"},
		{"deadline within patience: a lower tier at once", RetryPolicy{Attempts: 1}, 400 * ms, "a/b", busy("1"), "a0s b0s end 0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var told []string
				opts := []Option{noBreaker, WithRetry(tt.policy)}
				for i, tier := range strings.Split(tt.tiers, "/") {
					add := WithEndpoints
					if i > 0 {
						add = WithBackup
					}
					opts = append(opts, add(at(strings.Fields(tier)...)...))
				}
				rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					told = append(told, fmt.Sprint(req.URL.Host, time.Since(start)))
					return tt.base(req)
				}), opts...)
				rt.now().turn.Store(uint64(len(rt.now().tiers[0]) - 1))
				ctx := t.Context()
				if tt.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				got := asks(ctx, rt, chatJSON)
				told = append(told, fmt.Sprint("end ", time.Since(start)))
				if s := strings.Join(told, " "); s != tt.want || got.status() != 503 {
					t.Errorf("%s (%v), want %s", s, got, tt.want)
				}
			})
		})
	}
}

// SendOnce: what may have been billed is not sent again, neither there nor elsewhere.
func TestRetry_SendOnce(t *testing.T) {
	unread := func(*http.Request) (*http.Response, error) { return nil, errors.New("refused before it was sent") }
	read := func(do handler) handler {
		return func(req *http.Request) (*http.Response, error) {
			io.Copy(io.Discard, req.Body)
			return do(req)
		}
	}
	for _, tt := range []struct {
		name   string
		ask    string
		base   handler
		billed bool
	}{
		{"never sent", chatJSON, unread, false},
		{"429", chatJSON, read(gives(429, asJSON, "{}")), false},
		{"503", chatJSON, read(failing503), false},
		{"500", chatJSON, read(gives(500, asJSON, "{}")), false},
		{"401", chatJSON, read(gives(401, asJSON, "{}")), false},
		{"reset", chatJSON, read(refusing), true},
		{"silence", chatJSON, read(hanging), true},
		{"504 of a gateway", chatJSON, read(gives(504, "text/html", "<html>")), true},
		{"json cut", chatJSON, read(gives(200, asJSON, goodJSON[:30])), true},
		{"json reset", chatJSON, read(breaks(asJSON, goodJSON[:30])), true},
		{"json empty", chatJSON, read(gives(200, asJSON, "")), true},
		{"json malformed", chatJSON, read(gives(200, asJSON, "<html>")), true},
		{"json out of resources", chatJSON, read(gives(200, asJSON, strings.Replace(goodJSON, `"stop"`, `"insufficient_system_resource"`, 1))), true},
		{"error inside", chatJSON, read(gives(200, asJSON, `{"error":{"code":500}}`)), true},
		{"stream empty", chatStream, read(gives(200, asStream, "")), true},
		{"stream reset before payload", chatStream, read(breaks(asStream, ": keep-alive\n\n")), true},
		{"stream with an error frame at once", chatStream, read(gives(200, asStream, "data: {\"error\":{}}\n\n")), true},
	} {
		for _, sendOnce := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%v", tt.name, sendOnce), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := 0
					rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
						if n++; n == 1 {
							return tt.base(req)
						}
						if strings.Contains(tt.ask, "stream") {
							return answer(200, asStream, wholeStream), nil
						}
						return answer(200, asJSON, goodJSON), nil
					}), WithEndpoints(at("a", "b")...), WithRetry(RetryPolicy{SendOnce: sendOnce}), WithStream(quick))
					// Where nobody may take over, the caller's deadline is the only clock.
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					defer cancel()
					var told Trail
					got := asks(WithCall(ctx, Call{Trail: &told}), rt, tt.ask)
					want := 2
					if sendOnce && tt.billed {
						want = 1
					}
					if n != want {
						t.Errorf("%d attempts, %v, want %d", n, got, want)
					}
					trail := told.Attempts()
					if len(trail) == 0 || trail[0].MayBeBilled != tt.billed {
						t.Errorf("trail %+v, want MayBeBilled = %v", trail, tt.billed)
					}
					if want == 2 && got.status() != 200 {
						t.Errorf("the call gave %v, want the other's answer", got)
					}
				})
			})
		}
	}
}

// A question larger than MaxReplay is sent once, streamed, to the endpoint it
// was meant for; a smaller one is kept and sent again.
func TestRetry_MaxReplay(t *testing.T) {
	const limit = 1000
	ask := func(n int) string {
		return `{"model":"m","x":"` + strings.Repeat("x", n-len(`{"model":"m","x":""}`)) + `"}`
	}
	for _, tt := range []struct {
		name   string
		size   int
		length func(*http.Request)
		kept   bool
	}{
		{"of the limit", limit, func(*http.Request) {}, true},
		{"above it", limit + 1, func(*http.Request) {}, false},
		{"of the limit, length unknown", limit, func(req *http.Request) { req.ContentLength = -1 }, true},
		{"above it, length unknown", limit + 1, func(req *http.Request) { req.ContentLength = -1 }, false},
		{"far above it, length unknown", 50 * limit, func(req *http.Request) { req.ContentLength = -1 }, false},
		{"of the limit, byte by byte", limit, func(req *http.Request) { req.Body = io.NopCloser(iotest.OneByteReader(req.Body)) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked, bodies []string
				var told []Event
				rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					body, _ := io.ReadAll(req.Body)
					req.Body.Close()
					asked, bodies = append(asked, req.URL.Host), append(bodies, string(body))
					return failing503(req)
				}), WithEndpoints(at("a", "b")...), WithRetry(RetryPolicy{MaxReplay: limit, Attempts: 2}), WithCache(CachePolicy{}),
					WithObserver(func(_ context.Context, e Event) {
						if e.Kind == KindUnbuffered {
							told = append(told, e)
						}
					}))
				for range 2 { // whoever's turn it is
					asked, bodies = nil, nil
					req, tracked := post(t.Context(), "https://a", ask(tt.size))
					tt.length(req)
					resp, err := rt.RoundTrip(req)
					if err != nil || resp.StatusCode != 503 {
						t.Fatalf("the call gave %v, %v, want the host's 503", resp, err)
					}
					resp.Body.Close()
					if want := map[bool]int{true: 4, false: 1}[tt.kept]; len(asked) != want || !tt.kept && asked[0] != "a" {
						t.Errorf("attempts at %v, want %d, and a alone where it is sent once", asked, want)
					}
					for i, body := range bodies {
						if body != ask(tt.size) {
							t.Errorf("attempt %d was sent %d bytes, want the question's %d", i+1, len(body), tt.size)
						}
					}
					if n := tracked.Closed(); n != 1 && tt.name != "of the limit, byte by byte" {
						t.Errorf("the caller's body was closed %d times, want 1", n)
					}
				}
				if n := len(told); n != map[bool]int{true: 0, false: 2}[tt.kept] || n > 0 && told[0].Endpoint != "a" {
					t.Errorf("told of %+v", told)
				}
			})
		})
	}
}

// Over real connections of net/http: what reached the host and what did not.
func TestRetry_SendOnceOverConnections(t *testing.T) {
	for _, tt := range []struct {
		fault kit.Fault
		again bool
	}{
		{kit.Refused(), true}, {kit.Reset(), false}, {kit.Busy(), true}, {kit.TooManyRequests("1"), true},
		{kit.CutJSON(), false}, {kit.EmptyInside(), false}, {kit.HTMLInside(), false}, {kit.BlackHole(), false}, {kit.QueueForever(), false},
	} {
		t.Run(tt.fault.Name(), func(t *testing.T) {
			inWorld(t, "primary backup", []Option{WithRetry(RetryPolicy{SendOnce: true, Patience: Off}), WithStream(quick)}, func(w *world) {
				w.fleet.Server("primary").Break(tt.fault)
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				w.callWith(ctx, "q", false, nil)
				if again := len(w.fleet.Server("backup").Requests()) == 1; again != tt.again {
					t.Errorf("sent again: %v, want %v\n%s", again, tt.again, strings.Join(w.lines, "\n"))
				}
			})
		})
	}
}
