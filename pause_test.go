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
)

// impatient never waits for a better tier.
var impatient = WithRetry(RetryPolicy{Attempts: 1, Patience: Off})

// Invariant 10: whatever happens in whatever order, a pause that a server
// asked for lasts as long as it asked, and one of our own making, if nothing
// has recovered since, as long as it was earned.
func TestPausesAreNeverShortened(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 2))
		ps := newPauses()
		now := time.Unix(1e9, 0)
		keys := []pauseKey{{endpoint: "e"}, {account: "a"}, {account: "a", model: "m"}}
		asked := make(map[pauseKey]time.Time)
		earned := make(map[pauseKey]time.Time)
		var events []string
		for range 60 {
			key := keys[random.IntN(len(keys))]
			d := time.Duration(random.Int64N(int64(30 * time.Second)))
			switch random.IntN(5) {
			case 0:
				events = append(events, fmt.Sprintf("%v asks for %v", name(key), d))
				ps.ask(key, now, d, nil)
				asked[key] = later(asked[key], now.Add(d))
			case 1, 2:
				d = ps.earn(key, now, d, 8*time.Second, nil)
				events = append(events, fmt.Sprintf("%v earns %v", name(key), d))
				earned[key] = later(earned[key], now.Add(d))
			case 3:
				events = append(events, fmt.Sprintf("%v recovers", name(key)))
				ps.recovered(key, now)
				delete(earned, key)
			case 4:
				events = append(events, fmt.Sprintf("%v pass", d/4))
				now = now.Add(d / 4)
			}
			for _, key := range keys {
				until := later(asked[key], earned[key])
				p, ok := ps.of(key, now)
				if until.After(now) && (!ok || p.until.Before(until)) {
					t.Fatalf("seed %d: %v rests until %v, want %v at least; events:\n%s", seed, name(key),
						p.until.Sub(now), until.Sub(now), strings.Join(events, "\n"))
				}
				if !until.After(now) && ok {
					t.Fatalf("seed %d: %v rests for %v more, want not at all; events:\n%s", seed, name(key), p.until.Sub(now), strings.Join(events, "\n"))
				}
			}
		}
	}
}

func name(key pauseKey) string {
	return strings.TrimSpace(key.endpoint + " " + key.account + " " + key.model)
}

// What is earned doubles for every time in a row, up to a longest, and begins
// anew behind a recovery.
func TestEarnedPausesDouble(t *testing.T) {
	ps := newPauses()
	now := time.Unix(1e9, 0)
	key := pauseKey{account: "a", model: "m"}
	earn := func() time.Duration {
		d := ps.earn(key, now, time.Second, 10*time.Second, nil)
		if p, ok := ps.of(key, now); !ok || p.until.Sub(now) != d {
			t.Errorf("earned %v, rests for %v", d, p.until.Sub(now))
		}
		now = now.Add(d)
		return d
	}
	var got []time.Duration
	for range 6 {
		got = append(got, earn())
	}
	ps.recovered(key, now)
	got = append(got, earn(), earn())
	if want := "[1s 2s 4s 8s 10s 10s 1s 2s]"; fmt.Sprint(got) != want {
		t.Errorf("pauses %v, want %s", got, want)
	}
	// A recovery ends the row also where a server's word stands above it.
	now = now.Add(time.Hour)
	ps.ask(key, now, time.Minute, nil)
	ps.recovered(key, now)
	if p, ok := ps.of(key, now); !ok || p.until.Sub(now) != time.Minute {
		t.Errorf("a recovery left the pause %v %v, want the minute asked for", p.until.Sub(now), ok)
	}
	now = now.Add(time.Hour)
	if d := earn(); d != time.Second {
		t.Errorf("the first pause behind a recovery is %v, want 1s", d)
	}
	for range 100 { // no overflow
		earn()
	}
}

