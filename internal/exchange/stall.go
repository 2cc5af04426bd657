package exchange

import (
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A stallTimer ends a committed stream that brings no payload for too long, or brings it too
// slowly. Only the time counts that the reader waits for the host. It runs from begin to end.
type stallTimer struct {
	x      *Exchange
	limit  time.Duration
	review bool // keep-alives do not prolong the limit
	reset  bool // payload came since the last read began; only the reader uses it

	// The following measure the rate. Only the reader uses them.
	bytes int64         // of payload in this window
	in    time.Duration // how long the reader has waited for them

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	reading bool          // the reader waits for an event
	from    time.Duration // when that began, since the exchange's start
	waited  time.Duration // for earlier events, since the last payload
	alive   bool          // keep-alives came since the last payload
	overdue bool          // the timer fired between two reads; the next read sets it again
	ended   bool
	cause   error         // of the end, if the timer ended the stream
	working bool          // the host has reported work since the last payload
	since   time.Duration // when it first did, since the exchange's start
}

// keepAliveStalls times the limit is how long a stream may bring only keep-alives
// while no other endpoint is available.
const keepAliveStalls = 5

// begin starts the timer. review: the host reviews the answer.
func (s *stallTimer) begin(x *Exchange, review bool) {
	s.x, s.limit, s.review = x, x.Policy.Stall, review
	if review && s.limit > 0 && (x.Policy.Review == 0 || x.Policy.Review > s.limit) {
		s.limit = x.Policy.Review
	}
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
	if s.limit == 0 && (s.x == nil || s.x.Policy.MinRate.Bytes == 0) {
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
	s.reading, s.waited, s.alive, s.working = false, 0, false, false
}

// work notes that the host works on the answer with its own tools.
func (s *stallTimer) work() {
	s.reset = false
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.x == nil: // nothing is committed yet
	case !s.working:
		s.working, s.since = true, time.Since(s.x.Start)
	case s.workedLocked(): // the timer looks, too, if there is one
		s.endLocked(outcome.ErrStalled)
	}
	s.reading, s.waited, s.alive = false, 0, false
}

// workedLocked reports whether the host has worked for as long as it may.
func (s *stallTimer) workedLocked() bool {
	most := s.x.Policy.ToolWork
	return s.working && most > 0 && time.Since(s.x.Start)-s.since >= most
}

// isTooSlow adds an event with payload to the rate, and reports whether the rate is too low. It
// precedes payload, which forgets how long the reader has waited.
func (s *stallTimer) isTooSlow(bytes int) bool {
	s.bytes += int64(bytes)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.reading || s.reset {
		return false
	}
	s.in += s.idleLocked()
	rate := s.x.Policy.MinRate
	slow := !rate.allows(s.bytes, s.in)
	if s.in >= rate.Window {
		s.bytes, s.in = 0, 0
	}
	if slow {
		s.endLocked(outcome.ErrTooSlow)
	}
	return slow
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

// endedIn returns the error in which the timer ended the stream, nil if it did not.
func (s *stallTimer) endedIn() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// endLocked ends the stream.
func (s *stallTimer) endLocked(cause error) {
	if s.cause == nil {
		s.cause = cause
		s.x.Cancel(cause)
	}
}

// check runs when the limit may have been reached.
func (s *stallTimer) check() {
	s.mu.Lock()
	asks := s.alive && s.reading && !s.review
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
	if s.alive && !elsewhere && !s.review {
		limit *= keepAliveStalls
	}
	if idle := s.idleLocked(); idle < limit && !s.workedLocked() {
		s.timer.Reset(limit - idle)
		return
	}
	s.endLocked(outcome.ErrStalled)
}
