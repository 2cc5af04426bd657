package breakwater

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/pause"
	"github.com/breakwater-go/breakwater/internal/plan"
	"github.com/breakwater-go/breakwater/internal/request"
)

// A failover is the innermost layer of a call. It makes the call's attempts in one loop,
// within the budgets of their accounts.
type failover struct{ *fleet }

// RoundTrip makes attempts at endpoints until one answers.
func (f *failover) RoundTrip(req *http.Request) (*http.Response, error) {
	c := callOf(req.Context())
	if c.resumption != nil {
		return f.resume(c)
	}
	r := f.newRun(c)
	if c.Err() != nil {
		r.closeUnsent()
		return nil, context.Cause(c) // a call that is over is not a failure of the endpoints
	}
	c.conversation = f.conversationOf(c)
	if c.upload != nil {
		defer r.closeUnsent()
	}
	defer c.excluded.forgetTried()
	if c.isSafe() {
		return r.loopOfSafe()
	}
	r.noteUnmet()
	return r.loop()
}

// loopOfSafe is loop for a call that is no inference. The answers of its attempts are open
// until the caller has them, so if the caller does not get the last one, it is closed here.
func (r *failoverRun) loopOfSafe() (resp *http.Response, err error) {
	defer func() {
		last := r.shownFailure
		if x := asExhausted(err); last != nil && last.Open && resp == nil && (x == nil || x.resp == nil) {
			last.Resp.Body.Close()
		}
	}()
	return r.loop()
}

// noteUnmet adds to the trail the endpoints that do not have what the call needs. Few calls
// need anything special, so their trails begin with these endpoints even if all goes well.
func (r *failoverRun) noteUnmet() {
	c := r.call
	if c.params.Needs == 0 || len(c.candidates) == 1 {
		return
	}
	for _, e := range c.candidates {
		if _, why := c.considers(e); why == "" {
			r.noteUnserved(e)
		}
	}
}

// noteUnconsidered adds to the trail of a call that failed the other endpoints that it
// passed over.
func (r *failoverRun) noteUnconsidered() {
	for _, e := range r.call.candidates {
		if _, why := r.call.considers(e); why != "" {
			r.noteUnserved(e)
		}
	}
}

// noteUnspilled adds to the trail of a call that failed the endpoints to which a limit of the
// user's own did not let it go.
func (r *failoverRun) noteUnspilled() {
	for _, v := range r.triedAccounts {
		for _, e := range r.call.candidates {
			if v.failure.KeepsTier && e.tier > v.endpoint.tier && !r.call.log.asked(e.Name) {
				r.notePassedOver(Attempt{Endpoint: e.Name, Start: r.now(), Class: ClassUnserved, Verdict: VerdictElsewhere, PassedOver: ReasonSpill})
			}
		}
	}
}

// noteUnserved adds an endpoint to the trail if it cannot serve the call.
func (r *failoverRun) noteUnserved(e *upstream) {
	if _, why := r.call.assess(e); why != "" {
		r.notePassedOver(Attempt{Endpoint: e.Name, Start: r.now(), Class: ClassUnserved, Verdict: VerdictElsewhere, PassedOver: why})
	}
}

// resume makes attempts to continue a call whose stream broke: first at other accounts,
// then at the same one. Each attempt is an extra one and takes from the budget. The answer
// is always an *exchange.Stream.
func (f *failover) resume(c *call) (*http.Response, error) {
	var tried []*triedAccount
	why, denied := ReasonUnavailable, false
	defer c.excluded.forgetTried()
	for _, account := range [...]string{c.resumption.endpoint.Account, ""} {
		if c.Err() != nil {
			break
		}
		c.excluded.broke(account)
		r := f.newRun(c)
		r.begun, _ = c.log.sum()
		r.elsewhere, r.triedAccounts, r.denied = account != "", tried, denied
		r.patience = 0 // the caller waits in the middle of an answer
		resp, err := r.loop()
		tried, denied = r.triedAccounts, r.denied
		if err != nil {
			why = r.unrescued()
			continue
		}
		if exchange.KindOf(resp.Body) == exchange.KindStream {
			return resp, nil
		}
		resp.Body.Close()
		why = ReasonFailed
	}
	if c.Err() != nil {
		why = ReasonCaller
	}
	return nil, noRescue(why)
}

