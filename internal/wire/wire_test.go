package wire

import (
	"fmt"
	"strings"
	"testing"
)

func TestEvent(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		want       Signal
		finished   bool
	}{
		{"role only", `{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"reasoning_content":""},"finish_reason":null}]}`, Nothing, false},
		{"empty delta", `{"choices":[{"index":0,"delta":{}}]}`, Nothing, false},
		{"content", `{"choices":[{"index":0,"delta":{"content":"a"}}]}`, Payload, false},
		{"content behind escapes", `{"choices":[{"index":0,"delta":{"role":"as\"sis\\","content":"\n"}}]}`, Payload, false},
		{"reasoning", `{"choices":[{"index":0,"delta":{"content":null,"reasoning_content":"hm"}}]}`, Payload, false},
		{"tool call", `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"x"}]}}]}`, Payload, false},
		{"empty list of tool calls, then content", `{"choices":[{"index":0,"delta":{"tool_calls":[ ],"content":"a"}}]}`, Payload, false},
		{"empty list of tool calls", `{"choices":[{"index":0,"delta":{"tool_calls":[]}}]}`, Nothing, false},
		{"finish", `{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}]}`, Nothing, true},
		{"usage only", `{"choices":[],"usage":{"total_tokens":3}}`, Nothing, false},
		{"terminator", `[DONE]`, Done, false},
		{"error object", `{"error":{"message":"x"}}`, Failure, false},
		{"error string", `{"error":"x"}`, Failure, false},
		{"no error", `{"error":null,"choices":[{"index":0,"delta":{"content":"a"}}]}`, Payload, false},
		{"flat error of other words", `{"code":500,"msg":"x"}`, Failure, false},
		{"a reason spelt null", `{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"null"}]}`, Payload, false},
		{"flat error", `{"code":50603,"message":"busy","data":null}`, Failure, false},
		{"a message beside choices is none", `{"code":0,"message":"ok","choices":[{"index":0,"delta":{"content":"a"}}]}`, Payload, false},
		{"out of resources", `{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"insufficient_system_resource"}]}`, OutOfResources, false},
		{"cut", `{"choices":[{"index":0,"delta":{"con`, Malformed, false},
		{"no object", `[1]`, Nothing, false},
		{"empty", ``, Nothing, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a Answer
			if got := a.Event([]byte(tt.data)); got != tt.want || a.Finished() != tt.finished {
				t.Errorf("Event(%s) = %v, finished %v, want %v, %v", tt.data, got, a.Finished(), tt.want, tt.finished)
			}
		})
	}
}

