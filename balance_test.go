package breakwater

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
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
