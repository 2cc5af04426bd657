package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/flaw"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/progress"
	"github.com/breakwater-go/breakwater/internal/recast"
	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A Stream is an answer in events. It passes them on as they come, and it ends in
// io.EOF only if every choice of the answer has finished.
type Stream struct {
	x          *Exchange
	src        io.Closer
	in         progress.Reader // of src
	scan       *sse.Scanner
	repeat     wire.Repeat
	transcript wire.Transcript // of the answer, as long as it can be continued
	limits     Limits          // of the transcript
	forgot     Forgotten       // what the transcript had when it was dropped
	flaws      *flaw.Checker   // nil: nothing is looked for, or it was found
	keepFlawed bool            // the stream goes on although it is flawed
	review     bool            // the host reviews the answer: only the terminator ends it
	trims      bool            // the reader does not get the usage
	stall      stallTimer
	closing    atomic.Bool  // Close was called during a Read
	read       atomic.Int64 // bytes the reader has got

	mu         sync.Mutex // guards what follows; Read holds it while it waits for the host
	phase      phase
	out        []byte      // ready for the reader; part of the scanner's buffer once committed
	eof        error       // what the source ended in
	err        error       // what the reader gets after out; nil: the stream goes on
	open       bool        // what the reader has got ends within an event
	frame      []byte      // the host's error event, if the stream ended in one
	atFault    bool        // that event says that the request is at fault
	gathered   *gathering  // nil: the reader gets the events, not gather
	resumed    bool        // the reader continues the stream elsewhere if it breaks, and reports errors by itself
	completion Completion  // nil: nobody observes
	stop       func() bool // stops endWithCaller
	pending    pendingEnd
}

// A phase is how much of the answer has come.
type phase uint8

const (
	judging    phase = iota // no payload yet, so no reader
	streaming               // the answer is not complete
	complete                // the answer is complete, the terminator is missing; what comes is passed on unchecked
	terminated              // the terminator came, the end of the connection is missing
	ended
)

// MaxEvent bounds one event of a stream, in bytes.
const MaxEvent = 16 << 20

// A pendingEnd is an end that the owner hears of once mu is free: observers may
// call back into the stream.
type pendingEnd struct {
	due   bool
	class outcome.Class
	err   error
	used  wire.Usage
	bytes int64
}

func newStream(x *Exchange, src io.ReadCloser, w Want) *Stream {
	s := &Stream{
		x: x, src: src, in: progress.Reader{Reader: src}, scan: sse.New(MaxEvent, x.Policy.KeepComments),
		limits: w.Transcript, resumed: w.Continues, keepFlawed: w.KeepFlawed, review: w.Review, trims: w.TrimUsage,
	}
	if w.Flaws != nil {
		s.flaws = flaw.New(*w.Flaws)
		x.Answer.Said = &s.flaws.Said
	}
	if w.Transcript != nil {
		x.Answer.Transcript = &s.transcript
	}
	return s
}

// Kind returns KindStream.
func (s *Stream) Kind() Kind { return KindStream }

// Observe implements Body.
func (s *Stream) Observe(c Completion) {
	s.mu.Lock()
	defer s.unlockAndReport()
	c.Pass(len(s.out), false)
	s.completion = c
	if s.phase == terminated {
		s.endExchange(outcome.OK, nil)
	}
}

// Read implements io.Reader. One Read returns at most one event, and those that are there
// already and repeat it but for their text.
func (s *Stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.unlockAndReport()
	for len(s.out) == 0 {
		if s.err != nil {
			s.out = nil // it may be a part of a large buffer
			return 0, s.err
		}
		s.advance()
	}
	n := copy(p, s.out)
	if n < len(s.out) {
		s.out = s.out[n:]
	} else {
		s.out = nil
		n += s.readRepeats(p[n:])
	}
	s.read.Add(int64(n))
	return n, nil
}

// readRepeats gives the reader the events that are there already and repeat the last one but
// for their text, as long as p has space for them.
func (s *Stream) readRepeats(p []byte) (n int) {
	for s.phase == streaming {
		size := s.repeats(len(p) - n)
		if size == 0 {
			break
		}
		event := s.scan.Take(size)
		s.forget()
		if s.isFlawed(false, nil) {
			break
		}
		event = s.trimmed(event)
		s.pass(event, sse.Data, wire.Payload)
		n += copy(p[n:], event)
	}
	return n
}

