package recast

import (
	"bytes"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

const (
	// maxPiece bounds the pieces of JSON that a text is cut into. With what surrounds
	// them, lines are at most 4 kB, which is the most that some clients read.
	maxPiece = 2 << 10
	// maxGrowth bounds how many times larger than its document a stream may be, unless
	// that is small. An honest one reaches ten, with many short choices or items; one
	// whose id is as long as its text reaches thousands.
	maxGrowth   = 32
	smallStream = 64 << 10
)

// A stream is written event by event.
type stream struct {
	out       []byte
	limit     int64
	overgrown bool
}

// newStream returns a stream for a document of this many bytes.
func newStream(size int) *stream {
	return &stream{limit: maxGrowth*int64(size) + smallStream, out: make([]byte, 0, size+size/4+1<<10)}
}

// event writes an event with the texts, joined, as its data.
func (s *stream) event(data ...string) {
	if s.overgrown {
		return
	}
	s.out = append(s.out, "data: "...)
	start := len(s.out)
	for _, text := range data {
		s.out = append(s.out, text...)
	}
	// Line ends in JSON are between its tokens, where a blank has the same meaning.
	unbroken(s.out[start:], '\n')
	unbroken(s.out[start:], '\r')
	s.out = append(s.out, "\n\n"...)
	s.overgrown = int64(len(s.out)) > s.limit
}

// named writes an event with a name, which is also its type.
func (s *stream) named(name string, members ...string) {
	if s.overgrown {
		return
	}
	s.out = append(append(append(s.out, "event: "...), name...), '\n')
	s.event(append([]string{`{"type":"`, name, `"`}, append(members, "}")...)...)
}

func unbroken(data []byte, lineEnd byte) {
	for {
		i := bytes.IndexByte(data, lineEnd)
		if i < 0 {
			return
		}
		data[i] = ' '
		data = data[i+1:]
	}
}

// pieces cuts the inside of a JSON string so that each piece is one, too, and no character
// is cut.
func pieces(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := text[1 : len(text)-1]; len(rest) > 0; {
			n := piece(rest)
			if !yield(rest[:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// piece returns the length of the first piece of the inside of a JSON string.
func piece(inner string) int {
	if len(inner) <= maxPiece {
		return len(inner)
	}
	for i := 0; ; {
		n := character(inner[i:])
		if i+n > maxPiece {
			return i
		}
		i += n
	}
}

// character returns the length of the first character of the inside of a JSON string. A
// byte that is not UTF-8 is one.
func character(inner string) int {
	switch {
	case inner[0] != '\\':
		_, n := utf8.DecodeRuneInString(inner)
		return n
	case inner[1] != 'u':
		return len(`\n`)
	case isSurrogate(inner, "89ab") && isSurrogate(inner[len(`\ud83d`):], "cdef"):
		return len(`\ud83d\ude00`)
	}
	return len(`\u00e9`)
}

// isSurrogate reports whether the first escape is half of a pair. Its second digit tells
// which half.
func isSurrogate(inner, second string) bool {
	return strings.HasPrefix(inner, `\u`) && inner[2]|0x20 == 'd' && strings.IndexByte(second, inner[3]|0x20) >= 0
}

// quote returns a JSON string that contains JSON.
func quote(text string) string {
	var b strings.Builder
	b.Grow(len(text) + len(text)/8 + len(`""`))
	b.WriteByte('"')
	for {
		i := strings.IndexAny(text, "\"\\\t\r\n")
		if i < 0 {
			break
		}
		b.WriteString(text[:i])
		switch text[i] {
		case '\t':
			b.WriteString(`\t`)
		case '\r':
			b.WriteString(`\r`)
		case '\n':
			b.WriteString(`\n`)
		default:
			b.WriteByte('\\')
			b.WriteByte(text[i])
		}
		text = text[i+1:]
	}
	b.WriteString(text)
	b.WriteByte('"')
	return b.String()
}

// fields are the members of an object, with their original values.
type fields []field

type field struct {
	name string
	key  string // the name as JSON
	raw  string
}

// fieldsOf reads an object. It refuses one with two members of the same name.
func fieldsOf(v gjson.Result) (fields, bool) {
	if !v.IsObject() {
		return nil, false
	}
	var all fields
	ok := true
	v.ForEach(func(key, v gjson.Result) bool {
		ok = len(all) < maxMembers && all.get(key.Str) == ""
		all = append(all, field{name: key.Str, key: key.Raw, raw: v.Raw})
		return ok
	})
	return all, ok
}

// get returns the value of a name, or "".
func (f fields) get(name string) string {
	for i := range f {
		if f[i].name == name {
			return f[i].raw
		}
	}
	return ""
}

// or returns the value of a name, or another value if there is none.
func (f fields) or(name, other string) string {
	if raw := f.get(name); raw != "" {
		return raw
	}
	return other
}

// text returns the text of a name's string.
func (f fields) text(name string) string { return gjson.Parse(f.get(name)).Str }

// list returns the elements of a name's list; none if it is no list.
func (f fields) list(name string) iter.Seq2[int, gjson.Result] {
	return func(yield func(int, gjson.Result) bool) {
		i := 0
		if raw := f.get(name); isList(raw) {
			gjson.Parse(raw).ForEach(func(_, v gjson.Result) bool {
				i++
				return yield(i-1, v)
			})
		}
	}
}

// with returns the members with another value for one of them, if it is present.
func (f fields) with(name, raw string) fields {
	for i := range f {
		if f[i].name == name {
			f = append(fields(nil), f...)
			f[i].raw = raw
			break
		}
	}
	return f
}

// without returns the members except those with these names.
func (f fields) without(names ...string) fields {
	var kept fields
	for _, one := range f {
		if !slices.Contains(names, one.name) {
			kept = append(kept, one)
		}
	}
	return kept
}

// only returns the members with these names.
func (f fields) only(names ...string) fields {
	var kept fields
	for _, one := range f {
		if slices.Contains(names, one.name) {
			kept = append(kept, one)
		}
	}
	return kept
}

func (f fields) json() string { return "{" + strings.TrimSuffix(f.open(), ",") + "}" }

// open returns the members as JSON, each followed by a comma, so that others can follow.
func (f fields) open() string {
	var b strings.Builder
	for _, one := range f {
		b.WriteString(one.key)
		b.WriteByte(':')
		b.WriteString(one.raw)
		b.WriteByte(',')
	}
	return b.String()
}

func isString(raw string) bool { return strings.HasPrefix(raw, `"`) }

func isList(raw string) bool { return strings.HasPrefix(raw, "[") }

func isObject(raw string) bool { return strings.HasPrefix(raw, "{") }
