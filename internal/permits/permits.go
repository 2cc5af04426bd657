// Package permits is a semaphore of changing size that serves its waiters in
// order of arrival.
package permits

import (
	"container/list"
	"context"
	"errors"
	"math"
	"sync"
	"time"
)

// ErrFull reports that no permit came free in time, or is not going to.
var ErrFull = errors.New("no permit in time")

// Unlimited is the size of a pool that makes nobody wait.
const Unlimited = 0

// A Pool hands out permits up to its size.
type Pool struct {
	mu      sync.Mutex // guards what follows
	size    int
	used    int
	waiting list.List // of chan struct{}, closed when its permit is granted
	hold    float64   // how long permits are held of late, in seconds
}

// New returns a pool of size permits.
func New(size int) *Pool { return &Pool{size: size} }

// Resize sets the size. Permits above it are not taken back: they are not
// handed out again.
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

// Expected is about how long Acquire would have to wait, as far as can be told
// from how long permits have been held: 0 while that is not known.
func (p *Pool) Expected() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expectedLocked()
}

func (p *Pool) expectedLocked() time.Duration {
	if p.freeLocked() {
		return 0
	}
	// Of size permits, one comes back every hold/size, the first in half of that.
	turn := p.hold / float64(p.size)
	wait := (float64(p.waiting.Len()) + 0.5) * turn * float64(time.Second)
	return time.Duration(min(wait, longest))
}

// longest is the most that Expected tells: it fits a Duration however it is rounded.
const longest = math.MaxInt64 / 2

// Acquire takes a permit, waiting for at most wait and as long as ctx lives.
// Where it is expected to take longer than either, it does not begin to wait.
// It returns ErrFull or the cause of ctx's end.
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
		// Granted between the two selects: pass it on, for this caller leaves.
		p.used--
		p.grantLocked()
	default:
		p.waiting.Remove(place)
	}
	return err
}

// Release gives back one permit that was held for that long. The caller who
// has waited longest gets it.
func (p *Pool) Release(held time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const weight = 0.1 // of the latest
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
