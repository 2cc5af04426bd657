package breakwater

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// shares makes calls, one a tenth of a second, and returns how many each host got.
func shares(t *testing.T, rt *Transport, base *fakehost.Base, calls int, ask func(n int) string, names ...string) map[string]int {
	before := make(map[string]int)
	for _, name := range names {
		before[name] = base.Count(name)
	}
	var callers sync.WaitGroup
	for n := range calls {
		callers.Go(func() { asks(t.Context(), rt, ask(n)) })
		elapse(100 * time.Millisecond)
	}
	callers.Wait()
	got := make(map[string]int)
	for _, name := range names {
		got[name] = base.Count(name) - before[name]
	}
	return got
}

func same(int) string { return chatJSON }

// Who is slower to the first payload, or has more attempts open, gets less; to
// fail fast is not to be fast; and a host that was slow is tried again.
func TestBalance_CallsGoWhereTheyAreServedSooner(t *testing.T) {
	quick := fakehost.After(300*time.Millisecond, gives(200, asJSON, goodJSON))
	for _, tt := range []struct {
		name string
		a    handler
		most int // of 100 calls
		opts []Option
	}{
		{"as quick", quick, 60, nil},
		{"ten times slower", fakehost.After(3*time.Second, gives(200, asJSON, goodJSON)), 25, nil},
		{"fails fast", failing503, 30, []Option{noBreaker}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(quick)
				base.Set("a", tt.a)
				rt := over(t, base, append(tt.opts, WithEndpoints(at("a", "b")...))...)
				got := shares(t, rt, base, 100, same, "a", "b")
				if got["a"] > tt.most || got["a"] == 0 {
					t.Errorf("a got %d of 100 calls, want some, at most %d", got["a"], tt.most)
				}
				base.Set("a", quick)
				elapse(time.Minute)
				if got := shares(t, rt, base, 100, same, "a", "b"); got["a"] < 40 {
					t.Errorf("well again, a got %d of 100 calls, want about half", got["a"])
				}
			})
		})
	}
}

