package breakwater

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/breakwater-go/breakwater/internal/budget"
)

// RetryPolicy says how often and how patiently a call is tried. An account
// not yet tried may always be tried once; the policy bounds what comes after.
type RetryPolicy struct {
	// Attempts is how many tries one account gets in one call. Default 3;
	// 1 or Off: never twice.
	Attempts int

	// MinDelay and MaxDelay bound the exponential backoff, with full jitter,
	// before the same account is tried again. Default 500ms and 8s.
	MinDelay, MaxDelay time.Duration

	// Patience is how long one call waits, in all, for an endpoint of a better
	// tier while one of a lower tier could serve. Default 2s.
	Patience time.Duration

	// MaxRetryAfter is the longest Retry-After a call waits for while no other
	// endpoint could serve. Default 60s.
	MaxRetryAfter time.Duration

	// Budget bounds what is sent beyond each account's first try, hedges, rescues
	// and what the base or middleware sends again included: over a sliding minute, to this share of
	// the calls, but not below ten. Default 0.2; Off: nothing is.
	Budget float64

	// SendOnce never sends again what may already have been billed: an attempt
	// that reached the host and ended without an answer is the last.
	SendOnce bool

	// MaxReplay is the largest request body, in bytes, kept to be sent again.
	// A larger one is sent once, streamed, to the endpoint it was meant for.
	// Default 32 MiB.
	MaxReplay int64
}

// budgetFloor is how many extra attempts a minute are always allowed.
const budgetFloor = 10

// newBudget is a budget of extra attempts; Off, there are none at all.
func (p RetryPolicy) newBudget() *budget.Budget {
	if p.Budget == 0 {
		return budget.New(0, 0)
	}
	return budget.New(p.Budget, budgetFloor)
}

func (p RetryPolicy) resolve() (RetryPolicy, error) {
	f := fields{option: "WithRetry"}
	resolveField(&f, "Attempts", &p.Attempts, 3)
	p.Attempts = max(p.Attempts, 1)
	resolveField(&f, "MinDelay", &p.MinDelay, 500*time.Millisecond)
	resolveField(&f, "MaxDelay", &p.MaxDelay, max(8*time.Second, p.MinDelay))
	f.check(p.MinDelay <= p.MaxDelay, "MinDelay %v is above MaxDelay %v", p.MinDelay, p.MaxDelay)
	resolveField(&f, "Patience", &p.Patience, 2*time.Second)
	resolveField(&f, "MaxRetryAfter", &p.MaxRetryAfter, time.Minute)
	resolveField(&f, "Budget", &p.Budget, 0.2)
	resolveField(&f, "MaxReplay", &p.MaxReplay, 32<<20)
	return p, f.err()
}

// newBackOff returns the delays of one call: uniform between 0 and an
// interval that doubles from MinDelay to MaxDelay. The library's generator
// jitters around its interval, hence the halves.
func (p RetryPolicy) newBackOff() backoff.BackOff {
	if p.MinDelay == 0 {
		return &backoff.ZeroBackOff{}
	}
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(p.MinDelay/2),
		backoff.WithMaxInterval(p.MaxDelay/2),
		backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(1),
		backoff.WithMaxElapsedTime(0),
	)
}

// longestPause bounds what a server may ask for: an absurd Retry-After must
// not take an endpoint out for good.
const longestPause = 10 * time.Minute

// retryAfter reads how long a server asks to be left alone: retry-after-ms
// (Azure), or Retry-After in seconds or as a date (RFC 9110, section 10.2.3).
// Numbers of a server are hostile: what is no such time is none, and what is
// above longestPause is longestPause.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if ms, ok := hostileNumber(h.Get("Retry-After-Ms")); ok {
		return boundedPause(ms, time.Millisecond), true
	}
	value := strings.TrimSpace(h.Get("Retry-After"))
	if s, ok := hostileNumber(value); ok {
		return boundedPause(s, time.Second), true
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), longestPause), true
	}
	return 0, false
}

// retryAfter reads how long the host asks to be left alone, from the headers
// that all have or from those in which this one says when its limit ends.
func (row *hostRow) retryAfter(status int, h http.Header, now time.Time) (time.Duration, bool) {
	if d, ok := retryAfter(h, now); ok || status != http.StatusTooManyRequests {
		return d, ok
	}
	var wait time.Duration
	known := false
	for _, l := range row.limits {
		if d, ok := resetAfter(h.Get(l.reset)); ok && !l.left(h) {
			wait, known = max(wait, d), true
		}
	}
	return wait, known
}

// spent returns how long it takes until what a limit's headers say is used up
// is whole again: no need to be refused for it.
func (row *hostRow) spent(h http.Header) (wait time.Duration) {
	for _, l := range row.limits {
		if d, ok := resetAfter(h.Get(l.reset)); ok && h.Get(l.remaining) != "" && !l.left(h) {
			wait = max(wait, min(d, longestSpent))
		}
	}
	return wait
}

// longestSpent bounds how long an answer that was given may have us wait for
// the next: limits of a day are refused, and heard, when they are.
const longestSpent = time.Minute

// left reports whether the headers say that something is left.
func (l limitHeaders) left(h http.Header) bool {
	n, ok := hostileNumber(h.Get(l.remaining))
	return ok && n >= 1
}

// resetAfter reads when a limit is whole again.
func resetAfter(value string) (time.Duration, bool) {
	if s, ok := hostileNumber(value); ok {
		return boundedPause(s, time.Second), true
	}
	d, err := time.ParseDuration(value)
	return min(max(d, 0), longestPause), err == nil
}

// hostileNumber reads a non-negative number, decimals allowed.
func hostileNumber(s string) (float64, bool) {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || !(n >= 0) {
		return 0, false
	}
	return n, true
}

func boundedPause(n float64, unit time.Duration) time.Duration {
	return time.Duration(min(n*float64(unit), float64(longestPause)))
}

// unlimited is a time that never passes.
const unlimited = time.Duration(math.MaxInt64)

// ofSeconds is a wait of so many seconds, up to the longest there is.
func ofSeconds(n float64) time.Duration {
	if n >= unlimited.Seconds() {
		return unlimited
	}
	return time.Duration(n * float64(time.Second))
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