// unrescued returns why no attempt of a rescue answered.
func (r *failoverRun) unrescued() Reason {
	for _, v := range r.triedAccounts {
		if v.tries > 0 {
			return ReasonFailed
		}
	}
	if r.denied {
		return ReasonBudget
	}
	return ReasonUnavailable
}

// A noRescue is the error of a call that continues no stream. It says why.
type noRescue Reason

func (noRescue) Error() string { return "breakwater: no rescue" }

// conversationOf returns the key of the call's conversation, or 0 if it has none or is too
// short to be kept at one endpoint. Other processes compute the same key.
func (f *fleet) conversationOf(c *call) uint64 {
	if f.affinity == nil || len(c.candidates) < 2 || len(c.body()) < f.minPrompt {
		return 0
	}
	return request.ConversationKey(c.body())
}

// loop makes attempts until one answers or none is left to make.
func (r *failoverRun) loop() (*http.Response, error) {
	defer r.returnExtra()
	s := r.next(r.now())
	for {
		switch s.action {
		case noneLeft, showRefusal:
			return r.giveUp(s)
		case abort:
			return nil, s.err
		}
		if s.wait > 0 && (r.elsewhere || r.givesWay(s)) { // another account is only a preference, so do not wait for it
			return r.giveUp(step{})
		}
		awaited := r.awaitedPause(s)
		if r.isTooLate(s, awaited) {
			r.patience = 0
			s = r.next(r.now())
			continue
		}
		if err := r.wait(s); err != nil {
			return nil, err
		}
		if s.action == awaitProbe {
			if err := r.afterAwait(s); err != nil {
				return r.endInLine(s, err)
			}
			s = r.next(r.now())
			continue
		}
		if s.wait > 0 {
			p, err := r.afterWait(s, awaited)
			if err != nil {
				return r.endInLine(s, err)
			}
			if !p.Until.IsZero() {
				s = r.waitOn(p)
				continue
			}
		}
		if !r.count(s) {
			return r.giveUp(step{})
		}
		owed := r.owed
		r.owed = nil
		a, resp, failure := r.race(s)
		if failure == nil {
			return resp, nil
		}
		if outcome.Of(failure.Class).Local { // nothing was sent, so the budget gets it back
			r.owed = owed
		}
		s = r.decide(a, failure)
		a.report(s)
	}
}

// count tells the budget of the step's account about the call, or takes an attempt out of it
// for a rescue. It reports false if none is left.
func (r *failoverRun) count(s step) bool {
	switch of := r.call.resumption; {
	case s.key != "": // it takes the place of an attempt that was counted
	case of != nil:
		return r.takeExtra(time.Now(), of.endpoint, of.model)
	case r.tried(s.endpoint.Account) == nil:
		s.endpoint.budget.Call(r.startOf(s))
	}
	return true
}

// closeUnsent closes an upload if no attempt was sent, because only the end of an attempt
// closes it otherwise.
func (r *failoverRun) closeUnsent() {
	if r.n == 0 && r.call.upload != nil {
		r.call.upload.Close()
	}
}

// givesWay reports whether the step is one of a renewal that would wait together with
// callers, for the end of a pause or a probe: all of them have turns then.
func (r *failoverRun) givesWay(s step) bool {
	return r.call.renewal.isSpare() && (s.action == awaitProbe || r.availability(r.call, s.endpoint, time.Now()).state == plan.Paused)
}

// wait waits as the step says. It returns an error only if the caller leaves.
func (r *failoverRun) wait(s step) error {
	if s.wait <= 0 {
		return nil
	}
	r.observers.emit(r.call, Event{Kind: KindWait, Endpoint: s.endpoint.Name, Model: s.model, Attempt: r.n + 1, Wait: s.wait})
	if r.waitsSince.IsZero() {
		r.waitsSince = time.Now()
	}
	if s.probe != nil {
		return s.probe.Await(r.call, s.wait)
	}
	if r.last == nil || s.endpoint.tier < r.last.endpoint.tier || s.endpoint == r.last.endpoint {
		r.patience -= s.wait
	}
	r.rested += s.wait
	return sleep(r.call, s.wait)
}

