package wire

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// A Member is a member of a JSON object, with its place in the text.
type Member struct {
	Name      []byte // without quotes and escapes
	NameAt    int    // where its opening quote is
	NameEnds  int    // after its closing quote
	Value     []byte // without blanks around it
	ValueAt   int
	ValueEnds int
}

// Members calls do with each member of the object in text, in order. It only skims from
// one quote to the next, so what it finds in a text that is not JSON means nothing. Of a
// text that is cut or is no object, it finds the members before that point.
func Members(text []byte, do func(Member)) {
	at := pastBlanks(text, 0)
	if at == len(text) || text[at] != '{' {
		return
	}
	for at++; ; at++ {
		at = pastBlanks(text, at)
		if at == len(text) || text[at] != '"' {
			return
		}
		m := Member{NameAt: at, NameEnds: pastString(text, at)}
		if at = pastBlanks(text, m.NameEnds); at == len(text) || text[at] != ':' {
			return
		}
		if m.Name = text[m.NameAt+1 : m.NameEnds-1]; bytes.IndexByte(m.Name, '\\') >= 0 {
			m.Name = unescape(m.Name)
		}
		m.ValueAt = pastBlanks(text, at+1)
		m.ValueEnds = pastValue(text, m.ValueAt)
		m.Value = text[m.ValueAt:m.ValueEnds:m.ValueEnds]
		if at = pastBlanks(text, m.ValueEnds); at == len(text) || text[at] != ',' && text[at] != '}' {
			return
		}
		do(m)
		if text[at] == '}' {
			return
		}
	}
}

func pastBlanks(text []byte, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// pastString returns the end of the string that begins at at.
func pastString(text []byte, at int) int {
	for at++; at < len(text); {
		n := bytes.IndexByte(text[at:], '"')
		if n < 0 {
			break
		}
		if at += n + 1; !isEscaped(text, at-1) {
			return at
		}
		at = pastEscapes(text, at)
	}
	return len(text)
}

// pastEscapes goes on in a string behind an escaped quote, because a text in a text has one
// every few bytes. It returns a place before which the string does not end. It looks at
// eight bytes at a time, and stops where the string may end, at backslashes in a row, and
// after a while, in case that no quote is near.
func pastEscapes(text []byte, at int) int {
	const while = 128
	escaped := uint64(0) // the highest bit of each byte that is behind a backslash
	for end := min(at+while, len(text)-7); at < end; at += 8 {
		word := binary.LittleEndian.Uint64(text[at:])
		quotes, backslashes := zeros(word^each*'"'), zeros(word^each*'\\')
		escaped |= backslashes << 8
		if quotes&^escaped|backslashes&escaped != 0 {
			break
		}
		escaped = backslashes >> 56
	}
	return at
}

// isEscaped reports whether the character at at, in a string, is behind an odd number of
// backslashes.
func isEscaped(text []byte, at int) bool {
	before := at
	for text[before-1] == '\\' { // ends at the quote that begins the string
		before--
	}
	return (at-before)%2 != 0
}

// pastValue returns the end of the value that begins at at.
func pastValue(text []byte, at int) int {
	if at == len(text) {
		return at
	}
	switch marks[text[at]] {
	case markQuote:
		return pastString(text, at)
	case markOpening:
		return pastNested(text, at)
	}
	for ; at < len(text); at++ {
		switch marks[text[at]] {
		case markClosing, markComma, markBlank:
			return at
		}
	}
	return at
}

// pastNested returns the end of the list or object that begins at at.
func pastNested(text []byte, at int) int {
	for depth := 0; at < len(text); {
		switch marks[text[at]] {
		case markQuote:
			at = pastString(text, at)
		case markOpening:
			depth++
			at++
		case markClosing:
			at++
			if depth--; depth == 0 {
				return at
			}
		case markColon, markComma:
			at++
		default: // more of the like may follow
			at = toStructure(text, at+1)
		}
	}
	return len(text)
}

// A mark is what a byte means outside of strings.
type mark uint8

const (
	markOther mark = iota // a part of a number or a word
	markQuote
	markOpening
	markClosing
	markColon
	markComma
	markBlank
)

var marks = [256]mark{
	'"': markQuote, '{': markOpening, '[': markOpening, '}': markClosing, ']': markClosing,
	':': markColon, ',': markComma, ' ': markBlank, '\n': markBlank, '\t': markBlank, '\r': markBlank,
}

// toStructure returns where the first quote or bracket from at on stands, or a place in the
// last eight bytes with none before it. It may stop early, at a letter that no JSON has
// outside of strings.
func toStructure(text []byte, at int) int {
	const differ = ('{' ^ '[') | ('{' ^ '}') // the bits in which brackets differ; what has the others is a bracket, Y, _, y or DEL
	for ; at+8 <= len(text); at += 8 {
		word := binary.LittleEndian.Uint64(text[at:])
		if found := zeros(word^each*'"') | zeros((word|each*differ)^each*('{'|differ)); found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
	}
	return at
}

// zeros sets the highest bit of each byte in word that is zero, and no other bit.
func zeros(word uint64) uint64 {
	const low = each * 0x7f
	return ^(word&low + low | word | low)
}

// each is a byte of 1 in each byte of a word: each*b is eight times b.
const each = 0x0101010101010101
