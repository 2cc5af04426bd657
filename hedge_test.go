package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// Hedging: who is asked when, who wins, and what becomes of the other.
func TestHedge(t *testing.T) {
	json, stream := gives(200, asJSON, goodJSON), gives(200, asStream, wholeStream)
	refused := gives(400, asJSON, `{"error":{"message":"your fault"}}`)
	hedged := WithStream(StreamPolicy{Hedge: 2 * time.Second, HedgeBackup: true, FirstToken: 30 * time.Second, Thinking: time.Minute})
	for _, tt := range []struct {
		name  string
		ask   string
		a, b  handler
		opts  []Option
		took  time.Duration
		trail string // endpoint, class, verdict of each attempt
	}{
		{"the first is quick", chatJSON, fakehost.After(time.Second, json), json, nil, time.Second, "a ok accept"},
		{"the second overtakes", chatStream, fakehost.After(time.Minute, stream), fakehost.After(time.Second, stream), nil, 3 * time.Second, "a outrun stop, b ok accept"},
		{"the first comes in after all", chatJSON, fakehost.After(3*time.Second, json), fakehost.After(time.Minute, json), nil, 3 * time.Second, "a ok accept, b outrun stop"},
		{"the second fails, the first comes in", chatJSON, fakehost.After(5*time.Second, json), failing503, nil, 5 * time.Second, "a ok accept, b unavailable elsewhere"},
		{"the first fails, the second comes in", chatJSON, fakehost.After(3*time.Second, failing503), fakehost.After(4*time.Second, json), nil, 6 * time.Second, "a unavailable elsewhere, b ok accept"},
		{"the first says the call is at fault", chatJSON, fakehost.After(3*time.Second, refused), fakehost.After(time.Minute, json), nil, 3 * time.Second, "a refused stop, b outrun stop"},
		{"both fail", chatJSON, fakehost.After(3*time.Second, failing503), fakehost.After(3*time.Second, failing503), []Option{once}, 5 * time.Second, "a unavailable elsewhere, b unavailable stop"},
		{"no budget", chatJSON, fakehost.After(5*time.Second, json), json, []Option{WithRetry(RetryPolicy{Budget: Off})}, 5 * time.Second, "a ok accept"},
		{"sent once", chatJSON, fakehost.After(5*time.Second, json), json, []Option{WithRetry(RetryPolicy{SendOnce: true})}, 5 * time.Second, "a ok accept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(tt.a)
				base.Set("b", tt.b)
				rt := over(t, base, append(tt.opts, hedged, WithRateLimit(RatePolicy{InFlight: 1}), WithEndpoints(at("a")...), WithBackup(at("b")...))...)
				var trail Trail
				start := time.Now()
				got := asks(WithCall(t.Context(), Call{Trail: &trail}), rt, tt.ask)
				took := time.Since(start)
				synctest.Wait()
				var was []string
				for i, a := range trail.Attempts() {
					was = append(was, fmt.Sprintf("%s %s %s", a.Endpoint, a.Class, a.Verdict))
					if a.N != i+1 {
						t.Errorf("attempt %d has the number %d", i+1, a.N)
					}
				}
				if strings.Join(was, ", ") != tt.trail || took != tt.took {
					t.Errorf("%v after %v, want %s after %v; the caller got %v", was, took, tt.trail, tt.took, got)
				}
				for _, e := range rt.Status().Endpoints {
					for _, c := range e.Circuits {
						if c.State != "closed" {
							t.Errorf("the circuit of %s is %s", e.Name, c.State)
						}
					}
				}
				if left := stillHeld(rt); left != "" {
					t.Errorf("got %s left, want nothing", left)
				}
			})
		})
	}
}

// A hedge stays within its tier, unless told. It may leave for a better one.
func TestHedge_StaysInItsTier(t *testing.T) {
	slow, good := fakehost.After(time.Minute, gives(200, asJSON, goodJSON)), gives(200, asJSON, goodJSON)
	ends := at("a", "b", "c")
	for _, tt := range []struct {
		name  string
		tiers []Option
		told  bool
		want  string
	}{
		{"a backup", []Option{WithEndpoints(ends[0]), WithBackup(ends[1])}, false, "a 1m0s"},
		{"a backup, told", []Option{WithEndpoints(ends[0]), WithBackup(ends[1])}, true, "b 1s"},
		{"the same tier", []Option{WithEndpoints(ends[0], ends[1]), WithBackup(ends[2])}, false, "b 1s"},
		{"the same tier, told", []Option{WithEndpoints(ends[0], ends[1]), WithBackup(ends[2])}, true, "b 1s"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(good)
			base.Set("a", slow)
			rt := over(t, base, append(tt.tiers, WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: tt.told, FirstToken: Off, Thinking: Off, Queued: Off}))...)
			for range 2 { // of two in a tier, each has its turn
				start, asked := time.Now(), base.Count("a")
				got := asks(t.Context(), rt, chatJSON)
				if base.Count("a") == asked {
					continue
				}
				if said := fmt.Sprint(got.header(headerEndpoint), " ", time.Since(start)); said != tt.want {
					t.Errorf("%s, want %s", said, tt.want)
				}
				return
			}
			t.Error("a was never asked")
		})
	}
}

