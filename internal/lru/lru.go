// Package lru keeps values within bounds of number and size. It removes those that were
// used least recently. A value can also be found by aliases of its key, and an alias by a
// fingerprint. A Cache is safe for concurrent use; the cache layer is its user.
package lru

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// MaxAliases is how many aliases a value can have.
const MaxAliases = 2

// A Cache keeps values V under keys K. A value can be found by up to MaxAliases
// other keys as well, each with a note N of its own. It is safe for concurrent use.
type Cache[K comparable, V, N any] struct {
	mu       sync.Mutex // guards what follows
	maxBytes int64      // 0: any number
	order    *simplelru.LRU[K, *item[K, V]]
	aliases  map[K]alias[K, N]
	prints   map[uint64]K // fingerprints to aliases
	printed  int64        // bytes of the aliases with a fingerprint
	bytes    int64
	evicted  int64
}

// An item is a stored value.
type item[K comparable, V any] struct {
	value   V
	size    int64
	aliases [MaxAliases]K // the zero K: none
}

type alias[K comparable, N any] struct {
	key   K
	note  N
	print uint64
	size  int64 // of what the fingerprint needs; 0: there is no fingerprint
}

// New returns a Cache for so many values and bytes; 0: unlimited.
func New[K comparable, V, N any](maxValues int, maxBytes int64) *Cache[K, V, N] {
	c := &Cache[K, V, N]{maxBytes: maxBytes, aliases: make(map[K]alias[K, N]), prints: make(map[uint64]K)}
	// The library keeps the order, this package the sizes. NewLRU fails only for sizes
	// below 1.
	c.order, _ = simplelru.NewLRU(orUnlimited(maxValues), c.onEvict)
	return c
}

// SetBounds changes the bounds: see New. What is beyond them is removed.
func (c *Cache[K, V, N]) SetBounds(maxValues int, maxBytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evicted += int64(c.order.Resize(orUnlimited(maxValues)))
	c.maxBytes = maxBytes
	c.trimLocked()
}

func orUnlimited(maxValues int) int {
	if maxValues == 0 {
		return math.MaxInt
	}
	return maxValues
}

// onEvict is called for each value that leaves, for whatever reason.
func (c *Cache[K, V, N]) onEvict(_ K, v *item[K, V]) {
	c.bytes -= v.size
	for _, name := range v.aliases {
		c.removeAliasLocked(name) // the zero K is never an alias
	}
}

// removeAliasLocked removes an alias, and returns how many bytes its fingerprint needed.
func (c *Cache[K, V, N]) removeAliasLocked(name K) int64 {
	a := c.aliases[name]
	if a.size > 0 {
		delete(c.prints, a.print)
		c.printed -= a.size
	}
	delete(c.aliases, name)
	return a.size
}

// Get returns the value stored under key.
func (c *Cache[K, V, N]) Get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, found := c.order.Get(key); found {
		return v.value, true
	}
	return value, false
}

// GetByAlias returns the value with the alias name, its key, and the alias's note.
func (c *Cache[K, V, N]) GetByAlias(name K) (key K, value V, note N, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.aliases[name]
	if !ok {
		return key, value, note, false
	}
	v, _ := c.order.Get(found.key) // an evicted value takes its aliases with it
	return found.key, v.value, found.note, true
}

// GetByPrint returns an alias by its fingerprint, with what GetByAlias returns for it.
// Different things may have the same fingerprint, so the caller must compare.
func (c *Cache[K, V, N]) GetByPrint(print uint64) (name, key K, value V, note N, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name, ok = c.prints[print]; !ok {
		return name, key, value, note, false
	}
	a := c.aliases[name]
	v, _ := c.order.Get(a.key)
	return name, a.key, v.value, a.note, true
}

// MayPrint reports whether SetPrint would do something.
func (c *Cache[K, V, N]) MayPrint(name K, print uint64, size, most int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mayPrintLocked(name, print, size, most)
}

func (c *Cache[K, V, N]) mayPrintLocked(name K, print uint64, size, most int64) bool {
	a, ok := c.aliases[name]
	_, taken := c.prints[print]
	return ok && a.size == 0 && !taken && c.printed+size <= most
}

// SetPrint lets a fingerprint find an alias, and replaces the alias's note, which then
// needs so many more bytes. It does nothing if the alias has a fingerprint or does not
// exist, if another alias has this one, or if all fingerprints would need more than most
// bytes.
func (c *Cache[K, V, N]) SetPrint(name K, print uint64, note N, size, most int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mayPrintLocked(name, print, size, most) {
		return
	}
	a := c.aliases[name]
	a.note, a.print, a.size = note, print, size
	c.aliases[name], c.prints[print] = a, name
	v, _ := c.order.Peek(a.key)
	v.size += size
	c.bytes += size
	c.printed += size
	c.trimLocked()
}

// Put stores a value of this size under key, in place of the one there, if it fits at all.
func (c *Cache[K, V, N]) Put(key K, value V, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.order.Remove(key)
	if c.maxBytes > 0 && size > c.maxBytes {
		return
	}
	c.bytes += size
	if c.order.Add(key, &item[K, V]{value: value, size: size}) {
		c.evicted++
	}
	c.trimLocked()
}

// AddAlias gives the value under key an alias with a note. It replaces the value's alias
// of the same number; if there is none, it adds size to the value's size. A name that is
// an alias already stays as it is.
func (c *Cache[K, V, N]) AddAlias(key K, number int, name K, note N, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.order.Peek(key)
	if _, known := c.aliases[name]; !ok || known {
		return
	}
	var none K
	if last := v.aliases[number]; last != none {
		freed := c.removeAliasLocked(last)
		v.size -= freed
		c.bytes -= freed
	} else {
		v.size += size
		c.bytes += size
	}
	v.aliases[number] = name
	c.aliases[name] = alias[K, N]{key: key, note: note}
	c.trimLocked()
}

func (c *Cache[K, V, N]) trimLocked() {
	for c.maxBytes > 0 && c.bytes > c.maxBytes {
		c.order.RemoveOldest()
		c.evicted++
	}
}

// Stats returns how many values and bytes are stored, and how many values were removed to
// make room.
func (c *Cache[K, V, N]) Stats() (values int, bytes, evicted int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order.Len(), c.bytes, c.evicted
}
