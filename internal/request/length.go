package request

import (
	"bytes"
	"math"
	"strconv"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// MeasureTokens returns a number of tokens that the texts of a request have at least, whatever
// the model's tokenizer is. It is 0 if the request lets the host shorten them.
//
// It counts only texts that the model certainly reads. Their real number of tokens is about
// a third higher for English.
func MeasureTokens(body []byte) int32 {
	p := newParser(body)
	p.measures = true
	p.read()
	if p.shortens {
		return 0
	}
	return int32(min(p.tokens, math.MaxInt32))
}

// EstimatePrompt estimates the tokens of a request's prompt from its body: all of it, for the
// model reads most of it, but of images and files only the texts beside them.
func EstimatePrompt(body []byte, p *Params) int {
	n := wire.EstimateTokensOfJSON(body)
	if p.Needs&(Images|Files) != 0 && len(body) > 0 {
		n = int(int64(n) * int64(p.TextBytes) / int64(len(body)))
	}
	return n
}

// text reads a text that the model will read, if the value is one.
func (p *parser) text() {
	if !p.walk.Begins('"') {
		return
	}
	quoted := p.walk.Value()
	p.textBytes += len(quoted)
	p.needIf(Stored, bytes.HasPrefix(quoted, []byte(`"fileid://`))) // Bailian's
	if p.measures {
		p.tokens += leastTokens(quoted)
	}
}

// texts reads a text, or a list of texts or of parts with texts.
func (p *parser) texts() {
	p.text()
	for list := p.walk.Enter('['); p.walk.Next(&list); {
		p.text()
		for part := p.walk.Enter('{'); p.walk.Next(&part); {
			if string(part.Name) == "text" {
				p.text()
			}
		}
	}
}

// leastTokens returns how many tokens a JSON string has at least. No token of a usual
// tokenizer goes across a space or a sign into another word, so each run of letters and
// digits begins one. Other scripts are not told apart into words: of Chinese, Japanese and
// Korean, four characters count as one token, of any other script eight.
func leastTokens(quoted []byte) int {
	words, eighths := 0, 0
	inWord := false
	for i := 0; i < len(quoted); i++ {
		b := quoted[i]
		switch {
		case isAlphanumeric[b]:
			if !inWord {
				words++
			}
			inWord = true
			continue
		case b == '\\' && i+1 < len(quoted):
			i++
			if quoted[i] == 'u' && i+4 < len(quoted) {
				code, _ := strconv.ParseUint(string(quoted[i+1:i+5]), 16, 16)
				second := code >= 0xDC00 && code < 0xE000 // half of a pair that stands for one character
				eighths += eighthsOf(code >= 0x80 && !second, code >= 0x3000 && code < 0xD800)
				i += 4
			}
		case b >= 0xC0: // the first byte of a character
			eighths += eighthsOf(true, b >= 0xE3 && b <= 0xED)
		}
		inWord = false
	}
	return words + eighths/8
}

// eighthsOf returns how many eighths of a token a character counts at least, in addition to
// what its word does.
func eighthsOf(notASCII, eastAsian bool) int {
	switch {
	case eastAsian:
		return 2
	case notASCII:
		return 1
	}
	return 0
}

var isAlphanumeric = func() (is [256]bool) {
	for b := range is {
		is[b] = bytes.IndexByte([]byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"), byte(b)) >= 0
	}
	return is
}()
