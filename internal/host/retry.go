package host

import (
	"net/http"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/header"
)

// Numbers in headers are hostile, because a server may send anything. What is no number, or
// is negative, is ignored as if the header was absent, and these two bound the rest.
const (
	// maxPause bounds the pause that a server may ask for, so that an absurd Retry-After
	// does not disable an endpoint for good.
	maxPause = 10 * time.Minute
	// maxSpent bounds the wait that an answer's headers may cause. If a limit is spent for
	// longer, such as a daily one, the next call is refused and tells so.
	maxSpent = time.Minute
)

// LimitHeaders are the headers that say what is left of a limit, and when it is full
// again: in seconds, as a Go duration, or as a Unix time in seconds or milliseconds.
type LimitHeaders struct{ Remaining, Reset string }

// RetryAfter returns how long a host asks not to be called: by the headers that all hosts
// have or, with a 429, by its own headers for limits. ok is false if it does not ask.
func (p *Profile) RetryAfter(status int, h http.Header, now time.Time) (wait time.Duration, ok bool) {
	now = clockOf(h, now)
	if wait, ok := retryAfter(h, now); ok || status != http.StatusTooManyRequests {
		return wait, ok
	}
	for _, l := range p.Limits {
		if header.First(h, l.Remaining) != "" && !l.spent(h) {
			continue // another limit caused the refusal
		}
		if d, reset := resetAfter(header.First(h, l.Reset), now); reset {
			wait, ok = max(wait, d), true
		}
	}
	return wait, ok
}

// Spent returns how long it takes until a limit that the headers call spent is full again,
// so that the next call need not be refused.
func (p *Profile) Spent(h http.Header, now time.Time) (wait time.Duration) {
	for _, l := range p.Limits {
		if !l.spent(h) {
			continue
		}
		if d, ok := resetAfter(header.First(h, l.Reset), clockOf(h, now)); ok {
			wait = max(wait, min(d, maxSpent))
		}
	}
	return wait
}

// spent reports whether the headers say that nothing is left. What is no number is no
// limit: some hosts say "unlimited".
func (l LimitHeaders) spent(h http.Header) bool {
	value := header.First(h, l.Remaining)
	if value == "" { // as in most answers
		return false
	}
	n, ok := header.Number(value)
	return ok && n < 1
}

// clockOf returns the time by the host's clock, or now if the host does not tell it. The
// times that a host names are by its own clock, which may differ from ours.
func clockOf(h http.Header, now time.Time) time.Time {
	if said, err := http.ParseTime(strings.TrimSpace(h.Get("Date"))); err == nil {
		return said
	}
	return now
}

// retryAfter reads Retry-After-Ms (Azure), or Retry-After in seconds or as a
// date (RFC 9110, section 10.2.3).
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if ms, ok := header.Number(h.Get("Retry-After-Ms")); ok {
		return pause(ms, time.Millisecond), true
	}
	value := strings.TrimSpace(h.Get("Retry-After"))
	if s, ok := header.Digits(value); ok {
		return pause(s, time.Second), true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), maxPause), true
}

const (
	// Larger numbers are no seconds from now but Unix times, in seconds or milliseconds.
	unixSeconds = 5e8
	unixMillis  = 5e11
)

// resetAfter reads when a limit is full again.
func resetAfter(value string, now time.Time) (time.Duration, bool) {
	s, ok := header.Number(value)
	switch {
	case ok && s >= unixMillis:
		s /= 1000
		fallthrough
	case ok && s >= unixSeconds:
		return pause(max(s-float64(now.UnixMilli())/1000, 0), time.Second), true
	case ok:
		return pause(s, time.Second), true
	}
	d, err := time.ParseDuration(value)
	return min(max(d, 0), maxPause), err == nil
}

// ShouldRetry reads the header by which the hosts of OpenAI's and Anthropic's SDKs say
// whether to repeat a refused request. said is false if it does not say that.
func ShouldRetry(h http.Header) (should, said bool) {
	switch strings.ToLower(strings.TrimSpace(h.Get(header.ShouldRetry))) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// pause returns n units of time, at most maxPause.
func pause(n float64, unit time.Duration) time.Duration {
	return time.Duration(min(n*float64(unit), float64(maxPause)))
}
