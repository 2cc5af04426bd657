package coalesce

import (
	"context"
	"io"
	"net/http"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/sse"
)

// A Follower is one caller's place in a flight. It reads the flight's bytes from the first
// one on. It must be closed.
type Follower struct {
	flight *Flight
	terms  Terms
	stop   func() bool // stops watching the caller's context; nil: it is not watched

	// The flight's mu guards the following.
	at   int64
	all  bool   // it waits for the complete answer
	gone bool   // it was removed from the flight's followers
	open bool   // it has read a part of an event
	last []byte // what it reads next, in place of the flight's bytes
	err  error  // the error after last; nil: it reads the flight's bytes
}

// Call returns the call of the flight.
func (f *Follower) Call() Call { return f.flight.call }

// Leads reports whether the call was made on behalf of this caller.
func (f *Follower) Leads() bool { return f == f.flight.leader }

// Err returns the error of the call, if it brought no answer. It may be called once the
// flight is answered.
func (f *Follower) Err() error { return f.flight.err }

// WaitsForAll reports whether the caller waits for the complete answer, because it needs
// another form.
func (f *Follower) WaitsForAll() bool { return f.all }

// Whole returns an answer that came in one piece, and its error. It reports false for one
// that comes in parts, which has to be read.
func (f *Follower) Whole() (data []byte, end error, ok bool) {
	if source := &f.flight.source; source.Whole {
		return source.Data, source.End, true
	}
	return nil, nil, false
}

// All returns a judged answer of which nothing is missing. It reports false if there is no
// such answer.
func (f *Follower) All() ([]byte, bool) {
	flight := f.flight
	flight.mu.Lock()
	defer flight.mu.Unlock()
	if !flight.source.Judged || flight.slid || flight.size == 0 {
		return nil, false
	}
	return flight.data[:flight.size:flight.size], true
}

// Watch removes the follower when ctx ends, and then calls left, unless that is nil.
func (f *Follower) Watch(ctx context.Context, left func()) {
	f.stop = context.AfterFunc(ctx, func() {
		f.leave(ctx.Err(), context.Cause(ctx))
		if left != nil {
			left()
		}
	})
}

// waitForAll makes the follower wait for the complete answer, which is read as fast as the
// host sends it from now on.
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
				f.last = nil // so that it holds no memory
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
			if p := flight.panicked; p != nil { // an Observer's, for example: one caller has to see it
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

// End returns the error in which the follower's reads end behind what it has got; nil: it is
// not known yet.
func (f *Follower) End() error {
	f.flight.mu.Lock()
	defer f.flight.mu.Unlock()
	return f.err
}

// Close removes the follower, and ends the exchange if nobody else needs it.
func (f *Follower) Close() error {
	if f.stop != nil {
		f.stop()
	}
	f.leave(nil, http.ErrBodyReadAfterClose)
	if flight := f.flight; flight.isDeserted() { // also after a cancel, because a body need not heed its context
		flight.closeBody()
		flight.cancel(outcome.ErrClosed)
	}
	return nil
}

// leave removes the follower. err is the error of the caller's context; nil: the caller
// has closed the follower. Later reads return cause.
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
	if len(flight.followers) == 0 {
		flight.leftErr = err
	}
	isLast := len(flight.followers) == 0 && !flight.lingerLocked()
	var body io.Closer
	if isLast {
		if err == nil { // the follower closes the body itself, so that it is closed when Close returns
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

// endLocked makes the follower read what is left for it, then an event that says why its
// stream broke, if there is to be one, and then err. The host's own event is only for the
// credential that it was sent to.
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

// from returns the index in the flight's data at which the follower reads on.
func (f *Follower) from() int {
	flight := f.flight
	return int(min(max(f.at-flight.base, 0), int64(len(flight.data))))
}

// restOfEvent returns the rest of the event that the follower has read a part of.
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
