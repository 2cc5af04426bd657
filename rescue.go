package breakwater

import (
	"bytes"
	"context"
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

// maxRescues is how often one stream is rescued.
const maxRescues = 3

// A rescuer is the layer that has a chat stream go on when it breaks after its
// first payload: it asks again below itself, for the rest of the answer.
type rescuer struct {
	next      http.RoundTripper
	policy    Rescue
	limits    resume.Limits
	exchanges exchange.Policy
	observers observers
}

// newRescuer returns the layer of a Transport; next is the failover.
func newRescuer(c *config) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		if c.stream.Rescue == RescueOff || c.retry.SendOnce {
			return next
		}
		limits := resume.Limits{Reasoning: c.stream.Rescue == RescueRestart}
		return &rescuer{next: next, policy: c.stream.Rescue, limits: limits, exchanges: c.stream.exchanges(), observers: c.observers}
	}
}

// RoundTrip has the caller read a stream that can go on through a resumable.
func (r *rescuer) RoundTrip(req *http.Request) (*http.Response, error) {
	c := callOf(req.Context())
	if r.covers(c) {
		c.transcribe = &r.limits
	}
	resp, err := r.next.RoundTrip(req)
	if err != nil || c.transcribe == nil {
		return resp, err
	}
	if s, ok := resp.Body.(*exchange.Stream); ok && s.IsResumable() {
		body := &resumable{layer: r, call: c, body: c.buffer, id: idOf(s.Head())}
		body.inner.Store(s)
		resp.Body = body
	}
	return resp, nil
}

// covers reports whether the call is of a kind that can go on at all.
func (r *rescuer) covers(c *call) bool {
	p := &c.params
	if c.op != request.Chat || c.encoded || c.buffer == nil || !p.Stream || p.Choices != 1 || p.Logprobs {
		return false
	}
	return r.policy == RescueRestart || canContinue(c)
}

// canContinue reports whether some host can continue a text of this call.
func canContinue(c *call) bool {
	if c.params.MessagesEnd == 0 || c.params.PrefixCompletion {
		return false
	}
	for _, e := range c.candidates {
		if _, ok := c.eligible(e); ok && e.profile.PrefixRoot != "" {
			return true
		}
	}
	return false
}

// A resumable is a stream as its caller reads it, whatever attempts it takes.
type resumable struct {
	layer  *rescuer
	call   *call
	body   *reqbody.Buffer                         // the call's, until nothing more can be asked for
	id     []byte                                  // of the answer, as JSON has it; nil: unknown
	inner  atomic.Pointer[exchange.Stream]         // the latest attempt's
	closed atomic.Bool                             // the caller has closed it
	stop   atomic.Pointer[context.CancelCauseFunc] // of the latest rescue

	back sync.Mutex    // held while the caller gets its request back, by Close, or req is made of it
	req  *http.Request // the caller's, as it was when the stream first broke

	mu          sync.Mutex // guards what follows; held while the caller waits
	out         []byte     // ready for the caller, in the latest rescue
	err         error      // what the caller gets after out
	open        bool       // what the caller has read so far ends within a block of lines
	given       resume.Transcript
	rescue      *rescue // that goes on; nil: nothing broke yet, or nothing goes on
	cause       error   // what the first attempt ended in
	rescues     int
	mustRestart bool                // no host continues the text
	completion  exchange.Completion // nil: nobody asks
}

// A rescue is a replacement stream as it is read.
type rescue struct {
	*resume.Aligner
	scan *sse.Scanner
	eof  error // what the stream ended in
}

// idOf finds the answer's id in its first events.
func idOf(events []byte) []byte {
	for line := range bytes.Lines(events) {
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			if id := gjson.GetBytes(data, "id"); id.Type == gjson.String && id.Str != "" {
				return []byte(id.Raw)
			}
		}
	}
	return nil
}

// attemptBehind returns the attempt that a stream is the answer of.
func attemptBehind(s *exchange.Stream) *attempt { return s.Owner().(*attempt) }

// Kind says that the answer is checked as it is read.
func (r *resumable) Kind() exchange.Kind { return exchange.KindStream }

// Observe has c follow what goes to the caller.
func (r *resumable) Observe(c exchange.Completion) {
	r.completion = c
	r.inner.Load().Observe(c)
}

