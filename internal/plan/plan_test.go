package plan

import (
	"math"
	"testing"
	"time"
)

const s = time.Second

// Candidates in one state each.
func ready(tier int) Candidate     { return Candidate{Tier: tier, Availability: Ready} }
func slowStart(tier int) Candidate { return Candidate{Tier: tier, Availability: SlowStart} }
func atLimit(tier int, wait time.Duration) Candidate {
	return Candidate{Tier: tier, Availability: AtLimit, Wait: wait}
}
func paused(tier int, wait time.Duration) Candidate {
	return Candidate{Tier: tier, Availability: Paused, Wait: wait}
}
func open(tier int, wait time.Duration) Candidate {
	return Candidate{Tier: tier, Availability: CircuitOpen, Wait: wait}
}

func probed(tier int, wait time.Duration) Candidate {
	return Candidate{Tier: tier, Availability: CircuitOpen, Probed: true, Wait: wait}
}

// failed notes that a probe of the candidate that the call waited for has failed.
func failed(c *Candidate) { c.ProbeFailed = true }

// behind is an account that failed once and may be probed again then.
func behind(probe time.Duration) Account {
	return with(failedOnce, func(a *Account) { a.Availability, a.Probe, a.ProbeWait = CircuitOpen, probe, s })
}

// untried is the history of a call that has tried nothing; its bounds are the
// defaults of RetryPolicy and BreakerPolicy.
var (
	untried = History{Last: -1, Patience: 2 * s, ProbeWait: s, OutcomeWait: 3 * s}
	bounds  = Bounds{Attempts: 3, MaxRetryAfter: 60 * s, Left: NoDeadline}
)

// tried is a history with one account, at the best tier, that failed.
func tried(a Account) History {
	h := untried
	h.Tried, h.Last = []Account{a}, 0
	return h
}

// failedOnce is an account that answered with a server error once.
var failedOnce = Account{Availability: Ready, Backoff: s, Tries: 1, Passing: true, Insist: 1}

func keepsTier(c *Candidate) { c.KeepsTier = true }

// away is in trouble, and the call is of those that should go elsewhere; troubled is, and the
// call is of the others.
func away(c *Candidate)     { c.Away, c.Troubled = true, true }
func troubled(c *Candidate) { c.Troubled = true }

func with[T any](v T, change func(*T)) T {
	change(&v)
	return v
}

