package limit

import (
	"errors"
	"fmt"
	"time"
)

// ErrLimited reports that a limit would not admit an attempt in time. Every *Error is one.
var ErrLimited = errors.New("limit: not in time")

// The limits that an Error names.
const (
	InFlight        = "in flight"
	PerSecond       = "per second"
	TokensPerMinute = "tokens per minute"
	LearnedRate     = "per second, as the host allows"
)

// An Error says which limit did not admit an attempt in time.
type Error struct {
	Limit string // InFlight, PerSecond, TokensPerMinute or LearnedRate

	// InUse of Max are used: attempts under way, attempts of Policy.Burst, or tokens of the
	// last minute.
	InUse, Max int
	Waiting    int // attempts in the queue

	// RetryAfter is when an attempt may begin, if nobody comes meanwhile. It is an estimate
	// for InFlight; 0: not known.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	return fmt.Sprintf("limit: %d of %d %s in use", e.InUse, e.Max, e.Limit)
}

// Is reports whether target is ErrLimited.
func (e *Error) Is(target error) bool { return target == ErrLimited }

// refusalLocked returns the error for an attempt of a caller that would have to wait so long
// for one of the buckets, and otherwise for a permit.
func (l *Limiter) refusalLocked(now time.Time, wait time.Duration, of string, c Caller) *Error {
	e := &Error{Limit: of, Waiting: l.waiting.len(), RetryAfter: wait}
	switch permit := l.permitWaitLocked(now, c); {
	case l.isFullLocked() && permit >= wait, wait == 0:
		e.Limit, e.InUse, e.Max, e.RetryAfter = InFlight, l.open, l.permits, permit
	case of == PerSecond && l.learned.bucket.limiter != nil && l.learned.wait(now, 1) >= l.attempts.wait(now, 1):
		e.Limit, e.InUse, e.Max = LearnedRate, l.learned.bucket.inUse(now), l.learned.bucket.burst
	case of == PerSecond:
		e.InUse, e.Max = l.attempts.inUse(now), l.attempts.burst
	default:
		e.InUse, e.Max = l.tokens.inUse(now), l.tokens.limit
	}
	return e
}
