package circuit

import (
	"context"
	"time"
)

// A Probe is an attempt through a half-open circuit, whose outcome decides for
// all. Attempts that follow a slow probe share it: the first that has an outcome
// tells it for all of them.
type Probe struct {
	done chan struct{} // closed when its outcome is known

	// Guarded by the circuit's mu.
	finish  func(error) // tells gobreaker the outcome; nil: it is known
	holders int         // permits that share it
}

func newProbe(finish func(error)) *Probe {
	return &Probe{done: make(chan struct{}), finish: finish, holders: 1}
}

// leaveLocked takes one permit off the probe. It returns how to tell the outcome;
// nil if that is known already, or is left to those who still share the probe.
func (p *Probe) leaveLocked(o Outcome) func(error) {
	p.holders--
	neutral := o == Neutral || o == Inconclusive
	if p.finish == nil || neutral && p.holders > 0 {
		return nil
	}
	finish := p.finish
	p.finish = nil
	return func(err error) {
		finish(err)
		close(p.done) // only now: who waited looks at the circuit at once
	}
}

// Await waits until the probe's outcome is known, at most d. It returns an error,
// the context's cause, only when ctx ends first.
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

// Done reports whether the probe's outcome is known.
func (p *Probe) Done() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
