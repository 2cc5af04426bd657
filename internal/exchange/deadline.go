package exchange

import (
	"math"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A Deadline ends an exchange that shows no payload for too long, if another
// endpoint can take over. Until one can, it looks again every second: the place in
// the host's queue is worth more than a new one. The zero value is no deadline.
type Deadline struct {
	x     *Exchange
	mu    sync.Mutex // guards what follows
	timer *time.Timer

	// All three are times since the exchange's start.
	half time.Duration // when half of the time to the caller's deadline is over: no exchange may use more
	last time.Duration // when the fallback takes over, shortly before the caller's deadline
	due  time.Duration // when the time is up, apart from the caller's deadline

	fallback bool // a stale answer can take over
	begun    bool // a part of the answer came, so it expires in ErrStalled
	done     bool // stopped or expired
	expired  bool
	early    bool // it expired before due, for the caller's deadline
}

const (
	// lookEvery is how often an overdue Deadline asks whether another endpoint can
	// take over.
	lookEvery = time.Second
	unlimited = time.Duration(math.MaxInt64)
)

// Start sets how long x may take from its start to its first payload, which
// includes the time to connect. 0: no limit, until a part of the answer came.
// fallback: a stale answer can take over, but only shortly before the caller's
// deadline.
func (d *Deadline) Start(x *Exchange, within time.Duration, fallback bool) {
	d.x, d.fallback, d.half, d.last = x, fallback, unlimited, unlimited
	if within == 0 {
		return
	}
	gone := time.Since(x.Start) // while it waited for a limit: only what is left is to be shared
	if deadline, ok := x.Context.Deadline(); ok {
		all := deadline.Sub(x.Start)
		d.half, d.last = gone+(all-gone)/2, all-all/10
	}
	d.resetAt(gone, within, false)
}

// reset sets how long the exchange may go on from now without payload; 0: no limit.
// begun: a part of the answer came.
func (d *Deadline) reset(after time.Duration, begun bool) {
	if d.x != nil {
		d.resetAt(time.Since(d.x.Start), after, begun)
	}
}

// resetAt is reset at the time gone since the exchange's start.
func (d *Deadline) resetAt(gone, after time.Duration, begun bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done {
		return
	}
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
	ends := d.x.Owner.MayTakeOver() // not under the lock: the owner takes locks of its own
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

// Stop stops the clock. It reports false if the time was up before.
func (d *Deadline) Stop() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = true
	if d.timer != nil {
		d.timer.Stop()
	}
	return !d.expired
}

// Err returns the error of an exchange whose time was up, else nil. early reports
// whether the caller's deadline had cut the time short.
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