// The number of pauses is bounded; those that last longest are kept, and none
// that is over comes back.
func TestPausesAreBounded(t *testing.T) {
	ps := newPauses()
	now := time.Unix(1e9, 0)
	key := func(n int) pauseKey { return pauseKey{account: fmt.Sprint(n), model: "m"} }
	const all = maxPauses + 500
	for n := range all {
		ps.ask(key(n), now, time.Hour+time.Duration(n)*time.Second, nil)
	}
	if n := len(ps.all); n > maxPauses {
		t.Errorf("%d pauses are kept, want at most %d", n, maxPauses)
	}
	if _, ok := ps.of(key(all-1), now); !ok {
		t.Error("the longest pause was given up")
	}
	now = now.Add(2 * time.Hour)
	ps.ask(key(-1), now, time.Hour, nil)
	for n := range all {
		p, ok := ps.of(key(n), now)
		if want := time.Duration(n)*time.Second > time.Hour && n >= all-maxPauses; ok && !want {
			t.Fatalf("pause %d of %v is still there", n, p.until.Sub(now))
		}
	}
}

// What hosts said is kept within a bound of all of it, however many rest and
// however it came; the pauses themselves stay, and those that last longest go on
// saying what their host said.
func TestPausesHoldFewRefusals(t *testing.T) {
	ps := newPauses()
	now := time.Unix(1e9, 0)
	key := func(n int) pauseKey { return pauseKey{account: fmt.Sprint(n)} }
	long := &refusal{status: 429, body: make([]byte, maxKeptRefusal)}
	held := func() (bytes int) {
		for _, p := range ps.all {
			bytes += p.refusal.size()
		}
		return bytes
	}
	const all = maxPauses / 2
	for n := range all {
		ps.ask(key(n), now, time.Hour+time.Duration(n)*time.Second, long)
		if n%100 == 0 && held() > maxRefusals {
			t.Fatalf("%d bytes of refusals are kept, want at most %d", held(), maxRefusals)
		}
	}
	if p, ok := ps.of(key(0), now); !ok || p.refusal != nil || len(ps.all) != all {
		t.Errorf("the first pause: %v, refusal %v, %d pauses in all; want all, and its words gone", ok, p.refusal != nil, len(ps.all))
	}
	if p, _ := ps.of(key(all-1), now); p.refusal != long {
		t.Error("the words of the longest pause are gone")
	}
	for n := range all { // longer, over, recovered, given up: what is counted is what is kept
		switch n % 4 {
		case 0:
			ps.ask(key(n), now, 2*time.Hour, &refusal{body: make([]byte, n)})
		case 1:
			ps.recovered(key(n), now.Add(12*time.Hour))
		case 2:
			ps.recovered(key(n), now)
		}
	}
	for n := range 2 * maxPauses {
		ps.earn(key(-n), now, time.Minute, time.Hour, &refusal{body: make([]byte, n%100)})
	}
	if ps.held != held() || ps.held > maxRefusals || len(ps.all) > maxPauses {
		t.Errorf("%d bytes are counted, %d kept, by %d pauses", ps.held, held(), len(ps.all))
	}
}

// Where all last, room for a flood of new ones is made for many at once: a look
// at all of them for each would cost more than the calls.
func TestPausesMakeRoomForMany(t *testing.T) {
	ps := newPauses()
	now := time.Unix(1e9, 0)
	sweeps := 0
	for n := range 3 * maxPauses {
		before := len(ps.all)
		ps.ask(pauseKey{account: fmt.Sprint(n)}, now, time.Hour+time.Duration(n)*time.Second, nil)
		if len(ps.all) <= before {
			sweeps++
		}
	}
	if sweeps > 2*8+1 {
		t.Errorf("%d times room was made for %d pauses above the bound", sweeps, 2*maxPauses)
	}
}

