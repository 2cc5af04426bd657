package breakwater

import (
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/breakwater-go/breakwater/internal/balance"
	"github.com/breakwater-go/breakwater/internal/budget"
	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/pause"
	"github.com/breakwater-go/breakwater/internal/plan"
	"github.com/breakwater-go/breakwater/internal/request"
)

// A fleet is what all calls of a Transport share where they are made: policies, and
// what is known of endpoints beside their own circuits and limits.
type fleet struct {
	retry       RetryPolicy
	stream      StreamPolicy
	newBackOff  func() backoff.BackOff
	exchanges   exchange.Policy // of answers
	asErrors    bool            // an exhausted call ends in an *Error
	configured  bool            // the user gave endpoints
	middleware  bool            // the user's own stands between attempts and the base
	limitedBase bool            // the base may keep an attempt waiting for a connection
	observers   observers

	budget    *budget.Budget
	pauses    *pause.Table[pauseKey, refusal]
	balance   balance.Strategy
	affinity  *balance.Affinity // nil: conversations are not kept together
	minPrompt int               // bytes from which a conversation is kept together
}

func newFleet(c *config) *fleet {
	f := &fleet{
		retry: c.retry, stream: c.stream, newBackOff: c.newBackOff, exchanges: c.stream.exchanges(), asErrors: c.asErrors, observers: c.observers,
		configured: len(c.tiers) > 0, middleware: len(c.perAttempt) > 0, limitedBase: limitsConnections(c.base),
		budget: c.retry.newBudget(), pauses: pause.New[pauseKey]((*refusal).size),
		balance: balance.TwoChoices{Random: c.random}, minPrompt: c.balance.Affinity,
	}
	if c.balance.Affinity > 0 {
		f.affinity = balance.NewAffinity(c.balance.Overload, f.balance)
		f.balance = f.affinity
	}
	return f
}

// limitsConnections reports whether a base may have requests wait for a
// connection: what is not net/http's own may do as it likes.
func limitsConnections(base http.RoundTripper) bool {
	t, ok := base.(*http.Transport)
	return !ok || t.MaxConnsPerHost > 0
}

// A step is what the loop does next.
type step struct {
	action   action
	endpoint *upstream // to try, or whose probe to await
	model    string
	wait     time.Duration  // before that
	probe    *circuit.Probe // another call's, to await; nil: the time when this call may probe

	// Of a call that nobody answered.
	pause      pause.Pause[refusal] // what keeps it from the endpoint that would be back first
	blocked    Class                // what keeps it from all endpoints, if nothing was tried
	retryAfter time.Duration        // when it could be worth coming back

	err error // that the call ends in
}

// An action is what a step does.
type action uint8

const (
	noneLeft    action = iota // end the call: no endpoint can answer it in time
	try                       // make an attempt
	tryProbe                  // make an attempt though the circuit is open
	awaitProbe                // wait for a probe, and plan again
	showRefusal               // end the call with an answer that is the caller's to act on
	abort                     // end the call in an error
)

// next plans the next step: from what the call has tried and from who could
// serve it now.
func (r *failoverRun) next(now time.Time) step {
	r.survey(now)
	history, bounds := r.history(now), r.bounds(now)
	p := plan.Next(r.states, history, bounds)
	if p.Extra {
		if last := r.triedAccounts[p.Index]; !r.takeExtra(now, last.endpoint, last.model) {
			history.BudgetSpent = true
			p = plan.Next(r.states, history, bounds)
		}
	}
	return r.stepOf(p, now)
}

// survey looks at every endpoint whose account the call has not tried.
func (r *failoverRun) survey(now time.Time) {
	r.candidates, r.states = r.scratch.candidates[:0], r.scratch.states[:0]
	for _, e := range r.call.candidates {
		if r.tried(e.Account) != nil {
			continue
		}
		at := r.availability(e, now)
		if at.state == plan.Unserved {
			continue
		}
		c, seen := plan.Candidate{Tier: e.tier, Availability: at.state}, candidate{endpoint: e, model: at.model}
		switch at.state {
		case plan.AtLimit:
			c.Wait = e.limits.Get(at.model).Expected(now)
		case plan.CircuitOpen:
			r.skippedOpen = true
			c.ProbeFailed = slices.Contains(r.probed, e)
			seen.probe, c.Wait = r.nextProbe(e, at.model, now)
		case plan.Paused:
			c.Wait = at.pause.Until.Sub(now)
			c.Quarantined, c.MayTry = at.quarantined, at.quarantined && e.mayTryQuarantined(now)
		}
		r.candidates = append(r.candidates, seen)
		r.states = append(r.states, c)
	}
}

