// Package plan decides what a call does next: which endpoint it tries after what wait,
// which probe of an open circuit it waits for, or that it gives up.
//
// The package is pure. It sees endpoints as states, times as durations from now, and the
// call as what it has tried so far. It keeps no state, takes no lock and reads no clock.
// The failover layer is its only user.
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
	// TryQuarantined makes an attempt at a quarantined candidate: a person may have mended
	// it.
	TryQuarantined
	// Retry makes another attempt at a tried account, after Step.Wait.
	Retry
	// AwaitProbe waits for the probe that another call makes of a candidate, or for the
	// time when this call may make one, and then plans again.
	AwaitProbe
)

// An Availability is how an endpoint could take the call now.
type Availability uint8

const (
	Unserved    Availability = iota // it does not serve such a call
	Ready                           // it can take the call at once
	SlowStart                       // at once, but its circuit has just closed: prefer others
	AtLimit                         // after a wait for a permit or for tokens
	CircuitOpen                     // only as a probe
	Paused                          // after its pause
)

// A Candidate is an endpoint whose account the call has not tried.
type Candidate struct {
	Tier         int // 0 is the best
	Availability Availability

	// Wait is how long it takes until the endpoint is expected to be free (AtLimit), until
	// its pause ends (Paused), or until the call may probe it (CircuitOpen; if it is not
	// positive, the call may probe now).
	Wait time.Duration

	KeepsTier   bool // AtLimit: the call must not go to a worse tier instead
	Probed      bool // CircuitOpen, and another call's probe is under way, whose outcome may be known before Wait is over
	Quarantined bool // Paused without a host's request, until a person has mended it
	MayTry      bool // Quarantined, and the latest try in spite of that was long enough ago
	ProbeFailed bool // CircuitOpen, and a probe that this call waited for has failed
	Away        bool // Ready, and the call is of those that should go elsewhere, because the endpoint is in trouble
	Troubled    bool // Ready, and in trouble: no call should come from a better tier because that is
}

// An Account is one that the call has tried. All its endpoints count as one.
type Account struct {
	Tier         int // of the endpoint tried last
	Availability Availability
	Pause        time.Duration // until that endpoint's pause ends
	Backoff      time.Duration // until this call's backoff there ends
	Tries        int           // 0: the attempts ended before they were sent
	Passing      bool          // the cause of its failure may pass by itself
	KeepsTier    bool          // the call must not go to a worse tier because of its failure
	Probe        time.Duration // CircuitOpen: as Candidate.Wait
	ProbeWait    time.Duration // CircuitOpen: how much longer the call may wait for that
	Probed       bool          // CircuitOpen: as Candidate.Probed, if the call waits for it
	Insist       int           // up to so many tries, it is retried before the call turns to a worse tier or a stale answer
	BudgetSpent  bool          // its budget allows no extra attempt
}

// A History is what a call has done so far.
type History struct {
	Tried       []Account
	Last        int           // index in Tried of the latest; -1: there is none
	Patience    time.Duration // how much longer the call may wait for a better tier
	Probes      int           // attempts at open circuits
	ProbeWait   time.Duration // how much longer the call may wait for its turn to probe an open circuit
	OutcomeWait time.Duration // how much longer it may wait for the outcome of another call's probe
}

// Bounds limit what a call may do.
type Bounds struct {
	Attempts      int           // tries of one account
	MaxRetryAfter time.Duration // the longest pause that the call waits for
	Left          time.Duration // until the caller's deadline, or NoDeadline
	Fallback      bool          // a stale answer would do, so the call must not wait for long
	Once          bool          // the request can be sent only once
}

// NoDeadline is the time left to a call without a deadline.
const NoDeadline = time.Duration(math.MaxInt64)

// maxProbes is how many open circuits one call probes at most.
const maxProbes = 2

// A Step is what a call does next.
type Step struct {
	Action Action
	Index  int // of the candidate or, to Retry, of the account
	Wait   time.Duration
	Fresh  bool // Try: any ready candidate of this tier will do that is as good: see Candidate.Fits
	Shift  bool // Try: all candidates of a better tier are Away
	Extra  bool // an attempt beyond the first at an account, which its budget has to allow
	Probe  bool // Retry: as a probe
	Again  bool // AwaitProbe: Index is that of an account that the call has tried

	// The following belong to GiveUp: what keeps the call from its endpoints (CircuitOpen,
	// Paused, or Unserved for nothing), the paused candidate that is free first, and when
	// another call may be served.
	Blocked    Availability
	Soonest    int
	RetryAfter time.Duration
}

