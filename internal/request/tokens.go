package request

import (
	"encoding/binary"
	"math/bits"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// EstimateTokens estimates the number of tokens of a text: 0.3 for each English
// character and 0.6 for each Chinese one, as DeepSeek's documentation says.
func EstimateTokens(text []byte) int {
	const top = 0x8080808080808080      // the highest bit of each of eight bytes
	ascii, other := int64(len(text)), 0 // other: characters that are not ASCII
	count := func(eight uint64) {
		ascii -= int64(bits.OnesCount64(eight & top))
		other += bits.OnesCount64(eight & (eight << 1) & top) // the first byte of a character has both highest bits
	}
	rest := text
	for ; len(rest) >= 8; rest = rest[8:] {
		count(binary.LittleEndian.Uint64(rest))
	}
	for _, b := range rest {
		count(uint64(b))
	}
	return int((3*ascii + 6*int64(other)) / 10)
}

// EstimateUse estimates how many tokens a request with these parameters will use,
// including its answer. It returns at least 1. body is the request's body.
func (p *Params) EstimateUse(body []byte) int {
	return max(1, int(min(int64(EstimateTokens(body))+int64(p.MaxTokens), wire.MaxTokens)))
}
