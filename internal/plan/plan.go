// Package plan decides what a call does next: which endpoint it tries and after
// what wait, whose probe of an open circuit it awaits, or that it gives up.
//
// The package is pure. It sees endpoints as states, times as durations from now,
// and the call as what it has tried so far. It has no state, takes no lock and
// reads no clock. The failover layer is its only caller.
package plan

import (
	"math"
	"time"
)

// An Action is what the call does next.
type Action uint8

const (
	// GiveUp ends the call: no endpoint can answer it in time.
	GiveUp Action = iota
	// Try makes an attempt at a candidate, after Step.Wait.
	Try
	// TryProbe makes an attempt at a candidate whose circuit is open, as a probe.
	TryProbe
	// TryQuarantined makes an attempt at a candidate that only we keep out of use:
	// a person may have mended it.
	TryQuarantined
	// Retry makes another attempt at a tried account, after Step.Wait.
	Retry
	// AwaitProbe waits for another call's probe of a candidate, or for the time when
	// this call may make one, and plans again.
	AwaitProbe
)

// An Availability is how an endpoint could take the call now.
type Availability uint8

const (
	Unserved    Availability = iota // it does not serve such a call
	Ready                           // at once
	SlowStart                       // at once, but its circuit has just closed: others first
	AtLimit                         // after a wait for a permit or for tokens
	CircuitOpen                     // as a probe at most
	Paused                          // after its pause
)

// A Candidate is an endpoint whose account the call has not tried.
type Candidate struct {
	Tier         int // 0 is the best
	Availability Availability

	// Wait is how long it takes until the endpoint is free, as expected (AtLimit),
	// until its pause ends (Paused), or until the call may probe it or may hear
	// of another's probe (CircuitOpen; not positive: it may probe now).
	Wait time.Duration

	Quarantined bool // Paused by us alone, until a person has mended it
	MayTry      bool // Quarantined, and not tried in spite of that for a while
	ProbeFailed bool // CircuitOpen, and a probe failed for which this call waited
}

// An Account is one that the call has tried. Its endpoints count as one.
type Account struct {
	Tier         int // of the endpoint tried last
	Availability Availability
	Pause        time.Duration // until that endpoint's pause ends
	Backoff      time.Duration // until the backoff of this call there is over
	Tries        int           // 0: we refused them before they were sent
	Passing      bool          // what went wrong may pass by itself
	Insist       int           // tries up to which it is tried again before the call makes do with less
}

// A History is what a call has done so far.
type History struct {
	Tried       []Account
	Last        int           // index in Tried of the latest; -1: there is none
	Patience    time.Duration // left to wait for a better tier
	Probes      int           // attempts at open circuits
	ProbeWaits  int           // waits for others' probes
	ProbeWaited time.Duration // since the first of them began
	BudgetSpent bool          // no extra attempt can be afforded
}

// Bounds are what a call may do.
type Bounds struct {
	Attempts      int           // tries of one account
	MaxRetryAfter time.Duration // the longest pause that the call waits for
	Left          time.Duration // until the caller's deadline, or NoDeadline
	Fallback      bool          // a kept answer would do: nobody waits for long
	Once          bool          // the request can be sent once only
}

// NoDeadline is what is left to a call without a deadline.
const NoDeadline = time.Duration(math.MaxInt64)

const (
	maxProbes = 2 // open circuits that one call probes
	// A call waits for others' probes, or for leave to make one, maxProbeWaits
	// times, and further times within minProbeWait of the first: where many calls
	// wait, others get leave first.
	maxProbeWaits = 4
	minProbeWait  = 2 * time.Second
)

// A Step is what a call does next.
type Step struct {
	Action Action
	Index  int // of the candidate or, to Retry, of the account
	Wait   time.Duration
	Fresh  bool // Try: all ready candidates of that tier serve as well
	Extra  bool // an attempt beyond the first at an account: the budget has to allow it

	// Of GiveUp: what keeps the call from an endpoint (CircuitOpen or Paused;
	// Unserved: nothing does), the paused candidate that would be back first, and
	// when that is.
	Blocked    Availability
	Soonest    int
	RetryAfter time.Duration
}

// Next returns the next step of a call. Candidates come best tier first. If the
// step is Extra and the budget does not allow it, the caller asks once more with
// BudgetSpent.
func Next(candidates []Candidate, h History, b Bounds) Step {
	p := planner{candidates: candidates, History: h, Bounds: b}
	at := p.survey()
	if fresh := at.best(candidates, h.Patience); fresh != none {
		return p.waitOrDescend(at, fresh)
	}
	if b.Fallback {
		return p.withFallback(at)
	}
	if at.probe != none && h.Probes < maxProbes {
		return Step{Action: TryProbe, Index: at.probe}
	}
	s := p.retry(at)
	switch {
	case s.Action != GiveUp:
	case at.awaited != none && p.mayAwaitProbe(candidates[at.awaited].Wait):
		return Step{Action: AwaitProbe, Index: at.awaited, Wait: candidates[at.awaited].Wait}
	case at.quarantined != none && candidates[at.quarantined].MayTry:
		return Step{Action: TryQuarantined, Index: at.quarantined}
	}
	return s
}

// A planner is one decision.
type planner struct {
	candidates []Candidate
	History
	Bounds
}

// none is the index of no candidate.
const none = -1

// A survey has the best candidate of each kind, by its index.
type survey struct {
	ready, slowStart, atLimit int
	probe                     int // may be probed now
	awaited                   int // has a probe, or leave for one, the soonest
	soonest                   int // its pause ends first
	quarantined               int
	blocked                   Availability
}

