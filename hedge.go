package breakwater

import (
	"net/http"
	"time"
)

// race makes the step's attempt, and, should it show no payload for Hedge, one
// more at another account beside it. The first keeps its place in the queue;
// the first payload wins, and the other attempt is cancelled.
func (r *run) race(s step) (*attempt, *http.Response, *trouble) {
	hedge := r.t.config.stream.Hedge
	if hedge == 0 || r.broken != nil || r.call.streamed != nil || len(r.call.candidates) < 2 || r.t.config.retry.SendOnce {
		return r.settle(r.begin(s).send())
	}
	if r.begun == 0 { // who is outrun may go on when the caller has its request back
		r.call.req = ownRequest(r.call.req, r.call)
	}
	first := r.begin(s)
	came := make(chan sent, 2) // so that a loser need not wait for a reader
	go func() { came <- first.sendApart() }()
	timer := time.NewTimer(hedge)
	defer timer.Stop()
	select {
	case got := <-came:
		return r.settle(got)
	case <-timer.C:
	}
	beside, ok := r.beside(first)
	if !ok {
		return r.settle(<-came)
	}
	second := r.begin(beside)
	r.t.emit(r.call, Event{Kind: KindHedge, Endpoint: second.endpoint.Name, Model: second.model, Attempt: second.n, Wait: hedge})
	go func() { came <- second.sendApart() }()

	got := <-came
	other := first
	if got.a == first {
		other = second
	}
	if got.err != nil && got.panic == nil {
		a, _, tr := r.settle(got)
		// What failed first has another beside it: that may still answer.
		end := r.learn(a, tr, time.Now())
		if end.err == nil && !end.asCame {
			a.report(step{endpoint: other.endpoint})
			return r.settle(<-came)
		}
		r.over = &end
		other.outrun(came)
		return a, nil, tr
	}
	other.outrun(came)
	return r.settle(got)
}

// beside returns a step to an account that could take the call at once, beside
// the attempt that is slow, if the budget allows it.
func (r *run) beside(first *attempt) (step, bool) {
	now := r.now()
	options := r.options[:0]
	for _, e := range r.call.candidates {
		if e.Account == first.endpoint.Account || r.call.visited(e.Account) != nil {
			continue
		}
		if s, ok := r.call.stands(e, now); ok && s.ready && (len(options) == 0 || e.tier == options[0].endpoint.tier) {
			options = append(options, option{e, s.model})
		}
	}
	if len(options) == 0 || !r.afford(now, first.endpoint, first.model) {
		return step{}, false
	}
	o := r.t.choose(r.call, options, now)
	r.call.mu.Lock()
	r.call.racing = [2]*endpoint{first.endpoint, o.endpoint}
	r.call.mu.Unlock()
	return step{endpoint: o.endpoint, model: o.model}, true
}

// sendApart sends on a goroutine of its own; the user's panics go back to the call's.
func (a *attempt) sendApart() (got sent) {
	defer func() {
		if p := recover(); p != nil {
			got = sent{a: a, panic: p}
		}
	}()
	return a.send()
}

// outrun ends an attempt that another one was faster than, and throws away
// what may still come of it.
func (a *attempt) outrun(came <-chan sent) {
	a.call.book.amend(a.place, func(t *Attempt) { t.Verdict, t.MayBeBilled = VerdictStop, t.MayBeBilled || a.sent.Load() })
	a.end(ClassOutrun, errOutrun, Usage{}, 0)
	a.cancel(errOutrun)
	a.report(step{})
	go apart(func() {
		if late := <-came; late.resp != nil {
			late.resp.Body.Close()
		}
	})()
}
