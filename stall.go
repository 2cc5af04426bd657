package breakwater

import (
	"sync"
	"sync/atomic"
	"time"
)

// A stall is the clock behind the commit. It counts the time the caller waits
// for the host, not the caller's own, and payload sets it back.
type stall struct {
	attempt *attempt
	limit   time.Duration

	mu    sync.Mutex // guards timer until it is set: it may run out before
	timer *time.Timer

	waiting atomic.Bool
	from    atomic.Int64 // when this wait began, from attempt.start
	before  atomic.Int64 // waited before that, since the last payload
	alive   atomic.Bool  // comments came since the last payload
	overdue atomic.Bool  // the timer ran out while nobody waited: it is set when somebody does
	expired atomic.Bool
}

func (s *stall) begin(a *attempt) {
	s.attempt, s.limit = a, a.call.t.config.stream.Stall
	if s.limit > 0 {
		s.mu.Lock()
		s.timer = time.AfterFunc(s.limit, s.check)
		s.mu.Unlock()
	}
}

// waits and goesOn stand around each read of the source.
func (s *stall) waits() {
	if s.timer != nil {
		s.from.Store(int64(time.Since(s.attempt.start)))
		s.waiting.Store(true)
		if s.overdue.CompareAndSwap(true, false) {
			s.timer.Reset(max(s.limit-time.Duration(s.before.Load()), 0))
		}
	}
}

func (s *stall) goesOn() {
	if s.timer != nil {
		s.waiting.Store(false)
		s.before.Add(int64(time.Since(s.attempt.start)) - s.from.Load())
	}
}

func (s *stall) payload() {
	s.before.Store(0)
	s.alive.Store(false)
}

func (s *stall) comment() { s.alive.Store(true) }

func (s *stall) end() {
	if s.timer != nil {
		s.timer.Stop()
	}
}

// check runs when the limit may have been reached.
func (s *stall) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, before, waiting := s.from.Load(), s.before.Load(), s.waiting.Load()
	for at := s.from.Load(); at != from; at = s.from.Load() { // another wait has begun meanwhile
		from, before, waiting = at, s.before.Load(), s.waiting.Load()
	}
	if !waiting {
		if s.overdue.Store(true); s.waiting.Load() && s.overdue.CompareAndSwap(true, false) {
			s.timer.Reset(0) // somebody has just begun to
		}
		return
	}
	idle := time.Duration(before + int64(time.Since(s.attempt.start)) - from)
	limit := s.limit
	if s.alive.Load() && !s.attempt.run.hasAlternative(s.attempt.endpoint) {
		limit *= keepAliveStalls
	}
	if idle < limit {
		s.timer.Reset(limit - idle)
		return
	}
	s.expired.Store(true)
	s.attempt.cancel(ErrStalled)
}
