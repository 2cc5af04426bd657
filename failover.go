package breakwater

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// failover is the innermost layer of a call: the one loop of attempts, with
// one budget for retry and failover alike.
func (t *Transport) failover(req *http.Request) (*http.Response, error) {
	r := &run{t: t, call: callOf(req.Context()), patience: t.config.retry.Patience}
	if r.call.Err() != nil {
		r.closeUnsent()
		return nil, context.Cause(r.call) // a call that is over is nobody's failure
	}
	t.budget.Call(r.call.start)
	if r.call.streamed != nil {
		defer r.closeUnsent()
	}
	resp, err := r.loop()
	if err == nil {
		resp = r.call.rescuable(resp)
	}
	return resp, err
}

// loop makes attempts until one answers, or none is left to be made.
func (r *run) loop() (*http.Response, error) {
	s := r.next(r.now())
	for {
		if s.endpoint == nil {
			return r.giveUp(s)
		}
		if s.wait > 0 && r.call.avoid != "" { // for a preference, nobody waits
			return r.giveUp(step{})
		}
		if err := r.wait(s); err != nil {
			return nil, err
		}
		if s.watch {
			// A slow probe lets others follow, a failed one spares them the try there.
			if s.probe != nil && s.probe.known() {
				r.probed = append(r.probed, s.endpoint)
			}
			s = r.next(r.now())
			continue
		}
		if s.wait > 0 {
			if rest := r.resting(s); !rest.until.IsZero() {
				s = r.waitOn(rest)
				continue
			}
		}
		if r.broken != nil && !r.afford(time.Now(), s.endpoint, s.model) {
			return r.giveUp(step{})
		}
		a, resp, tr := r.race(s)
		if tr == nil {
			return resp, nil
		}
		s = r.after(a, tr)
		a.report(s)
		if s.err != nil {
			return nil, s.err
		}
	}
}

// A run is the state of one call's loop.
type run struct {
	t         *Transport
	call      *call
	at        time.Time     // of the latest decision
	n         int           // attempts so far
	begun     int           // those under way included
	patience  time.Duration // left
	forced    int           // open circuits probed
	probed    []*endpoint   // by others, whom the call waited for
	watched   int           // times a probe, or leave to probe, was waited for
	watchedAt time.Time     // for the first time
	outwaited int           // pauses that began while the call waited for another to end
	over      *step         // how the call ends, known before the loop came to it
	broken    *attempt      // whose stream it goes on from, so that every attempt is an extra one; nil: no rescue
	leftOpen  bool          // it left an open circuit alone
	raced     bool          // somebody else took the probe between look and leap
	options   [4]option     // room for those of next
	last      *visit
	first     *trouble // what went wrong first
	shown     *trouble // the one whose response the caller gets if all fails
}

// now is the time of a decision.
func (r *run) now() time.Time {
	r.at = time.Now()
	return r.at
}

// closeUnsent closes a streamed body that no attempt's end has closed, nor will.
func (r *run) closeUnsent() {
	if r.n == 0 && r.call.streamed != nil {
		r.call.streamed.Close()
	}
}

// A visit is what the call knows of an endpoint it has been to.
type visit struct {
	account  string    // never changes: the attempts' clocks read it
	endpoint *endpoint // of the account, the one asked last
	model    string
	tries    int // 0: refused locally
	trouble  *trouble
	place    int             // in the trail, of the latest attempt
	delays   backoff.BackOff // of this account in this call
	due      time.Time       // when its backoff is over
}

// A step is what the loop does next: an endpoint to try after a wait, or none.
type step struct {
	endpoint *endpoint
	model    string
	wait     time.Duration
	forced   bool
	watch    bool          // wait, and decide anew
	probe    *slot         // somebody else's, to wait for; nil: wait for leave to probe
	asCame   bool          // the answer is the caller's to see, not a failure of the fleet
	pause    pause         // what keeps the call from the endpoint that would be back first
	blocked  Class         // what keeps the call from all endpoints, if nothing was tried
	retry    time.Duration // when it could be worth coming back
	err      error         // the call ends in this
}

