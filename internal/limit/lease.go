package limit

import (
	"time"

	"golang.org/x/time/rate"
)

// A Lease is what one attempt holds of a limiter. The zero Lease is empty, for
// Acquire to fill.
type Lease struct {
	limiter         *Limiter
	permit          bool
	since           time.Time // of the permit
	estimate        int       // tokens reserved; 0: there is no such limit
	attempt, tokens reservation
}

// A Result is what an attempt with a lease came to.
type Result struct {
	Served bool // the host answered, to the end

	// Refused: the host had too much to do. Begun is when the attempt began. Said
	// is the number that the host gave for its limit, 0 if it gave none.
	Refused bool
	Begun   time.Time
	Stated  int

	// Answered: there was an answer, whole or not. Tokens is what the host says
	// that it took; if it does not say, an answer took what was estimated.
	Answered bool
	Tokens   int
}

// End gives back what the lease holds. It must be called exactly once after
// Acquire has returned nil.
func (l *Lease) End(r Result) {
	l.adapt(r)
	l.release()
	if l.estimate == 0 {
		return
	}
	used := r.Tokens
	if used <= 0 && r.Answered {
		used = l.estimate
	}
	l.limiter.settle(used - l.estimate)
}

// adapt has the number of permits follow what the host served or refused.
func (l *Lease) adapt(r Result) {
	permits, adaptive := l.limiter.permits, l.limiter.adaptive
	if adaptive == nil {
		return
	}
	open, _ := permits.InUse()
	switch {
	case r.Served:
		permits.Resize(adaptive.Served(time.Now(), open))
	case r.Refused:
		permits.Resize(adaptive.Refused(time.Now(), r.Begun, open, r.Stated))
	}
}

// release gives the permit back.
func (l *Lease) release() {
	if l.permit {
		l.limiter.permits.Release(time.Since(l.since))
	}
}

// cancel gives everything back: there is no attempt.
func (l *Lease) cancel() {
	l.attempt.cancel()
	l.tokens.cancel()
	l.release()
}

// A reservation is what was taken from a bucket.
type reservation struct {
	bucket *rate.Limiter // nil: nothing was taken
	n      int
	wait   time.Duration     // until it is to be had
	later  *rate.Reservation // nil: it was to be had at once
}

// take takes n from a bucket that will have them by until. A nil bucket has all.
func (r *reservation) take(bucket *rate.Limiter, n int, until time.Time) bool {
	if bucket == nil {
		return true
	}
	now := time.Now()
	if bucket.AllowN(now, n) {
		*r = reservation{bucket: bucket, n: n}
		return true
	}
	later := bucket.ReserveN(now, n)
	wait := later.DelayFrom(now)
	if !later.OK() || now.Add(wait).After(until) {
		later.CancelAt(now)
		return false
	}
	*r = reservation{bucket: bucket, n: n, wait: wait, later: later}
	return true
}

// cancel gives back as of now, not as of when it was taken: set back in time, a
// bucket would fill twice.
func (r *reservation) cancel() {
	now := time.Now()
	switch {
	case r.bucket == nil:
	case r.later != nil && r.later.DelayFrom(now) > 0:
		r.later.CancelAt(now)
	case r.bucket.TokensAt(now) >= 0: // its turn has come: it can only be put back, and only where nobody waits
		r.bucket.AllowN(now, -r.n)
	}
}
