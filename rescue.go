package breakwater

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/wire"
)

const (
	maxRescues = 3  // of one stream
	telling    = 32 // bytes of a text that tell whether a host goes on from it or begins anew

	// maxTold bounds what is kept of one answer to go on from it, and what a rescue
	// holds back, in bytes: the longest answers, of 384K tokens, in the escapes of
	// JSON. No host goes on from more.
	maxTold = 4 << 20
	holding = 128 // bytes that it takes to hold an event, besides its own
)

// A rescuer is a stream as its caller reads it, whatever attempts it takes.
type rescuer struct {
	call  *call
	body  *reqbody.Buffer                         // the call's, until nothing more can be asked for
	id    []byte                                  // of the answer, as JSON has it; nil: unknown
	inner atomic.Pointer[streamBody]              // the latest attempt's
	over  atomic.Bool                             // the caller has closed it
	stop  atomic.Pointer[context.CancelCauseFunc] // of the latest rescue

	back sync.Mutex    // held while the caller gets its request back, by Close, or req is made of it
	req  *http.Request // the caller's, as it was when the stream first broke

	mu         sync.Mutex // guards what follows; held while the caller waits
	out        []byte     // ready for the caller, in the latest rescue
	err        error      // what the caller gets behind out
	open       bool       // what the caller has read so far ends within a block of lines
	told       told       // by attempts that broke, and by the latest rescue
	splice     *splice    // nil: nothing broke yet
	cause      error      // what the first attempt ended in
	rescues    int
	anew       bool                // no host goes on from the text
	completion exchange.Completion // nil: nobody asks
}

// told is what of an answer has been delivered.
type told struct {
	text, reasoning []byte
	other           bool // what cannot be gone on from
}

// mayBeRescued reports whether the call is of a kind that can be rescued at all.
func (c *call) mayBeRescued() bool {
	policy := c.t.config.stream.Rescue
	if policy == RescueOff || c.t.config.retry.SendOnce || c.op != request.Chat || c.encoded || !c.params.Stream || c.params.Choices != 1 || c.params.Logprobs {
		return false
	}
	return policy == RescueRestart || c.canContinue()
}

// canContinue reports whether some host can go on from a text of this call.
func (c *call) canContinue() bool {
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

// goesOnFrom reports whether anybody could go on from so much of an answer to the
// call; other: there was something besides.
func (c *call) goesOnFrom(text, reasoning int, other bool) bool {
	return !other && text+reasoning <= maxTold && (reasoning == 0 || c.t.config.stream.Rescue == RescueRestart)
}

// rescuable has the caller read a stream through a rescuer, if there is a tape
// of what it says.
func (c *call) rescuable(resp *http.Response) *http.Response {
	b, ok := resp.Body.(*streamBody)
	if !ok || b.attempt.answer.Tape == nil {
		return resp
	}
	r := &rescuer{call: c, body: c.buffer, id: idOf(b.out)}
	r.inner.Store(b)
	resp.Body = r
	return resp
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

// Kind says that the answer is checked as it is read.
func (r *rescuer) Kind() exchange.Kind { return exchange.KindStream }

// Observe has c follow what goes to the caller.
func (r *rescuer) Observe(c exchange.Completion) {
	r.completion = c
	r.inner.Load().Observe(c)
}

// Read gives the caller the next bytes.
func (r *rescuer) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		if r.over.Load() {
			r.shut()
		}
	}()
	for {
		switch {
		case r.over.Load():
			return 0, http.ErrBodyReadAfterClose
		case len(r.out) > 0:
			n := copy(p, r.out)
			r.out = behind(r.out, n)
			return n, nil
		case r.err != nil:
			r.out = nil
			return 0, r.err
		case r.splice != nil:
			r.advance()
			continue
		}
		n, err := r.inner.Load().Read(p)
		if n > 0 {
			r.open = !sse.EndsBlock(p[:n])
		}
		if n > 0 || err == nil || !outcome.Broke(err) {
			if err != nil {
				r.letGo()
			}
			return n, err
		}
		r.takeOver(&r.inner.Load().tape)
		r.mend(err)
	}
}

