package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
)

// A clientForm has the keys of a client that are no fields of Client.
type clientForm struct {
	// Token is what the client sends as its API key: at least 16 characters without blanks. Two
	// tokens in a list serve to change one without an interruption.
	Token []string

	// TokenHash is the SHA-256 of the token instead, in hexadecimal digits, so that the file has
	// no secret.
	TokenHash []string
}

// clients are those who may use the proxy.
type clients struct{}

func (clients) decode(d *decoder, n nodeRef, path string, v reflect.Value) {
	var all []Client
	s := sections[reflect.TypeFor[Client]()]
	for i, item := range d.items(n, path, "want a list of clients, each after a dash") {
		at := fmt.Sprintf("%s[%d]", path, i)
		var form clientForm
		var c Client
		before := len(d.errs)
		given := d.section(item, at, s, reflect.ValueOf(&form).Elem(), reflect.ValueOf(&c).Elem())
		if given != nil && len(d.errs) == before {
			d.client(item, at, &form, &c, given)
		}
		all = append(all, c)
	}
	v.Set(reflect.ValueOf(all))
}

// minToken is the length of the shortest token. A shorter one could be guessed.
const minToken = 16

// client checks a client, and fills in the hash of its token.
func (d *decoder) client(n nodeRef, path string, form *clientForm, c *Client, given map[string]bool) {
	switch {
	case c.Name == "":
		d.wrong(n, path, "has no name", "want a name, for logs and limits")
	case len(c.Name) > 64 || strings.ContainsFunc(c.Name, func(r rune) bool { return r <= ' ' || r > '~' }):
		d.wrong(d.nodes[join(path, "name")], join(path, "name"), "cannot be a name", "want up to 64 visible characters of ASCII")
	}
	c.Tenant = c.tenant()
	if !given["token"] && !given["token_hash"] {
		d.wrong(n, path, "has no token", "want token: ${NAME}, token: file:/path or token_hash, for example")
	}
	for _, token := range form.Token {
		if wrong := badToken(token); wrong != "" {
			d.wrong(d.nodes[join(path, "token")], join(path, "token"), wrong, "want 16 characters or more, such as openssl rand -hex 24 prints")
			return
		}
		c.Digests = append(c.Digests, sha256.Sum256([]byte(token)))
	}
	for _, hash := range form.TokenHash {
		sum, err := hex.DecodeString(hash)
		if err != nil || len(sum) != sha256.Size {
			d.wrong(d.nodes[join(path, "token_hash")], join(path, "token_hash"), "is not the SHA-256 of a token", "want 64 hexadecimal digits, as printf %s TOKEN | sha256sum prints")
			return
		}
		digest := [sha256.Size]byte(sum)
		c.Digests = append(c.Digests, digest)
		d.from.hashes[digest] = true
	}
}

// badToken returns why a client could not send a token, or why it is no good.
func badToken(token string) string {
	if len(token) < minToken {
		return fmt.Sprintf("has %d characters, which could be guessed", len(token))
	}
	for _, r := range token {
		if r <= ' ' || r > '~' {
			return "has a blank, or a character that is not ASCII"
		}
	}
	return ""
}
