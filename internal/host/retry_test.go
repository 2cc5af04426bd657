package host

import (
	"net/http"
	"testing"
	"time"
)

func headers(pairs ...string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestRetryAfter(t *testing.T) {
	const none = -1
	for _, tt := range []struct {
		name   string
		host   string
		status int
		header http.Header
		want   time.Duration // none: not asked for
	}{
		{"nothing", "openai", 429, headers(), none},
		{"seconds", "openai", 429, headers("Retry-After", "2"), 2 * time.Second},
		{"parts of a second", "openai", 503, headers("Retry-After", " 0.5 "), 500 * time.Millisecond},
		{"none at all", "openai", 429, headers("Retry-After", "0"), 0},
		{"a date", "openai", 503, headers("Retry-After", "Sat, 01 Jan 2000 00:05:00 GMT"), 5 * time.Minute},
		{"a date that is over", "openai", 503, headers("Retry-After", "Fri, 31 Dec 1999 00:00:00 GMT"), 0},
		{"a date in a century", "openai", 503, headers("Retry-After", "Fri, 01 Jan 2100 00:00:00 GMT"), maxPause},
		{"milliseconds go before seconds", "azure", 429, headers("Retry-After-Ms", "700", "Retry-After", "1"), 700 * time.Millisecond},
		{"milliseconds that are no number", "azure", 429, headers("Retry-After-Ms", "soon", "Retry-After", "1"), time.Second},
		{"absurd", "openai", 429, headers("Retry-After", "1e9"), maxPause},
		{"endless", "openai", 429, headers("Retry-After", "Inf"), maxPause},
		{"negative", "openai", 429, headers("Retry-After", "-1"), none},
		{"no number", "openai", 429, headers("Retry-After", "NaN"), none},
		{"words", "openai", 429, headers("Retry-After", "in a minute"), none},
		{"where a limit ends", "together", 429, headers("X-Ratelimit-Reset", "90"), 90 * time.Second},
		{"where the later limit ends", "openai", 429, headers("X-Ratelimit-Reset-Requests", "1s", "X-Ratelimit-Reset-Tokens", "6m0s"), 6 * time.Minute},
		{"where the limit that is used up ends", "openai", 429, headers("X-Ratelimit-Remaining-Requests", "5", "X-Ratelimit-Reset-Requests", "2m", "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "1m"), time.Minute},
		{"Retry-After before limits", "together", 429, headers("Retry-After", "3", "X-Ratelimit-Reset", "90"), 3 * time.Second},
		{"limits of a failure", "together", 503, headers("X-Ratelimit-Reset", "90"), none},
		{"limits of a host that has none", "deepseek", 429, headers("X-Ratelimit-Reset", "90"), none},
		{"absurd limits", "together", 429, headers("X-Ratelimit-Reset", "10000h"), maxPause},
		{"limits in the past", "together", 429, headers("X-Ratelimit-Reset", "-5s"), 0},
		{"limits in words", "together", 429, headers("X-Ratelimit-Reset", "soon"), none},
	} {
		got, ok := Lookup(tt.host).RetryAfter(tt.status, tt.header, saturday)
		if asked := tt.want != none; ok != asked || ok && got != tt.want || !ok && got != 0 {
			t.Errorf("%s: %v, %v, want %v", tt.name, got, ok, tt.want)
		}
	}
}

func TestSpent(t *testing.T) {
	for _, tt := range []struct {
		name   string
		host   string
		header http.Header
		want   time.Duration
	}{
		{"nothing", "openai", headers(), 0},
		{"requests", "openai", headers("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "12s"), 12 * time.Second},
		{"in seconds", "together", headers("X-Ratelimit-Remaining", "0", "X-Ratelimit-Reset", "1.5"), 1500 * time.Millisecond},
		{"the later of both, up to a minute", "openai", headers("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "1s", "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "6m0s"), time.Minute},
		{"something left", "openai", headers("X-Ratelimit-Remaining-Requests", "1", "X-Ratelimit-Reset-Requests", "12s"), 0},
		{"no word on what is left", "openai", headers("X-Ratelimit-Reset-Requests", "12s"), 0},
		{"no word on when it is whole", "openai", headers("X-Ratelimit-Remaining-Requests", "0"), 0},
		{"absurd", "openai", headers("X-Ratelimit-Remaining-Requests", "-1", "X-Ratelimit-Reset-Requests", "NaN"), 0},
		{"in the past", "openai", headers("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "-5s"), 0},
		{"of a host that says nothing", "deepseek", headers("X-Ratelimit-Remaining", "0", "X-Ratelimit-Reset", "1"), 0},
	} {
		if got := Lookup(tt.host).Spent(tt.header); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Whatever the headers say, a pause is bounded, and there is none that was not
// asked for.
func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"2", "0", "-1", "1e309", "NaN", "99999999999999999999", "Tue, 24 Nov 2026 10:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", "", " 3 ", "0x10", "1_000", "6m0s", "-1h"} {
		f.Add(seed, seed, "0")
		f.Add("", "", seed)
	}
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value, ms, left string) {
		h := http.Header{"Retry-After": {value}, "Retry-After-Ms": {ms}, "X-Ratelimit-Remaining": {left}, "X-Ratelimit-Reset": {value}}
		together := Lookup("together")
		if d, ok := together.RetryAfter(429, h, now); d < 0 || d > maxPause || !ok && d != 0 {
			t.Errorf("RetryAfter(%q) = %v, %v, want a time from 0 to %v", h, d, ok, maxPause)
		}
		if d := together.Spent(h); d < 0 || d > maxSpent {
			t.Errorf("Spent(%q) = %v, want a time from 0 to %v", h, d, maxSpent)
		}
	})
}
