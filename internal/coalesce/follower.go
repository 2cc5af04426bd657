package coalesce

import (
	"context"
	"io"
	"net/http"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/sse"
)

// A Follower is one caller's part of a flight, and reads the flight's bytes from
// the first one on. Whoever has one must Close it.
type Follower struct {
	flight *Flight
	terms  Terms
	stop   func() bool // stops watching for the caller's end; nil: nobody watches

	// Guarded by the flight's mu.
	at   int64
	all  bool   // it waits for the whole answer
	gone bool   // it is not among the flight's followers any more
	open bool   // what it has read ends within an event
	last []byte // what it reads from now on
	err  error  // behind that; nil: it reads the flight's bytes
}

// Call returns the call of the flight.
func (f *Follower) Call() Call { return f.flight.call }

// Leads reports whether the call was made in this caller's name.
func (f *Follower) Leads() bool { return f == f.flight.leader }

// Err returns what the call ended in, if it did not bring an answer. It may be
// asked once there is an answer to be taken.
func (f *Follower) Err() error { return f.flight.err }

// WaitsForAll reports whether the caller waits for the whole answer, which it
// cannot have as that comes.
func (f *Follower) WaitsForAll() bool { return f.all }

// Whole returns an answer that came in one piece, and what it ends in. It reports
// false for one that comes in bit by bit, which is to be read.
func (f *Follower) Whole() (data []byte, end error, ok bool) {
	if source := &f.flight.source; source.Whole {
		return source.Data, source.End, true
	}
	return nil, nil, false
}

// All returns all of a judged answer, of which nothing is missing. It reports
// false if that is not to be had.
func (f *Follower) All() ([]byte, bool) {
	flight := f.flight
	flight.mu.Lock()
	defer flight.mu.Unlock()
	if !flight.source.Judged || flight.slid || flight.size == 0 {
		return nil, false
	}
	return flight.data[:flight.size:flight.size], true
}

// Watch has the end of ctx end the caller's part.
func (f *Follower) Watch(ctx context.Context) {
	f.stop = context.AfterFunc(ctx, func() { f.leave(ctx.Err(), context.Cause(ctx)) })
}

// waitForAll has the follower wait for all of the answer. That comes as fast as
// the host sends it from now on.
func (f *Follower) waitForAll() {
	flight := f.flight
	flight.mu.Lock()
	defer flight.mu.Unlock()
	if flight.settled == nil {
		flight.settled = make(chan struct{})
	}
	f.all = true
	if !f.gone {
		flight.waiters++
	}
	flight.awaitPayloadLocked()
	flight.want.Signal()
	flight.settleLocked()
}

// Read gives the caller the next bytes.
func (f *Follower) Read(p []byte) (int, error) {
	flight := f.flight
	flight.mu.Lock()
	defer flight.mu.Unlock()
	for {
		from := f.from()
		switch rest := flight.data[from:]; {
		case len(f.last) > 0:
			n := copy(p, f.last)
			if f.last = f.last[n:]; len(f.last) == 0 {
				f.last = nil // hold nothing
			}
			return n, nil
		case f.err != nil:
			return 0, f.err
		case len(rest) > 0:
			n := copy(p, rest)
			f.at += int64(n)
			f.open = !sse.EndsBlock(flight.data[:from+n])
			return n, nil
		case flight.end != nil:
			if p := flight.panicked; p != nil { // an Observer's, say: somebody has to hear of it
				flight.panicked = nil
				panic(p)
			}
			if f.stop != nil {
				f.stop()
			}
			f.endLocked(flight.end, nil)
			delete(flight.followers, f)
			flight.freeLocked()
			continue
		}
		flight.waitLocked()
	}
}

// Close ends the caller's part, and the exchange if it was the last one's.
func (f *Follower) Close() error {
	if f.stop != nil {
		f.stop()
	}
	f.leave(nil, http.ErrBodyReadAfterClose)
	if flight := f.flight; flight.isDeserted() { // if by a cancel: a body need not heed that
		flight.closeBody()
		flight.cancel(outcome.ErrClosed)
	}
	return nil
}

// leave takes the follower out. err is what the caller's context has ended in;
// nil: it closes its part. What it reads from now on ends in cause.
func (f *Follower) leave(err, cause error) {
	flight := f.flight
	flight.mu.Lock()
	f.last = nil
	if f.gone {
		flight.mu.Unlock()
		return
	}
	flight.removeLocked(f)
	f.err = cause
	flight.freeLocked()
	isLast := len(flight.followers) == 0
	var body io.Closer
	if isLast {
		flight.leftErr = err
		if err == nil { // it closes the body itself, so that the body is closed when Close returns
			body, flight.body = flight.body, nil
		}
	}
	flight.more.Broadcast()
	flight.want.Signal()
	flight.mu.Unlock()
	if body != nil {
		body.Close()
	}
	if isLast && err != nil {
		flight.cancel(cause)
	}
}

// endLocked has the follower read what is left for it, then the event that tells
// what its stream broke off in, if there is to be one, and then err. What the host
// has said of that goes to the credential that it was said to.
func (f *Follower) endLocked(err error, left []byte) {
	flight := f.flight
	f.last, f.err = left, err
	if !flight.source.Judged || !flight.source.Events || !outcome.Broke(err) {
		return
	}
	var said []byte
	if err == flight.end && f.terms.Credential == flight.terms.Credential {
		said = flight.Completion.failureEvent()
	}
	open := f.open
	if len(left) > 0 {
		open = !sse.EndsBlock(left)
	}
	f.last = append(f.last, flight.call.LastEvent(said, err, open)...)
}

// from is where in the flight's data the follower reads on.
func (f *Follower) from() int {
	flight := f.flight
	return int(min(max(f.at-flight.base, 0), int64(len(flight.data))))
}

// restOfEvent is what is missing of the event that the follower has read a part of.
func (f *Follower) restOfEvent() []byte {
	if !f.open {
		return nil
	}
	from, data := f.from(), f.flight.data
	for to := from; to < len(data); to++ {
		if data[to] == '\n' && sse.EndsBlock(data[:to+1]) {
			return data[from : to+1]
		}
	}
	return nil
}
