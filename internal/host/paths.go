package host

import (
	"net/url"
	"slices"
	"strings"

	"github.com/breakwater-go/breakwater/internal/request"
)

// Paths are the URL paths of an endpoint's operations.
type Paths struct {
	profile *Profile
	base    string // the path of the endpoint's base URL
	gateway string // the path of the gateway, to which the host's roots are appended; usually empty
}

// PathsOf returns the paths of an endpoint that has this base URL and whose host
// has the profile p.
func PathsOf(p *Profile, base *url.URL) Paths {
	return Paths{profile: p, base: base.Path, gateway: gatewayPath(p, base)}
}

// gatewayPath returns the part of a base URL's path that precedes the host's
// roots. On the host's own servers it is empty. Elsewhere it is a gateway's path.
func gatewayPath(p *Profile, base *url.URL) string {
	if OfDomain(base.Hostname()) == p {
		return ""
	}
	gateway := base.Path
	precedes := func(root string) {
		if rest, ok := strings.CutSuffix(base.Path, root); ok && len(rest) < len(gateway) {
			gateway = rest
		}
	}
	if p.Operations == nil {
		for _, root := range p.Roots {
			precedes(root)
		}
	}
	for _, roots := range p.Operations {
		for _, root := range roots {
			precedes(root)
		}
	}
	return gateway
}

// RootOf returns the path to which the path of op is appended at the endpoint. ok
// is false if the host does not serve op.
func (p *Paths) RootOf(op request.Operation) (root string, ok bool) {
	if p.profile.Operations == nil {
		if op == request.Messages && !strings.HasSuffix(p.base, "/v1") {
			return p.base + "/v1", true // Anthropic's SDKs do the same
		}
		return p.base, true
	}
	roots, ok := p.profile.Operations[op]
	if !ok {
		return "", false
	}
	for _, root := range roots {
		if p.gateway+root == p.base {
			return p.base, true
		}
	}
	if op == request.Chat && !p.profile.knowsRoot(strings.TrimPrefix(p.base, p.gateway)) {
		return p.base, true // the user may know a path that is not in the table
	}
	return p.gateway + roots[0], true
}

// RootAs returns the path to which the path of op is appended if the caller wrote path for
// an endpoint of the same host, or if both hosts are unknown: what stands below the base
// path there stands below p's. ok is false if nothing does, or if the hosts differ; then
// RootOf knows.
func (p *Paths) RootAs(target *Paths, path string, op request.Operation) (root string, ok bool) {
	written, ok := strings.CutSuffix(path, string(op))
	if !ok || p.profile != target.profile || written == target.base || climbs(written) {
		return "", false
	}
	below, underGateway := strings.CutPrefix(written, target.gateway)
	if underGateway && slices.Contains(p.profile.Operations[op], below) {
		return p.gateway + below, true
	}
	if under(written, target.base) {
		return appendPath(p.base, written[len(target.base):]), true
	}
	return p.gateway + below, underGateway
}

// climbs reports whether a path has a segment that could lead out of its base: the key of
// another endpoint goes only below its own.
func climbs(path string) bool {
	for segment := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// appendPath appends a path to a base, which may end in the path's beginning already.
func appendPath(base, path string) string {
	for at := len(path); at > 0; at = strings.LastIndexByte(path[:at], '/') {
		if strings.HasSuffix(base, path[:at]) {
			return base + path[at:]
		}
	}
	return base + path
}

// knowsRoot reports whether base is one of the host's roots, or the beginning of
// one.
func (p *Profile) knowsRoot(base string) bool {
	for _, roots := range p.Operations {
		for _, root := range roots {
			if root == base || strings.HasPrefix(root, base+"/") {
				return true
			}
		}
	}
	return false
}

// PrefixRoot returns the path to which an operation's path is appended if the
// request's last message is the beginning of the answer. Call it only if the
// host's profile has a PrefixRoot.
func (p *Paths) PrefixRoot() string { return p.gateway + p.profile.PrefixRoot }

// Cover reports whether a path on the endpoint's origin belongs to its API: whether
// it lies under the endpoint's base path or under one of the host's roots.
func (p *Paths) Cover(path string) bool {
	if under(path, p.base) {
		return true
	}
	for _, root := range p.profile.Roots {
		if under(path, p.gateway+root) {
			return true
		}
	}
	return false
}

// Closer reports whether p fits a path better than other does. Both must cover the
// path. A base path fits better than a root of the host, and a longer base path
// fits better than a shorter one.
func (p *Paths) Closer(other *Paths, path string) bool {
	if !under(path, p.base) {
		return false
	}
	return !under(path, other.base) || len(p.base) > len(other.base)
}

func under(path, root string) bool {
	rest, ok := strings.CutPrefix(path, root)
	return ok && (rest == "" || rest[0] == '/')
}
