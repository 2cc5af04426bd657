package breakwater

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/breakwater-go/breakwater/internal/balance"
	"github.com/breakwater-go/breakwater/internal/budget"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/pause"
	"github.com/breakwater-go/breakwater/internal/plan"
	"github.com/breakwater-go/breakwater/internal/request"
)

// A failover is the innermost layer of a call: the one loop of attempts, with
// one budget for retry and failover alike.
type failover struct {
	retry      RetryPolicy
	hedge      time.Duration
	newBackOff func() backoff.BackOff
	asErrors   bool // an exhausted call ends in an *Error

	budget    *budget.Budget
	pauses    *pause.Table[pauseKey, refusal]
	balance   balance.Strategy
	affinity  *balance.Affinity // nil: conversations are not kept together
	minPrompt int               // bytes from which a conversation is kept together
	observers observers
}

func newFailover(c *config) *failover {
	f := &failover{
		retry: c.retry, hedge: c.stream.Hedge, newBackOff: c.newBackOff, asErrors: c.asErrors, minPrompt: c.balance.Affinity,
		budget: c.retry.newBudget(), pauses: pause.New[pauseKey]((*refusal).size), balance: balance.TwoChoices{Random: c.random}, observers: c.observers,
	}
	if c.balance.Affinity > 0 {
		f.affinity = balance.NewAffinity(c.balance.Overload, f.balance)
		f.balance = f.affinity
	}
	return f
}

// RoundTrip makes attempts at endpoints until one answers.
func (f *failover) RoundTrip(req *http.Request) (*http.Response, error) {
	c := callOf(req.Context())
	if c.resumption != nil {
		return f.resume(c)
	}
	r := f.newRun(c)
	if c.Err() != nil {
		r.closeUnsent()
		return nil, context.Cause(c) // a call that is over is nobody's failure
	}
	f.budget.Call(c.start)
	c.conversation = f.conversationOf(c)
	if c.upload != nil {
		defer r.closeUnsent()
	}
	defer r.release()
	return r.loop()
}

// resume makes attempts, each an extra one, for a call whose stream broke: at
// other accounts first. The answer is a stream.
func (f *failover) resume(c *call) (*http.Response, error) {
	var tried []*triedAccount
	for _, avoid := range [...]string{c.resumption.account, ""} {
		if c.Err() != nil {
			break
		}
		r := f.newRun(c)
		r.begun, _ = c.log.sum()
		r.avoid, r.triedAccounts = avoid, tried
		resp, err := r.loop()
		tried = r.triedAccounts
		r.release()
		if err != nil {
			continue
		}
		if exchange.KindOf(resp.Body) == exchange.KindStream {
			return resp, nil
		}
		resp.Body.Close()
	}
	return nil, errNoRescue
}

// conversationOf is the key of the conversation that a call belongs to; 0: none, or
// one too short to be kept together. Other processes compute the same key.
func (f *failover) conversationOf(c *call) uint64 {
	if f.affinity == nil || len(c.candidates) < 2 || len(c.body()) < f.minPrompt {
		return 0
	}
	return request.ConversationKey(c.body())
}

// loop makes attempts until one answers, or none is left to be made.
func (r *failoverRun) loop() (*http.Response, error) {
	s := r.next(r.now())
	for {
		switch s.action {
		case noneLeft, showRefusal:
			return r.giveUp(s)
		case abort:
			return nil, s.err
		}
		if s.wait > 0 && r.avoid != "" { // for a preference, nobody waits
			return r.giveUp(step{})
		}
		if err := r.wait(s); err != nil {
			return nil, err
		}
		if s.action == awaitProbe {
			// A slow probe lets others follow, a failed one spares them the try there.
			if s.probe != nil && s.probe.Done() {
				r.probed = append(r.probed, s.endpoint)
			}
			s = r.next(r.now())
			continue
		}
		if s.wait > 0 {
			if p := r.availability(s.endpoint, time.Now()).pause; !p.Until.IsZero() {
				s = r.waitOn(p)
				continue
			}
		}
		if r.call.resumption != nil && !r.afford(time.Now(), s.endpoint, s.model) {
			return r.giveUp(step{})
		}
		a, resp, tr := r.race(s)
		if tr == nil {
			return resp, nil
		}
		s = r.decide(a, tr)
		a.report(s)
	}
}

