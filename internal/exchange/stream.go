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

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/progress"
	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A Stream is an answer in events, which are passed on as they come until the
// answer is whole or broken. It never ends in a clean EOF before all choices have
// finished.
type Stream struct {
	x       *Exchange
	src     io.Closer
	in      progress.Reader // what src says
	scan    *sse.Scanner
	tape    wire.Tape // of the answer, if it can be continued
	limits  Limits    // of the tape
	stall   stallTimer
	closing atomic.Bool  // somebody closed it while it was read
	read    atomic.Int64 // bytes handed over

	mu         sync.Mutex // guards what follows; held while the reader waits for the host
	phase      phase
	out        []byte     // ready for the reader; from the scanner's buffer once committed
	eof        error      // what the source ended in
	err        error      // what the reader gets after out; nil until the stream has ended
	open       bool       // what has been handed over ends within a block of lines
	frame      []byte     // the host's error event that it ended in
	resumed    bool       // its reader continues it elsewhere should it break, and tells how that ends
	completion Completion // nil: nobody asks
	leave      func() bool
	pending    pendingEnd
}

// A phase is how far the answer of a stream has come.
type phase uint8

const (
	judging    phase = iota // no payload yet, and no reader
	streaming               // something of the answer is missing
	complete                // nothing is missing, but the terminator may be; what follows is passed on unjudged
	terminated              // the terminator came: nothing is missing but the end of the connection
	ended
)

// MaxEvent bounds one event of a stream, in bytes.
const MaxEvent = 16 << 20

// A pendingEnd is reported once mu is free: observers may call back into the
// stream.
type pendingEnd struct {
	due   bool
	class outcome.Class
	err   error
	used  wire.Usage
	bytes int64
}

func newStream(x *Exchange, src io.ReadCloser, w Want) *Stream {
	b := &Stream{
		x: x, src: src, in: progress.Reader{Reader: src}, scan: sse.New(MaxEvent, x.Policy.KeepComments),
		limits: w.Transcript, resumed: w.Continues,
	}
	if w.Transcript != nil {
		x.Answer.Tape = &b.tape
	}
	return b
}

// Kind says that the answer is checked as it is read.
func (b *Stream) Kind() Kind { return KindStream }

// Observe has c follow what goes to the reader, from the first byte on.
func (b *Stream) Observe(c Completion) {
	b.mu.Lock()
	defer b.unlockAndReport()
	c.Pass(len(b.out), false)
	b.completion = c
	if b.phase == terminated {
		b.endExchange(outcome.OK, nil)
	}
}

// Read gives the reader the next bytes.
func (b *Stream) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.unlockAndReport()
	for len(b.out) == 0 {
		if b.err != nil {
			b.out = nil // which may lead to a buffer
			return 0, b.err
		}
		b.advance()
	}
	n := copy(p, b.out)
	if b.out = b.out[n:]; len(b.out) == 0 {
		b.out = nil
	}
	b.read.Add(int64(n))
	return n, nil
}

// Close ends the exchange. A reader who has seen payload may leave when it
// likes: that is no failure.
func (b *Stream) Close() error {
	if !b.mu.TryLock() {
		// Somebody reads: that ends now, and reports the end. It may be the reader
		// itself who calls, from an Observer: nobody waits for it.
		b.closing.Store(true)
		b.abortRead()
		if !b.mu.TryLock() {
			return nil
		}
	}
	defer b.unlockAndReport()
	b.closeLocked()
	return nil
}

// Head returns what came before the commit. It must be called before the first
// Read.
func (b *Stream) Head() []byte { return b.out }

// IsResumable reports whether the stream could be continued elsewhere should it
// break now. It must not be called while it is read.
func (b *Stream) IsResumable() bool { return b.x.Answer.Tape != nil }

// TakeTape returns what a stream that broke has delivered, and keeps it no more.
// Only the reader may call it.
func (b *Stream) TakeTape() wire.Tape {
	tape := b.tape
	b.tape = wire.Tape{}
	return tape
}

// TakeFrame returns the host's own event that the stream broke off in, nil if
// there was none, and keeps it no more. Only the reader may call it.
func (b *Stream) TakeFrame() []byte {
	frame := b.frame
	b.frame = nil
	return frame
}

// Owner returns the owner of the stream's exchange.
func (b *Stream) Owner() Owner { return b.x.Owner }

// Complete tells c, if it is not nil, that nothing is missing of the answer that
// the stream has the end of.
func (b *Stream) Complete(c Completion) { b.x.completes(c) }

