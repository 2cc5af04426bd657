package recast

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/test/growth"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// dataOf returns a stream of events that have data alone.
func dataOf(events ...string) string {
	return "data: " + strings.Join(events, "\n\ndata: ") + "\n\n"
}

// namedOf returns a stream of events that are named by their type.
func namedOf(events ...string) string {
	var b strings.Builder
	for _, data := range events {
		name, _, _ := strings.Cut(strings.TrimPrefix(data, `{"type":"`), `"`)
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", name, data)
	}
	return b.String()
}

// A recasting is what becomes of an answer; want "" means that it is refused.
type recasting struct{ name, in, want string }

func testToJSON(t *testing.T, w wire.Wire, tests []recasting) {
	t.Helper()
	for _, tt := range tests {
		got, ok := ToJSON(w, []byte(tt.in))
		if ok != (tt.want != "") || string(got) != tt.want && ok {
			t.Errorf("%s: ToJSON(%s) = %s, %v, want %s", tt.name, tt.in, got, ok, tt.want)
		}
	}
}

func testToStream(t *testing.T, w wire.Wire, tests []recasting) {
	t.Helper()
	for _, tt := range tests {
		got, ok := ToStream(w, []byte(tt.in))
		if ok != (tt.want != "") || string(got) != tt.want && ok {
			t.Errorf("%s: ToStream(%s) = %s, %v, want %s", tt.name, tt.in, got, ok, tt.want)
		}
	}
}

// whole is an answer of each wire, and the same streamed.
var whole = map[wire.Wire]struct{ json, stream string }{
	wire.Chat: {
		`{"choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}`,
		dataOf(`{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}`, "[DONE]"),
	},
	wire.Messages: {
		`{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}`,
		namedOf(`{"type":"message_start","message":{"type":"message","content":[],"stop_reason":null}}`,
			`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hi"}}`,
			`{"type":"content_block_stop","index":0}`,
			`{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`, `{"type":"message_stop"}`),
	},
	wire.Responses: {
		`{"status":"completed","output":[]}`,
		namedOf(`{"type":"response.completed","response":{"status":"completed","output":[]}}`),
	},
}

// What holds on every wire: the stream that all is well with is taken, the
// same with something wrong in it is not.
func TestRefused(t *testing.T) {
	for w, answer := range whole {
		if _, ok := ToJSON(w, []byte(answer.stream)); !ok {
			t.Errorf("wire %d: ToJSON(%s) is refused, want it taken", w, answer.stream)
		}
		if _, ok := ToStream(w, []byte(answer.json)); !ok {
			t.Errorf("wire %d: ToStream(%s) is refused, want it taken", w, answer.json)
		}
		deep := strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20)
		for _, tt := range []struct{ name, in string }{
			{"nothing", ""},
			{"an error", dataOf(`{"error":{"message":"busy"}}`) + answer.stream},
			{"a named error", "event: error\ndata: {}\n\n" + answer.stream},
			{"no JSON", dataOf(`{"choices":`) + answer.stream},
			{"brackets without end", dataOf(`{"a":`+deep+`}`) + answer.stream},
		} {
			if got, ok := ToJSON(w, []byte(tt.in)); ok {
				t.Errorf("wire %d: %s: ToJSON = %s, true, want it refused", w, tt.name, got)
			}
		}
		for _, tt := range []struct{ name, in string }{
			{"nothing", ""},
			{"no object", "[" + answer.json + "]"},
			{"no JSON", answer.json[1:]},
			{"an error", `{"error":{"message":"busy"}}`},
			{"no answer", `{}`},
			{"a member twice", `{"a":1,"a":2,` + answer.json[1:]},
			{"brackets without end", `{"a":` + deep + "," + answer.json[1:]},
		} {
			if got, ok := ToStream(w, []byte(tt.in)); ok {
				t.Errorf("wire %d: %s: ToStream = %s, true, want it refused", w, tt.name, got)
			}
		}
	}
	if _, ok := ToJSON(wire.Embeddings, []byte(whole[wire.Chat].stream)); ok {
		t.Error("ToJSON of embeddings = true, want it refused")
	}
	if _, ok := ToStream(wire.Embeddings, []byte(`{"data":[{"embedding":[1]}]}`)); ok {
		t.Error("ToStream of embeddings = true, want it refused")
	}
}

