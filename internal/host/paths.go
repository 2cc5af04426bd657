package host

import (
	"net/url"
	"strings"

	"github.com/breakwater-go/breakwater/internal/request"
)

// Paths say where an endpoint has its operations.
type Paths struct {
	profile *Profile
	base    string // the endpoint's base path
	gateway string // the path that precedes the host's roots there: a gateway's
}

// PathsOf returns the paths of an endpoint with that base URL, of a host with
// that profile.
func PathsOf(p *Profile, base *url.URL) Paths {
	return Paths{profile: p, base: base.Path, gateway: gatewayPath(p, base)}
}

// gatewayPath returns what precedes the host's roots at a base URL: nothing on
// the host's own servers, the path of a gateway elsewhere.
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

// RootOf returns what precedes op's path at the endpoint. ok is false if its
// host does not serve op.
func (p *Paths) RootOf(op request.Operation) (root string, ok bool) {
	if p.profile.Operations == nil {
		if op == request.Messages && !strings.HasSuffix(p.base, "/v1") {
			return p.base + "/v1", true // as Anthropic's SDKs have it
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
		return p.base, true // a base path that is not in the table is the user's word
	}
	return p.gateway + roots[0], true
}

// knowsRoot reports whether base is, or precedes, one of the host's roots.
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

// PrefixRoot returns what precedes the path of an operation whose last message
// is the beginning of the answer. The host must have such a root.
func (p *Paths) PrefixRoot() string { return p.gateway + p.profile.PrefixRoot }

// Cover reports whether a path on the endpoint's origin lies under its base path
// or one of its host's roots: whether it is its API.
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

// Closer reports whether a path that both cover lies closer to these paths than
// to other: under their base, and that the longer one, before any root of the host.
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
