package breakwater

import (
	"errors"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/keysource"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/pause"
)

// decide records an attempt that gave no answer, and decides what to do next.
func (r *failoverRun) decide(a *attempt, failure *exchange.Failure) step {
	if r.final != nil {
		return *r.final
	}
	now := r.now()
	if s, ok := r.withNewKey(a, failure, now); ok {
		return s
	}
	lost := r.lostTurn(failure, now)
	s, ends := r.observe(a, failure, now)
	if ends {
		return s
	}
	switch {
	case lost && failure.Class == ClassPaused:
		return r.waitOn(r.availability(r.call, a.endpoint, now).pause)
	case lost:
		r.lostProbeAt = now
		return r.next(now)
	}
	if r.call.upload == nil && !(r.retry.SendOnce && mayBeBilled(failure, a.sent.Load())) {
		s = r.next(now)
	}
	if failure.Open && s.endpoint != nil { // the caller gets it only if nothing better comes
		failure.Hold()
	}
	r.quarantine(a, failure, s, now)
	return s
}

// withNewKey returns the step that makes an attempt once more, at once, because another key
// came in place of the one that the host refused. It does not count as a try of the account,
// and takes nothing from its budget: when a key is changed, all calls under way need it, and
// a call does it once. An upload cannot be sent again.
func (r *failoverRun) withNewKey(a *attempt, failure *exchange.Failure, now time.Time) (s step, ok bool) {
	key := a.newKey().key
	if key == "" || r.call.upload != nil {
		return step{}, false
	}
	if failure.Open {
		failure.Hold()
	}
	a.endNow(failure.Class, failure.Err, a.Answer.Usage, outcome.ErrClosed)
	s = step{action: try, endpoint: a.endpoint, model: a.model, key: key}
	if a.forced {
		s.action = tryProbe
	}
	return s, true
}

// observe ends an attempt that gave no answer, and records its failure. If the call must
// end with it, ends is true and the step says how.
func (r *failoverRun) observe(a *attempt, failure *exchange.Failure, now time.Time) (s step, ends bool) {
	billable := mayBeBilled(failure, a.sent.Load())
	a.update(func(t *Attempt) { t.MayBeBilled = t.MayBeBilled || billable })
	a.blameless = failure.Blameless
	r.call.hadTime = failure.Class == ClassDeadline && !failure.Blameless
	if failure.Open { // its body cancels the attempt
		orClose(failure.Resp, func() { a.End(failure.Class, failure.Err, a.Answer.Usage, 0) })
	} else {
		a.endNow(failure.Class, failure.Err, a.Answer.Usage, outcome.ErrClosed)
	}
	if r.lostTurn(failure, now) {
		return step{}, false
	}
	masks := r.recordFailure(a, failure, now)
	if failure.PassThrough {
		r.show(failure, a.endpoint)
		return step{action: showRefusal}, true
	}
	switch outcome.Of(failure.Class).Fault {
	case outcome.FaultCaller:
		return step{action: abort, err: failure.Err}, true
	case outcome.FaultContent:
		r.show(failure, a.endpoint)
		return step{action: showRefusal}, true
	case outcome.FaultRequest:
		if !masks || a.endpoint == r.call.target {
			r.show(failure, a.endpoint) // the endpoint that the caller addressed says that the request is at fault
			return step{action: showRefusal}, true
		}
	case outcome.FaultKey:
		if failure.CallersKey && !masks {
			return step{action: showRefusal}, true
		}
	}
	r.applyRetryAfter(r.call, a.endpoint, a.model, failure, a.sentAt(), now)
	return step{}, false
}

// lostTurn reports whether the attempt was not sent because the endpoint is no more as it was
// planned, so that the call plans again: a pause began while the attempt waited for a limit,
// or another call took the permit to probe. After the latter the call plans again once, and
// again for each turn to probe that it may wait for.
func (r *failoverRun) lostTurn(failure *exchange.Failure, now time.Time) bool {
	switch failure.Class {
	case ClassPaused:
		return true
	case ClassCircuitOpen:
		return r.lostProbeAt.IsZero() || now.Sub(r.lostProbeAt) >= circuit.ForcedEvery/2
	}
	return false
}

