package wire

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"

	"github.com/tidwall/gjson"
)

// maxDepth bounds how deep brackets may nest, because readers recurse as deep. No real
// answer comes near.
const maxDepth = 1000

// A cursor reads one JSON text once, from front to end, and checks that it is JSON by RFC
// 8259. If it is not, the cursor moves to the end at once and stays bad. So only the last
// reader needs to ask whether the text ended well.
//
// The members of an object, and likewise the values of a list, are read by
//
//	if c.enter('{') {
//		for c.more('}') {
//			switch string(c.key()) { … } // each case reads one value
//		}
//	}
type cursor struct {
	text  []byte
	at    int
	depth int
	fresh bool // right after an opening bracket: no comma is due
	bad   bool
}

// Valid reports whether text is JSON.
func Valid(text []byte) bool {
	c := cursor{text: text}
	c.skip()
	return c.ended()
}

// First returns the JSON value that a text begins with, nil if it begins with none.
func First(text []byte) []byte {
	c := cursor{text: text}
	return c.value()
}

// ended reports whether the text was JSON and has been read to its end.
func (c *cursor) ended() bool {
	c.peek()
	return !c.bad && c.at == len(c.text)
}

func (c *cursor) fail() {
	c.bad = true
	c.at = len(c.text)
}

// peek returns the next byte that is not blank, without reading it. At the end it is 0,
// which begins no value.
func (c *cursor) peek() byte {
	if c.at < len(c.text) && c.text[c.at] > ' ' {
		return c.text[c.at]
	}
	return c.peekBehindBlanks()
}

func (c *cursor) peekBehindBlanks() byte {
	for ; c.at < len(c.text); c.at++ {
		switch b := c.text[c.at]; b {
		case ' ', '\t', '\r', '\n':
		default:
			return b
		}
	}
	return 0
}

// enter enters the next value if it begins with the bracket, and skips it otherwise.
func (c *cursor) enter(bracket byte) bool {
	if c.peek() != bracket {
		c.skip()
		return false
	}
	c.open()
	return true
}

func (c *cursor) open() {
	c.at++
	c.fresh = true
	if c.depth++; c.depth > maxDepth {
		c.fail()
	}
}

// more reports whether another member or value follows. If not, it reads the closing
// bracket.
func (c *cursor) more(bracket byte) bool {
	fresh := c.fresh
	c.fresh = false
	switch b := c.peek(); {
	case b == bracket:
		c.at++
		c.depth--
		return false
	case fresh:
		return true
	case b == ',':
		c.at++
		return true
	}
	c.fail()
	return false
}

// key reads the name of a member and the colon after it.
func (c *cursor) key() []byte {
	name, escaped := c.name()
	if escaped {
		return unescape(name)
	}
	return name
}

// name is key without undoing escapes.
func (c *cursor) name() (inner []byte, escaped bool) {
	if c.peek() != '"' {
		c.fail()
		return nil, false
	}
	start := c.at
	escaped = c.string()
	end := c.at
	if c.peek() != ':' {
		c.fail()
		return nil, false
	}
	c.at++
	return c.text[start+1 : end-1], escaped
}

// value reads the next value, whatever it is.
func (c *cursor) value() value {
	c.peek()
	start := c.at
	c.skip()
	if c.bad {
		return nil
	}
	return value(c.text[start:c.at])
}

// skip skips the next value.
func (c *cursor) skip() {
	switch b := c.peek(); b {
	case '"':
		c.string()
	case '{':
		for c.open(); c.more('}'); c.skip() {
			c.name()
		}
	case '[':
		for c.open(); c.more(']'); {
			c.skip()
		}
	case 'n':
		c.literal("null")
	case 't':
		c.literal("true")
	case 'f':
		c.literal("false")
	default:
		if b != '-' && !isDigit(b) {
			c.fail()
			return
		}
		c.number()
	}
}

func (c *cursor) literal(name string) {
	if end := c.at + len(name); end <= len(c.text) && string(c.text[c.at:end]) == name {
		c.at = end
		return
	}
	c.fail()
}

// number skips a number, which ends where its grammar ends.
func (c *cursor) number() {
	c.took('-')
	if !c.took('0') && !c.digits() || c.took('.') && !c.digits() {
		c.fail()
		return
	}
	if c.took('e') || c.took('E') {
		if !c.took('+') {
			c.took('-')
		}
		if !c.digits() {
			c.fail()
		}
	}
}

// took reads the next byte if it is b, and reports whether it was.
func (c *cursor) took(b byte) bool {
	if c.at < len(c.text) && c.text[c.at] == b {
		c.at++
		return true
	}
	return false
}