// Read gives the caller the next bytes.
func (r *resumable) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		if r.closed.Load() {
			r.closeLocked()
		}
	}()
	for {
		switch {
		case r.closed.Load():
			return 0, http.ErrBodyReadAfterClose
		case len(r.out) > 0:
			n := copy(p, r.out)
			r.out = behind(r.out, n)
			return n, nil
		case r.err != nil:
			r.out = nil
			return 0, r.err
		case r.rescue != nil:
			r.advance()
			continue
		}
		n, err := r.inner.Load().Read(p)
		if n > 0 {
			r.open = !sse.EndsBlock(p[:n])
		}
		if n > 0 || err == nil || !outcome.Broke(err) {
			if err != nil {
				r.release()
			}
			return n, err
		}
		events := r.inner.Load().TakeTranscript()
		r.given = resume.NewTranscript(&events, r.layer.limits)
		r.resume(err)
	}
}

// Close ends the exchange, a rescue under way included.
func (r *resumable) Close() error {
	r.back.Lock()
	r.closed.Store(true)
	r.back.Unlock()
	func() {
		defer r.stopRescue()
		r.inner.Load().Close() // first: a caller who leaves after payload cancels nothing
	}()
	if r.mu.TryLock() { // else the reader ends by itself: it may be the one who calls, from an Observer
		defer r.mu.Unlock()
		r.closeLocked()
	}
	return nil
}

// closeLocked is the end by Close.
func (r *resumable) closeLocked() {
	r.inner.Load().Close() // a rescue may just have put another in its place
	r.out = nil
	if r.err == nil {
		r.err = http.ErrBodyReadAfterClose
	}
	r.release()
}

// release lets go of what it takes to ask for more.
func (r *resumable) release() {
	r.body, r.req, r.rescue = nil, nil, nil
	r.given.Close()
}

// stopRescue ends the attempts of the latest rescue.
func (r *resumable) stopRescue() {
	if stop := r.stop.Load(); stop != nil {
		(*stop)(outcome.ErrClosed)
	}
}

// resume looks for a stream that goes on where the latest one broke. If there is
// none, the caller gets what the first one ended in.
func (r *resumable) resume(err error) {
	r.rescue = nil
	if r.cause == nil {
		r.cause = err
	}
	r.err = r.cause // should a rescue panic
	broken := r.inner.Load()
	for !r.given.Closed && r.rescues < maxRescues && !r.closed.Load() {
		how := r.way()
		if how == notRescued {
			break
		}
		r.rescues++
		if next := r.request(how, attemptBehind(broken)); next != nil {
			r.begin(how, next)
			return
		}
		if how == rescueRestarts {
			break
		}
		r.mustRestart = true
	}
	r.stopRescue()
	r.release()
	r.reportBreak(broken)
}

// way decides how the stream may go on.
func (r *resumable) way() rescueKind {
	restart := r.layer.policy == RescueRestart
	switch {
	case restart && (r.mustRestart || len(r.given.Text) < resume.MinOverlap):
		return rescueRestarts // little is lost, and of a short text nobody can tell whether a host continues it
	case !r.mustRestart && len(r.given.Reasoning) == 0 && len(r.given.Text) > 0 && canContinue(r.call):
		return rescueContinues
	case restart:
		return rescueRestarts
	}
	return notRescued
}