// Two endpoints of one account are one account.
func TestHedge_AsksAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(fakehost.After(5*time.Second, gives(200, asJSON, goodJSON)))
		list := at("a", "b")
		list[0].Account, list[1].Account = "one", "one"
		rt := over(t, base, WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true}), WithEndpoints(list...))
		if got := asks(t.Context(), rt, chatJSON); got.body != goodJSON || base.Count("") != 1 {
			t.Errorf("%v after %d requests, want one", got, base.Count(""))
		}
	})
}

// The caller's cancel ends both attempts; a panic below one reaches the caller.
func TestHedge_EndsWithItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := over(t, newHosts(hanging), WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true}), WithEndpoints(at("a", "b")...))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		if got := asks(ctx, rt, chatJSON); got.err == nil || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v, want the deadline's error after 3s", got, time.Since(start))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(fakehost.After(5*time.Second, gives(200, asJSON, goodJSON)))
		base.Set("b", func(*http.Request) (*http.Response, error) { panic("below") })
		rt := over(t, base, WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true}), WithEndpoints(at("a")...), WithBackup(at("b")...))
		defer func() {
			if recover() != "below" {
				t.Error("the panic did not reach the caller")
			}
			elapse(time.Minute) // nothing is left of the other attempt
		}()
		asks(t.Context(), rt, chatJSON)
	})
}

// Each attempt has a body and a context of its own.
func TestHedge_BodiesApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var bodies []string
		rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			half := make([]byte, 10)
			io.ReadFull(req.Body, half)
			if req.URL.Host == "a" {
				elapse(3 * time.Second)
			}
			rest, _ := io.ReadAll(req.Body)
			mu.Lock()
			defer mu.Unlock()
			bodies = append(bodies, string(half)+string(rest))
			return answer(200, asJSON, goodJSON), nil
		}), WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true}), WithEndpoints(at("a")...), WithBackup(at("b")...))
		asks(t.Context(), rt, chatJSON)
		elapse(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if len(bodies) != 2 || bodies[0] != chatJSON || bodies[1] != chatJSON {
			t.Errorf("the hosts read %q, want the question twice", bodies)
		}
	})
}

// An attempt that is outrun before it has asked for its permit, or for its place
// in a circuit, gives back what it is about to take: whether it asks before or
// after that is chance.
func TestHedge_OutrunHoldsNothing(t *testing.T) {
	limited := []Option{WithRateLimit(RatePolicy{InFlight: 300})}
	for _, tt := range []struct {
		name  string
		hedge time.Duration
		slow  time.Duration // the Observer that is told of the hedge
		opts  []Option
	}{
		{"the answer comes as the hedge begins", time.Second, 0, nil},
		{"the answer comes as the hedge begins, with a limit", time.Second, 0, limited},
		{"the answer comes while an observer is told of the hedge", time.Second / 2, time.Second, nil},
		{"the answer comes while an observer is told of the hedge, with a limit", time.Second / 2, time.Second, limited},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := over(t, newHosts(fakehost.After(time.Second, gives(200, asJSON, goodJSON))), append(tt.opts, WithEndpoints(at("a", "b")...),
					WithRetry(RetryPolicy{Budget: 1000}), WithStream(StreamPolicy{Hedge: tt.hedge, HedgeBackup: true}), WithObserver(func(_ context.Context, e Event) {
						if e.Kind == KindHedge && tt.slow > 0 {
							elapse(tt.slow)
						}
					}))...)
				for n := range 200 {
					if got := asks(t.Context(), rt, question(n)); got.body != goodJSON {
						t.Errorf("the caller got %v, want an answer", got)
					}
				}
				elapse(time.Minute)
				synctest.Wait()
				if left := stillHeld(rt); left != "" {
					t.Errorf("after 200 calls: got %s left, want nothing", left)
				}
			})
		})
	}
}

// A loser may be refused in the very moment in which it is outrun (run with
// -race: its word is learnt where it ran, and what it holds is given back where
// the winner came in).
func TestHedge_LoserIsRefusedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(fakehost.After(2*time.Second, failing503))
		base.Set("b", fakehost.After(time.Second, gives(200, asJSON, goodJSON)))
		rt := over(t, base, noBreaker, WithEndpoints(at("a")...), WithBackup(at("b")...), WithRetry(RetryPolicy{Budget: 1000}),
			WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true}), WithRateLimit(RatePolicy{InFlight: 10}))
		for n := range 50 {
			if got := asks(t.Context(), rt, question(n)); got.body != goodJSON {
				t.Errorf("the caller got %v, want an answer", got)
			}
			elapse(time.Minute)
		}
		if left := stillHeld(rt); left != "" {
			t.Errorf("got %s left, want nothing", left)
		}
	})
}