// What is no event is passed over on every wire.
func TestNoEvents(t *testing.T) {
	for w, answer := range whole {
		want, _ := ToJSON(w, []byte(answer.stream))
		in := ": keep-alive\n\n\n\ndata:\n\nid: 7\n\n" + strings.ReplaceAll(answer.stream, "\n", "\r\n")
		if got, ok := ToJSON(w, []byte(in)); !ok || string(got) != string(want) {
			t.Errorf("wire %d: ToJSON(%q) = %s, %v, want %s", w, in, got, ok, want)
		}
	}
}

// Blanks between the tokens of a document must not break the lines of a stream.
func TestLinesOfStream(t *testing.T) {
	for w, answer := range whole {
		in := "\n\n" + strings.NewReplacer("{", "{\r\n", ",", "\n,\r", "}", "\n}").Replace(answer.json) + "\n"
		stream, ok := ToStream(w, []byte(in))
		got, whole := ToJSON(w, stream)
		if !ok || !whole || !equal(w, got, []byte(answer.json)) || bytes.ContainsRune(stream, '\r') {
			t.Errorf("wire %d: ToStream(%q) = %q, of which ToJSON = %s, want %s", w, in, stream, got, answer.json)
		}
	}
}

// The stream of a hostile document must not outgrow it, nor take more time than
// its size allows to say so.
func TestGrowth(t *testing.T) {
	const most = 1 << 15
	long := func(n int) string { return strings.Repeat("iiii", n) }
	parts := func(n int) string { return strings.Repeat(`{},`, n) + "{}" }
	for _, tt := range []struct {
		name string
		wire wire.Wire
		in   func(n int) string
	}{
		{"a long id in each chunk", wire.Chat, func(n int) string {
			return `{"id":"` + long(n) + `","choices":[{"index":0,"message":{"content":"` + long(n) + `"},"finish_reason":"stop"}]}`
		}},
		{"a long id with each part", wire.Responses, func(n int) string {
			return `{"status":"completed","output":[{"type":"message","id":"` + long(n) + `","content":[` + parts(n) + `]}]}`
		}},
		{"many parts", wire.Responses, func(n int) string {
			return `{"status":"completed","output":[{"type":"message","content":[` + parts(n) + `]}]}`
		}},
		{"many items", wire.Responses, func(n int) string { return `{"status":"completed","output":[` + parts(n) + `]}` }},
		{"many blocks", wire.Messages, func(n int) string { return `{"content":[` + parts(n) + `],"stop_reason":"end_turn"}` }},
		{"many tool calls", wire.Chat, func(n int) string {
			return `{"choices":[{"index":0,"message":{"tool_calls":[` + parts(n) + `]},"finish_reason":"stop"}]}`
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			growth.Linear(t, most/64, func(n int) {
				if got, ok := ToStream(tt.wire, []byte(tt.in(n))); ok && n == most {
					t.Errorf("ToStream of %d parts = %d bytes, want it refused", n, len(got))
				}
			})
		})
	}
}

// A hostile stream must not take more time to be refused than its size allows.
func TestNames(t *testing.T) {
	const most = 1 << 15
	names := func(n int) string {
		var names strings.Builder
		for i := range n {
			fmt.Fprintf(&names, `"n%d":0,`, i)
		}
		return names.String()
	}
	for _, tt := range []struct {
		name string
		wire wire.Wire
		in   func(names string) string
	}{
		{"of a completion", wire.Chat, func(names string) string {
			return dataOf(`{` + names + `"choices":[{"delta":{},"finish_reason":"stop"}]}`)
		}},
		{"of a choice", wire.Chat, func(names string) string {
			return dataOf(`{"choices":[{` + names + `"delta":{},"finish_reason":"stop"}]}`)
		}},
		{"of a message", wire.Messages, func(names string) string {
			return strings.Replace(whole[wire.Messages].stream, `"message":{`, `"message":{`+names, 1)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			growth.Linear(t, most/64, func(n int) {
				if got, ok := ToJSON(tt.wire, []byte(tt.in(names(n)))); ok && n == most {
					t.Errorf("ToJSON of %d names = %d bytes, want it refused", n, len(got))
				}
			})
		})
	}
}

