package breakwater

import (
	"cmp"
	"slices"
)

// This file is what gives way where callers choose the names: of models, of
// origins. As many as they like would be kept for good, and names that mean
// nothing must not displace those that do, nor share what those have.

// A worth is what would be lost with what is kept under a name.
type worth struct {
	busy  bool  // attempts are open: it stays
	open  bool  // a circuit is: who is kept off must not come back for that
	known bool  // it has served, or knows something else
	used  int64 // when it was last of use, by a count of uses
}

// makeRoom makes room for one more under limit, if it can: what is worth least
// goes. Of what is not open, an eighth of the limit goes at once, so that a
// flood of names is not paid for by a look at all of them each time.
func makeRoom[K comparable, V any](all map[K]V, limit int, worthOf func(V) worth) {
	if len(all) < limit {
		return
	}
	type candidate struct {
		key K
		worth
	}
	idle := make([]candidate, 0, len(all))
	for key, v := range all {
		if w := worthOf(v); !w.busy {
			idle = append(idle, candidate{key, w})
		}
	}
	slices.SortFunc(idle, func(a, b candidate) int {
		return cmp.Or(compare(a.open, b.open), compare(a.known, b.known), cmp.Compare(a.used, b.used))
	})
	for i, c := range idle {
		if len(all) < limit && (i >= limit/8 || c.open) {
			break
		}
		delete(all, c.key)
	}
}

// compare has false come before true.
func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
