package breakwater

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/exchange"
)

// A million exchanges with random ends: of permits and tokens exactly
// what they hold is missing while they last, and nothing at the end.
// In a bubble no time passes while they run, so that the buckets can be
// compared to the token.
func TestLeak_MillionExchanges(t *testing.T) {
	const workers, each = 8, 125_000
	classes := []Class{ClassOK, ClassTruncated, ClassStalled, ClassUnavailable, ClassRateLimited, ClassUnreachable, ClassCanceled, ClassDeadline, ClassRefused, ClassKeyRejected}
	synctest.Test(t, func(t *testing.T) {
		rt := over(t, newHosts(refusing), WithEndpoints(at("a")...),
			WithRateLimit(RatePolicy{InFlight: 12, TokensPerMinute: 1 << 30, PerSecond: 1 << 30, Burst: 1 << 30, MaxWait: Off, Adaptive: true}))
		e := rt.tiers[0][0]
		l := e.limits.of("m")
		var open, spent, got, refused atomic.Int64
		var callers sync.WaitGroup
		for worker := range workers {
			callers.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(worker)))
				for range each {
					a := &attempt{Exchange: exchange.Exchange{Start: time.Now()}, endpoint: e, status: 503, limitSaid: random.Int32N(20)}
					tokens := 1 + random.IntN(1000)
					lease := new(lease)
					if err := l.acquire(context.Background(), lease, tokens); err != nil {
						if !errors.Is(err, ErrRateLimited) {
							t.Errorf("acquire: %v", err)
						}
						refused.Add(1)
						continue
					}
					got.Add(1)
					if n := open.Add(1); n > 12 {
						t.Errorf("%d permits are out, of 12", n)
					}
					class := classes[random.IntN(len(classes))]
					if random.IntN(3) == 0 {
						a.used.TotalTokens = random.IntN(2000)
					}
					if random.IntN(16) == 0 { // or, on one busy core, each would be alone
						runtime.Gosched()
					}
					open.Add(-1)
					if random.IntN(50) == 0 {
						lease.cancel() // it was never sent
						continue
					}
					lease.finish(a, class)
					spent.Add(int64(spentBy(a, class, tokens)))
				}
			})
		}
		callers.Wait()
		if used, waiting := l.permits.InUse(); used != 0 || waiting != 0 {
			t.Errorf("%d permits are left, %d wait", used, waiting)
		}
		if left, want := l.tokens.Tokens(), float64(1<<30-spent.Load()); left != want {
			t.Errorf("%v tokens are left, want %v", left, want)
		}
		if got.Load() < workers*each/100 || refused.Load() == 0 {
			t.Errorf("%d exchanges, %d refused: nothing was tested", got.Load(), refused.Load())
		}
	})
}

// spentBy is the model of what an exchange costs in tokens: what the host says,
// else the estimate if there was an answer, whole or not.
func spentBy(a *attempt, class Class, tokens int) int {
	switch {
	case a.used.TotalTokens > 0:
		return a.used.TotalTokens
	case class == ClassOK || class == ClassTruncated || class == ClassStalled:
		return tokens
	}
	return 0
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