func TestDropUsageEvents(t *testing.T) {
	const (
		said  = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n"
		usage = "data: {\"choices\":[ ],\"usage\":{\"total_tokens\":1}}\r\n\r\n"
		alive = ": keep-alive\n\n"
		none  = "data: {\"choices\":[],\"usage\":null,\"prompt_filter_results\":[]}\n\n"
		both  = "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"total_tokens\":1}}\n\n"
		done  = "data: [DONE]\n"
	)
	for _, tt := range []recasting{
		{"an event of its own", said + usage + done, said + done},
		{"all else stays as it is", alive + none + said + alive + usage + "\n" + both + done, alive + none + said + alive + "\n" + both + done},
		{"the last and only one", usage, ""},
		{"no JSON stays as it is", "data: {\"usage\":{},\"choices\":[\n\n" + usage, "data: {\"usage\":{},\"choices\":[\n\n"},
	} {
		in := []byte(tt.in)
		if got := DropUsageEvents(in); string(got) != tt.want {
			t.Errorf("%s: DropUsageEvents(%q) = %q, want %q", tt.name, tt.in, got, tt.want)
		}
		if string(in) != tt.in {
			t.Errorf("%s: DropUsageEvents(%q) changed it to %q", tt.name, tt.in, in)
		}
	}
	in := []byte(alive + none + said + both + done)
	if got := DropUsageEvents(in); &got[0] != &in[0] || len(got) != len(in) {
		t.Errorf("DropUsageEvents(%q) = %q, want the same slice", in, got)
	}
}

