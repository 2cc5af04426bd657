package header

import (
	"net/http"
	"net/textproto"
	"strings"
)

// toOthers are all the request headers that go to another origin than the one
// the caller addressed.
var toOthers = [...]string{"Accept", "Content-Type", "User-Agent", "Anthropic-Version", "Anthropic-Beta"}

// ForAnotherOrigin returns the part of a request's header that may go to another
// origin than the caller addressed, with room for some more headers. It shares
// the values as ShallowCopy does.
func ForAnotherOrigin(h http.Header, more int) http.Header {
	c := make(http.Header, len(toOthers)+more)
	for _, name := range toOthers {
		if v := h[name]; v != nil {
			c[name] = v[:len(v):len(v)]
		}
	}
	return c
}

// RemoveForeign removes from the header of a response what may not reach a
// caller who addressed another origin, see [IsSafelisted].
func RemoveForeign(h http.Header) {
	for name := range h {
		if !IsSafelisted(name) {
			delete(h, name)
		}
	}
}

// IsSafelisted reports whether a response header may reach a caller who
// addressed another origin, however its name is spelt. http.Client, SDKs and
// browsers act on many headers, and would act on the origin that was addressed:
// they would follow a Location with the caller's own headers, or keep a cookie
// for that origin.
//
// What passes describes the body, when it was made, how long to wait, and by
// what id to ask the host about it. All others stay out, including those that
// nobody has thought of. What is left of a rate limit stays out because it is
// left of another account than the caller's.
func IsSafelisted(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	switch name {
	case "Content-Type", "Content-Length", "Content-Encoding", "Content-Language",
		"Cache-Control", "Date", "Expires", "Pragma",
		"Retry-After", "Retry-After-Ms",
		"Cf-Ray", "Openai-Processing-Ms", "X-Tt-Logid":
		return true
	}
	return strings.HasSuffix(name, "Request-Id") || strings.HasSuffix(name, "Requestid") || strings.HasSuffix(name, "Trace-Id")
}
