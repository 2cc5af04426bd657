package coalesce

import (
	"cmp"
	"context"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// maxLingering is how many flights of a Group may go on at once without a follower. Each
// has an attempt open, which costs, and holds its answer.
const maxLingering = 128

// lingerLocked lets the flight go on after its last follower has left, so that the caller
// finds its answer when it asks again with the same idempotency key. It reports false if the
// flight ends now: the answer has cost nothing yet or cannot be kept, too many linger, or
// nothing is begun in the background any more.
func (f *Flight) lingerLocked() bool {
	if f.limits.Linger <= 0 || f.end != nil || f.size > 0 || !f.promisesLocked() || !f.call.IsSent() {
		return false
	}
	if f.group.lingering.Add(1) > maxLingering {
		f.group.lingering.Add(-1)
		return false
	}
	over := make(chan struct{})
	if !f.background(func(closed context.Context) { f.linger(closed, over) }) {
		f.group.lingering.Add(-1)
		return false
	}
	f.over = over
	if until := time.Now().Add(f.limits.Linger); until.After(f.latest) {
		f.latest = until
	}
	return true
}

// promisesLocked reports whether the flight may bring an answer that can be kept, or has.
func (f *Flight) promisesLocked() bool {
	switch f.state {
	case open, started:
		return true
	case live:
		return f.source.Success && f.source.Judged && !f.source.Failed && f.reach == Everyone
	}
	return false
}

// recheckLingerLocked ends what is of no use any more.
func (f *Flight) recheckLingerLocked() {
	if !f.promisesLocked() {
		f.endLingerLocked()
	}
}

// linger waits until the flight has a follower again, or is over. It ends a flight that
// neither happens to in time.
func (f *Flight) linger(closed context.Context, over chan struct{}) {
	timer := time.NewTimer(f.limits.Linger)
	defer timer.Stop()
	select {
	case <-over:
		return
	case <-closed.Done():
	case <-timer.C:
	}
	f.mu.Lock()
	if f.over != over { // somebody came at the same moment
		f.mu.Unlock()
		return
	}
	f.endLingerLocked()
	cause := cmp.Or(f.leftErr, error(outcome.ErrClosed))
	f.mu.Unlock()
	f.cancel(cause)
	f.closeBody() // a body need not heed its context
}

// endLingerLocked notes that the flight does not go on without a follower any more.
func (f *Flight) endLingerLocked() {
	if f.over == nil {
		return
	}
	close(f.over)
	f.over = nil
	f.group.lingering.Add(-1)
	f.want.Signal()
}

// isLeftLocked reports whether the flight is of no use to anybody.
func (f *Flight) isLeftLocked() bool { return len(f.followers) == 0 && f.over == nil }
