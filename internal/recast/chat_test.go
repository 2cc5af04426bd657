package recast

import (
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/wire"
)

const (
	chunkHead = `{"id":"c1","object":"chat.completion.chunk","created":1760000000,"model":"deepseek-flash","system_fingerprint":"fp_1",`
	chatHead  = `{"id":"c1","object":"chat.completion","created":1760000000,"model":"deepseek-flash","system_fingerprint":"fp_1",`
)

var chatToJSON = []recasting{
	{
		"a model that thinks, with the usage on the finish chunk",
		dataOf(chunkHead+`"choices":[{"index":0,"delta":{"role":"assistant","content":null,"reasoning_content":""},"logprobs":null,"finish_reason":null}],"usage":null}`,
			chunkHead+`"choices":[{"index":0,"delta":{"content":null,"reasoning_content":"Let me "},"logprobs":null,"finish_reason":null}],"usage":null}`,
			chunkHead+`"choices":[{"index":0,"delta":{"role":null,"content":null,"reasoning_content":"see."},"logprobs":null,"finish_reason":null}],"usage":null}`,
			chunkHead+`"choices":[{"index":0,"delta":{"content":"It ","reasoning_content":null},"logprobs":null,"finish_reason":null}],"usage":null}`,
			chunkHead+`"choices":[{"index":0,"delta":{"content":"is.","reasoning_content":null},"logprobs":null,"finish_reason":null}],"usage":null}`,
			chunkHead+`"choices":[{"index":0,"delta":{"content":"","reasoning_content":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12,"prompt_cache_hit_tokens":0,"completion_tokens_details":{"reasoning_tokens":3}}}`,
			`[DONE]`),
		chatHead + `"choices":[{"index":0,"message":{"role":"assistant","content":"It is.","reasoning_content":"Let me see."},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12,"prompt_cache_hit_tokens":0,"completion_tokens_details":{"reasoning_tokens":3}}}`,
	},
	{
		"two choices by turns, with the usage in a chunk of its own",
		dataOf(`{"id":"c1","choices":[{"index":1,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`,
			`{"id":"c1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`,
			`{"id":"c1","choices":[{"index":1,"delta":{"content":"b"},"finish_reason":null},{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`,
			`{"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
			`{"id":"c1","choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"length"}]}`,
			`{"id":"c1","choices":[],"usage":{"total_tokens":3}}`, `[DONE]`),
		`{"id":"c1","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"},{"index":1,"message":{"role":"assistant","content":"bb"},"finish_reason":"length"}],"usage":{"total_tokens":3},"object":"chat.completion"}`,
	},
	{
		"two tool calls, of which one repeats what it is",
		dataOf(`{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"weather","arguments":""}}]},"finish_reason":null}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":"}}]},"finish_reason":null}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"t2","type":"function","function":{"name":"time","arguments":"{"}},{"index":0,"id":"","type":null,"function":{"name":null,"arguments":"\"Oslo\"}"}}]},"finish_reason":null}]}`,
			`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"t2","type":"function","function":{"name":"time","arguments":"}"}}]},"finish_reason":"tool_calls"}]}`),
		`{"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"t1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Oslo\"}"}},{"id":"t2","type":"function","function":{"name":"time","arguments":"{}"}}]},"finish_reason":"tool_calls"}],"object":"chat.completion"}`,
	},
	{
		"logprobs",
		dataOf(`{"choices":[{"index":0,"delta":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":-1.0}],"refusal":null},"finish_reason":null}]}`,
			`{"choices":[{"index":0,"delta":{"content":"bc"},"logprobs":{"content":[ ],"refusal":null},"finish_reason":null}]}`,
			`{"choices":[{"index":0,"delta":{},"logprobs":{"content":[{"token":"b","logprob":-0.50},{"token":"c","logprob":-9999.0}],"refusal":null},"finish_reason":null}]}`,
			`{"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}`),
		`{"choices":[{"index":0,"message":{"role":"assistant","content":"abc"},"logprobs":{"content":[{"token":"a","logprob":-1.0},{"token":"b","logprob":-0.50},{"token":"c","logprob":-9999.0}],"refusal":null},"finish_reason":"stop"}],"object":"chat.completion"}`,
	},
	{
		"characters in parts, bytes that are no character",
		dataOf(`{"choices":[{"delta":{"content":"\ud83d"}}]}`, `{"choices":[{"delta":{"content":"\ude00 \u00e9"}}]}`,
			"{\"choices\":[{\"delta\":{\"content\":\"\xe6\"}}]}", "{\"choices\":[{\"delta\":{\"content\":\"\xb8\xaf\\/\xff\"},\"finish_reason\":\"stop\"}]}"),
		`{"choices":[{"message":{"role":"assistant","content":"\ud83d\ude00 \u00e9` + "港\\/\xff" + `"},"finish_reason":"stop"}],"object":"chat.completion"}`,
	},
	{
		"what nobody here knows",
		dataOf(`{"a":1.0,"b":12345678901234567890,"c":"x","e":"","\u0064":[1],"choices":[{"delta":{"thought":"x","steps":[1,{"a":1.0}],"score":1.0,"audio":null},"token_ids":[1],"filter":{"n":1}}]}`,
			`{"a":null,"c":"","e":null,"\u0064":[2],"choices":[{"delta":{"thought":"y","steps":[],"score":2.0,"audio":{"id":"a"}},"token_ids":[2,3],"filter":{"n":2},"matched":7}]}`,
			`{"obfuscation":"xxxx","choices":[{"delta":{"steps":[2],"audio":{"id":"a"}},"finish_reason":"stop"}]}`),
		`{"a":1.0,"b":12345678901234567890,"c":"x","e":"","\u0064":[2],"choices":[{"message":{"role":"assistant","content":null,"thought":"xy","steps":[1,{"a":1.0},2],"score":2.0,"audio":{"id":"a"}},"token_ids":[1,2,3],"filter":{"n":2},"matched":7,"finish_reason":"stop"}],"object":"chat.completion"}`,
	},
	{
		"a choice without a delta", dataOf(`{"choices":[{"index":0,"delta":{"role":"assistant","content":""}},{"index":1,"finish_reason":"stop"}]}`, `{"choices":[{"index":0,"finish_reason":"stop"}]}`),
		`{"choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"stop"},{"index":1,"finish_reason":"stop","message":{"role":"assistant","content":null}}],"object":"chat.completion"}`,
	},
	{
		"a function call as it once was",
		dataOf(`{"choices":[{"delta":{"function_call":{"name":"weather","arguments":""}}}]}`, `{"choices":[{"delta":{"function_call":{"arguments":"{"}}}]}`, `{"choices":[{"delta":{"function_call":{"arguments":"}"}},"finish_reason":"function_call"}]}`),
		`{"choices":[{"message":{"role":"assistant","content":null,"function_call":{"name":"weather","arguments":"{}"}},"finish_reason":"function_call"}],"object":"chat.completion"}`,
	},
	{
		"a prompt's completion",
		dataOf(`{"id":"c1","object":"text_completion","choices":[{"index":0,"text":"ret","logprobs":{"tokens":["ret"],"token_logprobs":[-1.0],"top_logprobs":null,"text_offset":[0]},"finish_reason":null}]}`,
			`{"id":"c1","object":"text_completion","choices":[{"index":0,"text":"urn","logprobs":{"tokens":["urn"],"token_logprobs":[-2],"top_logprobs":null,"text_offset":[3]},"finish_reason":null}]}`,
			`{"id":"c1","object":"text_completion","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}],"usage":{"total_tokens":3}}`, `[DONE]`),
		`{"id":"c1","object":"text_completion","choices":[{"index":0,"text":"return","logprobs":{"tokens":["ret","urn"],"token_logprobs":[-1.0,-2],"top_logprobs":null,"text_offset":[0,3]},"finish_reason":"stop"}],"usage":{"total_tokens":3}}`,
	},
	{"one choice has not ended", dataOf(`{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"},{"index":1,"delta":{"content":"b"}}]}`, `[DONE]`), ""},
	{"no choice has ended", dataOf(`{"choices":[{"index":0,"delta":{"content":"a"}}]}`, `[DONE]`), ""},
	{"for want of resources", dataOf(`{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"insufficient_system_resource"}]}`, `[DONE]`), ""},
	{"an error of one choice", dataOf(`{"choices":[{"index":0,"delta":{"content":"a"},"error":{"code":502},"finish_reason":"stop"}]}`, `[DONE]`), ""},
	{"an index beyond all choices", dataOf(`{"choices":[{"index":1000000000,"delta":{"content":"a"},"finish_reason":"stop"}]}`), ""},
	{"an index beyond all numbers", dataOf(`{"choices":[{"index":18446744073709551616,"delta":{"content":"a"},"finish_reason":"stop"}]}`), ""},
	{"an index below them", dataOf(`{"choices":[{"index":-1,"delta":{"content":"a"},"finish_reason":"stop"}]}`), ""},
	{"an index that counts chunks", dataOf(`{"choices":[{"index":0,"delta":{"content":"a"}}]}`, `{"choices":[{"index":1,"delta":{"content":"b"}}]}`, `{"choices":[{"index":2,"delta":{},"finish_reason":"stop"}]}`, `[DONE]`), ""},
	{"a tool call's index beyond all", dataOf(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":128}]},"finish_reason":"stop"}]}`), ""},
	{"two tool calls of one index", dataOf(`{"choices":[{"delta":{"tool_calls":[{"id":"t1"}]}}]}`, `{"choices":[{"delta":{"tool_calls":[{"id":"t2"}]},"finish_reason":"stop"}]}`), ""},
	{"a chat that is a prompt's completion", dataOf(`{"choices":[{"index":0,"delta":{},"text":"a","finish_reason":"stop"}]}`), ""},
	{"neither chat nor prompt", dataOf(`{"choices":[{"index":0,"finish_reason":"stop"}]}`), ""},
	{"a message besides the delta", dataOf(`{"choices":[{"index":0,"delta":{"content":"a"},"message":{"content":"a"},"finish_reason":"stop"}]}`), ""},
	{"an object in pieces", dataOf(`{"choices":[{"delta":{"audio":{"data":"a"}}}]}`, `{"choices":[{"delta":{"audio":{"data":"b"}},"finish_reason":"stop"}]}`), ""},
	{"a text that becomes a list", dataOf(`{"choices":[{"delta":{"content":"a"}}]}`, `{"choices":[{"delta":{"content":["b"]},"finish_reason":"stop"}]}`), ""},
	{"a text that becomes a number", dataOf(`{"choices":[{"delta":{"content":"a"}}]}`, `{"choices":[{"delta":{"content":7},"finish_reason":"stop"}]}`), ""},
	{"a member twice in an event", dataOf(`{"choices":[{"delta":{"content":"a","content":"b"},"finish_reason":"stop"}]}`), ""},
}

func TestChatToJSON(t *testing.T) { testToJSON(t, wire.Chat, chatToJSON) }

var chatToStream = []recasting{
	{
		"a model that thinks",
		chatHead + `"choices":[{"index":0,"message":{"role":"assistant","content":"It is.","reasoning_content":"Let me see."},"logprobs":null,"finish_reason":"stop"}],"usage":{"total_tokens":12.0},"service_tier":"x"}`,
		dataOf(`{"object":"chat.completion.chunk","id":"c1","created":1760000000,"model":"deepseek-flash","system_fingerprint":"fp_1","service_tier":"x","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":""},"finish_reason":null}]}`,
			`{"object":"chat.completion.chunk","id":"c1","created":1760000000,"model":"deepseek-flash","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"reasoning_content":"Let me see."},"finish_reason":null}]}`,
			`{"object":"chat.completion.chunk","id":"c1","created":1760000000,"model":"deepseek-flash","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"It is."},"finish_reason":null}]}`,
			`{"object":"chat.completion.chunk","id":"c1","created":1760000000,"model":"deepseek-flash","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":{"total_tokens":12.0}}`,
			`[DONE]`),
	},
	{
		"two choices, the usage on the last",
		`{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"},{"index":1,"message":{"content":null,"refusal":"b"},"finish_reason":"length"}],"usage":{}}`,
		dataOf(`{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`,
			`{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`,
			`{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
			`{"object":"chat.completion.chunk","choices":[{"index":1,"delta":{"role":"assistant","content":null,"refusal":""},"finish_reason":null}]}`,
			`{"object":"chat.completion.chunk","choices":[{"index":1,"delta":{"refusal":"b"},"finish_reason":null}]}`,
			`{"object":"chat.completion.chunk","choices":[{"index":1,"delta":{},"finish_reason":"length"}],"usage":{}}`,
			`[DONE]`),
	},
	{
		"tool calls",
		`{"choices":[{"index":0,"message":{"role":"assistant","content":"","tool_calls":[{"id":"t1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Oslo\"}"}},{"index":7,"id":"t2","type":"custom","custom":{"name":"note","input":"x"}}]},"finish_reason":"tool_calls"}]}`,
		dataOf(`{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`,
			`{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"weather","arguments":""}}]},"finish_reason":null}]}`,
			`{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":\"Oslo\"}"}}]},"finish_reason":null}]}`,
			`{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"t2","type":"custom","custom":{"name":"note","input":""}}]},"finish_reason":null}]}`,
			`{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"custom":{"input":"x"}}]},"finish_reason":null}]}`,
			`{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`,
			`[DONE]`),
	},
	{
		"a prompt's completion",
		`{"id":"c1","object":"text_completion","choices":[{"index":0,"text":"return","logprobs":{"tokens":["ret","urn"],"token_logprobs":[-1.0,-2]},"finish_reason":"stop"}],"usage":{"total_tokens":3}}`,
		dataOf(`{"object":"text_completion","id":"c1","choices":[{"index":0,"text":"return","finish_reason":null}]}`,
			`{"object":"text_completion","id":"c1","choices":[{"index":0,"text":"","logprobs":{"tokens":["ret","urn"],"token_logprobs":[-1.0,-2]},"finish_reason":"stop"}],"usage":{"total_tokens":3}}`,
			`[DONE]`),
	},
	{"no choice", `{"choices":[]}`, ""},
	{"one choice has not ended", `{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"},{"index":1,"message":{"content":"a"},"finish_reason":null}]}`, ""},
	{"for want of resources", `{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"insufficient_system_resource"}]}`, ""},
	{"choices of one index", `{"choices":[{"message":{"content":"a"},"finish_reason":"stop"},{"message":{"content":"a"},"finish_reason":"stop"}]}`, ""},
	{"an index beyond all choices", `{"choices":[{"index":128,"message":{"content":"a"},"finish_reason":"stop"}]}`, ""},
	{"a chat and a prompt's completion", `{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"},{"index":1,"text":"a","finish_reason":"stop"}]}`, ""},
	{"a message besides the text", `{"choices":[{"index":0,"text":"a","message":{"content":"a"},"finish_reason":"stop"}]}`, ""},
	{"a delta besides the text", `{"choices":[{"index":0,"text":"a","delta":{"content":"a"},"finish_reason":"stop"}]}`, ""},
	{"a delta besides the message", `{"choices":[{"index":0,"message":{"content":"a"},"delta":{"content":"a"},"finish_reason":"stop"}]}`, ""},
	{"a tool call more than there may be", `{"choices":[{"index":0,"message":{"tool_calls":[` + strings.Repeat(`{},`, maxIndex) + `{}]},"finish_reason":"stop"}]}`, ""},
	{"a chunk", `{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}`, ""},
	{"tool calls that are none", `{"choices":[{"index":0,"message":{"tool_calls":{}},"finish_reason":"stop"}]}`, ""},
}

func TestChatToStream(t *testing.T) { testToStream(t, wire.Chat, chatToStream) }