// next decides what to do, knowing the visits so far and who could serve now.
func (r *run) next(now time.Time) step {
	var fresh, ramp, queue, probe, watched, soonest, shunned step
	var rest pause
	options := r.options[:0] // of the best tier that is ready
	for _, e := range r.call.candidates {
		if r.call.visited(e.Account) != nil {
			continue
		}
		s, ok := r.call.stands(e, now)
		here := step{endpoint: e, model: s.model}
		switch {
		case !ok:
		case s.ready:
			if len(options) > 0 && e.tier < options[0].endpoint.tier {
				options = options[:0]
			}
			if len(options) == 0 || e.tier == options[0].endpoint.tier {
				options = append(options, option{e, s.model})
			}
		case s.ramping && here.above(ramp):
			ramp = here
		case s.busy && here.above(queue):
			queue = here
		case s.open:
			r.leftOpen = true
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
		case !s.resting.until.IsZero():
			if s.shunned && here.above(shunned) {
				shunned = here
			}
			if soonest.endpoint == nil || s.resting.until.Before(rest.until) {
				rest = s.resting
				here.wait, here.pause, here.blocked = rest.until.Sub(now), rest, ClassPaused
				soonest = here
			}
		}
	}
	if len(options) > 0 {
		chosen := r.t.choose(r.call, options, now)
		fresh.endpoint, fresh.model = chosen.endpoint, chosen.model
	}
	if fresh.endpoint == nil {
		fresh = ramp
	}
	if fresh.endpoint == nil || queue.above(fresh) && queue.endpoint.limits.of(queue.model).expected(now) <= r.patience {
		fresh = queue
	}
	if fresh.endpoint != nil {
		return r.patient(fresh, soonest, now)
	}
	if r.call.spare {
		return r.spared(soonest, now)
	}
	if probe.endpoint != nil && r.forced < maxForced {
		return probe
	}
	s := r.again(soonest, now)
	if s.endpoint == nil && watched.endpoint != nil && r.forced < maxForced && (r.watched < maxWatches || now.Sub(r.watchedAt) < minWatch) && r.inTime(watched.wait, now, watched.wait) {
		if r.watched++; r.watched == 1 {
			r.watchedAt = now
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

// patient decides between going to a lower tier and waiting for a better one.
func (r *run) patient(fresh, soonest step, now time.Time) step {
	if r.last != nil && r.last.endpoint.tier < fresh.endpoint.tier && r.worthWaiting(r.last) {
		if s, ok := r.back(r.last, now); ok && s.wait <= r.patience && r.afford(now, s.endpoint, s.model) {
			return s
		}
	}
	if soonest.endpoint != nil && soonest.endpoint.tier < fresh.endpoint.tier && r.inTime(soonest.wait, now, r.patience) {
		return soonest
	}
	return fresh
}

// spared decides where nobody untried could serve and a kept answer will do:
// nobody waits then but for one more try where the last one failed, and probes
// are left to the one who renews.
func (r *run) spared(soonest step, now time.Time) step {
	if r.last != nil && r.worthWaiting(r.last) {
		if s, ok := r.back(r.last, now); ok && s.wait <= r.patience && r.afford(now, s.endpoint, s.model) {
			return s
		}
	}
	return step{pause: soonest.pause, blocked: soonest.blocked, retry: soonest.wait}
}

// worthWaiting reports whether an endpoint that gave this trouble may be asked
// again while a lower tier could serve: a server error once, a rate limit as
// long as patience lasts.
func (r *run) worthWaiting(v *visit) bool {
	switch v.trouble.class {
	case ClassUnavailable, ClassBadResponse:
		return v.tries == 1
	case ClassRateLimited:
		return true
	}
	return false
}

// again decides when nobody untried could serve: the visited endpoint that
// can be asked again first, or the untried one whose pause ends first.
func (r *run) again(soonest step, now time.Time) step {
	best := step{}
	if soonest.endpoint != nil && r.inTime(soonest.wait, now, r.t.config.retry.MaxRetryAfter) {
		best = soonest
	}
	returning := false
	for _, v := range r.call.visits {
		if !v.trouble.class.passing() {
			continue
		}
		s, ok := r.back(v, now)
		if ok && (best.endpoint == nil || s.wait < best.wait || !returning && s.wait == best.wait) {
			best, returning = s, true
		}
	}
	if best.endpoint == nil || returning && !r.afford(now, best.endpoint, best.model) {
		none := step{pause: soonest.pause, blocked: soonest.blocked, retry: soonest.wait}
		return none
	}
	return best
}

// back returns the step that goes back to v after its backoff and its pauses,
// if it is allowed and ends in time.
func (r *run) back(v *visit, now time.Time) (step, bool) {
	if v.tries == 0 || v.tries >= r.attempts() || r.call.streamed != nil {
		return step{}, false
	}
	s, ok := r.call.stands(v.endpoint, now)
	if !ok || s.open {
		return step{}, false
	}
	wait := max(v.due.Sub(now), s.resting.until.Sub(now), 0)
	return step{endpoint: v.endpoint, model: v.model, wait: wait},
		r.inTime(s.resting.until.Sub(now), now, r.t.config.retry.MaxRetryAfter) && r.inTime(wait, now, wait)
}

// attempts is how often the call may try one account.
func (r *run) attempts() int {
	if r.broken != nil {
		return 1 // the caller waits in the middle of an answer
	}
	if r.call.Attempts != 0 {
		return max(r.call.Attempts, 1)
	}
	return r.t.config.retry.Attempts
}

// inTime reports whether a wait is within a bound and ends before the
// caller's deadline: one that cannot is not begun.
func (r *run) inTime(wait time.Duration, now time.Time, bound time.Duration) bool {
	deadline, ok := r.call.Deadline()
	return wait <= bound && (!ok || now.Add(wait).Before(deadline))
}

// afford takes an extra attempt out of the budget.
func (r *run) afford(now time.Time, e *endpoint, model string) bool {
	if r.t.budget.Take(now) {
		return true
	}
	denied := func(t *Attempt) { t.Denied = true }
	switch {
	case r.last != nil:
		r.call.book.amend(r.last.place, denied)
	case r.broken != nil:
		r.call.book.amend(r.broken.place, denied)
	}
	r.t.emit(r.call, Event{Kind: KindBudget, Endpoint: e.Name, Model: model})
	return false
}

// wait waits as the step says; it returns an error only when the caller leaves.
func (r *run) wait(s step) error {
	if s.wait <= 0 {
		return nil
	}
	r.t.emit(r.call, Event{Kind: KindWait, Endpoint: s.endpoint.Name, Model: s.model, Attempt: r.n + 1, Wait: s.wait})
	if s.probe != nil {
		return s.probe.await(r.call, s.wait)
	}
	if r.last == nil || s.endpoint.tier < r.last.endpoint.tier || s.endpoint == r.last.endpoint {
		r.patience -= s.wait
	}
	return sleep(r.call, s.wait)
}

// resting returns the pause that keeps the call from the step's endpoint now.
func (r *run) resting(s step) pause {
	now, _ := r.call.stands(s.endpoint, time.Now())
	return now.resting
}

// waitOn decides anew, for an endpoint earned another pause while the call
// waited for it: as often as it may be tried.
func (r *run) waitOn(rest pause) step {
	now := r.now()
	if r.outwaited++; r.outwaited < r.attempts() {
		return r.next(now)
	}
	return step{pause: rest, blocked: ClassPaused, retry: rest.until.Sub(now)}
}

// settle hands an answer over, or says what went wrong.
func (r *run) settle(got sent) (*attempt, *http.Response, *trouble) {
	a := got.a
	if got.panic != nil {
		panic(got.panic)
	}
	if got.err == nil {
		accepted := false
		defer func() {
			if !accepted { // an Observer panics: nothing may be held for good
				a.end(ClassRewrite, errPanic, Usage{}, 0)
				got.resp.Body.Close()
			}
		}()
		r.n = a.n
		r.accept(a, got.resp)
		accepted = true
		return a, got.resp, nil
	}
	var tr *trouble
	if !errors.As(got.err, &tr) {
		tr = a.broken(got.err, ClassUnreachable)
	}
	if tr.class.local() && a.n == r.begun { // its number is the next one's
		r.begun--
	}
	r.n = r.begun
	return a, nil, tr
}

// accept hands the response over.
func (r *run) accept(a *attempt, resp *http.Response) {
	now := time.Now()
	took := now.Sub(a.start)
	over := false // the caller has left meanwhile
	r.call.book.amend(a.place, func(t *Attempt) {
		t.Verdict, t.Status, t.FirstToken = VerdictAccept, resp.StatusCode, took
		if over = t.Class != ""; !over {
			t.Class = ClassOK
		}
	})
	a.endpoint.load.sample(took, now)
	if r.t.pauses.any() {
		for _, key := range r.call.pauseKeys(a.endpoint, a.model) {
			r.t.pauses.recovered(key, now)
		}
	}
	r.sign(a.endpoint, resp)
	a.emit(KindCommit)
	if over {
		a.emit(KindAttempt)
	}
	if whole, ok := resp.Body.(*wholeBody); ok {
		a.end(ClassOK, nil, usageOf(a.answer.Usage), int64(len(whole.bytes)))
		a.cancel(errClosed)
	}
}

// sign says in the headers who answered after how many attempts.
func (r *run) sign(e *endpoint, resp *http.Response) {
	values := [2]string{e.Name, "1"}
	if r.n != 1 {
		values[1] = strconv.Itoa(r.n)
	}
	if resp.Header == nil {
		resp.Header = make(http.Header, 2)
	}
	resp.Header[headerEndpoint] = values[:1:1]
	resp.Header[headerAttempts] = values[1:]
}

// after learns from an attempt that gave no answer and decides what to do next.
func (r *run) after(a *attempt, tr *trouble) step {
	if r.over != nil {
		return *r.over
	}
	now := r.now()
	s := r.learn(a, tr, now)
	if s.err != nil || s.asCame {
		return s
	}
	if tr.class == ClassCircuitOpen && !r.raced {
		r.raced = true
		return r.next(now)
	}
	if r.call.streamed == nil && !(r.t.config.retry.SendOnce && tr.mayBeBilled(a.sent.Load())) {
		s = r.next(now)
	}
	r.distrust(a, tr, s, now)
	return s
}

// learn ends an attempt that gave no answer, and remembers what it showed. The
// step it returns says whether the call ends with it.
func (r *run) learn(a *attempt, tr *trouble, now time.Time) step {
	mayBeBilled := tr.mayBeBilled(a.sent.Load())
	r.call.book.amend(a.place, func(t *Attempt) {
		t.MayBeBilled = t.MayBeBilled || mayBeBilled
		if tr.class.local() {
			t.N = 0
		}
	})
	a.end(tr.class, tr.err, usageOf(a.answer.Usage), 0)
	a.cancel(errClosed)
	if tr.class == ClassCircuitOpen && !r.raced {
		return step{} // somebody else took the probe between look and leap
	}
	masks := r.remember(a, tr, now)
	switch tr.class {
	case ClassCanceled, ClassDeadline:
		return step{err: tr.err}
	case ClassFiltered:
		r.shown = tr
		return step{asCame: true}
	case ClassRefused:
		if !masks || a.endpoint == r.call.meant {
			r.shown = tr // who was asked says that the call is at fault
			return step{asCame: true}
		}
	case ClassKeyRejected, ClassNoFunds:
		if !a.endpoint.keyed && r.call.goesTo(a.endpoint) && !masks {
			return step{asCame: true}
		}
	}
	r.rest(a, tr, now)
	return step{}
}

// remember keeps the visit and decides whose response the caller would see.
// It reports whether tr would mask an earlier trouble.
func (r *run) remember(a *attempt, tr *trouble, now time.Time) (masks bool) {
	v := r.call.visited(a.endpoint.Account)
	if v == nil {
		v = &visit{account: a.endpoint.Account}
		r.call.mu.Lock()
		r.call.visits = append(r.call.visits, v)
		r.call.mu.Unlock()
	}
	v.endpoint, v.model, v.trouble, v.place = a.endpoint, a.model, tr, a.place
	tr.endpoint = a.endpoint
	if !tr.class.local() {
		v.tries++
	}
	if v.delays == nil {
		v.delays = r.t.config.newBackOff()
	}
	v.due = now.Add(v.delays.NextBackOff())
	if tr.class == ClassUnsuited {
		r.call.mu.Lock()
		r.call.unsuited = append(r.call.unsuited, option{a.endpoint, a.model})
		r.call.mu.Unlock()
	}
	r.last = v
	masks = r.first != nil
	if r.first == nil {
		r.first = tr
	}
	// The first trouble is never masked: a later response shows only if the
	// first had none and it is the same kind of failure, of the fleet.
	distrusted := tr.class == ClassKeyRejected || tr.class == ClassNoFunds // of a key that is not the caller's
	if tr.resp != nil && r.shown == nil && (!masks || tr.class.ofTheFleet() && !distrusted) {
		r.shown = tr
	}
	return masks
}

// rest has the endpoint or the account's limit rest if it asked for that or earned it.
func (r *run) rest(a *attempt, tr *trouble, now time.Time) {
	keys := r.call.pauseKeys(a.endpoint, a.model)
	wait := tr.retryAfter
	switch {
	case tr.class == ClassRateLimited:
		// A host that asks for a second each time is not asked each second. One
		// try speaks for all callers, so the pause may grow beyond one call's backoff.
		// Nor where the number of permits adapts: that is rest enough.
		if l := a.endpoint.limits.of(a.model); !tr.asked && l.adapts() {
			return
		}
		if !tr.asked || wait > 0 {
			wait = max(wait, r.t.pauses.earn(keys[ofLimit], now, r.t.config.retry.MinDelay, 2*r.t.config.retry.MaxDelay, tr.refusal()))
		}
		if tr.asked {
			r.t.pauses.ask(keys[ofLimit], now, tr.retryAfter, tr.refusal())
		}
	case tr.class == ClassUnavailable && tr.asked:
		r.t.pauses.ask(keys[ofEndpoint], now, wait, tr.refusal())
	default:
		return
	}
	r.t.emit(r.call, Event{Kind: KindPause, Endpoint: a.endpoint.Name, Model: a.model, Class: tr.class, Wait: wait})
}

// distrust has rest for long what will not get better by itself: an endpoint
// whose key was rejected, an account without funds, a model that an endpoint
// does not have. It says so loudly, for a person has to look at it. Where
// nobody else could serve, nothing rests: what was mended works at once. The
// caller's own key makes nobody rest.
func (r *run) distrust(a *attempt, tr *trouble, s step, now time.Time) {
	e := Event{
		Kind: KindKey, Endpoint: a.endpoint.Name, Model: a.model, Attempt: a.n, Status: tr.status, Class: tr.class,
	}
	of, wait := ofEndpoint, keyPause
	switch tr.class {
	case ClassKeyRejected:
	case ClassNoFunds:
		of = ofAccount
	case ClassNoModel:
		of, wait, e.Kind = ofModel, modelPause, KindPause
	default:
		return
	}
	if !a.endpoint.keyed {
		return
	}
	if s.endpoint != nil {
		e.Wait = wait
		r.t.pauses.earn(r.call.pauseKeys(a.endpoint, a.model)[of], now, wait, wait, tr.refusal())
	} else if of == ofModel {
		return
	}
	r.t.emit(r.call, e)
}

// report tells of a failed attempt, now that it is known what follows.
func (a *attempt) report(s step) {
	a.call.book.amend(a.place, func(t *Attempt) {
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

// giveUp is the end of a call that no endpoint answered.
func (r *run) giveUp(s step) (*http.Response, error) {
	c := r.call
	if r.broken != nil { // its caller hears what the stream ended in
		return nil, errNoRescue
	}
	if len(c.visits) == 0 {
		if s.blocked == "" {
			s.blocked = ClassUnserved
		}
		r.blocked(s)
	}
	c.exhausted = !s.asCame && (r.shown == nil || r.shown.class.ofTheFleet())
	c.unprobed = c.exhausted && (r.first == nil || r.leftOpen || r.last != nil && r.last.trouble.class == ClassNoFirstToken)
	if c.exhausted && r.t.config.asErrors {
		return nil, &Error{Attempts: c.book.list()}
	}
	if r.shown != nil {
		resp := r.shown.resp
		if resp.Header == nil {
			resp.Header = make(http.Header)
		}
		if retriedBySDKs(resp.StatusCode) {
			resp.Header.Set(headerRetry, "false")
		}
		r.sign(r.shown.endpoint, resp)
		return resp, nil
	}
	failure := &Error{Attempts: c.book.list()}
	c.fails(failure)
	if s.pause.refusal != nil && len(c.visits) == 0 {
		return c.pausedAnswer(s.pause, s.retry), nil
	}
	class := s.blocked
	if r.first != nil {
		class = r.first.class
	}
	return c.ownAnswer(class, failure.summary(), s.retry), nil
}

const errNoRescue = ownError("no rescue")

// blocked records that nothing was tried, and why.
func (r *run) blocked(s step) {
	now := time.Now()
	for _, e := range r.call.candidates {
		st, ok := r.call.stands(e, now)
		if !ok {
			continue
		}
		class, err := s.blocked, error(nil)
		switch {
		case st.open:
			class, err = ClassCircuitOpen, ErrCircuitOpen
		case !st.resting.until.IsZero():
			class, err = ClassPaused, errPaused
		}
		r.call.book.record(Attempt{Endpoint: e.Name, Model: st.model, Start: now, Class: class, Verdict: VerdictStop, Err: err})
	}
}

// retriedBySDKs reports whether the SDKs above try again on a status by themselves.
func retriedBySDKs(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusConflict ||
		status == http.StatusTooManyRequests || status >= 500
}