// takeOver takes over what the first attempt has delivered as it came.
func (r *rescuer) takeOver(tape *wire.Tape) {
	said := saidOn(tape)
	*tape = wire.Tape{}
	r.tell(said.text, said.reasoning, said.other || said.torn)
}

// tell notes what the caller is told. Nothing is kept of what nobody could go on
// from, nor when there has been the last rescue.
func (r *rescuer) tell(text, reasoning string, other bool) {
	t := &r.told
	t.other = t.other || other || r.rescues == maxRescues && text+reasoning != ""
	if !r.call.goesOnFrom(len(t.text)+len(text), len(t.reasoning)+len(reasoning), t.other) {
		*t = told{other: true}
		return
	}
	t.text = append(t.text, text...)
	t.reasoning = append(t.reasoning, reasoning...)
}

// A said is what an event, or all of them, say.
type said struct {
	data            []byte
	text, reasoning string
	other           bool // something that cannot be gone on from
	torn            bool // it may hold a part of a character only
	ends            bool
}

func saidOn(tape *wire.Tape) said {
	s := said{text: unescaped(tape.Text), reasoning: unescaped(tape.Reasoning), other: tape.Other}
	s.torn = torn(tape.Text, s.text) || torn(tape.Reasoning, s.reasoning)
	return s
}

// plain reports whether all the event's text stands where a chunk has it.
func (s *said) plain() bool {
	delta := gjson.GetBytes(s.data, "choices.0.delta")
	reasoning := delta.Get("reasoning_content").Str
	if reasoning == "" {
		reasoning = delta.Get("reasoning").Str
	}
	return delta.Get("content").Str == s.text && reasoning == s.reasoning
}

// torn reports whether a text may begin or end within a character: hosts may
// send its bytes, or the two escapes that JSON has for it, in two events.
func torn(inside []byte, text string) bool {
	return strings.ContainsRune(text, utf8.RuneError) && (bytes.Contains(inside, []byte(`\u`)) || !utf8.Valid(inside))
}

// unescaped undoes JSON's escapes in the inside of a valid string.
func unescaped(inside []byte) (text string) {
	_ = json.Unmarshal(append(append([]byte{'"'}, inside...), '"'), &text) // it was valid when it came
	return text
}

// Close ends the exchange, a rescue under way included.
func (r *rescuer) Close() error {
	r.back.Lock()
	r.over.Store(true)
	r.back.Unlock()
	func() {
		defer r.end()
		r.inner.Load().Close() // first: who leaves behind payload cancels nothing
	}()
	if r.mu.TryLock() { // else the reader ends by itself: it may be the one who calls, from an Observer
		defer r.mu.Unlock()
		r.shut()
	}
	return nil
}

// shut is the end by Close.
func (r *rescuer) shut() {
	r.inner.Load().Close() // a rescue may just have put another in its place
	r.out = nil
	if r.err == nil {
		r.err = http.ErrBodyReadAfterClose
	}
	r.letGo()
}

// letGo lets go of what it takes to ask for more.
func (r *rescuer) letGo() {
	r.body, r.req, r.splice, r.told = nil, nil, nil, told{other: true}
}

// mend looks for a stream that goes on where the latest one broke; if there is
// none, the caller gets what that one ended in.
func (r *rescuer) mend(err error) {
	r.splice = nil
	if r.cause == nil {
		r.cause = err
	}
	r.err = r.cause // should a rescue panic
	broken := r.inner.Load()
	for !r.told.other && r.rescues < maxRescues && !r.over.Load() {
		how := r.way()
		if how == notRescued {
			break
		}
		r.rescues++
		if next := r.ask(how, broken.attempt); next != nil {
			r.inner.Store(next)
			r.err = nil
			if r.open { // the last event came without the blank line that ends it, or in parts
				r.give([]byte("\n\n"))
			}
			r.open = false
			r.splice = &splice{restarts: how == rescueRestarts, spent: request.EstimateTokens(r.told.text), scan: sse.New(maxEvent, next.keepAlives)}
			a := next.attempt
			r.call.t.config.observers.emit(r.call, Event{Kind: KindRescue, Endpoint: a.endpoint.Name, Model: a.model, Attempt: int(a.n), From: how.String()})
			return
		}
		if how == rescueRestarts {
			break
		}
		r.anew = true
	}
	r.end()
	r.letGo()
	c := r.call
	switch {
	case c.Err() != nil:
		r.out, r.err = nil, context.Cause(c)
		return
	case r.completion != nil: // a flight tells it to each of its sharers
		r.completion.Break(broken.frame)
	default:
		r.out = append(r.out, c.lastEvent(broken.frame, r.cause, r.open)...)
	}
	broken.frame = nil
}