// A failoverRun is one call's loop.
type failoverRun struct {
	*failover
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
	room           struct {         // for both, as most calls need it
		candidates [4]candidate
		states     [4]plan.Candidate
		targets    [4]*balance.Target
	}
	last         *triedAccount
	firstFailure *exchange.Failure // what went wrong first
	shownFailure *exchange.Failure // the one whose response the caller gets if all fails
	shownBy      *upstream         // whose response that is

	mu            sync.Mutex // guards what follows, which the attempts' clocks read
	triedAccounts []*triedAccount
	unsuited      []candidate  // whose limits the call exceeds
	racing        [2]*upstream // asked at the same time: see StreamPolicy.Hedge
}

func (f *failover) newRun(c *call) *failoverRun {
	return &failoverRun{failover: f, call: c, patience: f.retry.Patience}
}

// now is the time of a decision.
func (r *failoverRun) now() time.Time {
	r.at = time.Now()
	return r.at
}

// begin makes the step's attempt.
func (r *failoverRun) begin(s step) *attempt {
	c := r.call
	ctx, cancel := context.WithCancelCause(c)
	r.begun++
	start := r.at
	if s.wait > 0 {
		start = time.Now()
	}
	a := &attempt{
		Exchange: exchange.Exchange{Context: ctx, Cancel: cancel, Caller: c, Policy: &c.t.exchanges, Start: start},
		run:      r, call: c, endpoint: s.endpoint, model: s.model, forced: s.action == tryProbe,
		n: int32(r.begun), buffer: c.buffer.Retain(),
	}
	a.Owner = a
	a.finishers = append(a.layers[:0], s.endpoint)
	s.endpoint.Load.Begin()
	s.endpoint.touch()
	a.place = int32(c.log.add(Attempt{N: int(a.n), Endpoint: s.endpoint.Name, Model: s.model, Start: a.Start, Wait: s.wait}))
	if a.forced {
		r.probes++
	}
	return a
}

// release lets go of what endpoints refused: the attempt that answered leads to
// this run for as long as its response is kept.
func (r *failoverRun) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.triedAccounts, r.unsuited = nil, nil
	r.last, r.firstFailure, r.shownFailure = nil, nil, nil
}

// closeUnsent closes a streamed body that no attempt's end has closed, nor will.
func (r *failoverRun) closeUnsent() {
	if r.n == 0 && r.call.upload != nil {
		r.call.upload.Close()
	}
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

// wait waits as the step says; it returns an error only when the caller leaves.
func (r *failoverRun) wait(s step) error {
	if s.wait <= 0 {
		return nil
	}
	r.observers.emit(r.call, Event{Kind: KindWait, Endpoint: s.endpoint.Name, Model: s.model, Attempt: r.n + 1, Wait: s.wait})
	if s.probe != nil {
		return s.probe.Await(r.call, s.wait)
	}
	if r.last == nil || s.endpoint.tier < r.last.endpoint.tier || s.endpoint == r.last.endpoint {
		r.patience -= s.wait
	}
	return sleep(r.call, s.wait)
}

// waitOn decides anew, for an endpoint earned another pause while the call
// waited for it: as often as it may be tried.
func (r *failoverRun) waitOn(rest pause.Pause[refusal]) step {
	now := r.now()
	if r.replans++; r.replans < r.attempts() {
		return r.next(now)
	}
	return step{pause: rest, blocked: ClassPaused, retryAfter: rest.Until.Sub(now)}
}

// settle hands an answer over, or says what went wrong.
func (r *failoverRun) settle(got sent) (*attempt, *http.Response, *exchange.Failure) {
	a := got.a
	if got.panic != nil {
		panic(got.panic)
	}
	if got.err == nil {
		accepted := false
		defer func() {
			if !accepted { // an Observer panics: nothing may be held for good
				got.drop()
			}
		}()
		r.n = int(a.n)
		r.accept(a, got.resp)
		accepted = true
		return a, got.resp, nil
	}
	var tr *exchange.Failure
	if !errors.As(got.err, &tr) {
		tr = a.failureOf(got.err, ClassUnreachable)
	}
	if outcome.Of(tr.Class).Local && int(a.n) == r.begun { // its number is the next one's
		r.begun--
	}
	r.n = r.begun
	return a, nil, tr
}

// accept hands the response over.
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
	if len(r.call.candidates) > 1 {
		a.endpoint.Load.Sample(took, now)
	}
	a.permit.Latency(latencyKind(&r.call.params)).Add(took - a.queued)
	if r.pauses.Any() {
		for _, key := range r.call.pauseKeys(a.endpoint, a.model) {
			r.pauses.Recover(key, now)
		}
	}
	r.sign(a.endpoint, resp)
	a.emit(KindCommit)
	if over {
		a.emit(KindAttempt)
	}
	if exchange.KindOf(resp.Body) == exchange.KindWhole {
		a.End(ClassOK, nil, a.Answer.Usage, resp.ContentLength)
		a.Cancel(outcome.ErrClosed)
	}
}