func TestPieces(t *testing.T) {
	ascii := func(n int) string { return strings.Repeat("a", n) }
	for _, tt := range []struct {
		name, in string
		want     []int // lengths
	}{
		{"nothing", "", nil},
		{"a full piece", ascii(maxPiece), []int{maxPiece}},
		{"one byte more", ascii(maxPiece + 1), []int{maxPiece, 1}},
		{"three pieces", ascii(2*maxPiece + 5), []int{maxPiece, maxPiece, 5}},
		{"an escape", ascii(maxPiece-1) + `\n`, []int{maxPiece - 1, 2}},
		{"a backslash escaped", ascii(maxPiece-3) + `\\\\n`, []int{maxPiece - 1, 3}},
		{"a code point", ascii(maxPiece-5) + `\u00e9`, []int{maxPiece - 5, 6}},
		{"a pair", ascii(maxPiece-6) + `\uD83d\udE00`, []int{maxPiece - 6, 12}},
		{"two first halves", ascii(maxPiece-6) + `\ud83d\ud83d`, []int{maxPiece, 6}},
		{"two last halves", ascii(maxPiece-6) + `\ude00\ude00`, []int{maxPiece, 6}},
		{"half a pair and a letter", ascii(maxPiece-6) + `\ud83da`, []int{maxPiece, 1}},
		{"UTF-8", ascii(maxPiece-2) + "港", []int{maxPiece - 2, 3}},
		{"no UTF-8", ascii(maxPiece-1) + "\xe6\xb8", []int{maxPiece, 1}},
	} {
		var got []int
		joined := ""
		for piece := range pieces(`"` + tt.in + `"`) {
			got = append(got, len(piece))
			joined += piece
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) || joined != tt.in {
			t.Errorf("%s: pieces are of %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Long texts of every kind come in lines that any client can read.
func TestLongTexts(t *testing.T) {
	long := strings.Repeat(`港\ud83d\ude00\"`, 10_000)
	for _, tt := range []struct {
		name string
		wire wire.Wire
		in   string
		ends bool // with events that hold texts whole
	}{
		{"content", wire.Chat, `{"choices":[{"index":0,"message":{"content":"` + long + `"},"finish_reason":"stop"}]}`, false},
		{"reasoning", wire.Chat, `{"choices":[{"index":0,"message":{"reasoning":"` + long + `"},"finish_reason":"stop"}]}`, false},
		{"arguments", wire.Chat, `{"choices":[{"index":0,"message":{"tool_calls":[{"function":{"arguments":"` + long + `"}}]},"finish_reason":"tool_calls"}]}`, false},
		{"text", wire.Chat, `{"choices":[{"index":0,"text":"` + long + `","finish_reason":"stop"}]}`, false},
		{"text of a message", wire.Messages, `{"content":[{"type":"text","text":"` + long + `"}],"stop_reason":"end_turn"}`, false},
		{"thinking", wire.Messages, `{"content":[{"type":"thinking","thinking":"` + long + `"}],"stop_reason":"end_turn"}`, false},
		{"input", wire.Messages, `{"content":[{"type":"tool_use","input":{"a":"` + long + `"}}],"stop_reason":"tool_use"}`, false},
		{"text of a response", wire.Responses, `{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"` + long + `"}]}]}`, true},
	} {
		stream, ok := ToStream(tt.wire, []byte(tt.in))
		if back, whole := ToJSON(tt.wire, stream); !ok || !whole || !equal(tt.wire, back, []byte(tt.in)) {
			t.Errorf("%s: ToJSON(ToStream(%.80s…)) = %.80s…, %v, want the same", tt.name, tt.in, back, whole)
		}
		deltas := 0
		for line := range strings.Lines(string(stream)) {
			if strings.Contains(line, `delta":`) || !tt.ends {
				deltas++
				if len(line) > maxPiece+1000 {
					t.Errorf("%s: a line of %d bytes, want %d at most", tt.name, len(line), maxPiece+1000)
				}
			}
		}
		if least := len(long) / maxPiece; deltas < least {
			t.Errorf("%s: %d lines, want %d at least", tt.name, deltas, least)
		}
	}
}

// eachEvent calls f with the data of each event.
func eachEvent(t testing.TB, stream []byte, f func(data []byte)) {
	t.Helper()
	s := sse.New(len(stream), false)
	from := bytes.NewReader(stream)
	for {
		event, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if event != nil {
			f(event.Data)
		} else if _, err := s.Fill(from); err != nil {
			return
		}
	}
}

// mustBeWhole checks that a stream of ours is read as one that is complete, and
// that each event is named by its type on the wires where events have names.
func mustBeWhole(t testing.TB, w wire.Wire, stream []byte) {
	t.Helper()
	answer := wire.Answer{Wire: w}
	signal := wire.Nothing
	eachEvent(t, stream, func(data []byte) {
		if signal == wire.Done {
			t.Errorf("wire %d: %s behind the end of %s", w, data, stream)
		}
		if signal = answer.Event(data); signal >= wire.Malformed {
			t.Errorf("wire %d: Event(%s) = %v in %s", w, data, signal, stream)
		}
	})
	if signal != wire.Done || !answer.Finished() {
		t.Errorf("wire %d: at the end Event = %v, Finished = %v, want Done, true, of %s", w, signal, answer.Finished(), stream)
	}
}

func BenchmarkToJSON(b *testing.B) {
	for _, bb := range benchmarks() {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(bb.stream)))
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := ToJSON(bb.wire, bb.stream); !ok {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkToStream(b *testing.B) {
	for _, bb := range benchmarks() {
		text, ok := ToJSON(bb.wire, bb.stream)
		if !ok {
			b.Fatal("refused")
		}
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := ToStream(bb.wire, text); !ok {
					b.Fatal("refused")
				}
			}
		})
	}
}

type benchmark struct {
	name   string
	wire   wire.Wire
	stream []byte
}

// benchmarks are streams of 2 MB, those of chat and messages in 10,000 events.
func benchmarks() []benchmark {
	var chat, messages []string
	for range 10_000 {
		chat = append(chat, `{"id":"8d4f0c9e-5b1a-4b8e-9a57-2f1f0d0a7c11","object":"chat.completion.chunk","created":1760000000,"model":"deepseek-flash","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"a few \"words\" "},"logprobs":null,"finish_reason":null}]}`)
		messages = append(messages, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"`+strings.Repeat("a few \\\"words\\\" ", 7)+`"}}`)
	}
	chat = append(chat, `{"id":"8d4f0c9e-5b1a-4b8e-9a57-2f1f0d0a7c11","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"total_tokens":10000}}`, "[DONE]")
	message := `{"type":"message_start","message":{"type":"message","role":"assistant","content":[],"stop_reason":null}}`
	begin := `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`
	messages = append(append([]string{message, begin}, messages...), `{"type":"content_block_stop","index":0}`,
		`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":10000}}`, `{"type":"message_stop"}`)
	text := strings.Repeat(`a few \"words\" `, 25_000)
	response, _ := ToStream(wire.Responses, []byte(`{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"`+text+`"}]}]}`))
	return []benchmark{
		{"chat", wire.Chat, []byte(dataOf(chat...))},
		{"messages", wire.Messages, []byte(namedOf(messages...))},
		{"responses", wire.Responses, response},
	}
}

func TestTrimUsage(t *testing.T) {
	for _, tt := range []recasting{
		{"a usage alone", "data: {\"choices\":[],\"usage\":{\"total_tokens\":1}}\n\n", ""},
		{"with line ends of another kind", "data:{\"choices\":[ ],\"usage\":{\"total_tokens\":1}}\r\n\r\n", ""},
		{"with an id", "id: 7\ndata: {\"choices\":[],\"usage\":{\"total_tokens\":1}}\n\n", ""},
		{"a null at the end", "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n", "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"},
		{"a null at the front", "data: {\"usage\":null,\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"},
		{"a null between", "data: {\"id\":1, \"usage\" : null , \"choices\":[]}\n\n", "data: {\"id\":1, \"choices\":[]}\n\n"},
		{"a null and nothing else", "data: {\"usage\":null}\n\n", "data: {}\n\n"},
		{"a usage beside a choice", "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"total_tokens\":1}}\n\n", "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"total_tokens\":1}}\n\n"},
		{"a null in a choice", "data: {\"choices\":[{\"usage\":null}]}\n\n", "data: {\"choices\":[{\"usage\":null}]}\n\n"},
		{"a word", "data: {\"choices\":[{\"delta\":{\"content\":\"say \\\"usage\\\":null\"}}]}\n\n", "data: {\"choices\":[{\"delta\":{\"content\":\"say \\\"usage\\\":null\"}}]}\n\n"},
		{"no choices", "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n", "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n"},
		{"something behind it", "data: {\"choices\":[],\"usage\":{\"total_tokens\":1}}{\"choices\":[]}\n\n", "data: {\"choices\":[],\"usage\":{\"total_tokens\":1}}{\"choices\":[]}\n\n"},
		{"no JSON", "data: {\"usage\":null,\n\n", "data: {\"usage\":null,\n\n"},
		{"a comment", ": \"usage\"\n\n", ": \"usage\"\n\n"},
		{"the end", "data: [DONE]\n\n", "data: [DONE]\n\n"},
	} {
		behind := []byte(tt.in + "data: next\n\n")
		if got := TrimUsage(behind[:len(tt.in)]); string(got) != tt.want {
			t.Errorf("%s: TrimUsage(%q) = %q, want %q", tt.name, tt.in, got, tt.want)
		}
		if next := string(behind[len(tt.in):]); next != "data: next\n\n" {
			t.Errorf("%s: what follows became %q", tt.name, next)
		}
	}
}
