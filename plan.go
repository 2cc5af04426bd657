package breakwater

import (
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/breakwater-go/breakwater/internal/balance"
	"github.com/breakwater-go/breakwater/internal/budget"
	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/pause"
	"github.com/breakwater-go/breakwater/internal/plan"
	"github.com/breakwater-go/breakwater/internal/price"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/shift"
)

// A fleet is what the failover layer and the attempts of a Transport share: the policies,
// and what is known of endpoints beside their own circuits and limits.
type fleet struct {
	retry        RetryPolicy
	stream       StreamPolicy
	newBackOff   func() backoff.BackOff
	exchanges    exchange.Policy // how answers are judged
	asErrors     bool            // a call that no endpoint answered ends in an *Error, not in a response
	tenants      bool            // tenants have limits, or are counted
	countsTokens bool            // tokens of tenants are limited
	configured   bool            // the user gave endpoints
	middleware   bool            // user middleware stands between attempts and the base
	limitedBase  bool            // the base may keep an attempt waiting for a connection
	lends        bool            // requests' bodies are lent to the base: see tracedLoan
	maxProbeWait time.Duration   // BreakerPolicy.MaxWait
	observers    observers
	priced       bool            // some prices are known
	currency     price.Currency  // of all prices
	spent        *price.Book     // what attempts have cost
	spending     *price.Spending // nil: nothing bounds it
	cheapest     bool            // BalancePolicy.Cheapest

	budgets   map[string]*budget.Budget // of the accounts of the user's endpoints
	pauses    *pause.Table[pauseKey, refusal]
	balance   balance.Strategy
	affinity  *balance.Affinity // nil: conversations are not kept at one endpoint
	policy    BalancePolicy
	minPrompt int // the least size in bytes of a body whose conversation is kept at one endpoint
	random    func(n int) int
}

func newFleet(c *config, pauses *pause.Table[pauseKey, refusal]) *fleet {
	f := &fleet{
		retry: c.retry, stream: c.stream, newBackOff: c.newBackOff, exchanges: c.stream.exchanges(), asErrors: c.asErrors, observers: c.observers,
		priced: c.currency != price.Currency{}, currency: c.currency, spent: new(price.Book), cheapest: c.balance.Cheapest,
		tenants: c.tenants != nil, countsTokens: c.tenants.countsTokens(),
		configured: len(c.tiers) > 0, middleware: len(c.perAttempt) > 0, maxProbeWait: c.breaker.MaxWait, limitedBase: limitsConnections(c.base),
		budgets: make(map[string]*budget.Budget), pauses: pauses,
		lends:   len(c.perAttempt) == 0 && !c.retry.SendOnce && isNetHTTP(c.base),
		balance: balance.TwoChoices{Random: c.random}, policy: c.balance, minPrompt: c.balance.Affinity, random: c.random,
	}
	if c.balance.Affinity > 0 {
		f.affinity = balance.NewAffinity(c.balance.Overload, f.balance)
		f.balance = f.affinity
	}
	return f
}

// keep takes over what the fleet before knows of accounts and conversations that are the
// same by the options in c.
func (f *fleet) keep(before *fleet, c *config) {
	if f.currency == before.currency {
		f.spent = before.spent
	}
	if f.retry.Budget == before.retry.Budget {
		for _, e := range slices.Concat(c.tiers...) {
			if b := before.budgets[e.Account]; b != nil {
				f.budgets[e.Account] = b
			}
		}
	}
	if f.affinity != nil && before.affinity != nil && before.policy.Affinity == c.balance.Affinity && before.policy.Overload == c.balance.Overload {
		f.affinity = before.affinity
		f.balance = f.affinity
	}
}

// newSpending returns the sums that a SpendPolicy bounds, or nil if there is none. before are
// those of the options before.
func newSpending(c *config, before *price.Spending) *price.Spending {
	if c.spend == nil {
		return nil
	}
	limits := make(map[string]float64)
	if c.spend.PerDay > 0 {
		limits[""] = c.spend.PerDay
	}
	for _, e := range slices.Concat(c.tiers...) {
		for _, name := range []string{e.Account, e.Name} {
			if most, ok := c.spend.PerAccount[name]; ok {
				limits[e.Account] = most
			}
		}
	}
	return price.NewSpending(c.spend.Zone, c.currency, limits, before)
}

// costOf returns the state of a book of costs.
func (f *fleet) costOf(b *price.Book) CostStatus {
	sum := b.Sum()
	return CostStatus{Amount: sum.Amount, Estimated: sum.Estimated, Unknown: sum.Unknown, Currency: f.currency.String()}
}

