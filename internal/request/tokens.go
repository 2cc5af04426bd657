package request

import (
	"encoding/binary"
	"math/bits"
)

// EstimateTokens estimates the number of tokens of a text: 0.3 for each English
// character and 0.6 for each Chinese one, as DeepSeek's documentation says.
func EstimateTokens(text []byte) int {
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
	return (3*(len(text)-n.bytes) + 6*n.characters) / 10
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
