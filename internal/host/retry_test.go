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
		{"blanks around", "openai", 503, headers("Retry-After", " 5 "), 5 * time.Second},
		{"parts of a second", "openai", 503, headers("Retry-After", "0.5"), none},
		{"an exponent", "openai", 429, headers("Retry-After", "1e3"), none},
		{"a sign", "openai", 429, headers("Retry-After", "+5"), none},
		{"hexadecimal", "openai", 429, headers("Retry-After", "0x10"), none},
		{"with underscores", "openai", 429, headers("Retry-After", "1_000"), none},
		{"with a comma", "openai", 429, headers("Retry-After", "1,000"), none},
		{"with a unit", "openai", 429, headers("Retry-After", "5s"), none},
		{"other digits", "openai", 429, headers("Retry-After", "\uff15"), none},
		{"infinity", "openai", 429, headers("Retry-After", "infinity"), none},
		{"leading zeros", "openai", 429, headers("Retry-After", "007"), 7 * time.Second},
		{"more than fits", "openai", 429, headers("Retry-After", "99999999999999999999999"), maxPause},
		{"milliseconds with an exponent", "azure", 429, headers("Retry-After-Ms", "1e6", "Retry-After", "1"), time.Second},
		{"milliseconds with parts", "azure", 429, headers("Retry-After-Ms", "700.5"), 700*time.Millisecond + 500*time.Microsecond},
		{"a date, the host's clock behind", "openai", 503, headers("Retry-After", "Fri, 31 Dec 1999 23:58:05 GMT", "Date", "Fri, 31 Dec 1999 23:58:00 GMT"), 5 * time.Second},
		{"a date, the host's clock ahead", "openai", 429, headers("Retry-After", "Sat, 01 Jan 2000 01:00:05 GMT", "Date", "Sat, 01 Jan 2000 01:00:00 GMT"), 5 * time.Second},
		{"a date in an old form", "openai", 503, headers("Retry-After", "Friday, 31-Dec-99 23:58:05 GMT", "Date", "Fri Dec 31 23:58:00 1999"), 5 * time.Second},
		{"a date before the host's own", "openai", 503, headers("Retry-After", "Sat, 01 Jan 2000 00:05:00 GMT", "Date", "Sat, 01 Jan 2000 00:05:01 GMT"), 0},
		{"a date, and a Date that is none", "openai", 503, headers("Retry-After", "Sat, 01 Jan 2000 00:05:00 GMT", "Date", "today"), 5 * time.Minute},
		{"none at all", "openai", 429, headers("Retry-After", "0"), 0},
		{"a date", "openai", 503, headers("Retry-After", "Sat, 01 Jan 2000 00:05:00 GMT"), 5 * time.Minute},
		{"a date that is over", "openai", 503, headers("Retry-After", "Fri, 31 Dec 1999 00:00:00 GMT"), 0},
		{"a date in a century", "openai", 503, headers("Retry-After", "Fri, 01 Jan 2100 00:00:00 GMT"), maxPause},
		{"milliseconds go before seconds", "azure", 429, headers("Retry-After-Ms", "700", "Retry-After", "1"), 700 * time.Millisecond},
		{"milliseconds that are no number", "azure", 429, headers("Retry-After-Ms", "soon", "Retry-After", "1"), time.Second},
		{"absurd", "openai", 429, headers("Retry-After", "1000000000"), maxPause},
		{"endless", "openai", 429, headers("Retry-After", "Inf"), none},
		{"negative", "openai", 429, headers("Retry-After", "-1"), none},
		{"no number", "openai", 429, headers("Retry-After", "NaN"), none},
		{"words", "openai", 429, headers("Retry-After", "in a minute"), none},
		{"where a limit ends", "together", 429, headers("X-Ratelimit-Reset", "90"), 90 * time.Second},
		{"where the later limit ends", "openai", 429, headers("X-Ratelimit-Reset-Requests", "1s", "X-Ratelimit-Reset-Tokens", "6m0s"), 6 * time.Minute},
		{"where the limit that is used up ends", "openai", 429, headers("X-Ratelimit-Remaining-Requests", "5", "X-Ratelimit-Reset-Requests", "2m", "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "1m"), time.Minute},
		{"Retry-After before limits", "together", 429, headers("Retry-After", "3", "X-Ratelimit-Reset", "90"), 3 * time.Second},
		{"limits of a failure", "together", 503, headers("X-Ratelimit-Reset", "90"), none},
		{"limits of a host that has none", "deepseek", 429, headers("X-Ratelimit-Reset", "90"), none},
		{"limits of which much is left, with a comma", "openai", 429, headers("X-Ratelimit-Remaining-Requests", "4,999", "X-Ratelimit-Reset-Requests", "2m"), none},
		{"limits as a Unix time", "together", 429, headers("X-Ratelimit-Reset", "946684890"), 90 * time.Second},
		{"limits as a Unix time, the host's clock behind", "together", 429, headers("X-Ratelimit-Reset", "946684690", "Date", "Fri, 31 Dec 1999 23:58:00 GMT"), 10 * time.Second},
		{"limits as a Unix time in milliseconds", "together", 429, headers("X-Ratelimit-Reset", "946684890000"), 90 * time.Second},
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
		{"with a comma", "openai", headers("X-Ratelimit-Remaining-Requests", "4,999", "X-Ratelimit-Reset-Requests", "12s"), 0},
		{"unlimited", "openai", headers("X-Ratelimit-Remaining-Requests", "unlimited", "X-Ratelimit-Reset-Requests", "12s"), 0},
		{"without end", "openai", headers("X-Ratelimit-Remaining-Tokens", "Inf", "X-Ratelimit-Reset-Tokens", "12s"), 0},
		{"negative", "openai", headers("X-Ratelimit-Remaining-Tokens", "-1", "X-Ratelimit-Reset-Tokens", "12s"), 0},
		{"a part of the whole", "openai", headers("X-Ratelimit-Remaining-Tokens", "0/60", "X-Ratelimit-Reset-Tokens", "12s"), 0},
		{"less than one", "openai", headers("X-Ratelimit-Remaining-Tokens", "0.5", "X-Ratelimit-Reset-Tokens", "12s"), 12 * time.Second},
		{"one number, one word", "openai", headers("X-Ratelimit-Remaining-Requests", "n/a", "X-Ratelimit-Reset-Requests", "50s", "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "3s"), 3 * time.Second},
		{"until a Unix time", "openai", headers("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "946684812"), 12 * time.Second},
		{"until a Unix time in milliseconds", "openai", headers("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "946684812500"), 12500 * time.Millisecond},
		{"until a Unix time that is over", "openai", headers("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "946684799"), 0},
		{"in the past", "openai", headers("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "-5s"), 0},
		{"of a host that says nothing", "deepseek", headers("X-Ratelimit-Remaining", "0", "X-Ratelimit-Reset", "1"), 0},
	} {
		if got := Lookup(tt.host).Spent(tt.header, saturday); got != tt.want {
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
		if d := together.Spent(h, now); d < 0 || d > maxSpent {
			t.Errorf("Spent(%q) = %v, want a time from 0 to %v", h, d, maxSpent)
		}
	})
}
