package request

import "github.com/breakwater-go/breakwater/internal/wire"

// EstimateTokens estimates the number of tokens of a text: 0.3 for each English
// character and 0.6 for each Chinese one, as DeepSeek's documentation says.
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

// EstimateUse estimates how many tokens a request with these parameters will use,
// including its answer. It returns at least 1. body is the request's body.
func (p *Params) EstimateUse(body []byte) int {
	return max(1, int(min(int64(EstimateTokens(body))+int64(p.MaxTokens), wire.MaxTokens)))
}