// conversation is the n-th turn of a conversation with a long system prompt.
func conversation(name string, turns int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"model":"m","messages":[{"role":"system","content":"%s"},{"role":"user","content":"I am %s"}`, strings.Repeat("be brief. ", 300), name)
	for n := range turns {
		fmt.Fprintf(&b, `,{"role":"assistant","content":"yes"},{"role":"user","content":"and %d?"}`, n)
	}
	return b.String() + "]}"
}

const (
	cachedJSON   = `{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2000,"completion_tokens":1,"total_tokens":2001,"prompt_cache_hit_tokens":1900}}`
	uncachedJSON = `{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2000,"completion_tokens":1,"total_tokens":2001,"prompt_cache_hit_tokens":0}}`
)

// A conversation stays where it was served, whatever is added to it; different
// ones are spread; another process would send them the same way.
func TestBalance_ConversationsStayTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, cachedJSON))
		names := []string{"a", "b", "c"}
		homes := make(map[string]int)
		other := over(t, base, WithEndpoints(at(names...)...))
		rt := over(t, base, WithEndpoints(at(names...)...))
		for n := range 60 {
			who := fmt.Sprint(n)
			where := make(map[string]bool)
			for turns := range 4 {
				got := asks(t.Context(), rt, conversation(who, turns))
				where[got.header(headerEndpoint)] = true
			}
			where[asks(t.Context(), other, conversation(who, 9)).header(headerEndpoint)] = true
			if len(where) != 1 {
				t.Errorf("conversation %s went to %v, want one", who, where)
			}
			for name := range where {
				homes[name]++
			}
		}
		for _, name := range names {
			if homes[name] < 8 {
				t.Errorf("of 60 conversations %s has %d: they are not spread", name, homes[name])
			}
		}
	})
}

// Affinity is given up where the endpoint is sick, full, slow, or caches nothing.
func TestBalance_AffinityHasItsLimits(t *testing.T) {
	home := func(t *testing.T, rt *Transport) string {
		return asks(t.Context(), rt, conversation("x", 0)).header(headerEndpoint)
	}
	t.Run("sick", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, cachedJSON))
			rt := over(t, base, once, WithEndpoints(at("a", "b")...))
			at := home(t, rt)
			base.Set(at, failing503)
			for turns := range 20 {
				if got := asks(t.Context(), rt, conversation("x", turns)); got.status() != 200 || got.header(headerEndpoint) == at {
					t.Fatalf("with its home sick the conversation got %v", got)
				}
			}
		})
	})
	t.Run("full", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(fakehost.After(time.Minute, gives(200, asJSON, cachedJSON)))
			rt := over(t, base, WithEndpoints(at("a", "b")...))
			var callers sync.WaitGroup
			for turns := range 40 {
				callers.Go(func() { asks(t.Context(), rt, conversation("x", turns)) })
				synctest.Wait()
			}
			callers.Wait()
			if a, b := base.Count("a"), base.Count("b"); min(a, b) < 14 {
				t.Errorf("of 40 calls at once, a got %d and b %d: want neither more than 1.25 of its share", a, b)
			}
		})
	})
	t.Run("slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, cachedJSON))
			rt := over(t, base, WithEndpoints(at("a", "b")...))
			at := home(t, rt)
			base.Set(at, fakehost.After(20*time.Second, gives(200, asJSON, cachedJSON)))
			asks(t.Context(), rt, conversation("x", 1))
			if got := asks(t.Context(), rt, conversation("x", 2)); got.header(headerEndpoint) == at {
				t.Error("a home that is slow keeps its conversation")
			}
		})
	})
	t.Run("caches nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, uncachedJSON))
			rt := over(t, base, WithEndpoints(at("a", "b")...))
			at := home(t, rt)
			for turns := range 11 {
				asks(t.Context(), rt, conversation("x", turns))
			}
			where := make(map[string]int)
			for turns := range 10 {
				where[asks(t.Context(), rt, conversation("x", turns)).header(headerEndpoint)]++
			}
			if where[at] == 10 {
				t.Errorf("a host without a prefix cache keeps the conversation: %v", where)
			}
		})
	})
	t.Run("none by load", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, cachedJSON))
			rt := over(t, base, WithEndpoints(at("a", "b")...), WithBalance(BalancePolicy{Overload: math.Inf(1)}))
			at := home(t, rt)
			for turns := range 10 {
				if got := asks(t.Context(), rt, conversation("x", turns)).header(headerEndpoint); got != at {
					t.Fatalf("the conversation went from %s to %s", at, got)
				}
			}
		})
	})
	for name, opts := range map[string][]Option{"short prompts": nil, "off": {WithBalance(BalancePolicy{Affinity: Off})}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(gives(200, asJSON, cachedJSON))
				rt := over(t, base, append(opts, WithEndpoints(at("a", "b")...))...)
				ask := chatJSON
				if name == "off" {
					ask = conversation("x", 1)
				}
				for range 20 {
					asks(t.Context(), rt, ask)
				}
				if base.Count("a") != 10 || base.Count("b") != 10 {
					t.Errorf("a got %d and b %d of 20 calls, want turns", base.Count("a"), base.Count("b"))
				}
			})
		})
	}
}

// A host that has just come back gets as many attempts at once as it has
// answered, and one; alone, it gets all.
func TestBalance_WhoComesBackIsSpared(t *testing.T) {
	for _, alone := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(fakehost.After(time.Second, gives(200, asJSON, goodJSON)))
			base.Set("a", failing503)
			opts := []Option{once, WithEndpoints(at("a")...)}
			if !alone {
				opts = append(opts, WithBackup(at("b")...))
			}
			rt := over(t, base, opts...)
			for range 5 {
				asks(t.Context(), rt, chatJSON)
			}
			var mu sync.Mutex
			open, most, began := 0, []int{}, time.Time{}
			base.Set("a", func(req *http.Request) (*http.Response, error) {
				mu.Lock()
				open++
				for len(most) == 0 || len(most) <= int(time.Since(began)/time.Second) {
					most = append(most, 0)
				}
				most[len(most)-1] = max(most[len(most)-1], open)
				mu.Unlock()
				resp, err := fakehost.After(time.Second, gives(200, asJSON, goodJSON))(req)
				mu.Lock()
				open--
				mu.Unlock()
				return resp, err
			})
			elapse(5 * time.Second)
			began = time.Now().Add(time.Second)
			asks(t.Context(), rt, chatJSON) // the probe
			var callers sync.WaitGroup
			for range 150 {
				for range 10 { // a hundred a second
					callers.Go(func() { asks(t.Context(), rt, chatJSON) })
				}
				elapse(100 * time.Millisecond)
			}
			callers.Wait()
			if !alone && (most[0] > 3 || most[len(most)-1] < 50) {
				t.Errorf("the most attempts open at once, by second: %v, want few at first and all in the end", most)
			}
			if alone && most[0] < 50 {
				t.Errorf("alone, the most attempts open at once, by second: %v, want all", most)
			}
		})
	}
}

// Endpoints of a tier take turns.
func TestBalance_ATierSharesTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithEndpoints(at("a", "b", "c")...), WithBackup(at("d")...))
		for range 30 {
			asks(t.Context(), rt, chatJSON)
		}
		got := []int{base.Count("a"), base.Count("b"), base.Count("c"), base.Count("d")}
		if !slices.Equal(got, []int{10, 10, 10, 0}) {
			t.Errorf("30 calls went %v, want 10 to each of the first tier", got)
		}
	})
}

// seeded makes the choice of endpoints the same in each run.
func seeded(seed uint64) Option {
	return func(c *config) error {
		var mu sync.Mutex
		random := rand.New(rand.NewPCG(seed, seed))
		c.random = func(n int) int {
			mu.Lock()
			defer mu.Unlock()
			return random.IntN(n)
		}
		return nil
	}
}

// weighing returns endpoints a, b, … with these weights.
func weighing(weights ...float64) []Endpoint {
	all := at("a", "b", "c")[:len(weights)]
	for i, w := range weights {
		all[i].Weight = w
	}
	return all
}

// A canary gets its share of the calls, and of the conversations, which it keeps. Update
// changes the share.
func TestBalance_Weight(t *testing.T) {
	for _, tt := range []struct {
		name string
		ask  func(n int) string
	}{
		{"calls", same},
		{"conversations", func(n int) string { return conversation(fmt.Sprint(n), 1) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(fakehost.After(300*time.Millisecond, gives(200, asJSON, cachedJSON)))
				opts := func(canary float64) []Option {
					return []Option{WithBase(base), seeded(1), WithEndpoints(weighing(1, canary)...)}
				}
				rt := over(t, base, opts(0.05)[1:]...)
				calls, asked := 3000, 0
				for _, canary := range []float64{0.05, 0.5, 1} {
					if err := rt.Update(opts(canary)...); err != nil {
						t.Fatal(err)
					}
					want := float64(calls) * canary / (1 + canary)
					ask := func(n int) string { return tt.ask(asked + n) } // conversations that are new
					asked += calls
					// A conversation goes elsewhere if its home has all that it may have open.
					if got := float64(shares(t, rt, base, calls, ask, "a", "b")["b"]); math.Abs(got-want) > max(2.5*math.Sqrt(want), 0.15*want) {
						t.Errorf("with Weight %v, the canary got %v of %d, want about %.0f", canary, got, calls, want)
					}
				}
			})
		})
	}
	t.Run("a conversation stays", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, cachedJSON))
			rt := over(t, base, seeded(1), WithEndpoints(weighing(1, 0.05, 1)...))
			for n := range 200 {
				home := asks(t.Context(), rt, conversation(fmt.Sprint(n), 0)).header(headerEndpoint)
				for turns := range 3 {
					if got := asks(t.Context(), rt, conversation(fmt.Sprint(n), turns)).header(headerEndpoint); got != home {
						t.Fatalf("conversation %d went from %s to %s", n, home, got)
					}
				}
			}
		})
	})
	t.Run("a canary that fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			base.Set("b", failing503)
			rt := over(t, base, seeded(1), once, WithEndpoints(weighing(1, 0.5)...))
			for range 200 {
				if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
					t.Fatalf("got %v", got)
				}
			}
			if got := base.Count("b"); got == 0 || got > 20 {
				t.Errorf("the canary got %d of 200 calls, want some at first", got)
			}
		})
	})
}

// drawing lets each call without a conversation draw u: it goes away from an endpoint whose
// share is not above that.
func drawing(u float64) Option {
	return func(c *config) error {
		c.random = func(n int) int { return int(u * float64(n)) }
		return nil
	}
}

// lateEvery answers as well does, but every nth request too late.
func lateEvery(n int, well handler) handler {
	var got atomic.Int64
	return func(req *http.Request) (*http.Response, error) {
		if got.Add(1)%int64(n) == 0 {
			return hanging(req)
		}
		return well(req)
	}
}

// shifted are options with a backup that gets shares, and clocks of 5 s.
func shifted(opts ...Option) []Option {
	return append([]Option{
		WithEndpoints(at("a")...), WithBackup(at("b")...), seeded(1), WithBalance(BalancePolicy{Shift: 0.9, Affinity: 2048}),
		WithStream(StreamPolicy{FirstToken: 5 * time.Second, Thinking: 5 * time.Second, Queued: 5 * time.Second}),
	}, opts...)
}

// sharesOfStatus returns the shares of an endpoint.
func sharesOfStatus(rt *Transport, name string) []ShareStatus {
	for _, e := range rt.Status().Endpoints {
		if e.Name == name {
			return e.Shares
		}
	}
	return nil
}

// On every wire, most calls go away from an endpoint of which a third of the answers are late,
// and come back when it is well. The trail, an event and Status say so.
func TestShift_EveryWire(t *testing.T) {
	for op, answers := range map[string]string{
		"chat/completions": wholeStream,
		"completions":      `data: {"choices":[{"index":0,"text":"hi","finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n",
		"responses":        `event: response.output_text.delta` + "\n" + `data: {"type":"response.output_text.delta","delta":"hi"}` + "\n\n" + `event: response.completed` + "\n" + `data: {"type":"response.completed","response":{"status":"completed"}}` + "\n\n",
		"v1/messages":      `event: content_block_delta` + "\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}` + "\n\n" + `event: message_stop` + "\n" + `data: {"type":"message_stop"}` + "\n\n",
	} {
		bubble(t, op, func(t *testing.T) {
			well := gives(200, asStream, answers)
			base := newHosts(well)
			var events atomic.Int64
			rt := over(t, base, shifted(WithObserver(func(_ context.Context, e Event) {
				if e.Kind == KindPassedOver && e.Reason == ReasonShift && e.Endpoint == "a" {
					events.Add(1)
				}
			}))...)
			late, shift := 0, 0
			ask := func(calls int) {
				var mu sync.Mutex
				var callers sync.WaitGroup
				for range calls {
					callers.Go(func() {
						began := time.Now()
						var trail Trail
						ctx := WithCall(t.Context(), Call{Trail: &trail})
						got := asks(ctx, rt, `{"model":"m","stream":true,"max_tokens":9,"messages":[],"prompt":"q","input":"q"}`, func(req *http.Request) { req.URL.Path = "/" + op })
						mu.Lock()
						defer mu.Unlock()
						if got.status() != 200 {
							t.Errorf("got %v", got)
						}
						if time.Since(began) >= 5*time.Second {
							late++
						}
						for _, a := range trail.Attempts() {
							if a.PassedOver == ReasonShift {
								shift++
								if a.Endpoint != "a" || a.N != 0 || a.Class != ClassUnserved || got.header(headerEndpoint) != "b" || got.header(headerOutcome) != string(OutcomeFailover) {
									t.Errorf("a shifted call has the entry %+v and the answer %v", a, got)
								}
							}
						}
					})
					elapse(100 * time.Millisecond)
				}
				callers.Wait()
			}
			base.Set("a", lateEvery(3, well))
			ask(300)
			late, shift = 0, 0
			ask(300)
			if late > 25 || shift < 240 || int(events.Load()) < shift {
				t.Errorf("with a share of 0.1, %d of 300 calls waited in vain, %d were shifted, with %d events", late, shift, events.Load())
			}
			if got := sharesOfStatus(rt, "a"); len(got) != 1 || got[0].Model != "m" || got[0].Share > 0.3 || got[0].Trouble < 0.05 || len(sharesOfStatus(rt, "b")) > 0 {
				t.Errorf("the shares of a are %+v, and those of b %+v", got, sharesOfStatus(rt, "b"))
			}
			base.Set("a", well)
			ask(900)
			shift = 0
			ask(100)
			if shift > 0 || len(sharesOfStatus(rt, "a")) > 0 {
				t.Errorf("well again, %d of 100 calls were shifted", shift)
			}
		})
	}
}

// reduced returns a Transport whose endpoint a has lost all that it may, for model m.
func reduced(t *testing.T, base *fakehost.Base, opts ...Option) *Transport {
	t.Helper()
	rt := over(t, base, append(shifted(noBreaker, drawing(0.99)), opts...)...)
	for _, u := range rt.now().all() {
		if u.Name == "a" {
			for range 100 {
				u.shares.Get("m").Note(true, time.Now(), 0.1)
				elapse(100 * time.Millisecond)
			}
		}
	}
	return rt
}

// A share goes nowhere where the call must not, or had better not.
func TestShift_KeepsPromises(t *testing.T) {
	backup := func(change func(*Endpoint)) []Option {
		e := at("b")[0]
		change(&e)
		return []Option{func(c *config) error { c.tiers[1] = nil; return nil }, WithBackup(e)}
	}
	for _, tt := range []struct {
		name string
		opts []Option
		ask  func(t *testing.T, rt *Transport, base *fakehost.Base) seen
		want string // who answers
	}{
		{"it is shifted", nil, nil, "b"},
		{"another model", nil, func(t *testing.T, rt *Transport, _ *fakehost.Base) seen {
			return asks(t.Context(), rt, `{"model":"other","messages":[]}`)
		}, "a"},
		{"Call.Endpoints", nil, func(t *testing.T, rt *Transport, _ *fakehost.Base) seen {
			return asks(only(t.Context(), "a"), rt, chatJSON)
		}, "a"},
		{"Call.Endpoint", nil, func(t *testing.T, rt *Transport, _ *fakehost.Base) seen {
			return asks(WithCall(t.Context(), Call{Endpoint: "a"}), rt, chatJSON)
		}, "a"},
		{"a GET", nil, func(t *testing.T, rt *Transport, base *fakehost.Base) seen {
			return asks(t.Context(), rt, "", func(req *http.Request) {
				req.Method, req.Body, req.ContentLength, req.URL.Path = "GET", nil, 0, "/models"
			})
		}, "a"},
		{"a limit of the user's own keeps the call", []Option{WithRateLimit(RatePolicy{InFlight: 1, MaxWait: time.Minute})}, func(t *testing.T, rt *Transport, base *fakehost.Base) seen {
			base.Set("a", fakehost.After(time.Second, gives(200, asJSON, goodJSON)))
			go asks(only(t.Context(), "a"), rt, chatJSON)
			elapse(time.Millisecond)
			return asks(t.Context(), rt, chatJSON)
		}, "a"},
		{"a backup that does not have the model", backup(func(e *Endpoint) { e.Models = map[string]string{"other": "o"} }), nil, "a"},
		{"a backup in trouble", nil, func(t *testing.T, rt *Transport, _ *fakehost.Base) seen {
			for _, u := range rt.now().all() {
				for range 9 {
					u.shares.Get("m").Note(true, time.Now(), 0.1)
				}
			}
			return asks(t.Context(), rt, chatJSON)
		}, "a"},
		{"a backup whose circuit is open", []Option{WithBreaker(BreakerPolicy{Consecutive: 1}), once}, func(t *testing.T, rt *Transport, base *fakehost.Base) seen {
			base.Set("b", failing503)
			asks(only(t.Context(), "b"), rt, chatJSON)
			return asks(t.Context(), rt, chatJSON)
		}, "a"},
		{"a backup that fails", []Option{once}, func(t *testing.T, rt *Transport, base *fakehost.Base) seen {
			base.Set("b", failing503)
			return asks(t.Context(), rt, chatJSON)
		}, "a"},
		{"a backup that fails, and a further one", []Option{once, WithBackup(at("c")...)}, func(t *testing.T, rt *Transport, base *fakehost.Base) seen {
			base.Set("b", failing503)
			return asks(t.Context(), rt, chatJSON)
		}, "a"},
		{"an upload", []Option{WithRetry(RetryPolicy{MaxReplay: 10})}, nil, "a"},
		{"a minute later, after which it is a little better", nil, func(t *testing.T, rt *Transport, _ *fakehost.Base) seen {
			elapse(9 * time.Minute)
			return asks(t.Context(), rt, chatJSON)
		}, "a"},
		{"after an Update without Shift", nil, func(t *testing.T, rt *Transport, base *fakehost.Base) seen {
			if err := rt.Update(steady(), WithBase(base), WithEndpoints(at("a")...), WithBackup(at("b")...)); err != nil {
				t.Fatal(err)
			}
			return asks(t.Context(), rt, chatJSON)
		}, "a"},
		{"after an Update with another Shift", nil, func(t *testing.T, rt *Transport, base *fakehost.Base) seen {
			if err := rt.Update(shifted(WithBase(base), drawing(0.6), func(c *config) error { c.balance.Shift = 0.5; return nil })...); err != nil {
				t.Fatal(err)
			}
			return asks(t.Context(), rt, chatJSON)
		}, "b"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			rt := reduced(t, base, tt.opts...)
			if tt.ask == nil {
				tt.ask = func(t *testing.T, rt *Transport, _ *fakehost.Base) seen { return asks(t.Context(), rt, chatJSON) }
			}
			if got := tt.ask(t, rt, base); got.status() != 200 || got.header(headerEndpoint) != tt.want {
				t.Errorf("got %v of %q, want an answer of %q", got, got.header(headerEndpoint), tt.want)
			}
		})
	}
}

