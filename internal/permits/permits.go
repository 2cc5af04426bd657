// Package permits is a semaphore that serves its waiters in order of arrival.
package permits

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// ErrFull reports that no permit came free in time.
var ErrFull = errors.New("no permit in time")

// A Pool hands out up to a fixed number of permits.
type Pool struct {
	size int

	mu      sync.Mutex // guards what follows
	used    int
	waiting list.List // of chan struct{}, closed when its permit is granted
}

// New returns a pool of size permits.
func New(size int) *Pool { return &Pool{size: size} }

// Free reports whether Acquire would not have to wait.
func (p *Pool) Free() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used < p.size && p.waiting.Len() == 0
}

// InUse returns the permits handed out and the callers waiting.
func (p *Pool) InUse() (used, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used, p.waiting.Len()
}

// Acquire takes a permit, waiting for at most wait and as long as ctx lives.
// It returns ErrFull or the cause of ctx's end.
func (p *Pool) Acquire(ctx context.Context, wait time.Duration) error {
	p.mu.Lock()
	if p.used < p.size && p.waiting.Len() == 0 {
		p.used++
		p.mu.Unlock()
		return nil
	}
	if wait <= 0 {
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
		p.releaseLocked()
	default:
		p.waiting.Remove(place)
	}
	return err
}

// Release gives one permit back, to the caller who has waited longest.
func (p *Pool) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.releaseLocked()
}

func (p *Pool) releaseLocked() {
	if next := p.waiting.Front(); next != nil {
		close(p.waiting.Remove(next).(chan struct{}))
		return
	}
	p.used--
}
