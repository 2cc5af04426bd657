package breakwater

import (
	"context"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/pause"
	"github.com/breakwater-go/breakwater/internal/plan"
	"github.com/breakwater-go/breakwater/internal/request"
)

// A failover is the innermost layer of a call: the one loop of attempts, with
// one budget for retry and failover alike.
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
		r.patience = 0 // the caller waits in the middle of an answer
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
func (f *fleet) conversationOf(c *call) uint64 {
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
		if r.call.resumption != nil && !r.takeExtra(time.Now(), s.endpoint, s.model) {
			return r.giveUp(step{})
		}
		a, resp, failure := r.race(s)
		if failure == nil {
			return resp, nil
		}
		s = r.decide(a, failure)
		a.report(s)
	}
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
		c.setFailure(failure)
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

// pausedAnswer returns the refusal that made an endpoint pause once more.
func (c *call) pausedAnswer(p pause.Pause[refusal], wait time.Duration) *http.Response {
	resp := c.response(p.Note.status, p.Note.body)
	if p.Note.contentType != "" {
		resp.Header.Set("Content-Type", p.Note.contentType)
	}
	resp.Header.Set(header.Error, string(ClassPaused))
	resp.Header.Set(header.ShouldRetry, "false")
	resp.Header.Set("Retry-After", seconds(wait))
	return resp
}
