package breakwater

import (
	"context"
	"io"
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

	run          *failoverRun // of the call, that made it
	call         *call
	endpoint     *upstream
	model        string // by the endpoint's name
	n            int32
	place        int32         // in the trail
	queued       time.Duration // for a permit and the buckets
	layers       [3]finisher   // room for those of our own layers
	permit       circuit.Permit
	body         reqbody.Reader // of the request, unless that is streamed
	transmission transmission   // of the request, if there is no middleware to make its own

	forced    bool                  // may pass an open circuit: nobody else could serve
	blameless bool                  // it ends in no failure of the host's, whatever its class
	sent      atomic.Bool           // the base began to read the request's body
	failed    atomic.Pointer[error] // what that body itself ended in

	mu          sync.Mutex   // guards what follows
	resends     *resend      // what middleware has sent, the latest first
	replacement *trackedBody // the latest that the base got in the place of the first
	replayed    bool         // what was read of one is sent in another
	ended       bool
	counted     bool            // among those sent to the endpoint
	status      int32           // of a refusal; of an error inside a 200, what that stands for
	statedLimit int32           // the number a host that refuses may give for its limit
	buffer      *reqbody.Buffer // of the request's body, while the attempt is sent; nil: it has none
	finishers   []finisher      // called at the end, from the last to the first
	class       Class           // it ended in
	used        Usage           // set before the finishers are called
}

// A finisher is called exactly once, at the end of an attempt.
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
	if a.sent.CompareAndSwap(false, true) && !a.ended {
		a.counted = true
		a.endpoint.Load.Send()
	}
}

// BodyFailed notes what the caller's own body ended in before its end.
func (a *attempt) BodyFailed(err error) { a.failed.Store(&err) }

// onFinish has e called at the end; the last one registered is called first. It
// reports false if the attempt has ended meanwhile, because another was faster: e
// has been called then.
func (a *attempt) onFinish(e finisher) bool {
	a.mu.Lock()
	ended, class := a.ended, a.class
	if !ended {
		a.finishers = append(a.finishers, e)
	}
	a.mu.Unlock()
	if ended {
		e.finish(a, class)
	}
	return !ended
}

// End ends the exchange. The first call decides how it ended.
func (a *attempt) End(class Class, err error, used wire.Usage, bytes int64) {
	a.mu.Lock()
	if a.ended {
		a.mu.Unlock()
		return
	}
	a.ended, a.class, a.used = true, class, Usage(used)
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

// EndpointName returns the name of the endpoint.
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

// runFinishers calls all finishers, from the last to the first, even if user code
// panics in one.
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
	if os := a.run.observers; len(os) > 0 {
		os.emit(a.call, a.call.log.at(int(a.place)).event(kind))
	}
}

// A sendResult is what an attempt on its way came to.
type sendResult struct {
	a     *attempt
	resp  *http.Response
	err   error
	panic any // of the user's code below
}

