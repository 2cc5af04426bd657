package request

import (
	"reflect"
	"strings"
	"testing"
)

// A body says what its fields say, wherever they stand in it, and nothing else.
func TestParams_Parse(t *testing.T) {
	none := Params{Choices: 1}
	with := func(set func(*Params)) Params {
		p := none
		set(&p)
		return p
	}
	for _, tt := range []struct {
		name, body string
		want       Params
	}{
		{"nothing", ``, none},
		{"no object", `[{"model":"m"}]`, none},
		{"no JSON", `model=m`, none},
		{"fields of others", `{"x":{"model":"m","stream":true},"y":"\"model\":\"m\""}`, none},
		{"a model", `{ "model" : "m" }`, with(func(p *Params) { p.Model, p.ModelAt = "m", Span{12, 15} })},
		{"a model by an escaped name", `{"mod\u0065l":"m"}`, with(func(p *Params) { p.Model, p.ModelAt = "m", Span{14, 17} })},
		{"a model with an escape", `{"model":"a\"b"}`, with(func(p *Params) { p.Model, p.ModelAt = `a"b`, Span{9, 15} })},
		{"two models", `{"model":"a","model":"b"}`, with(func(p *Params) { p.Model, p.ModelAt = "b", Span{21, 24} })},
		{"a model that is no text", `{"model":1}`, none},
		{"a model of the longest name", `{"model":"` + strings.Repeat("m", maxModel) + `"}`, with(func(p *Params) {
			p.Model, p.ModelAt = strings.Repeat("m", maxModel), Span{9, 11 + maxModel}
		})},
		{"a model with a name like a book", `{"model":"` + strings.Repeat("m", maxModel+1) + `"}`, none},
		{"user", `{"user":"u"}`, with(func(p *Params) { p.UserField, p.UserAt = "user", Span{1, 7} })},
		{"user_id", `{"user_id":"u"}`, with(func(p *Params) { p.UserField, p.UserAt = "user_id", Span{1, 10} })},
		{"both users", `{"user_id":"u","user":"u"}`, with(func(p *Params) { p.UserField = "user_id" })},
		{"max_tokens", `{"max_tokens":9}`, with(func(p *Params) { p.MaxTokens, p.MaxTokensAt = 9, Span{14, 15} })},
		{"temperature 0", `{"temperature":0.0}`, with(func(p *Params) { p.ZeroTemperature = true })},
		{"temperature", `{"temperature":0.1}`, none},
		{"temperature that is no number", `{"temperature":"0"}`, none},
		{"messages", `{"messages":[{"role":"user"}]}`, with(func(p *Params) { p.MessagesEnd = 28 })},
		{"no messages", `{"messages":[]}`, none},
		{"messages that are no list", `{"messages":"hi"}`, none},
		{"logprobs", `{"logprobs":true}`, with(func(p *Params) { p.Logprobs = true })},
		{"a response to go on from", `{"previous_response_id":"r"}`, with(func(p *Params) { p.Needs = Stored })},
		{"none to go on from", `{"previous_response_id":null}`, none},
		{"a conversation", `{"conversation":{"id":"c"},"background":false}`, with(func(p *Params) { p.Needs = Stored })},
		{"in the background", `{"background":true}`, with(func(p *Params) { p.Needs = Stored })},
		{"a prefix", `{"messages":[{"role":"assistant","prefix":true}]}`, with(func(p *Params) { p.MessagesEnd, p.PrefixCompletion, p.Needs = 47, true, Prefix })},
	} {
		if got := Parse([]byte(tt.body)); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: Parse(%s) = %+v, want %+v", tt.name, tt.body, got, tt.want)
		}
	}
}

// Hosts differ in what they make of fields that are said twice, in another case
// or as another type.
func TestParams_Stream(t *testing.T) {
	for _, tt := range []struct {
		body                     string
		stream, usage, ambiguous bool
	}{
		{`{}`, false, false, false},
		{`{"stream":false}`, false, false, false},
		{`{"stream":null}`, false, false, false},
		{`{"stream":true}`, true, false, false},
		{`{"stream":true,"stream":true}`, true, false, false},
		{`{"stream":true,"stream":false}`, false, false, true},
		{`{"stream":"true"}`, false, false, true},
		{`{"stream":1}`, false, false, true},
		{`{"Stream":true}`, false, false, true},
		{`{"STREAM_OPTIONS":{}}`, false, false, true},
		{`{"stream":true,"stream_options":null}`, true, false, false},
		{`{"stream":true,"stream_options":{"include_usage":true}}`, true, true, false},
		{`{"stream":true,"stream_options":{"include_usage":false}}`, true, false, false},
		{`{"stream":true,"stream_options":{"include_usage":"yes"}}`, true, false, true},
		{`{"stream":true,"stream_options":{"other":null}}`, true, false, false},
		{`{"stream":true,"stream_options":{"other":1}}`, true, false, true},
		{`{"stream":true,"stream_options":[]}`, true, false, true},
		{`{"stream":true,"stream_options":{},"stream_options":{}}`, true, false, true},
	} {
		p := Parse([]byte(tt.body))
		if p.Stream != tt.stream || p.IncludeUsage != tt.usage || p.Ambiguous != tt.ambiguous {
			t.Errorf("Parse(%s): stream %v, usage %v, ambiguous %v, want %v, %v, %v", tt.body, p.Stream, p.IncludeUsage, p.Ambiguous, tt.stream, tt.usage, tt.ambiguous)
		}
	}
}