// nextProbe returns how long it takes until the call may probe an open circuit, or
// until the outcome of another call's probe may be known, and that probe.
func (r *failoverRun) nextProbe(e *upstream, model string, now time.Time) (*circuit.Probe, time.Duration) {
	probe, wait := e.circuits.Get(model).NextProbe(now)
	if deadline, ok := r.call.Deadline(); ok && probe != nil {
		wait = min(wait, deadline.Sub(now)/2)
	}
	return probe, wait
}

// history is what the call has done so far.
func (r *failoverRun) history(now time.Time) plan.History {
	h := plan.History{Last: -1, Patience: r.patience, Probes: r.probes, ProbeWaits: r.probeWaits, ProbeWaited: now.Sub(r.firstProbeWait)}
	for i, v := range r.triedAccounts {
		at := r.availability(v.endpoint, now)
		traits := outcome.Of(v.failure.Class)
		h.Tried = append(h.Tried, plan.Account{
			Tier: v.endpoint.tier, Availability: at.state, Pause: at.pause.Until.Sub(now), Backoff: v.due.Sub(now),
			Tries: v.tries, Passing: traits.Passing, Insist: insistence(traits.RetryLast),
		})
		if v == r.last {
			h.Last = i
		}
	}
	return h
}

// insistence is the number of tries up to which an endpoint that failed so is
// tried again before the call makes do with less.
func insistence(r outcome.RetryLast) int {
	switch r {
	case outcome.RetryOnce:
		return 1
	case outcome.RetryAlways:
		return math.MaxInt
	}
	return 0
}

// bounds are what the call may do.
func (r *failoverRun) bounds(now time.Time) plan.Bounds {
	b := plan.Bounds{
		Attempts: r.attempts(), MaxRetryAfter: r.retry.MaxRetryAfter, Left: plan.NoDeadline,
		Fallback: r.call.fallback, Once: r.call.upload != nil,
	}
	if deadline, ok := r.call.Deadline(); ok {
		b.Left = deadline.Sub(now)
	}
	return b
}

// stepOf is a planned step with the endpoint that it concerns.
func (r *failoverRun) stepOf(p plan.Step, now time.Time) step {
	var s step
	var at candidate
	switch p.Action {
	case plan.GiveUp:
		s.retryAfter = p.RetryAfter
	case plan.Retry:
		tried := r.triedAccounts[p.Index]
		s.action, at = try, candidate{endpoint: tried.endpoint, model: tried.model}
	default:
		s.action, at = try, r.candidates[p.Index]
	}
	switch p.Action {
	case plan.Try:
		if p.Fresh {
			at = r.chooseReady(p.Index, now)
		}
	case plan.TryProbe:
		s.action = tryProbe
	case plan.TryQuarantined:
		if !at.endpoint.claimQuarantinedTry(now) { // another call has just tried it
			return r.next(now)
		}
	case plan.AwaitProbe:
		s.action, s.probe = awaitProbe, at.probe
		if r.probeWaits == 0 {
			r.firstProbeWait = now
		}
		r.probeWaits++
	}
	s.endpoint, s.model, s.wait = at.endpoint, at.model, p.Wait
	switch p.Blocked {
	case plan.CircuitOpen:
		s.blocked = ClassCircuitOpen
	case plan.Paused:
		s.blocked = ClassPaused
		s.pause = r.availability(r.candidates[p.Soonest].endpoint, now).pause
	}
	return s
}

// chooseReady returns which of the ready candidates of a tier gets the call, of
// which first is the first.
func (r *failoverRun) chooseReady(first int, now time.Time) candidate {
	ready := r.candidates[:0]
	for i, c := range r.candidates {
		if r.states[i].Availability == plan.Ready && r.states[i].Tier == r.states[first].Tier {
			ready = append(ready, c)
		}
	}
	return r.choose(ready, now)
}

// A candidate is an endpoint that could take the call, by the model's name there.
type candidate struct {
	endpoint *upstream
	model    string
	probe    *circuit.Probe // another call's, if the circuit is open and that is under way
}

// choose returns which of a tier's candidates gets the call. They are in turn.
func (r *failoverRun) choose(candidates []candidate, now time.Time) candidate {
	if len(candidates) == 1 {
		return candidates[0]
	}
	targets := r.scratch.targets[:0]
	for _, c := range candidates {
		targets = append(targets, &c.endpoint.Target)
	}
	return candidates[r.balance.Pick(now, r.call.conversation, targets)]
}

