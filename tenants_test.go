package breakwater

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// asTenant returns a context for a tenant's calls of a priority.
func asTenant(ctx context.Context, tenant string, p Priority) context.Context {
	return WithCall(ctx, Call{Tenant: tenant, Priority: p})
}

// Batch work yields to people: behind 200 calls of batch, a call of a person waits for the next
// permit and no longer, at any endpoint and on every wire, although nobody can say when the
// others will be served. All of the batch is served.
func TestTenants_BatchYields(t *testing.T) {
	const permits, service = 4, 10 * time.Second
	for form, f := range whereForms {
		for _, tenant := range []string{"", "of its own"} {
			bubble(t, form+"/"+tenant, func(t *testing.T) {
				rt := over(t, newHosts(fakehost.After(service, gives(200, f.contentType, f.good))), append(premises(), WithRateLimit(RatePolicy{InFlight: permits, MaxWait: time.Hour}))...)
				ask := func(ctx context.Context) seen {
					return asksOf(only(ctx, "rack"), rt, "rack", f.body, toPath(f.path))
				}
				var batch sync.WaitGroup
				for range 200 {
					batch.Go(func() {
						if got := ask(asTenant(t.Context(), tenant, PriorityBatch)); got.status() != 200 {
							t.Errorf("a call of the batch has %v", got)
						}
					})
				}
				for range 3 {
					time.Sleep(service / 4 * 9)
					began := time.Now()
					if got := ask(asTenant(t.Context(), tenant, PriorityInteractive)); got.status() != 200 || time.Since(began) > 2*service {
						t.Errorf("a person has %v after %v, want an answer after one permit and one answer", got, time.Since(began))
					}
				}
				batch.Wait()
				if left := stillHeld(rt); left != "" {
					t.Errorf("%s left", left)
				}
			})
		}
	}
}

// Of tenants that wait, the one that has used less has its turn first.
func TestTenants_WhoUsedLessGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := over(t, newHosts(fakehost.After(time.Second, gives(200, asJSON, goodJSON))), WithEndpoints(at("rack")...), WithRateLimit(RatePolicy{InFlight: 2, MaxWait: time.Hour}))
		var all sync.WaitGroup
		var mu sync.Mutex
		var order []string
		ask := func(ctx context.Context, name string) {
			all.Go(func() {
				if got := asksOf(ctx, rt, "rack", chatJSON); got.status() != 200 {
					t.Errorf("%s has %v", name, got)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
			})
			time.Sleep(time.Nanosecond)
		}
		for range 50 {
			ask(asTenant(t.Context(), strings.Repeat("greedy", 1000), 0), "greedy")
		}
		for range 4 {
			ask(asTenant(t.Context(), "modest", 0), "modest")
		}
		all.Wait()
		last := 0
		for i, name := range order {
			if name == "modest" {
				last = i
			}
		}
		if last > 12 {
			t.Errorf("the last of four modest calls is number %d: %v", last, order)
		}
	})
}

// Inner options add to outer ones.
func TestTenants_OptionsNest(t *testing.T) {
	ctx := WithCall(t.Context(), Call{Tenant: "outer", Priority: PriorityBatch})
	for _, tt := range []struct {
		inner Call
		want  string
	}{
		{Call{}, "outer -1"},
		{Call{Tenant: "inner"}, "inner -1"},
		{Call{Priority: PriorityInteractive}, "outer 1"},
		{Call{Priority: PriorityDefault}, "outer -1"}, // zero changes nothing
	} {
		if c := CallOf(WithCall(ctx, tt.inner)); fmt.Sprint(c.Tenant, " ", c.Priority) != tt.want {
			t.Errorf("%+v: %s %d, want %s", tt.inner, c.Tenant, c.Priority, tt.want)
		}
	}
}

// A call that is more urgent than the one with the same content that is under way does not
// wait behind the batch with it, and the answer is everybody's.
func TestTenants_UrgentCallsDoNotShareAWait(t *testing.T) {
	for _, tt := range []struct {
		leads, follows Priority
		within         time.Duration // for the second
	}{
		{PriorityBatch, PriorityInteractive, 20 * time.Second},
		{PriorityBatch, PriorityBatch, 2 * time.Minute},
		{PriorityInteractive, PriorityBatch, 20 * time.Second},
	} {
		bubble(t, fmt.Sprint(tt.leads, tt.follows), func(t *testing.T) {
			base := newHosts(fakehost.After(10*time.Second, gives(200, asJSON, goodJSON)))
			rt := over(t, base, WithEndpoints(at("rack")...), WithCache(CachePolicy{}), WithRateLimit(RatePolicy{InFlight: 1, MaxWait: time.Hour}))
			var all sync.WaitGroup
			ask := func(p Priority, body string) {
				if got := asksOf(asTenant(t.Context(), "", p), rt, "rack", body); got.status() != 200 {
					t.Errorf("got %v", got)
				}
			}
			for i := range 10 {
				all.Go(func() { ask(PriorityBatch, fmt.Sprintf(`{"model":"m","n":%d}`, i+1)) })
			}
			time.Sleep(time.Second)
			all.Go(func() { ask(tt.leads, chatJSON) })
			time.Sleep(time.Second)
			began := time.Now()
			ask(tt.follows, chatJSON)
			if took := time.Since(began); took > tt.within {
				t.Errorf("it took %v, want at most %v", took, tt.within)
			}
			all.Wait()
			if n := base.Count("rack"); n != 11 {
				t.Errorf("the host was asked %d times, want 11: once for each content", n)
			}
		})
	}
}