// discard gives back what came and is not to be had, for an Observer panics.
func (s sendResult) discard() {
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
func (a *attempt) send() sendResult {
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
	return sendResult{a: a, resp: resp, err: err}
}

// useBuffer has the attempt send another buffer than so far, nil for none.
func (a *attempt) useBuffer(other *reqbody.Buffer) {
	a.mu.Lock()
	last := a.buffer
	a.buffer = other
	a.mu.Unlock()
	last.Release()
}

// finish tells the endpoint's load, and the conversation, how an attempt ended.
func (u *upstream) finish(a *attempt, class Class) {
	u.Load.End(a.counted)
	switch {
	case class == ClassOK:
		u.answered.Store(true)
		a.run.affinity.Remember(time.Now(), a.call.conversation, &u.Target, a.used.PromptTokens, a.used.CachedTokens)
	case a.outcome(class) == outcome.Failure:
		now := time.Now()
		u.Load.Fail(now.Sub(a.Start), now)
	}
}

// A transmission is a request on its way through the base. Above the base, a body
// may be read as often as anybody likes: who signs a request reads it. Below,
// what is read is sent, and what is sent again is counted. An attempt is one
// sending, unless middleware of the user's makes several.
type transmission struct {
	attempt *attempt
	start   time.Duration // since the attempt's
	body    trackedBody
	again   func() (io.ReadCloser, error) // the request's own GetBody; nil: the attempt's

	sent    atomic.Bool // the base began to read the body, or a copy
	ended   atomic.Bool
	refused atomic.Bool // by a status that costs nothing
}

// A trackedBody is a request's body as the base reads it. From the first read on,
// the host may see, and bill, the request.
type trackedBody struct {
	io.ReadCloser
	of *transmission

	read, closed atomic.Bool
}

func (t *trackedBody) Read(p []byte) (int, error) {
	if !t.read.Load() {
		t.read.Store(true)
		t.of.sent.Store(true)
		t.of.attempt.BodyRead()
	}
	return t.ReadCloser.Read(p)
}

func (t *trackedBody) Close() error {
	t.closed.Store(true)
	return t.ReadCloser.Close()
}

// A resend is a sending that middleware makes.
type resend struct {
	transmission
	path     string
	previous *resend
}

// track has the base read req's body, if there is one, through the sending.
func (t *transmission) track(a *attempt, req *http.Request, now time.Time) {
	if req.Body == nil || req.Body == http.NoBody {
		return
	}
	t.attempt, t.start, t.again = a, now.Sub(a.Start), req.GetBody
	t.body.ReadCloser, t.body.of = req.Body, t
	req.Body = &t.body
	switch {
	case a.run.retry.SendOnce:
		req.GetBody = nil
	case req.GetBody != nil:
		req.GetBody = t.replay
	}
}

// finish notes what came of the sending.
func (t *transmission) finish(resp *http.Response) {
	if resp != nil && (resp.StatusCode < 200 || resp.StatusCode > 299) && !afterWork(resp.StatusCode) {
		t.refused.Store(true)
	}
	t.ended.Store(true)
}

// copyBody is the attempt's body once more, to be read.
func (a *attempt) copyBody() (io.ReadCloser, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.buffer == nil {
		return nil, outcome.ErrClosed
	}
	return a.buffer.NewReader(), nil
}

// replay is the sending's body once more. The base may send once again, at once,
// what no host has taken in: into a connection that was idle and just closed, on
// a stream that was refused (HTTP/2's REFUSED_STREAM and GOAWAY). Left alone,
// net/http does that for a minute; to try again later is the loop's office.
// Before the base reads or closes the body itself, it sends nothing: it may sign
// what it is to send, and gets as many copies as it likes.
func (t *transmission) replay() (io.ReadCloser, error) {
	again := t.again
	if again == nil {
		again = t.attempt.copyBody
	}
	body, err := again()
	if err != nil {
		return nil, err
	}
	b := &trackedBody{ReadCloser: body, of: t}
	if (t.body.read.Load() || t.body.closed.Load()) && !t.attempt.mayReplay(b) {
		body.Close()
		return nil, errNotTaken
	}
	return b, nil
}

// mayReplay reports whether the base may send b in the place of what it had.
func (a *attempt) mayReplay(b *trackedBody) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	last := &b.of.body
	if a.replacement != nil && a.replacement.of == b.of {
		last = a.replacement
	}
	switch {
	case !last.read.Load(): // nor sent: behind GOAWAY, net/http asks twice for what it sends once
	case a.replayed, now.Sub(a.Start)-b.of.start > replayWithin, !a.run.budget.Take(now):
		return false
	default:
		a.replayed = true
		a.update(func(t *Attempt) { t.MayBeBilled = true })
	}
	a.replacement = b
	return true
}

const (
	// replayWithin is how soon a connection that was idle turns out closed; after
	// that, the host may have worked on the request.
	replayWithin = time.Second

	// errNotTaken is an attempt that the host turned away twice, unread.
	errNotTaken = outcome.Error("the host did not take the request in")
	// errSentAgain is what middleware gets that sends again what it may not.
	errSentAgain = outcome.Error("sent before, and RetryPolicy does not let it be sent again")
)

// trackSend returns what middleware sends as the base is to have it: a copy, for
// the request is the middleware's. To send to a path again is an extra attempt,
// as the loop's are, whatever body that has; what goes to another path may
// fetch a token.
func (a *attempt) trackSend(req *http.Request) (*transmission, *http.Request, error) {
	s := &resend{}
	req = req.WithContext(req.Context())
	s.track(a, req, time.Now())
	if s.attempt == nil { // it has no body, so nobody bills it
		return &s.transmission, req, nil
	}
	if req.URL != nil {
		s.path = req.URL.Path
	}
	if !a.maySend(s) {
		req.Body.Close()
		return nil, nil, errSentAgain
	}
	return &s.transmission, req, nil
}

// maySend reports whether middleware may send this, beside what it has sent.
func (a *attempt) maySend(s *resend) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	again, billed := false, false
	for other := a.resends; other != nil; other = other.previous {
		if other.path == s.path && (other.sent.Load() || !other.ended.Load()) {
			again, billed = true, billed || !other.refused.Load()
		}
	}
	switch {
	case !again:
	case a.run.retry.SendOnce && billed:
		return false
	case !a.run.budget.Take(a.Start.Add(s.start)):
		a.update(func(t *Attempt) { t.Denied = true })
		return false
	case billed:
		a.update(func(t *Attempt) { t.MayBeBilled = true })
	}
	s.previous, a.resends = a.resends, s
	return true
}

// mayBeBilled reports whether the host may have worked for nothing, if the
// request was sent. A refusal costs nothing, but a gateway's may come from a
// host that answered it too late.
func mayBeBilled(f *exchange.Failure, sent bool) bool {
	return sent && (!f.Refused || afterWork(f.Status))
}

// afterWork reports whether a status may come when a host has worked in vain.
func afterWork(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusBadGateway || status == http.StatusGatewayTimeout
}
