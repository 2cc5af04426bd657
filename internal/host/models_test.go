package host

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/breakwater-go/breakwater/internal/request"
)

// What a caller calls a model finds its name at another endpoint, or that it has
// none there.
func TestNames_Serve(t *testing.T) {
	const deepSeek, ark = "https://api.deepseek.com", "https://ark.cn-beijing.volces.com/api/v3"
	deepseek, volcengine := at(t, "deepseek", deepSeek, nil), at(t, "volcengine", ark, nil)
	openrouter := at(t, "openrouter", "https://openrouter.ai/api/v1", nil)
	bailian := at(t, "bailian", "https://dashscope.aliyuncs.com/compatible-mode/v1", nil)
	byURL := at(t, "siliconflow", "https://api.siliconflow.cn/v1", nil)
	byURL.names = NamesByURL(byURL.profile, "api.siliconflow.cn")
	generic := at(t, "openai", "https://g.example/v1", nil)
	other := at(t, "openai", "https://h.example/v1", nil)
	own := at(t, "openai", "https://own.example", map[string]string{flash: "v4", "m": "mine", "deepseek-chat": "old"})
	twin := at(t, "volcengine", ark, map[string]string{flash: "a", v4Flash: "a", "deepseek-chat": "b", "deepseek-reasoner": "b"})
	for _, tt := range []struct {
		name, model  string
		target, asks *endpoint
		op           request.Operation
		want         string // empty: not served
	}{
		{"any name as it is", "x", deepseek, generic, request.Chat, "x"},
		{"no name", "", generic, other, request.Chat, ""},
		{"a name that is mapped", v4Pro, deepseek, volcengine, request.Chat, "deepseek-v4-pro-ga-260813"},
		{"a name that is not", "deepseek-v5", deepseek, openrouter, request.Chat, ""},
		{"the target takes any name", "ep-20260101", volcengine, volcengine, request.Chat, "ep-20260101"},
		{"the target's own mapping", flash, volcengine, volcengine, request.Chat, "deepseek-v4-flash-ga-260731"},
		{"a retired name at its own host", "deepseek-chat", deepseek, deepseek, request.Chat, flash},
		{"a retired name with a mapping", "deepseek-chat", deepseek, volcengine, request.Chat, "deepseek-v4-flash-ga-260731"},
		{"a retired name that thought", "deepseek-reasoner", deepseek, at(t, "qianfan", "https://qianfan.baidubce.com/v2", nil), request.Chat, "deepseek-v3.2-think"},
		{"a retired name that did not", "deepseek-chat", deepseek, at(t, "qianfan", "https://qianfan.baidubce.com/v2", nil), request.Chat, "deepseek-v3.2"},
		{"a retired name by its stand-in's", "deepseek-reasoner", deepseek, own, request.Chat, "v4"},
		{"the target's name for it", "deepseek-v4-pro-ga-260813", volcengine, openrouter, request.Chat, "deepseek/deepseek-v4-pro"},
		{"the target's name, back to DeepSeek's", "deepseek-v4-pro-ga-260813", volcengine, deepseek, request.Chat, v4Pro},
		{"the target's name of several", "a", twin, deepseek, request.Chat, flash},
		{"the target's name of retired ones alone", "b", twin, deepseek, request.Chat, "b"},
		{"a name by which it is known here already", "mine", deepseek, own, request.Chat, "mine"},
		{"known here by a retired name alone", "old", generic, own, request.Chat, "old"},
		{"a name of nobody's to DeepSeek", "x", generic, deepseek, request.Chat, "x"},
		{"Anthropic's best to another host", "claude-opus-4-7", deepseek, bailian, request.Messages, v4Pro},
		{"Anthropic's other names to another host", "claude-sonnet-4-5", deepseek, bailian, request.Messages, v4Flash},
		{"Anthropic's names at DeepSeek", "claude-opus-4-7", deepseek, deepseek, request.Messages, "claude-opus-4-7"},
		{"Anthropic's names at another account of DeepSeek's", "claude-haiku-4", deepseek, at(t, "deepseek", deepSeek, nil), request.Messages, "claude-haiku-4"},
		{"Anthropic's names to a host with any names", "claude-opus-4-7", deepseek, generic, request.Messages, "claude-opus-4-7"},
		{"Anthropic's names that the user maps", "claude-opus-4-7", deepseek, at(t, "openai", "https://own.example", map[string]string{"claude-opus-4-7": "mine", v4Pro: "pro"}), request.Messages, "mine"},
		{"Anthropic's names on another wire", "claude-opus-4-7", deepseek, bailian, request.Chat, ""},
		{"Anthropic's names, addressed to another host", "claude-opus-4-7", generic, bailian, request.Messages, ""},
		{"a name by URL alone", flash, deepseek, byURL, request.Chat, "deepseek-ai/DeepSeek-V4-Flash"},
		{"a retired name by URL alone", "deepseek-chat", deepseek, byURL, request.Chat, "deepseek-ai/DeepSeek-V4-Flash"},
		{"Anthropic's name by URL alone", "claude-opus-4-7", deepseek, byURL, request.Messages, "deepseek-ai/DeepSeek-V4-Pro"},
		{"another name by URL alone", "Qwen/Qwen4", deepseek, byURL, request.Chat, "Qwen/Qwen4"},
		{"its own name by URL alone, to DeepSeek", "deepseek-ai/DeepSeek-V4-Pro", byURL, deepseek, request.Chat, v4Pro},
		{"embeddings by URL alone", "bge", deepseek, byURL, request.Embeddings, ""},
		{"embeddings by a mapping", "m", generic, own, request.Embeddings, "mine"},
		{"embeddings at the target", "e", generic, generic, request.Embeddings, "e"},
		{"embeddings that nobody vouches for", "e", generic, other, request.Embeddings, ""},
	} {
		got, ok := tt.asks.names.Serve(tt.op, tt.model, &tt.target.names)
		if got != tt.want || ok != (tt.want != "" || tt.model == "") {
			t.Errorf("%s: %q is served as %q, %v, want %q", tt.name, tt.model, got, ok, tt.want)
		}
	}
}