func TestNext(t *testing.T) {
	for _, test := range []struct {
		name       string
		candidates []Candidate
		history    History
		bounds     Bounds
		want       Step
	}{
		{"nobody serves such a call", nil, untried, bounds, Step{Action: GiveUp, Soonest: none}},
		{"one that is ready", []Candidate{ready(0)}, untried, bounds, Step{Action: Try, Index: 0, Fresh: true}},
		{"the better tier first", []Candidate{ready(0), ready(1)}, untried, bounds, Step{Action: Try, Index: 0, Fresh: true}},
		{"ready before slow start, though that is a better tier", []Candidate{slowStart(0), ready(1)}, untried, bounds, Step{Action: Try, Index: 1, Fresh: true}},
		{"slow start where nobody is ready", []Candidate{slowStart(0), open(1, 0)}, untried, bounds, Step{Action: Try, Index: 0}},

		{"a share that went to the backup", []Candidate{with(ready(0), away), ready(1)}, untried, bounds, Step{Action: Try, Index: 1, Fresh: true, Shift: true}},
		{"the share that stays", []Candidate{with(ready(0), troubled), ready(1)}, untried, bounds, Step{Action: Try, Index: 0, Fresh: true}},
		{"another of the tier goes before the backup", []Candidate{with(ready(0), away), ready(0), ready(1)}, untried, bounds, Step{Action: Try, Index: 1, Fresh: true}},
		{"another of the tier that is troubled, too", []Candidate{with(ready(0), away), with(ready(0), troubled), ready(1)}, untried, bounds, Step{Action: Try, Index: 1, Fresh: true}},
		{"no lower tier", []Candidate{with(ready(0), away)}, untried, bounds, Step{Action: Try, Index: 0, Fresh: true}},
		{"a backup in trouble", []Candidate{with(ready(0), away), with(ready(1), troubled)}, untried, bounds, Step{Action: Try, Index: 0, Fresh: true}},
		{"a backup in trouble, and another one", []Candidate{with(ready(0), away), with(ready(1), troubled), ready(2)}, untried, bounds, Step{Action: Try, Index: 2, Fresh: true, Shift: true}},
		{"a backup that has just come back", []Candidate{with(ready(0), away), slowStart(1)}, untried, bounds, Step{Action: Try, Index: 0, Fresh: true}},
		{"a backup that is busy", []Candidate{with(ready(0), away), atLimit(1, 0)}, untried, bounds, Step{Action: Try, Index: 0, Fresh: true}},
		{"a share, and a limit that keeps the call in its tier", []Candidate{with(ready(0), away), with(atLimit(0, time.Hour), keepsTier), ready(1)}, untried, bounds, Step{Action: Try, Index: 0, Fresh: true}},
		{"a share, and a pause in the tier", []Candidate{with(ready(0), away), paused(0, s), ready(1)}, untried, bounds, Step{Action: Try, Index: 2, Fresh: true, Shift: true}},
		{"a backup that is the best there is", []Candidate{open(0, s), with(ready(1), away), ready(2)}, untried, bounds, Step{Action: Try, Index: 2, Fresh: true, Shift: true}},

		{"a limit that keeps the call in its tier", []Candidate{with(atLimit(0, time.Hour), keepsTier), ready(1), open(1, 0)}, untried, bounds, Step{Action: Try, Index: 0}},
		{"the same, and another of the tier", []Candidate{with(atLimit(0, time.Hour), keepsTier), ready(0), ready(1)}, untried, bounds, Step{Action: Try, Index: 1, Fresh: true}},
		{"the same, and it was tried", []Candidate{ready(1), paused(2, s)}, tried(Account{Availability: AtLimit, KeepsTier: true}), bounds, Step{Action: GiveUp, Soonest: none}},
		{"the same, in a worse tier", []Candidate{ready(0), with(atLimit(1, s), keepsTier), ready(2)}, untried, bounds, Step{Action: Try, Index: 0, Fresh: true}},
		{"a queue of a better tier within patience", []Candidate{atLimit(0, s), ready(1)}, untried, bounds, Step{Action: Try, Index: 0}},
		{"a queue of a better tier beyond patience", []Candidate{atLimit(0, 3*s), ready(1)}, untried, bounds, Step{Action: Try, Index: 1, Fresh: true}},
		{"the shorter queue of one tier", []Candidate{atLimit(0, 3*s), atLimit(0, s), atLimit(1, 0)}, untried, bounds, Step{Action: Try, Index: 1}},
		{"a queue of the same tier", []Candidate{atLimit(0, 0), ready(0)}, untried, bounds, Step{Action: Try, Index: 1, Fresh: true}},
		{"a long queue where nobody else serves", []Candidate{atLimit(0, time.Hour)}, untried, bounds, Step{Action: Try, Index: 0}},

		{"a pause of a better tier within patience", []Candidate{paused(0, s), ready(1)}, untried, bounds, Step{Action: Try, Index: 0, Wait: s}},
		{"a pause of a better tier beyond patience", []Candidate{paused(0, 3*s), ready(1)}, untried, bounds, Step{Action: Try, Index: 1, Fresh: true}},
		{"a pause of a better tier beyond the deadline", []Candidate{paused(0, s), ready(1)}, untried, with(bounds, func(b *Bounds) { b.Left = s }), Step{Action: Try, Index: 1, Fresh: true}},
		{"the pause that ends first", []Candidate{paused(0, 9*s), paused(0, 5*s), paused(1, 7*s)}, untried, bounds, Step{Action: Try, Index: 1, Wait: 5 * s}},
		{"no pause longer than MaxRetryAfter", []Candidate{paused(0, 61*s)}, untried, bounds, Step{Action: GiveUp, Blocked: Paused, RetryAfter: 61 * s}},
		{"no pause until the deadline", []Candidate{paused(0, 5*s)}, untried, with(bounds, func(b *Bounds) { b.Left = 5 * s }), Step{Action: GiveUp, Blocked: Paused, RetryAfter: 5 * s}},

		{"a probe where all circuits are open", []Candidate{open(0, 5*s), open(1, 0)}, untried, bounds, Step{Action: TryProbe, Index: 1}},
		{"the probe of the better tier", []Candidate{open(1, 0), open(0, 0)}, untried, bounds, Step{Action: TryProbe, Index: 1}},
		{"two probes at most", []Candidate{open(0, 0)}, with(untried, func(h *History) { h.Probes = 2 }), bounds, Step{Action: GiveUp, Blocked: CircuitOpen, Soonest: none, RetryAfter: s}},
		{"another call's probe", []Candidate{probed(0, 3*s), probed(1, 2*s)}, untried, bounds, Step{Action: AwaitProbe, Index: 1, Wait: 2 * s}},
		{"no longer for another call's probe than it may wait", []Candidate{probed(0, 3*s)}, with(untried, func(h *History) { h.OutcomeWait = 2 * s }), bounds, Step{Action: AwaitProbe, Wait: 2 * s}},
		{"no wait at all for another call's probe", []Candidate{probed(0, 3*s)}, with(untried, func(h *History) { h.OutcomeWait = 0 }), bounds, Step{Action: GiveUp, Blocked: CircuitOpen, Soonest: none, RetryAfter: 3 * s}},
		{"no wait for its turn that is too short", []Candidate{open(0, s)}, with(untried, func(h *History) { h.ProbeWait = s - 1 }), bounds, Step{Action: GiveUp, Blocked: CircuitOpen, Soonest: none, RetryAfter: s}},
		{"its turn at the end of the wait", []Candidate{open(0, s)}, with(untried, func(h *History) { h.ProbeWait = s }), bounds, Step{Action: AwaitProbe, Wait: s}},
		{"its turn now, though it waits for nothing", []Candidate{open(0, 0)}, with(untried, func(h *History) { h.ProbeWait = 0 }), bounds, Step{Action: TryProbe}},
		{"not so behind a probe that failed", []Candidate{with(open(0, 0), failed)}, with(untried, func(h *History) { h.ProbeWait = 0 }), bounds, Step{Action: GiveUp, Blocked: CircuitOpen, Soonest: none, RetryAfter: s}},
		{"nor its turn at the end of the wait", []Candidate{with(open(0, s), failed)}, with(untried, func(h *History) { h.ProbeWait = s }), bounds, Step{Action: GiveUp, Blocked: CircuitOpen, Soonest: none, RetryAfter: s}},
		{"but its turn before", []Candidate{with(open(0, s), failed)}, with(untried, func(h *History) { h.ProbeWait = s + 1 }), bounds, Step{Action: AwaitProbe, Wait: s}},
		{"the soonest probe is told, and no fraction of a second", []Candidate{open(0, 3*s), open(0, s/2)}, with(untried, func(h *History) { h.ProbeWait = 0 }), bounds, Step{Action: GiveUp, Blocked: CircuitOpen, Soonest: none, RetryAfter: s}},
		{"the probe before the pause, if it is sooner", []Candidate{open(0, 3*s), paused(0, 61*s)}, with(untried, func(h *History) { h.ProbeWait = 0 }), bounds, Step{Action: GiveUp, Blocked: Paused, Soonest: 1, RetryAfter: 3 * s}},
		{"no probe beyond the deadline", []Candidate{open(0, 3*s)}, untried, with(bounds, func(b *Bounds) { b.Left = 3 * s }), Step{Action: GiveUp, Blocked: CircuitOpen, Soonest: none, RetryAfter: 3 * s}},

		{"what is quarantined, where nobody else is left", []Candidate{with(paused(0, time.Hour), func(c *Candidate) { c.Quarantined, c.MayTry = true, true })}, untried, bounds, Step{Action: TryQuarantined, Index: 0}},
		{"not so soon after another call tried it", []Candidate{with(paused(0, time.Hour), func(c *Candidate) { c.Quarantined = true })}, untried, bounds, Step{Action: GiveUp, Blocked: Paused, RetryAfter: time.Hour}},
		{"nor while somebody is ready", []Candidate{with(paused(0, time.Hour), func(c *Candidate) { c.Quarantined, c.MayTry = true, true }), ready(1)}, untried, bounds, Step{Action: Try, Index: 1, Fresh: true}},
		{"a pause is named before a circuit", []Candidate{open(0, time.Hour), paused(0, time.Hour)}, untried, with(bounds, func(b *Bounds) { b.Left = s }), Step{Action: GiveUp, Blocked: Paused, Soonest: 1, RetryAfter: time.Hour}},

		{"again after the backoff", nil, tried(failedOnce), bounds, Step{Action: Retry, Wait: s, Extra: true}},
		{"again after its pause", nil, tried(with(failedOnce, func(a *Account) { a.Availability, a.Pause = Paused, 5*s })), bounds, Step{Action: Retry, Wait: 5 * s, Extra: true}},
		{"not beyond MaxRetryAfter", nil, tried(with(failedOnce, func(a *Account) { a.Availability, a.Pause = Paused, 61*s })), bounds, Step{Action: GiveUp, Soonest: none}},
		{"not beyond the deadline", nil, tried(failedOnce), with(bounds, func(b *Bounds) { b.Left = s }), Step{Action: GiveUp, Soonest: none}},
		{"not more often than it may", nil, tried(with(failedOnce, func(a *Account) { a.Tries = 3 })), bounds, Step{Action: GiveUp, Soonest: none}},
		{"not what does not pass", nil, tried(with(failedOnce, func(a *Account) { a.Passing = false })), bounds, Step{Action: GiveUp, Soonest: none}},
		{"not what was never sent", nil, tried(with(failedOnce, func(a *Account) { a.Tries = 0 })), bounds, Step{Action: GiveUp, Soonest: none}},
		{"not where its circuit is open", nil, tried(behind(s)), bounds, Step{Action: GiveUp, Soonest: none, RetryAfter: s}},
		{"but by the outcome of another call's probe", nil, tried(with(behind(5*s), func(a *Account) { a.Probed = true })), bounds, Step{Action: AwaitProbe, Wait: 3 * s, Again: true}},
		{"but by its turn to probe again, if it may wait longer", nil, tried(with(behind(s), func(a *Account) { a.ProbeWait = s + 1 })), bounds, Step{Action: AwaitProbe, Wait: s, Again: true}},
		{"as a probe when it is its turn", nil, tried(behind(0)), bounds, Step{Action: Retry, Extra: true, Probe: true}},
		{"not as a probe beyond the deadline", nil, tried(with(behind(s), func(a *Account) { a.ProbeWait = 5 * s })), with(bounds, func(b *Bounds) { b.Left = s }), Step{Action: GiveUp, Soonest: none, RetryAfter: s}},
		{"not as a probe without time", nil, tried(with(behind(0), func(a *Account) { a.ProbeWait = 0 })), bounds, Step{Action: GiveUp, Soonest: none, RetryAfter: s}},
		{"not as a probe more often than it may", nil, tried(with(behind(0), func(a *Account) { a.Tries = 3 })), bounds, Step{Action: GiveUp, Soonest: none, RetryAfter: s}},
		{"not as a probe without a budget", nil, tried(with(behind(0), func(a *Account) { a.BudgetSpent = true })), bounds, Step{Action: GiveUp, Soonest: none, RetryAfter: s}},
		{"not as a probe what can be sent once only", nil, tried(behind(0)), with(bounds, func(b *Bounds) { b.Once = true }), Step{Action: GiveUp, Soonest: none, RetryAfter: s}},
		{"not where it no longer serves the call", nil, tried(with(failedOnce, func(a *Account) { a.Availability = Unserved })), bounds, Step{Action: GiveUp, Soonest: none}},
		{"not what can be sent once only", nil, tried(failedOnce), with(bounds, func(b *Bounds) { b.Once = true }), Step{Action: GiveUp, Soonest: none}},
		{"not without a budget", nil, with(tried(failedOnce), func(h *History) { h.Tried[0].BudgetSpent = true }), bounds, Step{Action: GiveUp, Soonest: none}},
		{"somebody untried first", []Candidate{ready(0)}, tried(failedOnce), bounds, Step{Action: Try, Index: 0, Fresh: true}},
		{"the shorter of a backoff and a pause", []Candidate{paused(0, 3*s)}, tried(failedOnce), bounds, Step{Action: Retry, Wait: s, Extra: true}},
		{"the shorter of a pause and a backoff", []Candidate{paused(0, s/2)}, tried(failedOnce), bounds, Step{Action: Try, Index: 0, Wait: s / 2}},
		{"the account before the pause, if both take as long", []Candidate{paused(0, s)}, tried(failedOnce), bounds, Step{Action: Retry, Wait: s, Extra: true}},
		{"the account that is free first", nil, with(tried(failedOnce), func(h *History) {
			h.Tried = append(h.Tried, with(failedOnce, func(a *Account) { a.Backoff = s / 2 }))
			h.Last = 1
		}), bounds, Step{Action: Retry, Index: 1, Wait: s / 2, Extra: true}},

		{"once more before a lower tier", []Candidate{ready(1)}, tried(failedOnce), bounds, Step{Action: Retry, Wait: s, Extra: true}},
		{"once only", []Candidate{ready(1)}, tried(with(failedOnce, func(a *Account) { a.Tries = 2 })), bounds, Step{Action: Try, Index: 0, Fresh: true}},
		{"as long as a rate limit lasts", []Candidate{ready(1)}, tried(with(failedOnce, func(a *Account) { a.Tries, a.Insist = 2, math.MaxInt })), bounds, Step{Action: Retry, Wait: s, Extra: true}},
		{"not beyond patience", []Candidate{ready(1)}, tried(with(failedOnce, func(a *Account) { a.Backoff = 3 * s })), bounds, Step{Action: Try, Index: 0, Fresh: true}},
		{"not without a budget, before a lower tier", []Candidate{ready(1)}, with(tried(failedOnce), func(h *History) { h.Tried[0].BudgetSpent = true }), bounds, Step{Action: Try, Index: 0, Fresh: true}},

		{"once more before a kept answer", nil, tried(failedOnce), with(bounds, func(b *Bounds) { b.Fallback = true }), Step{Action: Retry, Wait: s, Extra: true}},
		{"a kept answer instead of a pause", []Candidate{paused(0, s)}, untried, with(bounds, func(b *Bounds) { b.Fallback = true }), Step{Action: GiveUp, Blocked: Paused, RetryAfter: s}},
		{"a kept answer instead of a probe", []Candidate{open(0, 0)}, untried, with(bounds, func(b *Bounds) { b.Fallback = true }), Step{Action: GiveUp, Blocked: CircuitOpen, Soonest: none, RetryAfter: s}},
	} {
		if got := Next(test.candidates, test.history, test.bounds); got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}
