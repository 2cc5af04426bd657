package wire

import (
	"strings"
	"testing"
)

// Events as the hosts send them, most of a stream's by their number.
var benchEvents = []struct {
	name string
	wire Wire
	data string
}{
	{"content", Chat, `{"id":"2e6c8ad5-4a4f-4b0e-8f0a-5d5dd1a1d1b2","object":"chat.completion.chunk","created":1764000000,"model":"deepseek-flash","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"wa\n\"ve"},"logprobs":null,"finish_reason":null}]}`},
	{"reasoning", Chat, `{"id":"2e6c8ad5-4a4f-4b0e-8f0a-5d5dd1a1d1b2","object":"chat.completion.chunk","created":1764000000,"model":"deepseek-flash","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":null,"reasoning_content":" so the"},"logprobs":null,"finish_reason":null}]}`},
	{"tool call", Chat, `{"id":"2e6c8ad5-4a4f-4b0e-8f0a-5d5dd1a1d1b2","object":"chat.completion.chunk","created":1764000000,"model":"deepseek-flash","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"city\":"}}]},"logprobs":null,"finish_reason":null}]}`},
	{"Responses delta", Responses, `{"type":"response.output_text.delta","sequence_number":17,"item_id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","output_index":0,"content_index":0,"delta":" wave","logprobs":[]}`},
	{"Messages delta", Messages, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" wave"}}`},
}

func TestEventAllocatesNothing(t *testing.T) {
	for _, tt := range benchEvents {
		a, data := Answer{Wire: tt.wire}, []byte(tt.data)
		if n := testing.AllocsPerRun(100, func() { a.Event(data) }); n != 0 {
			t.Errorf("%s: Event allocates %v times, want 0", tt.name, n)
		}
	}
}

func BenchmarkEvent(b *testing.B) {
	for _, bb := range benchEvents {
		b.Run(bb.name, func(b *testing.B) {
			data := []byte(bb.data)
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				a := Answer{Wire: bb.wire}
				if signal := a.Event(data); signal != Payload {
					b.Fatalf("Event(%s) = %v, want Payload", data, signal)
				}
			}
		})
	}
}

// BenchmarkText is a long answer in one piece, with the line ends and quotes
// of code in it.
func BenchmarkText(b *testing.B) {
	line := `\tfmt.Println(\"the harbour lies behind the breakwater\") // 防波堤后面是港口\n`
	data := []byte(`{"id":"2e6c8ad5","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		strings.Repeat(line, 100<<10/len(line)) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":25000,"total_tokens":25005}}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		var a Answer
		if signal := a.Text(data); signal != Payload {
			b.Fatalf("Text = %v, want Payload", signal)
		}
	}
}