// next takes the next event and says what it amounts to.
func (b *Stream) next() (sse.Event, wire.Says, error) {
	for {
		ev, ok, err := b.scan.Next()
		switch {
		case err != nil:
			return ev, 0, fmt.Errorf("%w: %w", outcome.ErrBadResponse, err)
		case ok:
			return ev, b.says(ev), nil
		case b.eof != nil:
			if ev, ok := b.scan.Rest(); ok {
				if says := b.says(ev); says != wire.Malformed { // else it was cut within an event
					return ev, says, nil
				}
			}
			return ev, 0, b.eof
		}
		b.stall.beginRead()
		_, b.eof = b.scan.Fill(&b.in)
		b.stall.endRead()
	}
}

func (b *Stream) says(ev sse.Event) wire.Says {
	if ev.Kind != sse.Data || len(ev.Data) == 0 { // an empty one is some hosts' keep-alive
		return wire.Nothing
	}
	says := b.x.Answer.Event(ev.Data)
	if ev.Error && says != wire.Malformed {
		return wire.Failure
	}
	if ev.One || says != wire.Malformed {
		return says
	}
	// Several data lines that make no JSON together: a host that forgets the
	// blank lines between its events.
	says = wire.Nothing
	for line := range bytes.SplitSeq(ev.Data, []byte("\n")) {
		says = max(says, b.x.Answer.Event(line))
	}
	return says
}

// commit begins the reader's part. What is in out was read before it.
func (b *Stream) commit(says wire.Says) {
	b.follow(says)
	b.open = !sse.EndsBlock(b.out)
	b.forget()
	b.resumed = b.resumed || b.IsResumable()
	b.stall.begin(b.x)
	b.leave = b.x.endWithCaller(&b.read)
}

// follow sets the phase behind an event that is passed on. A host whose index
// counts events may go on behind a finish_reason: then something is missing
// again.
func (b *Stream) follow(says wire.Says) {
	switch {
	case says == wire.Done:
		b.phase = terminated
	case b.phase == terminated:
	case b.x.Answer.Finished():
		b.phase = complete
	default:
		b.phase = streaming
	}
}

// forget keeps no more of an answer that nobody could continue.
func (b *Stream) forget() {
	t, a := &b.tape, &b.x.Answer
	if a.Tape != nil && !b.limits.Allow(len(t.Text), len(t.Reasoning), t.Other) {
		b.tape, a.Tape = wire.Tape{Other: true}, nil
	}
}

// advance takes the next event into out, or the end into err.
func (b *Stream) advance() {
	before, told := b.phase, b.tape
	if before == terminated { // a host may keep the connection
		timer := time.AfterFunc(drainWait, recovered(b.abortRead))
		defer timer.Stop()
	}
	ev, says, err := b.next()
	if err != nil || says >= wire.Malformed {
		b.tape = told // what is not passed on has not been told
	}
	b.forget()
	switch {
	case err != nil && before >= complete, err == io.EOF && b.x.Answer.Ended():
		b.finish(outcome.OK, io.EOF)
		return
	case err != nil:
		b.breakOff(err)
		return
	case before >= complete && says == wire.Failure: // passed on as it came, to whom it was said to
		if b.completion != nil {
			b.completion.Private()
		}
	case before >= complete:
	case b.fails(ev, says):
		return
	}
	b.pass(ev, says)
}

// fails ends the stream with an event that breaks the answer off, and reports
// whether it did.
func (b *Stream) fails(ev sse.Event, says wire.Says) bool {
	switch says {
	case wire.Malformed:
		b.finish(outcome.BadResponse, fmt.Errorf("%w: malformed event", outcome.ErrBadResponse))
	case wire.OutOfResources:
		b.finish(outcome.Truncated, outcome.ErrTruncated)
	case wire.Failure:
		// SDKs that know error frames show its message; the others get the error behind it.
		b.frame = bytes.Clone(ev.Raw)
		b.finish(outcome.BadResponse, fmt.Errorf("%w: error inside the stream", outcome.ErrBadResponse))
	default:
		return false
	}
	return true
}

// pass hands an event to the reader, and ends the exchange with the terminator:
// most SDKs stop there, and some never close.
func (b *Stream) pass(ev sse.Event, says wire.Says) {
	before := b.phase
	b.follow(says)
	payload := says == wire.Payload || b.phase >= complete && before < complete
	switch {
	case payload:
		b.stall.payload()
	case before >= complete: // only the terminator may still be missing: signs of life buy no time
	case ev.Kind == sse.Comment, says == wire.Alive:
		b.stall.keptAlive()
	}
	b.out, b.open = ev.Raw, !sse.EndsBlock(ev.Raw)
	if b.completion != nil {
		b.completion.Pass(len(ev.Raw), payload)
	}
	if b.phase == terminated && before != terminated {
		b.endExchange(outcome.OK, nil)
	}
}

