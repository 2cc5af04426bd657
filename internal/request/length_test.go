package request

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// A text has at least a token for each word, however it is written in JSON.
func TestLeastTokens(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, " ": 0, "\n\t": 0, "word": 1, " word ": 1, "two words": 2, "a.b": 2, "f(x1, y_2)": 4, "don't": 2, strings.Repeat("=", 100): 0,
		"你好": 0, "你好你好": 1, strings.Repeat("你", 40): 10, "あア가한": 1, "привет, мир и всё": 1, "né": 1, "😀😀😀😀😀😀😀😀": 1,
		"x你y好": 2, "a\\b\"c": 3, "line\nline": 2, "aGVsbG8gd29ybGQ=": 1, "\u0007bell": 1,
	} {
		quoted, _ := json.Marshal(text)
		if got := leastTokens(quoted); got != want {
			t.Errorf("leastTokens(%s) = %d, want %d", quoted, got, want)
		}
		if got := leastTokens([]byte(asEscapes(text))); got != want {
			t.Errorf("leastTokens(%s) = %d, want %d", asEscapes(text), got, want)
		}
	}
	for range 1000 { // nothing has more tokens than bytes
		text := make([]byte, rand.IntN(40))
		for i := range text {
			text[i] = byte(rand.Uint32())
		}
		if got := leastTokens(text); got > len(text) {
			t.Errorf("leastTokens(%q) = %d", text, got)
		}
	}
}

// asEscapes writes each character that is not ASCII as an escape, as many SDKs do.
func asEscapes(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r >= 0x10000:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3ff)
		case r >= 0x80 || r < ' ':
			fmt.Fprintf(&b, `\u%04x`, r)
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		default:
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}

func TestMeasureTokens(t *testing.T) {
	for body, want := range map[string]int32{
		``:                             0,
		`{"messages":"three words"}`:   0,
		`{"input":"three more words"}`: 3,
		`{"prompt":"one"}`:             1,
		`{"instructions":"a b","input":[{"role":"user","content":[{"type":"input_text","text":"c d"}]}]}`:                               4,
		`{"system":[{"type":"text","text":"a b"}],"messages":[{"content":"c"},{"content":[{"type":"tool_result","content":"d e"}]}]}`:   5,
		`{"messages":[{"content":"a","reasoning_content":"b c d","tool_calls":[{"function":{"arguments":"{\"x\":1}"}}]}],"tools":[{}]}`: 1,
		`{"truncation":"auto","input":"a b"}`:                          0,
		`{"truncation":"disabled","input":"a b"}`:                      2,
		`{"transforms":["middle-out"],"messages":[{"content":"a b"}]}`: 0,
	} {
		if got := MeasureTokens([]byte(body)); got != want {
			t.Errorf("MeasureTokens(%s) = %d, want %d", body, got, want)
		}
		if p := Parse([]byte(body)); want > p.TextBytes {
			t.Errorf("Parse(%s): %d bytes of text, and at least %d tokens", body, p.TextBytes, want)
		}
	}
}
