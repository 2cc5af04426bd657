package host

import (
	"maps"
	"slices"

	"github.com/breakwater-go/breakwater/internal/request"
)

// Names maps the model names that callers use to those that an endpoint uses.
type Names struct {
	profile *Profile
	models  map[string]string   // callers' names to the endpoint's; empty: the endpoint accepts any name
	aliases map[string][]string // the endpoint's names to callers' names, without retired ones; never changes
	others  bool                // the endpoint accepts other names, too
}

// NamesOf returns the names of an endpoint whose host has the profile p. The map
// leads from callers' names to the endpoint's names. NamesOf keeps it, so it must
// not change afterwards.
func NamesOf(p *Profile, models map[string]string) Names {
	aliases := make(map[string][]string, len(models))
	for _, from := range slices.Sorted(maps.Keys(models)) {
		to := models[from]
		known := aliases[to]
		if _, retired := retiredModels[from]; !retired {
			known = append(known, from)
		}
		aliases[to] = known // even if it is empty: the endpoint serves this name
	}
	return Names{profile: p, models: models, aliases: aliases}
}

// NamesByURL returns the names of an endpoint of which only the URL is known. If a server
// of the host's has the URL, the host's own names replace those that they are known for. All
// others stay as they are.
func NamesByURL(p *Profile, domain string) Names {
	if OfDomain(domain) != p {
		return NamesOf(p, nil)
	}
	n := NamesOf(p, p.Models)
	n.others = true
	return n
}

// Known returns the names that callers may use, in order. There are none if the endpoint
// accepts any name.
func (n *Names) Known() []string { return slices.Sorted(maps.Keys(n.models)) }

// Serve returns the endpoint's name for a model. The caller sent the request to
// the endpoint that has the names target, and used a name of that endpoint. ok is
// false if n's endpoint does not serve the model. The target accepts any name.
func (n *Names) Serve(op request.Operation, model string, target *Names) (name string, ok bool) {
	name, ok = n.models[model]
	switch {
	case ok:
		return name, true
	case n == target:
		return n.profile.CurrentName(model), true
	case op == request.Embeddings:
		return "", false // vectors of different models cannot be compared, so the name must be configured
	case len(n.models) == 0 && !n.profile.CanonicalNames:
		return model, true
	}
	if name, ok := n.models[target.profile.Behind(op, model)]; ok {
		return name, true
	}
	for _, alias := range target.aliases[model] {
		if len(n.models) == 0 {
			return alias, true // the names that the target's map leads from are this host's own
		}
		if name, ok := n.models[alias]; ok {
			return name, true
		}
	}
	if len(n.models) == 0 {
		return n.profile.CurrentName(model), true
	}
	_, own := n.aliases[model] // the caller used this endpoint's own name
	if own || n.others {
		return model, true
	}
	return "", false
}