// An awaited pause is one for whose end a call waits, together with others; zero: it waits
// for none.
type awaitedPause struct {
	key   pauseKey
	until time.Time
	away  bool // the host asked for it, and serves nobody
	turn  int  // its turn among them
}

// awaitedPause returns the pause for whose end the step waits.
func (r *failoverRun) awaitedPause(s step) (p awaitedPause) {
	if s.wait <= 0 || s.action == awaitProbe || !r.pauses.Any() {
		return p
	}
	key, last, ok := r.lastingPause(s, time.Now())
	if ok && !r.spreads(s, key) {
		p = awaitedPause{key, last.Until, !last.Asked.IsZero(), r.pauses.Turn(key)}
	}
	return p
}

// spreads reports whether the queue of a learned rate spreads those who wait for the pause.
func (r *failoverRun) spreads(s step, key pauseKey) bool {
	if r.call.isSafe() {
		return false
	}
	keys := r.call.pauseKeys(s.endpoint, s.model)
	return key == keys.of(outcome.ScopeLimit) && r.call.limiter(s.endpoint, s.model).Paces()
}

// lastingPause returns the pause that ends last for the step's endpoint.
func (r *failoverRun) lastingPause(s step, now time.Time) (key pauseKey, last pause.Pause[refusal], ok bool) {
	if r.call.isSafe() {
		return r.pauseOfSafe(r.call, s.endpoint, now)
	}
	keys := r.call.pauseKeys(s.endpoint, s.model)
	for _, k := range keys {
		if p, lasts := r.pauses.Get(k, now); lasts && p.Until.After(last.Until) {
			key, last, ok = k, p, true
		}
	}
	return key, last, ok
}

// isTooLate reports whether the call's turn behind the pause is expected after the time that
// it may wait for a better endpoint, while another one could serve it.
func (r *failoverRun) isTooLate(s step, p awaitedPause) bool {
	if p.turn == 0 || r.patience <= 0 || !r.hasAlternative(r.call, s.endpoint) {
		return false
	}
	now := time.Now()
	return r.lineOf(s).Expected(now, p.turn, behindPause(p)).Sub(now) > r.patience
}

// afterAwait notes that the call has waited for a probe or for its turn to probe, and waits
// for its turn to follow a probe that succeeded meanwhile. If the probe failed, the call
// need not try that endpoint; if it is still under way, others may follow.
func (r *failoverRun) afterAwait(s step) error {
	if s.probe == nil { // it waited for its turn to probe, and another call may have been faster
		s.probe = s.endpoint.circuits.Get(r.call.circuitOf(s.model)).ClosedBy(r.now())
	}
	if s.probe == nil || !s.probe.Done() {
		return nil
	}
	r.probed = append(r.probed, s.endpoint)
	return r.followProbe(s)
}

// afterWait waits for the call's turn behind the pause, if it waited for one, and looks at
// the step's endpoint again. It returns the pause that began meanwhile, if one did. If the
// circuit is open meanwhile and another call probes it, afterWait waits for that.
func (r *failoverRun) afterWait(s step, p awaitedPause) (pause.Pause[refusal], error) {
	at := r.availability(r.call, s.endpoint, time.Now())
	if !p.until.IsZero() && at.state != plan.Paused && !r.spreads(s, p.key) {
		p.away = p.away && !s.endpoint.isServing(time.Now())
		if err := r.takeTurn(s, behindPause(p)); err != nil {
			return at.pause, err
		}
		at = r.availability(r.call, s.endpoint, time.Now())
	}
	if at.state != plan.CircuitOpen || s.action != try || r.call.fallback || r.elsewhere {
		return at.pause, nil
	}
	now := time.Now()
	probe, wait := s.endpoint.circuits.Get(r.call.circuitOf(s.model)).NextProbe(now)
	_, left := r.probeWaits(now)
	if wait = min(wait, left); probe == nil || wait <= 0 {
		return at.pause, nil
	}
	r.findOpen(now)
	if err := probe.Await(r.call, wait); err != nil {
		return at.pause, err
	}
	if s.probe = probe; probe.Done() {
		if err := r.followProbe(s); err != nil {
			return at.pause, err
		}
	}
	return r.availability(r.call, s.endpoint, time.Now()).pause, nil
}

