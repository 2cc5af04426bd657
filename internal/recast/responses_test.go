package recast

import (
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/wire"
)

var responsesToJSON = []recasting{
	{
		"completed",
		namedOf(`{"type":"response.created","sequence_number":0,"response":{"id":"r1","status":"in_progress","output":[],"usage":null}}`,
			`{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"i1","type":"message","content":[]}}`,
			`{"type":"response.output_text.delta","sequence_number":2,"item_id":"i1","output_index":0,"content_index":0,"delta":"Hi"}`,
			`{"type":"response.output_item.done","sequence_number":3,"output_index":0,"item":{"id":"i1","type":"message","content":[{"type":"output_text","text":"Hi"}]}}`,
			`{"type":"response.completed","sequence_number":4,"response":{"id":"r1","status":"completed","output":[{"id":"i1","type":"message","content":[{"type":"output_text","text":"Hi"}]}],"usage":{"total_tokens":1.0}}}`),
		`{"id":"r1","status":"completed","output":[{"id":"i1","type":"message","content":[{"type":"output_text","text":"Hi"}]}],"usage":{"total_tokens":1.0}}`,
	},
	{
		"incomplete", namedOf(`{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[]}}`),
		`{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[]}`,
	},
	{"failed", namedOf(`{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error"},"output":[]}}`), ""},
	{"for want of resources", namedOf(`{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"insufficient_system_resource"},"output":[]}}`), ""},
	{"no end", namedOf(`{"type":"response.in_progress","response":{"status":"in_progress","output":[]}}`), ""},
	{"an end without a response", namedOf(`{"type":"response.completed"}`), ""},
	{"an item left out at the end", namedOf(`{"type":"response.output_item.done","output_index":0,"item":{"type":"message"}}`, `{"type":"response.completed","response":{"status":"completed","output":[]}}`), ""},
}

func TestResponsesToJSON(t *testing.T) { testToJSON(t, wire.Responses, responsesToJSON) }

