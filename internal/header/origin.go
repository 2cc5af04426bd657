package header

import (
	"net/http"
	"net/textproto"
)

// toOthers are the only request headers that may go to an origin that the caller
// did not address.
var toOthers = [...]string{"Accept", "Content-Type", "User-Agent", "Anthropic-Version", "Anthropic-Beta"}

// ForAnotherOrigin returns the part of a request's header that may go to an origin
// that the caller did not address. The new header has room for some more fields.
// It shares the values with h; appending to them copies them.
func ForAnotherOrigin(h http.Header, more int) http.Header {
	c := make(http.Header, len(toOthers)+more)
	for _, name := range toOthers {
		if v := h[name]; v != nil {
			c[name] = v[:len(v):len(v)]
		}
	}
	return c
}

// RemoveForeign removes all fields from a response's header that must not reach a
// caller who addressed another origin. See [IsSafelisted].
func RemoveForeign(h http.Header) {
	for name := range h {
		if !IsSafelisted(name) {
			delete(h, name)
		}
	}
}

// IsSafelisted reports whether a response header may reach a caller who addressed
// another origin. The case of the name does not matter.
//
// http.Client, SDKs and browsers act on many headers, and they apply them to the
// origin that the caller addressed. For example, they would follow a Location with
// the caller's own headers, or store a cookie for that origin.
//
// The safelisted headers describe the body, when it was made, how long to wait,
// and the request's id at the host. All other headers are removed, so a header that
// we have not thought of does no harm. The headers about the rest of a rate limit
// are removed, too, because that limit belongs to another account than the caller's.
func IsSafelisted(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	switch name {
	case "Content-Type", "Content-Length", "Content-Encoding", "Content-Language",
		"Cache-Control", "Date", "Expires", "Pragma",
		"Retry-After", "Retry-After-Ms",
		"Cf-Ray", "Eo-Log-Uuid", "Openai-Processing-Ms":
		return true
	}
	return isRequestID(name)
}