// followProbe waits for the call's turn to follow the probe that it waited for, if that has
// closed the circuit.
func (r *failoverRun) followProbe(s step) error {
	now := time.Now()
	if at := r.availability(r.call, s.endpoint, now); at.state != plan.Ready && at.state != plan.SlowStart {
		return nil
	}
	ended, took := s.probe.Ended()
	step := min(max(took/4, minRampStep), maxRampStep)
	return r.takeTurn(s, circuit.Growth{Began: ended, AtOnce: afterProbe, Step: step, Away: true})
}

const (
	afterProbe = 4 // so many of those who waited for a probe follow it at once
	// The step of those after them is a quarter of what the probe took, within these. A
	// longer one would cost more answers, of a host that is up for some seconds only, than
	// the load costs.
	minRampStep, maxRampStep = 25 * time.Millisecond, 250 * time.Millisecond
	// pauseStep is the step of those who waited for a pause. Nothing shows that the host is
	// well then, so the first of them goes alone.
	pauseStep = 500 * time.Millisecond
)

// behindPause returns how the first of those go who waited for a pause.
func behindPause(p awaitedPause) circuit.Growth {
	return circuit.Growth{Began: p.until, AtOnce: 1, Step: pauseStep, Away: p.away}
}

// lineOf returns the line of those who wait for the step's endpoint and model.
func (r *failoverRun) lineOf(s step) *circuit.Line {
	return s.endpoint.circuits.Line(r.call.circuitOf(s.model))
}

// errTooLate is the error of a call whose turn did not come in time.
var errTooLate = errors.New("breakwater: the turn came too late")

// takeTurn waits for the call's turn among those who waited as it did. If that leaves too
// little time for the answer, the error is errTooLate: the host would work in vain, and if
// all went at the end of their time, they would be a herd again.
func (r *failoverRun) takeTurn(s step, g circuit.Growth) error {
	var limit time.Time
	if deadline, ok := r.call.Deadline(); ok {
		needs := s.endpoint.circuits.Get(r.call.circuitOf(s.model)).Latency(latencyKind(&r.call.params)).Usual()
		if needs == 0 {
			needs = time.Until(deadline) / 2
		}
		limit = deadline.Add(-needs)
	}
	began := time.Now()
	came, err := r.lineOf(s).Wait(r.call, r.waitsSince, g, limit)
	r.rested += time.Since(began)
	switch {
	case err != nil:
		return err
	case !came:
		return errTooLate
	}
	r.inTurn = true
	return nil
}

// endInLine ends a call whose turn did not come in time, or whose caller has left.
func (r *failoverRun) endInLine(s step, err error) (*http.Response, error) {
	switch {
	case err != errTooLate:
		return nil, err
	case s.action == awaitProbe:
		return r.giveUp(step{blocked: ClassCircuitOpen, retryAfter: time.Second})
	}
	return r.giveUp(step{blocked: ClassPaused, retryAfter: time.Second})
}

// giveUp ends a call that no endpoint answered. If the endpoints failed, and the request
// is not at fault, the error is an *exhausted. A call that is no inference gets a host's
// answer or an error, and none of our own: nobody knows what form it expects.
func (r *failoverRun) giveUp(s step) (*http.Response, error) {
	c := r.call
	if c.resumption != nil { // the caller gets the error that broke its stream
		return nil, noRescue(r.unrescued())
	}
	if len(r.triedAccounts) == 0 {
		if s.blocked == "" {
			s.blocked = ClassUnserved
		}
		r.blocked(s)
	}
	r.noteUnconsidered()
	r.noteUnspilled()
	failure := r.failure(s)
	shown := r.shownFailure
	switch refused := s.action == showRefusal || shown != nil && (shown.Usable || !outcome.Of(shown.Class).OfFleet); {
	case refused && shown != nil && shown.Usable: // an answer, although a flawed one
		c.flawed = true
		return r.lastAnswer(s, failure), nil
	case refused && shown != nil && !shown.Empty:
		c.how, c.byOwn = endingOf(Outcome(shown.Class)), shown.PassThrough || shown.CallersKey
		return r.lastAnswer(s, failure), nil
	case refused:
		c.setFailure(failure)
		return r.lastAnswer(s, failure), nil
	}
	c.setFailure(failure)
	x := &exhausted{failure: failure}
	x.unprobed = r.firstFailure == nil || r.skippedOpen || r.last != nil && r.last.failure.Class == ClassNoFirstToken
	if r.answers(s) {
		x.resp = r.lastAnswer(s, failure)
	}
	return nil, x
}

