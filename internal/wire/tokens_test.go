package wire

import (
	"bytes"
	"strings"
	"testing"
)

func TestTokens_AreEstimated(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       int
	}{
		{"English", strings.Repeat("a", 100), 30},
		{"Chinese", strings.Repeat("灯", 100), 60},
		{"both", strings.Repeat("a灯", 100), 90},
		{"accents", strings.Repeat("é", 10), 6},
		{"nothing", "", 0},
	} {
		if got := EstimateTokens([]byte(tt.text)); got != tt.want {
			t.Errorf("tokens of %s = %d, want %d", tt.name, got, tt.want)
		}
	}
}

// The estimate is that of a plain count, whatever the text's length and bytes.
func FuzzEstimateTokens(f *testing.F) {
	for _, text := range []string{"", "seven b", "eight by", "nine byte", "你好，世界", "a你b好c", "\x80\xff\xc0", strings.Repeat("ab你", 100)} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		ascii, other := 0, 0
		for _, b := range text {
			switch {
			case b < 0x80:
				ascii++
			case b >= 0xC0:
				other++
			}
		}
		if got, want := EstimateTokens(text), (3*ascii+6*other)/10; got != want {
			t.Errorf("EstimateTokens(%q) = %d, want %d", text, got, want)
		}
	})
}

// BenchmarkEstimateTokens compares the estimate with a loop that looks at each byte.
func BenchmarkEstimateTokens(b *testing.B) {
	for name, sentence := range map[string]string{"english": "what is a breakwater? ", "chinese": "防波堤是什么？"} {
		text := bytes.Repeat([]byte(sentence), 200<<10/len(sentence))
		measure := func(how string, do func()) {
			b.Run(name+"/"+how, func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					do()
				}
			})
		}
		measure("estimate", func() { EstimateTokens(text) })
		measure("loop", func() {
			n := 0
			for _, c := range text {
				if c < 0x80 {
					n++
				}
			}
			sink = n
		})
	}
}

var sink int

// In JSON, an escape counts as the character that it stands for.
func TestTokens_OfJSON(t *testing.T) {
	for text, want := range map[string]int{
		``: 0, `aa\n`: 9, `\\\\`: 6, `\"\"`: 6, `\u4f60\u597d`: 12, `\u0041`: 3, `\u00e9`: 6, `\`: 3, `a\`: 6, `你\u597d`: 12,
	} {
		if got := tenthsOfJSON([]byte(text)); got != want {
			t.Errorf("tenths of %s = %d, want %d", text, got, want)
		}
	}
}

// An estimate is never negative, whatever the text is, and never above that of a plain text.
func FuzzEstimateTokensOfJSON(f *testing.F) {
	f.Add([]byte(`{"a":"\u4f60\n\\"}`))
	f.Add([]byte(`\\\\\\u`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got := EstimateTokensOfJSON(text); got < 0 || got > EstimateTokens(text) {
			t.Errorf("EstimateTokensOfJSON(%q) = %d, EstimateTokens = %d", text, got, EstimateTokens(text))
		}
	})
}