// Close ends the exchange. A reader may leave when it likes: that is no failure.
func (s *Stream) Close() error {
	if !s.mu.TryLock() {
		// A Read is under way. It ends now and does the rest. Close does not wait for
		// it: the reader itself may have called Close, from an Observer.
		s.closing.Store(true)
		s.abortRead()
		if !s.mu.TryLock() {
			return nil
		}
	}
	defer s.unlockAndReport()
	s.closeLocked()
	return nil
}

// Head returns what came before the commit. It must be called before the first
// Read.
func (s *Stream) Head() []byte { return s.out }

// IsResumable reports whether what the stream has delivered so far can be continued
// elsewhere. It must not be called during a Read.
func (s *Stream) IsResumable() bool { return s.x.Answer.Transcript != nil }

// TakeTranscript returns what a stream that broke has delivered, and lets go of it. Only
// the reader may call it.
func (s *Stream) TakeTranscript() wire.Transcript {
	transcript := s.transcript
	s.transcript = wire.Transcript{}
	return transcript
}

// A Forgotten is what an answer had when it could not be continued any more: bytes of text
// and reasoning, and whether there was something else.
type Forgotten struct {
	Text, Reasoning int
	Other           bool
}

// Forgotten returns what the stream had when its transcript was dropped. Only the reader may
// call it.
func (s *Stream) Forgotten() Forgotten { return s.forgot }

// TakeFrame returns the host's own event that ended the stream in an error, nil if
// there was none, and lets go of it. Only the reader may call it.
func (s *Stream) TakeFrame() []byte {
	frame := s.frame
	s.frame = nil
	return frame
}

// IsRequestAtFault reports whether a stream that broke ended in the host's own error that says
// so, or is flawed: another answer would be no better. Only the reader may call it.
func (s *Stream) IsRequestAtFault() bool { return s.atFault }

// IsInReview reports whether a stream that broke may have been complete, and under the host's
// review. Only the reader may call it.
func (s *Stream) IsInReview() bool {
	return s.review && (s.x.Answer.Ended() || s.stall.endedIn() != nil)
}

// IsOpen reports whether what a stream that broke has delivered ends within an event. Only
// the reader may call it.
func (s *Stream) IsOpen() bool { return s.open }

// Owner returns the owner of the exchange.
func (s *Stream) Owner() Owner { return s.x.Owner }

// Complete tells c, unless it is nil, that the answer is complete whose end this
// stream has delivered.
func (s *Stream) Complete(c Completion) { s.x.complete(c) }

// next returns the next event and what it says.
func (s *Stream) next() (*sse.Event, wire.Signal, error) {
	for {
		if n := s.repeats(MaxEvent); n > 0 {
			return s.scan.TakeEvent(n), wire.Payload, nil
		}
		ev, err := s.scan.Next()
		switch {
		case err != nil:
			return nil, 0, fmt.Errorf("%w: %w", outcome.ErrBadResponse, err)
		case ev != nil:
			return ev, s.signal(ev), nil
		case s.eof != nil:
			if ev := s.scan.Rest(); ev != nil && !s.isStub(ev) {
				if signal := s.signal(ev); signal != wire.Malformed { // otherwise it is half an event
					return ev, signal, nil
				}
			}
			return nil, 0, s.eof
		}
		s.stall.beginRead()
		_, s.eof = s.scan.Fill(&s.in)
	}
}

// isStub reports whether the last bytes of a stream are the beginning of an event that has no
// data yet, and something may follow it: another attempt's events, or one that tells of the
// error. A client would read an event without data then.
func (s *Stream) isStub(ev *sse.Event) bool {
	return ev.Kind == sse.Data && len(ev.Data) == 0 && s.phase < complete && (s.x.Answer.Transcript != nil || s.x.Policy.ErrorFrames)
}

// repeats reads the next event if it is there, repeats the one before but for its text, and
// is at most that long. It returns the length of the event, which is payload, or 0.
func (s *Stream) repeats(most int) int {
	unread := s.scan.Unread()
	if len(unread) == 0 {
		return 0
	}
	return s.repeat.Next(&s.x.Answer, unread[:min(most, len(unread))])
}