func TestParams_Thinking(t *testing.T) {
	for _, tt := range []struct {
		body  string
		mode  ThinkingMode
		field ThinkingField
		at    string
		has   []ThinkingField
	}{
		{`{}`, ThinkingUnsaid, ThinkingUnknown, ``, nil},
		{`{"thinking":{"type":"enabled"}}`, ThinkingOn, ThinkingObject, `"thinking":{"type":"enabled"}`, []ThinkingField{ThinkingObject}},
		{`{"thinking":{"type":"disabled"}}`, ThinkingOff, ThinkingObject, `"thinking":{"type":"disabled"}`, []ThinkingField{ThinkingObject}},
		{`{"thinking":null}`, ThinkingUnsaid, ThinkingUnknown, ``, []ThinkingField{ThinkingObject}},
		{`{"enable_thinking" : true}`, ThinkingOn, EnableThinking, `"enable_thinking" : true`, []ThinkingField{EnableThinking}},
		{`{"enable_thinking":false}`, ThinkingOff, EnableThinking, `"enable_thinking":false`, []ThinkingField{EnableThinking}},
		{`{"enable_thinking":"yes"}`, ThinkingUnsaid, ThinkingUnknown, ``, []ThinkingField{EnableThinking}},
		{`{"reasoning":{"enabled":true}}`, ThinkingOn, ReasoningObject, `"reasoning":{"enabled":true}`, []ThinkingField{ReasoningObject}},
		{`{"reasoning":{"enabled":false}}`, ThinkingOff, ReasoningObject, `"reasoning":{"enabled":false}`, []ThinkingField{ReasoningObject}},
		{`{"reasoning":{"effort":"high"}}`, ThinkingUnsaid, ThinkingUnknown, ``, []ThinkingField{ReasoningObject}},
		{`{"thinking":{"type":"enabled"},"enable_thinking":false}`, ThinkingOn, EnableThinking, ``, []ThinkingField{ThinkingObject, EnableThinking}},
	} {
		th := Parse([]byte(tt.body)).Thinking
		if at := tt.body[th.At.From:th.At.To]; th.Mode() != tt.mode || th.Field != tt.field || at != tt.at {
			t.Errorf("Parse(%s): mode %v, field %v at %q, want %v, %v at %q", tt.body, th.Mode(), th.Field, at, tt.mode, tt.field, tt.at)
		}
		var has []ThinkingField
		for _, f := range []ThinkingField{ThinkingObject, EnableThinking, ReasoningObject} {
			if th.Has(f) {
				has = append(has, f)
			}
		}
		if !reflect.DeepEqual(has, tt.has) {
			t.Errorf("Parse(%s) has %v, want %v", tt.body, has, tt.has)
		}
	}
}

// A field as it is written says what it was written for.
func TestThinking_FieldsAreReadAsWritten(t *testing.T) {
	for _, f := range []ThinkingField{ThinkingObject, EnableThinking, ReasoningObject} {
		for think, mode := range map[bool]ThinkingMode{true: ThinkingOn, false: ThinkingOff} {
			body := `{"` + f.Name() + `":` + f.Value(think) + `}`
			if got := Parse([]byte(body)).Thinking; got.Field != f || got.Mode() != mode {
				t.Errorf("%s is read as field %v, mode %v, want %v, %v", body, got.Field, got.Mode(), f, mode)
			}
		}
	}
}

// A FIM completion with several prompts has the choices of each.
func TestParams_PromptsHaveChoicesEach(t *testing.T) {
	for prompt, want := range map[string]int32{`"a"`: 1, `["a","b"]`: 2, `["a"]`: 1, `[1,2,3]`: 1, `[[1,2],[3],[4]]`: 3, `[]`: 1} {
		if got := Parse([]byte(`{"model":"m","prompt":` + prompt + `}`)).Choices; got != want {
			t.Errorf("prompt %s has %d choices, want %d", prompt, got, want)
		}
		if got := Inputs([]byte(`{"input":` + prompt + `}`)); int32(got) != want {
			t.Errorf("input %s has %d texts, want %d", prompt, got, want)
		}
	}
	for n, want := range map[string]int32{`"2"`: 4, `2`: 4, `0`: 2, `-1`: 2, `1e300`: maxChoices, `"x"`: 2, `null`: 2} {
		if got := Parse([]byte(`{"n":` + n + `,"prompt":["a","b"]}`)).Choices; got != want {
			t.Errorf("n = %s for each of 2 prompts: %d choices, want %d", n, got, want)
		}
	}
}

func TestPrefixCompletion(t *testing.T) {
	for body, want := range map[string]bool{
		``:                 false,
		`{"messages":[]}`:  false,
		`{"messages":"x"}`: false,
		`{"messages":[{"role":"assistant","prefix":true}]}`:                  true,
		`{"messages":[{"role":"assistant","prefix":"true"}]}`:                false,
		`{"messages":[{"role":"assistant","prefix":true},{"role":"user"}]}`:  false,
		`{"messages":[{"content":"\"prefix\":true"}]}`:                       false,
		`{"messages":[{"role":"user"},{"role":"assistant","prefix": true}]}`: true,
	} {
		if got := Parse([]byte(body)).PrefixCompletion; got != want {
			t.Errorf("Parse(%s): a prefix completion: %v, want %v", body, got, want)
		}
	}
}

// Each call is parsed: that makes no garbage.
func TestParams_ParseAllocatesNothing(t *testing.T) {
	body := []byte(`{"model":"m","stream":true,"stream_options":{"include_usage":true},"thinking":{"type":"enabled"},"user":"u","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"q"},{"type":"image_url","image_url":{"url":"https://example.com/i.png"}}]}],
		"tools":[{"type":"function","function":{"name":"f"}}],"response_format":{"type":"json_object"},"max_tokens":9}`)
	if n := testing.AllocsPerRun(100, func() { Parse(body) }); n != 0 {
		t.Errorf("Parse allocates %v times, want never", n)
	}
}
