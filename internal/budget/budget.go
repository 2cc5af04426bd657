// Package budget limits the extra attempts at an account to a share of the calls that go
// there over a sliding minute, so that retries cannot multiply an overload. A Budget is safe
// for concurrent use; the failover layer and middleware transmissions take from it.
package budget

import (
	"sync"
	"time"
)

const (
	slots    = 61 // the oldest may lie outside the minute: its extras count, its calls do not
	slotSize = time.Second
)

// A Budget allows extras up to share × calls + floor in any minute.
type Budget struct {
	share float64
	floor int

	mu     sync.Mutex // guards what follows
	epoch  time.Time  // when slot 0 began; times are measured from here, monotonically
	newest int64      // the latest slot in use
	calls  [slots]int32
	extras [slots]int32
}

// New returns a Budget of floor extras a minute and share more for each call.
func New(share float64, floor int) *Budget {
	return &Budget{share: share, floor: floor, epoch: time.Now()}
}

// Call counts one call.
func (b *Budget) Call(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls[b.slotLocked(now)]++
}

// PerSecond returns about how many calls a second there were lately: in the last seconds,
// and over more of them if calls are few.
func (b *Budget) PerSecond(now time.Time) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	const some, least = 20, 2
	b.slotLocked(now)
	at := b.newest
	sum, oldest := 0, int64(0)
	for back := range min(at+1, slots-1) {
		if n := int(b.calls[(at-back)%slots]); n > 0 {
			sum, oldest = sum+n, back
		}
		if sum >= some && back >= least {
			break
		}
	}
	elapsed := now.Sub(b.epoch) - time.Duration(at-oldest)*slotSize // since the oldest of these slots began
	return float64(sum) / max(elapsed.Seconds(), 1)
}

// Take takes one extra attempt out of the budget, or returns false if none is left.
func (b *Budget) Take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	slot := b.slotLocked(now)
	calls, extras := -int(b.calls[(slot+1)%slots]), 0
	for i := range slots {
		calls += int(b.calls[i])
		extras += int(b.extras[i])
	}
	if float64(extras)+1 > float64(calls)*b.share+float64(b.floor) {
		return false
	}
	b.extras[slot]++
	return true
}

// Return gives back an extra attempt that was taken then and not made.
func (b *Budget) Return(taken time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slotLocked(taken)
	if age := b.newest - int64(taken.Sub(b.epoch)/slotSize); age < slots {
		if of := &b.extras[(b.newest-age)%slots]; *of > 0 {
			*of--
		}
	}
}

// slotLocked moves the window to now and returns the slot of now.
func (b *Budget) slotLocked(now time.Time) int64 {
	at := max(int64(now.Sub(b.epoch)/slotSize), b.newest)
	for n := min(at-b.newest, slots); n > 0; n-- {
		i := (at - n + 1) % slots
		b.calls[i], b.extras[i] = 0, 0
	}
	b.newest = at
	return at % slots
}