// budgetOf returns the budget of extra attempts of an account. Without endpoints of the
// user's, each origin is an account, and its endpoint keeps the budget: callers choose the
// names. It must not be called any more once the Transport is in use, but for such an origin.
func (f *fleet) budgetOf(account string) *budget.Budget {
	if !f.configured {
		return f.retry.newBudget()
	}
	b := f.budgets[account]
	if b == nil {
		b = f.retry.newBudget()
		f.budgets[account] = b
	}
	return b
}

// limitsConnections reports whether base may make a request wait for a connection. Any
// base but net/http's own may, because its settings are unknown.
func limitsConnections(base http.RoundTripper) bool {
	t, ok := base.(*http.Transport)
	return !ok || t.MaxConnsPerHost > 0
}

// isNetHTTP reports whether base is net/http's own transport.
func isNetHTTP(base http.RoundTripper) bool {
	_, ok := base.(*http.Transport)
	return ok
}

// A step is what the loop does next, and with which endpoint.
type step struct {
	action   action
	endpoint *upstream // the endpoint to try, or whose probe to wait for
	model    string
	key      string         // that came in place of a refused one; empty: the attempt asks for it
	wait     time.Duration  // how long to wait before the action
	probe    *circuit.Probe // the probe of another call to wait for; nil: wait until this call may probe

	// The reasons why no endpoint answered.
	pause      pause.Pause[refusal] // the pause of the endpoint that is available first
	blocked    Class                // what keeps the call from all endpoints, if nothing was tried
	retryAfter time.Duration        // when another call may succeed

	err error // the error that the call ends in
}

// An action is what a step does.
type action uint8

const (
	noneLeft    action = iota // end the call: no endpoint can answer it in time
	try                       // make an attempt
	tryProbe                  // make an attempt although the circuit is open
	awaitProbe                // wait for a probe, and plan again
	showRefusal               // end the call with a response that the caller must act on
	abort                     // end the call with an error
)

// next plans the next step from what the call has tried and from the endpoints that could
// serve it now.
func (r *failoverRun) next(now time.Time) step {
	r.returnExtra()
	if s, ok := r.onlyChoice(now); ok {
		return s
	}
	var candidates [4]candidate // enough for most calls
	var states [4]plan.Candidate
	found := r.survey(shortlist{candidates: candidates[:0], states: states[:0]}, now)
	history, bounds := r.history(now), r.bounds(now)
	p := plan.Next(found.states, history, bounds)
	for p.Extra {
		if again := r.triedAccounts[p.Index]; r.takeExtra(now, again.endpoint, again.model) {
			break
		}
		history.Tried[p.Index].BudgetSpent = true
		p = plan.Next(found.states, history, bounds)
	}
	if found.blocked {
		r.noteBlocked(p, found, now)
	}
	return r.stepOf(p, found, now)
}

// noteBlocked adds to the trail the endpoints that could not take the call now, unless they
// are worse than the one that does.
func (r *failoverRun) noteBlocked(p plan.Step, found shortlist, now time.Time) {
	verdict, chosen, tier := VerdictElsewhere, p.Index, math.MaxInt
	switch p.Action {
	case plan.GiveUp:
		if len(r.triedAccounts) == 0 { // see blocked
			return
		}
		verdict, chosen = VerdictStop, -1
	case plan.AwaitProbe: // it plans again then
		return
	case plan.Retry:
		chosen = -1
	default:
		tier = found.states[p.Index].Tier
	}
	for i, c := range found.candidates {
		if at := found.states[i]; i != chosen && at.Tier <= tier {
			not := availability{state: at.Availability, model: c.model, quarantined: at.Quarantined}
			if p.Shift && at.Away && at.Tier < tier {
				not.why = ReasonShift
			}
			r.passOver(c.endpoint, not, verdict, now)
		}
	}
	for _, e := range r.call.candidates {
		if e.tier > tier || slices.ContainsFunc(found.candidates, func(c candidate) bool { return c.endpoint == e }) {
			continue
		}
		if r.tried(e.Account) != nil {
			r.passOver(e, availability{why: ReasonAccount}, verdict, now)
			continue
		}
		r.passOver(e, r.availability(r.call, e, now), verdict, now)
	}
}

// passOver adds an endpoint to the trail, unless it is ready.
func (r *failoverRun) passOver(e *upstream, at availability, verdict Verdict, now time.Time) {
	why := at.reason()
	if why == "" || why == ReasonAccount && r.call.log.asked(e.Name) {
		return
	}
	a := Attempt{Endpoint: e.Name, Model: at.model, Start: now, Class: ClassUnserved, Verdict: verdict, PassedOver: why}
	switch at.state {
	case plan.CircuitOpen:
		a.Class = ClassCircuitOpen
	case plan.Paused:
		a.Class = ClassPaused
	case plan.AtLimit:
		a.Class = ClassLimited
	}
	r.notePassedOver(a)
}