// answers reports whether the caller of a call that ends with s gets a response, and not an
// error. If the call is no inference, that is only what a host has answered, to it or to
// others.
func (r *failoverRun) answers(s step) bool {
	hosts := r.shownFailure != nil || s.pause.Note != nil && len(r.triedAccounts) == 0
	return !r.asErrors && (hosts || !r.call.isSafe())
}

// failure returns the error of a call that no endpoint answered.
func (r *failoverRun) failure(s step) *Error {
	e := r.call.newError(r.failedIn(s))
	e.RetryAfter = max(s.retryAfter, 0)
	for _, v := range r.triedAccounts {
		if limit, ok := errors.AsType[*LimitError](v.failure.Err); ok && limit.RetryAfter > 0 && (e.RetryAfter == 0 || limit.RetryAfter < e.RetryAfter) {
			e.RetryAfter = limit.RetryAfter
		}
		if spent, ok := errors.AsType[*SpendError](v.failure.Err); ok && e.RetryAfter == 0 {
			e.RetryAfter = spent.RetryAfter
		}
	}
	if e.Class == ClassUnserved && r.call.Endpoint != "" {
		e.why = r.call.unmapped(r.call.candidates[0])
	}
	return e
}

// unmapped says that e, the only endpoint of the call, has no name for the call's model, if
// that is why it does not serve the call. It lists the names that e has.
func (c *call) unmapped(e *upstream) string {
	known := e.names.Known()
	if _, why := c.considers(e); why != ReasonModel || len(known) == 0 {
		return ""
	}
	model := quoteName(c.params.Model)
	if c.params.Model == "" || header.Quotes(c.params.Model, c.req.Header) { // it is too long, or a key
		model = "of the call"
	}
	return fmt.Sprintf("endpoint %s has no name for the model %s: it has %s", quoteName(e.Name), model, listNames(known))
}

// refuse ends a call that may go to none of the endpoints.
func (f *failover) refuse(c *call, us *upstreams) (*http.Response, error) {
	if c.upload != nil {
		c.upload.Close()
	}
	failure := c.newError(ClassUnserved)
	failure.why = us.whyNowhere(c.op, c.Call, c.target)
	c.setFailure(failure)
	x := &exhausted{failure: failure}
	if !f.asErrors && !c.isSafe() {
		x.resp = c.ownAnswer(failure)
	}
	return nil, x
}

// whyNowhere says why a call with these options may go to none of the endpoints, or why a
// request that is no inference may not go where it is meant for: to target, or to a stranger
// if that is nil.
func (us *upstreams) whyNowhere(op request.Operation, o *Call, target *upstream) string {
	all := slices.Concat(us.tiers...)
	if len(all) == 0 && len(o.bounds) > 0 {
		return "Call.Endpoints is set, and New was given no endpoints"
	}
	if word, unknown := us.unknown(o.bounds); unknown {
		return fmt.Sprintf("no endpoint has the name, tag or region %s of Call.Endpoints: there is %s", quoteName(word), listNames(us.words()))
	}
	var names, allowed []string
	for _, e := range all {
		names = append(names, e.Name)
		if o.bounds.Has(&e.place) {
			allowed = append(allowed, e.Name)
		}
	}
	if len(all) == 0 {
		names = append(names, target.Name)
	}
	slices.Sort(names)
	slices.Sort(allowed)
	goes := "the request goes to no endpoint"
	switch {
	case slices.ContainsFunc(o.bounds, func(words []string) bool { return len(words) == 0 }):
		return "Call.Endpoints is an empty list, which allows no endpoint"
	case len(o.bounds) > 0 && len(allowed) == 0:
		return "Call.Endpoints allows no endpoint: none is in each of its lists, of outer and inner options"
	case op != request.None && !slices.Contains(names, o.Endpoint):
		return fmt.Sprintf("no endpoint has the name %s: there is %s", quoteName(o.Endpoint), listNames(names))
	case op != request.None:
		goes = "Call.Endpoint is " + quoteName(o.Endpoint)
	case target != nil:
		goes = "the request goes to endpoint " + quoteName(target.Name)
	}
	return fmt.Sprintf("%s, and Call.Endpoints allows only %s", goes, listNames(allowed))
}

