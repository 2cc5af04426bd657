// Package lru keeps values within bounds of number and size. It removes those that were
// used least recently. A value can also be found by aliases of its key. A Cache is safe
// for concurrent use; the cache layer is its user.
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
	maxBytes int64 // 0: any number

	mu      sync.Mutex // guards what follows
	order   *simplelru.LRU[K, *item[K, V]]
	aliases map[K]alias[K, N]
	bytes   int64
	evicted int64
}

// An item is a stored value.
type item[K comparable, V any] struct {
	value   V
	size    int64
	aliases [MaxAliases]K // the zero K: none
}

type alias[K comparable, N any] struct {
	key  K
	note N
}

// New returns a Cache for so many values and bytes; 0: unlimited.
func New[K comparable, V, N any](maxValues int, maxBytes int64) *Cache[K, V, N] {
	c := &Cache[K, V, N]{maxBytes: maxBytes, aliases: make(map[K]alias[K, N])}
	if maxValues == 0 {
		maxValues = math.MaxInt
	}
	// The library keeps the order, this package the sizes. NewLRU fails only for sizes
	// below 1.
	c.order, _ = simplelru.NewLRU(maxValues, c.onEvict)
	return c
}

// onEvict is called for each value that leaves, for whatever reason.
func (c *Cache[K, V, N]) onEvict(_ K, v *item[K, V]) {
	c.bytes -= v.size
	for _, a := range v.aliases {
		delete(c.aliases, a) // the zero K is never an alias
	}
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
		delete(c.aliases, last)
	} else {
		v.size += size
		c.bytes += size
	}
	v.aliases[number] = name
	c.aliases[name] = alias[K, N]{key, note}
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
