// Package labels bounds the values of labels of metrics that come from outside: names of models,
// of tenants, and of endpoints where none are configured.
package labels

import "sync"

// Bounds of the names. An attempts series has up to some ten classes, so these keep all series
// of a collector below two thousand.
const (
	MaxEndpoints = 16
	MaxPairs     = 100 // of an endpoint and a model
	MaxTenants   = 50

	Other = "other" // stands for all names beyond the bounds
)

// Names bounds names: it takes the first that come. Its zero value is ready for use, from any
// goroutine.
type Names struct {
	endpoints, pairs, tenants set
}

// Endpoint returns the label for an endpoint.
func (n *Names) Endpoint(name string) string {
	if n.endpoints.has(name, "", true, MaxEndpoints) {
		return name
	}
	return Other
}

// Tenant returns the label for a tenant.
func (n *Names) Tenant(name string) string {
	if n.tenants.has(name, "", true, MaxTenants) {
		return name
	}
	return Other
}

// Pair returns the labels for an endpoint and a model. A model that is not known yet is
// admitted if admit is set, so that names which hosts refuse take no place.
func (n *Names) Pair(endpoint, model string, admit bool) (string, string) {
	endpoint = n.Endpoint(endpoint)
	if n.pairs.has(endpoint, model, admit, MaxPairs) {
		return endpoint, model
	}
	return endpoint, Other
}

// A set has the first names that came.
type set struct {
	mu  sync.RWMutex // guards all
	all map[[2]string]bool
}

// has reports whether the set has a name. With admit it takes the name while it has fewer
// than most.
func (s *set) has(first, second string, admit bool, most int) bool {
	name := [2]string{first, second}
	s.mu.RLock()
	has, full := s.all[name], len(s.all) >= most
	s.mu.RUnlock()
	if has || full || !admit {
		return has
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) < most {
		if s.all == nil {
			s.all = make(map[[2]string]bool)
		}
		s.all[name] = true
	}
	return s.all[name]
}
