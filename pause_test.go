package breakwater

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/request"
)

// impatient never waits for a better tier.
var impatient = WithRetry(RetryPolicy{Attempts: 1, Patience: Off})

// A refusal is kept by all that it takes: a type of media may be as long as a body.
func TestPause_KeepsNoLongRefusal(t *testing.T) {
	rt := over(t, newHosts(gives(429, "text/plain; x="+strings.Repeat("x", maxKeptRefusal), "slow down", "Retry-After", "60")), once)
	asks(t.Context(), rt, chatJSON)
	pauses := rt.now().failover.pauses.List(time.Now())
	if len(pauses) == 0 {
		t.Fatal("nothing rests")
	}
	for key, p := range pauses {
		if p.Note != nil {
			t.Errorf("%+v keeps a refusal of %d bytes", key, p.Note.size())
		}
	}
}

// The same through a Transport: hosts that ask for pauses, earn them, fail and
// answer slowly, in any order, are never asked before the time they asked for.
func TestPause_NoAttemptBeforeTheTimeAskedFor(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 3))
			var mu sync.Mutex
			until := make(map[string]time.Time) // by host and model
			told := make(map[string]time.Time)  // when; others may be on their way at that very moment
			early, rested := "", 0
			base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				mu.Lock()
				host := req.URL.Host
				body, _ := io.ReadAll(req.Body)
				model := request.Parse(body).Model
				now := time.Now()
				key := host + " " + model
				if now.After(told[key]) && now.Before(until[key]) && early == "" {
					early = fmt.Sprintf("%s was asked %v before the time it had asked for", key, until[key].Sub(now))
				}
				what, slow := random.IntN(8), time.Duration(random.Int64N(int64(10*time.Second)))
				seconds := 1 + random.IntN(40)
				mu.Unlock()
				elapse(slow)
				ask := func(status int) (*http.Response, error) {
					mu.Lock()
					defer mu.Unlock()
					rested++
					told[key] = time.Now()
					if end := time.Now().Add(time.Duration(seconds) * time.Second); end.After(until[key]) {
						until[key] = end
					}
					resp := answer(status, asJSON, "{}")
					resp.Header.Set("Retry-After", fmt.Sprint(seconds))
					return resp, nil
				}
				switch what {
				case 0:
					return ask(429)
				case 1:
					return ask(503)
				case 2, 3:
					return answer(429, asJSON, "{}"), nil
				case 4:
					return answer(503, asJSON, "{}"), nil
				}
				return answer(200, asJSON, goodJSON), nil
			})
			rt := over(t, base, WithEndpoints(at("a", "b")...), WithRetry(RetryPolicy{MaxDelay: 60 * time.Second}),
				WithStream(StreamPolicy{Queued: Off, Thinking: Off, FirstToken: Off}))
			var callers sync.WaitGroup
			for n := range 200 {
				callers.Go(func() {
					elapse(time.Duration(n) * 1500 * time.Millisecond)
					model := []string{"m", "n"}[n%2]
					asks(t.Context(), rt, strings.Replace(chatJSON, `"m"`, `"`+model+`"`, 1))
				})
			}
			callers.Wait()
			if early != "" {
				t.Errorf("seed %d: %s", seed, early)
			}
			if rested < 10 {
				t.Errorf("seed %d: %d pauses were asked for: little was tested", seed, rested)
			}
		})
	}
}

// What was earned ends when an answer shows that it is over; what was asked
// for does not.
func TestPause_RecoveryEndsEarnedOnly(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header []string
		status int
		rests  bool // after the answer
	}{
		{"429 without Retry-After", nil, 429, false},
		{"429 with Retry-After", []string{"Retry-After", "20"}, 429, true},
		{"503 with Retry-After", []string{"Retry-After", "20"}, 503, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(gives(200, asJSON, goodJSON))
				rt := over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...), WithRetry(RetryPolicy{Attempts: 1, MinDelay: 20 * time.Second, MaxDelay: 20 * time.Second}),
					WithRateLimit(RatePolicy{Fixed: true})) // otherwise a lower rate takes the place of a pause
				base.Set("a", func(*http.Request) (*http.Response, error) {
					elapse(2 * time.Second)
					return answer(200, asJSON, goodJSON), nil
				})
				go asks(t.Context(), rt, chatJSON) // answered in 2s
				synctest.Wait()
				base.Set("a", gives(tt.status, asJSON, "{}", tt.header...))
				asks(t.Context(), rt, chatJSON)
				base.Set("a", gives(200, asJSON, goodJSON))
				if got := asks(t.Context(), rt, chatJSON).header(headerEndpoint); got != "b" {
					t.Errorf("while it rests %s answered, want b", got)
				}
				if p := rt.Status().Endpoints[0].Pauses; len(p) != 1 || time.Until(p[0].Until) != 20*time.Second {
					t.Errorf("Status shows the pauses %+v, want one of 20s", p)
				}
				elapse(2*time.Second + time.Millisecond)
				if got := asks(t.Context(), rt, chatJSON).header(headerEndpoint) == "b"; got != tt.rests {
					t.Errorf("behind the answer it rests: %v, want %v", got, tt.rests)
				}
				elapse(18 * time.Second)
				if got := asks(t.Context(), rt, chatJSON).header(headerEndpoint); got != "a" {
					t.Errorf("when the time is over %s answered, want a", got)
				}
			})
		})
	}
}