// breakOff ends the stream in what its source ended in, before its time.
func (b *Stream) breakOff(err error) {
	switch {
	case b.closing.Load():
		b.finish(outcome.OK, http.ErrBodyReadAfterClose)
	case b.stall.firedIdle():
		b.finish(outcome.Stalled, outcome.ErrStalled)
	case b.x.Caller.Err() != nil:
		b.finish(outcome.Canceled, context.Cause(b.x.Caller))
	case errors.Is(err, outcome.ErrBadResponse):
		b.finish(outcome.BadResponse, err)
	default:
		b.finish(outcome.Truncated, outcome.TruncatedBy(err))
	}
}

// finish ends the exchange and sets what the reader gets after out.
func (b *Stream) finish(class outcome.Class, err error) {
	b.err = err
	switch {
	case b.resumed || !outcome.Broke(err):
	case b.completion != nil: // a flight tells it to each of its sharers
		b.completion.Break(b.TakeFrame())
	default:
		b.out = b.x.Policy.LastEvent(b.x.Answer.Wire, b.TakeFrame(), err, b.open)
	}
	if err == io.EOF {
		err = nil
	}
	b.endExchange(class, err)
	b.phase = ended
	b.release()
}

// endExchange has the end reported, once, and tells the completion if the answer
// came to its very end: behind the last finish_reason there may still be its
// usage.
func (b *Stream) endExchange(class outcome.Class, err error) {
	b.stall.end()
	if b.phase == terminated || b.phase == complete && b.eof == io.EOF {
		b.x.completes(b.completion)
	}
	b.completion = nil
	if !outcome.Broke(err) { // nobody is to continue it
		b.tape, b.x.Answer.Tape = wire.Tape{}, nil
	}
	if !b.pending.due {
		b.pending = pendingEnd{true, class, err, b.x.Answer.Usage, b.read.Load() + int64(len(b.out))}
	}
}

// unlockAndReport frees mu, and then reports the end.
func (b *Stream) unlockAndReport() {
	end := b.pending
	b.pending = pendingEnd{}
	b.mu.Unlock()
	if b.closing.Load() && b.mu.TryLock() { // somebody wanted to close it meanwhile
		b.closeLocked()
		if !end.due {
			end = b.pending
		}
		b.pending = pendingEnd{}
		b.mu.Unlock()
	}
	if end.due {
		b.x.Owner.End(end.class, end.err, end.used, end.bytes)
	}
}

// closeLocked is the end by Close.
func (b *Stream) closeLocked() {
	if b.err != nil {
		return
	}
	b.err = http.ErrBodyReadAfterClose
	b.out = nil
	whole := b.phase >= complete
	class, cause := outcome.OK, error(nil)
	if !whole && b.x.Caller.Err() != nil {
		class, cause = outcome.Canceled, context.Cause(b.x.Caller)
	}
	b.endExchange(class, cause)
	b.phase = ended
	if whole && b.eof == nil {
		b.drain()
	}
	b.release()
}

const (
	maxDrain  = 4 << 10
	drainWait = 50 * time.Millisecond
)

// drain reads the little that may be left behind the terminator, so that the
// connection can be used again.
func (b *Stream) drain() {
	timer := time.AfterFunc(drainWait, recovered(b.abortRead))
	io.CopyN(io.Discard, &b.in, maxDrain)
	timer.Stop()
}

// release lets go of the connection, and of what was read ahead.
func (b *Stream) release() {
	defer b.x.Cancel(outcome.ErrClosed) // also if the body panics
	b.scan = nil
	if b.leave != nil {
		b.leave()
		b.leave = nil
	}
	b.src.Close()
}

// abortRead ends a read of the source that is under way.
func (b *Stream) abortRead() {
	b.x.Cancel(outcome.ErrClosed)
	b.src.Close() // a body may not heed the context
}

// discard is the end before the commit; the owner ends the exchange.
func (b *Stream) discard() { b.src.Close() }

// LastEvent returns what a stream ends with that broke off in err: what the host
// said of it or, where ErrorFrames is on, an event of breakwater's own; nil if it
// ends with neither. open: it follows what ends within a block of lines.
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

// errorEvent is the event that says what a stream broke off in.
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
