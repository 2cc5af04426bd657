package breakwater

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// A million exchanges at hosts that do all that hosts do, behind every layer at once: limits of
// every kind, circuits, hedges, rescues and the cache. Callers leave at random moments, and hosts, the
// user's Observer and the user's middleware panic now and then. When all have gone,
// nothing is held: no permit, turn, circuit slot, flight or body, and every endpoint serves again.
func TestLeak_AMillionExchanges(t *testing.T) {
	const workers = 64
	exchanges := int64(ifFull(1_000_000, 20_000))
	synctest.Test(t, func(t *testing.T) {
		var sent, opened, left, panics, answered atomic.Int64
		var calm atomic.Bool
		maybe := func(oneIn int, what string) {
			if !calm.Load() && rand.IntN(oneIn) == 0 {
				panic(what)
			}
		}
		scripts := moods()
		base := newHosts(func(req *http.Request) (*http.Response, error) {
			sent.Add(1)
			maybe(500, "base")
			do := scripts[rand.IntN(len(scripts))]
			if calm.Load() || rand.IntN(3) > 0 {
				do = well
			}
			if rand.IntN(4) == 0 {
				do = fakehost.After(rand.N(3*time.Second), do)
			}
			resp, err := do(req)
			if resp != nil {
				opened.Add(1)
				resp.Body = &countedBody{ReadCloser: resp.Body, open: &opened}
			}
			return resp, err
		})
		throws := func(next http.RoundTripper) http.RoundTripper {
			return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				maybe(1000, "middleware")
				resp, err := next.RoundTrip(req)
				if resp != nil && !calm.Load() && rand.IntN(1000) == 0 {
					resp.Body.Close()
					panic("middleware, of an answer")
				}
				return resp, err
			})
		}
		ends := at("a", "b", "d")
		ends[2].Account = "b"
		rt := over(t, base, WithEndpoints(ends...), WithBackup(at("c")...),
			WithRateLimit(RatePolicy{InFlight: 12, PerSecond: 40, Burst: 20, TokensPerMinute: 100_000, Adaptive: true}),
			WithRetry(RetryPolicy{Budget: 1000}), WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true, Rescue: RescueRestart}),
			WithCache(CachePolicy{TTL: 20 * time.Second, StaleWhileRevalidate: time.Minute, MaxEntries: 100}),
			WithObserver(func(context.Context, Event) { maybe(3000, "observer") }), WithAttemptMiddleware(throws))
		one := func() {
			defer func() {
				if recover() != nil {
					panics.Add(1)
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second+rand.N(20*time.Second))
			defer cancel()
			if rand.IntN(4) == 0 {
				left.Add(1)
				defer time.AfterFunc(rand.N(2*time.Second), cancel).Stop()
			}
			body := question(rand.IntN(500))
			if rand.IntN(2) == 0 {
				body = strings.Replace(body, "{", `{"stream":true,`, 1)
			}
			req, _ := post(ctx, "https://a", body)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				return
			}
			defer resp.Body.Close()
			if rand.IntN(5) == 0 { // leaves in the middle
				io.CopyN(io.Discard, resp.Body, 20)
				return
			}
			if _, err := io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode == http.StatusOK {
				answered.Add(1)
			}
		}
		var callers sync.WaitGroup
		for range workers {
			callers.Go(func() {
				for n := int64(0); sent.Load() < exchanges && n < 3*exchanges/workers; n++ {
					one()
					elapse(rand.N(4 * time.Second))
				}
			})
		}
		callers.Wait()
		elapse(time.Hour)
		synctest.Wait()
		if held := stillHeld(rt); held != "" || opened.Load() != 0 {
			t.Errorf("%s are held, and %d bodies are open; want nothing", held, opened.Load())
		}
		calm.Store(true)
		for _, e := range rt.Status().Endpoints {
			for _, l := range e.Limits {
				if l.Waiting != 0 {
					t.Errorf("%d wait at %s, want nobody", l.Waiting, e.Name)
				}
			}
			ctx := WithCall(t.Context(), Call{Endpoint: e.Name, NoCache: true})
			for range 20 { // what Burst allows at once
				if got := asks(ctx, rt, chatJSON); got.status() != 200 || got.err != nil {
					t.Errorf("a later call to %s got %v, want an answer", e.Name, got)
				}
			}
		}
		t.Logf("%d exchanges, %d calls answered in full, %d left, %d panics", sent.Load(), answered.Load(), left.Load(), panics.Load())
		if sent.Load() < exchanges || answered.Load() < exchanges/20 || left.Load() < exchanges/100 || panics.Load() < exchanges/2000 {
			t.Error("little was tested")
		}
	})
}