// Pauses stand for what they were asked for: an account's limit of one model,
// for one credential where it is the caller's own, or a whole endpoint.
func TestPause_WhomItConcerns(t *testing.T) {
	other := strings.Replace(chatJSON, `"m"`, `"n"`, 1)
	type ask struct {
		body, key string
		by        string
	}
	for _, tt := range []struct {
		name   string
		keys   string // what the endpoints have for keys; empty: the caller's own
		status int
		asks   []ask
	}{
		{"429: the model of the account", "sk", 429, []ask{
			{chatJSON, "sk-caller", "c"}, // b shares a's account
			{chatJSON, "sk-other", "c"},
			{other, "sk-caller", "a"},
		}},
		{"429 of the caller's own key: that caller", "", 429, []ask{
			{chatJSON, "sk-caller", "c"},
			{chatJSON, "sk-other", "a"},
			{other, "sk-caller", "a"},
		}},
		{"503: the model of the endpoint", "sk", 503, []ask{
			{chatJSON, "sk-caller", "b"},
			{chatJSON, "sk-other", "b"},
			{other, "sk-other", "a"},
		}},
		{"503 of the caller's own key: that caller", "", 503, []ask{
			{chatJSON, "sk-caller", "b"},
			{chatJSON, "sk-other", "a"},
			{other, "sk-caller", "a"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(gives(200, asJSON, goodJSON))
				var opts []Option
				for i, name := range []string{"a", "b", "c"} {
					e := Endpoint{Name: name, URL: "https://" + name, APIKey: tt.keys, Keyless: tt.keys == "" && i > 0, Account: []string{"x", "x", "y"}[i]}
					opts = append(opts, []func(...Endpoint) Option{WithEndpoints, WithBackup, WithBackup}[i](e))
				}
				rt := over(t, base, append(opts, WithRetry(RetryPolicy{Attempts: 1, Patience: Off}))...)
				base.Set("a", gives(tt.status, asJSON, "{}", "Retry-After", "30"))
				asks(t.Context(), rt, chatJSON)
				base.Set("a", gives(200, asJSON, goodJSON))
				for _, ask := range tt.asks {
					got := asks(t.Context(), rt, ask.body, with("Authorization", "Bearer "+ask.key))
					if got.header(headerEndpoint) != ask.by {
						t.Errorf("%s with %s was answered by %v, want %s", ask.body, ask.key, got, ask.by)
					}
				}
			})
		})
	}
}

// Those whom a pause keeps away hear what the host had said, and for how long.
func TestPause_AnswerSaysWhatTheHostSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(429, "text/x; charset=utf-8", "too many, wait", "Retry-After", "100"))
		rt := over(t, base, once, WithEndpoints(at("a")...))
		asks(t.Context(), rt, chatJSON)
		elapse(10*time.Second + time.Millisecond)
		got := asks(t.Context(), rt, chatJSON)
		if got.status() != 429 || got.body != "too many, wait" || got.header("Content-Type") != "text/x; charset=utf-8" ||
			got.header("Retry-After") != "90" || got.header(headerError) != "paused" || got.header(headerRetry) != "false" || base.Count("") != 1 {
			t.Errorf("the second caller was told %v, %v", got, got.resp.Header)
		}
		if err, ok := ErrorOf(got.resp).(*Error); !ok || len(err.Attempts) != 1 || err.Attempts[0].Class != ClassPaused || err.Attempts[0].N != 0 {
			t.Errorf("ErrorOf = %+v, want one attempt that was not made", err)
		}
	})
}

// A server's word is bounded: nothing takes an endpoint out for good.
func TestPause_AbsurdRetryAfter(t *testing.T) {
	for _, word := range []string{"99999999999", "999999999999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			base.Set("a", gives(429, asJSON, "{}", "Retry-After", word))
			rt := over(t, base, impatient, WithEndpoints(at("a")...), WithBackup(at("b")...))
			asks(t.Context(), rt, chatJSON)
			base.Set("a", gives(200, asJSON, goodJSON))
			for _, tt := range []struct {
				after time.Duration
				by    string
			}{{10*time.Minute - 1, "b"}, {1, "a"}} {
				elapse(tt.after)
				if got := asks(t.Context(), rt, chatJSON).header(headerEndpoint); got != tt.by {
					t.Errorf("Retry-After %s: %v later %s answered, want %s", word, tt.after, got, tt.by)
				}
			}
		})
	}
}

