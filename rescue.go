package breakwater

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/resume"
	"github.com/breakwater-go/breakwater/internal/sse"
)

// maxRescues is how many times one stream is rescued.
const maxRescues = 3

// A rescuer is the layer that continues a stream that breaks after its first payload.
// It asks the layer below for the rest of the answer.
type rescuer struct {
	next      http.RoundTripper
	policy    Rescue
	off       Reason        // why no stream at all is continued; empty: some are
	limits    resume.Limits // of an answer that a host continues, without its reasoning
	reasoned  resume.Limits // of one that may have reasoning, too
	exchanges exchange.Policy
	observers observers
}

// newRescuer returns the layer of a Transport; its next is the failover layer.
func newRescuer(c *config) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		r := &rescuer{next: next, policy: c.stream.Rescue, reasoned: resume.Limits{Reasoning: true}, exchanges: c.stream.exchanges(), observers: c.observers}
		switch {
		case c.stream.Rescue == RescueOff:
			r.off = ReasonOff
		case c.retry.SendOnce:
			r.off = ReasonSendOnce
		}
		return r
	}
}

// RoundTrip returns a stream that can be continued as a resumable.
func (r *rescuer) RoundTrip(req *http.Request) (*http.Response, error) {
	c := callOf(req.Context())
	if c.unrescued = r.obstacle(c); c.unrescued == "" {
		c.transcribe, c.unrescued = r.limitsOf(c)
	}
	resp, err := r.next.RoundTrip(req)
	if err != nil || c.transcribe == nil {
		return resp, err
	}
	switch s, ok := resp.Body.(*exchange.Stream); {
	case !ok:
		c.unrescued = ReasonContent
	case !s.IsResumable():
		c.unrescued = forgotten(c, s)
	default:
		body := &resumable{layer: r, call: c, body: c.buffer, id: idOf(s.Head())}
		body.inner.Store(s)
		resp.Body = body
	}
	return resp, nil
}

// obstacle returns why no answer that the call asks for could be continued, or "" if one could.
func (r *rescuer) obstacle(c *call) Reason {
	p := &c.params
	switch {
	case r.off != "":
		return r.off
	case c.op != request.Chat && c.op != request.Messages && c.op != request.Responses:
		return ReasonAPI
	case c.encoded, c.buffer == nil, !p.Stream, c.op == request.Chat && (p.Choices != 1 || p.Logprobs):
		return ReasonRequest
	}
	return ""
}

// leavesTraces reports whether a request for a response says that its host should store the
// response, add it to a conversation or make it in the background. Then another request would
// do so twice, and the caller would know the wrong one.
func leavesTraces(body []byte) bool {
	for _, v := range gjson.GetManyBytes(body, "store", "background", "conversation") {
		if v.Type != gjson.False && v.Type != gjson.Null {
			return true
		}
	}
	return false
}

// hasOwnBeginning reports whether the call's messages do not end in a question: their last one
// begins the answer, or there are none.
func hasOwnBeginning(c *call, body []byte) bool {
	role := ""
	if c.op == request.Messages {
		gjson.GetBytes(body, "messages").ForEach(func(_, m gjson.Result) bool {
			role = m.Get("role").Str
			return true
		})
	}
	return c.params.MessagesEnd == 0 || c.params.PrefixCompletion || role == "assistant"
}

// forgotten returns why a stream of the call cannot be continued any more.
func forgotten(c *call, s *exchange.Stream) Reason {
	f := s.Forgotten()
	return reasonOf(c.transcribe.Obstacle(f.Text, f.Reasoning, f.Other))
}

// reasonOf returns the reason for an obstacle in the text.
func reasonOf(o resume.Obstacle) Reason {
	switch o {
	case resume.TooLong:
		return ReasonLength
	case resume.Thought:
		return ReasonThought
	}
	return ReasonContent
}

