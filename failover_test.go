package breakwater

import (
	"context"
	"maps"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Invariant 14: callers who come while the last endpoint's open circuit is
// being probed wait for the probe instead of failing beside a host that is well.
func TestCallersWaitForTheProbe(t *testing.T) {
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
		{"the probe succeeds, and nobody has the time that it may take", true, time.Second, map[int]int{200: 10}, 2 * time.Second, 10, probeGrace - time.Millisecond},
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
