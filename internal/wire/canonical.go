package wire

import (
	"bytes"
	"crypto/sha256"
	"slices"
)

// Canonical appends to dst the canonical form of the JSON object in text. Two
// objects have the same form if they differ only in white space, in the order of
// their members, and in top-level members that omit names. The form keeps the
// spelling of names, strings and numbers. Canonical returns false if text is not a
// JSON object. What it appended is then of no use.
//
// Canonical keeps the order of members where it may matter:
//   - in the properties of a schema, because structured answers follow that order;
//   - if a name occurs twice, also in different case, because Go's decoder takes
//     both for one member;
//   - if a name has escapes or non-ASCII characters, because such duplicates are
//     hard to detect.
//
// The form of such an object begins with < instead of {, so that it never equals
// the form of a sorted object.
//
// The form is meant for cache keys, not for readers. A nested object whose form is
// longer than maxMoved is replaced by # and the SHA-256 of its form.
func Canonical(dst, text []byte, omit ...string) ([]byte, bool) {
	k := canon{cursor: cursor{text: text}, out: dst, omit: omit}
	ok := k.whole()
	return k.out, ok
}

// maxMoved is the longest form, in bytes, of a nested object that is not replaced
// by its digest. To sort an object means to move all bytes in it. Without this
// bound, a deeply nested byte would be moved once for each level.
const maxMoved = 256

// A canon reads JSON with its cursor and writes the canonical form.
type canon struct {
	cursor
	out     []byte
	omit    []string // the members of the outermost object to leave out
	members []placed // the members of all objects around the cursor; the innermost object's are last
	sorted  []byte   // space for the members while they are sorted
	moved   int      // how many bytes were sorted or digested; tests check it
}

// A placed is a member with its place in out.
type placed struct {
	name     []byte
	from, to int
}

// whole writes the form of the whole text and reports whether the text is an object.
func (c *canon) whole() bool {
	if c.peek() != '{' {
		return false
	}
	c.object(true)
	return c.ended()
}

// value writes the form of a value. If the value is an object, sorted tells whether
// its members may be sorted.
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

// doubles reports whether two names are equal, or differ only in case.
func doubles(members []placed) bool {
	const few = 16 // so few are compared pair by pair
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
