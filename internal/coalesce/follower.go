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
func (s *Follower) Call() Call { return s.flight.call }

// Leads reports whether the call was made in this caller's name.
func (s *Follower) Leads() bool { return s == s.flight.leader }

// Err returns what the call ended in, if it did not bring an answer. It may be
// asked once there is an answer to be taken.
func (s *Follower) Err() error { return s.flight.err }

// WaitsForAll reports whether the caller waits for the whole answer, which it
// cannot have as that comes.
func (s *Follower) WaitsForAll() bool { return s.all }

// Whole returns an answer that came in one piece, and what it ends in. It reports
// false for one that comes in bit by bit, which is to be read.
func (s *Follower) Whole() (data []byte, end error, ok bool) {
	if source := &s.flight.source; source.Whole {
		return source.Data, source.End, true
	}
	return nil, nil, false
}

// All returns all of a judged answer, of which nothing is missing. It reports
// false if that is not to be had.
func (s *Follower) All() ([]byte, bool) {
	f := s.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.source.Judged || f.slid || f.size == 0 {
		return nil, false
	}
	return f.data[:f.size:f.size], true
}

// Watch has the end of ctx end the caller's part.
func (s *Follower) Watch(ctx context.Context) {
	s.stop = context.AfterFunc(ctx, func() { s.leave(ctx.Err(), context.Cause(ctx)) })
}

// waitForAll has the follower wait for all of the answer. That comes as fast as
// the host sends it from now on.
func (s *Follower) waitForAll() {
	f := s.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.settled == nil {
		f.settled = make(chan struct{})
	}
	s.all = true
	if !s.gone {
		f.waiters++
	}
	f.awaitPayloadLocked()
	f.want.Signal()
	f.settleLocked()
}

// Read gives the caller the next bytes.
func (s *Follower) Read(p []byte) (int, error) {
	f := s.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		from := s.from()
		switch rest := f.data[from:]; {
		case len(s.last) > 0:
			n := copy(p, s.last)
			if s.last = s.last[n:]; len(s.last) == 0 {
				s.last = nil // hold nothing
			}
			return n, nil
		case s.err != nil:
			return 0, s.err
		case len(rest) > 0:
			n := copy(p, rest)
			s.at += int64(n)
			s.open = !sse.EndsBlock(f.data[:from+n])
			return n, nil
		case f.end != nil:
			if p := f.panicked; p != nil { // an Observer's, say: somebody has to hear of it
				f.panicked = nil
				panic(p)
			}
			if s.stop != nil {
				s.stop()
			}
			s.endLocked(f.end, nil)
			delete(f.followers, s)
			f.letGoLocked()
			continue
		}
		f.waitLocked()
	}
}

// Close ends the caller's part, and the exchange if it was the last one's.
func (s *Follower) Close() error {
	if s.stop != nil {
		s.stop()
	}
	s.leave(nil, http.ErrBodyReadAfterClose)
	if f := s.flight; f.isDeserted() { // if by a cancel: a body need not heed that
		f.closeBody()
		f.cancel(outcome.ErrClosed)
	}
	return nil
}

// leave takes the follower out. err is what the caller's context has ended in;
// nil: it closes its part. What it reads from now on ends in cause.
func (s *Follower) leave(err, cause error) {
	f := s.flight
	f.mu.Lock()
	s.last = nil
	if s.gone {
		f.mu.Unlock()
		return
	}
	f.takeOutLocked(s)
	s.err = cause
	f.letGoLocked()
	isLast := len(f.followers) == 0
	var body io.Closer
	if isLast {
		f.leftErr = err
		if err == nil { // it closes the body itself, so that the body is closed when Close returns
			body, f.body = f.body, nil
		}
	}
	f.more.Broadcast()
	f.want.Signal()
	f.mu.Unlock()
	if body != nil {
		body.Close()
	}
	if isLast && err != nil {
		f.cancel(cause)
	}
}

// endLocked has the follower read what is left for it, then the event that tells
// what its stream broke off in, if there is to be one, and then err. What the host
// has said of that goes to the credential that it was said to.
func (s *Follower) endLocked(err error, left []byte) {
	f := s.flight
	s.last, s.err = left, err
	if !f.source.Judged || !f.source.Events || !outcome.Broke(err) {
		return
	}
	var said []byte
	if err == f.end && s.terms.Credential == f.terms.Credential {
		said = f.Completion.failureEvent()
	}
	open := s.open
	if len(left) > 0 {
		open = !sse.EndsBlock(left)
	}
	s.last = append(s.last, f.call.LastEvent(said, err, open)...)
}

// from is where in the flight's data the follower reads on.
func (s *Follower) from() int {
	f := s.flight
	return int(min(max(s.at-f.base, 0), int64(len(f.data))))
}

// restOfEvent is what is missing of the event that the follower has read a part of.
func (s *Follower) restOfEvent() []byte {
	if !s.open {
		return nil
	}
	from, data := s.from(), s.flight.data
	for to := from; to < len(data); to++ {
		if data[to] == '\n' && sse.EndsBlock(data[:to+1]) {
			return data[from : to+1]
		}
	}
	return nil
}