// Events of the wires other than chat, each as the API documents it.
func TestEventOfOtherWires(t *testing.T) {
	const (
		began = `{"type":"response.created","response":{"id":"r","status":"in_progress","output":[],"error":null}}`
		start = `{"type":"message_start","message":{"role":"assistant","content":[],"stop_reason":null,"usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":1}}}`
	)
	for _, tt := range []struct {
		name     string
		wire     Wire
		data     string
		want     Signal
		finished bool
	}{
		{"FIM text", Chat, `{"choices":[{"index":0,"text":"a","finish_reason":null}]}`, Payload, false},
		{"FIM nothing", Chat, `{"choices":[{"index":0,"text":"","finish_reason":null}]}`, Nothing, false},
		{"FIM end", Chat, `{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}`, Nothing, true},
		{"OpenRouter breaks off", Chat, `{"error":{"code":502,"message":"m"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}`, Failure, false},
		{"OpenRouter's choice with an error", Chat, `{"choices":[{"index":0,"error":{"code":502,"message":"m"},"message":{"content":"a"}}]}`, Failure, false},

		{"response created", Responses, began, Nothing, false},
		{"response queued", Responses, `{"type":"response.queued","response":{"status":"queued"}}`, KeepAlive, false},
		{"response item", Responses, `{"type":"response.output_item.added","item":{"type":"message","content":[],"role":"assistant"}}`, Nothing, false},
		{"response part", Responses, `{"type":"response.content_part.added","part":{"type":"output_text","text":""}}`, Nothing, false},
		{"response text", Responses, `{"type":"response.output_text.delta","delta":"a"}`, Payload, false},
		{"response empty text", Responses, `{"type":"response.output_text.delta","delta":""}`, Nothing, false},
		{"response reasoning", Responses, `{"type":"response.reasoning_text.delta","delta":"hm"}`, Payload, false},
		{"response arguments", Responses, `{"type":"response.function_call_arguments.delta","delta":"{"}`, Payload, false},
		{"response refusal", Responses, `{"type":"response.refusal.delta","delta":"no"}`, Payload, false},
		{"response item in one piece", Responses, `{"type":"response.output_item.done","item":{"type":"message","content":[{"type":"output_text","text":"a"}]}}`, Payload, false},
		{"response call in one piece", Responses, `{"type":"response.output_item.done","item":{"type":"function_call","arguments":"{}"}}`, Payload, false},
		{"response completed", Responses, `{"type":"response.completed","response":{"status":"completed","error":null,"output":[]}}`, Done, true},
		{"response incomplete", Responses, `{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}}`, Done, true},
		{"response out of resources", Responses, `{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"insufficient_system_resource"}}}`, OutOfResources, false},
		{"response failed", Responses, `{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"m"}}}`, Failure, false},
		{"response failed without saying why", Responses, `{"type":"response.failed"}`, Failure, false},
		{"response error", Responses, `{"type":"error","code":"server_error","message":"m","param":null}`, Failure, false},
		{"[DONE] ends no response", Responses, `[DONE]`, Nothing, false},
		{"response cut", Responses, `{"type":"response.comp`, Malformed, false},

		{"message start", Messages, start, Nothing, false},
		{"ping", Messages, `{"type":"ping"}`, KeepAlive, false},
		{"text block", Messages, `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, Nothing, false},
		{"thinking block", Messages, `{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}`, Nothing, false},
		{"tool block", Messages, `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"n","input":{}}}`, Payload, false},
		{"text delta", Messages, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}`, Payload, false},
		{"empty delta", Messages, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}`, Nothing, false},
		{"thinking delta", Messages, `{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}`, Payload, false},
		{"arguments delta", Messages, `{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}`, Payload, false},
		{"message delta", Messages, `{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":9}}`, Nothing, true},
		{"message delta without a reason", Messages, `{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":9}}`, Nothing, false},
		{"message out of resources", Messages, `{"type":"message_delta","delta":{"stop_reason":"insufficient_system_resource"}}`, OutOfResources, false},
		{"message stop", Messages, `{"type":"message_stop"}`, Done, false},
		{"message error", Messages, `{"type":"error","error":{"type":"overloaded_error","message":"m"}}`, Failure, false},
		{"message error without a type", Messages, `{"error":{"message":"m"}}`, Failure, false},
		{"message flat error", Messages, `{"code":50603,"message":"m"}`, Failure, false},
		{"[DONE] ends no message", Messages, `[DONE]`, Nothing, false},
		{"an event yet unknown", Messages, `{"type":"content_block_stop","index":0}`, Nothing, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := Answer{Wire: tt.wire}
			if got := a.Event([]byte(tt.data)); got != tt.want || a.Finished() != tt.finished {
				t.Errorf("Event(%s) = %v, finished %v, want %v, %v", tt.data, got, a.Finished(), tt.want, tt.finished)
			}
		})
	}
}