// digits skips digits, and reports whether there was one.
func (c *cursor) digits() bool {
	i := c.at
	for i < len(c.text) && isDigit(c.text[i]) {
		i++
	}
	some := i > c.at
	c.at = i
	return some
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// string skips a string and reports whether it has escapes. Most of a stream is strings,
// so it looks at eight bytes at a time.
func (c *cursor) string() (escaped bool) {
	text, i := c.text, c.at+1
	for i < len(text) {
		if i+8 <= len(text) {
			special := specials(binary.LittleEndian.Uint64(text[i:]))
			if special == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(special) / 8
		}
		switch b := text[i]; {
		case b == '"':
			c.at = i + 1
			return escaped
		case b == '\\':
			n := escape(text[i:])
			if n == 0 {
				c.fail()
				return escaped
			}
			i += n
			escaped = true
		case b < ' ':
			c.fail()
			return escaped
		default: // among the last bytes of the text
			i++
		}
	}
	c.fail()
	return escaped
}

// specials sets the highest bit of the first byte in word, counted from the
// lowest, that does not stand for itself in a string: a control character, a
// quote, a backslash. Above that byte it may be wrong. The bit of a byte is set
// by a subtraction that borrows, where it was not set before; inverting 2 puts
// the quote right after the control characters. See "Determine if a word has
// a byte less than n", https://graphics.stanford.edu/~seander/bithacks.html.
func specials(word uint64) uint64 {
	controlOrQuote := (word ^ each*2) - each*(' '+1)
	backslash := (word ^ each*'\\') - each
	return (controlOrQuote | backslash) &^ word & (each << 7)
}

// escape returns the length of the escape that text begins with; 0: none.
func escape(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(text) < 6 {
			return 0
		}
		for _, b := range text[2:6] {
			if !isDigit(b) && (b|0x20 < 'a' || b|0x20 > 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}

// unescape returns the text that the inside of a string stands for. It allocates, but is
// rarely needed, because the names of the APIs have no escapes.
func unescape(inner []byte) []byte {
	return []byte(gjson.Parse(`"` + string(inner) + `"`).Str)
}

// A value is the text of one JSON value, without blanks around it; nil: there is none.
type value []byte

// is reports whether v begins with b, which tells its type.
func (v value) is(b byte) bool { return len(v) > 0 && v[0] == b }

// isSet reports whether the member is there and not null.
func (v value) isSet() bool { return len(v) > 0 && v[0] != 'n' }

// isText reports whether v is a string that is not empty.
func (v value) isText() bool { return v.is('"') && len(v) > len(`""`) }

// text returns the text of the string v, or nil if v is no string.
func (v value) text() []byte {
	if !v.is('"') {
		return nil
	}
	inner := v[1 : len(v)-1]
	if bytes.IndexByte(inner, '\\') >= 0 {
		return unescape(inner)
	}
	return inner
}

// isFilled reports whether v is a list or an object that is not empty.
func (v value) isFilled() bool {
	if !v.is('[') && !v.is('{') {
		return false
	}
	inner := cursor{text: v, at: 1}
	b := inner.peek()
	return b != ']' && b != '}'
}

// count reads a number, which may be hostile. The result is between 0 and limit; 0: there
// is none.
func (v value) count(limit int64) int {
	if len(v) == 0 || !isDigit(v[0]) {
		return 0
	}
	n := int64(0)
	for _, b := range v {
		if !isDigit(b) || n > limit {
			f, _ := strconv.ParseFloat(string(v), 64) // infinite if it is out of range
			return int(min(f, float64(limit)))
		}
		n = 10*n + int64(b-'0')
	}
	return int(min(n, limit))
}

// index reads the index of a choice, which some hosts write as a string.
func (v value) index() int {
	if v.is('"') {
		v = v.text()
	}
	return v.count(maxIndex)
}

// cursor returns a cursor at the beginning of v.
func (v value) cursor() *cursor { return &cursor{text: v} }

// get returns the first value at a path of names; "0" is also the first value of a list.
// It reads v again, so it is for what is needed once in an answer.
func (v value) get(path ...string) value {
	if len(path) == 0 {
		return v
	}
	c := v.cursor()
	switch c.peek() {
	case '[':
		if c.open(); path[0] == "0" && c.more(']') {
			return c.value().get(path[1:]...)
		}
	case '{':
		for c.open(); c.more('}'); {
			if string(c.key()) != path[0] {
				c.skip()
			} else if found := c.value().get(path[1:]...); found != nil {
				return found
			}
		}
	}
	return nil
}
