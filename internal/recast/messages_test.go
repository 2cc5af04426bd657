package recast

import (
	"testing"

	"github.com/breakwater-go/breakwater/internal/wire"
)

const (
	messageStart = `{"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":"deepseek-flash","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":1}}}`
	messageEnd   = `{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7.0,"server_tool_use":{"web_search_requests":1}}}`
	messageStop  = `{"type":"message_stop"}`

	messageHead = `{"id":"m1","type":"message","role":"assistant","model":"deepseek-flash","content":`
	messageTail = `,"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":7.0,"server_tool_use":{"web_search_requests":1}}}`
)

// messageOf returns a stream of a message with these events of its content.
func messageOf(events ...string) string {
	return namedOf(append(append([]string{messageStart}, events...), messageEnd, messageStop)...)
}

var messagesToJSON = []recasting{
	{
		"thinking, text with its sources, a tool call",
		messageOf(`{"type":"ping"}`,
			`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me "}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"see."}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s1"}}`,
			`{"type":"content_block_stop","index":0}`,
			`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"","citations":[]}}`,
			`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"\ud83d"}}`,
			`{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"start":1.0}}}`,
			`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"\ude00"}}`,
			`{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"start":2}}}`,
			`{"type":"content_block_stop","index":1}`,
			`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t1","name":"weather","input":{}}}`,
			`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}`,
			`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"city\": \"O\\\"s"}}`,
			`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"lo\",\"n\":1.0}"}}`,
			`{"type":"content_block_stop","index":2}`),
		messageHead + `[{"type":"thinking","thinking":"Let me see.","signature":"s1"},{"type":"text","text":"\ud83d\ude00","citations":[{"start":1.0},{"start":2}]},{"type":"tool_use","id":"t1","name":"weather","input":{"city": "O\"slo","n":1.0}}]` + messageTail,
	},
	{
		"a tool call without input",
		messageOf(`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t1","name":"time","input":{}}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":""}}`,
			`{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t2","name":"time"}}`,
			`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}`),
		messageHead + `[{"type":"tool_use","id":"t1","name":"time","input":{}},{"type":"tool_use","id":"t2","name":"time","input":{}}]` + messageTail,
	},
	{
		"a block nobody here knows",
		messageOf(`{"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"x","n":1.0}}`, `{"type":"content_block_stop","index":0}`),
		messageHead + `[{"type":"redacted_thinking","data":"x","n":1.0}]` + messageTail,
	},
	{
		"what stands beside the end",
		namedOf(messageStart, `{"type":"message_delta","delta":{"stop_reason":"end_turn","container":{"id":"x"}},"context_management":{"a":1.0}}`, messageStop),
		messageHead + `[],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":1},"container":{"id":"x"},"context_management":{"a":1.0}}`,
	},
	{"a delta nobody here knows", messageOf(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"odd_delta","text":"a"}}`), ""},
	{"an event nobody here knows", messageOf(`{"type":"odd"}`), ""},
	{"a delta of no block", messageOf(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}`), ""},
	{"a block that leaves one out", messageOf(`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`), ""},
	{"a text that is none", messageOf(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":1}}`), ""},
	{"input cut short", messageOf(`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","input":{}}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}`), ""},
	{"input that closes its block", messageOf(`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","input":{}}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{},\"a\":{}"}}`), ""},
	{"input that is no object", messageOf(`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","input":{}}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"[]"}}`), ""},
	{"two beginnings", namedOf(messageStart, messageStart, messageEnd, messageStop), ""},
	{"no beginning", namedOf(messageEnd, messageStop), ""},
	{"no reason for the end", namedOf(messageStart, messageStop), ""},
	{"no end", namedOf(messageStart, messageEnd), ""},
	{"content in the frame", namedOf(`{"type":"message_start","message":{"content":[{"type":"text","text":"a"}]}}`, messageEnd, messageStop), ""},
}

func TestMessagesToJSON(t *testing.T) { testToJSON(t, wire.Messages, messagesToJSON) }

var messagesToStream = []recasting{
	{
		"thinking, text with its sources, a tool call, a block nobody here knows",
		`{"id":"m1","type":"message","content":[{"type":"thinking","thinking":"Let me see.","signature":"s1"},{"type":"text","text":"\ud83d\ude00","citations":[{"start":1.0},{"start":2}]},{"type":"tool_use","id":"t1","name":"weather","input":{"city": "O\"slo","n":1.0}},{"type":"redacted_thinking","data":"x"}],"stop_reason":"end_turn","stop_sequence":"x","usage":{"input_tokens":5,"output_tokens":7.0}}`,
		namedOf(`{"type":"message_start","message":{"id":"m1","type":"message","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":5,"output_tokens":7.0}}}`,
			`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me see."}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s1"}}`,
			`{"type":"content_block_stop","index":0}`,
			`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"","citations":[]}}`,
			`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"\ud83d\ude00"}}`,
			`{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"start":1.0}}}`,
			`{"type":"content_block_delta","index":1,"delta":{"type":"citations_delta","citation":{"start":2}}}`,
			`{"type":"content_block_stop","index":1}`,
			`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t1","name":"weather","input":{}}}`,
			`{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"city\": \"O\\\"slo\",\"n\":1.0}"}}`,
			`{"type":"content_block_stop","index":2}`,
			`{"type":"content_block_start","index":3,"content_block":{"type":"redacted_thinking","data":"x"}}`,
			`{"type":"content_block_stop","index":3}`,
			`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":"x"},"usage":{"input_tokens":5,"output_tokens":7.0}}`,
			`{"type":"message_stop"}`),
	},
	{"no reason for the end", `{"type":"message","content":[],"stop_reason":null}`, ""},
	{"a block that is none", `{"type":"message","content":["a"],"stop_reason":"end_turn"}`, ""},
	{"usage that is none", `{"type":"message","content":[],"stop_reason":"end_turn","usage":7}`, ""},
	{"for want of resources", `{"type":"message","content":[],"stop_reason":"insufficient_system_resource"}`, ""},
}

func TestMessagesToStream(t *testing.T) { testToStream(t, wire.Messages, messagesToStream) }