// limitsOf returns what is kept of an answer to the call, or why nobody could continue it.
func (r *rescuer) limitsOf(c *call) (*resume.Limits, Reason) {
	restart := r.policy == RescueRestart
	reasoned := canContinue(c, true)
	switch {
	case restart && c.op == request.Responses && leavesTraces(c.body()):
		return nil, ReasonRequest
	case restart:
		return &r.reasoned, ""
	case !reasoned && !canContinue(c, false):
		if c.op == request.Chat && hasOwnBeginning(c, c.body()) {
			return nil, ReasonRequest
		}
		return nil, ReasonHost
	case hasOwnBeginning(c, c.body()):
		return nil, ReasonRequest
	case reasoned:
		return &r.reasoned, ""
	}
	return &r.limits, ""
}

// canContinue reports whether some host can continue a text for this call, and one behind
// reasoning if it is reasoned.
func canContinue(c *call, reasoned bool) bool {
	for _, e := range c.candidates {
		if e.continues(c.op, reasoned) {
			if _, ok := c.eligible(e); ok {
				return true
			}
		}
	}
	return false
}

// A resumable is a stream as its caller reads it, across the attempts that it takes.
type resumable struct {
	layer  *rescuer
	call   *call
	body   *reqbody.Buffer                         // the call's body; nil: nothing more can be requested
	id     []byte                                  // of the answer, in JSON; nil: unknown
	inner  atomic.Pointer[exchange.Stream]         // the stream of the latest attempt
	closed atomic.Bool                             // by the caller
	ended  atomic.Bool                             // the first attempt's stream has
	stop   atomic.Pointer[context.CancelCauseFunc] // cancels the latest rescue

	back sync.Mutex    // guards req; Close holds it while the caller gets its request back
	req  *http.Request // a copy of the caller's request, made when the stream first broke

	mu          sync.Mutex // guards what follows; held while the caller waits
	out         []byte     // what the caller reads next, from the latest rescue
	err         error      // what the caller gets after out
	open        bool       // the caller has read a part of an event
	first       int        // index in the trail of the first attempt
	more        int64      // bytes of out that the caller has read
	given       resume.Transcript
	rescue      *rescue  // the one being read; nil: nothing broke yet, or nothing continues the stream
	cause       error    // the error of the first attempt's stream
	broke       *attempt // the one whose stream broke last
	rescues     int
	mustRestart bool                // no host continues the text
	why         Reason              // why the latest rescue came to nothing; empty: none was tried
	completion  exchange.Completion // nil: nobody observes it
}

// A rescue is a replacement stream while it is read.
type rescue struct {
	*resume.Aligner
	scan *sse.Scanner
	eof  error // the error that the stream ended in
}

// maxID bounds the id of an answer, in bytes: each event of a rescue gets it.
const maxID = 512

// idOf finds the answer's id in its first events.
func idOf(events []byte) []byte {
	for line := range bytes.Lines(events) {
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			for _, id := range gjson.GetManyBytes(data, "id", "response.id") {
				if id.Type == gjson.String && id.Str != "" && len(id.Raw) <= maxID {
					return []byte(id.Raw)
				}
			}
		}
	}
	return nil
}

// attemptBehind returns the attempt whose answer a stream is.
func attemptBehind(s *exchange.Stream) *attempt { return s.Owner().(*attempt) }

// Kind implements exchange.Body: the answer is judged while it is read.
func (r *resumable) Kind() exchange.Kind { return exchange.KindStream }

// Observe reports to c what the caller reads.
func (r *resumable) Observe(c exchange.Completion) {
	r.completion = c
	r.inner.Load().Observe(c)
}

