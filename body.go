package breakwater

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

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/progress"
	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// maxEvent bounds one event of a stream, in bytes.
const maxEvent = 16 << 20

// keepAliveStalls is how many times Stall a stream may live on keep-alives
// alone, while nobody else could serve.
const keepAliveStalls = 5

// A wholeBody is a JSON answer that was read and checked before the caller
// got it: its exchange is over.
type wholeBody struct {
	exchange.Memory
	bytes   []byte
	attempt *attempt
}

// Kind says that the answer was checked.
func (b *wholeBody) Kind() exchange.Kind { return exchange.KindWhole }

// Bytes is all of the answer.
func (b *wholeBody) Bytes() []byte { return b.bytes }

// Observe tells c at once that nothing is missing.
func (b *wholeBody) Observe(c exchange.Completion) {
	c.Pass(len(b.bytes), true)
	b.attempt.completes(c)
}

// completes tells c, if there is one, that nothing is missing of the answer.
func (a *attempt) completes(c exchange.Completion) {
	if c != nil {
		keepable := a.answer.Finished() && !a.answer.Partial && a.answer.Spoke
		c.Complete(a.endpoint.Name, keepable, a.answer.Usage.TotalTokens > 0)
	}
}

// A streamBody is what the caller reads behind the commit: the events as they
// come, until the answer is whole or broken. It never ends in a clean EOF
// before all choices have finished.
type streamBody struct {
	attempt *attempt
	src     io.Closer
	in      progress.Reader // what src says
	scan    *sse.Scanner
	tape    wire.Tape // of the answer, if it may be rescued
	stall   stall
	closing atomic.Bool
	read    atomic.Int64 // bytes handed over

	keepAlives bool // pass them on before the commit, too
	rescuable  bool // or a rescue itself: a rescuer tells what it ended in

	mu         sync.Mutex          // guards what follows; held while the caller waits for the host
	out        []byte              // ready for the caller; from the scanner's buffer once committed
	eof        error               // what the source ended in
	err        error               // what the caller gets after out
	open       bool                // what has been handed over ends within a block of lines
	frame      []byte              // the host's error event that it ended in
	done       bool                // the terminator came
	completion exchange.Completion // nil: nobody asks
	leave      func() bool         // stops watching for the caller's cancel
	owes       ending              // what is to be told of the end, once mu is free
}

// An ending is how an exchange ended.
type ending struct {
	due   bool
	class Class
	err   error
	usage Usage
	bytes int64
}

// unlock frees mu, and then tells of the end: observers may do as they like
// with the stream.
func (b *streamBody) unlock() {
	e := b.owes
	b.owes = ending{}
	b.mu.Unlock()
	if b.closing.Load() && b.mu.TryLock() { // somebody wanted to close it meanwhile
		b.shut()
		if !e.due {
			e = b.owes
		}
		b.owes = ending{}
		b.mu.Unlock()
	}
	if e.due {
		b.attempt.end(e.class, e.err, e.usage, e.bytes)
	}
}

func newStreamBody(a *attempt, src io.ReadCloser) *streamBody {
	keep := a.call.t.config.stream.KeepComments
	return &streamBody{attempt: a, src: src, in: progress.Reader{Reader: src}, scan: sse.New(maxEvent, keep), keepAlives: keep}
}

// next takes the next event and says what it amounts to.
func (b *streamBody) next() (sse.Event, wire.Says, error) {
	for {
		ev, ok, err := b.scan.Next()
		switch {
		case err != nil:
			return ev, 0, fmt.Errorf("%w: %w", ErrBadResponse, err)
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
		b.stall.waits()
		_, b.eof = b.scan.Fill(&b.in)
		b.stall.goesOn()
	}
}

func (b *streamBody) says(ev sse.Event) wire.Says {
	switch {
	case ev.Kind != sse.Data, len(ev.Data) == 0: // an empty one is some hosts' keep-alive
		return wire.Nothing
	}
	says := b.attempt.answer.Event(ev.Data)
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
		says = max(says, b.attempt.answer.Event(line))
	}
	return says
}

// commit begins the caller's part. What is in out was read before it.
func (b *streamBody) commit(says wire.Says) {
	b.done, b.open = says == wire.Done, !sse.EndsBlock(b.out)
	b.forget()
	b.rescuable = b.attempt.call.resumption != nil || b.attempt.answer.Tape != nil
	b.stall.begin(b.attempt)
	b.leave = b.attempt.watchCaller(&b.read)
}

// forget keeps no more of an answer that nobody could go on from.
func (b *streamBody) forget() {
	t, a := &b.tape, b.attempt
	if a.answer.Tape != nil && !a.call.transcribe.Allow(len(t.Text), len(t.Reasoning), t.Other) {
		b.tape, a.answer.Tape = wire.Tape{Other: true}, nil
	}
}

// Kind says that the answer is checked as it is read.
func (b *streamBody) Kind() exchange.Kind { return exchange.KindStream }

// Observe has c follow what goes to the caller, from the first byte on.
func (b *streamBody) Observe(c exchange.Completion) {
	b.mu.Lock()
	defer b.unlock()
	c.Pass(len(b.out), false)
	b.completion = c
	if b.done {
		b.end(ClassOK, nil)
	}
}

// Read gives the caller the next bytes.
func (b *streamBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.unlock()
	for len(b.out) == 0 {
		if b.err != nil {
			b.out = nil // which may lead to a buffer
			return 0, b.err
		}
		b.advance()
	}
	n := copy(p, b.out)
	b.out = behind(b.out, n)
	b.read.Add(int64(n))
	return n, nil
}

// behind is what follows the first n bytes; it holds nothing where that is nothing.
func behind(text []byte, n int) []byte {
	if n == len(text) {
		return nil
	}
	return text[n:]
}

