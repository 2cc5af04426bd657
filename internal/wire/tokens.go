package wire

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// EstimateTokens estimates the number of tokens of a text: 0.3 for each English
// character and 0.6 for each Chinese one, as DeepSeek's documentation says.
func EstimateTokens(text []byte) int { return tenths(text) / 10 }

// EstimateTokensOfJSON is EstimateTokens for JSON, or for the inside of a JSON string: an escape
// counts as the character that it stands for.
func EstimateTokensOfJSON(text []byte) int { return tenthsOfJSON(text) / 10 }

// tenthsOfJSON is tenths for JSON.
func tenthsOfJSON(text []byte) int {
	n := tenths(text)
	for rest := text; ; {
		at := bytes.IndexByte(rest, '\\')
		if at < 0 || at+1 == len(rest) {
			return n
		}
		rest = rest[at+1:]
		if rest[0] != 'u' || len(rest) < len("u0000") {
			n -= english // one character has two bytes
			rest = rest[1:]
			continue
		}
		if n -= 6 * english; string(rest[1:3]) == "00" && rest[3] < '8' {
			n += english
		} else {
			n += other
		}
		rest = rest[len("u0000"):]
	}
}

// Tokens of one character, in tenths.
const english, other = 3, 6

// tenths is EstimateTokens in tenths of a token.
func tenths(text []byte) int {
	var n notASCII
	rest := text
	for ; len(rest) >= 32; rest = rest[32:] {
		at := binary.LittleEndian
		a, b, c, d := at.Uint64(rest), at.Uint64(rest[8:]), at.Uint64(rest[16:]), at.Uint64(rest[24:])
		if (a|b|c|d)&top == 0 { // most of most texts
			continue
		}
		n.add(a)
		n.add(b)
		n.add(c)
		n.add(d)
	}
	for _, b := range rest {
		n.add(uint64(b))
	}
	return english*(len(text)-n.bytes) + other*n.characters
}

// notASCII counts the characters of a text that are not ASCII, and their bytes.
type notASCII struct{ characters, bytes int }

// top is the highest bit of each of eight bytes. Only a byte of ASCII does not have it.
const top = 0x8080808080808080

// add counts those of eight bytes. The first byte of a character has both highest bits.
func (n *notASCII) add(word uint64) {
	n.characters += bits.OnesCount64(word & (word << 1) & top)
	n.bytes += bits.OnesCount64(word & top)
}

// say counts a text of the answer, in JSON's escapes and without its quotes.
func (a *Answer) say(text []byte) {
	if a.Counts {
		a.Spoken = addTenths(a.Spoken, text)
	}
}

// sayAll counts the texts in a value that came at once, unless they came in pieces before.
func (a *Answer) sayAll(v value) {
	if a.Counts && a.Spoken == 0 {
		a.Spoken = spokenIn(v, a.Spoken, maxSpokenDepth)
	}
}

// addTenths adds the tokens of a text to a number of tenths.
func addTenths(n int32, text []byte) int32 {
	return int32(min(int64(n)+int64(tenthsOfJSON(text)), MaxTokens))
}

// maxSpokenDepth bounds how deep texts are looked for: the arguments of a call are four deep.
const maxSpokenDepth = 6

// spokenIn adds the tokens of the texts in a value that a model writes to n.
func spokenIn(v value, n int32, depth int) int32 {
	if depth == 0 {
		return n
	}
	c := v.cursor()
	if v.is('[') {
		for c.open(); c.more(']'); {
			n = spokenIn(c.value(), n, depth-1)
		}
		return n
	}
	if !c.enter('{') {
		return n
	}
	for c.more('}') {
		key := c.key()
		switch v := c.value(); {
		case v.isText() && isSpoken(key):
			n = addTenths(n, v[1:len(v)-1])
		case !v.isFilled():
		case string(key) == "input": // the arguments of a call, as JSON
			n = addTenths(n, v)
		default:
			n = spokenIn(v, n, depth-1)
		}
	}
	return n
}

// isSpoken reports whether a model writes the member of a delta or of an answer that has this
// name.
func isSpoken(key []byte) bool {
	switch string(key) {
	case "content", "text", "reasoning_content", "reasoning", "thinking", "refusal", "name", "arguments", "partial_json":
		return true
	}
	return false
}
