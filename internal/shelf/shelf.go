// Package shelf keeps values within bounds of number and size; those used
// least recently go first.
package shelf

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Spellings is how many other keys a value can be found by.
const Spellings = 2

// A Shelf keeps values under keys. A value can be found by up to two spellings
// of its key as well, each with a note of its own. It is safe for concurrent
// use.
type Shelf[K comparable, V, N any] struct {
	maxBytes int64 // 0: any number

	mu        sync.Mutex // guards what follows
	order     *simplelru.LRU[K, *kept[K, V]]
	spellings map[K]spelling[K, N]
	bytes     int64
	evicted   int64
}

// A kept is a value in its place.
type kept[K comparable, V any] struct {
	value V
	size  int64
	spelt [Spellings]K
}

type spelling[K comparable, N any] struct {
	of   K
	note N
}

// New returns a Shelf with room for so many values and bytes; 0: any number.
func New[K comparable, V, N any](maxValues int, maxBytes int64) *Shelf[K, V, N] {
	s := &Shelf[K, V, N]{maxBytes: maxBytes, spellings: make(map[K]spelling[K, N])}
	if maxValues == 0 {
		maxValues = math.MaxInt
	}
	// The order is the library's, sizes are ours. NewLRU fails on sizes below 1 only.
	s.order, _ = simplelru.NewLRU(maxValues, s.gone)
	return s
}

// gone is told of each value that leaves.
func (s *Shelf[K, V, N]) gone(_ K, v *kept[K, V]) {
	s.bytes -= v.size
	for _, spelt := range v.spelt {
		delete(s.spellings, spelt) // the zero one, that of none, is never kept
	}
}

// Get returns the value kept under key.
func (s *Shelf[K, V, N]) Get(key K) (value V, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, found := s.order.Get(key); found {
		return v.value, true
	}
	return value, false
}

// Find returns the value whose key is spelt so, its key, and the note of the
// spelling.
func (s *Shelf[K, V, N]) Find(spelt K) (key K, value V, note N, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.spellings[spelt]
	if !ok {
		return key, value, note, false
	}
	v, _ := s.order.Get(found.of) // it takes its spellings with it when it goes
	return found.of, v.value, found.note, true
}

// Put keeps a value of that size in the place of the one under key, if it fits
// at all.
func (s *Shelf[K, V, N]) Put(key K, value V, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order.Remove(key)
	if s.maxBytes > 0 && size > s.maxBytes {
		return
	}
	s.bytes += size
	if s.order.Add(key, &kept[K, V]{value: value, size: size}) {
		s.evicted++
	}
	s.trimLocked()
}

// Spell has the value under key found by a spelling, too, which takes the
// place of that of the same number and adds so much to the value's size.
func (s *Shelf[K, V, N]) Spell(key K, number int, spelt K, note N, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.order.Peek(key)
	if _, known := s.spellings[spelt]; !ok || known {
		return
	}
	var none K
	if last := v.spelt[number]; last != none {
		delete(s.spellings, last)
	} else {
		v.size += size
		s.bytes += size
	}
	v.spelt[number] = spelt
	s.spellings[spelt] = spelling[K, N]{key, note}
	s.trimLocked()
}

func (s *Shelf[K, V, N]) trimLocked() {
	for s.maxBytes > 0 && s.bytes > s.maxBytes {
		s.order.RemoveOldest()
		s.evicted++
	}
}

// Bounds tells how much there is, and how many values had to go for others.
func (s *Shelf[K, V, N]) Bounds() (values int, bytes, evicted int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order.Len(), s.bytes, s.evicted
}
