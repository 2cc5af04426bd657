package breakwater

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

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