// attempts is how often the call may try one account.
func (r *failoverRun) attempts() int {
	if r.call.resumption != nil {
		return 1 // the caller waits in the middle of an answer
	}
	return r.call.attempts(r.retry.Attempts)
}

// attempts is how often the call may try one account; def is RetryPolicy's word.
func (c *Call) attempts(def int) int {
	if c.Attempts != 0 {
		return max(c.Attempts, 1)
	}
	return def
}

// takeExtra takes an extra attempt out of the budget.
func (r *failoverRun) takeExtra(now time.Time, e *upstream, model string) bool {
	if r.budget.Take(now) {
		return true
	}
	denied := func(t *Attempt) { t.Denied = true }
	switch {
	case r.last != nil:
		r.call.log.update(r.last.place, denied)
	case r.call.resumption != nil:
		r.call.log.update(r.call.resumption.place, denied)
	}
	r.observers.emit(r.call, Event{Kind: KindBudget, Endpoint: e.Name, Model: model})
	return false
}

// An availability is how an endpoint could take a call at one moment.
type availability struct {
	state       plan.Availability
	model       string               // the endpoint's name for the call's
	pause       pause.Pause[refusal] // what it is Paused for
	quarantined bool                 // it is Paused by us alone, and a person may have mended it
}

// availability reports how e could take the call now.
func (r *failoverRun) availability(e *upstream, now time.Time) availability {
	c := r.call
	model, ok := c.eligible(e)
	if !ok || r.avoid != "" && r.avoid == e.Account || !r.worthTrying(e, model) {
		return availability{}
	}
	at := availability{model: model}
	if r.pauses.Any() {
		at.quarantined = true
		keys := c.pauseKeys(e, model)
		for scope := outcome.ScopeEndpoint; scope <= outcome.ScopeModel; scope++ {
			p, ok := r.pauses.Get(keys.of(scope), now)
			if ok && (scope == outcome.ScopeLimit || p.Asked.After(now)) {
				at.quarantined = false
			}
			if ok && p.Until.After(at.pause.Until) {
				at.pause = p
			}
		}
	}
	if !at.pause.Until.IsZero() {
		at.state = plan.Paused
		return at
	}
	switch state := e.circuits.Lookup(model).Standing(now, e.Load.Open()); {
	case !state.Ready, c.fallback && state.Tripped: // a call with a fallback leaves probes to others
		at.state = plan.CircuitOpen
	case !e.limits.Get(model).Free(now):
		at.state = plan.AtLimit
	case state.SlowStart:
		at.state = plan.SlowStart
	default:
		at.state = plan.Ready
	}
	return at
}

// eligible returns the name under which e serves the call's model, or false if
// the call has no business there.
func (c *call) eligible(e *upstream) (string, bool) {
	if c.Endpoint != "" && c.Endpoint != e.Name || c.continues() && e.profile.PrefixRoot == "" {
		return "", false
	}
	if e != c.target {
		if c.upload != nil || c.encoded || c.params.Stateful || c.params.PrefixCompletion && e.profile.PrefixRoot == "" {
			return "", false
		}
		if _, ok := e.paths.RootOf(c.op); !ok {
			return "", false
		}
	}
	return e.serves(c.op, c.params.Model, c.target)
}

// worthTrying reports whether e may do what none of the endpoints visited could
// for their limits: one of the same host with the same model has the same.
func (r *failoverRun) worthTrying(e *upstream, model string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.unsuited {
		if o.endpoint != e && o.model == model && o.endpoint.profile == e.profile && (!e.profile.Generic || o.endpoint.origin == e.origin) {
			return false
		}
	}
	return true
}

// tried returns what the call knows of an account's endpoint, if it has
// been there. Endpoints of one account count as one.
func (r *failoverRun) tried(account string) *triedAccount {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.triedAccounts {
		if v.account == account {
			return v
		}
	}
	return nil
}

// isRacing reports whether the account is being asked beside another.
func (r *failoverRun) isRacing(account string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.racing[0] != nil && (r.racing[0].Account == account || r.racing[1].Account == account)
}

