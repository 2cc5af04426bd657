package host

import (
	"net/http"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/header"
)

// Numbers in headers are hostile: a server may say anything. What is no number
// of at least 0 counts as not said, and both of these bound what is.
const (
	// maxPause bounds the pause that a server may ask for. An absurd Retry-After
	// must not take an endpoint out for good.
	maxPause = 10 * time.Minute
	// maxSpent bounds how long an answer may have us wait for the next one. What is
	// used up for longer, as a limit of a day, is refused: that will be heard.
	maxSpent = time.Minute
)

// LimitHeaders are the headers that say what is left of a limit, and when it is
// whole again: in seconds, or as Go writes durations.
type LimitHeaders struct{ Remaining, Reset string }

// RetryAfter returns how long a host asks to be left alone: by the headers that
// all hosts have or, with a 429, by those in which this one says when its limit
// ends. ok is false if it does not ask.
func (p *Profile) RetryAfter(status int, h http.Header, now time.Time) (wait time.Duration, ok bool) {
	if wait, ok := retryAfter(h, now); ok || status != http.StatusTooManyRequests {
		return wait, ok
	}
	for _, l := range p.Limits {
		if d, reset := resetAfter(h.Get(l.Reset)); reset && !l.left(h) {
			wait, ok = max(wait, d), true
		}
	}
	return wait, ok
}

// Spent returns how long it takes until a limit is whole again that the headers
// of an answer say is used up: no need to be refused for it.
func (p *Profile) Spent(h http.Header) (wait time.Duration) {
	for _, l := range p.Limits {
		if d, ok := resetAfter(h.Get(l.Reset)); ok && h.Get(l.Remaining) != "" && !l.left(h) {
			wait = max(wait, min(d, maxSpent))
		}
	}
	return wait
}

// left reports whether the headers say that something is left.
func (l LimitHeaders) left(h http.Header) bool {
	n, ok := header.Number(h.Get(l.Remaining))
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

// resetAfter reads when a limit is whole again.
func resetAfter(value string) (time.Duration, bool) {
	if s, ok := header.Number(value); ok {
		return pause(s, time.Second), true
	}
	d, err := time.ParseDuration(value)
	return min(max(d, 0), maxPause), err == nil
}

// pause is n units of time, at most maxPause.
func pause(n float64, unit time.Duration) time.Duration {
	return time.Duration(min(n*float64(unit), float64(maxPause)))
}