// What a body says about model, thinking and user is said to the next host in
// its own fields, and nothing else of it changes.
func TestEdits(t *testing.T) {
	const rest = `"messages":[{"role":"user","content":"\u00e9 \"model\":1"}], "seed": 1.50}`
	for _, tt := range []struct {
		name, from, to string
		op             request.Operation
		model          string // at the next host; empty: the same
		body           string
		want           string
	}{
		{"nothing to say", "deepseek", "openai", request.Chat, "", `{"model":"x",` + rest, `{"model":"x",` + rest},
		{"model", "deepseek", "volcengine", request.Chat, "ep-1", `{"model" : "deepseek-flash",` + rest, `{"model" : "ep-1",` + rest},
		{"a model to be quoted", "deepseek", "openai", request.Chat, "a\"b", `{"model":"x",` + rest, `{"model":"a\"b",` + rest},
		{"no model", "deepseek", "openai", request.Chat, "y", `{` + rest, `{` + rest},
		{"thinking as DeepSeek has it to Bailian", "deepseek", "bailian", request.Chat, "", `{"thinking": {"type" : "disabled"},"model":"x",` + rest, `{"enable_thinking":false,"model":"x",` + rest},
		{"thinking as DeepSeek has it to OpenRouter", "deepseek", "openrouter", request.Chat, "y", `{"model":"x","thinking":{"type":"enabled"},` + rest, `{"model":"y","reasoning":{"enabled":true},` + rest},
		{"thinking as DeepSeek has it to Ark", "deepseek", "volcengine", request.Chat, "y", `{"model":"x","thinking":{"type":"enabled"},` + rest, `{"model":"y","thinking":{"type":"enabled"},` + rest},
		{"thinking where no field is known", "deepseek", "openai", request.Chat, "", `{"model":"x","thinking":{"type":"enabled"},` + rest, `{"model":"x","thinking":{"type":"enabled"},` + rest},
		{"thinking said twice", "deepseek", "bailian", request.Chat, "", `{"model":"x","thinking":{"type":"enabled"},"enable_thinking":true,` + rest, `{"model":"x","thinking":{"type":"enabled"},"enable_thinking":true,` + rest},
		{"thinking to the same host", "deepseek", "deepseek", request.Chat, "", `{"model":"x","enable_thinking":true,` + rest, `{"model":"x","enable_thinking":true,` + rest},
		{"thinking on another wire", "deepseek", "bailian", request.Messages, "", `{"model":"x","thinking":{"type":"enabled"},` + rest, `{"model":"x","thinking":{"type":"enabled"},` + rest},
		{"Bailian's to DeepSeek", "bailian", "deepseek", request.Chat, "", `{"model":"x","enable_thinking":true,"user":"u",` + rest, `{"model":"x","thinking":{"type":"enabled"},"user_id":"u",` + rest},
		{"user_id", "deepseek", "openai", request.Chat, "", `{"user_id" : "u","model":"x",` + rest, `{"user" : "u","model":"x",` + rest},
		{"user_id of a host that has none", "bailian", "openai", request.Chat, "", `{"user_id":"u","model":"x",` + rest, `{"user_id":"u","model":"x",` + rest},
		{"both users", "deepseek", "openai", request.Chat, "", `{"user_id":"u","user":"v","model":"x",` + rest, `{"user_id":"u","user":"v","model":"x",` + rest},
		{"a retired name did not think", "deepseek", "bailian", request.Chat, v4Flash, `{"model":"deepseek-chat",` + rest, `{"model":"deepseek-v4-flash","enable_thinking":false,` + rest},
		{"a retired name at its own host", "deepseek", "deepseek", request.Chat, flash, `{"model":"deepseek-chat",` + rest, `{"model":"deepseek-flash","thinking":{"type":"disabled"},` + rest},
		{"a retired name that is served", "deepseek", "openai", request.Chat, "deepseek-chat", `{"model":"deepseek-chat",` + rest, `{"model":"deepseek-chat",` + rest},
		{"a retired name where no field is known", "deepseek", "openai", request.Chat, "v4", `{"model":"deepseek-chat",` + rest, `{"model":"v4",` + rest},
		{"a retired name that thought", "deepseek", "volcengine", request.Chat, "ep-1", `{"model":"deepseek-reasoner",` + rest, `{"model":"ep-1","thinking":{"type":"enabled"},` + rest},
		{"a retired name whose stand-in thinks by itself", "deepseek", "qianfan", request.Chat, "deepseek-v3.2-think", `{"model":"deepseek-reasoner",` + rest, `{"model":"deepseek-v3.2-think",` + rest},
		{"a retired name with its own mode", "deepseek", "volcengine", request.Chat, "ep-1", `{"model":"deepseek-chat","thinking":{"type":"enabled"},` + rest, `{"model":"ep-1","thinking":{"type":"enabled"},` + rest},
		{"a retired name with a field that says nothing", "deepseek", "volcengine", request.Chat, "ep-1", `{"model":"deepseek-chat","thinking":null,` + rest, `{"model":"ep-1","thinking":null,` + rest},
		{"a retired name on Messages", "deepseek", "bailian", request.Messages, v4Flash, `{"model":"deepseek-chat",` + rest, `{"model":"deepseek-v4-flash","thinking":{"type":"disabled"},` + rest},
		{"a retired name that thought on Messages", "deepseek", "bailian", request.Messages, v4Flash, `{"model":"deepseek-reasoner",` + rest, `{"model":"deepseek-v4-flash",` + rest},
		{"a retired name on Responses", "deepseek", "volcengine", request.Responses, "ep-1", `{"model":"deepseek-chat",` + rest, `{"model":"ep-1",` + rest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := request.Parse([]byte(tt.body))
			model := tt.model
			if model == "" {
				model = p.Model
			}
			edits := Edits(&p, tt.op, Lookup(tt.from), Lookup(tt.to), model)
			if got := string(request.Splice(nil, []byte(tt.body), edits)); got != tt.want {
				t.Errorf("the next host gets\n%s, want\n%s", got, tt.want)
			}
		})
	}
}

