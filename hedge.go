package breakwater

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/plan"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// race makes the step's attempt. If that shows no payload for StreamPolicy.Hedge, race
// makes a second one at another account. The first keeps running, because it keeps its
// place in the host's queue. The first payload wins, and the other attempt is cancelled.
func (r *failoverRun) race(s step) (*attempt, *http.Response, *exchange.Failure) {
	hedge := r.stream.Hedge
	if hedge == 0 || r.call.resumption != nil || r.call.upload != nil || len(r.call.candidates) < 2 || r.retry.SendOnce {
		return r.settle(r.begin(s).send())
	}
	if r.begun == 0 { // a loser may still use the request when the caller has it back
		*r.call.req = *ownRequest(r.call.req, r.call)
	}
	var first, second racer
	defer first.cancel(r, nil) // an attempt is still under way here if an Observer panicked
	defer second.cancel(r, nil)
	first.begin(r, s)
	first.start()
	timer := time.NewTimer(hedge)
	defer timer.Stop()
	select {
	case got := <-first.result:
		return r.settle(first.done(got))
	case <-timer.C:
	}
	other, ok := r.hedgeTarget(first.attempt)
	if !ok {
		return r.settle(first.done(<-first.result))
	}
	second.begin(r, other)
	r.observers.emit(r.call, Event{Kind: KindHedge, Endpoint: second.attempt.endpoint.Name, Model: second.attempt.model, Attempt: int(second.attempt.n), Wait: hedge})
	second.start()
	r.owed = nil
	for {
		var got sendResult
		mine, other := &first, &second
		select {
		case got = <-first.result:
		case got = <-second.result:
			mine, other = other, mine
		}
		if got = mine.done(got); !r.beginAgain(mine, got) {
			return r.settleRace(got, other)
		}
	}
}

// beginAgain makes an attempt once more in a race, if another key came in place of the one
// that the host refused.
func (r *failoverRun) beginAgain(mine *racer, got sendResult) bool {
	if got.err == nil || got.panic != nil || got.a.newKey().key == "" {
		return false
	}
	a, _, failure := r.settle(got)
	s, ok := r.withNewKey(a, failure, r.now())
	if !ok {
		return false
	}
	a.report(s)
	mine.begin(r, s)
	mine.start()
	return true
}

// settleRace uses the first result while the other attempt is still under way.
func (r *failoverRun) settleRace(got sendResult, other *racer) (*attempt, *http.Response, *exchange.Failure) {
	if got.err == nil || got.panic != nil {
		dropped := true
		defer func() {
			if dropped { // an Observer panicked when the other attempt ended
				got.discard()
			}
		}()
		other.cancel(r, got.a.endpoint)
		dropped = false
		return r.settle(got)
	}
	a, _, failure := r.settle(got)
	now := time.Now()
	end, ends := r.observe(a, failure, now)
	if !ends { // the other attempt may still answer
		s := step{action: try, endpoint: other.attempt.endpoint}
		r.quarantine(a, failure, s, now)
		a.report(s)
		return r.settle(other.done(<-other.result))
	}
	r.final = &end
	other.cancel(r, a.endpoint)
	return a, nil, failure
}

// A racer runs one of two hedged attempts on a goroutine of its own.
type racer struct {
	attempt *attempt        // nil: there is none, or its result was taken
	result  chan sendResult // nil: the attempt has not started
}

func (r *racer) begin(run *failoverRun, s step) { r.attempt = run.begin(s) }

func (r *racer) start() {
	result, a := make(chan sendResult, 1), r.attempt // buffered, so that a loser need not wait for a reader
	r.result = result
	go func() { result <- a.sendApart() }()
}

func (r *racer) done(got sendResult) sendResult {
	r.attempt = nil
	return got
}

