// Package permits provides a semaphore whose size can change and whose waiters are served
// in order of arrival. A Pool is safe for concurrent use; package limit is its user.
package permits

import (
	"container/list"
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// ErrFull reports that no permit became free in time, or that none is expected to.
var ErrFull = errors.New("no permit in time")

// Unlimited is the size of a pool in which nobody waits.
const Unlimited = 0

// A Pool hands out permits up to its size.
type Pool struct {
	mu      sync.Mutex // guards what follows
	size    int
	used    int
	waiting list.List // of chan struct{}, closed when its permit is granted
	hold    float64   // how long permits have been held recently, in seconds
}

// New returns a pool of size permits.
func New(size int) *Pool { return &Pool{size: size} }

// Resize sets the size. Permits beyond it are not revoked, but are not handed out again.
func (p *Pool) Resize(size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size = size
	p.grantLocked()
}

// Free reports whether Acquire would not have to wait.
func (p *Pool) Free() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.freeLocked()
}

func (p *Pool) freeLocked() bool {
	return (p.size == Unlimited || p.used < p.size) && p.waiting.Len() == 0
}

// InUse returns the permits handed out and the callers waiting.
func (p *Pool) InUse() (used, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used, p.waiting.Len()
}

// Expected returns about how long Acquire would wait, judged by how long permits have been
// held; 0: not known.
func (p *Pool) Expected() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expectedLocked()
}

func (p *Pool) expectedLocked() time.Duration {
	if p.freeLocked() {
		return 0
	}
	// With size permits, one is returned every hold/size, the first after about half of
	// that.
	turn := p.hold / float64(p.size)
	wait := (float64(p.waiting.Len()) + 0.5) * turn * float64(time.Second)
	return time.Duration(min(wait, longest))
}

// longest is the longest wait that Expected returns. It fits a Duration, however it is
// rounded.
const longest = math.MaxInt64 / 2

// Acquire takes a permit. It waits at most for wait and until ctx ends. If the expected
// wait is longer, it does not wait at all. It returns ErrFull or the cause of ctx's end.
func (p *Pool) Acquire(ctx context.Context, wait time.Duration) error {
	p.mu.Lock()
	if p.freeLocked() {
		p.used++
		p.mu.Unlock()
		return nil
	}
	patience := wait
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(wait, time.Until(deadline))
	}
	if wait <= 0 || p.expectedLocked() > patience {
		p.mu.Unlock()
		return ErrFull
	}
	granted := make(chan struct{})
	place := p.waiting.PushBack(granted)
	p.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	var err error
	select {
	case <-granted:
		return nil
	case <-timer.C:
		err = ErrFull
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-granted:
		// The permit was granted between the two selects. This caller leaves, so pass the
		// permit on.
		p.used--
		p.grantLocked()
	default:
		p.waiting.Remove(place)
	}
	return err
}

// Release returns one permit that was held for this time. The caller that has waited
// longest gets it.
func (p *Pool) Release(held time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const weight = 0.1 // of the latest sample
	if p.hold == 0 {
		p.hold = held.Seconds()
	} else {
		p.hold += weight * (held.Seconds() - p.hold)
	}
	p.used--
	p.grantLocked()
}

func (p *Pool) grantLocked() {
	for p.size == Unlimited || p.used < p.size {
		next := p.waiting.Front()
		if next == nil {
			return
		}
		p.used++
		close(p.waiting.Remove(next).(chan struct{}))
	}
}