// What a loser showed before it was outrun, or shows as its cancel reaches it, is
// learnt: a key that is rejected, an account without funds or a model that is not
// there rests, and is told of, once. To be outrun shows nothing.
func TestHedge_WhatALoserShowed(t *testing.T) {
	json := gives(200, asJSON, goodJSON)
	shows := func(d time.Duration, do handler) handler { // whether or not it is wanted any more
		return func(req *http.Request) (*http.Response, error) {
			elapse(d)
			return do(req)
		}
	}
	for _, what := range []struct {
		name string
		do   handler
		told string
	}{
		{"a rejected key", gives(401, asJSON, "{}"), "key a key_rejected 10m0s"},
		{"a forbidden key", gives(403, asJSON, "{}"), "key a key_rejected 10m0s"},
		{"no funds", gives(402, asJSON, "{}"), "key a no_funds 10m0s"},
		{"no model", gives(404, asJSON, `{"error":{"code":"model_not_found"}}`), "pause a no_model 1m0s"},
	} {
		for name, tt := range map[string]struct{ a, b handler }{
			"before":      {fakehost.After(3*time.Second, what.do), fakehost.After(4*time.Second, json)},
			"as it comes": {shows(3*time.Second, what.do), shows(time.Second, json)},
			"too late":    {shows(4*time.Second, what.do), fakehost.After(time.Second, json)},
		} {
			t.Run(what.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var mu sync.Mutex
					var told []string
					base := newHosts(tt.a)
					base.Set("b", tt.b)
					rt := over(t, base, WithStream(StreamPolicy{Hedge: 2 * time.Second, HedgeBackup: true}), WithEndpoints(at("a")...), WithBackup(at("b")...), WithObserver(func(_ context.Context, e Event) {
						if e.Kind == KindKey || e.Kind == KindPause {
							mu.Lock()
							defer mu.Unlock()
							told = append(told, fmt.Sprint(e.Kind, " ", e.Endpoint, " ", e.Class, " ", e.Wait))
						}
					}))
					if got := asks(t.Context(), rt, chatJSON); got.body != goodJSON {
						t.Errorf("the caller got %v, want the answer of b", got)
					}
					elapse(10 * time.Second)
					synctest.Wait()
					mu.Lock()
					defer mu.Unlock()
					if got := strings.Join(told, ", "); got != what.told {
						t.Errorf("told %q, want %q", got, what.told)
					}
					before := base.Count("a")
					asks(t.Context(), rt, chatJSON)
					if base.Count("a") != before {
						t.Error("a is asked again, want it to rest")
					}
					if left := stillHeld(rt); left != "" {
						t.Errorf("got %s left, want nothing", left)
					}
				})
			})
		}
	}
	// A host that fails as it is outrun, and one that says nothing.
	for name, do := range map[string]handler{"hanging": hanging, "failing late": shows(10*time.Second, failing503), "breaking late": shows(10*time.Second, refusing)} {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(do)
			base.Set("b", json)
			rt := over(t, base, WithBreaker(BreakerPolicy{Consecutive: 1}), WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true}), WithEndpoints(at("a")...), WithBackup(at("b")...), WithRetry(RetryPolicy{Budget: 1000}))
			for range 5 {
				asks(t.Context(), rt, chatJSON)
			}
			elapse(time.Minute)
			if c := rt.Status().Endpoints[0]; c.Circuits[0].State != "closed" || len(c.Pauses) > 0 {
				t.Errorf("%s: %+v, want nothing learnt", name, c)
			}
		})
	}
}

// An attempt that another one was faster than may go on for a while.
func TestHedge_LosersAreOfTheRequestAsItWas(t *testing.T) {
	for name, lose := range map[string]func(*http.Request) (*http.Response, error){
		"an error": func(req *http.Request) (*http.Response, error) { return nil, req.Context().Err() },
		"its URL":  func(req *http.Request) (*http.Response, error) { return nil, errors.New(req.URL.Path) },
		"a limit": func(*http.Request) (*http.Response, error) {
			resp := answer(200, asJSON, goodJSON)
			resp.Header.Set("X-Ratelimit-Remaining", "0")
			resp.Header.Set("X-Ratelimit-Reset", "1")
			return resp, nil
		},
	} {
		bubble(t, name, func(t *testing.T) { // the race detector looks on
			over1 := make(chan struct{})
			base := newHosts(func(req *http.Request) (*http.Response, error) { return answer(200, asJSON, goodJSON), nil })
			base.Set("a", func(req *http.Request) (*http.Response, error) {
				<-req.Context().Done()
				<-over1
				return lose(req)
			})
			rt := over(t, base, WithEndpoints(Endpoint{Name: "a", URL: "https://a", Host: HostTogether}), WithBackup(at("b")...), WithStream(StreamPolicy{Hedge: time.Millisecond, HedgeBackup: true}))
			req, _ := post(t.Context(), "https://a", chatJSON)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			close(over1)
			for range 1000 {
				req.Header.Set("Authorization", "another")
				req.Header.Del("X-Try")
				req.URL.Path = "/v1/models"
			}
		})
	}
}
