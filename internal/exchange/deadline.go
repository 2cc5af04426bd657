package exchange

import (
	"math"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A Deadline ends an exchange that has shown no payload for too long while
// another endpoint could serve. While none could, it keeps looking: the place in
// the host's queue is worth more than a new one. The zero value is no deadline.
type Deadline struct {
	x     *Exchange
	mu    sync.Mutex // guards what follows
	timer *time.Timer

	// These are times since the exchange's start.
	half time.Duration // half of what the caller's deadline left: no exchange may use more
	last time.Duration // when the fallback has to do, shortly before the caller's deadline
	due  time.Duration // when the time is up, were there no caller's deadline

	fallback bool // a stale answer could take the place of this one
	begun    bool // a part of the answer came, so that the time is a pause within it
	done     bool // stopped or expired
	expired  bool
	early    bool // it expired before due: for the caller's deadline
}

const (
	// lookEvery is how often an overdue exchange looks whether another endpoint
	// has come back.
	lookEvery = time.Second
	unlimited = time.Duration(math.MaxInt64)
)

// Start has the exchange show payload within a time from its start: it covers
// everything from DNS on. 0: any time, until a part of the answer has come.
// fallback: a stale answer would do instead, but only when the time is over that
// the caller has.
func (d *Deadline) Start(x *Exchange, within time.Duration, fallback bool) {
	d.x, d.fallback, d.half, d.last = x, fallback, unlimited, unlimited
	if within == 0 {
		return
	}
	if deadline, ok := x.Context.Deadline(); ok {
		left := deadline.Sub(x.Start)
		d.half, d.last = left/2, left-left/10
	}
	d.reset(within, false)
}

// reset sets the time from now until the exchange ends; 0: never. begun: a part
// of the answer came, so that it ends in a stall.
func (d *Deadline) reset(after time.Duration, begun bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done || d.x == nil {
		return
	}
	gone := time.Since(d.x.Start)
	d.begun, d.due = begun, unlimited
	if after > 0 && after < unlimited-gone {
		d.due = gone + after
	}
	after = min(d.due, d.half) - gone
	if d.timer == nil {
		d.timer = time.AfterFunc(after, d.expire)
	} else {
		d.timer.Reset(after)
	}
}

// expire runs when the time is up.
func (d *Deadline) expire() {
	ends := d.x.Owner.MayTakeOver() // without the lock: the owner takes locks of its own
	d.mu.Lock()
	defer d.mu.Unlock()
	wait := lookEvery
	if d.fallback && !ends {
		left := min(d.due, d.last) - time.Since(d.x.Start)
		wait, ends = min(wait, left), left <= 0
	}
	switch {
	case d.done:
	case !ends:
		d.timer.Reset(wait)
	default:
		d.done, d.expired = true, true
		d.early = time.Since(d.x.Start) < d.due
		d.x.Cancel(d.errLocked())
	}
}

// Stop stops the clock: the judgement is made. It reports false if the time was
// up before.
func (d *Deadline) Stop() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = true
	if d.timer != nil {
		d.timer.Stop()
	}
	return !d.expired
}

// Err returns what the exchange ended in if its time ran out, else nil; and
// whether the caller's deadline made the time shorter than it was to be.
func (d *Deadline) Err() (err error, early bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.expired {
		return nil, false
	}
	return d.errLocked(), d.early
}

func (d *Deadline) errLocked() error {
	if d.begun {
		return outcome.ErrStalled
	}
	return outcome.ErrNoFirstToken
}