// whole reports whether nothing of the answer is missing. What follows then
// is passed on unjudged.
func (b *streamBody) whole() bool { return b.done || b.attempt.answer.Finished() }

// advance takes the next event into out, or the end into err.
func (b *streamBody) advance() {
	if b.done {
		// Nothing is missing but the end of the connection, which a host may keep.
		timer := time.AfterFunc(drainWait, recovered(b.hangUp))
		defer timer.Stop()
	}
	was, terminated, told := b.whole(), b.done, b.tape
	ev, says, err := b.next()
	if err != nil || says >= wire.Malformed {
		b.tape = told // what is not passed on has not been told
	}
	b.forget()
	switch {
	case err != nil && was, err == io.EOF && b.attempt.answer.Ended():
		b.finish(ClassOK, io.EOF)
		return
	case err != nil:
		b.breaks(err)
		return
	case was && says == wire.Failure: // passed on as it came, to whom it was said to
		if b.completion != nil {
			b.completion.Private()
		}
	case was:
		b.done = b.done || says == wire.Done
	case says == wire.Malformed:
		b.finish(ClassBadResponse, fmt.Errorf("%w: malformed event", ErrBadResponse))
		return
	case says == wire.OutOfResources:
		b.finish(ClassTruncated, ErrTruncated)
		return
	case says == wire.Failure:
		// SDKs that know error frames show its message; the others get the error behind it.
		b.frame = bytes.Clone(ev.Raw)
		b.finish(ClassBadResponse, fmt.Errorf("%w: error inside the stream", ErrBadResponse))
		return
	case says == wire.Done:
		b.done = true
	}
	payload := says == wire.Payload || b.whole() && !was
	switch {
	case payload:
		b.stall.payload()
	case was: // only the terminator may still be missing: signs of life buy no time
	case ev.Kind == sse.Comment, says == wire.Alive:
		b.stall.comment()
	}
	b.out, b.open = ev.Raw, !sse.EndsBlock(ev.Raw)
	if b.completion != nil {
		b.completion.Pass(len(ev.Raw), payload)
	}
	if b.done && !terminated {
		b.end(ClassOK, nil) // most SDKs stop here, and some never close
	}
}

// breaks ends the stream in what its source ended in, before its time.
func (b *streamBody) breaks(err error) {
	a := b.attempt
	switch {
	case b.closing.Load():
		b.finish(ClassOK, http.ErrBodyReadAfterClose)
	case b.stall.expired.Load():
		b.finish(ClassStalled, ErrStalled)
	case a.call.Err() != nil:
		b.finish(ClassCanceled, context.Cause(a.call))
	case errors.Is(err, ErrBadResponse):
		b.finish(ClassBadResponse, err)
	default:
		b.finish(ClassTruncated, outcome.TruncatedBy(err))
	}
}

// finish ends the exchange and sets what the caller reads after out.
func (b *streamBody) finish(class Class, err error) {
	b.err = err
	switch {
	case b.rescuable || !outcome.Broke(err):
	case b.completion != nil: // a flight tells it to each of its sharers
		b.completion.Break(b.frame)
		b.frame = nil
	default:
		b.out = b.attempt.call.lastEvent(b.frame, err, b.open)
		b.frame = nil
	}
	if err == io.EOF {
		err = nil
	}
	b.end(class, err)
	b.release()
}

// end tells of the end, once, and keeps the answer if it came to its very
// end: behind the last finish_reason there may still be its usage.
func (b *streamBody) end(class Class, err error) {
	b.stall.end()
	if class == ClassOK && (b.done || b.whole() && b.eof == io.EOF) { // an error may stand beside the last finish_reason
		b.attempt.completes(b.completion)
	}
	b.completion = nil
	if !outcome.Broke(err) { // nobody is to go on from it
		b.tape, b.attempt.answer.Tape = wire.Tape{}, nil
	}
	if !b.owes.due {
		b.owes = ending{true, class, err, usageOf(b.attempt.answer.Usage), b.read.Load() + int64(len(b.out))}
	}
}

// release lets go of the connection, and of what was read ahead.
func (b *streamBody) release() {
	defer b.attempt.cancel(outcome.ErrClosed) // also if the body panics
	b.scan = nil
	if b.leave != nil {
		b.leave()
		b.leave = nil
	}
	b.src.Close()
}

// hangUp ends a read of the source that is under way.
func (b *streamBody) hangUp() {
	b.attempt.cancel(outcome.ErrClosed)
	b.src.Close() // a body may not heed the context
}

// abandon is the end before the commit; the loop ends the exchange.
func (b *streamBody) abandon() {
	b.src.Close()
}

// Close ends the exchange. A caller who has seen payload may leave when it
// likes: that is no failure.
func (b *streamBody) Close() error {
	if !b.mu.TryLock() {
		// Somebody reads: that ends now, and tells of the end. It may be the reader
		// itself who calls, from an Observer: nobody waits for it.
		b.closing.Store(true)
		b.hangUp()
		if !b.mu.TryLock() {
			return nil
		}
	}
	defer b.unlock()
	b.shut()
	return nil
}

// shut is the end by Close.
func (b *streamBody) shut() {
	if b.err != nil {
		return
	}
	b.err = http.ErrBodyReadAfterClose
	b.out = nil
	whole := b.whole()
	class, cause := ClassOK, error(nil)
	if !whole && b.attempt.call.Err() != nil {
		class, cause = ClassCanceled, context.Cause(b.attempt.call)
	}
	b.end(class, cause)
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
func (b *streamBody) drain() {
	timer := time.AfterFunc(drainWait, recovered(b.hangUp))
	io.CopyN(io.Discard, &b.in, maxDrain)
	timer.Stop()
}