// sign says in the headers who answered after how many attempts.
func (r *failoverRun) sign(e *upstream, resp *http.Response) {
	values := [2]string{e.Name, "1"}
	if r.n != 1 {
		values[1] = strconv.Itoa(r.n)
	}
	if resp.Header == nil {
		resp.Header = make(http.Header, 2)
	}
	resp.Header[header.Endpoint] = values[:1:1]
	resp.Header[header.Attempts] = values[1:]
}

// report tells of a failed attempt, now that it is known what follows.
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

// giveUp is the end of a call that no endpoint answered. If that is a failure of
// endpoints, and not of the request, the error is an *exhausted.
func (r *failoverRun) giveUp(s step) (*http.Response, error) {
	c := r.call
	if c.resumption != nil { // its caller hears what the stream ended in
		return nil, errNoRescue
	}
	if len(r.triedAccounts) == 0 {
		if s.blocked == "" {
			s.blocked = ClassUnserved
		}
		r.blocked(s)
	}
	if s.action == showRefusal || r.shownFailure != nil && !outcome.Of(r.shownFailure.Class).OfFleet {
		return r.lastAnswer(s, &Error{Attempts: c.log.list()}), nil
	}
	x := &exhausted{failure: &Error{Attempts: c.log.list()}}
	x.unprobed = r.firstFailure == nil || r.skippedOpen || r.last != nil && r.last.failure.Class == ClassNoFirstToken
	if !r.asErrors {
		x.resp = r.lastAnswer(s, x.failure)
	}
	return nil, x
}

// lastAnswer is the response to a call that no endpoint answered: the host's, or
// one of our own with failure behind it.
func (r *failoverRun) lastAnswer(s step, failure *Error) *http.Response {
	c, shown := r.call, r.shownFailure
	if shown == nil || shown.Empty {
		c.fails(failure)
	}
	class := s.blocked
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
	case s.pause.Note != nil && len(r.triedAccounts) == 0:
		return c.pausedAnswer(s.pause, s.retryAfter)
	case r.firstFailure != nil:
		class = r.firstFailure.Class
	}
	return c.ownAnswer(class, failure.summary(), s.retryAfter)
}

// An exhausted is the error of a call that no endpoint could answer. The cache may
// have an answer all the same; else the caller gets resp or, with WithErrors,
// failure.
type exhausted struct {
	resp     *http.Response // nil with WithErrors
	failure  *Error
	unprobed bool // the call did not see to the end whether all endpoints are still down
}

func (x *exhausted) Error() string { return x.failure.Error() }

func (x *exhausted) Unwrap() error { return x.failure }

// asExhausted returns the *exhausted in err, nil if there is none.
func asExhausted(err error) *exhausted {
	if err == nil {
		return nil
	}
	var x *exhausted // on the heap, so not for calls that are answered
	errors.As(err, &x)
	return x
}

// result returns what the caller gets.
func (x *exhausted) result() (*http.Response, error) {
	if x.resp != nil {
		return x.resp, nil
	}
	return nil, x.failure
}

const errNoRescue = outcome.Error("no rescue")

// blocked records that nothing was tried, and why.
func (r *failoverRun) blocked(s step) {
	now := time.Now()
	for _, e := range r.call.candidates {
		at := r.availability(e, now)
		class, err := s.blocked, error(nil)
		switch at.state {
		case plan.Unserved:
			continue
		case plan.CircuitOpen:
			class, err = ClassCircuitOpen, ErrCircuitOpen
		case plan.Paused:
			class, err = ClassPaused, outcome.ErrPaused
		}
		r.call.log.add(Attempt{Endpoint: e.Name, Model: at.model, Start: now, Class: class, Verdict: VerdictStop, Err: err})
	}
}

// retriedBySDKs reports whether the SDKs above try again on a status by themselves.
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