// survey looks at all candidates once.
func (p *planner) survey() survey {
	s := survey{none, none, none, none, none, none, none, Unserved}
	for i, c := range p.candidates {
		switch c.Availability {
		case Ready:
			s.ready = p.better(i, s.ready)
		case SlowStart:
			s.slowStart = p.better(i, s.slowStart)
		case AtLimit:
			s.atLimit = p.better(i, s.atLimit)
		case CircuitOpen:
			if s.soonest == none {
				s.blocked = CircuitOpen
			}
			switch {
			case c.ProbeFailed:
			case c.Wait <= 0:
				s.probe = p.better(i, s.probe)
			default:
				s.awaited = p.sooner(i, s.awaited)
			}
		case Paused:
			if c.Quarantined {
				s.quarantined = p.better(i, s.quarantined)
			}
			s.soonest, s.blocked = p.sooner(i, s.soonest), Paused
		}
	}
	return s
}

// better returns the candidate of the better tier, the earlier one if they are equal.
func (p *planner) better(i, than int) int {
	if than == none || p.candidates[i].Tier < p.candidates[than].Tier {
		return i
	}
	return than
}

// sooner returns the candidate with the shorter wait, the earlier one if they are equal.
func (p *planner) sooner(i, than int) int {
	if than == none || p.candidates[i].Wait < p.candidates[than].Wait {
		return i
	}
	return than
}

// best returns the candidate that could take the call, at once or after a short
// wait in a queue.
func (s survey) best(candidates []Candidate, patience time.Duration) int {
	best := s.ready
	if best == none {
		best = s.slowStart
	}
	if queue := s.atLimit; queue != none {
		if best == none || candidates[queue].Tier < candidates[best].Tier && candidates[queue].Wait <= patience {
			return queue
		}
	}
	return best
}

// waitOrDescend decides between a lower tier and a wait for a better one.
func (p *planner) waitOrDescend(at survey, fresh int) Step {
	tier := p.candidates[fresh].Tier
	if p.Last != none && p.Tried[p.Last].Tier < tier {
		if s, ok := p.retryLast(); ok {
			return s
		}
	}
	if at.soonest != none && p.candidates[at.soonest].Tier < tier && p.inTime(p.candidates[at.soonest].Wait, p.Patience) {
		return p.tryAfterPause(at.soonest)
	}
	return Step{Action: Try, Index: fresh, Fresh: fresh == at.ready}
}

// withFallback decides where no untried endpoint could serve and a kept answer
// will do. The call then waits for nothing but one more try where the last one
// failed, and leaves probes to the call that renews the answer.
func (p *planner) withFallback(at survey) Step {
	if p.Last != none {
		if s, ok := p.retryLast(); ok {
			return s
		}
	}
	return p.giveUp(at)
}

// retryLast is one more try where the last one failed, within the call's
// patience.
func (p *planner) retryLast() (Step, bool) {
	if last := p.Tried[p.Last]; last.Tries > last.Insist || p.BudgetSpent {
		return Step{}, false
	}
	wait, ok := p.waitToRetry(p.Last)
	return Step{Action: Retry, Index: p.Last, Wait: wait, Extra: true}, ok && wait <= p.Patience
}

// retry decides when no untried endpoint could serve: it returns to the account
// that can be tried again first, or waits for the pause that ends first.
func (p *planner) retry(at survey) Step {
	var best Step
	if at.soonest != none && p.inTime(p.candidates[at.soonest].Wait, p.MaxRetryAfter) {
		best = p.tryAfterPause(at.soonest)
	}
	for i, account := range p.Tried {
		if !account.Passing {
			continue
		}
		wait, ok := p.waitToRetry(i)
		if ok && (best.Action == GiveUp || wait < best.Wait || best.Action == Try && wait == best.Wait) {
			best = Step{Action: Retry, Index: i, Wait: wait, Extra: true}
		}
	}
	if best.Action == GiveUp || best.Extra && p.BudgetSpent {
		return p.giveUp(at)
	}
	return best
}

// waitToRetry returns how long the call would wait to try an account again, and
// whether it may: within its attempts and in time.
func (p *planner) waitToRetry(i int) (time.Duration, bool) {
	a := p.Tried[i]
	if a.Tries == 0 || a.Tries >= p.Attempts || p.Once || a.Availability == Unserved || a.Availability == CircuitOpen {
		return 0, false
	}
	wait := max(a.Backoff, a.Pause, 0)
	return wait, p.inTime(a.Pause, p.MaxRetryAfter) && p.inTime(wait, wait)
}

// mayAwaitProbe reports whether the call may wait that long for a probe.
func (p *planner) mayAwaitProbe(wait time.Duration) bool {
	return p.Probes < maxProbes && (p.ProbeWaits < maxProbeWaits || p.ProbeWaited < minProbeWait) && p.inTime(wait, wait)
}

// inTime reports whether a wait is within a bound and ends before the caller's
// deadline. The call does not begin one that is not.
func (b Bounds) inTime(wait, bound time.Duration) bool {
	return wait <= bound && (b.Left == NoDeadline || wait < b.Left)
}

// tryAfterPause is an attempt at a paused candidate once its pause is over.
func (p *planner) tryAfterPause(i int) Step {
	return Step{Action: Try, Index: i, Wait: p.candidates[i].Wait}
}

// giveUp says what kept the call from the endpoint that would be back first.
func (p *planner) giveUp(at survey) Step {
	s := Step{Action: GiveUp, Blocked: at.blocked, Soonest: at.soonest}
	if at.soonest != none {
		s.RetryAfter = p.candidates[at.soonest].Wait
	}
	return s
}
