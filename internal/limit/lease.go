package limit

import (
	"time"

	"golang.org/x/time/rate"
)

// A Lease is what one attempt holds of a limiter. Acquire fills the zero Lease.
type Lease struct {
	limiter         *Limiter
	permit          bool
	since           time.Time // when it got the permit
	estimate        int       // tokens reserved; 0: tokens are not limited
	attempt, tokens reservation
}

// A Result says how an attempt with a lease ended.
type Result struct {
	Served bool // the host answered, and the answer is complete

	// Refused says that the host was overloaded, Begun when the attempt began, and Stated
	// which limit the host stated; 0: none.
	Refused bool
	Begun   time.Time
	Stated  int

	// Answered says that there was an answer, complete or not, and Tokens how many it took
	// by the host's count; 0: not known, so the estimate counts.
	Answered bool
	Tokens   int
}

// End returns what the lease holds. It must be called exactly once after Acquire has
// returned nil.
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

// adapt changes the number of permits by what the host served or refused.
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

// release returns the permit.
func (l *Lease) release() {
	if l.permit {
		l.limiter.permits.Release(time.Since(l.since))
	}
}

// cancel returns everything, because there is no attempt.
func (l *Lease) cancel() {
	l.attempt.cancel()
	l.tokens.cancel()
	l.release()
}

// A reservation is what was taken from a bucket.
type reservation struct {
	bucket *rate.Limiter // nil: nothing was taken
	n      int
	wait   time.Duration     // until it is available
	later  *rate.Reservation // nil: it was available at once
}

// take takes n from a bucket, if that can be had until the time until. A nil bucket is
// unlimited.
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

// cancel returns what was taken, at the present time: with the time of the reservation,
// the bucket would fill twice for the time between.
func (r *reservation) cancel() {
	now := time.Now()
	switch {
	case r.bucket == nil:
	case r.later != nil && r.later.DelayFrom(now) > 0:
		r.later.CancelAt(now)
	case r.bucket.TokensAt(now) >= 0: // its time has come, so it can only be put back, and only if nobody is waiting
		r.bucket.AllowN(now, -r.n)
	}
}