// What counts as trouble, and what does not.
func TestShift_WhatCounts(t *testing.T) {
	limited := gives(429, asJSON, `{"error":{"message":"slow down","type":"rate_limit_error"}}`)
	for _, tt := range []struct {
		name   string
		a      handler
		opts   []Option
		ask    func(t *testing.T, rt *Transport)
		counts bool
	}{
		{"503", failing503, nil, nil, true},
		{"429", limited, nil, nil, true},
		{"429 to the caller's own key", limited, []Option{func(c *config) error { c.tiers[0][0].APIKey = ""; return nil }}, nil, false},
		{"no connection", refusing, nil, nil, true},
		{"silence", hanging, nil, nil, true},
		{"400", gives(400, asJSON, `{"error":{"message":"bad","type":"invalid_request_error"}}`), nil, nil, false},
		{"401 of our key", gives(401, asJSON, `{"error":{"message":"no such key","type":"authentication_error"}}`), nil, nil, false},
		{"a caller who leaves", hanging, nil, func(t *testing.T, rt *Transport) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			asks(ctx, rt, chatStream)
		}, false},
		{"outrun by a hedge", fakehost.After(3*time.Second, gives(200, asJSON, goodJSON)), []Option{WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true}), WithRetry(RetryPolicy{Budget: 50})}, nil, true},
		{"well", gives(200, asJSON, goodJSON), nil, nil, false},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			base.Set("b", func(req *http.Request) (*http.Response, error) {
				if attemptOf(req.Context()).call.params.Stream {
					return answer(200, asStream, wholeStream), nil
				}
				return answer(200, asJSON, goodJSON), nil
			})
			base.Set("a", tt.a)
			rt := over(t, base, append(shifted(noBreaker), tt.opts...)...)
			ask := chatJSON
			if tt.name == "silence" {
				ask = chatStream
			}
			for range 40 {
				if tt.ask != nil {
					tt.ask(t, rt)
				} else {
					asks(t.Context(), rt, ask)
				}
				elapse(6 * time.Second)
			}
			if got := sharesOfStatus(rt, "a"); (len(got) > 0) != tt.counts {
				t.Errorf("the shares of a are %+v", got)
			}
		})
	}
}