// Whole answers of every wire: is it one, is it complete, may it be given again?
func TestText(t *testing.T) {
	for _, tt := range []struct {
		name                    string
		wire                    Wire
		data                    string
		want                    Signal
		begun, finished, length bool
	}{
		{"chat", Chat, `{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}`, Payload, true, true, false},
		{"chat without a choice", Chat, `{"choices":[]}`, Malformed, false, false, false},
		{"chat of some other kind", Chat, `{"object":"new"}`, Nothing, false, false, false},
		{"FIM", Chat, `{"object":"text_completion","choices":[{"index":0,"text":"a","finish_reason":"length"}]}`, Payload, true, true, true},
		{"response", Responses, `{"object":"response","status":"completed","error":null,"output":[{"type":"message"}]}`, Payload, true, true, false},
		{"response without room", Responses, `{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[]}`, Nothing, true, true, true},
		{"response out of resources", Responses, `{"status":"incomplete","incomplete_details":{"reason":"insufficient_system_resource"},"output":[]}`, OutOfResources, false, false, false},
		{"response cancelled", Responses, `{"status":"cancelled","output":[]}`, Failure, false, false, false},
		{"response failed", Responses, `{"status":"failed","error":{"code":"server_error","message":"m"},"output":[]}`, Failure, false, false, false},
		{"response in the background", Responses, `{"status":"queued","output":[]}`, Payload, true, false, false},
		{"response with a flat error", Responses, `{"code":50603,"message":"m","data":null}`, Failure, false, false, false},
		{"message", Messages, `{"type":"message","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn"}`, Payload, true, true, false},
		{"message without room", Messages, `{"type":"message","content":[],"stop_reason":"max_tokens"}`, Nothing, true, true, true},
		{"message out of resources", Messages, `{"type":"message","content":[],"stop_reason":"insufficient_system_resource"}`, OutOfResources, true, false, false},
		{"message error", Messages, `{"type":"error","error":{"type":"overloaded_error","message":"m"}}`, Failure, false, false, false},
		{"embeddings", Embeddings, `{"object":"list","data":[{"index":0,"embedding":[0.1]}],"usage":{"prompt_tokens":2,"total_tokens":2}}`, Payload, true, true, false},
		{"embeddings error", Embeddings, `{"error":{"message":"m"}}`, Failure, false, false, false},
		{"embeddings of some other kind", Embeddings, `{}`, Malformed, false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := Answer{Wire: tt.wire}
			got := a.Text([]byte(tt.data))
			if got != tt.want || a.Begun() != tt.begun || a.Finished() != tt.finished || a.Partial != tt.length {
				t.Errorf("Text(%s) = %v, begun %v, finished %v, length %v, want %v, %v, %v, %v", tt.data,
					got, a.Begun(), a.Finished(), a.Partial, tt.want, tt.begun, tt.finished, tt.length)
			}
		})
	}
}

func TestFinishedTakesEveryChoice(t *testing.T) {
	a := Answer{Choices: 2}
	a.Event([]byte(`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`))
	if a.Finished() {
		t.Error("Finished() = true after one choice of two")
	}
	a.Event([]byte(`{"choices":[{"index":1,"delta":{},"finish_reason":"length"}]}`))
	if !a.Finished() || !a.Partial {
		t.Errorf("Finished(), Partial = %v, %v after both, want true, true", a.Finished(), a.Partial)
	}
}

// The terminator of a chat says nothing while some of its choices have ended
// and some have not; and where their number is not known, only it is the end.
func TestTerminator(t *testing.T) {
	one := []byte(`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`)
	other := []byte(`{"choices":[{"index":1,"delta":{"content":"b"}}]}`)
	a := Answer{Choices: 2}
	if got := a.Event([]byte("[DONE]")); got != Done {
		t.Errorf("before any reason the terminator says %v, want %v: hosts leave reasons out", got, Done)
	}
	a.Event(one)
	if got := a.Event([]byte("[DONE]")); got != Done || a.Finished() || !a.Ended() {
		t.Errorf("with one choice of two, whole, the terminator says %v, want %v: hosts give fewer", got, Done)
	}
	a.Event(other)
	if got := a.Event([]byte("[DONE]")); got != Nothing || a.Ended() {
		t.Errorf("with one reason of two choices the terminator says %v, want nothing", got)
	}
	u := Answer{Choices: Unknown}
	u.Event(one)
	if u.Finished() || !u.Ended() || u.Event([]byte("[DONE]")) != Done {
		t.Errorf("of an unknown number of choices one has ended: finished %v, ended %v", u.Finished(), u.Ended())
	}
}