// end lets go of the latest rescue.
func (r *rescuer) end() {
	if stop := r.stop.Load(); stop != nil {
		(*stop)(outcome.ErrClosed)
	}
}

// A rescueKind is the way a call goes on from another's broken stream.
type rescueKind uint8

const (
	notRescued rescueKind = iota
	rescueContinues
	rescueRestarts
)

func (k rescueKind) String() string { return [...]string{"", "continue", "restart"}[k] }

// way decides how the stream may go on.
func (r *rescuer) way() rescueKind {
	switch {
	case r.call.t.config.stream.Rescue == RescueRestart && (r.anew || len(r.told.text) < telling):
		return rescueRestarts // little is lost, and of a short text nobody can tell whether a host went on from it
	case !r.anew && len(r.told.reasoning) == 0 && len(r.told.text) > 0 && r.call.canContinue():
		return rescueContinues
	case r.call.t.config.stream.Rescue == RescueRestart:
		return rescueRestarts
	}
	return notRescued
}

// ask makes the rescue's attempts, elsewhere than where the stream broke first.
func (r *rescuer) ask(how rescueKind, broken *attempt) *streamBody {
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
		in = r.call.continued(in.Bytes(), r.told.text)
	}
	var visits []*triedAccount
	for _, avoid := range [...]string{broken.endpoint.Account, ""} {
		if ctx.Err() != nil {
			break
		}
		c := r.call.again(ctx, how, r.req, in, avoid)
		c.triedAccounts = visits
		begun, _ := c.log.sum()
		loop := &failoverRun{failover: c.t.failover, call: c, begun: begun, resumes: broken}
		resp, err := loop.loop()
		visits = c.triedAccounts
		c.letGo()
		if err != nil {
			continue
		}
		if next, ok := resp.Body.(*streamBody); ok {
			if r.completion != nil {
				r.completion.Continue(resp.Header)
			}
			return next
		}
		resp.Body.Close()
	}
	stop(outcome.ErrClosed)
	return nil
}

// takeRequest copies the caller's request, which may be another behind Close. It
// reports false if the caller has it back.
func (r *rescuer) takeRequest() bool {
	r.back.Lock()
	defer r.back.Unlock()
	if r.req == nil && !r.over.Load() {
		r.req = ownRequest(r.call.req, r.call)
	}
	return !r.over.Load()
}

