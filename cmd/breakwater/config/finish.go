package config

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strings"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/cmd/breakwater/internal/loopback"
	yaml "go.yaml.in/yaml/v4"
)

// finish checks what several sections together mean, and fills in what depends on others.
func (d *decoder) finish(c *Config) {
	if root := d.nodes[""]; root != nil && resolve(root).Kind == yaml.MappingNode && d.nodes["endpoints"] == nil && !d.failed("endpoints") {
		d.wrong(d.nodes[""], "endpoints", "there are none", "want a list of endpoints, such as - host: deepseek")
	}
	for _, at := range c.places() {
		if path := d.short(at.path); !d.failed(path) && !hasKey(at.endpoint) {
			d.wrong(d.nodes[path], path, "has no key", "want key or key_file, or keyless: true for a host that needs none")
		}
	}
	d.finishClients(c)
	d.finishServer(&c.Server)
	if len(c.Server.Clients) > 0 && c.Cache != nil && d.nodes["cache.scope"] == nil {
		c.Cache.Scope = scopeTenant
	}
	for i := range c.Server.Clients {
		client := &c.Server.Clients[i]
		if client.Scope == "" {
			client.Scope = c.scopeOf(client)
		}
	}
}

// scopeOf returns the default scope of a client: a word of its own, or what cache.scope says.
func (c *Config) scopeOf(client *Client) string {
	switch {
	case c.Cache == nil || isScope(c.Cache.Scope, scopeTenant):
		return "tenant " + client.tenant()
	case isScope(c.Cache.Scope, scopeShared):
		return "shared"
	}
	return "client " + client.Name
}

func isScope(f, of func(*http.Request) string) bool {
	return reflect.ValueOf(f).Pointer() == reflect.ValueOf(of).Pointer()
}

func (d *decoder) finishClients(c *Config) {
	names, tokens, limits := make(map[string]int), make(map[[sha256.Size]byte]int), make(map[string]int)
	for i, client := range c.Server.Clients {
		path := fmt.Sprintf("server.clients[%d]", i)
		at := func(key string) *yaml.Node { return d.near(join(path, key)) }
		if first, twice := names[client.Name]; twice && client.Name != "" {
			d.wrong(at("name"), join(path, "name"), fmt.Sprintf("is also the name of clients[%d]", first), "want another name, and the same tenant if they are one")
		}
		for _, digest := range client.Digests {
			if first, twice := tokens[digest]; twice {
				d.wrong(at("token"), path, fmt.Sprintf("has a token of clients[%d]", first), "want another token")
			}
			tokens[digest] = i
		}
		names[client.Name] = i
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

// near returns the node of a value, or of the nearest one around it.
func (d *decoder) near(path string) *yaml.Node {
	node := d.nodes[path]
	for node == nil && path != "" {
		path = parent(path)
		node = d.nodes[path]
	}
	return node
}

// failed reports whether there is a mistake at, or below, a path.
func (d *decoder) failed(path string) bool {
	for _, err := range d.errs {
		if within(err.Path, path) {
			return true
		}
	}
	return false
}

// hasKey reports whether an endpoint has a key, or needs none.
func hasKey(e *breakwater.Endpoint) bool {
	return e.APIKey != "" || e.KeyFunc != nil || e.Keyless || len(e.Header) > 0
}

// finishServer checks the section server. The proxy checks it again when it starts.
func (d *decoder) finishServer(s *Server) {
	for _, listen := range []struct{ key, address string }{{"server.listen", s.Listen}, {"server.admin", s.Admin}} {
		if wrong := badAddress(listen.address); wrong != "" && (listen.address != "" || d.nodes[listen.key] != nil) {
			d.wrong(d.near(listen.key), listen.key, wrong, "want HOST:PORT, such as 127.0.0.1:8787 or :8787 for all addresses")
		}
	}
	if !d.failed("server.listen") && !d.failed("server.clients") && !loopback.IsAddress(s.Listen) && len(s.Clients) == 0 {
		d.wrong(d.near("server.listen"), "server.listen", "others than this machine can reach the address, and could spend your money", "want clients with tokens, or 127.0.0.1")
	}
	if s.TLS != nil && !d.failed("server.tls") && (s.TLS.Cert == "" || s.TLS.Key == "") {
		d.wrong(d.near("server.tls"), "server.tls", "has only one of cert and key", "want the files of both")
	}
	if s.Limits.Bodies < s.Limits.Body {
		d.wrong(d.near("server.limits.bodies"), "server.limits.bodies", "is below the size of a single one, body", "want more for bodies, or less for body")
	}
	d.finishHeaders(s)
}

// finishHeaders checks the values of headers that the section server allows.
func (d *decoder) finishHeaders(s *Server) {
	for i, host := range s.Hosts {
		if _, err := netip.ParseAddr(host); err != nil && (host == "" || strings.ContainsAny(host, ":/ @")) {
			path := fmt.Sprintf("server.hosts[%d]", i)
			d.wrong(d.near(path), path, "is no name of a host", "want it without a scheme and a port, such as llm.internal")
		}
	}
	for i, origin := range s.Origins {
		if u, err := url.Parse(origin); err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			path := fmt.Sprintf("server.origins[%d]", i)
			d.wrong(d.near(path), path, "is no origin", "want a scheme and a host, such as https://chat.example.com")
		}
	}
}

// badAddress returns why nothing can listen on an address.
func badAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "is no address"
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 && port != "0" {
		return "has no port that exists"
	}
	if strings.ContainsAny(host, "/ @") {
		return "is no address"
	}
	return ""
}
