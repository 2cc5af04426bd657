// Package bounded has a map for names that callers choose: of models, of
// origins. It bounds how many are kept. Names that mean nothing do not displace
// those that do, and no two names share a value.
//
// A Map is for values that live long and are looked up by every call, from any
// goroutine. MakeRoom is its rule alone, for a map that has a lock of its own.
package bounded

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// A Map holds values under at most Max keys, or more while they are all busy.
// Where it is full, values of little worth make room for new ones.
//
// Get takes no lock for what has been there for a while: it reads a copy of the
// map. The copy is renewed once as many lookups have missed it as the map has
// values, so that a flood of new keys does not pay for a copy each.
type Map[K comparable, V any] struct {
	Max     int
	WorthOf func(V) Worth // runs while the map is locked; nil: all values are worth the same

	uses  atomic.Int64
	clone atomic.Pointer[clone[K, V]]

	mu     sync.Mutex // guards what follows
	all    map[K]V
	misses int // of the clone, for keys that the map has
}

// A clone is a copy of a map, as it was at one time.
type clone[K comparable, V any] struct {
	all    map[K]V
	behind atomic.Bool // a key has been added to the map since
}

// Get returns the value of key.
func (m *Map[K, V]) Get(key K) (V, bool) {
	var none V
	c := m.clone.Load()
	if c == nil {
		return none, false
	}
	if v, ok := c.all[key]; ok || !c.behind.Load() {
		return v, ok
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.all[key]
	if ok {
		if m.misses++; m.misses >= len(m.all) {
			m.renewLocked()
		}
	}
	return v, ok
}

// GetOrAdd returns the value of key. If there is none yet, it adds the one that
// add returns. add runs while the map is locked.
func (m *Map[K, V]) GetOrAdd(key K, add func() V) V {
	if v, ok := m.Get(key); ok {
		return v
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.all[key]; ok {
		return v
	}
	v := add()
	if m.all == nil {
		m.all = make(map[K]V)
	}
	before := len(m.all)
	MakeRoom(m.all, m.Max, m.WorthOf)
	removed := len(m.all) < before
	m.all[key] = v
	if c := m.clone.Load(); c == nil || removed {
		m.renewLocked() // what was removed must not be found any more
	} else {
		c.behind.Store(true)
	}
	return v
}

// All returns what the map holds now. Nobody may change it.
func (m *Map[K, V]) All() map[K]V {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.clone.Load()
	if c == nil {
		return nil
	}
	if c.behind.Load() {
		m.renewLocked()
	}
	return m.clone.Load().all
}

// Touch notes in used, which is the value's Worth.Used, that the value is used
// now. It writes nothing for the value that was used last, so that cores which
// use one value do not contend.
func (m *Map[K, V]) Touch(used *atomic.Int64) {
	if latest := m.uses.Load(); latest == 0 || used.Load() != latest {
		used.Store(m.uses.Add(1))
	}
}

func (m *Map[K, V]) renewLocked() {
	m.clone.Store(&clone[K, V]{all: maps.Clone(m.all)})
	m.misses = 0
}

// A Worth says what would be lost with a value. What is worth least goes first:
// one that is not open before one that is, then one that is not known, then the
// one that was used longest ago.
type Worth struct {
	Busy  bool  // in use: it stays
	Open  bool  // a circuit is open: who is kept off must not come back for that
	Known bool  // it has served, or has learned something else
	Used  int64 // when it was last used, by any count that grows
}

// MakeRoom removes what is worth least, so that one more key keeps all within
// limit. It removes nothing while there is room, and nothing that is busy. An
// eighth of the limit goes at once, so that a flood of keys does not pay for a
// look at all values each. Of what is open, no more goes than must.
func MakeRoom[K comparable, V any](all map[K]V, limit int, worthOf func(V) Worth) {
	if len(all) < limit {
		return
	}
	type candidate struct {
		key K
		Worth
	}
	idle := make([]candidate, 0, len(all))
	for key, v := range all {
		c := candidate{key: key}
		if worthOf != nil {
			c.Worth = worthOf(v)
		}
		if !c.Busy {
			idle = append(idle, c)
		}
	}
	slices.SortFunc(idle, func(a, b candidate) int {
		return cmp.Or(compare(a.Open, b.Open), compare(a.Known, b.Known), cmp.Compare(a.Used, b.Used))
	})
	for i, c := range idle {
		if len(all) < limit && (i >= limit/8 || c.Open) {
			break
		}
		delete(all, c.key)
	}
}

// compare orders false before true.
func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