// What hosts write as the index of a choice: each letter of a stream is an event
// of a choice by that index, "." behind it with a reason for its end, "-" without
// a text; what a comma joins comes in one event. The terminator ends it, or not.
func TestIndices(t *testing.T) {
	for _, tt := range []struct {
		name            string
		choices         int
		events          string
		done, ended, is bool // the terminator ends it; whole without one; every choice asked for has ended
	}{
		{"one choice", 1, "0 0 0.", true, true, true},
		{"none is asked for", 0, "0 0.", true, true, true},
		{"chunks are counted", 1, "0 1 2 3.", true, true, true},
		{"chunks are counted, the last without a text", 1, "0 1 2-.", true, true, true},
		{"two chunks", 1, "0 1.", true, true, true},
		{"chunks are counted, and usage follows", 1, "0 1 2. 3-", true, true, true},
		{"chunks are counted from 1", 1, "1 2 3.", true, true, true},
		{"chunks are counted, several choices asked for", 2, "0 1 2 3.", true, true, false},
		{"more chunks than can be told apart", 2, "0 1 200 4000000000.", true, true, false},
		{"chunks are counted, cut", 1, "0 1 2", true, false, false},
		{"chunks are counted, text behind a reason", 1, "0 1. 2", true, false, false},
		{"the only choice is not the first", 1, "1 1 1.", true, true, true},
		{"a text for an index", 2, `"0" "1" "0". "1".`, true, true, true},
		{"a text for an index, one choice cut", 2, `"0" "1" "0".`, false, false, false},
		{"null and -1 are the first", 2, "null -1 0.", true, true, false},
		{"fewer choices than asked for", 3, "0 0.", true, true, false},
		{"two choices of three", 3, "0 1 0. 1.", true, true, false},
		{"one of two cut", 2, "0 1 0.", false, false, false},
		{"the first of two cut", 2, "0 1 1.", false, false, false},
		{"all choices", 2, "0 1 1. 0.", true, true, true},
		{"more indices than choices asked for, text behind a reason", 2, "0 1 0. 1. 2", true, false, false},
		{"pairs of chunks are counted", 1, "0 0 1 1.", true, true, true},
		{"two indices where one choice is asked for", 1, "0 1 0 1.", true, true, true},
		{"two choices where one is asked for, whole", 1, "0 1 0. 1.", true, true, true},
		{"an index comes again behind a reason", 1, "0 1. 0", true, false, false},
		{"choices from 1, one cut", 2, "1 2 2.", false, false, false},
		{"choices from 1, the other cut", 2, "1 2 1.", false, false, false},
		{"choices from 1, of a chunk each, one cut", 2, "1 2.", false, false, false},
		{"choices from 1", 2, "1 2 1. 2.", true, true, true},
		{"three choices of a chunk each, two cut", 3, "0 1 2.", false, false, false},
		{"indices far off", 1, "200 300 200 300.", true, true, true},
		{"indices far off, each with a reason", 1, "200 300 200. 300.", true, true, true},
		{"the last index that can be told apart, and one beyond", 1, "128 127 127.", true, true, true},
		{"the only choice is far off", 1, "200 200 200.", true, true, true},
		{"two choices at once, one cut", 1, "0,1 2.", false, false, false},
		{"nobody knows how many", Unknown, "0 0.", true, true, false},
		{"nobody knows how many, chunks are counted", Unknown, "0 1 2 3.", true, false, false},
		{"nobody knows how many, more chunks than can be told apart", Unknown, "0 1 2 " + counting(3, 300) + "300.", true, false, false},
		{"nobody knows how many, one cut", Unknown, "0 1 0 1.", false, false, false},
		{"nobody knows how many, the last cut", Unknown, "0 1. 2", false, false, false},
		{"nobody knows how many, and no reasons", Unknown, "0 1 2", true, false, false},
	} {
		a := Answer{Choices: tt.choices}
		for event := range strings.FieldsSeq(tt.events) {
			var list []string
			for choice := range strings.SplitSeq(event, ",") {
				choice, ends := strings.CutSuffix(choice, ".")
				choice, empty := strings.CutSuffix(choice, "-")
				content, reason := "a", "null"
				if empty {
					content = ""
				}
				if ends {
					reason = `"stop"`
				}
				list = append(list, fmt.Sprintf(`{"index":%s,"delta":{"content":%q},"finish_reason":%s}`, choice, content, reason))
			}
			a.Event(fmt.Appendf(nil, `{"choices":[%s]}`, strings.Join(list, ",")))
		}
		ended, is := a.Ended(), a.Finished()
		if done := a.Event([]byte("[DONE]")) == Done; done != tt.done || ended != tt.ended || is != tt.is {
			t.Errorf("%s: done %v, ended %v, finished %v, want %v, %v, %v", tt.name, done, ended, is, tt.done, tt.ended, tt.is)
		}
	}
}

func counting(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%d ", i)
	}
	return b.String()
}

// In one document, indices are what they say: there are no chunks to count.
func TestIndicesOfADocument(t *testing.T) {
	for list, whole := range map[string]bool{
		`{"index":0,"finish_reason":"stop"}`: true,
		`{"index":5,"finish_reason":"stop"}`: true,
		`{"index":0,"message":{"content":"a"}},{"index":1,"message":{"content":"b"},"finish_reason":"stop"}`:                        false,
		`{"index":0,"message":{"content":"a"},"finish_reason":"stop"},{"index":1,"message":{"content":"b"},"finish_reason":"stop"}`: true,
	} {
		var a Answer
		if a.Text([]byte(`{"choices":[` + list + `]}`)); a.Finished() != whole {
			t.Errorf("%s: finished %v, want %v", list, a.Finished(), whole)
		}
	}
}

