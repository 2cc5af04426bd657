package prombreakwater

import "sync"

// Bounds on label values that come from outside. An attempts series has up to some ten classes,
// so these keep all series below two thousand.
const (
	maxEndpoints = 16
	maxPairs     = 100 // of an endpoint and a model

	other = "other"
)

// names bounds the names that callers can choose: those of models, and of endpoints where none
// are configured.
type names struct {
	endpoints, pairs bounded
}

// endpoint returns the label for an endpoint.
func (n *names) endpoint(name string) string {
	if n.endpoints.has(name, "", true) {
		return name
	}
	return other
}

// pair returns the labels for an endpoint and a model. A model that is not known yet is
// admitted if admit is set, so that names which hosts refuse take no place.
func (n *names) pair(endpoint, model string, admit bool) (string, string) {
	endpoint = n.endpoint(endpoint)
	if n.pairs.has(endpoint, model, admit) {
		return endpoint, model
	}
	return endpoint, other
}

// A bounded is a set that takes the first names that come.
type bounded struct {
	most int

	mu  sync.RWMutex // guards all
	all map[[2]string]bool
}

// has reports whether the set has a name. With admit it takes the name while there is room.
func (b *bounded) has(first, second string, admit bool) bool {
	name := [2]string{first, second}
	b.mu.RLock()
	has, full := b.all[name], len(b.all) >= b.most
	b.mu.RUnlock()
	if has || full || !admit {
		return has
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.all) < b.most {
		if b.all == nil {
			b.all = make(map[[2]string]bool)
		}
		b.all[name] = true
	}
	return b.all[name]
}
