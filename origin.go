package breakwater

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// This file tells whose a URL is. Who gets a key, a query, a header or a prompt
// depends on that, so origins are compared in the form in which net/http dials
// them, and a URL that has no such form is nobody's.

// An origin is the scheme, host and port of a URL, in the form in which it is
// dialed. The zero origin is nobody's.
type origin struct{ scheme, host, port string }

// originOf returns u's origin. A missing port is the scheme's own. It returns
// false if u names no server, or one whose name has no ASCII form.
func originOf(u *url.URL) (origin, bool) {
	host, ok := asciiHost(u.Hostname())
	if !ok || host == "" || u.Opaque != "" { // a proxy would be asked for what Opaque says
		return origin{}, false
	}
	o := origin{asciiLower(u.Scheme), host, u.Port()}
	if o.port == "" {
		o.port = defaultPort(o.scheme)
	}
	return o, true
}

// has reports whether u is of the origin.
func (o origin) has(u *url.URL) bool {
	other, ok := originOf(u)
	return ok && other == o
}

// url is the origin as a URL without a path.
func (o origin) url() *url.URL {
	port := o.port
	if port == defaultPort(o.scheme) {
		port = ""
	}
	return &url.URL{Scheme: o.scheme, Host: hostPort(o.host, port)}
}

func defaultPort(scheme string) string {
	switch scheme {
	case "https":
		return "443"
	case "http":
		return "80"
	}
	return ""
}

// hostPort is host and port as a URL has them; port may be empty.
func hostPort(host, port string) string {
	switch {
	case port != "":
		return net.JoinHostPort(host, port)
	case strings.Contains(host, ":"): // IPv6
		return "[" + host + "]"
	}
	return host
}

// asciiHost is a host's name as it is looked up: with ASCII letters folded, or,
// if it is not ASCII, its A-labels (RFC 5891), made as net/http makes them. It
// returns false for a name that has none.
func asciiHost(host string) (string, bool) {
	if !isASCII(host) {
		var err error
		if host, err = idna.Lookup.ToASCII(host); err != nil {
			return "", false
		}
	}
	return asciiLower(host), true
}

// withASCIIHost returns a request for the server that net/http would dial for
// req, by a name in ASCII: whatever is compared from here on is what is dialed.
// Requests that have no such name come back as they are; they are nobody's.
func withASCIIHost(req *http.Request) *http.Request {
	if req.URL == nil || isASCII(req.URL.Host) {
		return req
	}
	host, ok := asciiHost(req.URL.Hostname())
	if !ok {
		return req
	}
	u := *req.URL
	u.Host = hostPort(host, u.Port())
	req = req.WithContext(req.Context())
	req.URL = &u
	return req
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// asciiLower folds ASCII letters and nothing else. strings.ToLower folds the
// Kelvin sign into a k, too, and gives a dotted capital I a form of its own.
func asciiLower(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	host, ok := asciiHost(host)
	if !ok {
		return false
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	host = strings.TrimSuffix(host, ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost") // RFC 6761, section 6.3
}

// hostOf tells the host from a server's name.
func hostOf(domain string) Host {
	domain, ok := asciiHost(domain)
	if !ok {
		return HostOpenAI
	}
	for _, row := range hostTable {
		for _, d := range row.domains {
			if domain == d || strings.HasSuffix(domain, "."+d) {
				return row.host
			}
		}
	}
	return HostOpenAI
}
