package proxy

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"net/http"
	"strings"

	"github.com/breakwater-go/breakwater"
)

// credentials are the headers in which clients send their keys.
var credentials = []string{"Authorization", "X-Api-Key", "Api-Key"}

// isCredential reports whether a header may hold a key of a client's.
func isCredential(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Authorization", "X-Api-Key", "Api-Key", "Proxy-Authorization", "Cookie", "X-Goog-Api-Key", "Ocp-Apim-Subscription-Key", "X-Auth-Token":
		return true
	}
	return false
}

// keysOf returns the keys of endpoints, as far as the configuration has them: those that a KeyFunc
// returns are not known.
func keysOf(endpoints []breakwater.Endpoint) (keys [][]byte) {
	for _, e := range endpoints {
		values := []string{e.APIKey}
		for name, all := range e.Header {
			if isCredential(name) {
				values = append(values, all...)
			}
		}
		for _, v := range values {
			if v = strings.TrimPrefix(v, "Bearer "); len(v) >= minKey {
				keys = append(keys, []byte(v))
			}
		}
	}
	return keys
}

// minKey is how long a key is at least: a shorter one may be a word. maxMasked is how many bytes of an
// error are looked through.
const (
	minKey    = 8
	maxMasked = 64 << 10
)

// masked returns an error of a host with stars in place of the keys: some hosts quote the header that they do
// not take. It stays as long as it is.
func (s *settings) masked(body io.ReadCloser) io.ReadCloser {
	text, _ := io.ReadAll(io.LimitReader(body, maxMasked)) // the next Read fails again
	for _, key := range s.keys {
		text = bytes.ReplaceAll(text, key, bytes.Repeat([]byte("*"), len(key)))
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), body), body}
}

// isHopByHop reports whether a header is about one connection (RFC 9110, section 7.6.1).
func isHopByHop(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Host", "Content-Length", "Expect", "Forwarded":
		return true
	}
	return strings.HasPrefix(http.CanonicalHeaderKey(name), "X-Forwarded-")
}

// An authenticator knows the clients by their tokens. It keeps only digests.
type authenticator struct {
	tokens []token
}

type token struct {
	digest [sha256.Size]byte
	client *Client
}

// newAuthenticator returns the authenticator of the clients. Without clients, nobody needs a token.
func newAuthenticator(clients []Client) *authenticator {
	a := new(authenticator)
	for i := range clients {
		for _, digest := range clients[i].Digests {
			a.tokens = append(a.tokens, token{digest, &clients[i]})
		}
	}
	return a
}

// isOpen reports whether nobody needs a token.
func (a *authenticator) isOpen() bool { return len(a.tokens) == 0 }

// anybody is the client if nobody needs a token.
var anybody = &Client{Name: "anybody", Admin: true}

// clientOf returns who sent a request with these headers, or why that is not known.
func (a *authenticator) clientOf(h http.Header) (c *Client, why string) {
	if a.isOpen() {
		return anybody, ""
	}
	for _, name := range credentials {
		values := h[name]
		if len(values) > 1 {
			return nil, "the header " + name + " is there more than once"
		}
		if len(values) == 0 {
			continue
		}
		value := values[0]
		if name == "Authorization" {
			scheme, rest, _ := strings.Cut(value, " ")
			if !strings.EqualFold(scheme, "Bearer") {
				return nil, "Authorization has another scheme than Bearer"
			}
			value = strings.TrimLeft(rest, " ")
		}
		found := a.find(value)
		if found == nil {
			return nil, "the token is not known"
		}
		if c != nil && c != found {
			return nil, "there are tokens of two clients"
		}
		c = found
	}
	if c == nil {
		return nil, "there is no token"
	}
	return c, ""
}

// find returns the client that has a token, or nil. It takes the same time for every token of
// the same length: digests are compared, all of them, and each in constant time.
func (a *authenticator) find(value string) *Client {
	digest := sha256.Sum256([]byte(value))
	found := -1
	for i := range a.tokens {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(digest[:], a.tokens[i].digest[:]), i, found)
	}
	if found < 0 {
		return nil
	}
	return a.tokens[found].client
}
