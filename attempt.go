package breakwater

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// An attempt is one trip to one endpoint. It is the context of the request it
// sends, so that the layers below the loop find it.
type attempt struct {
	exchange.Exchange // its context, its clock and its answer

	run       *failoverRun // of the call, that made it
	call      *call
	endpoint  *upstream
	model     string // by the endpoint's name
	n         int32
	place     int32         // in the trail
	queued    time.Duration // for a permit and the buckets
	layers    [3]finisher   // room for those of our own layers
	permit    circuit.Permit
	status    int32          // of a refusal; of an error inside a 200, what that stands for
	limitSaid int32          // the number a host that refuses may give for its limit
	body      reqbody.Reader // of the request, unless that is streamed
	sending   sending        // of the request, if there is no middleware to make its own

	forced    bool                  // may pass an open circuit: nobody else could serve
	blameless bool                  // it ends in no failure of the host's, whatever its class
	sent      atomic.Bool           // the base began to read the request's body
	failed    atomic.Pointer[error] // what that body itself ended in

	mu        sync.Mutex // guards what follows
	repeats   *repeated  // what middleware has sent, the latest first
	second    *sentBody  // the latest that the base got in the place of the first
	replayed  bool       // what was read of one is sent in another
	over      bool
	counted   bool            // among those sent to the endpoint
	buffer    *reqbody.Buffer // of the request's body, while the attempt is sent; nil: it has none
	finishers []finisher      // told at the end, from the last to the first
	class     Class           // it ended in
	used      Usage           // set before the enders are told
}

// An finisher is told, exactly once, how an exchange ended.
type finisher interface {
	finish(*attempt, Class)
}

type attemptKey struct{}

// Value finds the attempt itself under its key.
func (a *attempt) Value(key any) any {
	if key == (attemptKey{}) {
		return a
	}
	return a.Exchange.Value(key)
}

func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// BodyRead notes that the base reads the request's body: from the first read on,
// the host may see, and bill, the request.
func (a *attempt) BodyRead() {
	if a.sent.Load() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sent.CompareAndSwap(false, true) && !a.over {
		a.counted = true
		a.endpoint.Load.Send()
	}
}

// BodyFailed notes what the caller's own body ended in before its end.
func (a *attempt) BodyFailed(err error) { a.failed.Store(&err) }

// onFinish has e told of the end; the last one registered is told first. It
// reports false if the attempt, outrun by another, has ended meanwhile: e has
// been told then.
func (a *attempt) onFinish(e finisher) bool {
	a.mu.Lock()
	over, class := a.over, a.class
	if !over {
		a.finishers = append(a.finishers, e)
	}
	a.mu.Unlock()
	if over {
		e.finish(a, class)
	}
	return !over
}

// End is the end of the exchange. Whoever comes first decides how it ended.
func (a *attempt) End(class Class, err error, used wire.Usage, bytes int64) {
	a.mu.Lock()
	if a.over {
		a.mu.Unlock()
		return
	}
	a.over, a.class, a.used = true, class, Usage(used)
	a.mu.Unlock()
	a.FirstPayload.Stop()
	a.giveBack(class)
	accepted := false
	a.update(func(t *Attempt) {
		t.Class, t.Err, t.Usage, t.Bytes = class, err, Usage(used), bytes
		t.Elapsed = time.Since(a.Start)
		accepted = t.Verdict == VerdictAccept
	})
	if accepted {
		a.emit(KindAttempt)
	} // else the loop tells, once it knows what to do next
}

// MayTakeOver reports whether another endpoint may be asked before this one has
// answered. A caller who has half an answer is not kept waiting for what may
// never come.
func (a *attempt) MayTakeOver() bool {
	return a.call.resumption != nil || !(a.run.retry.SendOnce && a.sent.Load()) && a.Elsewhere()
}

// Elsewhere reports whether another endpoint could serve the call now.
func (a *attempt) Elsewhere() bool { return a.run.hasAlternative(a.endpoint) }

// EndpointName names who answers.
func (a *attempt) EndpointName() string { return a.endpoint.Name }

// endNow ends the exchange and all that is done for it.
func (a *attempt) endNow(class Class, err error, used wire.Usage, cause error) {
	defer a.Cancel(cause) // also if an Observer panics
	a.End(class, err, used, 0)
}

// giveBack gives back what the attempt holds.
func (a *attempt) giveBack(class Class) {
	defer a.runFinishers(class)
	if a.call.upload != nil && !outcome.Of(class).Local { // what was not sent may still be
		a.call.upload.Close()
	}
}

// outcome is what its circuit and its endpoint's load hear of an attempt that
// ended in class.
func (a *attempt) outcome(class Class) outcome.Outcome {
	if a.blameless {
		return outcome.Neutral
	}
	return outcome.Of(class).Outcome
}

// runFinishers tells the enders, from the last to the first: all of them, even if the
// user's code panics behind one.
func (a *attempt) runFinishers(class Class) {
	defer func() {
		if len(a.finishers) > 0 { // a panic passes
			a.runFinishers(class)
		}
	}()
	for n := len(a.finishers); n > 0; n = len(a.finishers) {
		e := a.finishers[n-1]
		a.finishers = a.finishers[:n-1]
		e.finish(a, class)
	}
}

// update changes what the trail says of the attempt.
func (a *attempt) update(change func(*Attempt)) { a.call.log.update(int(a.place), change) }

// emit tells observers what the trail says of the attempt.
func (a *attempt) emit(kind Kind) {
	if told := a.run.observers; len(told) > 0 {
		told.emit(a.call, a.call.log.at(int(a.place)).event(kind))
	}
}

// A sent is what an attempt on its way came to.
type sent struct {
	a     *attempt
	resp  *http.Response
	err   error
	panic any // of the user's code below
}

// drop gives back what came and is not to be had, for an Observer panics.
func (s sent) drop() {
	if s.resp != nil {
		defer s.resp.Body.Close()
	}
	s.a.endNow(ClassRewrite, outcome.ErrPanic, wire.Usage{}, outcome.ErrPanic)
}

// orClose does what may run an Observer, and closes the response if that panics.
func orClose(resp *http.Response, do func()) {
	done := false
	defer func() {
		if !done {
			resp.Body.Close()
		}
	}()
	do()
	done = true
}

// send sends the attempt through its layers.
func (a *attempt) send() sent {
	returned := false
	defer func() {
		if !returned { // a panic below: nothing may be held for good
			a.useBuffer(nil)
			a.endNow(ClassRewrite, outcome.ErrPanic, wire.Usage{}, outcome.ErrPanic)
		}
	}()
	resp, err := a.endpoint.pipeline.RoundTrip(a.call.req.WithContext(a))
	returned = true
	a.useBuffer(nil)
	return sent{a: a, resp: resp, err: err}
}

// useBuffer has the attempt send another buffer than so far, nil for none.
func (a *attempt) useBuffer(other *reqbody.Buffer) {
	a.mu.Lock()
	last := a.buffer
	a.buffer = other
	a.mu.Unlock()
	last.Release()
}