// A countedBody is one of the bodies that are open until somebody closes them.
type countedBody struct {
	io.ReadCloser
	open *atomic.Int64
	once sync.Once
}

func (b *countedBody) Close() error {
	b.once.Do(func() { b.open.Add(-1) })
	return b.ReadCloser.Close()
}

// Five thousand streams (with -race, one thousand) are open at once, and half of them are cut short by
// their callers: by a cancel, or by closing the body, which may be read at that
// moment. Nothing of them stays: no goroutine (the bubble would not end), no
// connection, permit or circuit slot, and no host is blamed.
func TestLeak_FiveThousandStreams(t *testing.T) {
	streams := ifFull(5000, 1000)
	synctest.Test(t, func(t *testing.T) {
		fleet, err := kit.NewPipeFleet(kit.DeepSeek("primary"))
		if err != nil {
			t.Fatal(err)
		}
		primary := fleet.Server("primary")
		primary.SetPace(kit.Pace{FirstToken: time.Second, PerToken: time.Second})
		base := fleet.Transport()
		rt := over(t, base,
			WithRateLimit(RatePolicy{InFlight: streams}),
			WithEndpoints(Endpoint{Name: "primary", URL: primary.URL(), APIKey: "sk", Host: HostDeepSeek}))
		var callers sync.WaitGroup
		var whole, left atomic.Int32
		for n := range streams {
			callers.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, err := kit.ChatRequest(ctx, primary.URL(), "sk-caller", testModel, "q", true)
				if err != nil {
					t.Error(err)
					return
				}
				leaves := 1500*time.Millisecond + rand.N(10*time.Second)
				if n%4 == 0 {
					time.AfterFunc(leaves, cancel)
				}
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				if n%4 == 1 {
					time.AfterFunc(leaves, func() { resp.Body.Close() })
				}
				reply, err := kit.ReadAnswer(resp)
				switch {
				case n%4 < 2 && err != nil:
					left.Add(1)
				case err == nil && reply.Content == kit.Answer("q") && reply.Done:
					whole.Add(1)
				default:
					t.Errorf("caller %d: %+v, %v", n, reply, err)
				}
			})
		}
		elapse(1200 * time.Millisecond)
		if got := rt.Status().Endpoints[0].Limits[0].InFlight; got != streams {
			t.Errorf("%d streams are open, want %d", got, streams)
		}
		callers.Wait()
		synctest.Wait()
		if left.Load() < int32(streams/2-streams/100) || whole.Load()+left.Load() != int32(streams) {
			t.Errorf("%d streams were read to the end and %d cut short, want %d in all and half of them cut", whole.Load(), left.Load(), streams)
		}
		s := rt.Status().Endpoints[0]
		if l := s.Limits[0]; l.InFlight != 0 || l.Waiting != 0 {
			t.Errorf("permits are left: %+v", l)
		}
		if c := s.Circuits[0]; c.State != "closed" {
			t.Errorf("the circuit is %s: callers who leave hurt nobody", c.State)
		}
		if n := primary.InFlight(); n != 0 {
			t.Errorf("the host still works on %d answers", n)
		}
		rt.Close()
		base.CloseIdleConnections()
		fleet.Close()
	})
}
