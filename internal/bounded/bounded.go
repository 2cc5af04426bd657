// Package bounded provides a map for names that callers choose, such as models and
// origins. It bounds how many are kept: unused names do not displace used ones, and two
// names never share a value.
//
// A Map is for values that live long and that every call looks up, from any goroutine; it
// is safe for concurrent use. MakeRoom is its eviction rule alone, for a map with a lock
// of its own. The users are the sets of circuits, limits, pauses and upstreams.
package bounded

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A Map holds values under at most Max keys, or more while all of them are busy. When it
// is full, the values of the least worth are removed.
//
// Get takes no lock for a value that has been there for a while: it reads a copy of the
// map. The copy is renewed when as many lookups have missed it as the map has values, so
// that a flood of new keys does not cause a copy each.
type Map[K comparable, V any] struct {
	Max     int
	WorthOf func(V) Worth // called with the map locked; nil: all values have the same worth

	uses  atomic.Int64
	clone atomic.Pointer[clone[K, V]]

	mu     sync.Mutex // guards what follows
	all    map[K]V
	misses int // lookups that missed the copy for keys that the map has
}

// A clone is a copy of the map at one time.
type clone[K comparable, V any] struct {
	all    map[K]V
	behind atomic.Bool // a key was added to the map since
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

// GetOrAdd returns the value of key. If there is none yet, it adds the one that add
// returns. add is called with the map locked.
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
		m.renewLocked() // a removed value must not be found any more
	} else {
		c.behind.Store(true)
	}
	return v
}

// All returns what the map holds now. Callers must not change it.
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

// Touch records in used, which is the value's Worth.Used, that the value is used now. It
// writes nothing if the value was the last one used, so that cores that use one value do
// not contend.
func (m *Map[K, V]) Touch(used *atomic.Int64) {
	if latest := m.uses.Load(); latest == 0 || used.Load() != latest {
		used.Store(m.uses.Add(1))
	}
}

func (m *Map[K, V]) renewLocked() {
	m.clone.Store(&clone[K, V]{all: maps.Clone(m.all)})
	m.misses = 0
}

// A Worth says what would be lost with a value. Values that are neither open nor known are
// removed first, and those that are both last. Of those that are either open or known, the
// kind goes first that is more numerous: a flood of names displaces its own kind, whatever a
// host makes of them. Among equals, the one used longest ago goes first.
type Worth struct {
	Busy  bool  // in use: it must stay
	Open  bool  // a circuit is open: removing it would let calls through
	Known bool  // it has served a call, or has learned something else
	Used  int64 // when it was last used, by any counter that grows
}

// maxName is the most bytes of a name that is kept as it is.
const maxName = 128

// Name returns a name of bounded length: a name that is too long is cut, and a digest of it
// stands for the rest, so that two names never become one.
func Name(name string) string {
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	digest := hex.EncodeToString(sum[:])
	return strings.ToValidUTF8(name[:maxName-len(digest)-len("…")], "") + "…" + digest
}

// MakeRoom removes the values of the least worth, so that all has room for one more key
// within limit. It removes nothing while there is room, and nothing that is busy. It
// removes an eighth of the limit at once, so that a flood of keys does not cost a scan for
// each, but no more open ones than necessary.
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
	more := 0 // how many more are known than open
	for _, c := range idle {
		more += compare(c.Known, c.Open)
	}
	slices.SortFunc(idle, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank(more), b.rank(more)), cmp.Compare(a.Used, b.Used))
	})
	for i, c := range idle {
		if len(all) < limit && (i >= limit/8 || c.Open) {
			break
		}
		delete(all, c.key)
	}
}

// rank returns which values are removed before others, the lowest first, if so many more are
// known than open.
func (w Worth) rank(moreKnown int) int {
	switch {
	case w.Open && w.Known:
		return 3
	case !w.Open && !w.Known:
		return 0
	case w.Known == (moreKnown >= 0):
		return 1
	}
	return 2
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
