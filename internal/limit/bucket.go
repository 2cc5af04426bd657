package limit

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// A bucket is a token bucket. The zero bucket limits nothing. Nothing is ever reserved in
// it for later: the limiter's queue takes tokens for its head only, when they are there.
type bucket struct {
	limiter   *rate.Limiter // nil: unlimited
	perSecond float64
	burst     int
}

// newBucket returns a full bucket.
func newBucket(perSecond float64, burst int) bucket {
	return bucket{rate.NewLimiter(rate.Limit(perSecond), burst), perSecond, burst}
}

// set changes the rate and the burst. A bucket that limited nothing before begins empty. If
// perSecond is 0, the bucket limits nothing from now on.
func (b *bucket) set(now time.Time, perSecond float64, burst int) {
	switch {
	case perSecond <= 0:
		*b = bucket{}
		return
	case b.limiter == nil:
		*b = newBucket(perSecond, burst)
		b.limiter.AllowN(now, burst)
		return
	}
	b.limiter.SetLimitAt(now, rate.Limit(perSecond))
	b.limiter.SetBurstAt(now, burst)
	b.perSecond, b.burst = perSecond, burst
}

// wait returns how long it takes until the bucket has brought n tokens, if nobody takes
// any; 0: it has them now. n may be more than the bucket holds.
func (b *bucket) wait(now time.Time, n float64) time.Duration {
	if b.limiter == nil {
		return 0
	}
	missing := n - b.limiter.TokensAt(now)
	if missing <= n*1e-9 { // no more than rounding errors
		return 0
	}
	return seconds(missing / b.perSecond)
}

// seconds returns n seconds, rounded up to a nanosecond, at most the longest duration. A
// token that is taken a nanosecond early is one that the host does not have yet.
func seconds(n float64) time.Duration {
	const longest = time.Duration(math.MaxInt64)
	if n >= longest.Seconds() {
		return longest
	}
	return time.Duration(math.Ceil(n * float64(time.Second)))
}

// take takes n tokens if the bucket has them. If n is more than the bucket holds, a full
// bucket is enough, and the rest is taken on credit.
func (b *bucket) take(now time.Time, n int) bool {
	if b.limiter == nil || b.limiter.AllowN(now, n) {
		return true
	}
	if b.wait(now, float64(min(n, b.burst))) > 0 {
		return false
	}
	b.spend(now, n)
	return true
}

// spend takes n tokens, on credit if need be. If n is negative, it puts tokens back.
func (b *bucket) spend(now time.Time, n int) {
	if b.limiter == nil {
		return
	}
	for ; n > b.burst; n -= b.burst { // a reservation cannot be larger
		b.limiter.ReserveN(now, b.burst)
	}
	b.limiter.ReserveN(now, n)
}

// slip takes one token more, because the host has refused an attempt: its bucket is emptier
// than this one. Attempts arrive earlier or later than they were sent, so a bucket that is
// as full as the host's is refused now and then; once it is emptier by a few tokens, it is
// not, at the same rate. It is never set back by more than a second, and not at all
// if that is less than an attempt.
func (b *bucket) slip(now time.Time) {
	if b.limiter != nil && b.perSecond >= 1 && b.limiter.TokensAt(now) > -b.perSecond {
		b.limiter.ReserveN(now, 1)
	}
}

// isFull reports whether the bucket is as a new one.
func (b *bucket) isFull(now time.Time) bool {
	return b.limiter == nil || b.limiter.TokensAt(now) >= float64(b.burst)
}

// inUse returns how many of the burst are taken.
func (b *bucket) inUse(now time.Time) int {
	if b.limiter == nil {
		return 0
	}
	return b.burst - int(max(b.limiter.TokensAt(now), 0))
}
