package header

import (
	"crypto/sha256"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// Credentials are the headers that hold a caller's key. An endpoint's own key replaces
// them.
var Credentials = [...]string{"Authorization", "X-Api-Key", "Api-Key"}

// identities are the headers by which some hosts and gateways distinguish callers:
// Credentials and others.
var identities = append(Credentials[:len(Credentials):len(Credentials)],
	"X-Goog-Api-Key", "Ocp-Apim-Subscription-Key", "X-Auth-Token", "Cookie", "Proxy-Authorization")

// IsCredential reports whether a header is one of Credentials, in any spelling: a header
// map may have names that are not canonical.
func IsCredential(name string) bool {
	return slices.ContainsFunc(Credentials[:], func(c string) bool { return len(c) == len(name) && strings.EqualFold(c, name) })
}

// RemoveCredentials removes Credentials, in any spelling.
func RemoveCredentials(h http.Header) {
	for name := range h {
		if IsCredential(name) {
			delete(h, name)
		}
	}
}

// HasCredential reports whether h has one of Credentials.
func HasCredential(h http.Header) bool { return hasAny(h, Credentials[:]) }

// HasIdentity reports whether h has a header by which a host may distinguish callers, and
// which may hold a key.
func HasIdentity(h http.Header) bool { return hasAny(h, identities) }

func hasAny(h http.Header, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return len(h[name]) > 0 })
}

// minSecret is the least length of a key that Quotes looks for. Servers without keys are
// given words such as "none" and "EMPTY", which may occur anywhere.
const minSecret = 8

// Quotes reports whether text contains a key of h.
func Quotes(text string, h http.Header) bool {
	if len(h) == 0 || len(text) < minSecret {
		return false
	}
	for _, name := range Credentials {
		for _, v := range h[name] {
			if QuotesKey(text, v) {
				return true
			}
		}
	}
	return false
}

// QuotesKey reports whether text contains a key, which may be behind a scheme.
func QuotesKey(text, key string) bool {
	if i := strings.LastIndexByte(strings.TrimRight(key, " \t"), ' '); i >= 0 {
		key = key[i+1:]
	}
	key = strings.TrimRight(key, " \t")
	return len(key) >= minSecret && strings.Contains(text, key)
}

// HoldsKey reports whether the values of a header hold a key, and not just a scheme
// without one.
func HoldsKey(values []string) bool {
	for _, v := range values {
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "", "bearer", "basic":
		default:
			return true
		}
	}
	return false
}

// A Credential identifies a caller. It is a digest, so that the key itself is not kept.
type Credential [sha256.Size]byte

// CredentialOf returns the credential of a request: a digest of everything by which a host
// or gateway may distinguish callers, including the query and the URL's user.
func CredentialOf(req *http.Request) Credential {
	var sum [512]byte
	text := sum[:0]
	add := func(name string, values []string) {
		for _, v := range values {
			text = append(append(append(text, name...), 0), v...)
			text = append(text, 0)
		}
	}
	for _, name := range identities {
		add(name, req.Header[name])
	}
	var odd []string // names that are not canonical
	for name := range req.Header {
		if canonical := textproto.CanonicalMIMEHeaderKey(name); canonical != name && slices.Contains(identities, canonical) {
			odd = append(odd, name)
		}
	}
	slices.Sort(odd)
	for _, name := range odd {
		add(strings.ToLower(name), req.Header[name])
	}
	if u := req.URL; u.RawQuery != "" || u.User != nil {
		add("query", []string{u.RawQuery})
		add("user", []string{u.User.String()})
	}
	return sha256.Sum256(text)
}