// A refusal is kept by all that it takes: a type of media may be as long as a body.
func TestPausesKeepNoLongRefusal(t *testing.T) {
	rt := over(t, newHosts(gives(429, "text/plain; x="+strings.Repeat("x", maxKeptRefusal), "slow down", "Retry-After", "60")), once)
	asks(t.Context(), rt, chatJSON)
	pauses := rt.pauses.list(time.Now())
	if len(pauses) == 0 {
		t.Fatal("nothing rests")
	}
	for key, p := range pauses {
		if p.refusal != nil {
			t.Errorf("%s keeps a refusal of %d bytes", name(key), p.refusal.size())
		}
	}
}

// A row of strikes outlasts the pause itself, or no pause would ever grow: but
// lengthening one that is there needs no room.
func TestPausesKeepTheirOwnWhenFull(t *testing.T) {
	ps := newPauses()
	now := time.Unix(1e9, 0)
	key := pauseKey{account: "mine"}
	ps.ask(key, now, time.Minute, nil)
	for n := range maxPauses - 1 {
		ps.ask(pauseKey{account: fmt.Sprint(n)}, now, time.Hour, nil)
	}
	for range 10 {
		ps.ask(pauseKey{account: "0"}, now, 2*time.Hour, nil)
	}
	if p, ok := ps.of(key, now); !ok || p.until.Sub(now) != time.Minute {
		t.Errorf("a pause that was asked for was given up for one that was there: %v %v", p.until.Sub(now), ok)
	}
}

func TestPausesUnderLoad(t *testing.T) {
	ps := newPauses()
	now := time.Unix(1e9, 0)
	key := pauseKey{account: "a"}
	ps.ask(key, now, time.Minute, nil)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 500 {
				ps.earn(key, now, time.Millisecond, time.Second, nil)
				ps.recovered(key, now)
				ps.list(now)
				if p, ok := ps.of(key, now); !ok || p.until.Sub(now) < time.Minute {
					t.Errorf("the pause asked for was shortened to %v", p.until.Sub(now))
					return
				}
			}
		})
	}
	callers.Wait()
}

// The same through a Transport: hosts that ask for pauses, earn them, fail and
// answer slowly, in any order, are never asked before the time they asked for.
func TestNoAttemptBeforeTheTimeAskedFor(t *testing.T) {
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
				model := lookInto(body).model
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
					until[key] = later(until[key], time.Now().Add(time.Duration(seconds)*time.Second))
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
func TestRecoveryEndsEarnedPausesOnly(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header []string
		status int
		rests  bool // behind the answer
	}{
		{"429 without Retry-After", nil, 429, false},
		{"429 with Retry-After", []string{"Retry-After", "20"}, 429, true},
		{"503 with Retry-After", []string{"Retry-After", "20"}, 503, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(gives(200, asJSON, goodJSON))
				rt := over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...), WithRetry(RetryPolicy{Attempts: 1, MinDelay: 20 * time.Second, MaxDelay: 20 * time.Second}))
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
func TestWhomAPauseConcerns(t *testing.T) {
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
func TestPausedAnswerSaysWhatTheHostSaid(t *testing.T) {
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
func TestAbsurdRetryAfter(t *testing.T) {
	for _, word := range []string{"99999999999", "1e300", "Fri, 31 Dec 9999 23:59:59 GMT"} {
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
func TestPausesOfTheLongestDelays(t *testing.T) {
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
func TestKeyPause(t *testing.T) {
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
func TestTheLastResort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		base.Set("a", gives(403, "text/html", "<html>blocked"))
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
func TestSpentLimitsRest(t *testing.T) {
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
func TestRefusalWithSpentLimits(t *testing.T) {
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

// Where nothing rests any more, nobody looks for who does.
func TestRecoveredPausesAreForgotten(t *testing.T) {
	ps := newPauses()
	now := time.Unix(1e9, 0)
	key := pauseKey{account: "a"}
	ps.ask(key, now, time.Minute, nil)
	if ps.recovered(key, now.Add(time.Second)); !ps.any() {
		t.Error("a pause asked for ended with a recovery")
	}
	if ps.recovered(key, now.Add(time.Hour)); ps.any() {
		t.Error("a pause that is over is kept behind a recovery")
	}
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
