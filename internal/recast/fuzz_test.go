package recast

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// equal reports whether two documents say the same, numbers to the digit.
func equal(w wire.Wire, a, b []byte) bool {
	return reflect.DeepEqual(decoded(w, a), decoded(w, b))
}

func decoded(w wire.Wire, text []byte) any {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err
	}
	top, _ := v.(map[string]any)
	switch w {
	case wire.Chat:
		delete(top, "object")
		delete(top, "obfuscation")
		choices, _ := top["choices"].([]any)
		for _, choice := range choices {
			plain(choice)
		}
	case wire.Messages:
		content, _ := top["content"].([]any)
		for _, block := range content {
			if b, _ := block.(map[string]any); b["input"] == nil {
				delete(b, "input")
			}
		}
	}
	return v
}

// plain puts in what goes without saying of a choice, and takes out what only
// streams have.
func plain(choice any) {
	c, _ := choice.(map[string]any)
	if c == nil {
		return
	}
	if _, ok := c["index"]; !ok {
		c["index"] = json.Number("0")
	}
	m, _ := c["message"].(map[string]any)
	if m == nil {
		return
	}
	if m["role"] == nil || m["role"] == "" {
		m["role"] = "assistant"
	}
	if _, ok := m["content"]; !ok {
		m["content"] = nil
	}
	calls, _ := m["tool_calls"].([]any)
	for _, call := range calls {
		if c, ok := call.(map[string]any); ok {
			delete(c, "index")
		}
	}
}

// A composer makes up answers.
type composer struct{ *rand.Rand }

func (c composer) one(of ...string) string { return of[c.IntN(len(of))] }

func (c composer) text() string {
	var b strings.Builder
	for range c.IntN(6) {
		b.WriteString(c.one("a", "harbour ", `\"`, `\\`, `\n`, `\u00e9`, `\ud83d\ude00`, `\ud83d`, `\/`, "港", "😀", " ", strings.Repeat("deep ", 1500)))
	}
	return `"` + b.String() + `"`
}

func (c composer) number() string {
	return c.one("0", "1.0", "-7", "1e5", "12345678901234567890", "0.30000000000000004")
}

// any returns a value of any type.
func (c composer) any(depth int) string {
	switch n := c.IntN(8); {
	case n < 2:
		return c.text()
	case n < 4:
		return c.number()
	case n == 4 && depth > 0:
		return c.list(3, func() string { return c.any(depth - 1) })
	case n == 5 && depth > 0:
		return c.object("x", c.any(depth-1), "y", c.any(depth-1))
	}
	return c.one("null", "true", "false")
}

func (c composer) list(most int, of func() string) string {
	var all []string
	for range c.IntN(most + 1) {
		all = append(all, of())
	}
	return "[" + strings.Join(all, ",") + "]"
}

// object returns one with some of the members given; a name that begins with !
// is always there.
func (c composer) object(members ...string) string {
	var all []string
	for i := 0; i < len(members); i += 2 {
		name, needed := strings.CutPrefix(members[i], "!")
		if needed || c.IntN(3) > 0 {
			all = append(all, `"`+name+`":`+members[i+1])
		}
	}
	c.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return "{" + strings.Join(all, c.one(",", " ,\n")) + "}"
}

func (c composer) answer(w wire.Wire) string {
	switch w {
	case wire.Messages:
		return c.message()
	case wire.Responses:
		return c.response()
	}
	return c.completion()
}

func (c composer) completion() string {
	isText := c.IntN(3) == 0
	var choices []string
	for i := range 1 + c.IntN(3) {
		said := []string{"!message", c.chatMessage()}
		if isText {
			said = []string{"!text", c.text()}
		}
		choices = append(choices, c.object(append(said, "!index", fmt.Sprint(i), "!finish_reason", c.one(`"stop"`, `"length"`, `"content_filter"`),
			"logprobs", c.one("null", `{"content":[{"token":"a","logprob":-1.0}],"refusal":null}`, `{"tokens":["a","b"],"token_logprobs":[-0.5,-1],"text_offset":[0,1]}`),
			"stop_reason", c.any(1), "token_ids", "[1,2]")...))
	}
	return c.object("id", c.text(), "object", `"chat.completion"`, "created", c.number(), "model", `"m"`, "system_fingerprint", c.one("null", `"fp"`),
		"!choices", "["+strings.Join(choices, ",")+"]", "usage", c.one("null", `{"prompt_tokens":7,"cost":1.0}`), "service_tier", c.any(2), `\u0065xtra`, c.any(2))
}

func (c composer) chatMessage() string {
	call := func() string {
		function := c.object("name", c.text(), "arguments", c.text(), "x", c.any(1))
		return c.object("id", c.text(), "type", `"function"`, "!function", function, "x", c.any(1))
	}
	return c.object("role", `"assistant"`, "content", c.one("null", c.text(), c.text()), "reasoning_content", c.one("null", c.text()),
		"reasoning", c.text(), "refusal", c.one("null", c.text()), "tool_calls", c.one("null", c.list(3, call), c.list(3, call)),
		"annotations", c.list(2, func() string { return c.any(2) }), "audio", c.one("null", `{"id":"a","data":"b"}`), "x", c.any(2))
}