// Next returns the next step of a call. Candidates come best tier first. If the step is
// Extra and the account's budget does not allow it, the caller calls Next again with
// BudgetSpent of that account set.
func Next(candidates []Candidate, h History, b Bounds) Step {
	p := planner{candidates: candidates, History: h, Bounds: b}
	p.worst = p.worstTier()
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
	case at.awaited != none && p.Probes < maxProbes:
		if wait, ok := p.waitForProbe(candidates[at.awaited]); ok {
			return Step{Action: AwaitProbe, Index: at.awaited, Wait: wait}
		}
	case at.quarantined != none && candidates[at.quarantined].MayTry:
		return Step{Action: TryQuarantined, Index: at.quarantined}
	}
	return s
}

// A planner holds the arguments of one decision.
type planner struct {
	candidates []Candidate
	History
	Bounds
	worst int // the worst tier that the call may go to
}

// worstTier returns the worst tier that the call may go to: the best one in which a limit
// keeps it.
func (p *planner) worstTier() int {
	worst := math.MaxInt
	for _, c := range p.candidates {
		if c.KeepsTier && c.Availability == AtLimit {
			worst = min(worst, c.Tier)
		}
	}
	for _, a := range p.Tried {
		if a.KeepsTier {
			worst = min(worst, a.Tier)
		}
	}
	return worst
}

// none is the index of no candidate.
const none = -1

// A survey holds the index of the best candidate of each kind.
type survey struct {
	ready, slowStart, atLimit int
	shift                     bool // ready is of a worse tier than some that are ready, and Away
	probe                     int  // may be probed now
	awaited                   int  // has a probe under way, or a turn to probe, soonest
	soonest                   int  // its pause ends first
	quarantined               int
	blocked                   Availability
}