// notePassedOver adds an endpoint that is passed over to the trail, and reports it once.
func (r *failoverRun) notePassedOver(a Attempt) {
	if r.call.log.passOver(a) && a.PassedOver != "" && len(r.observers) > 0 {
		r.observers.emit(r.call, a.event(KindPassedOver))
	}
}

// onlyChoice returns the first step of most calls: they have one endpoint, and it is ready.
func (r *failoverRun) onlyChoice(now time.Time) (step, bool) {
	if len(r.call.candidates) > 1 || len(r.triedAccounts) > 0 {
		return step{}, false
	}
	only := r.call.candidates[0]
	at := r.availability(r.call, only, now)
	return step{action: try, endpoint: only, model: at.model}, at.state == plan.Ready
}

// A shortlist is the candidates of one plan.
type shortlist struct {
	candidates []candidate
	states     []plan.Candidate // of the candidate with the same index
	blocked    bool             // some endpoint cannot take the call now
}

// survey appends to found each endpoint that could serve the call and whose account the
// call has not tried, with its availability.
func (r *failoverRun) survey(found shortlist, now time.Time) shortlist {
	for _, e := range r.call.candidates {
		if r.tried(e.Account) != nil {
			found.blocked = true
			continue
		}
		at := r.availability(r.call, e, now)
		found.blocked = found.blocked || at.state != plan.Ready && at.state != plan.SlowStart
		if at.state == plan.Unserved {
			continue
		}
		c, seen := plan.Candidate{Tier: e.tier, Availability: at.state}, candidate{endpoint: e, model: at.model}
		switch at.state {
		case plan.Ready:
			c.Away, c.Troubled = r.shifts(e, at.model, now)
			found.blocked = found.blocked || c.Away
		case plan.AtLimit:
			limiter := r.call.limiter(e, at.model)
			c.Wait, c.KeepsTier = limiter.Expected(now, r.call.turns()), !limiter.Spills()
		case plan.CircuitOpen:
			r.skippedOpen = true
			c.ProbeFailed = slices.Contains(r.probed, e)
			seen.probe, c.Wait = e.circuits.Get(r.call.circuitOf(at.model)).NextProbe(now)
			c.Probed = seen.probe != nil
		case plan.Paused:
			c.Wait = at.pause.Until.Sub(now)
			c.Quarantined, c.MayTry = at.quarantined, at.quarantined && e.mayTryQuarantined(now)
		}
		found.candidates = append(found.candidates, seen)
		found.states = append(found.states, c)
	}
	return found
}

// history returns what the call has done so far.
func (r *failoverRun) history(now time.Time) plan.History {
	h := plan.History{Last: -1, Patience: r.patience, Probes: r.probes}
	h.ProbeWait, h.OutcomeWait = r.probeWaits(now)
	for i, v := range r.triedAccounts {
		at := r.availability(r.call, v.endpoint, now)
		traits := outcome.Of(v.failure.Class)
		h.Tried = append(h.Tried, plan.Account{
			Tier: v.endpoint.tier, Availability: at.state, Pause: at.pause.Until.Sub(now), Backoff: v.due.Sub(now),
			Tries: v.tries, Passing: traits.Passing && !v.failure.NoRetry, KeepsTier: v.failure.KeepsTier,
		})
		if !v.failure.NoRetry {
			h.Tried[i].Insist = insistence(traits.RetryLast)
		}
		if at.state == plan.CircuitOpen {
			probe, wait := v.endpoint.circuits.Get(r.call.circuitOf(v.model)).NextProbe(now)
			if probe == nil {
				wait = max(wait, v.probeDue.Sub(now))
			}
			h.Tried[i].Probed = probe != nil && r.call.isSafe()
			if v.openSince.IsZero() {
				v.openSince = now
			}
			h.Tried[i].Probe, h.Tried[i].ProbeWait = wait, r.probePatience()-now.Sub(v.openSince)
		}
		if v == r.last {
			h.Last = i
		}
	}
	return h
}

// probePatience returns how long the call waits for an open circuit in all. One that is no
// inference has nowhere else to go, so it waits for its endpoint as long as an inference call
// waits for a better one.
func (r *failoverRun) probePatience() time.Duration {
	if r.call.isSafe() && r.maxProbeWait > 0 {
		return max(r.maxProbeWait, r.retry.Patience)
	}
	return r.maxProbeWait
}