// waitOn plans again, because another pause began while the call waited for an endpoint.
// When it has done so as many times as the call may try one account, the call waits for no
// better endpoint any more, and if there are others, it plans once or twice again.
func (r *failoverRun) waitOn(rest pause.Pause[refusal]) step {
	now := r.now()
	r.replans++
	switch most := r.attempts(); {
	case r.replans >= most+min(len(r.call.candidates)-1, 2):
		return step{pause: rest, blocked: ClassPaused, retryAfter: rest.Until.Sub(now)}
	case r.replans >= most:
		r.patience = 0
	}
	return r.next(now)
}

// recordFailure notes the failure for its account, and chooses the response that the
// caller gets if no endpoint answers. It reports whether there was an earlier failure,
// which this one must not mask.
func (r *failoverRun) recordFailure(a *attempt, failure *exchange.Failure, now time.Time) (masks bool) {
	v := r.tried(a.endpoint.Account)
	if v == nil {
		v = &triedAccount{account: a.endpoint.Account}
		r.triedAccounts = append(r.triedAccounts, v)
		r.call.excluded.tried(v.account)
	}
	v.endpoint, v.model, v.failure, v.place = a.endpoint, a.model, failure, int(a.place)
	if !outcome.Of(failure.Class).Local {
		v.tries++
	}
	if v.delays == nil {
		v.delays = r.newBackOff()
	}
	v.due = now.Add(v.delays.NextBackOff())
	if last := r.lastSafeTry(v); last.After(v.due) {
		v.due = last
	}
	if a.forced && v.openSince.IsZero() {
		v.openSince = r.probeSince
	}
	v.probeDue = now.Add(r.probeAgainAfter(v, now))
	if failure.Class == ClassUnsuited && !ofSize(failure.Status) {
		r.call.excluded.unsuited(a.endpoint, a.model)
	}
	r.last = v
	masks = r.firstFailure != nil
	if r.firstFailure == nil {
		r.firstFailure = failure
	}
	// The first failure is never masked: the response of a later one is shown only if the
	// first had none, and only if endpoints are at fault for it.
	traits := outcome.Of(failure.Class)
	distrusted := traits.Fault == outcome.FaultKey // the failure concerns a key that is not the caller's
	if failure.Usable || failure.Resp != nil && r.call.isSafe() || failure.Resp != nil && r.shownFailure == nil && (!masks || traits.OfFleet && !distrusted) {
		r.show(failure, a.endpoint)
	}
	return masks
}

// lastSafeTry returns when the last try of a call that is no inference is due. It is no
// sooner than Patience after the call's start, if the deadline allows it: the host may be
// away for a moment only, and nobody else can answer.
func (r *failoverRun) lastSafeTry(v *triedAccount) (due time.Time) {
	if !r.call.isSafe() || v.tries != r.attempts()-1 {
		return due
	}
	due = r.call.start.Add(r.retry.Patience)
	if deadline, ok := r.call.Deadline(); ok && !due.Before(deadline) {
		return time.Time{}
	}
	return due
}

// ofSize reports whether a status says that a request is too large for an account or for
// what stands in front of a host. Other accounts of the same host may take it.
func ofSize(status int) bool {
	return status == http.StatusRequestEntityTooLarge || status == http.StatusRequestURITooLong || status == http.StatusRequestHeaderFieldsTooLarge
}

// show makes failure, at e, the one whose response the caller gets if no endpoint answers.
func (r *failoverRun) show(failure *exchange.Failure, e *upstream) {
	r.shownFailure, r.shownBy = failure, e
}