// cancel ends the racer's attempt, if it is under way, because the endpoint by was faster.
// A failure that it has shown by then is recorded; a later result is dropped, except that
// a rejected key is still quarantined.
func (r *racer) cancel(run *failoverRun, by *upstream) {
	a, result := r.attempt, r.result
	if a == nil {
		return
	}
	r.attempt = nil
	var late sendResult
	select {
	case late = <-result:
		if run.recordLoser(late, by) {
			return
		}
		result = nil
	default: // or it has not started
	}
	a.update(func(t *Attempt) { t.Verdict, t.MayBeBilled = VerdictStop, t.MayBeBilled || a.sent.Load() })
	fleet := run.fleet
	defer func() { // after the attempt has ended, because closing its answer would end it, too
		go background.Recovered(func() {
			if result != nil {
				late = <-result
			}
			if late.resp != nil {
				late.resp.Body.Close()
			}
			var failure *exchange.Failure
			if errors.As(late.err, &failure) && failure.Refused {
				fleet.quarantine(a, failure, step{action: try, endpoint: by}, time.Now())
			}
		})()
	}()
	a.endNow(ClassOutrun, outcome.ErrOutrun, wire.Usage{}, outcome.ErrOutrun)
	a.report(step{})
}

// recordLoser records an attempt that failed while another one answered. It reports false
// if there is nothing to record.
func (r *failoverRun) recordLoser(late sendResult, by *upstream) bool {
	if late.err == nil || late.panic != nil || by == nil {
		return false
	}
	defer r.show(r.shownFailure, r.shownBy) // keep the shown failure: the call has its answer
	a, _, failure := r.settle(late)
	now := time.Now()
	r.observe(a, failure, now)
	r.quarantine(a, failure, step{action: try, endpoint: by}, now)
	a.report(step{})
	return true
}

// hedgeTarget returns a step that tries another account beside the slow attempt first, if
// one could serve the call at once and the budget allows it. Only with HedgeBackup, it may be
// of a worse tier.
func (r *failoverRun) hedgeTarget(first *attempt) (step, bool) {
	now := r.now()
	var space [4]candidate // enough for most calls
	options := space[:0]
	for _, e := range r.call.candidates {
		if e.tier > first.endpoint.tier && !r.stream.HedgeBackup || e.Account == first.endpoint.Account || r.tried(e.Account) != nil {
			continue
		}
		if at := r.availability(r.call, e, now); at.state == plan.Ready && (len(options) == 0 || e.tier == options[0].endpoint.tier) {
			options = append(options, candidate{endpoint: e, model: at.model})
		}
	}
	if len(options) == 0 || !r.takeExtra(now, first.endpoint, first.model) {
		return step{}, false
	}
	o := r.choose(options, now)
	r.call.excluded.race(first.endpoint, o.endpoint)
	return step{action: try, endpoint: o.endpoint, model: o.model}, true
}

// sendApart is send on a goroutine of its own. It returns a panic of user code, for the
// call's goroutine to raise.
func (a *attempt) sendApart() (got sendResult) {
	defer func() {
		if p := recover(); p != nil {
			got = sendResult{a: a, panic: p}
		}
	}()
	return a.send()
}

// begin makes the step's attempt.
func (r *failoverRun) begin(s step) *attempt {
	c := r.call
	r.begun++
	a := &attempt{
		Exchange: exchange.Exchange{Caller: c, Policy: &r.exchanges, Start: r.startOf(s)},
		fleet:    r.fleet, call: c, endpoint: s.endpoint, model: s.model, key: s.key, forced: s.action == tryProbe,
		n: int32(r.begun), rested: int32(min(r.rested.Milliseconds(), math.MaxInt32)), throttled: r.wasThrottled(), buffer: c.buffer.Retain(),
	}
	a.Owner = a
	a.permit.InTurn, r.inTurn = r.inTurn, false
	parent := context.Context(c)
	if r.lends && a.buffer != nil && a.endpoint.Rewrite == nil {
		parent = a.lend(parent)
	}
	a.Context, a.Cancel = context.WithCancelCause(parent)
	if !c.isSafe() {
		s.endpoint.Load.Begin()
	}
	if r.tenants {
		c.joinHold()
	}
	s.endpoint.touch()
	a.place = int32(c.log.add(Attempt{N: int(a.n), Endpoint: s.endpoint.Name, Model: s.model, Start: a.Start, Wait: s.wait}))
	if a.forced {
		r.probes++
	}
	return a
}