// probeWaits returns how much longer the call may wait for its turn to probe an open
// circuit, and for the outcome of another call's probe. An outcome may take longer than a
// turn, because a host that is well may be slow, but it must leave half of the time until
// the caller's deadline.
func (r *failoverRun) probeWaits(now time.Time) (turn, outcome time.Duration) {
	since := r.probeSince
	if since.IsZero() {
		since = now
	}
	outcome = min(r.probePatience(), math.MaxInt64/outcomeWaits) * outcomeWaits
	if deadline, ok := r.call.Deadline(); ok {
		outcome = min(outcome, deadline.Sub(since)/2)
	}
	waited := now.Sub(since)
	return r.probePatience() - waited, outcome - waited
}

// probeAgainAfter returns how long the call waits before it probes an account again that
// has just failed. It divides the time that it may wait among the tries that are left.
func (r *failoverRun) probeAgainAfter(v *triedAccount, now time.Time) time.Duration {
	left := r.probePatience()
	if !v.openSince.IsZero() {
		left -= now.Sub(v.openSince)
	}
	return max(circuit.ForcedEvery, (left-1)/time.Duration(max(r.attempts()-v.tries, 1)))
}

// outcomeWaits is how many times as long as for its turn a call waits for an outcome.
const outcomeWaits = 3

// insistence returns up to how many tries the plan retries an endpoint after such a
// failure before it turns to a worse tier or to a stale answer.
func insistence(r outcome.RetryLast) int {
	switch r {
	case outcome.RetryOnce:
		return 1
	case outcome.RetryAlways:
		return math.MaxInt
	}
	return 0
}

// bounds returns the limits that policies and the caller's deadline set for the call.
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

// stepOf returns the step for what was planned, with the endpoint that it concerns.
func (r *failoverRun) stepOf(p plan.Step, found shortlist, now time.Time) step {
	var s step
	var at candidate
	switch p.Action {
	case plan.GiveUp:
		s.retryAfter = p.RetryAfter
	case plan.Retry:
		at = r.triedAgain(p.Index, now)
		s.action = try
		if p.Probe {
			s.action = tryProbe
		}
	default:
		s.action = try
		if p.Again {
			at = r.triedAgain(p.Index, now)
		} else {
			at = found.candidates[p.Index]
		}
	}
	switch p.Action {
	case plan.Try:
		if p.Fresh {
			at = r.chooseReady(found, p, now)
		}
	case plan.TryProbe:
		s.action = tryProbe
		r.findOpen(now)
	case plan.TryQuarantined:
		if !at.endpoint.claimQuarantinedTry(now) { // another call has just tried it
			return r.next(now)
		}
	case plan.AwaitProbe:
		s.action, s.probe = awaitProbe, at.probe
		r.findOpen(now)
		if p.Again && s.probe == nil { // another call may close the circuit meanwhile
			p.Wait = min(p.Wait, circuit.ForcedEvery)
		}
	}
	s.endpoint, s.model, s.wait = at.endpoint, at.model, p.Wait
	switch p.Blocked {
	case plan.CircuitOpen:
		s.blocked = ClassCircuitOpen
	case plan.Paused:
		s.blocked = ClassPaused
		s.pause = r.availability(r.call, found.candidates[p.Soonest].endpoint, now).pause
	}
	return s
}

// triedAgain returns an account that the call has tried as a candidate.
func (r *failoverRun) triedAgain(index int, now time.Time) candidate {
	v := r.triedAccounts[index]
	c := candidate{endpoint: v.endpoint, model: v.model}
	if of := v.endpoint.circuits.Lookup(r.call.circuitOf(v.model)); of != nil {
		c.probe, _ = of.NextProbe(now)
	}
	return c
}

// findOpen notes when the call first found nothing but an open circuit.
func (r *failoverRun) findOpen(now time.Time) {
	if r.probeSince.IsZero() {
		r.probeSince = now
	}
}

// chooseReady picks the endpoint for the call among the ready candidates of the planned tier
// that are as good as the planned one.
func (r *failoverRun) chooseReady(found shortlist, p plan.Step, now time.Time) candidate {
	ready, first := found.candidates[:0], found.states[p.Index]
	for i, c := range found.candidates {
		at := found.states[i]
		if at.Availability == plan.Ready && at.Tier == first.Tier && (at.Fits(p.Shift) || !first.Fits(p.Shift)) {
			ready = append(ready, c)
		}
	}
	if r.cheapest && len(ready) > 1 {
		ready = r.cheapestOf(ready, now)
	}
	return r.choose(ready, now)
}

