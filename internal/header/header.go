// Package header knows the HTTP headers that breakwater reads and writes: which ones
// identify a caller, which may go from one origin to another, what they say about a body,
// and which no transport can send. It keeps no state and trusts no value. Every layer may
// use it.
//
// Names are compared in their canonical form, as net/http has them, unless a function says
// otherwise.
package header

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// The headers that breakwater adds to a response.
const (
	Endpoint = "Breakwater-Endpoint" // the endpoint that answered
	Attempts = "Breakwater-Attempts" // after how many attempts
	Outcome  = "Breakwater-Outcome"  // how the call was answered, or how it failed: one word
	// Error is the class of a response that breakwater made. A local limit is rate_limited
	// there, to match its status 429.
	Error = "Breakwater-Error"
	// ShouldRetry tells the SDKs of OpenAI and Anthropic whether to retry.
	ShouldRetry = "X-Should-Retry"
)

// RemoveOwn removes from the header of a host's response what only breakwater may say.
func RemoveOwn(h http.Header) {
	const own = "Breakwater-"
	for name := range h {
		if len(name) > len(own) && name[0]|0x20 == 'b' && strings.EqualFold(name[:len(own)], own) {
			delete(h, name)
		}
	}
}

// First returns the first value of a header by its canonical name. It is Header.Get
// without the conversion of the name.
func First(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// Canonical returns a copy of h with its names in canonical form.
func Canonical(h http.Header) http.Header {
	c := make(http.Header, len(h))
	for name, values := range h {
		for _, v := range values {
			c.Add(name, v)
		}
	}
	return c
}

// ShallowCopy returns a copy of h that shares the values, which must not be changed, nor
// appended to.
func ShallowCopy(h http.Header) http.Header {
	if h == nil {
		return make(http.Header)
	}
	return maps.Clone(h)
}

// MediaType returns the type of a body, in lower case and without parameters.
func MediaType(h http.Header) string {
	kind, _, _ := strings.Cut(First(h, "Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

// IsEncoded reports whether a body has a coding that hides its content, such as gzip. An
// unknown coding hides nothing, because hosts send "utf-8" there.
func IsEncoded(h http.Header) bool {
	codings := First(h, "Content-Encoding")
	if codings == "" {
		return false
	}
	for coding := range strings.SplitSeq(codings, ",") {
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "gzip", "x-gzip", "br", "zstd", "deflate", "compress", "x-compress", "dcb", "dcz":
			return true
		}
	}
	return false
}

// Number reads a non-negative number: digits, which a point may divide. It reports false
// for anything else, because servers send anything, such as 1e3, 4,999 or unlimited. A
// number with many digits may be infinite.
func Number(s string) (float64, bool) {
	whole, part, point := strings.Cut(strings.TrimSpace(s), ".")
	if !allDigits(whole) || point && !allDigits(part) {
		return 0, false
	}
	n, _ := strconv.ParseFloat(strings.TrimSpace(s), 64) // the only possible error is that of a number that is too large
	return n, true
}

// Digits reads a number that consists of digits alone, as RFC 9110 has it.
func Digits(s string) (float64, bool) {
	if strings.Contains(s, ".") {
		return 0, false
	}
	return Number(s)
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