// wasThrottled reports whether a host has refused the call because of a limit.
func (r *failoverRun) wasThrottled() bool {
	for _, v := range r.triedAccounts {
		if outcome.Of(v.failure.Class).EarnsPause {
			return true
		}
	}
	return false
}

// startOf returns when the step's attempt begins. If the call did not wait, that is when it
// decided on the step.
func (r *failoverRun) startOf(s step) time.Time {
	if s.wait > 0 {
		return time.Now()
	}
	return r.at
}

// settle hands over the answer of an attempt, or returns its failure.
func (r *failoverRun) settle(got sendResult) (*attempt, *http.Response, *exchange.Failure) {
	a := got.a
	if got.panic != nil {
		panic(got.panic)
	}
	if got.err == nil {
		accepted := false
		defer func() {
			if !accepted { // an Observer panicked: release everything
				got.discard()
			}
		}()
		r.n = int(a.n)
		r.accept(a, got.resp)
		accepted = true
		return a, got.resp, nil
	}
	var failure *exchange.Failure
	if !errors.As(got.err, &failure) {
		failure = a.failureOf(got.err, ClassUnreachable)
	}
	if a.departure.Load() != departed && int(a.n) == r.begun { // it was not sent, so the next attempt has its number
		r.begun--
	}
	r.n = r.begun
	return a, nil, failure
}

// accept hands over the response.
func (r *failoverRun) accept(a *attempt, resp *http.Response) {
	now := time.Now()
	took := now.Sub(a.Start)
	over := false // the caller has left meanwhile
	a.update(func(t *Attempt) {
		t.Verdict, t.Status, t.FirstToken = VerdictAccept, resp.StatusCode, took
		if over = t.Class != ""; !over {
			t.Class = ClassOK
		}
	})
	if a.place == 0 { // nothing came before it in the trail
		r.call.how = firstAnswer
	}
	if len(r.call.candidates) > 1 || r.call.isRestricted() { // others may choose between it and others
		a.endpoint.Load.Sample(took, now)
	}
	a.noteTrouble(false, now)
	if !r.call.isSafe() {
		a.permit.Latency(latencyKind(&r.call.params)).Add(took - a.queued)
	}
	if r.pauses.Any() {
		keys := r.call.pauseKeys(a.endpoint, a.model)
		ended := keys[:]
		if r.call.isSafe() { // hosts list models to anybody: that shows neither a key nor money
			ended = keys[outcome.ScopeLimit-1:]
		}
		for _, key := range ended {
			r.pauses.Recover(key, now)
		}
		a.endpoint.noteAsker(r.call.askerAt(a.endpoint), a.sentAt())
	}
	r.sign(a.endpoint, resp)
	a.emit(KindCommit)
	if over {
		a.emit(KindAttempt)
	}
	if exchange.KindOf(resp.Body) == exchange.KindWhole {
		a.End(ClassOK, nil, a.Answer.Usage, resp.ContentLength)
		a.Cancel(outcome.ErrClosed)
		return
	}
	r.call.open = true
}

// sign sets the headers that name the endpoint and the number of attempts.
func (r *failoverRun) sign(e *upstream, resp *http.Response) {
	values := &r.call.signature
	values[0], values[1] = e.Name, "1"
	if r.n != 1 {
		values[1] = strconv.Itoa(r.n)
	}
	if resp.Header == nil {
		resp.Header = make(http.Header, 3)
	}
	resp.Header[header.Endpoint] = values[:1:1]
	resp.Header[header.Attempts] = values[1:2:2]
}

// report emits the event of a failed attempt, now that the next step is known.
func (a *attempt) report(s step) {
	a.update(func(t *Attempt) {
		switch {
		case s.endpoint == nil:
			t.Verdict = VerdictStop
		case s.endpoint == a.endpoint:
			t.Verdict = VerdictAgain
		default:
			t.Verdict = VerdictElsewhere
		}
	})
	a.emit(KindAttempt)
}