// cheapestOf returns those of some candidates at which the call costs least.
func (r *failoverRun) cheapestOf(candidates []candidate, now time.Time) []candidate {
	p := &r.call.params
	tokens := price.Tokens{Prompt: 1 + int(p.TextBytes)*3/10, Output: usualAnswer}
	if p.MaxTokens > 0 {
		tokens.Output = min(p.MaxTokens, usualAnswer)
	}
	var home *balance.Target // where the conversation's prompt is cached
	if r.affinity != nil && r.call.conversation != 0 {
		home = r.affinity.Served(r.call.conversation)
	}
	cheapest, least := candidates[:0:len(candidates)], math.Inf(1)
	for _, c := range candidates {
		cost := math.MaxFloat64
		if rate := c.endpoint.rateOf(r.call.op, c.model); rate != nil {
			of := tokens
			if &c.endpoint.Target == home {
				of.Cached = of.Prompt
			}
			cost = rate.Cost(of, now)
		}
		if cost < least {
			cheapest, least = cheapest[:0], cost
		}
		if cost == least {
			cheapest = append(cheapest, c)
		}
	}
	return cheapest
}

// usualAnswer is how many tokens an answer is taken to have, if the call allows so many.
const usualAnswer = 500

// shifts reports whether the call's first attempt should go away from an endpoint that is in
// trouble, and whether none should come to it because another one is. A renewal stays: nobody
// waits for it, and it shows how the endpoint is.
func (r *failoverRun) shifts(e *upstream, model string, now time.Time) (away, troubled bool) {
	if r.policy.Shift == 0 || r.begun > 0 || r.call.isSafe() || r.call.resumption != nil || r.call.renewal.isSpare() {
		return false, false
	}
	share := e.shares.Lookup(model).Of(now, 1-r.policy.Shift)
	if share == 1 {
		return false, false
	}
	if r.draw == 0 {
		u := float64(r.random(1<<30)) / (1 << 30)
		if r.call.conversation != 0 {
			u = shift.Draw(r.call.conversation)
		}
		r.draw = 1 - u // above 0
	}
	return r.draw <= 1-share, true
}

// A candidate is an endpoint that could serve the call, with the name that it has for the
// call's model.
type candidate struct {
	endpoint *upstream
	model    string
	probe    *circuit.Probe // the probe of another call that is under way, if the circuit is open; else nil
}

// choose picks one of a tier's candidates by the balancing strategy. The candidates come
// in the tier's rotated order.
func (r *failoverRun) choose(candidates []candidate, now time.Time) candidate {
	if len(candidates) == 1 {
		return candidates[0]
	}
	targets := r.call.targets[:0]
	for _, c := range candidates {
		targets = append(targets, &c.endpoint.Target)
	}
	return candidates[r.balance.Pick(now, r.call.conversation, targets)]
}

// attempts returns how many times the call may try one account.
func (r *failoverRun) attempts() int {
	if r.call.resumption != nil {
		return 1 // the caller is waiting in the middle of an answer
	}
	return r.call.attempts(r.retry.Attempts)
}

// attempts returns how many times the call may try one account; def is
// RetryPolicy.Attempts.
func (c *Call) attempts(def int) int {
	if c.Attempts != 0 {
		return max(c.Attempts, 1)
	}
	return def
}

// takeExtra takes an extra attempt, which an attempt at e made necessary, out of the budget
// of e's account. If the budget is spent, it records that and returns false. It is the
// callers': a renewal that failed is made anew when the answer is asked for again.
func (r *failoverRun) takeExtra(now time.Time, e *upstream, model string) bool {
	if r.call.renewal.isSpare() {
		return false
	}
	if e.budget.Take(now) {
		r.owed, r.owedSince = e.budget, now
		return true
	}
	r.denied = true
	denied := func(t *Attempt) { t.Denied = true }
	switch v := r.tried(e.Account); {
	case v != nil:
		r.call.log.update(v.place, denied)
	case r.call.resumption != nil:
		r.call.log.update(r.call.resumption.place, denied)
	}
	r.observers.emit(r.call, Event{Kind: KindBudget, Endpoint: e.Name, Model: model})
	return false
}

// returnExtra gives back an extra attempt that was taken and not made: the caller has left,
// the plan has changed, or an Observer has panicked.
func (r *failoverRun) returnExtra() {
	if r.owed != nil {
		r.owed.Return(r.owedSince)
		r.owed = nil
	}
}

// An availability says how an endpoint could serve a call at one moment.
type availability struct {
	state       plan.Availability
	model       string               // the endpoint's name for the call's model
	pause       pause.Pause[refusal] // the longest pause that concerns the call, if state is Paused
	quarantined bool                 // no host asked for the pause: a person may have mended its cause
	why         Reason               // why it is not served
}

