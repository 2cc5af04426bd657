package breakwater

import (
	"context"
	"fmt"
	"io"
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

// An outcry is an Observer that panics at one event, or at all of a kind.
type outcry struct {
	at   int // counted from 1; 0: none
	kind Kind

	mu    sync.Mutex // guards what follows
	quiet bool
	told  []Kind
	cries int
}

func (o *outcry) observe(_ context.Context, e Event) {
	o.mu.Lock()
	o.told = append(o.told, e.Kind)
	cries := !o.quiet && (len(o.told) == o.at || e.Kind == o.kind)
	if cries {
		o.cries++
	}
	o.mu.Unlock()
	if cries {
		panic("observer")
	}
}

// An endlessContext never ends, and has a goroutine wait for whatever is derived
// from it: one that is not cancelled is left behind, and its bubble says so.
type endlessContext struct {
	context.Context
	done chan struct{}
}

func (c endlessContext) Done() <-chan struct{} { return c.done }

// well answers as it is asked.
func well(req *http.Request) (*http.Response, error) {
	if callOf(req.Context()).params.Stream {
		return answer(200, asStream, goodEvent+finishEvent+doneEvent), nil
	}
	return answer(200, asJSON, goodJSON), nil
}

// moods is a script in which something of everything happens: refusals of every
// kind, at once and late, breaks, silence, and answers.
func moods() []handler {
	cut := func(req *http.Request) (*http.Response, error) {
		if callOf(req.Context()).params.Stream {
			return breaks(asStream, goodEvent)(req)
		}
		return breaks(asJSON, goodJSON[:30])(req)
	}
	spent := func(req *http.Request) (*http.Response, error) { // of a limit, told in the headers of an answer
		resp, err := well(req)
		resp.Header.Set("X-Ratelimit-Remaining", "0")
		resp.Header.Set("X-Ratelimit-Reset", "2")
		return resp, err
	}
	rejected, broke := gives(401, asJSON, "{}"), gives(402, asJSON, "{}")
	noModel := gives(404, asJSON, `{"error":{"code":"model_not_found"}}`)
	return []handler{
		well, cut, well, failing503, failing503, cut, well, failing503, refusing, failing503, failing503, well, well,
		gives(429, asJSON, "{}", "Retry-After", "1"), gives(429, asJSON, "{}"), well, rejected, well, broke, noModel, well, spent, spent, spent,
		fakehost.After(5*time.Second, well), fakehost.After(time.Second, rejected), fakehost.After(3*time.Second, rejected), fakehost.After(2*time.Second, well),
		fakehost.After(3*time.Second, failing503), fakehost.After(3*time.Second, failing503), fakehost.After(4*time.Second, cut), well, cut, cut, cut, cut,
		gives(400, asJSON, "{}"), fakehost.After(time.Minute, failing503), well, fakehost.After(5*time.Second, well), fakehost.After(time.Second, well),
	}
}

// plays has callers ask, two at a time where they may share, until base has
// played a script of that length; whatever panics is theirs to recover from.
func plays(rt *Transport, base *fakehost.Base, bodies *fakehost.Bodies, length int) {
	ctx := endlessContext{context.Background(), make(chan struct{})}
	for n := 0; ; n++ {
		if base.Count("") >= length || n > 200 {
			return
		}
		body := question(n % 5)
		switch {
		case n%3 == 1:
			body = strings.Replace(chatStream, `"q"`, fmt.Sprintf(`"%d"`, n%5), 1)
		case n%7 == 6:
			body = strings.Replace(chatJSON, `"q"`, `"`+strings.Repeat("q", 600)+`"`, 1)
		}
		var callers sync.WaitGroup
		for range 2 {
			callers.Go(func() { recovers(ctx, rt, bodies, body) })
		}
		callers.Wait()
		elapse([]time.Duration{0, time.Second, 6 * time.Second, 70 * time.Second, 11 * time.Minute}[n%5])
	}
}

// recovers asks as a handler of a server does, whose panics are recovered from, and
// whose deferred Close runs all the same.
func recovers(ctx context.Context, rt http.RoundTripper, bodies *fakehost.Bodies, body string) {
	defer func() { _ = recover() }()
	req, tracked := post(ctx, "https://a", body)
	bodies.Keep(tracked)
	if resp, err := rt.RoundTrip(req); err == nil {
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
	}
}

// Whatever an Observer panics at, nothing is held for good: permits, places in
// circuits, bodies, contexts, those who wait; and what comes next is answered.
func TestPanics_OfObserversHoldNothing(t *testing.T) {
	hedged := StreamPolicy{Hedge: time.Second, HedgeBackup: true, Rescue: RescueRestart}
	cached := WithCache(CachePolicy{TTL: 30 * time.Second, StaleWhileRevalidate: time.Minute})
	kinds := make(map[Kind]bool)
	for name, opts := range map[string][]Option{
		"plain":          {WithStream(StreamPolicy{Rescue: RescueOff})},
		"rescued":        {WithStream(StreamPolicy{Rescue: RescueRestart})},
		"hedged":         {WithStream(hedged)},
		"cached":         {WithStream(StreamPolicy{Rescue: RescueRestart}), cached},
		"cached, hedged": {WithStream(hedged), cached},
		"stored":         {WithCache(CachePolicy{TTL: 30 * time.Second, Store: brokenStore{}})},
		"keyed":          {idempotent, keyedByBody, WithStream(StreamPolicy{Rescue: RescueRestart})},
		"keyed, cached":  {idempotent, keyedByBody, cached, WithStream(hedged)},
		"alone":          {alone, cached},
		"no budget":      {WithStream(hedged), WithRetry(RetryPolicy{Budget: Off, MaxReplay: 500})},
	} {
		t.Run(name, func(t *testing.T) {
			told := panicked(t, &outcry{}, opts)
			all := slices.Clone(told)                      // calls at once take other turns in each run
			for n := 0; n < len(told); n += ifFull(1, 3) { // each kind is played below, whatever is left out here
				all = append(all, panicked(t, &outcry{at: n + 1}, opts)...)
			}
			slices.Sort(all)
			for _, kind := range slices.Compact(all) {
				kinds[kind] = true
				panicked(t, &outcry{kind: kind}, opts)
			}
		})
	}
	for _, kind := range []Kind{
		KindAttempt, KindCommit, KindWait, KindCall, KindCircuit, KindPause, KindKey, KindBudget, KindRescue, KindHedge, KindUnbuffered,
		KindCacheHit, KindCacheStale, KindCacheMiss, KindCacheShared, KindCacheRenew, KindCacheStore, KindCacheError,
	} {
		if !kinds[kind] {
			t.Errorf("no Observer was told of %s: nothing was tested", kind)
		}
	}
}

// A brokenStore keeps nothing.
type brokenStore struct{}

func (brokenStore) Get(context.Context, string) ([]byte, error) { return nil, io.ErrUnexpectedEOF }

func (brokenStore) Set(context.Context, string, []byte, time.Duration) error {
	return io.ErrUnexpectedEOF
}

// alone takes the endpoints away.
func alone(c *config) error { c.tiers = nil; return nil }

// panicked plays the script to an Observer that panics and looks at what is left.
// It returns what was told.
func panicked(t *testing.T, o *outcry, opts []Option) (told []Kind) {
	synctest.Test(t, func(t *testing.T) {
		var bodies fakehost.Bodies
		script := moods()
		base := newHosts(bodies.Of(fakehost.Script(well, script...)))
		ends := at("a", "b")
		ends[0].Host, ends[1].Host = HostTogether, HostTogether // whose headers tell of its limits
		rt := over(t, base, append([]Option{
			WithEndpoints(ends...), WithBackup(at("c")...), WithBreaker(BreakerPolicy{Consecutive: 2}),
			WithRateLimit(RatePolicy{InFlight: 2}), WithRetry(RetryPolicy{Budget: 1000, MaxReplay: 500}), WithObserver(o.observe),
		}, opts...)...)
		plays(rt, base, &bodies, len(script))
		o.mu.Lock()
		o.quiet, told = true, slices.Clone(o.told)
		at, kind := "", o.kind
		if o.at > 0 && o.at <= len(told) {
			at, kind = fmt.Sprintf(" %d,", o.at), told[o.at-1]
		}
		o.mu.Unlock()
		elapse(time.Hour)
		synctest.Wait()
		if left := stillHeld(rt); left != "" {
			t.Errorf("event%s %s: got %s left, want nothing", at, kind, left)
		}
		base.Set("", bodies.Of(well)) // some of the script may be left, where every call panics
		if n := bodies.Open(); n > 0 {
			t.Errorf("event%s %s: %d bodies are open", at, kind, n)
		}
		for _, e := range slices.Concat(rt.now().tiers...) {
			ctx := WithCall(t.Context(), Call{Endpoint: e.Name, NoCache: true})
			for _, ask := range []string{chatJSON, chatStream, chatJSON} {
				if got := asks(ctx, rt, ask); got.status() != 200 || got.err != nil || got.header(headerEndpoint) != e.Name {
					t.Errorf("event%s %s: a later call to %s got %v, want an answer", at, kind, e.Name, got)
				}
			}
		}
		for n := range 5 {
			if got := asks(t.Context(), rt, question(n)); got.body != goodJSON {
				t.Errorf("event%s %s: a later call got %v, want an answer", at, kind, got)
			}
		}
	})
	return told
}

// An Observer that panics keeps nothing from being given back.
func TestPanics_OfObserversLeakNothing(t *testing.T) {
	for _, kind := range []Kind{KindCommit, KindCall, KindAttempt, KindCircuit} {
		t.Run(string(kind), func(t *testing.T) {
			var on atomic.Bool
			base := newHosts(gives(200, asStream, wholeStream))
			if kind == KindCircuit {
				base.Set("a", failing503)
			}
			rt := over(t, base, once, WithRateLimit(RatePolicy{InFlight: 1, MaxWait: Off}), WithBreaker(BreakerPolicy{Consecutive: 1}),
				WithObserver(func(_ context.Context, e Event) {
					if e.Kind == kind && on.CompareAndSwap(true, false) {
						panic("observer")
					}
				}))
			on.Store(true)
			func() {
				defer func() { _ = recover() }()
				asks(t.Context(), rt, chatStream)
			}()
			if on.Load() {
				t.Fatal("the observer was not called: nothing was tested")
			}
			if left := stillHeld(rt); left != "" {
				t.Errorf("got %s left, want nothing", left)
			}
		})
	}
}

// A panic of the user's code where no caller waits ends no process, and what
// was held is given back.
func TestPanics_ApartEndNothing(t *testing.T) {
	for _, cached := range []bool{false, true} {
		var opts []Option
		if cached {
			opts = []Option{WithCache(CachePolicy{})}
		}
		free := func(t *testing.T, rt *Transport) {
			t.Helper()
			if left := stillHeld(rt); left != "" {
				t.Errorf("cached: %v, got %s left, want nothing", cached, left)
			}
		}
		// The caller of an idle stream leaves, and an Observer panics at the end.
		synctest.Test(t, func(t *testing.T) {
			base, opened := fakehost.Faucets("")
			rt := over(t, base, append(opts, WithRateLimit(RatePolicy{InFlight: 1}), WithObserver(func(_ context.Context, e Event) {
				if e.Kind == KindAttempt {
					panic("an Observer's")
				}
			}))...)
			ctx, cancel := context.WithCancel(t.Context())
			req, _ := post(ctx, "https://a", chatStream)
			go func() { (<-opened).Send(goodEvent) }()
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			synctest.Wait()
			free(t, rt)
			func() {
				defer func() { _ = recover() }() // who closes may hear of it
				resp.Body.Close()
			}()
		})
		// A host stays open after the terminator, and its body panics when closed.
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(func(req *http.Request) (*http.Response, error) {
				resp := answer(200, asStream, "")
				resp.Body = panickyBody{fakehost.NewFaucet(req, wholeStream)}
				return resp, nil
			})
			rt := over(t, base, append(opts, WithRateLimit(RatePolicy{InFlight: 1}))...)
			func() {
				defer func() { _ = recover() }()
				asks(t.Context(), rt, chatStream)
			}()
			elapse(time.Second)
			free(t, rt)
		})
	}
}