// Other wires have one answer, whatever the request says of choices.
func TestOneAnswerOnOtherWires(t *testing.T) {
	for w, last := range map[Wire]string{Responses: `{"type":"response.completed","response":{"status":"completed"}}`, Messages: `{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`} {
		for _, choices := range []int{3, Unknown} {
			a := Answer{Wire: w, Choices: choices}
			if a.Event([]byte(last)); !a.Finished() {
				t.Errorf("wire %d, %d choices: not finished behind %s", w, choices, last)
			}
		}
	}
}

// With the most choices the API allows, the last one counts like the first.
func TestFinishedTakesTheLastOf128Choices(t *testing.T) {
	a := Answer{Choices: 128}
	for i := range 128 {
		if a.Finished() {
			t.Fatalf("Finished() = true after %d choices of 128", i)
		}
		a.Event(fmt.Appendf(nil, `{"choices":[{"index":%d,"delta":{},"finish_reason":"stop"}]}`, i))
	}
	if !a.Finished() {
		t.Error("Finished() = false after all choices")
	}
}

// Usage by the names of the other wires; a message's comes in two parts.
func TestUsageOfOtherWires(t *testing.T) {
	r := Answer{Wire: Responses}
	r.Event([]byte(`{"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":2},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":12}}}`))
	if want := (Usage{5, 7, 12, 2, 3}); r.Usage != want {
		t.Errorf("Responses: %+v, want %+v", r.Usage, want)
	}
	m := Answer{Wire: Messages}
	m.Event([]byte(`{"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":2,"cache_creation_input_tokens":1,"output_tokens":1}}}`))
	m.Event([]byte(`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}`))
	if want := (Usage{8, 9, 17, 2, 0}); m.Usage != want {
		t.Errorf("Messages: %+v, want %+v", m.Usage, want)
	}
}

func TestUsage(t *testing.T) {
	var a Answer
	a.Event([]byte(`{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":-7,"total_tokens":1e300,"prompt_cache_hit_tokens":2,"completion_tokens_details":{"reasoning_tokens":1}}}`))
	if want := (Usage{PromptTokens: 5, TotalTokens: MaxTokens, CachedTokens: 2, ReasoningTokens: 1}); a.Usage != want {
		t.Errorf("Usage = %+v, want %+v", a.Usage, want)
	}
}

// A count that is too large is the largest, and so is a sum of them, where an
// int has 32 bits, too.
func TestUsageSaturates(t *testing.T) {
	for _, n := range []string{"2147483647", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808", "99999999999999999999999", "1e10", "1e300"} {
		chat, message := Answer{}, Answer{Wire: Messages}
		chat.Event([]byte(`{"choices":[],"usage":{"prompt_tokens":` + n + `,"completion_tokens":` + n + `,"total_tokens":` + n + `}}`))
		if want := (Usage{PromptTokens: MaxTokens, CompletionTokens: MaxTokens, TotalTokens: MaxTokens}); chat.Usage != want {
			t.Errorf("%s on Chat: %+v, want %+v", n, chat.Usage, want)
		}
		message.Event([]byte(`{"type":"message_start","message":{"usage":{"input_tokens":` + n + `,"cache_read_input_tokens":` + n + `,"cache_creation_input_tokens":` + n + `}}}`))
		message.Event([]byte(`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":` + n + `}}`))
		if want := (Usage{MaxTokens, MaxTokens, MaxTokens, MaxTokens, 0}); message.Usage != want {
			t.Errorf("%s on Messages: %+v, want %+v", n, message.Usage, want)
		}
	}
}