func (s *Stream) signal(ev *sse.Event) wire.Signal {
	switch {
	case ev.Kind != sse.Data, len(ev.Data) == 0 && !ev.Error: // some hosts keep alive with empty events
		return wire.Nothing
	case ev.One && !ev.Error:
		signal := s.repeat.Event(&s.x.Answer, ev.Raw, ev.Data)
		if signal == wire.Nothing && s.x.Answer.Wire != wire.Chat {
			signal = s.signalByName(ev)
		}
		return signal
	}
	signal := s.x.Answer.Event(ev.Data)
	if ev.Error {
		return wire.Failure
	}
	if ev.One || signal != wire.Malformed {
		return signal
	}
	// Several data lines that are no JSON together: some hosts leave out the blank
	// lines between events.
	signal = wire.Nothing
	for line := range bytes.SplitSeq(ev.Data, []byte("\n")) {
		signal = max(signal, s.x.Answer.Event(line))
	}
	return signal
}

// signalByName returns what an event says whose type only its name tells, as some gateways send
// those of Responses and Messages.
func (s *Stream) signalByName(ev *sse.Event) wire.Signal {
	line, _, _ := bytes.Cut(ev.Raw, []byte("\n"))
	name, ok := bytes.CutPrefix(line, []byte("event:"))
	name = bytes.TrimSpace(name)
	if !ok || len(ev.Data) == 0 || ev.Data[0] != '{' || !isWord(name) || gjson.GetBytes(ev.Data, "type").Exists() {
		return wire.Nothing
	}
	members := bytes.TrimLeft(ev.Data[1:], blanks)
	typed := append(append([]byte(`{"type":"`), name...), '"')
	if len(members) > 0 && members[0] != '}' {
		typed = append(typed, ',')
	}
	return s.x.Answer.Event(append(typed, members...))
}

// isWord reports whether a name has only what the names of events have.
func isWord(name []byte) bool {
	for _, b := range name {
		if (b|0x20 < 'a' || b|0x20 > 'z') && b != '_' && b != '.' {
			return false
		}
	}
	return len(name) > 0
}

// commit prepares the stream for its reader. out has the events up to the first
// payload.
func (s *Stream) commit(signal wire.Signal) {
	s.follow(signal)
	s.x.noteSpoken()
	s.open = !sse.EndsBlock(s.out)
	s.forget()
	s.resumed = s.resumed || s.IsResumable()
	s.stall.begin(s.x, s.review)
}

// follow sets the phase after an event that is passed on. A host whose index counts
// events may go on after a finish_reason: then the answer is not complete any more.
func (s *Stream) follow(signal wire.Signal) {
	switch {
	case signal == wire.Done:
		s.phase = terminated
	case s.phase == terminated:
	case s.x.Answer.Finished() && !s.review:
		s.phase = complete
	default:
		s.phase = streaming
	}
}

// forget lets go of the transcript of an answer that cannot be continued.
func (s *Stream) forget() {
	t, a := &s.transcript, &s.x.Answer
	if a.Transcript != nil && !s.limits.Allow(len(t.Text), len(t.Reasoning), t.Other) {
		s.forgot = Forgotten{len(t.Text), len(t.Reasoning), t.Other}
		s.transcript, a.Transcript = wire.Transcript{Other: true}, nil
	}
}

// advance takes the next event into out, or the end into err.
func (s *Stream) advance() {
	before, told := s.phase, s.transcript
	if before == terminated { // some hosts keep the connection open
		timer := time.AfterFunc(drainWait, background.Recovered(s.abortRead))
		defer timer.Stop()
	}
	ev, signal, err := s.next()
	if err != nil || signal >= wire.Malformed {
		s.transcript = told // the reader does not get this event
	}
	s.forget()
	switch {
	case err != nil && before == terminated, err == io.EOF && s.x.Answer.Ended() && !s.review,
		err != nil && before == complete && (s.x.Answer.Proven() || s.closing.Load()):
		if s.closing.Load() || !s.isFlawed(true, nil) {
			s.finish(outcome.OK, io.EOF)
		}
		return
	case err != nil:
		s.breakOff(err)
		return
	case before >= complete && signal == wire.Failure:
		if s.completion != nil {
			s.completion.Private()
		}
	case before >= complete:
	case s.fails(ev, signal):
		return
	}
	if s.isFlawed(signal == wire.Done, ev.Raw) {
		return
	}
	s.out = s.trimmed(ev.Raw)
	s.pass(s.out, ev.Kind, signal)
}