// hasAlternative reports whether another endpoint than this one, which the call has
// not tried, could serve it now.
func (r *failoverRun) hasAlternative(than *upstream) bool {
	now := time.Now()
	for _, e := range r.call.candidates {
		if e.Account == than.Account || r.tried(e.Account) != nil || r.isRacing(e.Account) {
			continue
		}
		switch at := r.availability(e, now); at.state {
		case plan.Ready, plan.SlowStart:
			return true
		case plan.AtLimit:
			if e.limits.Get(at.model).Admits(now) {
				return true
			}
		}
	}
	return false
}

// A pauseKey says what is paused: an endpoint, an account, one model of an
// account for one credential, or one model of an endpoint for one operation and
// one credential. Fields that do not matter are zero.
type pauseKey struct {
	endpoint   string
	account    string
	model      string
	op         request.Operation
	credential header.Credential
}

// pauseKeys are the keys of the pauses that concern a call at an endpoint, one
// for each scope.
type pauseKeys [4]pauseKey

// of returns the key of a scope.
func (k *pauseKeys) of(s outcome.Scope) pauseKey { return k[s-1] }

func (c *call) pauseKeys(e *upstream, model string) pauseKeys {
	var asker header.Credential // what a host says to one credential concerns no other
	if !e.keyed {
		asker = c.credential()
	}
	return pauseKeys{ // a rate limit and a missing model depend on the credential
		outcome.ScopeEndpoint - 1: {endpoint: e.Name},
		outcome.ScopeAccount - 1:  {account: e.Account},
		outcome.ScopeLimit - 1:    {account: e.Account, model: model, credential: asker},
		outcome.ScopeModel - 1:    {endpoint: e.Name, model: model, op: c.op, credential: asker},
	}
}

// A refusal is the answer of a host that caused a pause. Callers whom the pause
// keeps away get the same answer.
type refusal struct {
	status      int
	contentType string
	body        []byte
}

// maxKeptRefusal is how many bytes of one refusal are kept.
const maxKeptRefusal = 16 << 10

// refusalOf is what f's host said; nil if that is nothing, or too much to be kept.
func refusalOf(f *exchange.Failure) *refusal {
	if f.Resp == nil {
		return nil
	}
	contentType := header.First(f.Resp.Header, "Content-Type")
	if len(f.Body)+len(contentType) > maxKeptRefusal {
		return nil
	}
	return &refusal{status: f.Status, contentType: contentType, body: f.Body}
}

// size is about how many bytes the refusal takes.
func (r *refusal) size() int { return len(r.contentType) + cap(r.body) }

// A failoverRun is one call's loop.
type failoverRun struct {
	*fleet
	call           *call
	avoid          string           // an account to leave alone; empty: none
	at             time.Time        // of the latest decision
	n              int              // attempts so far
	begun          int              // those under way included
	patience       time.Duration    // left
	probes         int              // attempts at open circuits
	probed         []*upstream      // by others, whom the call waited for
	probeWaits     int              // times a probe, or leave to probe, was waited for
	firstProbeWait time.Time        // for the first time
	replans        int              // pauses that began while the call waited for another to end
	final          *step            // how the call ends, known before the loop came to it
	skippedOpen    bool             // it left an open circuit alone
	lostProbe      bool             // somebody else took the probe between look and leap
	candidates     []candidate      // that the latest plan saw
	states         []plan.Candidate // the same ones, as it saw them
	scratch        struct {         // for both, as most calls need it
		candidates [4]candidate
		states     [4]plan.Candidate
		targets    [4]*balance.Target
	}
	last         *triedAccount
	firstFailure *exchange.Failure // what went wrong first
	shownFailure *exchange.Failure // the one whose response the caller gets if all fails
	shownBy      *upstream         // whose response that is

	signature [2]string // of the answer, in its headers: who gave it after how many attempts

	mu            sync.Mutex // guards what follows, which the attempts' clocks read
	triedAccounts []*triedAccount
	unsuited      []candidate  // whose limits the call exceeds
	racing        [2]*upstream // asked at the same time: see StreamPolicy.Hedge
}

func (f *fleet) newRun(c *call) *failoverRun {
	return &failoverRun{fleet: f, call: c, patience: f.retry.Patience}
}

// A triedAccount is what the call knows of an endpoint it has been to.
type triedAccount struct {
	account  string    // never changes: the attempts' clocks read it
	endpoint *upstream // of the account, the one asked last
	model    string
	tries    int // 0: refused locally
	failure  *exchange.Failure
	place    int             // in the trail, of the latest attempt
	delays   backoff.BackOff // of this account in this call
	due      time.Time       // when its backoff is over
}

// now is the time of a decision.
func (r *failoverRun) now() time.Time {
	r.at = time.Now()
	return r.at
}