func TestRefusalOf(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       Refusal
	}{
		{"DeepSeek", `{"error":{"message":"m","type":"t","param":null,"code":"c"}}`, Refusal{"c", "t", "m", 0}},
		{"OpenRouter's numeric code", `{"error":{"code":429,"message":"m"}}`, Refusal{"429", "", "m", 429}},
		{"SiliconFlow", `{"code":50603,"message":"m","data":null}`, Refusal{"50603", "", "m", 0}},
		{"error as text", `{"error":"m"}`, Refusal{"", "", "m", 0}},
		{"plain text", `Authentication Fails (governor)`, Refusal{"", "", "Authentication Fails (governor)", 0}},
		{"nothing", ``, Refusal{}},
		{"Ark", `{"error":{"code":"AccountOverdueError","message":"m","param":"","type":"Forbidden"}}`, Refusal{"AccountOverdueError", "Forbidden", "m", 0}},
		{"Ollama", `{"error":"server busy"}`, Refusal{"", "", "server busy", 0}},
		{"vLLM of old", `{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}`, Refusal{"400", "BadRequestError", "m", 400}},
		{"Anthropic", `{"type":"error","error":{"type":"overloaded_error","message":"m"}}`, Refusal{"", "overloaded_error", "m", 529}},
		{"a response that failed", `{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"m"}}}`, Refusal{"rate_limit_exceeded", "", "m", 429}},
		{"OpenRouter's choice", `{"choices":[{"error":{"code":503,"message":"m"}}]}`, Refusal{"503", "", "m", 503}},
		{"an absurd code", `{"error":{"code":99999999999999999999,"message":"m"}}`, Refusal{"99999999999999999999", "", "m", 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := RefusalOf([]byte(tt.body)); got != tt.want {
				t.Errorf("RefusalOf(%s) = %+v, want %+v", tt.body, got, tt.want)
			}
		})
	}
}

// FuzzEvent: whatever a server sends, no panic, and a finish is a valid text's.
func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"choices":[{"index":9999999999999,"delta":{"content":"a\\"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1e999}}`))
	f.Add([]byte(`{"choices":[{"delta":{"a":[{"b":1}],"content":"x"}}]}`))
	f.Add([]byte(`{"choices":{"index":0},"code":1,"message":2}`))
	f.Add([]byte(`{"type":"response.incomplete","response":{"status":"completed","incomplete_details":[],"output":{}}}`))
	f.Add([]byte(`{"type":"message_delta","delta":{"stop_reason":{}},"usage":{"output_tokens":"9"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for w := Chat; w <= Embeddings; w++ {
			var event, text Answer
			event.Wire, text.Wire = w, w
			if event.Event(data) == Malformed && event.Begun() || text.Text(data) == Malformed && text.Begun() {
				t.Errorf("%q is malformed and still says something", data)
			}
		}
		RefusalOf(data)
	})
}

// A throttle inside a 200 is known by its number, or its name, in whatever spelling.
func TestRefusalOf_Throttles(t *testing.T) {
	for name, body := range map[string]string{
		"ark-overloaded":      `{"error":{"code":"ServerOverloaded","message":"busy","type":"TooManyRequests"}}`,
		"ark":                 `{"error":{"code":"RateLimitExceeded.EndpointTPMExceeded","message":"slow down","type":"TooManyRequests"}}`,
		"aws":                 `{"__type":"ThrottlingException","message":"Too many requests"}`,
		"bailian-burst":       `{"error":{"code":"limit_burst_rate","type":"limit_burst_rate","message":"slow down"}}`,
		"bailian-limit":       `{"error":{"code":"limit_requests","type":"limit_requests","message":"You exceeded your current requests list"}}`,
		"google-status-only":  `{"error":{"message":"exhausted","status":"RESOURCE_EXHAUSTED"}}`,
		"google":              `{"error":{"code":429,"message":"exhausted","status":"RESOURCE_EXHAUSTED"}}`,
		"list":                `[{"error":{"code":429,"message":"Resource exhausted","status":"RESOURCE_EXHAUSTED"}}]`,
		"litellm":             `{"error":{"message":"litellm.RateLimitError: x","type":"throttling_error","param":null,"code":"429"}}`,
		"moonshot":            `{"error":{"message":"Your account reached max concurrency","type":"rate_limit_reached_error"}}`,
		"qianfan":             `{"error":{"code":"rpm_rate_limit_exceeded","message":"Rate limit reached for RPM","type":"rate_limit_exceeded"},"id":"as-1"}`,
		"siliconflow":         `{"code":429,"message":"Request was rejected due to rate limiting","data":null}`,
		"status-code":         `{"statusCode":429,"message":"Rate limit is exceeded. Try again in 5 seconds."}`,
		"status-number":       `{"status":429,"title":"Too Many Requests","detail":"slow down"}`,
		"string-error-status": `{"error":"Too Many Requests","status":429}`,
		"string-error":        `{"error":"slow down","code":429}`,
		"words":               `{"error":{"message":"slow down","type":"Too Many Requests"}}`,
	} {
		if got := RefusalOf([]byte(body)); got.Status != 429 {
			t.Errorf("%s: RefusalOf(%s) = %+v, want the status 429", name, body, got)
		}
	}
}
