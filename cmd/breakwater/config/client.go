package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
)

// A clientForm has the keys of a client that are no fields of Client.
type clientForm struct {
	// Token is what the client sends as its API key: at least 16 characters without blanks.
	Token string

	// TokenHash is the SHA-256 of the token instead, in hexadecimal digits, so that the file has
	// no secret.
	TokenHash string
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
		if len(d.errs) == before {
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
	if c.Name == "" {
		d.wrong(n, path, "has no name", "want a name, for logs and limits")
	}
	c.Tenant = c.tenant()
	switch {
	case given["token"] == given["token_hash"]:
		d.wrong(n, path, "wants either token or token_hash", "want token: ${NAME} or token: file:/path, for example")
	case given["token_hash"]:
		sum, err := hex.DecodeString(form.TokenHash)
		if err != nil || len(sum) != sha256.Size {
			d.wrong(d.nodes[join(path, "token_hash")], join(path, "token_hash"), "is not the SHA-256 of a token", "want 64 hexadecimal digits, as printf %s TOKEN | sha256sum prints")
			return
		}
		c.TokenHash = [sha256.Size]byte(sum)
	default:
		if wrong := badToken(form.Token); wrong != "" {
			d.wrong(d.nodes[join(path, "token")], join(path, "token"), wrong, "want 16 characters or more, such as openssl rand -hex 24 prints")
			return
		}
		c.TokenHash = sha256.Sum256([]byte(form.Token))
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

// finish checks what several sections together mean, and fills in what depends on others.
func (d *decoder) finish(c *Config) {
	if len(c.Endpoints) == 0 && d.nodes["endpoints"] == nil && len(d.errs) == 0 {
		d.wrong(d.nodes[""], "endpoints", "there are none", "want a list of endpoints, such as - host: deepseek")
	}
	d.finishClients(c)
	if len(c.Server.Clients) > 0 {
		if c.Cache != nil && c.Cache.Scope == nil && d.nodes["cache.scope"] == nil {
			c.Cache.Scope = scopeTenant
		}
		if c.Idempotency != nil && c.Idempotency.Scope == nil && d.nodes["idempotency.scope"] == nil {
			c.Idempotency.Scope = scopeTenant
		}
	}
}

func (d *decoder) finishClients(c *Config) {
	names, tokens, limits := make(map[string]int), make(map[[sha256.Size]byte]int), make(map[string]int)
	for i, client := range c.Server.Clients {
		path := fmt.Sprintf("server.clients[%d]", i)
		at := func(key string) nodeRef {
			if n := d.nodes[join(path, key)]; n != nil {
				return n
			}
			return d.nodes[path]
		}
		if first, twice := names[client.Name]; twice && client.Name != "" {
			d.wrong(at("name"), join(path, "name"), fmt.Sprintf("is also the name of clients[%d]", first), "want another name, and the same tenant if they are one")
		}
		if first, twice := tokens[client.TokenHash]; twice && client.TokenHash != [sha256.Size]byte{} {
			d.wrong(at("token"), path, fmt.Sprintf("has the token of clients[%d]", first), "want another token")
		}
		names[client.Name], tokens[client.TokenHash] = i, i
		if client.Limits == nil {
			continue
		}
		if first, twice := limits[client.tenant()]; twice {
			d.wrong(at("limits"), join(path, "limits"), fmt.Sprintf("clients[%d] has limits for the same tenant", first), "want them once")
		}
		limits[client.tenant()] = i
		if c.Tenants != nil {
			if _, twice := c.Tenants.Limits[client.tenant()]; twice {
				d.wrong(at("limits"), join(path, "limits"), "tenants.limits has limits for the same tenant", "want them in one place")
			}
		}
	}
}
