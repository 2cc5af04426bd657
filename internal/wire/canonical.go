package wire

import (
	"bytes"
	"crypto/sha256"
	"slices"
)

// Canonical appends to dst the JSON object in text in a form that all objects
// share which differ in the order of their members and in blanks alone, and in
// the members that omit names at the top. Numbers, strings and the names stay
// as they are spelt. It reports false for text that is no JSON object, and
// then appends nothing of use.
//
// Where the order of members may matter, it is kept: in the properties of a
// schema, whose order structured answers follow; and where a name stands more
// than once, be it in another case (Go's own decoder takes those for one), or
// is spelt with escapes or beyond ASCII, where such doubles are hard to see.
// Such an object opens with < instead of {, so that it equals no sorted one.
//
// The form is for keys, not for readers: within it, # and the SHA-256 of an
// object's form take the place of one longer than maxMoved.
func Canonical(dst, text []byte, omit ...string) ([]byte, bool) {
	k := canon{cursor: cursor{text: text}, out: dst, omit: omit}
	ok := k.whole()
	return k.out, ok
}

// maxMoved is the longest form of an object that the object around it sorts as
// it is. Sorting moves all that an object holds: without a bound, what stands
// deep within others would be moved as often as it is deep.
const maxMoved = 256

// A canon writes what its cursor reads.
type canon struct {
	cursor
	out     []byte
	omit    []string // of the outermost object
	members []placed // of the objects the cursor is in, those of the innermost last
	sorted  []byte   // room
	moved   int      // bytes, sorted or digested: tests bound it
}

// A placed is a member, and where it stands in out.
type placed struct {
	name     []byte
	from, to int
}

// whole writes the whole text, if it is an object.
func (k *canon) whole() bool {
	if k.peek() != '{' {
		return false
	}
	k.object(true)
	return k.ended()
}

// value writes a value, the members of an object sorted, or as they come.
func (k *canon) value(sorted bool) {
	switch k.peek() {
	case '{':
		k.object(sorted)
	case '[':
		k.out = append(k.out, '[')
		for k.open(); k.more(']'); {
			k.value(true)
			k.out = append(k.out, ',')
		}
		k.out = append(k.out, ']')
	default:
		k.out = append(k.out, k.cursor.value()...)
	}
}

func (k *canon) object(sorted bool) {
	start, mine := len(k.out), len(k.members)
	k.out = append(k.out, '{')
	for k.open(); k.more('}'); {
		name, escaped := k.name()
		if k.depth == 1 && slices.Contains(k.omit, string(name)) {
			k.skip()
			continue
		}
		from := len(k.out)
		k.out = append(append(append(k.out, '"'), name...), `":`...)
		k.value(string(name) != "properties")
		k.out = append(k.out, ',')
		sorted = sorted && !escaped && isASCII(name)
		k.members = append(k.members, placed{name, from, len(k.out)})
	}
	members := k.members[mine:]
	k.members = k.members[:mine]
	switch {
	case k.bad:
	case !sorted || doubles(members):
		k.out[start] = '<'
	case !slices.IsSortedFunc(members, byName):
		slices.SortFunc(members, byName)
		k.sorted = k.sorted[:0]
		for _, m := range members {
			k.sorted = append(k.sorted, k.out[m.from:m.to]...)
		}
		k.moved += copy(k.out[start+1:], k.sorted)
	}
	k.out = append(k.out, '}')
	if form := k.out[start:]; k.depth > 0 && len(form) > maxMoved {
		k.moved += len(form)
		sum := sha256.Sum256(form)
		k.out = append(append(k.out[:start], '#'), sum[:]...)
	}
}

func byName(a, b placed) int { return bytes.Compare(a.name, b.name) }

func isASCII(name []byte) bool {
	return !slices.ContainsFunc(name, func(b byte) bool { return b >= 0x80 })
}

// doubles reports whether two names are one but for their case.
func doubles(members []placed) bool {
	const few = 16 // that are compared each with each
	if len(members) > few {
		seen := make(map[string]bool, len(members))
		for _, m := range members {
			name := string(bytes.ToLower(m.name))
			if seen[name] {
				return true
			}
			seen[name] = true
		}
		return false
	}
	for i, m := range members {
		for _, other := range members[:i] {
			if len(m.name) == len(other.name) && bytes.EqualFold(m.name, other.name) {
				return true
			}
		}
	}
	return false
}
