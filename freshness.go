package breakwater

import (
	"errors"
	"iter"
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
	for d := range directives(value) {
		switch d.name {
		case "no-store":
			w.noStore = true
		case "no-cache":
			w.noCache = true
		case "only-if-cached":
			w.onlyIfCached = true
		case "max-age":
			w.maxAge = deltaSeconds(d.arg, w.maxAge)
		case "min-fresh":
			w.minFresh = deltaSeconds(d.arg, w.minFresh)
		case "max-stale":
			if !d.given { // of any age
				w.maxStale = unlimited
			} else {
				w.maxStale = deltaSeconds(d.arg, w.maxStale)
			}
		case "stale-if-error":
			w.staleIfError = deltaSeconds(d.arg, w.staleIfError)
		}
	}
}

// A directive is one of a Cache-Control: its name in lower case, and its
// argument without quotes.
type directive struct {
	name, arg string
	given     bool // an argument, if an empty one
}

// directives reads a line of Cache-Control: RFC 9111, section 5.2.
func directives(line string) iter.Seq[directive] {
	return func(yield func(directive) bool) {
		for line != "" {
			end := directiveEnd(line)
			name, arg, given := strings.Cut(line[:end], "=")
			line = line[min(end+1, len(line)):]
			d := directive{strings.ToLower(strings.Trim(name, " \t")), strings.Trim(arg, "\" \t"), given}
			if d.name != "" && !yield(d) {
				return
			}
		}
	}
}

// directiveEnd is where the first directive ends: at a comma that no quotes are
// around. A quote that never ends is none.
func directiveEnd(line string) int {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ',':
			return i
		case '"':
			i += quoted(line[i:])
		}
	}
	return len(line)
}

// quoted is how far the quote that ends a quoted string is behind the one that
// begins it; 0: there is none.
func quoted(text string) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return 0
}

// A reach says how far an answer may go, by its own Cache-Control.
type reach int

const (
	everywhere  reach = iota // in its scope
	itsOwn                   // to callers of the credential that it was asked for with
	nowhereElse              // to its one caller
)

// reachOf says how far an answer of that header may go, and which of its fields
// go no further than to its caller. What is private is no matter for a scope
// of one credential, which is a private cache. RFC 9111, sections 3 and 5.2.2.
func reachOf(h http.Header, shared bool) (r reach, fields []string) {
	for name, lines := range h {
		if !strings.EqualFold(name, "Cache-Control") {
			continue
		}
		for _, line := range lines {
			for d := range directives(line) {
				private := d.name == "private" && shared
				switch {
				case d.name == "no-store":
					r = nowhereElse
				case private && d.arg == "":
					r = max(r, itsOwn)
				case private, d.name == "no-cache":
					fields = append(fields, listed(d.arg)...)
				}
			}
		}
	}
	return r, fields
}

// listed are the members of a list, in lower case.
func listed(list string) []string {
	return strings.FieldsFunc(strings.ToLower(list), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// deltaSeconds reads a directive's seconds; what is none leaves def.
func deltaSeconds(arg string, def time.Duration) time.Duration {
	n, err := strconv.ParseUint(arg, 10, 31)
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
