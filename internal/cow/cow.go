// Package cow has a map that is copied to be written: for what every call
// reads and hardly any writes.
package cow

import (
	"maps"
	"sync"
	"sync/atomic"
)

// A Map is read without a lock. Its zero value is empty.
type Map[K comparable, V any] struct {
	mu  sync.Mutex // held while it is written
	now atomic.Pointer[map[K]V]
}

// All returns what the map holds now. Nobody may change it.
func (m *Map[K, V]) All() map[K]V {
	if all := m.now.Load(); all != nil {
		return *all
	}
	return nil
}

// Get returns the value of key.
func (m *Map[K, V]) Get(key K) (V, bool) {
	v, ok := m.All()[key]
	return v, ok
}

// Update returns the value of key. Where there is none yet, it lets add put
// what it likes into a copy of the map that takes its place, and returns what add does.
func (m *Map[K, V]) Update(key K, add func(all map[K]V) V) V {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.All()
	if v, ok := all[key]; ok {
		return v
	}
	all = maps.Clone(all)
	if all == nil {
		all = make(map[K]V)
	}
	v := add(all)
	m.now.Store(&all)
	return v
}
