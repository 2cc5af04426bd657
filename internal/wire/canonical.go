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
func (c *canon) whole() bool {
	if c.peek() != '{' {
		return false
	}
	c.object(true)
	return c.ended()
}

// value writes a value, the members of an object sorted, or as they come.
func (c *canon) value(sorted bool) {
	switch c.peek() {
	case '{':
		c.object(sorted)
	case '[':
		c.out = append(c.out, '[')
		for c.open(); c.more(']'); {
			c.value(true)
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, ']')
	default:
		c.out = append(c.out, c.cursor.value()...)
	}
}

func (c *canon) object(sorted bool) {
	start, mine := len(c.out), len(c.members)
	c.out = append(c.out, '{')
	for c.open(); c.more('}'); {
		name, escaped := c.name()
		if c.depth == 1 && slices.Contains(c.omit, string(name)) {
			c.skip()
			continue
		}
		from := len(c.out)
		c.out = append(append(append(c.out, '"'), name...), `":`...)
		c.value(string(name) != "properties")
		c.out = append(c.out, ',')
		sorted = sorted && !escaped && isASCII(name)
		c.members = append(c.members, placed{name, from, len(c.out)})
	}
	members := c.members[mine:]
	c.members = c.members[:mine]
	switch {
	case c.bad:
	case !sorted || doubles(members):
		c.out[start] = '<'
	case !slices.IsSortedFunc(members, byName):
		slices.SortFunc(members, byName)
		c.sorted = c.sorted[:0]
		for _, m := range members {
			c.sorted = append(c.sorted, c.out[m.from:m.to]...)
		}
		c.moved += copy(c.out[start+1:], c.sorted)
	}
	c.out = append(c.out, '}')
	if form := c.out[start:]; c.depth > 0 && len(form) > maxMoved {
		c.moved += len(form)
		sum := sha256.Sum256(form)
		c.out = append(append(c.out[:start], '#'), sum[:]...)
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
