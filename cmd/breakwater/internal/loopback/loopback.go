// Package loopback tells addresses that only this machine reaches from all others.
package loopback

import (
	"net"
	"net/netip"
	"strings"
)

// IsAddress reports whether only this machine reaches an address to listen on, in the form
// HOST:PORT. An address without a host is that of all interfaces.
func IsAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && IsHost(host)
}

// IsHost reports whether a host is a loopback address, with or without brackets, localhost, or
// a name below .localhost (RFC 6761, section 6.3).
func IsHost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}
