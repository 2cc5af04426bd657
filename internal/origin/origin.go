// Package origin says which server a URL belongs to. This decides who gets a key, a query,
// a header or a prompt. So origins are compared in the form in which net/http dials them,
// and a URL without such a form belongs to no server.
//
// The package is pure and has no state. Any package may call it.
package origin

import (
	"net"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// An Origin is the scheme, host and port of a URL, in the form in which net/http dials
// them. Origins are comparable. The zero Origin belongs to no server.
type Origin struct{ Scheme, Host, Port string }

// Of returns u's origin. A missing port is the default one of the scheme. It
// returns false if u names no server, or one whose name has no ASCII form.
func Of(u *url.URL) (Origin, bool) {
	host, ok := ASCIIHost(u.Hostname())
	if !ok || host == "" || u.Opaque != "" { // a proxy would be asked for Opaque
		return Origin{}, false
	}
	o := Origin{asciiLower(u.Scheme), host, u.Port()}
	if o.Port == "" {
		o.Port = defaultPort(o.Scheme)
	}
	return o, true
}

// Has reports whether u belongs to the origin.
func (o Origin) Has(u *url.URL) bool {
	other, ok := Of(u)
	return ok && other == o
}

// URL returns the origin as a URL without a path and without a default port.
func (o Origin) URL() *url.URL {
	port := o.Port
	if port == defaultPort(o.Scheme) {
		port = ""
	}
	return &url.URL{Scheme: o.Scheme, Host: hostPort(o.Host, port)}
}

// InASCII returns u with its server's name in ASCII, which is the name that net/http
// dials, so that what is compared later is what is dialed. It returns u itself if the name
// is in ASCII already, or has no such form. A name of which nothing is left in ASCII stays,
// because net/http does not send a URL without a name.
func InASCII(u *url.URL) *url.URL {
	if isASCII(u.Host) {
		return u
	}
	host, ok := ASCIIHost(u.Hostname())
	if !ok || host == "" {
		return u
	}
	ascii := *u
	ascii.Host = hostPort(host, u.Port())
	return &ascii
}

// ASCIIHost returns a host's name as it is looked up: with ASCII letters in lower case or,
// if it is not ASCII, as A-labels (RFC 5891), converted as net/http does. It returns false
// for a name that has no such form.
func ASCIIHost(host string) (string, bool) {
	if !isASCII(host) {
		var err error
		if host, err = idna.Lookup.ToASCII(host); err != nil {
			return "", false
		}
	}
	return asciiLower(host), true
}

// IsLoopback reports whether a host is this machine.
func IsLoopback(host string) bool {
	host, ok := ASCIIHost(host)
	if !ok {
		return false
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	host = strings.TrimSuffix(host, ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost") // RFC 6761, section 6.3
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

// hostPort joins host and port as in a URL. The port may be empty.
func hostPort(host, port string) string {
	switch {
	case port != "":
		return net.JoinHostPort(host, port)
	case strings.Contains(host, ":"): // IPv6
		return "[" + host + "]"
	}
	return host
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// asciiLower converts only ASCII letters to lower case. strings.ToLower would also convert
// the Kelvin sign to k, and a dotted capital I to another form.
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
