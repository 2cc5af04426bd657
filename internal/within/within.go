// Package within bounds where a call may go. Bounds are words, and an endpoint is within them
// if it has the words as its name, its region or its tags.
package within

import "slices"

// A Place is what an endpoint is called by.
type Place struct {
	Name, Region string
	Tags         []string
}

// Has reports whether a word stands for the place.
func (p *Place) Has(word string) bool {
	return word != "" && (word == p.Name || word == p.Region || slices.Contains(p.Tags, word))
}

// Bounds are lists of words. A place is within them if it has a word of each list. With no
// list, every place is; with an empty one, none is. Bounds are never changed.
type Bounds [][]string

// And returns the bounds of both.
func (b Bounds) And(other Bounds) Bounds {
	both := slices.Clip(b)
	for _, words := range other {
		both = both.add(words)
	}
	return both
}

// AndOneOf returns the bounds b, and words as a further list. It copies them.
func (b Bounds) AndOneOf(words []string) Bounds {
	return slices.Clip(b).add(append([]string{}, words...))
}

// add appends a list that b does not have: a caller may add the same ones again and again.
func (b Bounds) add(words []string) Bounds {
	if slices.ContainsFunc(b, func(known []string) bool { return slices.Equal(known, words) }) {
		return b
	}
	return append(b, words)
}

// Has reports whether a place is within the bounds.
func (b Bounds) Has(p *Place) bool {
	for _, words := range b {
		if !slices.ContainsFunc(words, p.Has) {
			return false
		}
	}
	return true
}