// Read gives the caller the next bytes. Up to its end, they are those of the first stream,
// which has a lock of its own.
func (r *resumable) Read(p []byte) (int, error) {
	var end error
	if !r.ended.Load() && !r.closed.Load() {
		var n int
		if n, end = r.inner.Load().Read(p); n > 0 || end == nil {
			return n, end
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		if r.closed.Load() {
			r.closeLocked()
		}
	}()
	if end != nil && !r.closed.Load() {
		r.end(end)
	}
	for {
		switch {
		case r.closed.Load():
			return 0, http.ErrBodyReadAfterClose
		case len(r.out) > 0:
			n := copy(p, r.out)
			r.more += int64(n)
			r.out = behind(r.out, n)
			return n, nil
		case r.err != nil:
			r.out = nil
			return 0, r.err
		}
		r.advance()
	}
}

// end begins a rescue if the first stream has broken in err. Otherwise the caller gets err.
func (r *resumable) end(err error) {
	r.ended.Store(true)
	r.first = int(attemptBehind(r.inner.Load()).place)
	if !outcome.Broke(err) {
		r.err = err
		r.release()
		return
	}
	first := r.inner.Load()
	r.open = first.IsOpen()
	dropped := !first.IsResumable()
	events := first.TakeTranscript()
	r.given = resume.NewTranscript(&events, *r.call.transcribe)
	if dropped {
		r.why = forgotten(r.call, first)
	}
	r.breakOff(err)
}

// Close ends the exchange, and a rescue that is under way.
func (r *resumable) Close() error {
	r.back.Lock()
	r.closed.Store(true)
	r.back.Unlock()
	func() {
		defer r.stopRescue()
		r.inner.Load().Close() // first, because it ends well if the caller leaves after payload, and canceled otherwise
	}()
	// If a Read is under way, it closes the stream when it returns. Close must not wait
	// for it, because an Observer may have called Close from within that Read.
	if r.mu.TryLock() {
		defer r.mu.Unlock()
		r.closeLocked()
	}
	return nil
}

// closeLocked ends what Close has begun.
func (r *resumable) closeLocked() {
	r.inner.Load().Close() // a rescue may just have replaced the stream
	r.out = nil
	defer r.endCall()
	if r.err == nil {
		r.err = http.ErrBodyReadAfterClose
	}
	r.release()
}

// release drops what is needed to request more.
func (r *resumable) release() {
	r.body, r.req, r.rescue, r.broke = nil, nil, nil, nil
	r.given.Close()
}

// stopRescue ends the attempts of the latest rescue.
func (r *resumable) stopRescue() {
	if stop := r.stop.Load(); stop != nil {
		(*stop)(outcome.ErrClosed)
	}
}

// breakOff notes that the latest stream broke, and resumes.
func (r *resumable) breakOff(err error) {
	r.broke = attemptBehind(r.inner.Load())
	r.resume(err)
}

// resume looks for a stream that continues where the latest one broke. If there is none,
// the caller gets the error of the first one.
func (r *resumable) resume(err error) {
	r.rescue = nil
	if r.cause == nil {
		r.cause = err
	}
	r.err = r.cause // in case a rescue panics
	broken := r.inner.Load()
	final := finality(broken, err)
	if final != "" {
		r.why = final
	}
	for final == "" && !r.given.Closed && r.rescues < maxRescues && !r.closed.Load() {
		how := r.way()
		if how == notRescued {
			break
		}
		r.rescues++
		next, why := r.request(how, attemptBehind(broken))
		if r.why = why; next != nil {
			r.begin(how, next)
			return
		}
		if how == rescueRestarts {
			break
		}
		r.mustRestart = true
	}
	why, broke := r.unrescued(), r.broke
	r.stopRescue()
	r.release()
	class := outcome.BreakOf(r.cause)
	if r.call.Err() != nil {
		class = ClassCanceled
	}
	defer r.call.end(class, r.cause, r.bytes())
	defer broke.reportBreak(r.cause, why)
	r.endBroken(broken)
}

// finality returns why a stream that broke in err must not be continued, whatever was delivered;
// "": it may be.
func finality(broken *exchange.Stream, err error) Reason {
	switch {
	case errors.Is(err, ErrFlawed):
		return ReasonFlawed
	case broken.IsRequestAtFault():
		return ReasonRefused
	case broken.IsInReview():
		return ReasonReview
	}
	return ""
}

// unrescued returns why nothing continues the stream.
func (r *resumable) unrescued() Reason {
	switch {
	case r.closed.Load(), r.call.Err() != nil:
		return ReasonCaller
	case r.why != "":
		return r.why
	case r.given.Obstacle != resume.NoObstacle:
		return reasonOf(r.given.Obstacle)
	case r.rescues >= maxRescues:
		return ReasonTries
	case len(r.given.Reasoning) > 0:
		return ReasonThought
	}
	return ReasonHost
}

// way decides how the stream may be continued.
func (r *resumable) way() rescueKind {
	restart := r.layer.policy == RescueRestart
	switch {
	case restart && (r.mustRestart || len(r.given.Text) < resume.MinOverlap):
		return rescueRestarts // little is lost, and with so short a text nobody can tell a continuation from a restart
	case !r.mustRestart && r.given.CanBeContinued() && canContinue(r.call, r.given.IsReasoned()) && !hasOwnBeginning(r.call, r.body.Bytes()):
		return rescueContinues
	case restart:
		return rescueRestarts
	}
	return notRescued
}

// begin makes the caller read on from the stream next.
func (r *resumable) begin(how rescueKind, next *exchange.Stream) {
	r.inner.Store(next)
	r.err = nil
	if r.open { // the last event lacks the blank line that ends it, or was cut
		r.give([]byte("\n\n"))
	}
	r.open = false
	aligner := resume.NewAligner(&r.given, resume.Options{
		Wire: r.call.op.Wire(), ID: r.id, Restart: how == rescueRestarts,
		MayRestart: r.layer.policy == RescueRestart, Last: r.rescues == maxRescues,
	}, r.give)
	r.rescue = &rescue{Aligner: aligner, scan: sse.New(exchange.MaxEvent, r.layer.exchanges.KeepComments)}
	a := attemptBehind(next)
	r.layer.observers.emit(r.call, Event{Kind: KindRescue, Endpoint: a.endpoint.Name, Model: a.model, Attempt: int(a.n), From: how.String()})
}

// endBroken gives the caller the error of a stream that cannot be continued, as an event
// or as an error.
func (r *resumable) endBroken(broken *exchange.Stream) {
	switch c := r.call; {
	case c.Err() != nil:
		r.out, r.err = nil, context.Cause(c)
		return
	case r.completion != nil: // a flight reports it to each of its followers
		r.completion.Break(broken.TakeFrame())
	default:
		r.out = append(r.out, r.layer.exchanges.LastEvent(c.op.Wire(), broken.TakeFrame(), r.cause, r.open)...)
	}
}

// request makes the attempts of a rescue. If none brings a stream, it returns why.
func (r *resumable) request(how rescueKind, broken *attempt) (*exchange.Stream, Reason) {
	ctx, stop := context.WithCancelCause(r.call.Context)
	if last := r.stop.Swap(&stop); last != nil {
		(*last)(outcome.ErrClosed)
	}
	if !r.takeRequest() {
		stop(outcome.ErrClosed)
		return nil, ReasonCaller
	}
	in := r.body
	if how == rescueContinues {
		in = r.call.continued(in.Bytes(), &r.given)
	}
	c := r.call.resumed(ctx, resumption{how, r.given.IsReasoned(), broken.endpoint, broken.model, int(broken.place)}, r.req, in)
	resp, err := r.layer.next.RoundTrip(c.req)
	c.forgetBuffer()
	if err != nil {
		stop(outcome.ErrClosed)
		if why, ok := errors.AsType[noRescue](err); ok {
			return nil, Reason(why)
		}
		return nil, ReasonFailed
	}
	if r.completion != nil {
		r.completion.Continue(resp.Header)
	}
	return resp.Body.(*exchange.Stream), "" // failover.resume returns no other body
}

// takeRequest copies the caller's request, which the caller may change after Close. It
// reports false if the caller has called Close.
func (r *resumable) takeRequest() bool {
	r.back.Lock()
	defer r.back.Unlock()
	if r.req == nil && !r.closed.Load() {
		r.req = ownRequest(r.call.req, r.call)
	}
	return !r.closed.Load()
}

// resumed returns a call that continues c's broken stream. Its attempts are in c's trail.
func (c *call) resumed(ctx context.Context, why resumption, req *http.Request, in *reqbody.Buffer) *call {
	resumed := &call{
		Context: ctx, Call: c.withoutTrail(), op: c.op, target: c.target, candidates: c.candidates, buffer: in,
		start: time.Now(), conversation: c.conversation, log: c.log, info: c.info, resumption: &why, renewal: c.renewal,
	}
	resumed.excluded.shareKeys(&c.excluded)
	resumed.req = req.WithContext(resumed)
	resumed.params = request.Parse(in.Bytes())
	resumed.params.Model = c.params.Model
	resumed.params.PrefixCompletion = c.params.PrefixCompletion || why.how == rescueContinues && c.op == request.Chat
	return resumed
}

// continued returns the call's body with the delivered text as the beginning of the
// answer, behind its reasoning if it has some, and with the rest of the caller's token
// limit. API: https://api-docs.deepseek.com/guides/chat_prefix_completion, and the fields of
// an assistant message in https://api-docs.deepseek.com/api/create-chat-completion.
func (c *call) continued(body []byte, given *resume.Transcript) *reqbody.Buffer {
	message := append([]byte(`,{"role":"assistant","content":`), gjson.AppendJSONString(nil, string(given.Text))...)
	if given.IsReasoned() {
		message = append(message, `,"reasoning_content":`...)
		message = append(message, gjson.AppendJSONString(nil, string(given.Reasoning))...)
	}
	if c.op == request.Chat { // Messages understands an answer that is begun without a word
		message = append(message, `,"prefix":true`...)
	}
	end := request.Span{From: c.params.MessagesEnd, To: c.params.MessagesEnd}
	edits := []request.Edit{{At: end, Text: string(message) + "}"}}
	if c.params.MaxTokens > 0 && c.params.MaxTokensAt.To > 0 {
		edits = append(edits, request.Edit{At: c.params.MaxTokensAt, Text: strconv.Itoa(max(1, c.params.MaxTokens-given.Tokens()))})
	}
	in := reqbody.Get(int64(len(body) + len(message)))
	in.Set(request.Splice(in.Bytes(), body, edits))
	return in
}

// advance moves the next event of the rescue to out, or its end to err.
func (r *resumable) advance() {
	s := r.rescue
	ev, err := s.scan.Next()
	switch {
	case err != nil:
		r.breakOff(err)
	case ev != nil:
		r.event(*ev)
	case s.eof == nil:
		_, s.eof = s.scan.Fill(r.inner.Load())
	case outcome.Broke(s.eof):
		r.breakOff(s.eof)
	case s.eof != io.EOF:
		r.finish(s.eof)
	default:
		if ev := s.scan.Rest(); ev != nil {
			r.event(*ev)
		} else if s.End() == resume.Rejected {
			r.reject()
		} else {
			r.finish(io.EOF)
		}
	}
}

// event aligns one event of the rescue.
func (r *resumable) event(ev sse.Event) {
	switch r.rescue.Event(ev) {
	case resume.Rejected:
		r.reject()
	case resume.Complete:
		r.keep()
		r.body = nil
		r.given.Close()
		r.call.end(ClassOK, nil, r.bytes()) // many callers read no further
	}
}

// reject closes a replacement stream that does not continue the text.
func (r *resumable) reject() {
	restarted := r.rescue.Restarts()
	r.inner.Load().Close()
	r.mustRestart, r.why = true, ReasonMismatch
	if restarted {
		r.rescues = maxRescues
	}
	r.resume(r.cause)
}

// finish ends the stream, because it is complete or the caller ended it.
func (r *resumable) finish(err error) {
	if err == io.EOF {
		r.keep()
	}
	r.err = err
	r.release()
	r.stopRescue()
	r.endCall()
}

// endCall notes that the caller reads no further.
func (r *resumable) endCall() {
	if r.call.Err() != nil {
		r.call.end(ClassCanceled, context.Cause(r.call), r.bytes())
	} else {
		r.call.end(ClassOK, nil, r.bytes())
	}
}

// bytes returns how many bytes the caller gets, of all attempts.
func (r *resumable) bytes() int64 {
	return r.call.log.at(r.first).Bytes + r.more + int64(len(r.out))
}

// keep reports to the completion that the answer is complete, so that it can be cached.
func (r *resumable) keep() {
	r.inner.Load().Complete(r.completion)
	r.completion = nil
}

// give passes an event on to the caller.
func (r *resumable) give(event []byte) {
	if r.completion != nil {
		r.completion.Pass(len(event), true)
	}
	r.out = append(r.out, event...)
}

// behind returns the bytes after the first n; nil if there are none, so that it holds no
// memory.
func behind(text []byte, n int) []byte {
	if n == len(text) {
		return nil
	}
	return text[n:]
}