// survey looks at all candidates once.
func (p *planner) survey() survey {
	s := survey{none, none, none, false, none, none, none, none, Unserved}
	stays := none
	for i, c := range p.candidates {
		if c.Tier > p.worst {
			continue
		}
		switch c.Availability {
		case Ready:
			s.ready = p.better(i, s.ready)
			if c.Fits(p.candidates[s.ready].Tier < c.Tier) {
				stays = p.better(i, stays)
			}
		case SlowStart:
			s.slowStart = p.better(i, s.slowStart)
		case AtLimit:
			s.atLimit = p.shorterQueue(i, s.atLimit)
		case CircuitOpen:
			if s.soonest == none {
				s.blocked = CircuitOpen
			}
			switch {
			case c.ProbeFailed && p.ProbeWait <= 0:
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
	if stays != none {
		s.shift = p.candidates[s.ready].Tier < p.candidates[stays].Tier
		s.ready = stays
	}
	return s
}

// Fits reports whether a call that may choose should go to a ready candidate. shift says that
// there are ready ones in a better tier, all of which are Away.
func (c *Candidate) Fits(shift bool) bool {
	if shift {
		return !c.Troubled
	}
	return !c.Away
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

// shorterQueue returns the candidate of the better tier, the one with the shorter wait if
// they are equal.
func (p *planner) shorterQueue(i, than int) int {
	if than != none && p.candidates[i].Tier == p.candidates[than].Tier {
		return p.sooner(i, than)
	}
	return p.better(i, than)
}

// best returns the candidate that could take the call at once or after a short wait in a
// queue.
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
	if at.soonest != none && !at.shift && p.candidates[at.soonest].Tier < tier && p.inTime(p.candidates[at.soonest].Wait, p.Patience) {
		return p.tryAfterPause(at.soonest)
	}
	return Step{Action: Try, Index: fresh, Fresh: fresh == at.ready, Shift: at.shift && fresh == at.ready}
}

// withFallback decides if no untried endpoint could serve and a stale answer would do. The
// call waits for nothing but one more try at the account that failed last. It leaves
// probes to the call that renews the answer.
func (p *planner) withFallback(at survey) Step {
	if p.Last != none {
		if s, ok := p.retryLast(); ok {
			return s
		}
	}
	return p.giveUp(at)
}

// retryLast returns one more try at the account that failed last, within the call's
// patience.
func (p *planner) retryLast() (Step, bool) {
	if last := p.Tried[p.Last]; last.Tries > last.Insist {
		return Step{}, false
	}
	wait, ok := p.waitToRetry(p.Last)
	return Step{Action: Retry, Index: p.Last, Wait: wait, Extra: true}, ok && wait <= p.Patience
}

// retry decides if no untried endpoint could serve. It returns to the account that can be
// tried again first, or waits for the pause that ends first.
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
		again := Step{Action: Retry, Index: i, Wait: wait, Extra: true}
		if account.Availability == CircuitOpen {
			again, ok = p.probeAgain(i)
		}
		if ok && (best.Action == GiveUp || again.Wait < best.Wait || best.Action == Try && again.Wait == best.Wait) {
			best = again
		}
	}
	if best.Action == GiveUp {
		return p.giveUp(at)
	}
	return best
}

// waitToRetry returns how long the call would wait to try an account again. It reports
// whether the call may, by its number of attempts, its budget and its time.
func (p *planner) waitToRetry(i int) (time.Duration, bool) {
	a := p.Tried[i]
	if a.Tries == 0 || a.Tries >= p.Attempts || p.Once || a.BudgetSpent || a.Availability == Unserved || a.Availability == CircuitOpen {
		return 0, false
	}
	wait := max(a.Backoff, a.Pause, 0)
	return wait, p.inTime(a.Pause, p.MaxRetryAfter) && p.inTime(wait, wait)
}

// waitForProbe returns how long the call waits for a probe under way (probed), or until it
// may make one itself. It reports whether the call may wait at all. If it knows of a probe
// that failed, it may wait for its turn only if time is left then.
func (p *planner) waitForProbe(c Candidate) (time.Duration, bool) {
	if c.Probed {
		wait := min(c.Wait, p.OutcomeWait)
		return wait, wait > 0 && p.inTime(wait, wait)
	}
	return c.Wait, p.inTime(c.Wait, p.ProbeWait) && (c.Wait < p.ProbeWait || !c.ProbeFailed)
}

// probeAgain returns another probe of an account that the call has tried, now or after a
// wait, if time is left then.
func (p *planner) probeAgain(i int) (Step, bool) {
	a := p.Tried[i]
	if a.Tries == 0 || a.Tries >= p.Attempts || a.BudgetSpent || p.Once {
		return Step{}, false
	}
	if a.Probed {
		wait := min(a.Probe, p.OutcomeWait)
		return Step{Action: AwaitProbe, Index: i, Wait: wait, Again: true}, wait > 0 && p.inTime(wait, wait)
	}
	if a.Probe >= a.ProbeWait || !p.inTime(a.Probe, a.ProbeWait) {
		return Step{}, false
	}
	if a.Probe <= 0 {
		return Step{Action: Retry, Index: i, Extra: true, Probe: true}, true
	}
	return Step{Action: AwaitProbe, Index: i, Wait: a.Probe, Again: true}, true
}

// inTime reports whether a wait is within bound and ends before the caller's deadline. The
// call does not begin any other wait.
func (b Bounds) inTime(wait, bound time.Duration) bool {
	return wait <= bound && (b.Left == NoDeadline || wait < b.Left)
}

// tryAfterPause returns an attempt at a paused candidate at the end of its pause.
func (p *planner) tryAfterPause(i int) Step {
	return Step{Action: Try, Index: i, Wait: p.candidates[i].Wait}
}

// giveUp ends the call. It reports what kept the call from the endpoint that is free
// first.
func (p *planner) giveUp(at survey) Step {
	s := Step{Action: GiveUp, Blocked: at.blocked, Soonest: at.soonest}
	if at.soonest != none {
		s.RetryAfter = p.candidates[at.soonest].Wait
	}
	sooner := func(wait time.Duration) {
		if wait = max(wait, minRetryAfter); s.RetryAfter == 0 || wait < s.RetryAfter {
			s.RetryAfter = wait
		}
	}
	for _, c := range p.candidates {
		if c.Availability == CircuitOpen {
			sooner(c.Wait)
		}
	}
	for _, a := range p.Tried {
		if a.Availability == CircuitOpen {
			sooner(a.Probe)
		}
	}
	return s
}

// minRetryAfter is the least time after which another call should be made, in answer to
// one that an open circuit ended: Retry-After counts whole seconds.
const minRetryAfter = time.Second