// trimmed returns an event as the reader gets it; empty: the reader does not.
func (s *Stream) trimmed(event []byte) []byte {
	if s.trims {
		return recast.TrimUsage(event)
	}
	return event
}

// fails ends the stream if an event breaks the answer off, and reports whether it
// did.
func (s *Stream) fails(ev *sse.Event, signal wire.Signal) bool {
	switch signal {
	case wire.Malformed:
		s.finish(outcome.BadResponse, fmt.Errorf("%w: malformed event", outcome.ErrBadResponse))
	case wire.OutOfResources:
		s.finish(outcome.Truncated, outcome.ErrTruncated)
	case wire.Failure:
		// SDKs that know error events show its message; others see the error after it.
		s.frame = bytes.Clone(ev.Raw)
		f := errorInside(bytes.Clone(ev.Data), ev.Status)
		if s.gathered != nil {
			s.gathered.inside = f
		}
		class := s.x.Owner.ClassOf(f)
		fault := outcome.Of(class).Fault
		s.atFault = fault == outcome.FaultRequest || fault == outcome.FaultContent || class == outcome.Unsuited
		s.finish(class, fmt.Errorf("%w: error inside the stream", outcome.ErrBadResponse))
	default:
		return false
	}
	return true
}

// isFlawed ends the stream if it is flawed and is not to go on, and reports whether it did. The
// reader does not get event, which shows the flaw. ends: nothing of the answer follows.
func (s *Stream) isFlawed(ends bool, event []byte) bool {
	if s.flaws == nil || !ends && !s.flaws.IsDue() {
		return false
	}
	err := s.checkFlaws(ends)
	switch {
	case err == nil:
		return false
	case s.keepFlawed && (s.gathered == nil || !s.x.Owner.MayTakeOver()):
		s.x.keepFlawed(err)
		return false
	case s.keepFlawed && ends:
		s.gathered.flawed = append([]byte{}, event...)
	}
	s.atFault = true
	s.finish(outcome.Flawed, err)
	return true
}

// checkFlaws returns an error if the answer is flawed as far as it has come. Nothing is looked
// for any more after that, or when the answer ends.
func (s *Stream) checkFlaws(ends bool) error {
	if s.flaws == nil {
		return nil
	}
	var err error
	if ends {
		err = s.flaws.End(s.x.Answer.Partial)
	} else {
		err = s.flaws.Read()
	}
	if err != nil || ends {
		s.flaws, s.x.Answer.Said = nil, nil
	}
	return err
}

// pass notes an event that the reader gets. With the terminator it ends the exchange: most
// SDKs stop reading there, and some never close the body.
func (s *Stream) pass(event []byte, kind sse.Kind, signal wire.Signal) {
	before := s.phase
	s.follow(signal)
	s.x.noteSpoken()
	payload := signal == wire.Payload || s.phase >= complete && before < complete
	switch {
	case payload:
		// As JSON, what is gathered is given up only for another endpoint.
		if s.x.Policy.MinRate.Bytes > 0 && (s.gathered == nil || s.x.Owner.MayTakeOver()) {
			s.stall.isTooSlow(len(event)) // then the next read fails
		}
		s.stall.payload()
	case signal == wire.Work:
		s.stall.work()
	default: // keep-alives buy no time for a terminator
		s.stall.nothing(before < complete && (kind == sse.Comment || signal == wire.KeepAlive))
	}
	if len(event) > 0 {
		s.open = !sse.EndsBlock(event)
	}
	if s.completion != nil {
		s.completion.Pass(len(event), payload)
	}
	if s.phase == terminated && before != terminated {
		s.endExchange(outcome.OK, nil)
	}
}

// breakOff ends a stream whose source ended in err before the answer was complete.
func (s *Stream) breakOff(err error) {
	stalled := s.stall.endedIn()
	switch {
	case s.closing.Load():
		s.finish(outcome.OK, http.ErrBodyReadAfterClose)
	case stalled != nil:
		s.finish(outcome.Stalled, stalled)
	case s.x.Caller.Err() != nil:
		s.finish(outcome.Canceled, context.Cause(s.x.Caller))
	case errors.Is(err, outcome.ErrBadResponse):
		s.finish(outcome.BadResponse, err)
	default:
		s.finish(outcome.Truncated, outcome.TruncatedBy(err))
	}
}