func (c composer) message() string {
	block := func() string {
		switch c.IntN(4) {
		case 0:
			return c.object("!type", `"thinking"`, "!thinking", c.text(), "signature", c.text(), "x", c.any(1))
		case 1:
			return c.object("!type", c.one(`"tool_use"`, `"server_tool_use"`), "id", c.text(), "name", c.text(), "!input", c.object("x", c.any(2), "y", c.any(2)))
		case 2:
			return c.object("!type", `"web_search_tool_result"`, "content", c.any(2), "x", c.any(1))
		}
		return c.object("!type", `"text"`, "!text", c.text(), "citations", c.one("null", c.list(3, func() string { return c.any(1) })), "x", c.any(1))
	}
	return c.object("id", c.text(), "type", `"message"`, "role", `"assistant"`, "model", `"m"`, "!content", c.list(4, block),
		"!stop_reason", c.one(`"end_turn"`, `"max_tokens"`), "stop_sequence", c.one("null", c.text()),
		"usage", c.one("null", `{"input_tokens":7,"output_tokens":1.0,"server_tool_use":{"web_search_requests":1}}`), "container", c.any(2))
}

func (c composer) response() string {
	part := func() string {
		return c.object("!type", c.one(`"output_text"`, `"refusal"`, `"reasoning_text"`, `"summary_text"`, `"x"`), "text", c.text(), "refusal", c.text(),
			"annotations", c.list(2, func() string { return c.any(1) }), "logprobs", "[]", "x", c.any(1))
	}
	item := func() string {
		return c.object("!type", c.one(`"message"`, `"reasoning"`, `"function_call"`, `"web_search_call"`), "id", c.text(), "status", `"completed"`,
			"content", c.list(3, part), "summary", c.list(2, part), "!arguments", c.text(), "name", c.text(), "x", c.any(1))
	}
	return c.object("id", c.text(), "object", `"response"`, "!status", c.one(`"completed"`, `"incomplete"`), "!output", c.list(4, item),
		"error", "null", "incomplete_details", c.one("null", `{"reason":"max_output_tokens"}`), "usage", `{"input_tokens":1.0}`, "x", c.any(2))
}

// An answer that was streamed and put together again is the answer.
func TestThereAndBack(t *testing.T) {
	c := composer{rand.New(rand.NewPCG(1, 2))}
	for range 200 {
		for w := range whole {
			in := c.answer(w)
			stream, ok := ToStream(w, []byte(in))
			if !ok {
				t.Fatalf("wire %d: ToStream(%s) is refused, want it taken", w, in)
			}
			mustBeWhole(t, w, stream)
			if got, ok := ToJSON(w, stream); !ok || !equal(w, got, []byte(in)) {
				t.Fatalf("wire %d: ToJSON(ToStream(%s)) = %s, %v, want the same; the stream is %s", w, in, got, ok, stream)
			}
		}
	}
}

// FuzzRecast reads what comes as an answer of each wire in both forms. What is
// taken is complete, and still the same there and back.
func FuzzRecast(f *testing.F) {
	c := composer{rand.New(rand.NewPCG(3, 4))}
	for range 40 {
		for w := range whole {
			text := []byte(c.answer(w))
			if len(text) > 4<<10 {
				continue
			}
			f.Add(text)
			if stream, ok := ToStream(w, text); ok {
				f.Add(stream)
			}
		}
	}
	for _, tests := range [][]recasting{chatToJSON, chatToStream, messagesToJSON, messagesToStream, responsesToJSON, responsesToStream} {
		for _, tt := range tests {
			f.Add([]byte(tt.in))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for w := wire.Chat; w <= wire.Embeddings; w++ {
			if text, ok := ToJSON(w, data); ok {
				thereAndBack(t, w, text)
			}
			thereAndBack(t, w, data)
		}
		DropUsageEvents(data)
	})
}

func thereAndBack(t *testing.T, w wire.Wire, text []byte) {
	stream, ok := ToStream(w, text)
	if !ok {
		return
	}
	mustBeWhole(t, w, stream)
	got, ok := ToJSON(w, stream)
	if !ok {
		t.Fatalf("wire %d: ToJSON(ToStream(%s)) is refused, want it taken; the stream is %s", w, text, stream)
	}
	if answer := (wire.Answer{Wire: w}); answer.Text(got) >= wire.Malformed || !answer.Ended() {
		t.Fatalf("wire %d: ToJSON(ToStream(%s)) = %s, which is not whole", w, text, got)
	}
	// encoding/json takes names apart by bytes for one if they are no UTF-8.
	if utf8.Valid(text) && !equal(w, got, text) {
		t.Fatalf("wire %d: ToJSON(ToStream(%s)) = %s, want the same; the stream is %s", w, text, got, stream)
	}
}