// begin has the caller read on from another attempt's stream.
func (r *resumable) begin(how rescueKind, next *exchange.Stream) {
	r.inner.Store(next)
	r.err = nil
	if r.open { // the last event came without the blank line that ends it, or in parts
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

// reportBreak tells the caller what the stream ended in, that broke last and for good.
func (r *resumable) reportBreak(broken *exchange.Stream) {
	switch c := r.call; {
	case c.Err() != nil:
		r.out, r.err = nil, context.Cause(c)
		return
	case r.completion != nil: // a flight tells it to each of its sharers
		r.completion.Break(broken.TakeFrame())
	default:
		r.out = append(r.out, r.layer.exchanges.LastEvent(c.op.Wire(), broken.TakeFrame(), r.cause, r.open)...)
	}
}

// request makes the attempts of a rescue.
func (r *resumable) request(how rescueKind, broken *attempt) *exchange.Stream {
	ctx, stop := context.WithCancelCause(r.call.Context)
	if last := r.stop.Swap(&stop); last != nil {
		(*last)(outcome.ErrClosed)
	}
	if !r.takeRequest() {
		stop(outcome.ErrClosed)
		return nil
	}
	in := r.body
	if how == rescueContinues {
		in = r.call.continued(in.Bytes(), r.given.Text)
	}
	c := r.call.resumed(ctx, resumption{how, broken.endpoint.Account, int(broken.place)}, r.req, in)
	resp, err := r.layer.next.RoundTrip(c.req)
	c.forgetBuffer()
	if err != nil {
		stop(outcome.ErrClosed)
		return nil
	}
	if r.completion != nil {
		r.completion.Continue(resp.Header)
	}
	return resp.Body.(*exchange.Stream) // see failover.resume
}

// takeRequest copies the caller's request, which may be another after Close. It
// reports false if the caller has it back.
func (r *resumable) takeRequest() bool {
	r.back.Lock()
	defer r.back.Unlock()
	if r.req == nil && !r.closed.Load() {
		r.req = ownRequest(r.call.req, r.call)
	}
	return !r.closed.Load()
}

// resumed is a call that goes on from this one's broken stream. Its attempts
// stand in this one's trail.
func (c *call) resumed(ctx context.Context, why resumption, req *http.Request, in *reqbody.Buffer) *call {
	resumed := &call{
		Context: ctx, Call: c.withoutTrail(), op: c.op, target: c.target, candidates: c.candidates, buffer: in,
		start: time.Now(), conversation: c.conversation, log: c.log, resumption: &why,
	}
	resumed.req = req.WithContext(resumed)
	resumed.params = request.Parse(in.Bytes())
	resumed.params.Model = c.params.Model
	resumed.params.PrefixCompletion = c.params.PrefixCompletion || why.how == rescueContinues
	return resumed
}

// continued is the call's body with the text delivered as the beginning of the
// answer, and no more room than is left. API:
// https://api-docs.deepseek.com/guides/chat_prefix_completion.
func (c *call) continued(body, text []byte) *reqbody.Buffer {
	message := append([]byte(`,{"role":"assistant","content":`), gjson.AppendJSONString(nil, string(text))...)
	end := request.Span{From: c.params.MessagesEnd, To: c.params.MessagesEnd}
	edits := []request.Edit{{At: end, Text: string(message) + `,"prefix":true}`}}
	if c.params.MaxTokens > 0 && c.params.MaxTokensAt.To > 0 {
		left := max(1, c.params.MaxTokens-request.EstimateTokens(text))
		edits = append(edits, request.Edit{At: c.params.MaxTokensAt, Text: strconv.Itoa(left)})
	}
	in := reqbody.Get(int64(len(body) + len(text)))
	in.Set(request.Splice(in.Bytes(), body, edits))
	return in
}

// advance takes the next event of the rescue into out, or the end into err.
func (r *resumable) advance() {
	s := r.rescue
	ev, ok, err := s.scan.Next()
	switch {
	case err != nil:
		r.resume(err)
	case ok:
		r.event(ev)
	case s.eof == nil:
		_, s.eof = s.scan.Fill(r.inner.Load())
	case outcome.Broke(s.eof):
		r.resume(s.eof)
	case s.eof != io.EOF:
		r.finish(s.eof)
	default:
		if ev, ok := s.scan.Rest(); ok {
			r.event(ev)
		} else if s.End() == resume.Rejected {
			r.reject()
		} else {
			r.finish(io.EOF)
		}
	}
}

// event takes in one event of the rescue.
func (r *resumable) event(ev sse.Event) {
	switch r.rescue.Event(ev) {
	case resume.Rejected:
		r.reject()
	case resume.Complete:
		r.keep()
		r.body = nil
		r.given.Close()
	}
}

// reject closes a replacement stream that does not continue the text.
func (r *resumable) reject() {
	restarted := r.rescue.Restarts()
	r.inner.Load().Close()
	r.mustRestart = true
	if restarted {
		r.rescues = maxRescues
	}
	r.resume(r.cause)
}

// finish ends the stream, well or by the caller's own doing.
func (r *resumable) finish(err error) {
	if err == io.EOF {
		r.keep()
	}
	r.err = err
	r.release()
	r.stopRescue()
}

// keep puts a whole answer into the cache.
func (r *resumable) keep() {
	r.inner.Load().Complete(r.completion)
	r.completion = nil
}

// give has the caller read an event.
func (r *resumable) give(event []byte) {
	if r.completion != nil {
		r.completion.Pass(len(event), true)
	}
	r.out = append(r.out, event...)
}

// behind is what follows the first n bytes; it holds nothing where that is nothing.
func behind(text []byte, n int) []byte {
	if n == len(text) {
		return nil
	}
	return text[n:]
}