// listNames returns a list of names, of which the text has some at most.
func listNames(names []string) string {
	const most = 12
	var b strings.Builder
	for i, name := range names {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(names)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quoteName(name))
	}
	return b.String()
}

// quoteName returns a name in quotes, its beginning if it is long.
func quoteName(name string) string {
	const most = 64
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	return strconv.Quote(name)
}

// failedIn returns the class of the failure that the caller is told of.
func (r *failoverRun) failedIn(s step) Class {
	switch {
	case r.shownFailure != nil:
		return r.shownFailure.Class
	case s.pause.Note != nil && len(r.triedAccounts) == 0:
		return ClassPaused
	case r.firstFailure != nil:
		return r.firstFailure.Class
	}
	return s.blocked
}

// lastAnswer returns the response to a call that no endpoint answered: the host's, or one
// of our own with the text of failure.
func (r *failoverRun) lastAnswer(s step, failure *Error) *http.Response {
	c, shown := r.call, r.shownFailure
	switch {
	case shown != nil:
		resp := shown.Resp
		if resp.Header == nil {
			resp.Header = make(http.Header)
		}
		if shown.Empty {
			resp.Header.Set(header.Error, string(shown.Class))
		}
		if retriedBySDKs(resp.StatusCode) {
			resp.Header.Set(header.ShouldRetry, "false")
		}
		r.sign(r.shownBy, resp)
		return resp
	case failure.Class == ClassPaused && s.pause.Note != nil:
		return c.pausedAnswer(s.pause, s.retryAfter)
	}
	return c.ownAnswer(failure)
}

// blocked records for each endpoint why it was not tried.
func (r *failoverRun) blocked(s step) {
	now := time.Now()
	for _, e := range r.call.candidates {
		at := r.availability(r.call, e, now)
		class, err := s.blocked, error(nil)
		switch at.state {
		case plan.Unserved:
			continue
		case plan.CircuitOpen:
			class, err = ClassCircuitOpen, ErrCircuitOpen
		case plan.Paused:
			class, err = ClassPaused, outcome.ErrPaused
		}
		r.notePassedOver(Attempt{Endpoint: e.Name, Model: at.model, Start: now, Class: class, Verdict: VerdictStop, PassedOver: at.reason(), Err: err})
	}
}

// retriedBySDKs reports whether the callers' SDKs retry this status by themselves.
func retriedBySDKs(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusConflict ||
		status == http.StatusTooManyRequests || status >= 500
}

// sleep waits for d, or returns the cause of ctx's end.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pausedAnswer returns a copy of the refusal that caused an endpoint's pause. Another
// credential's is told with its status alone, and so is one whose body was not read.
func (c *call) pausedAnswer(p pause.Pause[refusal], wait time.Duration) *http.Response {
	body, contentType := p.Note.body, p.Note.contentType
	if p.Note.unread || p.Note.asker != c.credential() {
		body, contentType = c.op.Wire().ErrorBody(p.Note.status, string(ClassPaused), "breakwater: "+string(outcome.ErrPaused)), "application/json"
	}
	resp := c.response(p.Note.status, body)
	if contentType != "" {
		resp.Header.Set("Content-Type", contentType)
	}
	resp.Header.Set(header.Error, string(ClassPaused))
	resp.Header.Set(header.ShouldRetry, "false")
	resp.Header.Set("Retry-After", seconds(wait))
	return resp
}
