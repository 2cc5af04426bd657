package host

import (
	"maps"
	"slices"

	"github.com/breakwater-go/breakwater/internal/request"
)

// Names are the names that models have at an endpoint.
type Names struct {
	profile *Profile
	models  map[string]string   // callers' names to those at the endpoint; empty: it takes any
	aliases map[string][]string // models turned around, without retired names; made once
}

// NamesOf returns the names of an endpoint that maps callers' names by models,
// of a host with that profile. It keeps models, which may not change any more.
func NamesOf(p *Profile, models map[string]string) Names {
	aliases := make(map[string][]string, len(models))
	for _, from := range slices.Sorted(maps.Keys(models)) {
		to := models[from]
		known := aliases[to]
		if _, retired := retiredModels[from]; !retired {
			known = append(known, from)
		}
		aliases[to] = known // it is known also if only a retired name leads to it
	}
	return Names{profile: p, models: models, aliases: aliases}
}

// Serve returns the name by which the endpoint serves a model that a caller
// named to the endpoint with the names of target. ok is false if it does not
// serve it. The target itself takes any name.
func (n *Names) Serve(op request.Operation, model string, target *Names) (name string, ok bool) {
	name, ok = n.models[model]
	switch {
	case ok:
		return name, true
	case n == target:
		return n.profile.CurrentName(model), true
	case op == request.Embeddings:
		return "", false // vectors of two models have nothing in common: a name must be vouched for
	case len(n.models) == 0 && !n.profile.CanonicalNames:
		return model, true
	}
	if name, ok := n.models[target.profile.CurrentName(model)]; ok {
		return name, true
	}
	for _, alias := range target.aliases[model] {
		if len(n.models) == 0 {
			return alias, true // what Models maps from are the host's own names
		}
		if name, ok := n.models[alias]; ok {
			return name, true
		}
	}
	if len(n.models) == 0 {
		return n.profile.CurrentName(model), true
	}
	if _, ok := n.aliases[model]; ok { // the model's own name here
		return model, true
	}
	return "", false
}