// reason returns why the call does not go there at once; empty: it could.
func (at *availability) reason() Reason {
	switch at.state {
	case plan.CircuitOpen:
		return ReasonCircuit
	case plan.AtLimit:
		return ReasonLimit
	case plan.Paused:
		if at.quarantined {
			return ReasonQuarantine
		}
		return ReasonPaused
	}
	return at.why
}

// availability reports how e could serve the call now.
func (f *fleet) availability(c *call, e *upstream, now time.Time) availability {
	if c.isSafe() {
		return f.availabilityToSafe(c, e, now)
	}
	model, why := c.assess(e)
	if why == "" {
		why = c.excluded.forbids(e, model)
	}
	if why != "" {
		return availability{why: why}
	}
	at := availability{model: model}
	if f.pauses.Any() {
		at.quarantined = true
		keys := c.pauseKeys(e, model)
		for scope := outcome.ScopeEndpoint; scope <= outcome.ScopeModel; scope++ {
			p, ok := f.pauses.Get(keys.of(scope), now)
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
	case !state.Ready, c.fallback && state.Tripped: // a call with a fallback leaves probes to other calls
		at.state = plan.CircuitOpen
	case !c.limiter(e, model).Free(now):
		at.state = plan.AtLimit
	case state.SlowStart:
		at.state = plan.SlowStart
	default:
		at.state = plan.Ready
	}
	return at
}

// availabilityToSafe is availability for a call that is no inference. It heeds what the host
// said to such calls, and to those of any model if it has answered nothing since: then the
// host is meant, or is down, and not one model.
func (f *fleet) availabilityToSafe(c *call, e *upstream, now time.Time) (at availability) {
	if _, p, ok := f.pauseOfSafe(c, e, now); ok {
		at.state, at.pause = plan.Paused, p
		return at
	}
	at.state = plan.Ready
	own := e.circuits.Get(otherRequests)
	if own == nil {
		return at
	}
	if other := e.circuits.OpenedSince(e.lastAnswer(), now, otherRequests); other != nil {
		own.OpenWith(other, now)
	}
	if !own.Standing(now, 0).Ready {
		at.state = plan.CircuitOpen
	}
	return at
}

// pauseOfSafe returns the pause of e that a call which is no inference heeds, if there is one.
func (f *fleet) pauseOfSafe(c *call, e *upstream, now time.Time) (key pauseKey, p pause.Pause[refusal], ok bool) {
	if !f.pauses.Any() {
		return key, p, false
	}
	asker := c.askerAt(e)
	return f.pauses.Longest(now, func(k pauseKey, p *pause.Pause[refusal]) bool {
		if !k.concerns(e) || k.credential != (header.Credential{}) && k.credential != asker {
			return false
		}
		return k.model == otherRequests || p.Asked.After(now) && !e.hasAnsweredSince(p.Since, asker)
	})
}

// eligible returns the name under which e serves the call's model, or false if e must not
// or cannot serve the call.
func (c *call) eligible(e *upstream) (string, bool) {
	model, why := c.assess(e)
	return model, why == ""
}

// assess returns the name under which e serves the call's model, or why the call passes e
// over. The endpoint that the call is meant for is passed over only if another one has what
// the call needs and that one lacks.
func (c *call) assess(e *upstream) (model string, why Reason) {
	model, why = c.considers(e)
	if why != "" || c.params.Needs == 0 {
		return model, why
	}
	lacks := c.lacks(e, model)
	if lacks == 0 || e == c.target && !c.isMetElsewhere() {
		return model, ""
	}
	return "", Reason(featureOf(lacks))
}

// considers returns the name under which e serves the call's model, or why e is out of the
// question whatever else the call needs.
func (c *call) considers(e *upstream) (model string, why Reason) {
	switch {
	case c.isSafe():
		return "", ""
	case c.continues() && !e.continues(c.op, c.resumption.reasoned):
		return "", Reason(featureOf(beginningOf(c.op)))
	}
	if e != c.target {
		if c.upload != nil || c.encoded {
			return "", ReasonBody
		}
		if _, ok := e.paths.RootOf(c.op); !ok {
			return "", ReasonOperation
		}
	}
	model, ok := e.serves(c.op, c.params.Model, c.target)
	if !ok {
		return "", ReasonModel
	}
	return model, ""
}

// lacks returns what the call needs and e does not have. model is the name of the call's
// model there.
func (c *call) lacks(e *upstream, model string) request.Needs {
	needs := c.params.Needs &^ e.can
	switch {
	case e == c.target:
		needs &^= request.Stored | request.OfHost | request.Prefix // some hosts know prefixes that the table does not
	case e.profile.IsSame(c.target.profile), e.origin == c.target.origin:
		needs &^= request.OfHost | request.Prefix
	}
	if e.profile.Generic && c.goesTo(e) { // the caller knows its host better than the table does
		needs &^= request.Special
	}
	if ordinary := needs &^ (request.Special | request.OfHost | request.Stored); ordinary != 0 {
		facts := e.profile.FactsOf(e.profile.Behind(c.op, model))
		if facts.TooLong(c.params.LeastTokens) {
			facts.Lacks |= request.Length
		}
		needs &^= ordinary &^ facts.Lacks
	}
	return needs
}

// measure counts the tokens of a prompt that may be too long for an endpoint, if the call
// has a choice.
func (c *call) measure() {
	p := &c.params
	if p.TextBytes <= host.ShortestContext || len(c.candidates) == 1 {
		return
	}
	for _, e := range c.candidates {
		model, why := c.considers(e)
		if why == "" && e.profile.FactsOf(e.profile.Behind(c.op, model)).TooLong(p.TextBytes) { // no token is shorter than a byte
			p.LeastTokens = request.MeasureTokens(c.body())
			p.Needs |= request.Length
			return
		}
	}
}

// isMetElsewhere reports whether another endpoint than the one that the call is meant for
// has all that the call needs.
func (c *call) isMetElsewhere() bool {
	for _, e := range c.candidates {
		if e == c.target {
			continue
		}
		if model, why := c.considers(e); why == "" && c.lacks(e, model) == 0 {
			return true
		}
	}
	return false
}

// tried returns what the call knows of an account that it has tried, or nil. Endpoints of
// one account count as one, because they share its limits.
func (r *failoverRun) tried(account string) *triedAccount {
	for _, v := range r.triedAccounts {
		if v.account == account {
			return v
		}
	}
	return nil
}

// hasAlternative reports whether the call could go to another endpoint than this one now,
// at an account that it has not tried.
func (f *fleet) hasAlternative(c *call, than *upstream) bool {
	now := time.Now()
	worst := math.MaxInt // a limit keeps the call in this tier
	for _, e := range c.candidates {
		if e.tier > worst || e.Account == than.Account || c.excluded.inUse(e.Account) {
			continue
		}
		switch at := f.availability(c, e, now); at.state {
		case plan.Ready, plan.SlowStart:
			return true
		case plan.AtLimit:
			limiter := c.limiter(e, at.model)
			left := time.Duration(math.MaxInt64)
			if deadline, ok := c.Deadline(); ok {
				left = deadline.Sub(now)
			}
			if limiter.Admits(now, left, c.turns()) {
				return true
			}
			if !limiter.Spills() {
				worst = e.tier
			}
		}
	}
	return false
}

// A pauseKey names what is paused: an endpoint, an account, a model of an account for one
// credential, or a model of an endpoint for one operation and one credential. Fields that
// do not matter are zero.
type pauseKey struct {
	endpoint   string // an upstream's identity
	account    string // an upstream's payer
	model      string
	op         request.Operation
	credential header.Credential
}

// concerns reports whether an endpoint or its account is paused.
func (k *pauseKey) concerns(e *upstream) bool {
	return k.endpoint == e.identity || k.account == e.payer
}

// pauseKeys are the keys of the pauses that concern a call at an endpoint, one
// for each scope.
type pauseKeys [4]pauseKey

// of returns the key of a scope.
func (k *pauseKeys) of(s outcome.Scope) pauseKey { return k[s-1] }

func (c *call) pauseKeys(e *upstream, model string) pauseKeys {
	asker, model := c.askerAt(e), c.circuitOf(model)
	return pauseKeys{ // a rate limit and a missing model depend on the credential
		outcome.ScopeEndpoint - 1: {endpoint: e.identity},
		outcome.ScopeAccount - 1:  {account: e.payer},
		outcome.ScopeLimit - 1:    {account: e.payer, model: model, credential: asker},
		outcome.ScopeModel - 1:    {endpoint: e.identity, model: model, op: c.op, credential: asker},
	}
}

// askerAt returns the credential that an endpoint hears from, if that is the caller's: what a
// host says to one credential concerns no other.
func (c *call) askerAt(e *upstream) (asker header.Credential) {
	if !e.keyed {
		asker = c.credential()
	}
	return asker
}

// applyRetryAfter pauses what the failure concerns, if the host asked for a pause or the
// failure earns one. sent is when the request was.
func (f *fleet) applyRetryAfter(c *call, e *upstream, model string, failure *exchange.Failure, sent, now time.Time) {
	traits, wait := outcome.Of(failure.Class), failure.RetryAfter
	if traits.Pause == outcome.ScopeNone || !failure.Asked && !traits.EarnsPause {
		return
	}
	keys := c.pauseKeys(e, model)
	key := keys.of(traits.Pause)
	if traits.EarnsPause {
		// A host that asks for one second each time would be asked each second, so pauses
		// double. One try speaks for all callers, so a pause may grow beyond the backoff
		// of one call. While the host takes others, a limiter that sends less is rest enough.
		longest := 2 * min(f.retry.MaxDelay, math.MaxInt64/2)
		if limiter := c.limiter(e, model); !failure.Asked && !c.isSafe() && limiter.Adapts() {
			if !limiter.Doubts() {
				return
			}
			longest = f.retry.MinDelay
		}
		if !failure.Asked || wait > 0 {
			wait = max(wait, f.pauses.Penalize(key, sent, now, f.retry.MinDelay, longest, c.refusalOf(failure)))
		}
	}
	if failure.Asked {
		f.pauses.Ask(key, now, failure.RetryAfter, c.refusalOf(failure))
	}
	f.observers.emit(c, Event{Kind: KindPause, Endpoint: e.Name, Model: model, Class: failure.Class, Wait: wait})
}

// A refusal is the host's answer that caused a pause. Calls that the pause keeps away from
// the host get the same answer if their caller has the same credential: the words may name
// its organisation or quote its prompt.
type refusal struct {
	asker       header.Credential
	unread      bool // the body belongs to the caller who got it
	status      int
	contentType string
	body        []byte
}

// maxKeptRefusal is how many bytes of one refusal are kept at most.
const maxKeptRefusal = 16 << 10

// refusalOf returns what f's host answered to the call, or nil if that is nothing or too
// large to keep.
func (c *call) refusalOf(f *exchange.Failure) *refusal {
	if f.Resp == nil {
		return nil
	}
	contentType := header.First(f.Resp.Header, "Content-Type")
	if len(f.Body)+len(contentType) > maxKeptRefusal {
		return nil
	}
	return &refusal{asker: c.credential(), unread: f.Open, status: f.Status, contentType: contentType, body: f.Body}
}

// size returns about how many bytes the refusal takes.
func (r *refusal) size() int { return len(r.contentType) + cap(r.body) }

// A failoverRun is the loop of one call, with what it has learnt so far. It ends with the
// loop. What attempts need later is in the call.
type failoverRun struct {
	*fleet
	call        *call
	at          time.Time     // the time of the latest decision
	n           int           // attempts that have ended
	begun       int           // attempts, including those under way
	rested      time.Duration // how long the call has waited for pauses and backoffs
	patience    time.Duration // how much longer the call may wait for a better endpoint
	probes      int           // attempts made at open circuits
	probed      []*upstream   // endpoints whose probe by another call was waited for
	probeSince  time.Time     // when the call first found nothing but an open circuit; zero: it did not
	waitsSince  time.Time     // when the call first waited; zero: it did not
	inTurn      bool          // it has just waited in a line, for the next attempt
	replans     int           // how many pauses began while the call waited for another one to end
	final       *step         // how the call ends, if a race decided that before the loop does
	skippedOpen bool          // an endpoint was left out because its circuit was open
	draw        float64       // decides how high an endpoint's share must be for the call's first attempt: see shifts; 0: not drawn yet
	lostProbeAt time.Time     // when the call last lost its turn to probe to another one: see lostTurn
	denied      bool          // the budget allowed no further attempt
	elsewhere   bool          // a rescue that must not use the account whose stream broke

	owed      *budget.Budget // an extra attempt was taken out of it that is not made yet; nil: none was
	owedSince time.Time

	triedAccounts []*triedAccount
	last          *triedAccount
	firstFailure  *exchange.Failure // the first failure
	shownFailure  *exchange.Failure // the failure whose response the caller gets if no endpoint answers
	shownBy       *upstream         // the endpoint that gave this response
}

func (f *fleet) newRun(c *call) failoverRun {
	return failoverRun{fleet: f, call: c, patience: f.retry.Patience}
}

// A triedAccount is what the call knows of an account that it has tried.
type triedAccount struct {
	account   string
	endpoint  *upstream // the account's endpoint that was tried last
	model     string
	tries     int // 0: the attempts ended before they were sent
	failure   *exchange.Failure
	place     int             // of the latest attempt, in the trail
	delays    backoff.BackOff // of this account in this call
	due       time.Time       // when its backoff ends
	probeDue  time.Time       // when the call may probe it again
	openSince time.Time       // when the call first found its circuit open
}

// now reads the clock for a decision, and keeps the time in r.at.
func (r *failoverRun) now() time.Time {
	r.at = time.Now()
	return r.at
}
