package store

import (
	"errors"
	"iter"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/header"
)

// Control is what a request's Cache-Control asks of the cache: RFC 9111, section 5.2.1;
// stale-if-error: RFC 5861. A missing bound is Unlimited if that asks for nothing,
// otherwise 0.
type Control struct {
	NoStore, NoCache, OnlyIfCached bool
	MaxAge, MinFresh               time.Duration
	MaxStale, StaleIfError         time.Duration
}

// Unlimited is a time that never passes.
const Unlimited = time.Duration(math.MaxInt64)

// ParseControl reads the Cache-Control of a request's header, and then override, the
// directives that the application gives in the same syntax. stream says that the request
// asks for a stream.
func ParseControl(h http.Header, override string, stream bool) Control {
	c := Control{MaxAge: Unlimited, StaleIfError: Unlimited}
	values := h["Cache-Control"]
	if stream && len(values) == 1 && values[0] == "no-cache" {
		// Several SDKs send exactly this with every stream, a habit from browsers:
		// https://html.spec.whatwg.org/multipage/server-sent-events.html. No caller means
		// it. A caller that does can send max-age=0 or use override.
		values = nil
	}
	for _, value := range values {
		c.read(value)
	}
	if override != "" {
		c.read(override)
	}
	return c
}

func (c *Control) read(line string) {
	for d := range directives(line) {
		switch d.name {
		case "no-store":
			c.NoStore = true
		case "no-cache":
			c.NoCache = true
		case "only-if-cached":
			c.OnlyIfCached = true
		case "max-age":
			c.MaxAge = deltaSeconds(d.arg, c.MaxAge)
		case "min-fresh":
			c.MinFresh = deltaSeconds(d.arg, c.MinFresh)
		case "max-stale":
			if !d.hasArg { // any age will do
				c.MaxStale = Unlimited
			} else {
				c.MaxStale = deltaSeconds(d.arg, c.MaxStale)
			}
		case "stale-if-error":
			c.StaleIfError = deltaSeconds(d.arg, c.StaleIfError)
		}
	}
}

// Freshness says what an answer of some age may be used for.
type Freshness int

const (
	Unusable             Freshness = iota
	StaleIfError                   // in place of a failure only
	StaleWhileRevalidate           // at once, while it is renewed
	Fresh                          // at once
)

// A Lifetime says how long answers may be used for what: the fields of the root's
// CachePolicy. 0: not at all.
type Lifetime struct {
	TTL, StaleIfError, StaleWhileRevalidate time.Duration
}

// Freshness returns what an answer of this age may be used for, by the policy and the
// request.
func (l Lifetime) Freshness(age time.Duration, c Control) Freshness {
	switch {
	case c.NoCache:
		return Unusable
	case age < c.MaxAge && age < l.TTL-min(c.MinFresh, l.TTL):
		return Fresh
	case age < c.MaxAge && c.MaxStale > 0 && c.MinFresh == 0 && age-l.TTL < c.MaxStale && age < l.Total():
		return Fresh
	case age < c.MaxAge && c.MinFresh == 0 && age < saturatingAdd(l.TTL, l.StaleWhileRevalidate):
		return StaleWhileRevalidate
	case age < saturatingAdd(l.TTL, min(l.StaleIfError, c.StaleIfError)):
		return StaleIfError
	}
	return Unusable
}

// Total returns how long an answer may be used for anything.
func (l Lifetime) Total() time.Duration {
	return saturatingAdd(l.TTL, max(l.StaleIfError, l.StaleWhileRevalidate))
}

// saturatingAdd adds durations that are not negative. The sum is at most Unlimited.
func saturatingAdd(a, b time.Duration) time.Duration {
	if a > Unlimited-b {
		return Unlimited
	}
	return a + b
}

// Of returns how long e may be used: its host may have said a shorter time.
func (l Lifetime) Of(e *Entry) Lifetime {
	if e.TTL > 0 {
		l.TTL = min(l.TTL, e.TTL)
	}
	if e.NoStale {
		l.StaleIfError, l.StaleWhileRevalidate = 0, 0
	}
	return l
}

// A Restriction is what an answer's own header forbids: RFC 9111, sections 3, 4.1 and 5.2.2.
// The zero Restriction forbids nothing.
type Restriction struct {
	NoStore bool          // only its own caller may have it
	Private bool          // only callers of the same credential may have it
	Fields  []string      // headers that only its own caller may have, in lower case
	TTL     time.Duration // how long it is fresh; 0: it does not say
	NoStale bool          // it may not be used later
}