// A 429 earns its pause however long the longest may be.
func TestPause_LongestDelays(t *testing.T) {
	for _, longest := range []time.Duration{math.MaxInt64/2 + 1, math.MaxInt64 - 1, math.MaxInt64} {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			base.Set("a", gives(429, asJSON, "{}"))
			rt := over(t, base, WithRetry(RetryPolicy{Attempts: 1, Patience: Off, MinDelay: time.Second, MaxDelay: longest}), WithEndpoints(at("a")...), WithBackup(at("b")...))
			for n := range 2 {
				if got := asks(t.Context(), rt, chatJSON); got.status() != 200 || base.Count("a") != 1 {
					t.Errorf("MaxDelay %v, call %d: %v, %d attempts at a host that rests since the first", longest, n+1, got, base.Count("a"))
				}
			}
		})
	}
}

// An account whose key was rejected rests for ten minutes, and no longer.
func TestPause_OfAKey(t *testing.T) {
	for _, status := range []int{401, 403, 402} {
		synctest.Test(t, func(t *testing.T) {
			var loud []Event
			base := newHosts(gives(200, asJSON, goodJSON))
			base.Set("a", gives(status, asJSON, "{}"))
			rt := over(t, base, impatient, WithEndpoints(at("a")...), WithBackup(at("b")...), WithObserver(func(_ context.Context, e Event) {
				if e.Kind == KindKey {
					loud = append(loud, e)
				}
			}))
			for range 3 { // the second time is no longer than the first
				base.Set("a", gives(status, asJSON, "{}"))
				if got := asks(t.Context(), rt, chatJSON); got.header(headerEndpoint) != "b" {
					t.Errorf("%d: the call gave %v, want the backup's answer", status, got)
				}
				base.Set("a", gives(200, asJSON, goodJSON))
				elapse(10*time.Minute - 1)
				if got := asks(t.Context(), rt, chatJSON).header(headerEndpoint); got != "b" {
					t.Errorf("%d: within ten minutes %s answered, want b", status, got)
				}
				elapse(1)
			}
			if got := asks(t.Context(), rt, chatJSON).header(headerEndpoint); got != "a" {
				t.Errorf("%d: after ten minutes %s answered, want a", status, got)
			}
			if len(loud) != 3 || loud[0].Status != status || loud[0].Wait != 10*time.Minute || loud[0].Endpoint != "a" {
				t.Errorf("%d: told of keys: %+v, want 3 times", status, loud)
			}
		})
	}
}

// An endpoint that rests for its key is asked when nobody else is left, once a
// second at most; if it answers, it rests no longer.
func TestPause_LastResort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		base.Set("a", gives(401, asJSON, "{}"))
		rt := over(t, base, once, noBreaker, WithEndpoints(at("a")...), WithBackup(at("b")...))
		asks(t.Context(), rt, chatJSON)
		if rests(rt) != "endpoint" {
			t.Fatalf("%q rests, want the endpoint", rests(rt))
		}
		base.Set("b", refusing)
		before := base.Count("a")
		for range 10 {
			elapse(100 * time.Millisecond)
			asks(t.Context(), rt, chatJSON)
		}
		if n := base.Count("a") - before; n != 1 {
			t.Errorf("in a second of an outage the endpoint that rests was asked %d times, want once", n)
		}
		base.Set("a", gives(200, asJSON, goodJSON))
		elapse(time.Second)
		if got := asks(t.Context(), rt, chatJSON); got.body != goodJSON || rests(rt) != "" {
			t.Errorf("well again, the caller got %v and %q rests", got, rests(rt))
		}
	})
}

// A limit that an answer says it has used up is not tried until it is whole.
func TestPause_OfSpentLimits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header []string
		wait   time.Duration
	}{
		{"requests", []string{"X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "12s"}, 12 * time.Second},
		{"the later of both", []string{"X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "1s", "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "6m0s"}, time.Minute},
		{"something left", []string{"X-Ratelimit-Remaining-Requests", "1", "X-Ratelimit-Reset-Requests", "12s"}, 0},
		{"no word on what is left", []string{"X-Ratelimit-Reset-Requests", "12s"}, 0},
		{"absurd", []string{"X-Ratelimit-Remaining-Requests", "-1", "X-Ratelimit-Reset-Requests", "NaN"}, 0},
		{"in the past", []string{"X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "-5s"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(gives(200, asJSON, goodJSON))
				base.Set("a", gives(200, asJSON, goodJSON, tt.header...))
				rt := over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...), WithRetry(RetryPolicy{Patience: Off}))
				for range 2 {
					asks(t.Context(), rt, chatJSON)
				}
				if rested := base.Count("b") == 1; rested != (tt.wait > 0) {
					t.Errorf("the second call went elsewhere: %v", rested)
				}
				elapse(tt.wait)
				before := base.Count("a")
				if asks(t.Context(), rt, chatJSON); base.Count("a") != before+1 {
					t.Errorf("after %v the limit still rests", tt.wait)
				}
			})
		})
	}
}

