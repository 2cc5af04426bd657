package request

import "github.com/breakwater-go/breakwater/internal/wire"

// EstimateTokens returns about how many tokens a text has: 0.3 for an English
// character, 0.6 for a Chinese one, as DeepSeek's documents say.
func EstimateTokens(text []byte) int {
	var ascii, other int64
	for _, b := range text {
		switch {
		case b < 0x80:
			ascii++
		case b >= 0xC0: // the first byte of a character
			other++
		}
	}
	return int((3*ascii + 6*other) / 10)
}

// EstimateUse returns about how many tokens a request with these parameters will
// use, its answer included: at least one. body is what is sent.
func (p *Params) EstimateUse(body []byte) int {
	return max(1, int(min(int64(EstimateTokens(body))+int64(p.MaxTokens), wire.MaxTokens)))
}
