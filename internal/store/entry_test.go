package store

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater/internal/wire"
)

const (
	whole  = `{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"total_tokens":3}}`
	events = `data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":"hi"}}]}` + "\n\n" +
		`data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	usage = `data: {"id":"1","choices":[],"usage":{"total_tokens":3}}` + "\n\n"
	done  = "data: [DONE]\n\n"
)

// testKey has the length of a key.
var testKey = strings.Repeat("7", 64)

// An entry comes back from a Store as it was, and from nothing else.
func TestEntry_Codec(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	e := &Entry{Stored: now.Add(-time.Hour), Header: http.Header{"X-Request-Id": {"7", "8"}}, Endpoint: "a", Asked: StreamWithUsage, Streamed: true, Usage: true, Body: []byte("one\ntwo\x00")}
	stored := e.Encode(testKey)
	got, err := Decode(testKey, stored, now)
	if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", e) {
		t.Fatalf("Decode(Encode(e)) = %+v, %v, want %+v", got, err, e)
	}
	seal := func(rest string) []byte { // with a right checksum
		sum := checksum(testKey, []byte(rest))
		return append(append([]byte(entryFormat), sum[:]...), rest...)
	}
	lies := map[string][]byte{
		"nothing":         nil,
		"empty":           {},
		"text":            []byte("hello"),
		"another version": append([]byte("breakwater 2\n"), stored[len(entryFormat):]...),
		"format alone":    []byte(entryFormat),
		"trailing byte":   append(bytes.Clone(stored), 0),
		"twice":           append(bytes.Clone(stored), stored...),
		"null":            seal("null\n"),
		"no header":       seal("{}\n" + whole),
		"no metadata":     seal(whole),
		"another key's":   e.Encode(strings.Repeat("0", len(testKey))),
		"from tomorrow":   (&Entry{Stored: now.Add(24 * time.Hour), Header: e.Header, Body: e.Body}).Encode(testKey),
	}
	for i := range stored {
		lies[fmt.Sprintf("cut at %d", i)] = stored[:i]
		flipped := bytes.Clone(stored)
		flipped[i] ^= 1
		lies[fmt.Sprintf("bit flipped at %d", i)] = flipped
	}
	for name, lie := range lies {
		if got, err := Decode(testKey, lie, now); err != errCorrupt || got != nil {
			t.Errorf("%s: Decode() = %+v, %v, want %v", name, got, err, errCorrupt)
		}
	}
	soon := &Entry{Stored: now.Add(maxSkew), Header: e.Header}
	if got, err := Decode(testKey, soon.Encode(testKey), now); err != nil || got.Age(now) != 0 || got.Age(now.Add(time.Second)) != time.Second {
		t.Errorf("by a clock that is %v ahead: Decode() = %+v, %v, want an entry stored now", maxSkew, got, err)
	}
}

func TestEntry_Size(t *testing.T) {
	small := &Entry{Body: []byte("x")}
	large := &Entry{Body: make([]byte, 1000), Header: http.Header{"A": {"b", strings.Repeat("c", 100)}}, Endpoint: "endpoint"}
	if s, l := small.Size(), large.Size(); s < 1 || l-s < 1000+100+8 {
		t.Errorf("Size() = %d and %d, want their parts at least", s, l)
	}
	if age := (&Entry{Stored: time.Unix(100, 0)}).Age(time.Unix(50, 0)); age != 0 {
		t.Errorf("the age of what is from the future is %v, want 0", age)
	}
}

// An answer is given in each format that can be made of it.
func TestEntry_As(t *testing.T) {
	const (
		no     = "" // nobody whose form is unclear gets what was asked for otherwise
		asCame = "as it came"
		events = "events"
		json   = "JSON"
	)
	asked := []Format{JSON, Stream, StreamWithUsage, Unclear}
	for _, tt := range []struct {
		name     string
		entry    Entry
		standsIn bool
		want     [4]string // by the format wanted
	}{
		{"JSON", Entry{Asked: JSON, Body: []byte(whole), Usage: true}, false, [4]string{asCame, events, events, asCame}},
		{"JSON, asked for as a stream", Entry{Asked: Stream, Body: []byte(whole)}, false, [4]string{asCame, events, events, asCame}},
		{"a stream without usage", Entry{Asked: Stream, Streamed: true, Body: []byte(streamed(false))}, false, [4]string{no, asCame, no, no}},
		{"the same, in the place of a failure", Entry{Asked: Stream, Streamed: true, Body: []byte(streamed(false))}, true, [4]string{json, asCame, events, no}},
		{"a stream with usage", Entry{Asked: StreamWithUsage, Streamed: true, Usage: true, Body: []byte(streamed(true))}, false, [4]string{json, "without usage", asCame, no}},
		{"a stream that says its usage unasked", Entry{Asked: Stream, Streamed: true, Usage: true, Body: []byte(streamed(true))}, false, [4]string{json, asCame, events, no}},
		{"a stream, asked for unclearly", Entry{Asked: Unclear, Streamed: true, Usage: true, Body: []byte(streamed(true))}, false, [4]string{json, "without usage", events, asCame}},
		{"what is not whole", Entry{Asked: Stream, Streamed: true, Usage: true, Body: []byte("data: {\n\n")}, false, [4]string{no, asCame, events, no}},
		{"text", Entry{Asked: JSON, Body: []byte("hello")}, false, [4]string{asCame, no, no, asCame}},
	} {
		for i, f := range asked {
			body, ok := tt.entry.As(f, wire.Chat, tt.standsIn)
			got := no
			switch {
			case !ok:
			case f == tt.entry.Asked && bytes.Equal(body, tt.entry.Body):
				got = asCame
			case !tt.entry.Streamed && bytes.Equal(body, tt.entry.Body):
				got = asCame
			case tt.entry.Streamed && string(body) == streamed(false) && tt.entry.Usage:
				got = "without usage"
			case bytes.HasPrefix(body, []byte("data:")):
				got = events
			default:
				got = json
			}
			if got != tt.want[i] {
				t.Errorf("%s, wanted as %d: got %q (%s), want %q", tt.name, f, got, body, tt.want[i])
			}
			if stream := f.IsStream(tt.entry.Streamed); ok && stream != bytes.HasPrefix(body, []byte("data:")) {
				t.Errorf("%s, wanted as %d: IsStream = %v of %q", tt.name, f, stream, body)
			}
		}
	}
}

func streamed(withUsage bool) string {
	if withUsage {
		return events + usage + done
	}
	return events + done
}

// An answer is worth keeping only if it has what was asked for.
func TestSound(t *testing.T) {
	tool := func(arguments string) string {
		return `{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"` +
			arguments + `"}}]},"finish_reason":"tool_calls"}],"usage":{"total_tokens":3}}`
	}
	toolEvents := func(first, second string) string {
		return `data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"` + first + `"}}]}}]}` + "\n\n" +
			`data: {"id":"1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"` + second + `"}}]}}]}` + "\n\n" +
			`data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}` + "\n\n" + done
	}
	for _, tt := range []struct {
		name     string
		wire     wire.Wire
		inputs   int
		body     string
		streamed bool
		want     bool
	}{
		{"text", wire.Chat, 1, whole, false, true},
		{"a stream of text", wire.Chat, 1, streamed(true), true, true},
		{"a vector for each input", wire.Embeddings, 2, `{"data":[{},{}]}`, false, true},
		{"a vector too few", wire.Embeddings, 2, `{"data":[{}]}`, false, false},
		{"no vectors", wire.Embeddings, 1, `{}`, false, false},
		{"a tool call", wire.Chat, 1, tool(`{\"a\":1}`), false, true},
		{"one without arguments", wire.Chat, 1, tool(``), false, true},
		{"one that is cut off", wire.Chat, 1, tool(`{\"a\":`), false, false},
		{"a function call", wire.Chat, 1, `{"choices":[{"message":{"function_call":{"name":"f","arguments":"{}"}}}]}`, false, true},
		{"one that is cut off", wire.Chat, 1, `{"choices":[{"message":{"function_call":{"name":"f","arguments":"{"}}}]}`, false, false},
		{"a streamed tool call", wire.Chat, 1, toolEvents(`{\"a`, `\":1}`), true, true},
		{"one that is cut off", wire.Chat, 1, toolEvents(`{\"a`, `\":`), true, false},
		{"one in a stream that cannot be read", wire.Chat, 1, `data: {"arguments"` + "\n\n", true, false},
		{"a response's tool call", wire.Responses, 1, `{"output":[{"type":"function_call","arguments":"{}"}]}`, false, true},
		{"one that is cut off", wire.Responses, 1, `{"output":[{"type":"function_call","arguments":"{"}]}`, false, false},
		{"blanks only", wire.Chat, 0, `{"choices":[{"index":0,"message":{"role":"assistant","content":" \n\t"},"finish_reason":"stop"}]}`, false, false},
		{"nothing", wire.Chat, 0, `{"choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"stop"}]}`, false, false},
		{"reasoning only", wire.Chat, 0, `{"choices":[{"index":0,"message":{"role":"assistant","content":"","reasoning_content":"hm"},"finish_reason":"stop"}]}`, false, false},
		{"a refusal", wire.Chat, 0, `{"choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":"no"},"finish_reason":"stop"}]}`, false, true},
		{"the second choice says something", wire.Chat, 0, `{"choices":[{"index":0,"message":{"content":""}},{"index":1,"message":{"content":"a"}}]}`, false, true},
		{"a stream of blanks", wire.Chat, 0, "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\" \\n\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", true, false},
		{"a stream with text behind blanks", wire.Chat, 0, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" \"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n", true, true},
		{"a FIM completion of blanks", wire.Chat, 0, `{"choices":[{"index":0,"text":"\n","finish_reason":"stop"}]}`, false, false},
		{"a response without output", wire.Responses, 0, `{"status":"completed","output":[]}`, false, false},
		{"a response of blanks", wire.Responses, 0, `{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":" "}]}]}`, false, false},
		{"a response that only reasons", wire.Responses, 0, `{"status":"completed","output":[{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}]}]}`, false, false},
		{"a response with a call", wire.Responses, 0, `{"status":"completed","output":[{"type":"function_call","name":"f","arguments":""}]}`, false, true},
		{"a response with text", wire.Responses, 0, `{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"a"}]}]}`, false, true},
		{"a streamed response", wire.Responses, 0, "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n", true, true},
		{"a streamed response that only reasons", wire.Responses, 0, "data: {\"type\":\"response.reasoning_summary_text.delta\",\"delta\":\"a\"}\n\n", true, false},
		{"a message of blanks", wire.Messages, 0, `{"type":"message","content":[{"type":"text","text":"\n"}]}`, false, false},
		{"a message that only thinks", wire.Messages, 0, `{"type":"message","content":[{"type":"thinking","thinking":"hm","signature":"s"}]}`, false, false},
		{"a message with a tool call", wire.Messages, 0, `{"type":"message","content":[{"type":"tool_use","id":"t","name":"f","input":{}}]}`, false, true},
		{"a streamed message", wire.Messages, 0, "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n", true, true},
	} {
		if got := Sound(tt.wire, tt.inputs, []byte(tt.body), tt.streamed); got != tt.want {
			t.Errorf("%s: Sound(%s) = %v, want %v", tt.name, tt.body, got, tt.want)
		}
	}
}

// Parts that stand deep are not looked into, because each level would be read once for each
// level above it.
func TestSound_Depth(t *testing.T) {
	for depth, want := range map[int]bool{1: false, maxDepth - 1: false, maxDepth: true, 990: true} {
		for name, deep := range map[string]string{
			"objects": strings.Repeat(`{"type":"x","a":`, depth) + `" "` + strings.Repeat("}", depth),
			"arrays":  strings.Repeat("[", depth) + `" "` + strings.Repeat("]", depth),
		} {
			body := `{"choices":[{"message":` + deep + `}]}`
			if got := Sound(wire.Chat, 0, []byte(body), false); got != want {
				t.Errorf("%d %s deep: Sound() = %v, want %v", depth, name, got, want)
			}
		}
	}
}