// A refusal's own words are said again while it keeps callers away, whatever
// its headers say of limits besides.
func TestPause_RefusalWithSpentLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := over(t, newHosts(gives(429, asJSON, `{"error":{"message":"slow down"}}`, "Retry-After", "200", "X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "30s")),
			WithEndpoints(at("a")...))
		for range 2 {
			if got := asks(t.Context(), rt, chatJSON); got.status() != 429 || !strings.Contains(got.body, "slow down") {
				t.Errorf("%v, want the host's refusal", got)
			}
		}
	})
}

// The words of one credential are told to no other, whatever it is.
func TestPause_WordsOfAnotherCredential(t *testing.T) {
	for name, as := range map[string]func(*http.Request, string){
		"Authorization":       func(req *http.Request, who string) { req.Header.Set("Authorization", "Bearer "+who) },
		"X-Goog-Api-Key":      func(req *http.Request, who string) { req.Header.Set("X-Goog-Api-Key", who) },
		"Cookie":              func(req *http.Request, who string) { req.Header.Set("Cookie", "session="+who) },
		"Proxy-Authorization": func(req *http.Request, who string) { req.Header.Set("Proxy-Authorization", "Basic "+who) },
		"query":               func(req *http.Request, who string) { req.URL.RawQuery = "key=" + who },
		"userinfo":            func(req *http.Request, who string) { req.URL.User = url.UserPassword(who, "x") },
	} {
		for _, status := range []int{429, 503} {
			bubble(t, fmt.Sprint(name, status), func(t *testing.T) {
				base := newHosts(func(req *http.Request) (*http.Response, error) {
					if strings.Contains(fmt.Sprint(req.URL, req.Header, req.URL.User.String()), "tenant-one") {
						return gives(status, asJSON, `{"error":{"message":"tenant one's own words"}}`, "Retry-After", "120")(req)
					}
					return answer(200, asJSON, goodJSON), nil
				})
				rt := over(t, base)
				who := func(w string) func(*http.Request) {
					return func(req *http.Request) { req.Header.Del("Authorization"); as(req, w) }
				}
				asks(t.Context(), rt, chatJSON, who("tenant-one"))
				if got := asks(t.Context(), rt, chatJSON, who("tenant-two")); got.status() != 200 {
					t.Errorf("%s, %d: the other tenant got %v", name, status, got)
				}
			})
		}
	}
}

// A limit that was told holds for all credentials together; a pause that the host asks of one
// of them is no part of it.
func TestPause_OfOneCredentialUnderALimit(t *testing.T) {
	for name, p := range map[string]RatePolicy{"rate": {PerSecond: 10}, "adaptive": {InFlight: 10, Adaptive: true}, "in flight": {InFlight: 10}} {
		bubble(t, name, func(t *testing.T) {
			base := newHosts(func(req *http.Request) (*http.Response, error) {
				if req.Header.Get("Authorization") == "Bearer one" {
					return gives(429, asJSON, `{"error":{"message":"too many"}}`, "Retry-After", "30")(req)
				}
				return answer(200, asJSON, goodJSON), nil
			})
			rt := over(t, base, WithRateLimit(p))
			start := time.Now()
			go asks(t.Context(), rt, chatJSON, with("Authorization", "Bearer one"))
			synctest.Wait()
			got := asks(t.Context(), rt, chatJSON, with("Authorization", "Bearer two"))
			if took := time.Since(start); got.status() != 200 || took > time.Second {
				t.Errorf("%s: the other credential got %v after %v", name, got, took)
			}
		})
	}
}

// A pause that others begin anew whenever it ends keeps no call from a backup that is ready.
func TestPause_RenewedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...), WithRetry(RetryPolicy{Patience: 5 * time.Second}))
		limit := pauseKey{account: rt.now().tiers[0][0].payer, model: "m"}
		stop := make(chan struct{})
		go func() {
			for tick := time.Tick(900 * time.Millisecond); ; {
				rt.now().failover.pauses.Ask(limit, time.Now(), time.Second, nil)
				select {
				case <-tick:
				case <-stop:
					return
				}
			}
		}()
		synctest.Wait()
		start := time.Now()
		got := asks(t.Context(), rt, chatJSON)
		close(stop)
		if took := time.Since(start); got.body != goodJSON || base.Count("b") != 1 || took > 5*time.Second {
			t.Errorf("got %v after %v, want the backup's answer within the patience", got, took)
		}
	})
}
