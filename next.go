package breakwater

import (
	"slices"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// next decides what to do, knowing the visits so far and who could serve now.
func (r *failoverRun) next(now time.Time) step {
	var fresh, ramp, queue, probe, watched, soonest, shunned step
	var rest pause
	options := r.candidates[:0] // of the best tier that is ready
	for _, e := range r.call.candidates {
		if r.call.tried(e.Account) != nil {
			continue
		}
		s, ok := r.call.availability(e, now)
		here := step{endpoint: e, model: s.model}
		switch {
		case !ok:
		case s.ready:
			if len(options) == 0 || e.tier == options[0].endpoint.tier {
				options = append(options, candidate{e, s.model})
			}
		case s.slowStart && here.above(ramp):
			ramp = here
		case s.atLimit && here.above(queue):
			queue = here
		case s.circuitOpen:
			r.skippedOpen = true
			if soonest.endpoint == nil {
				soonest.blocked = ClassCircuitOpen
			}
			if slices.Contains(r.probed, e) {
				break // it failed a moment ago
			}
			under, wait := e.circuits.of(s.model).probe(now)
			if deadline, ok := r.call.Deadline(); ok && under != nil {
				wait = min(wait, deadline.Sub(now)/2) // its outcome may be known soon
			}
			if wait <= 0 && here.above(probe) {
				probe = here
				probe.forced = true
			} else if wait > 0 && (watched.endpoint == nil || wait < watched.wait) {
				watched = here
				watched.watch, watched.probe, watched.wait = true, under, wait
			}
		case !s.paused.until.IsZero():
			if s.quarantined && here.above(shunned) {
				shunned = here
			}
			if soonest.endpoint == nil || s.paused.until.Before(rest.until) {
				rest = s.paused
				here.wait, here.pause, here.blocked = rest.until.Sub(now), rest, ClassPaused
				soonest = here
			}
		}
	}
	if len(options) > 0 {
		chosen := r.choose(options, now)
		fresh.endpoint, fresh.model = chosen.endpoint, chosen.model
	}
	if fresh.endpoint == nil {
		fresh = ramp
	}
	if fresh.endpoint == nil || queue.above(fresh) && queue.endpoint.limits.of(queue.model).expected(now) <= r.patience {
		fresh = queue
	}
	if fresh.endpoint != nil {
		return r.waitOrDescend(fresh, soonest, now)
	}
	if r.call.fallback {
		return r.withFallback(soonest, now)
	}
	if probe.endpoint != nil && r.forced < maxForced {
		return probe
	}
	s := r.retryStep(soonest, now)
	if s.endpoint == nil && watched.endpoint != nil && r.forced < maxForced && (r.probeWaits < maxWatches || now.Sub(r.firstProbeWait) < minWatch) && r.inTime(watched.wait, now, watched.wait) {
		if r.probeWaits++; r.probeWaits == 1 {
			r.firstProbeWait = now
		}
		return watched
	}
	if s.endpoint == nil && shunned.endpoint != nil && shunned.endpoint.resort(now) {
		return shunned // nobody else is left, and what it rests for may be over
	}
	return s
}

const (
	maxForced = 2 // open circuits that one call probes
	// A call waits for others' probes, or for leave to make one, so many times,
	// and again within so long: where many wait, others get leave first.
	maxWatches = 4
	minWatch   = 2 * time.Second
)

// above reports whether s is a step to a better tier than other, or to one at all.
func (s step) above(other step) bool {
	return s.endpoint != nil && (other.endpoint == nil || s.endpoint.tier < other.endpoint.tier)
}

// waitOrDescend decides between going to a lower tier and waiting for a better one.
func (r *failoverRun) waitOrDescend(fresh, soonest step, now time.Time) step {
	if r.last != nil && r.last.endpoint.tier < fresh.endpoint.tier {
		if s, ok := r.retryLast(now); ok {
			return s
		}
	}
	if soonest.endpoint != nil && soonest.endpoint.tier < fresh.endpoint.tier && r.inTime(soonest.wait, now, r.patience) {
		return soonest
	}
	return fresh
}

// withFallback decides where nobody untried could serve and a kept answer will do:
// nobody waits then but for one more try where the last one failed, and probes
// are left to the one who renews.
func (r *failoverRun) withFallback(soonest step, now time.Time) step {
	if r.last != nil {
		if s, ok := r.retryLast(now); ok {
			return s
		}
	}
	return soonest.giveUp()
}

// retryLast is one more try where the last one failed, within the call's
// patience: behind a server error once, behind a rate limit as long as that lasts.
func (r *failoverRun) retryLast(now time.Time) (step, bool) {
	switch outcome.Of(r.last.trouble.class).RetryLast {
	case outcome.RetryNever:
		return step{}, false
	case outcome.RetryOnce:
		if r.last.tries != 1 {
			return step{}, false
		}
	}
	s, ok := r.retryOf(r.last, now)
	return s, ok && s.wait <= r.patience && r.afford(now, s.endpoint, s.model)
}

// giveUp is the step of a call that is not to wait for s: it says what for, and how long.
func (s step) giveUp() step {
	return step{pause: s.pause, blocked: s.blocked, retry: s.wait}
}

// retryStep decides when nobody untried could serve: the visited endpoint that
// can be asked retryStep first, or the untried one whose pause ends first.
func (r *failoverRun) retryStep(soonest step, now time.Time) step {
	best := step{}
	if soonest.endpoint != nil && r.inTime(soonest.wait, now, r.t.config.retry.MaxRetryAfter) {
		best = soonest
	}
	returning := false
	for _, v := range r.call.triedAccounts {
		if !outcome.Of(v.trouble.class).Passing {
			continue
		}
		s, ok := r.retryOf(v, now)
		if ok && (best.endpoint == nil || s.wait < best.wait || !returning && s.wait == best.wait) {
			best, returning = s, true
		}
	}
	if best.endpoint == nil || returning && !r.afford(now, best.endpoint, best.model) {
		return soonest.giveUp()
	}
	return best
}

// retryOf returns the step that goes retryOf to v after its backoff and its pauses,
// if it is allowed and ends in time.
func (r *failoverRun) retryOf(v *triedAccount, now time.Time) (step, bool) {
	if v.tries == 0 || v.tries >= r.attempts() || r.call.upload != nil {
		return step{}, false
	}
	s, ok := r.call.availability(v.endpoint, now)
	if !ok || s.circuitOpen {
		return step{}, false
	}
	wait := max(v.due.Sub(now), s.paused.until.Sub(now), 0)
	return step{endpoint: v.endpoint, model: v.model, wait: wait},
		r.inTime(s.paused.until.Sub(now), now, r.t.config.retry.MaxRetryAfter) && r.inTime(wait, now, wait)
}

// attempts is how often the call may try one account.
func (r *failoverRun) attempts() int {
	if r.resumes != nil {
		return 1 // the caller waits in the middle of an answer
	}
	return r.call.attempts()
}

// attempts is how often the call may try one account.
func (c *call) attempts() int {
	if c.Attempts != 0 {
		return max(c.Attempts, 1)
	}
	return c.t.config.retry.Attempts
}

// inTime reports whether a wait is within a bound and ends before the
// caller's deadline: one that cannot is not begun.
func (r *failoverRun) inTime(wait time.Duration, now time.Time, bound time.Duration) bool {
	deadline, ok := r.call.Deadline()
	return wait <= bound && (!ok || now.Add(wait).Before(deadline))
}

// afford takes an extra attempt out of the budget.
func (r *failoverRun) afford(now time.Time, e *upstream, model string) bool {
	if r.t.budget.Take(now) {
		return true
	}
	denied := func(t *Attempt) { t.Denied = true }
	switch {
	case r.last != nil:
		r.call.log.amend(r.last.place, denied)
	case r.resumes != nil:
		r.call.log.amend(r.resumes.place, denied)
	}
	r.t.emit(r.call, Event{Kind: KindBudget, Endpoint: e.Name, Model: model})
	return false
}