// An edited body says the same but for the model, the mode of thinking and the
// name of the user's field, and every other byte stays.
func FuzzEdits(f *testing.F) {
	for _, seed := range []string{
		`{"model":"m","messages":[{"role":"user","content":"q"}]}`, `{"model":"a\"b","x":{"model":"c"}}`, `{"x":"\"model\":\"y\"","model" : "m" }`, `{"model":1}`, `{"model":"a","model":"b"}`,
		`{"model":"cut`, ``, `[]`, `{"mod\u0065l":"m"}`, `{"model":"deepseek-chat","user_id":"u"}`, `{"model":"deepseek-reasoner","messages":[]}`,
		`{"thinking":{"type":"disabled"},"model":"m","user":"u"}`, `{"enable_thinking" :true,"user_id":"u","user":"v"}`, `{"reasoning":{"enabled":false},"thinking":{"type":"enabled"}}`,
		`{"user":1,"user":2}`, `{"thinking":{"type":"x"`,
	} {
		for i := range table {
			f.Add([]byte(seed), "deepseek-v4", uint(i), uint(i*7+3), false)
			f.Add([]byte(seed), "qu\"ote\\ \x00", uint(i), uint(0), true)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, model string, from, to uint, messages bool) {
		before := bytes.Clone(body)
		op := request.Chat
		if messages {
			op = request.Messages
		}
		row := func(i uint) *Profile { return &table[i%uint(len(table))] }
		p := request.Parse(body)
		got := request.Splice(nil, body, Edits(&p, op, row(from), row(to), model))
		if !bytes.Equal(body, before) {
			t.Fatalf("the body was changed")
		}
		var was, is map[string]any
		if json.Unmarshal(body, &was) != nil || was == nil {
			return // cut: what can be found in it may be replaced, which the host will refuse all the same
		}
		if err := json.Unmarshal(got, &is); err != nil {
			t.Fatalf("%q became %q: %v", body, got, err)
		}
		for _, key := range []string{"model", "thinking", "enable_thinking", "reasoning", "user", "user_id"} {
			delete(was, key)
			delete(is, key)
		}
		if !reflect.DeepEqual(was, is) {
			t.Errorf("%q became %q: more than the names changed", body, got)
		}
	})
}
