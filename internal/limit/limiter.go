package limit

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/breakwater-go/breakwater/internal/aimd"
	"github.com/breakwater-go/breakwater/internal/bounded"
	"github.com/breakwater-go/breakwater/internal/permits"
)

// ErrLimited reports that a limit would not admit an attempt in time.
var ErrLimited = errors.New("limit: not in time")

// A Limiter bounds the attempts on one model of one account. A nil Limiter limits nothing;
// all of its methods but Acquire and CountsTokens may be called.
type Limiter struct {
	policy   Policy
	permits  *permits.Pool // nil: unlimited
	adaptive *aimd.Limit   // the number of permits; nil: it does not change
	attempts *rate.Limiter // nil: unlimited
	tokens   *rate.Limiter // nil: unlimited
	used     atomic.Int64  // see bounded.Map
}

func newLimiter(p Policy) *Limiter {
	l := &Limiter{policy: p}
	if p.InFlight > 0 || p.Adaptive {
		l.permits = permits.New(p.InFlight)
	}
	if p.Adaptive {
		l.adaptive = aimd.New(p.InFlight)
	}
	if p.PerSecond > 0 {
		l.attempts = rate.NewLimiter(rate.Limit(p.PerSecond), p.Burst)
	}
	if p.TokensPerMinute > 0 {
		l.tokens = rate.NewLimiter(rate.Limit(float64(p.TokensPerMinute)/60), p.TokensPerMinute)
	}
	return l
}

// Free reports whether an attempt would not have to wait now.
func (l *Limiter) Free(now time.Time) bool {
	return l == nil ||
		(l.permits == nil || l.permits.Free()) &&
			(l.attempts == nil || l.attempts.TokensAt(now) >= 1) &&
			(l.tokens == nil || l.tokens.TokensAt(now) >= 1)
}

// Expected returns about how long an attempt that came now would wait.
func (l *Limiter) Expected(now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	var wait time.Duration
	if l.permits != nil {
		wait = l.permits.Expected()
	}
	for _, bucket := range [...]*rate.Limiter{l.attempts, l.tokens} {
		if bucket != nil {
			if missing := 1 - bucket.TokensAt(now); missing > 0 {
				wait = max(wait, seconds(missing/float64(bucket.Limit())))
			}
		}
	}
	return wait
}

// seconds returns n seconds, at most the longest duration.
func seconds(n float64) time.Duration {
	const longest = time.Duration(math.MaxInt64)
	if n >= longest.Seconds() {
		return longest
	}
	return time.Duration(n * float64(time.Second))
}

// Admits reports whether an attempt that has to wait would be queued.
func (l *Limiter) Admits(now time.Time) bool {
	return l == nil || l.policy.MaxWait > 0 && l.Expected(now) <= l.policy.MaxWait
}

// Spills reports whether what has to wait may go to another host instead: the policy allows
// it, or the host has taught the limit by its refusals, so that this is no limit of the
// user's.
func (l *Limiter) Spills() bool {
	return l == nil || l.policy.Spill || l.adaptive != nil && l.adaptive.Size() != l.policy.InFlight && !l.permits.Free()
}

// CountsTokens reports whether the limiter bounds tokens, so that Acquire needs their number.
func (l *Limiter) CountsTokens() bool { return l.tokens != nil }

// Adapts reports whether a refusal can still lower the number of permits.
func (l *Limiter) Adapts() bool { return l != nil && l.adaptive != nil && l.adaptive.Size() != 1 }

// Acquire waits for what an attempt with so many tokens needs, at most for MaxWait, and
// fills lease, which must be empty. It returns ErrLimited, at once if it can tell that the
// wait would exceed MaxWait or ctx's deadline, or the cause of ctx's end.
func (l *Limiter) Acquire(ctx context.Context, lease *Lease, tokens int) error {
	until := time.Now().Add(l.policy.MaxWait)
	if deadline, ok := ctx.Deadline(); ok && !until.Before(deadline) {
		until = deadline.Add(-1) // a turn at the deadline itself is too late
	}
	lease.limiter = l
	if l.permits != nil {
		switch err := l.permits.Acquire(ctx, l.policy.MaxWait); {
		case errors.Is(err, permits.ErrFull):
			return ErrLimited
		case err != nil:
			return err
		}
		lease.permit, lease.since = true, time.Now()
	}
	lease.estimate = min(tokens, l.policy.TokensPerMinute) // the bucket could never hold more
	if !lease.attempt.take(l.attempts, 1, until) || !lease.tokens.take(l.tokens, lease.estimate, until) {
		lease.cancel()
		return ErrLimited
	}
	if err := sleep(ctx, max(lease.attempt.wait, lease.tokens.wait)); err != nil {
		lease.cancel()
		return err
	}
	return nil
}

// sleep waits for d, or returns the cause of ctx's end.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// settle takes the tokens that an attempt used beyond its reservation, or puts tokens back
// if more is negative. A host's count takes no more than ten minutes of tokens.
func (l *Limiter) settle(more int) {
	now, burst := time.Now(), l.tokens.Burst()
	for minutes := 1; minutes < 10 && more > burst; minutes++ {
		l.tokens.ReserveN(now, burst) // a reservation cannot be larger
		more -= burst
	}
	more = min(more, burst)
	// A reservation can only be canceled before its time. But the bucket accepts a
	// negative number, and limits its content to its burst.
	if !l.tokens.AllowN(now, more) {
		l.tokens.ReserveN(now, more) // on credit
	}
}

// worth returns what would be lost with the limiter. A limiter that is not used, has full
// buckets and has learned nothing is worth no more than a new one.
func (l *Limiter) worth() bounded.Worth {
	w := bounded.Worth{Used: l.used.Load()}
	if l.permits != nil {
		out, waiting := l.permits.InUse()
		w.Busy = out > 0 || waiting > 0
	}
	for _, bucket := range [...]*rate.Limiter{l.attempts, l.tokens} {
		w.Known = w.Known || bucket != nil && bucket.Tokens() < float64(bucket.Burst())
	}
	w.Known = w.Known || l.adaptive != nil && l.adaptive.Size() != l.policy.InFlight
	return w
}
