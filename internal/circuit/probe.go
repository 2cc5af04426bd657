package circuit

import (
	"context"
	"time"
)

// A Probe is an attempt through a half-open circuit; its outcome decides the circuit's
// state. Attempts that follow a slow probe share it, and the first outcome among them
// counts for all.
type Probe struct {
	done  chan struct{} // closed when the outcome is known
	began time.Time
	ended time.Time // set before done is closed

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

// Ended returns when the outcome was known and how long the probe took, once it is Done.
func (p *Probe) Ended() (at time.Time, took time.Duration) { return p.ended, p.ended.Sub(p.began) }

// Done reports whether the probe's outcome is known.
func (p *Probe) Done() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