// RestrictionOf reads an answer's header, in any spelling of the names. shared says that
// several credentials share the answer's scope. Only then do the directives for shared caches
// count: a scope of one credential is a private cache.
//
// Hosts send no-cache, max-age=0 and must-revalidate with every stream, so these do not count
// alone. A host that says for how long its answer is fresh means it.
func RestrictionOf(h http.Header, shared bool) Restriction {
	var r Restriction
	r.readCacheControl(h, shared)
	for name := range varying(h) {
		r.NoStore = r.NoStore || name == "*"
		r.Private = r.Private || shared && header.IsCredential(name)
	}
	return r
}

func (r *Restriction) readCacheControl(h http.Header, shared bool) {
	f := freshness{unsaid, unsaid, false, false}
	for name, lines := range h {
		if !strings.EqualFold(name, "Cache-Control") {
			continue
		}
		for _, line := range lines {
			for d := range directives(line) {
				r.read(d, shared)
				f.read(d, shared)
			}
		}
	}
	switch {
	case f.sMaxAge != unsaid:
		r.TTL, f.revalidate = f.sMaxAge, true
	case f.maxAge != unsaid:
		r.TTL = f.maxAge
	default:
		r.TTL = untilExpires(h)
	}
	if r.TTL > 0 {
		r.NoStale = f.revalidate
		r.NoStore = r.NoStore || f.noCache // nobody can validate an answer to a POST
	}
}

func (r *Restriction) read(d directive, shared bool) {
	private := d.name == "private" && shared
	switch {
	case d.name == "no-store":
		r.NoStore = true
	case private && d.arg == "":
		r.Private = true
	case private, d.name == "no-cache":
		r.Fields = append(r.Fields, list(d.arg)...)
	}
}

// A freshness is what an answer's directives say about how long it may be used.
type freshness struct {
	maxAge, sMaxAge     time.Duration // or unsaid
	noCache, revalidate bool
}

const unsaid = time.Duration(-1)

// read reads a directive. Of several of one name, the first one counts: RFC 9111, section
// 4.2.1.
func (f *freshness) read(d directive, shared bool) {
	switch {
	case d.name == "no-cache" && d.arg == "":
		f.noCache = true
	case d.name == "max-age" && f.maxAge == unsaid:
		f.maxAge = deltaSeconds(d.arg, unsaid)
	case d.name == "s-maxage" && shared && f.sMaxAge == unsaid:
		f.sMaxAge = deltaSeconds(d.arg, unsaid)
	case d.name == "must-revalidate", d.name == "proxy-revalidate" && shared:
		f.revalidate = true
	}
}

// untilExpires returns how long an answer is fresh by its Expires; 0: it does not say.
func untilExpires(h http.Header) time.Duration {
	expires, err := http.ParseTime(header.First(h, "Expires"))
	if err != nil {
		return 0
	}
	from, err := http.ParseTime(header.First(h, "Date"))
	if err != nil {
		from = time.Now()
	}
	return max(expires.Sub(from), 0)
}

// AgeOf returns how old an answer was when it came, by its Age: RFC 9111, section 5.1. A
// gateway may have kept it.
func AgeOf(h http.Header) time.Duration {
	age, _, _ := strings.Cut(header.First(h, "Age"), ",") // a list has the first one's
	return deltaSeconds(strings.TrimSpace(age), 0)
}

// list returns the members of a comma-separated list, in lower case.
func list(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// A directive is one part of a Cache-Control: its name in lower case, and its
// argument without quotes.
type directive struct {
	name, arg string
	hasArg    bool // it has an argument, which may be empty
}

// directives reads a line of Cache-Control: RFC 9111, section 5.2.
func directives(line string) iter.Seq[directive] {
	return func(yield func(directive) bool) {
		for line != "" {
			end := directiveEnd(line)
			name, arg, hasArg := strings.Cut(line[:end], "=")
			line = line[min(end+1, len(line)):]
			d := directive{strings.ToLower(strings.Trim(name, " \t")), strings.Trim(arg, "\" \t"), hasArg}
			if d.name != "" && !yield(d) {
				return
			}
		}
	}
}

// directiveEnd returns where the first directive of a line ends: at a comma outside
// quotes. An unclosed quote is an ordinary byte.
func directiveEnd(line string) int {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ',':
			return i
		case '"':
			i += quotedLength(line[i:])
		}
	}
	return len(line)
}

// quotedLength returns the offset of the closing quote in text, which begins with the
// opening one; 0: there is none.
func quotedLength(text string) int {
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

// deltaSeconds reads a directive's number of seconds. It returns def for what is not a
// number.
func deltaSeconds(arg string, def time.Duration) time.Duration {
	n, err := strconv.ParseUint(arg, 10, 31)
	// A number that is out of range counts as the largest one: RFC 9111, section 1.2.2.
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return def
	}
	return time.Duration(n) * time.Second
}
