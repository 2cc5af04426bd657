package breakwater

import (
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/header"
)

// longestPause bounds what a server may ask for: an absurd Retry-After must
// not take an endpoint out for good.
const longestPause = 10 * time.Minute

// retryAfter reads how long a server asks to be left alone: retry-after-ms
// (Azure), or Retry-After in seconds or as a date (RFC 9110, section 10.2.3).
// Numbers of a server are hostile: what is no such time is none, and what is
// above longestPause is longestPause.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if ms, ok := header.Number(h.Get("Retry-After-Ms")); ok {
		return boundedPause(ms, time.Millisecond), true
	}
	value := strings.TrimSpace(h.Get("Retry-After"))
	if s, ok := header.Number(value); ok {
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
	n, ok := header.Number(h.Get(l.remaining))
	return ok && n >= 1
}

// resetAfter reads when a limit is whole again.
func resetAfter(value string) (time.Duration, bool) {
	if s, ok := header.Number(value); ok {
		return boundedPause(s, time.Second), true
	}
	d, err := time.ParseDuration(value)
	return min(max(d, 0), longestPause), err == nil
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
