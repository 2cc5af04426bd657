package header

import (
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Check returns an error if no transport can send h. For example, a name contains
// a space, or a key was read from a file together with its line break. The error
// does not quote values, because they may be secret.
func Check(h http.Header) error {
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) {
			good := strings.IndexFunc(name, func(r rune) bool { return !httpguts.IsTokenRune(r) })
			return fmt.Errorf("breakwater: the header name that begins with %q has a character in it that no name may have (RFC 9110, section 5.1)", name[:max(good, 0)])
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return fmt.Errorf("breakwater: the value of header %q has a line break or control character in it", name)
			}
		}
	}
	return nil
}

// CheckTrailer is like Check, for a trailer. Some header names cannot be trailers.
func CheckTrailer(h http.Header) error {
	for name := range h {
		if httpguts.ValidHeaderFieldName(name) && !httpguts.ValidTrailerHeader(name) {
			return fmt.Errorf("breakwater: %q cannot be a trailer (RFC 9110, section 6.5.1)", name)
		}
	}
	return Check(h)
}
