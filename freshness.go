package breakwater

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A wish is what a call's Cache-Control asks of the cache: RFC 9111, section
// 5.2.1; stale-if-error: RFC 5861.
type wish struct {
	noStore, noCache, onlyIfCached bool
	maxAge, minFresh               time.Duration
	maxStale, staleIfError         time.Duration
}

const unlimited = time.Duration(math.MaxInt64)

// readWish reads the request's Cache-Control and, over it, that of Call.
func readWish(h http.Header, over string, stream bool) wish {
	w := wish{maxAge: unlimited, staleIfError: unlimited}
	values := h["Cache-Control"]
	if stream && len(values) == 1 && values[0] == "no-cache" {
		// Several SDKs say just that with every stream, by a habit that has come down
		// from browsers: https://html.spec.whatwg.org/multipage/server-sent-events.html.
		// It is nobody's wish. Who has it says max-age=0, or says it in Call.
		values = nil
	}
	for _, value := range values {
		w.read(value)
	}
	if over != "" {
		w.read(over)
	}
	return w
}

func (w *wish) read(value string) {
	for directive := range strings.SplitSeq(value, ",") {
		name, arg, given := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store":
			w.noStore = true
		case "no-cache":
			w.noCache = true
		case "only-if-cached":
			w.onlyIfCached = true
		case "max-age":
			w.maxAge = deltaSeconds(arg, w.maxAge)
		case "min-fresh":
			w.minFresh = deltaSeconds(arg, w.minFresh)
		case "max-stale":
			if !given { // of any age
				w.maxStale = unlimited
			} else {
				w.maxStale = deltaSeconds(arg, w.maxStale)
			}
		case "stale-if-error":
			w.staleIfError = deltaSeconds(arg, w.staleIfError)
		}
	}
}

// deltaSeconds reads a directive's seconds; what is none leaves def.
func deltaSeconds(arg string, def time.Duration) time.Duration {
	n, err := strconv.ParseUint(strings.Trim(arg, `"`), 10, 31)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // n is the most, then, as RFC 9111, section 1.2.2, has it
		return def
	}
	return time.Duration(n) * time.Second
}

// together adds durations that are not negative, up to the longest there is.
func together(a, b time.Duration) time.Duration {
	if a > unlimited-b {
		return unlimited
	}
	return a + b
}

// A freshness says what an answer of some age is good for.
type freshness int

const (
	useless  freshness = iota
	spare              // instead of a failure
	renewing           // at once, while it is renewed
	usable             // at once
)

// freshness says what an answer of that age is good for, by the policy and
// what the call wishes.
func (p CachePolicy) freshness(age time.Duration, w wish) freshness {
	switch {
	case w.noCache:
		return useless
	case age < w.maxAge && age < p.TTL-min(w.minFresh, p.TTL):
		return usable
	case age < w.maxAge && w.maxStale > 0 && w.minFresh == 0 && age-p.TTL < w.maxStale && age < p.keep():
		return usable
	case age < w.maxAge && w.minFresh == 0 && age < together(p.TTL, p.StaleWhileRevalidate):
		return renewing
	case age < together(p.TTL, min(p.StaleIfError, w.staleIfError)):
		return spare
	}
	return useless
}

// keep is how long an answer is good for anything.
func (p CachePolicy) keep() time.Duration {
	return together(p.TTL, max(p.StaleIfError, p.StaleWhileRevalidate))
}