// finish ends the exchange. The reader gets err after out.
func (s *Stream) finish(class outcome.Class, err error) {
	s.err = err
	switch {
	case s.resumed || !outcome.Broke(err):
	case s.completion != nil: // whoever observes reports it to each reader
		s.completion.Break(s.TakeFrame())
	default:
		s.out = s.x.Policy.LastEvent(s.x.Answer.Wire, s.TakeFrame(), err, s.open)
	}
	if err == io.EOF {
		err = nil
	}
	s.endExchange(class, err)
	s.phase = ended
	s.release()
}

// endExchange notes the end for the owner, once. It tells the completion only if the
// answer came to its very end: its usage may come after the last finish_reason.
func (s *Stream) endExchange(class outcome.Class, err error) {
	s.stall.end()
	if s.phase == terminated || s.phase == complete && s.eof == io.EOF {
		s.x.complete(s.completion)
	}
	s.completion = nil
	if !outcome.Broke(err) || class == outcome.Flawed { // nobody will continue it
		s.transcript, s.x.Answer.Transcript = wire.Transcript{}, nil
	}
	if !s.pending.due {
		s.pending = pendingEnd{true, class, err, s.x.Answer.Usage, s.read.Load() + int64(len(s.out))}
	}
}

// unlockAndReport frees mu and then tells the owner of the end.
func (s *Stream) unlockAndReport() {
	end := pendingEnd{}
	if s.pending.due {
		end, s.pending = s.pending, pendingEnd{}
	}
	s.mu.Unlock()
	if s.closing.Load() && s.mu.TryLock() { // Close was called meanwhile and did not wait
		s.closeLocked()
		if !end.due {
			end = s.pending
		}
		s.pending = pendingEnd{}
		s.mu.Unlock()
	}
	if end.due {
		s.x.Owner.End(end.class, end.err, end.used, end.bytes)
	}
}

// closeLocked ends the exchange for Close.
func (s *Stream) closeLocked() {
	if s.err != nil {
		return
	}
	s.err = http.ErrBodyReadAfterClose
	s.out = nil
	whole := s.phase >= complete
	class, cause := outcome.OK, error(nil)
	if !whole && s.x.Caller.Err() != nil {
		class, cause = outcome.Canceled, context.Cause(s.x.Caller)
	}
	s.endExchange(class, cause)
	s.phase = ended
	if whole && s.eof == nil {
		s.drain()
	}
	s.release()
}

const (
	maxDrain  = 4 << 10
	drainWait = 50 * time.Millisecond
)

// drain reads a little of what may come after the answer, briefly, so that the
// connection can be used again.
func (s *Stream) drain() {
	timer := time.AfterFunc(drainWait, background.Recovered(s.abortRead))
	io.CopyN(io.Discard, &s.in, maxDrain)
	timer.Stop()
}

// release gives the connection back and drops what was read ahead.
func (s *Stream) release() {
	defer s.x.Cancel(outcome.ErrClosed) // also if the body panics
	s.scan = nil
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
	s.src.Close()
}

// abortRead ends a read of the source that is under way on another goroutine.
func (s *Stream) abortRead() {
	s.x.Cancel(outcome.ErrClosed)
	s.src.Close() // some bodies do not end with the context
}

// discard ends the stream before the commit.
func (s *Stream) discard() { s.src.Close() }

// LastEvent returns the last event of a stream that broke off in err: the host's own
// event, said, or one of breakwater's if ErrorFrames is on, or nil. open: the stream
// so far ends within an event.
func (p *Policy) LastEvent(w wire.Wire, said []byte, err error, open bool) []byte {
	switch {
	case len(said) > 0 && open:
		return append([]byte("\n\n"), said...)
	case len(said) > 0:
		return said
	case p.ErrorFrames && outcome.Broke(err):
		return errorEvent(w, err, open)
	}
	return nil
}

// errorEvent returns breakwater's event that says why a stream broke off.
func errorEvent(w wire.Wire, err error, open bool) []byte {
	code := string(outcome.BreakOf(err))
	if code == "" {
		code = string(outcome.Truncated)
	}
	event := w.ErrorEvent(code, "breakwater: the stream broke off: "+code)
	if open {
		event = append([]byte("\n\n"), event...)
	}
	return event
}