// quarantine pauses what a person has to mend: an endpoint whose key was rejected, an
// account without funds, a model that the endpoint lacks. It reports that with an event of
// its own. It pauses nothing if no other endpoint could serve, so that a mended cause
// works at once, and nothing for the caller's own key.
func (f *fleet) quarantine(a *attempt, failure *exchange.Failure, s step, now time.Time) {
	c := a.call
	switch failure.Class {
	case ClassBlocked:
		f.restBlocked(a, failure, s, now)
		return
	case ClassNoKey:
		f.restWithoutKey(a, failure, s, now)
		return
	case ClassKeyRejected:
		if a.key != "" && (!a.endpoint.keys.Refused(a.key) || a.newKey().cut) {
			return // a newer key may be right
		}
	}
	e := Event{
		Kind: KindKey, Endpoint: a.endpoint.Name, Model: a.model, Attempt: int(a.n), Status: failure.Status, Class: failure.Class,
	}
	of, wait := outcome.Of(failure.Class).Quarantine, keyPause
	switch of {
	case outcome.ScopeNone:
		return
	case outcome.ScopeModel:
		wait, e.Kind = modelPause, KindPause
	}
	if a.sendsCallersKey() || a.endpoint.Keyless && header.HasIdentity(c.req.Header) && a.endpoint.hasJustWorked(now) {
		return // another caller's key, or none, may be right
	}
	if s.endpoint != nil {
		e.Wait = wait
		keys := c.pauseKeys(a.endpoint, a.model)
		f.pauses.Penalize(keys.of(of), a.sentAt(), now, wait, wait, c.refusalOf(failure))
	} else if of == outcome.ScopeModel {
		return
	}
	f.observers.emit(c, e)
}

// restBlocked pauses an endpoint for a moment, because something in front of it refused a
// call. Each time in a row makes the pause longer. There is none after the first time if
// the endpoint has just worked: the cause may be this one prompt.
func (f *fleet) restBlocked(a *attempt, failure *exchange.Failure, s step, now time.Time) {
	e, c := a.endpoint, a.call
	first := !e.blocked.Swap(true)
	if s.endpoint == nil || first && e.hasJustWorked(now) {
		return
	}
	keys := c.pauseKeys(e, a.model)
	wait, ok := f.pauses.PenalizeOnce(keys.of(outcome.ScopeEndpoint), now, blockedPause, maxBlockedPause, c.refusalOf(failure))
	if !ok {
		return // a burst counts once
	}
	f.observers.emit(c, Event{
		Kind: KindPause, Endpoint: e.Name, Model: a.model, Attempt: int(a.n), Status: failure.Status, Class: failure.Class, Wait: wait,
	})
}

// restWithoutKey pauses an endpoint for a moment, because its KeyFunc gave no key: other calls
// need not wait for it meanwhile. Each time in a row makes the pause longer.
func (f *fleet) restWithoutKey(a *attempt, failure *exchange.Failure, s step, now time.Time) {
	if errors.Is(failure.Err, keysource.ErrClosed) {
		return // the function did nothing wrong
	}
	e, c := a.endpoint, a.call
	event := Event{Kind: KindKey, Endpoint: e.Name, Model: a.model, Class: failure.Class, Err: failure.Err}
	if s.endpoint != nil {
		keys := c.pauseKeys(e, a.model)
		wait, ok := f.pauses.PenalizeOnce(keys.of(outcome.ScopeEndpoint), now, noKeyPause, maxBlockedPause, nil)
		if !ok {
			return // a burst counts once
		}
		event.Wait = wait
	}
	f.observers.emit(c, event)
}

const (
	keyPause   = 10 * time.Minute // for an endpoint or account whose key does not work
	modelPause = time.Minute      // for a model that an endpoint does not have

	// For an endpoint in front of which something refuses: at first, and at last.
	blockedPause    = time.Second
	maxBlockedPause = time.Minute

	// noKeyPause is the first pause of an endpoint whose KeyFunc gave no key; the last one is
	// maxBlockedPause. It is longer than calls wait for a better endpoint, because the next
	// invocation may take its time, too.
	noKeyPause = 5 * time.Second
)
