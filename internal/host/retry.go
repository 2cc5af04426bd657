package host

import (
	"net/http"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/header"
)

// Numbers in headers are hostile, because a server may send anything. What is not a number
// of at least 0 is ignored, and these two bound the rest.
const (
	// maxPause bounds the pause that a server may ask for, so that an absurd Retry-After
	// does not disable an endpoint for good.
	maxPause = 10 * time.Minute
	// maxSpent bounds the wait that an answer's headers may cause. If a limit is spent for
	// longer, such as a daily one, the next call is refused and tells so.
	maxSpent = time.Minute
)

// LimitHeaders are the headers that say what is left of a limit, and when it is full
// again: in seconds, or as a Go duration.
type LimitHeaders struct{ Remaining, Reset string }

// RetryAfter returns how long a host asks not to be called: by the headers that all hosts
// have or, with a 429, by its own headers for limits. ok is false if it does not ask.
func (p *Profile) RetryAfter(status int, h http.Header, now time.Time) (wait time.Duration, ok bool) {
	if wait, ok := retryAfter(h, now); ok || status != http.StatusTooManyRequests {
		return wait, ok
	}
	for _, l := range p.Limits {
		if d, reset := resetAfter(header.First(h, l.Reset)); reset && !l.left(h) {
			wait, ok = max(wait, d), true
		}
	}
	return wait, ok
}

// Spent returns how long it takes until a limit that the headers call spent is full again,
// so that the next call need not be refused.
func (p *Profile) Spent(h http.Header) (wait time.Duration) {
	for _, l := range p.Limits {
		if header.First(h, l.Remaining) == "" || l.left(h) { // most answers do not have the headers
			continue
		}
		if d, ok := resetAfter(header.First(h, l.Reset)); ok {
			wait = max(wait, min(d, maxSpent))
		}
	}
	return wait
}

// left reports whether the headers say that something is left.
func (l LimitHeaders) left(h http.Header) bool {
	n, ok := header.Number(header.First(h, l.Remaining))
	return ok && n >= 1
}

// retryAfter reads Retry-After-Ms (Azure), or Retry-After in seconds or as a
// date (RFC 9110, section 10.2.3).
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if ms, ok := header.Number(h.Get("Retry-After-Ms")); ok {
		return pause(ms, time.Millisecond), true
	}
	value := strings.TrimSpace(h.Get("Retry-After"))
	if s, ok := header.Number(value); ok {
		return pause(s, time.Second), true
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), maxPause), true
	}
	return 0, false
}

// resetAfter reads when a limit is full again.
func resetAfter(value string) (time.Duration, bool) {
	if s, ok := header.Number(value); ok {
		return pause(s, time.Second), true
	}
	d, err := time.ParseDuration(value)
	return min(max(d, 0), maxPause), err == nil
}

// pause returns n units of time, at most maxPause.
func pause(n float64, unit time.Duration) time.Duration {
	return time.Duration(min(n*float64(unit), float64(maxPause)))
}
