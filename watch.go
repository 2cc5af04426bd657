package breakwater

import (
	"sync"
	"time"
)

// A watch ends an attempt that has shown no payload for too long while
// another endpoint could serve. While none could, it keeps looking: the place
// in the queue is worth more than a new one.
type watch struct {
	attempt *attempt

	mu    sync.Mutex // guards what follows
	timer *time.Timer
	cause error // what the attempt ends in, should the time run out
	// These are times since the attempt's start.
	half  time.Duration // half of what the caller's deadline left: no attempt may use more
	last  time.Duration // when a kept answer has to do, shortly before that deadline
	due   time.Duration // when the time is up, were there no deadline
	done  bool          // settled or expired
	early bool          // expired before due: for the caller's deadline
	ended error         // cause, once expired
}

// lookAround is how often an overdue attempt looks whether another endpoint
// has come back.
const lookAround = time.Second

// begin starts the clock of an attempt: it covers all from DNS to the first payload.
func (w *watch) begin(a *attempt) {
	if len(a.call.candidates) < 2 && a.call.resumption == nil && !a.call.fallback {
		return // nobody else could ever serve
	}
	w.attempt, w.half, w.last = a, unlimited, unlimited
	first := a.firstPayloadWithin()
	if first == 0 {
		return
	}
	if deadline, ok := a.Deadline(); ok {
		left := deadline.Sub(a.start)
		w.half, w.last = left/2, left-left/10
	}
	w.arm(first, ErrNoFirstToken)
}

// arm sets the time from now after which the attempt ends in cause; 0: never.
func (w *watch) arm(d time.Duration, cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done || w.attempt == nil {
		return
	}
	gone := time.Since(w.attempt.start)
	w.cause, w.due = cause, unlimited
	if d > 0 && d < unlimited-gone {
		w.due = gone + d
	}
	d = min(w.due, w.half) - gone
	if w.timer == nil {
		w.timer = time.AfterFunc(d, w.expire)
	} else {
		w.timer.Reset(d)
	}
}

// expire runs when the time is up.
func (w *watch) expire() {
	a := w.attempt
	sentOnce := a.run.retry.SendOnce && a.sent.Load() // nobody may take over
	// A caller who has half an answer is not kept waiting for what may never come.
	elsewhere := a.call.resumption != nil || !sentOnce && a.run.hasAlternative(a.endpoint)
	w.mu.Lock()
	defer w.mu.Unlock()
	wait := lookAround
	if a.call.fallback && !elsewhere { // the cache alone could take over: that has time
		wait = min(wait, w.untilSpareLocked())
		elsewhere = wait <= 0
	}
	switch {
	case w.done:
	case !elsewhere:
		w.timer.Reset(wait)
	default:
		w.done, w.ended = true, w.cause
		w.early = time.Since(a.start) < w.due
		w.attempt.cancel(w.cause)
	}
}

// untilSpareLocked is how long the host has before a kept answer takes its place.
func (w *watch) untilSpareLocked() time.Duration {
	return min(w.due, w.last) - time.Since(w.attempt.start)
}

// settle stops the clock: the judgement is made. It returns false if the time
// was up before.
func (w *watch) settle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = true
	if w.timer != nil {
		w.timer.Stop()
	}
	return w.ended == nil
}

// expired returns what the attempt ended in if its time ran out, else nil; and
// whether that was early, for the caller's deadline.
func (w *watch) expired() (err error, early bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended, w.early
}