// again is a call that goes on from this one's broken stream. Its attempts
// stand in this one's trail.
func (c *call) again(ctx context.Context, how rescueKind, req *http.Request, in *reqbody.Buffer, avoid string) *call {
	again := &call{
		Context: ctx, Call: c.untold(), t: c.t, op: c.op, target: c.target, candidates: c.candidates, buffer: in,
		start: time.Now(), conversation: c.conversation, parent: c, log: c.log, rescue: how, avoid: avoid,
	}
	again.req = req.WithContext(again)
	again.params = request.Parse(in.Bytes())
	again.params.Model = c.params.Model
	again.params.PrefixCompletion = c.params.PrefixCompletion || how == rescueContinues
	return again
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

// A splice makes events of another attempt fit behind what has been delivered.
type splice struct {
	scan *sse.Scanner
	eof  error // what the attempt's stream ended in

	restarts bool
	text     int // of what has been told, seen again
	reason   int
	spent    int // tokens of what was told before, about

	decided bool   // it is known that the host goes on, and does not begin anew
	held    []said // events until then
	holds   int    // their bytes, about
	begins  string // their text
}

// advance takes the next event of the rescue into out, or the end into err.
func (r *rescuer) advance() {
	s := r.splice
	ev, ok, err := s.scan.Next()
	switch {
	case err != nil:
		r.mend(err)
	case ok:
		r.event(ev)
	case s.eof == nil:
		_, s.eof = s.scan.Fill(r.inner.Load())
	case outcome.Broke(s.eof):
		r.mend(s.eof)
	case s.eof == io.EOF:
		if ev, ok := s.scan.Rest(); ok {
			r.event(ev)
		} else if r.flush() {
			r.finish(io.EOF)
		}
	default:
		r.finish(s.eof)
	}
}

// finish ends the stream, well or by the caller's own doing.
func (r *rescuer) finish(err error) {
	if err == io.EOF {
		r.keep()
	}
	r.err = err
	r.letGo()
	r.end()
}

// keep puts a whole answer into the cache.
func (r *rescuer) keep() {
	r.inner.Load().attempt.completes(r.completion)
	r.completion = nil
}

// event takes in one event of the rescue.
func (r *rescuer) event(ev sse.Event) {
	switch {
	case ev.Kind == sse.Comment: // the scanner drops those that nobody wants
		r.give(ev.Raw)
	case ev.Kind == sse.Data && (ev.One || gjson.ValidBytes(ev.Data)):
		r.take(bytes.ReplaceAll(ev.Data, []byte("\n"), []byte(" "))) // a copy: the scanner's bytes do not last
	case ev.Kind == sse.Data: // a host that forgets the blank lines between its events
		s := r.splice
		for line := range bytes.SplitSeq(bytes.Clone(ev.Data), []byte("\n")) {
			if r.err == nil && r.splice == s {
				r.take(line)
			}
		}
	}
}

// take takes in what an event of the rescue says.
func (r *rescuer) take(data []byte) {
	if len(data) == 0 {
		return
	}
	if string(data) == "[DONE]" {
		if r.flush() {
			r.give([]byte("data: [DONE]\n\n"))
			r.keep()
			r.body, r.told = nil, told{other: true}
		}
		return
	}
	var tape wire.Tape
	answer := wire.Answer{Wire: r.call.op.Wire(), Tape: &tape}
	answer.Event(data)
	event := saidOn(&tape)
	event.data = data
	event.ends = answer.Ended()
	switch {
	case r.splice.restarts:
		r.again(event)
	case event.reasoning != "":
		r.spurn() // it thinks anew: this is no continuation
	case r.splice.decided, event.text == "" && !event.ends && !event.other && len(r.splice.held) == 0:
		r.pass(event, event.text, "")
	default:
		r.decide(event)
	}
}

// decide holds events, those without text too, until their text tells whether
// the host goes on from what has been told, or has ignored it and begins anew.
func (r *rescuer) decide(event said) {
	s := r.splice
	s.held = append(s.held, event)
	s.begins += event.text
	if s.holds += len(event.data) + holding; s.holds > maxTold {
		r.spurn()
		return
	}
	enough := min(len(r.told.text), telling)
	n := min(len(s.begins), enough)
	same := n > 0 && s.begins[:n] == string(r.told.text[:n])
	switch {
	case !event.ends && (n == 0 || same && n < enough): // wait for more
	case same && n == telling && r.call.t.config.stream.Rescue == RescueRestart && !repeats(r.told.text):
		held := s.held
		s.held, s.begins, s.restarts = nil, "", true
		for _, event := range held {
			if r.err == nil && r.splice == s {
				r.again(event)
			}
		}
	case same && n == enough:
		r.spurn() // it begins anew, or nobody can tell
	default:
		r.flush()
	}
}

// repeats reports whether a text may go on as it began, for it has done so
// before: then nobody can tell going on from beginning anew.
func repeats(text []byte) bool {
	border := make([]int32, len(text)) // the longest beginning that each part ends in
	for i, k := 1, int32(0); i < len(text); i++ {
		for k > 0 && text[i] != text[k] {
			k = border[k-1]
		}
		if text[i] == text[k] {
			k++
		}
		border[i] = k
	}
	return 2*int(border[len(text)-1]) >= len(text)
}

// flush lets pass what was held: the host goes on. It returns false where the
// rescue ends before it has told again what was told.
func (r *rescuer) flush() bool {
	s := r.splice
	if s.restarts && (s.text < len(r.told.text) || s.reason < len(r.told.reasoning)) {
		r.spurn()
		return false
	}
	s.decided = true
	for _, event := range s.held {
		r.pass(event, event.text, "")
	}
	s.held, s.begins = nil, ""
	return true
}

// again lets pass, of an answer that begins anew, what follows the part told
// before, as long as that is the same to the byte.
func (r *rescuer) again(event said) {
	s := r.splice
	moreReasoning, ok1 := beyond(event.reasoning, r.told.reasoning, &s.reason)
	if event.text != "" && s.reason < len(r.told.reasoning) || moreReasoning != "" && len(r.told.text) > 0 && s.text < len(r.told.text) {
		ok1 = false
	}
	moreText, ok2 := beyond(event.text, r.told.text, &s.text)
	whole := s.text >= len(r.told.text) && s.reason >= len(r.told.reasoning)
	partly := moreText != event.text || moreReasoning != event.reasoning
	switch {
	case !ok1, !ok2, (event.other || event.ends) && !whole, partly && (event.torn || !event.plain()):
		r.spurn()
	case moreText != "" || moreReasoning != "" || event.other || event.ends ||
		whole && event.text == "" && event.reasoning == "" && (s.text > 0 || s.reason > 0):
		r.pass(event, moreText, moreReasoning)
	}
}

// beyond returns what of an event's text follows the part told before, of
// which *at bytes have been seen again; false: it differs.
func beyond(text string, told []byte, at *int) (string, bool) {
	n := min(len(text), len(told)-*at)
	if n > 0 && text[:n] != string(told[*at:*at+n]) {
		return "", false
	}
	n = max(n, 0)
	*at += n
	return text[n:], true
}

// spurn gives a rescue up that does not fit.
func (r *rescuer) spurn() {
	restarted := r.splice.restarts
	r.inner.Load().Close()
	r.anew = true
	if restarted {
		r.rescues = maxRescues
	}
	r.mend(r.cause)
}

// pass lets an event through, made to fit: with the first answer's id, without
// a role, and with what is new of its text only.
func (r *rescuer) pass(event said, moreText, moreReasoning string) {
	data := event.data
	var edits []request.Edit
	replace := func(path, with string) {
		if v := gjson.GetBytes(data, path); v.Exists() && v.Index > 0 && v.Raw != with {
			edits = append(edits, request.Edit{At: request.Span{From: v.Index, To: v.Index + len(v.Raw)}, Text: with})
		}
	}
	if r.id != nil {
		replace("id", string(r.id))
	}
	if gjson.GetBytes(data, "choices.0.index").Int() != 0 {
		replace("choices.0.index", "0") // the only one there is: some hosts count chunks by it
	}
	if gjson.GetBytes(data, "choices.0.delta.role").Type == gjson.String {
		replace("choices.0.delta.role", "null")
	}
	if moreText != event.text {
		replace("choices.0.delta.content", string(gjson.AppendJSONString(nil, moreText)))
	}
	for _, name := range [...]string{"reasoning_content", "reasoning"} {
		if v := gjson.GetBytes(data, "choices.0.delta."+name); v.Type == gjson.String && v.Str != "" && moreReasoning != event.reasoning {
			replace("choices.0.delta."+name, string(gjson.AppendJSONString(nil, moreReasoning)))
		}
	}
	if usage := gjson.GetBytes(data, "usage"); usage.IsObject() && !r.splice.restarts {
		// What the first attempt took is not in it: it broke before it could say.
		for _, name := range [...]string{"completion_tokens", "total_tokens"} {
			if n := usage.Get(name); n.Type == gjson.Number && n.Num >= 0 && n.Num < 1<<31 {
				replace("usage."+name, strconv.FormatInt(int64(n.Num)+int64(r.splice.spent), 10))
			}
		}
	}
	r.tell(moreText, moreReasoning, event.other || event.torn)
	r.splice.text += len(moreText)
	r.splice.reason += len(moreReasoning)
	r.give(append(request.Splice([]byte("data: "), data, edits), "\n\n"...))
}

// give has the caller read an event.
func (r *rescuer) give(event []byte) {
	if r.completion != nil {
		r.completion.Pass(len(event), true)
	}
	r.out = append(r.out, event...)
}
