package circuit

import (
	"context"
	"sync"
	"time"
)

// A Probe is an attempt through a half-open circuit; its outcome decides the circuit's
// state. Attempts that follow a slow probe share it, and the first outcome among them
// counts for all.
type Probe struct {
	done  chan struct{} // closed when the outcome is known
	began time.Time

	waiting sync.Mutex // guards what follows
	turns   int        // that those who wait for it have drawn
	first   time.Time  // since when the first of them has waited for a probe

	// Guarded by the circuit's mu.
	finish  func(error) // reports the outcome to gobreaker; nil: gobreaker was not asked yet, or the outcome is known
	holders int         // permits that share it
	since   time.Time   // when the latest attempt that shares it was allowed
}

func newProbe(now time.Time) *Probe {
	return &Probe{done: make(chan struct{}), began: now, holders: 1, since: now}
}

// leaveLocked removes one permit from the probe. Its result reports the outcome; it is nil
// if the outcome is known, or is left to the permits that still share the probe.
func (p *Probe) leaveLocked(o Outcome) func(error) {
	p.holders--
	neutral := o == Neutral || o == Inconclusive
	if p.finish == nil || neutral && p.holders > 0 {
		return nil
	}
	finish := p.finish
	p.finish = nil
	return finish
}

// Await waits until the probe's outcome is known, at most for d. It returns the cause of
// ctx's end if that comes first, otherwise nil.
func (p *Probe) Await(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// Join notes that somebody waits for the probe's outcome, who has waited for a probe since
// then. It returns how many have joined before.
func (p *Probe) Join(since time.Time) (turn int) {
	p.waiting.Lock()
	defer p.waiting.Unlock()
	if p.turns == 0 || since.Before(p.first) {
		p.first = since
	}
	p.turns++
	return p.turns - 1
}

// Waited returns how long the probe took if its outcome came now, and how much later than the first
// of those who wait for it somebody came who has waited since then.
func (p *Probe) Waited(since, now time.Time) (took, behind time.Duration) {
	p.waiting.Lock()
	defer p.waiting.Unlock()
	return now.Sub(p.began), since.Sub(p.first)
}

// Done reports whether the probe's outcome is known.
func (p *Probe) Done() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