// A conversation moves as a whole, and not with each call: some go to the backup, and stay
// there as long as the share does.
func TestShift_ConversationsMoveAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, cachedJSON))
		rt := over(t, base, shifted(seeded(2))...)
		share := rt.now().tiers[0][0].shares.Get("m")
		for range 5 {
			share.Note(true, time.Now(), 0.1)
		}
		if got := share.Of(time.Now(), 0.1); got != 0.5 {
			t.Fatalf("the share is %v", got)
		}
		moved := 0
		for n := range 100 {
			where := make(map[string]bool)
			for turns := range 4 {
				where[asks(t.Context(), rt, conversation(fmt.Sprint(n), turns)).header(headerEndpoint)] = true
			}
			if len(where) > 1 {
				t.Errorf("conversation %d went to %v", n, where)
			}
			if where["b"] {
				moved++
			}
		}
		if moved < 35 || moved > 65 {
			t.Errorf("%d of 100 conversations moved, want about half", moved)
		}
	})
}

// A renewal stays where it was, because nobody waits for it.
func TestShift_RenewalsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := reduced(t, base, WithCache(CachePolicy{TTL: time.Second, StaleWhileRevalidate: time.Minute}))
		asks(t.Context(), rt, chatJSON)
		elapse(2 * time.Second)
		asks(t.Context(), rt, chatJSON)
		elapse(time.Second)
		if base.Count("b") != 1 || base.Count("a") != 1 {
			t.Errorf("a got %d requests and b %d, want the renewal and the call", base.Count("a"), base.Count("b"))
		}
	})
}

// In a tier with several endpoints, the others take the share, and the backup only what they
// cannot.
func TestShift_WithinATier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := reduced(t, base, WithEndpoints(at("c")...))
		for range 20 {
			if got := asks(t.Context(), rt, chatJSON); got.header(headerEndpoint) != "c" || got.header(headerOutcome) != string(OutcomeOK) {
				t.Fatalf("got %v", got)
			}
		}
		for range 9 {
			rt.now().tiers[0][1].shares.Get("m").Note(true, time.Now(), 0.1)
		}
		if got := asks(t.Context(), rt, chatJSON); got.header(headerEndpoint) != "b" {
			t.Errorf("with both in trouble, got %v", got)
		}
	})
}