// A panickyBody panics when it is closed.
type panickyBody struct{ io.Reader }

func (panickyBody) Close() error { panic("the body's Close") }

// An Observer that panics while two attempts race leaves nothing of either: at the hedge, at
// the loser's end, and when a circuit becomes half-open for the first or for the second.
func TestPanics_WhileAttemptsRace(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cries func(Event) bool
		sick  string // its circuit was open, and may be probed
	}{
		{"the hedge", func(e Event) bool { return e.Kind == KindHedge }, ""},
		{"the loser's attempt", func(e Event) bool { return e.Kind == KindAttempt && e.Class == ClassOutrun }, ""},
		{"the winner's commit", func(e Event) bool { return e.Kind == KindCommit }, ""},
		{"the first one's half-open circuit", func(e Event) bool { return e.To == "half-open" }, "a"},
		{"the second one's half-open circuit", func(e Event) bool { return e.To == "half-open" }, "b"},
		{"a circuit that closes", func(e Event) bool { return e.To == "closed" }, "b"},
	} {
		for _, ask := range []string{chatJSON, chatStream} {
			bubble(t, tt.name, func(t *testing.T) {
				var on, cried atomic.Bool
				var bodies fakehost.Bodies
				good := bodies.Of(well)
				base := newHosts(good)
				rt := over(t, base, WithEndpoints(at("a", "b")...), WithStream(StreamPolicy{Hedge: time.Second}), WithRateLimit(RatePolicy{InFlight: 2}),
					WithBreaker(BreakerPolicy{Consecutive: 1}), WithBalance(BalancePolicy{Ramp: Off}), WithObserver(func(_ context.Context, e Event) {
						if on.Load() && tt.cries(e) {
							cried.Store(true)
							panic("observer")
						}
					}))
				if tt.sick != "" {
					base.Set(tt.sick, failing503)
					asks(WithCall(t.Context(), Call{Endpoint: tt.sick, Attempts: 1}), rt, ask)
					elapse(time.Minute)
				}
				slow := fakehost.After(20*time.Second, good)
				base.Set("a", slow)
				base.Set("b", good)
				on.Store(true)
				for range 6 { // the endpoints take turns
					ctx := endlessContext{context.Background(), make(chan struct{})}
					recovers(ctx, rt, &bodies, ask)
					elapse(time.Second)
				}
				on.Store(false)
				elapse(time.Hour)
				synctest.Wait()
				if !cried.Load() {
					t.Fatal("the Observer did not panic: nothing was tested")
				}
				if left := stillHeld(rt); left != "" || bodies.Open() > 0 {
					t.Errorf("%s is held, %d bodies are open", left, bodies.Open())
				}
				base.Set("a", good)
				for range 4 {
					if got := asks(t.Context(), rt, ask); got.status() != 200 || got.err != nil {
						t.Errorf("later, got %v", got)
					}
				}
			})
		}
	}
}
