package exchange

import (
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A stallTimer ends a committed stream that brings no payload for too long. Only
// the time counts that the reader waits for the host. It runs from begin to end.
type stallTimer struct {
	x     *Exchange
	limit time.Duration
	reset bool // payload came since the last read began; only the reader uses it

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	reading bool          // the reader waits for an event
	from    time.Duration // when that began, since the exchange's start
	waited  time.Duration // for earlier events, since the last payload
	alive   bool          // keep-alives came since the last payload
	overdue bool          // the timer fired between two reads; the next read sets it again
	ended   bool
	idle    bool // the timer ended the stream
}

// keepAliveStalls times the limit is how long a stream may bring only keep-alives
// while no other endpoint is available.
const keepAliveStalls = 5

func (s *stallTimer) begin(x *Exchange) {
	s.x, s.limit = x, x.Policy.Stall
	if s.limit > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.timer = time.AfterFunc(s.limit, s.check)
	}
}

// beginRead precedes each read of the source. Only the time from there to the next event
// counts against the limit. If that is payload, nobody needs to know how long it was, so the
// clock is read once for both.
func (s *stallTimer) beginRead() {
	s.reset = false
	if s.limit == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.reading { // else the last read brought no whole event, and the wait goes on
		s.reading, s.from = true, time.Since(s.x.Start)
	}
	if s.overdue && !s.ended {
		s.overdue = false
		s.timer.Reset(max(s.limit-s.idleLocked(), 0))
	}
}

// idleLocked returns how long the reader has waited since the last payload, during a read.
func (s *stallTimer) idleLocked() time.Duration { return s.waited + time.Since(s.x.Start) - s.from }

// payload notes that a part of the answer came.
func (s *stallTimer) payload() {
	if s.reset { // by an event of the same read
		return
	}
	s.reset = true
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading, s.waited, s.alive = false, 0, false
}

// nothing notes that an event without payload came. keepAlive: it shows that the host is
// alive.
func (s *stallTimer) nothing(keepAlive bool) {
	s.reset = false
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading {
		s.reading, s.waited = false, s.idleLocked()
	}
	s.alive = s.alive || keepAlive
}

func (s *stallTimer) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// firedIdle reports whether the timer ended the stream.
func (s *stallTimer) firedIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idle
}

// check runs when the limit may have been reached.
func (s *stallTimer) check() {
	s.mu.Lock()
	asks := s.alive && s.reading
	s.mu.Unlock()
	elsewhere := asks && s.x.Owner.Elsewhere() // not under the lock: the owner takes locks of its own
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return
	case !s.reading:
		s.overdue = true
		return
	}
	limit := s.limit
	if s.alive && !elsewhere {
		limit *= keepAliveStalls
	}
	if idle := s.idleLocked(); idle < limit {
		s.timer.Reset(limit - idle)
		return
	}
	s.idle = true
	s.x.Cancel(outcome.ErrStalled)
}
