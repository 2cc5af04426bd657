package breakwater

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// Invariant 14: callers who come while the last endpoint's open circuit is
// being probed wait for the probe instead of failing beside a host that is well.
func TestCircuit_CallersWaitForTheProbe(t *testing.T) {
	for _, tt := range []struct {
		name     string
		recovers bool
		slow     time.Duration // of the host
		want     map[int]int   // calls by the status of their answer
		took     time.Duration
		asked    int           // requests the host sees
		deadline time.Duration // of each call
	}{
		{"the probe succeeds", true, time.Second, map[int]int{200: 10}, 2 * time.Second, 10, time.Hour},
		{"the probe succeeds, and nobody has the time that it may take", true, time.Second, map[int]int{200: 10}, 2 * time.Second, 10, circuit.ProbeGrace - time.Millisecond},
		{"the probe fails", false, time.Second, map[int]int{500: 1, 503: 9}, time.Second, 1, time.Hour},
		{"the probe is slow but well, so others follow", true, 20 * time.Second, map[int]int{200: 5, 503: 5}, 32 * time.Second, 5, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				asked, broken := 0, true
				rt, err := New(steady(), WithRetry(RetryPolicy{Attempts: 1}), WithBase(RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					mu.Lock()
					asked++
					fails := broken
					mu.Unlock()
					if !fails {
						<-time.After(tt.slow)
					}
					if fails || !tt.recovers {
						return answer(500, asJSON, `{"error":{"message":"down"}}`), nil
					}
					return answer(200, asJSON, goodJSON), nil
				})))
				if err != nil {
					t.Fatal(err)
				}
				call := func() int {
					ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
					defer cancel()
					req, _ := post(ctx, "http://host.test", chatJSON)
					resp, err := rt.RoundTrip(req)
					if err != nil {
						t.Error(err)
						return 0
					}
					resp.Body.Close()
					return resp.StatusCode
				}
				for range 5 {
					call()
				}
				mu.Lock()
				asked, broken = 0, false
				mu.Unlock()
				<-time.After(time.Millisecond) // the circuit counts from the instant it opened
				start := time.Now()
				var wg sync.WaitGroup
				counts := make(map[int]int)
				for range 10 {
					wg.Go(func() {
						status := call()
						mu.Lock()
						counts[status]++
						mu.Unlock()
					})
				}
				wg.Wait()
				if took := time.Since(start); !maps.Equal(counts, tt.want) || took != tt.took || asked != tt.asked {
					t.Errorf("answers by status %v after %v and %d requests, want %v, %v, %d", counts, took, asked, tt.want, tt.took, tt.asked)
				}
			})
		})
	}
}

// A place in a queue is given up for somebody who could serve, and for nobody
// else: not for another endpoint of the same account, which would count as the
// same, nor for one whose limit would turn the call away.
func TestFailover_NoPlaceIsGivenUpForNothing(t *testing.T) {
	one := at("a", "b")
	one[0].Account, one[1].Account = "one", "one"
	full := at("a", "b")
	full[1].Limits = map[string]RatePolicy{"": {InFlight: 1, MaxWait: Off}}
	for _, tt := range []struct {
		name      string
		endpoints []Endpoint
		holds     bool // the other endpoint's only permit is taken
		want      string
	}{
		{"another of the same account", one, false, "a"},
		{"one that is full", full, true, "a"},
		{"another account", at("a", "b"), false, "b"},
		{"one with a permit left", full, false, "b"},
	} {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(fakehost.After(2*time.Minute, gives(200, asStream, wholeStream)))
			base.Set("b", gives(200, asStream, wholeStream))
			rt := over(t, base, WithEndpoints(tt.endpoints[:1]...), WithBackup(tt.endpoints[1]))
			if tt.holds {
				rt.tiers[1][0].limits.of("m").permits.Acquire(t.Context(), 0)
			}
			got := asks(t.Context(), rt, chatStream)
			if got.header("Breakwater-Endpoint") != tt.want || got.body != wholeStream || base.Count("a") != 1 {
				t.Errorf("%s: %v after %d requests to a, want %s to answer, and one request", tt.name, got, base.Count("a"), tt.want)
			}
		})
	}
}

// Where nothing could be tried, the trail says of each endpoint why.
func TestTrail_OfACallThatNobodyCouldTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(refusing)
		base.Set("b", gives(429, asJSON, "{}", "Retry-After", "600"))
		rt := over(t, base, WithEndpoints(at("a", "b")...), WithBreaker(BreakerPolicy{Consecutive: 1, OpenFor: time.Hour, MaxOpenFor: time.Hour}), WithRetry(RetryPolicy{Attempts: 1}))
		asks(t.Context(), rt, chatJSON)
		elapse(time.Millisecond)
		var probe circuit.Permit // of another, who leaves: for a second, nobody else may probe
		if !rt.tiers[0][0].circuits.Lookup("m").Allow(&probe, time.Now(), true) {
			t.Fatal("the circuit cannot be probed")
		}
		probe.Report(circuit.Neutral)
		var trail Trail
		ctx, cancel := context.WithTimeout(WithCall(t.Context(), Call{Trail: &trail}), 100*time.Millisecond)
		defer cancel()
		asks(ctx, rt, chatJSON)
		got := make(map[string]Class)
		for _, a := range trail.Attempts() {
			got[a.Endpoint] = a.Class
		}
		if want := map[string]Class{"a": ClassCircuitOpen, "b": ClassPaused}; !maps.Equal(got, want) {
			t.Errorf("the trail is %v, want %v", got, want)
		}
	})
}

// The first trouble is what the caller hears of, its body intact, and the SDK
// above is told not to try again.
func TestFailover_FirstTroubleIsShown(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b handler // in this order
		want string
		body string
	}{
		{"503 then 500", gives(503, asJSON, "a"), gives(500, asJSON, "b"), `503 Endpoint="a"`, "a"},
		{"500 then 429", gives(500, asJSON, "a"), gives(429, asJSON, "b"), `500 Endpoint="a"`, "a"},
		{"no response then 503", refusing, gives(503, asJSON, "b"), `503 Endpoint="b"`, "b"},
		{"503 then the backup's own 400", gives(503, asJSON, "a"), gives(400, asJSON, "b"), `503 Endpoint="a"`, "a"},
		{"503 then the backup's own 401", gives(503, asJSON, "a"), gives(401, asJSON, "b"), `503 Endpoint="a"`, "a"},
		{"400", gives(400, asJSON, "a"), gives(200, asJSON, goodJSON), `400 Endpoint="a"`, "a"},
		{"cut json then 500", gives(200, asJSON, `{"choices":[`), gives(500, asJSON, "b"), `502 Endpoint="a"`, `{"choices":[`},
		{"error inside then 500", gives(200, asJSON, `{"error":{"code":429}}`), gives(500, asJSON, "b"), `429 Endpoint="a"`, `{"error":{"code":429}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := newHosts(nil)
			base.Set("a", tt.a)
			base.Set("b", tt.b)
			rt := over(t, base, once, WithEndpoints(at("a", "b")...))
			rt.turn.Store(1)
			got := asks(t.Context(), rt, chatJSON)
			if s := got.String(); !strings.HasPrefix(s, tt.want) || got.body != tt.body || got.err != nil {
				t.Errorf("the caller sees %s, want %s with %q", s, tt.want, tt.body)
			}
			if want := map[bool]string{true: "false", false: ""}[got.status() != 400]; got.header(headerRetry) != want {
				t.Errorf("%s = %q, want %q", headerRetry, got.header(headerRetry), want)
			}
		})
	}
}
