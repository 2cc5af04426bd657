package limit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A spare attempt takes no more than half of what there is, and only while nobody waits.
func TestLimit_SpareIsWhatCallersLeave(t *testing.T) {
	for _, tt := range []struct {
		name    string
		policy  Policy
		callers int // that have a lease already
		tokens  int // of each
		want    int // spare leases that can be had
	}{
		{"no limit of permits", Policy{PerSecond: 100, Burst: 100}, 0, 1, 50},
		{"half of the permits", Policy{InFlight: 10}, 0, 1, 5},
		{"what is left of them", Policy{InFlight: 10}, 8, 1, 2},
		{"one of one", Policy{InFlight: 1}, 0, 1, 1},
		{"one of three", Policy{InFlight: 3}, 0, 1, 1},
		{"none is left", Policy{InFlight: 3}, 3, 1, 0},
		{"a burst of one", Policy{PerSecond: 1, Burst: 1}, 0, 1, 1},
		{"half of the burst", Policy{PerSecond: 1, Burst: 9}, 0, 1, 5},
		{"half of the burst is gone", Policy{PerSecond: 1, Burst: 8}, 4, 1, 0},
		{"half of the tokens", Policy{TokensPerMinute: 800}, 0, 100, 2},
		{"tokens that are more than half of them", Policy{TokensPerMinute: 800}, 0, 300, 1},
		{"all of them", Policy{TokensPerMinute: 800}, 1, 300, 0},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			l := of(tt.policy)
			for range tt.callers {
				if err := l.Acquire(t.Context(), new(Lease), Use{Prompt: tt.tokens}); err != nil {
					t.Fatal(err)
				}
			}
			var leases []*Lease
			for {
				lease := new(Lease)
				if err := l.AcquireSpare(lease, Use{Prompt: tt.tokens}, func() bool { return true }); err != nil {
					if !errors.Is(err, ErrLimited) {
						t.Errorf("AcquireSpare() = %v", err)
					}
					break
				}
				leases = append(leases, lease)
			}
			if len(leases) != tt.want {
				t.Errorf("%d spare leases, want %d", len(leases), tt.want)
			}
			for _, lease := range leases {
				lease.End(Result{})
			}
			if open, waiting := l.InUse(); open != tt.callers || waiting != 0 || l.spare.Len() != 0 {
				t.Errorf("%d are open, %d wait, %d are spare; want those of the callers", open, waiting, l.spare.Len())
			}
		})
	}
}

// Who has to wait for a permit makes a spare attempt give way, one for each, and the latest
// first; one that callers wait for meanwhile stays.
func TestLimit_SpareGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := of(Policy{InFlight: 4, MaxWait: time.Minute})
		var mu sync.Mutex
		var gave []int
		spare := func(n int, stays bool) {
			lease := new(Lease)
			err := l.AcquireSpare(lease, Use{}, func() bool {
				mu.Lock()
				defer mu.Unlock()
				gave = append(gave, n)
				if !stays {
					time.AfterFunc(time.Millisecond, func() { lease.End(Result{}) })
				}
				return !stays
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		spare(1, false)
		spare(2, true)
		acquire(t, l)
		acquire(t, l)
		start := time.Now()
		got := new(Lease)
		if err := l.Acquire(t.Context(), got, Use{}); err != nil || time.Since(start) != time.Millisecond || len(gave) != 2 || gave[0] != 2 || gave[1] != 1 {
			t.Errorf("Acquire() = %v after %v; %v gave way, want 2, which stays, and 1", err, time.Since(start), gave)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Acquire(ctx, new(Lease), Use{}); !errors.Is(err, ctx.Err()) && !errors.Is(err, ErrLimited) || len(gave) != 2 {
			t.Errorf("Acquire() = %v; %v gave way, want nobody else", err, gave)
		}
		if err := l.AcquireSpare(new(Lease), Use{}, nil); !errors.Is(err, ErrLimited) {
			t.Errorf("AcquireSpare() = %v, want %v", err, ErrLimited)
		}
	})
}