var responsesToStream = []recasting{
	{
		"reasoning, text, a refusal",
		`{"id":"r1","status":"completed","incomplete_details":null,"output":[{"id":"i0","type":"reasoning","summary":[{"type":"summary_text","text":"Sum"}],"content":[{"type":"reasoning_text","text":"Let me see."}],"status":"completed"},{"id":"i1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Hi","annotations":[{"a":1.0}],"logprobs":[7]},{"type":"refusal","refusal":"No"}]}],"usage":{"total_tokens":1.0}}`,
		namedOf(`{"type":"response.created","sequence_number":0,"response":{"id":"r1","status":"in_progress","incomplete_details":null,"output":[],"usage":null}}`,
			`{"type":"response.in_progress","sequence_number":1,"response":{"id":"r1","status":"in_progress","incomplete_details":null,"output":[],"usage":null}}`,
			`{"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"i0","type":"reasoning","summary":[],"content":[],"status":"in_progress"}}`,
			`{"type":"response.reasoning_summary_part.added","sequence_number":3,"item_id":"i0","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}}`,
			`{"type":"response.reasoning_summary_text.delta","sequence_number":4,"item_id":"i0","output_index":0,"summary_index":0,"delta":"Sum"}`,
			`{"type":"response.reasoning_summary_text.done","sequence_number":5,"item_id":"i0","output_index":0,"summary_index":0,"text":"Sum"}`,
			`{"type":"response.reasoning_summary_part.done","sequence_number":6,"item_id":"i0","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":"Sum"}}`,
			`{"type":"response.content_part.added","sequence_number":7,"item_id":"i0","output_index":0,"content_index":0,"part":{"type":"reasoning_text","text":""}}`,
			`{"type":"response.reasoning_text.delta","sequence_number":8,"item_id":"i0","output_index":0,"content_index":0,"delta":"Let me see."}`,
			`{"type":"response.reasoning_text.done","sequence_number":9,"item_id":"i0","output_index":0,"content_index":0,"text":"Let me see."}`,
			`{"type":"response.content_part.done","sequence_number":10,"item_id":"i0","output_index":0,"content_index":0,"part":{"type":"reasoning_text","text":"Let me see."}}`,
			`{"type":"response.output_item.done","sequence_number":11,"output_index":0,"item":{"id":"i0","type":"reasoning","summary":[{"type":"summary_text","text":"Sum"}],"content":[{"type":"reasoning_text","text":"Let me see."}],"status":"completed"}}`,
			`{"type":"response.output_item.added","sequence_number":12,"output_index":1,"item":{"id":"i1","type":"message","role":"assistant","status":"in_progress","content":[]}}`,
			`{"type":"response.content_part.added","sequence_number":13,"item_id":"i1","output_index":1,"content_index":0,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}}`,
			`{"type":"response.output_text.delta","sequence_number":14,"item_id":"i1","output_index":1,"content_index":0,"logprobs":[],"delta":"Hi"}`,
			`{"type":"response.output_text.annotation.added","sequence_number":15,"item_id":"i1","output_index":1,"content_index":0,"annotation_index":0,"annotation":{"a":1.0}}`,
			`{"type":"response.output_text.done","sequence_number":16,"item_id":"i1","output_index":1,"content_index":0,"logprobs":[7],"text":"Hi"}`,
			`{"type":"response.content_part.done","sequence_number":17,"item_id":"i1","output_index":1,"content_index":0,"part":{"type":"output_text","text":"Hi","annotations":[{"a":1.0}],"logprobs":[7]}}`,
			`{"type":"response.content_part.added","sequence_number":18,"item_id":"i1","output_index":1,"content_index":1,"part":{"type":"refusal","refusal":""}}`,
			`{"type":"response.refusal.delta","sequence_number":19,"item_id":"i1","output_index":1,"content_index":1,"delta":"No"}`,
			`{"type":"response.refusal.done","sequence_number":20,"item_id":"i1","output_index":1,"content_index":1,"refusal":"No"}`,
			`{"type":"response.content_part.done","sequence_number":21,"item_id":"i1","output_index":1,"content_index":1,"part":{"type":"refusal","refusal":"No"}}`,
			`{"type":"response.output_item.done","sequence_number":22,"output_index":1,"item":{"id":"i1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Hi","annotations":[{"a":1.0}],"logprobs":[7]},{"type":"refusal","refusal":"No"}]}}`,
			`{"type":"response.completed","sequence_number":23,"response":{"id":"r1","status":"completed","incomplete_details":null,"output":[{"id":"i0","type":"reasoning","summary":[{"type":"summary_text","text":"Sum"}],"content":[{"type":"reasoning_text","text":"Let me see."}],"status":"completed"},{"id":"i1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Hi","annotations":[{"a":1.0}],"logprobs":[7]},{"type":"refusal","refusal":"No"}]}],"usage":{"total_tokens":1.0}}}`),
	},
	{
		"a function call, an item nobody here knows, cut short",
		`{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[{"id":"i0","type":"function_call","call_id":"c1","name":"weather","arguments":"{}"},{"id":"i1","type":"web_search_call","status":"completed"}]}`,
		namedOf(`{"type":"response.created","sequence_number":0,"response":{"status":"in_progress","incomplete_details":null,"output":[]}}`,
			`{"type":"response.in_progress","sequence_number":1,"response":{"status":"in_progress","incomplete_details":null,"output":[]}}`,
			`{"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"i0","type":"function_call","call_id":"c1","name":"weather","arguments":""}}`,
			`{"type":"response.function_call_arguments.delta","sequence_number":3,"item_id":"i0","output_index":0,"delta":"{}"}`,
			`{"type":"response.function_call_arguments.done","sequence_number":4,"item_id":"i0","output_index":0,"name":"weather","arguments":"{}"}`,
			`{"type":"response.output_item.done","sequence_number":5,"output_index":0,"item":{"id":"i0","type":"function_call","call_id":"c1","name":"weather","arguments":"{}"}}`,
			`{"type":"response.output_item.added","sequence_number":6,"output_index":1,"item":{"id":"i1","type":"web_search_call","status":"completed"}}`,
			`{"type":"response.output_item.done","sequence_number":7,"output_index":1,"item":{"id":"i1","type":"web_search_call","status":"completed"}}`,
			`{"type":"response.incomplete","sequence_number":8,"response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[{"id":"i0","type":"function_call","call_id":"c1","name":"weather","arguments":"{}"},{"id":"i1","type":"web_search_call","status":"completed"}]}}`),
	},
	{"still at work", `{"status":"in_progress","output":[]}`, ""},
	{"failed", `{"status":"failed","error":{"code":"server_error"},"output":[]}`, ""},
	{"for want of resources", `{"status":"incomplete","incomplete_details":{"reason":"insufficient_system_resource"},"output":[]}`, ""},
	{"an item that is none", `{"status":"completed","output":[1]}`, ""},
	{"one that is too deep in its event", `{"status":"completed","output":[],"x":` + strings.Repeat("[", 999) + strings.Repeat("]", 999) + `}`, ""},
	{"a part that is none", `{"status":"completed","output":[{"type":"message","content":[1]}]}`, ""},
	{"arguments that are none", `{"status":"completed","output":[{"type":"function_call","arguments":{}}]}`, ""},
}

func TestResponsesToStream(t *testing.T) { testToStream(t, wire.Responses, responsesToStream) }
