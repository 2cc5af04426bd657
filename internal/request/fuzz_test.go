package request

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// A spliced body says the same but for the fields whose spans were replaced, and
// those say what was put there.
func FuzzSplice(f *testing.F) {
	for _, seed := range []string{
		`{"model":"m","messages":[{"role":"user","content":"q"}]}`, `{"model":"a\"b","x":{"model":"c"}}`, `{"x":"\"model\":\"y\"","model" : "m" }`, `{"model":1}`, `{"model":"a","model":"b"}`,
		`{"model":"cut`, ``, `[]`, `{"mod\u0065l":"m"}`, `{"model":"deepseek-chat","user_id":"u"}`, `{"model":"deepseek-reasoner","messages":[],"max_tokens":1}`,
		`{"thinking":{"type":"disabled"},"model":"m","user":"u"}`, `{"enable_thinking" :true,"user_id":"u","user":"v"}`, `{"reasoning":{"enabled":false},"thinking":{"type":"enabled"}}`,
		`{"user":1,"user":2}`, `{"thinking":{"type":"x"`, `{"max_tokens":7,"messages":[{}],"max_output_tokens":[]}`,
	} {
		f.Add([]byte(seed), "deepseek-v4", uint8(1))
		f.Add([]byte(seed), "qu\"ote\\ \x00", uint8(2))
	}
	f.Fuzz(func(t *testing.T, body []byte, model string, field uint8) {
		before := bytes.Clone(body)
		name, err := json.Marshal(strings.ToValidUTF8(model, "?"))
		if err != nil {
			return
		}
		p, to := Parse(body), ThinkingField(1+field%3)
		var edits []Edit
		add := func(at Span, text string) {
			if at.To != 0 {
				edits = append(edits, Edit{at, text})
			}
		}
		add(p.ModelAt, string(name))
		add(p.MaxTokensAt, "1234")
		if !p.Thinking.Has(to) {
			add(p.Thinking.At, `"`+to.Name()+`":`+to.Value(!p.Thinking.On))
		}
		if p.MessagesEnd != 0 {
			add(Span{p.MessagesEnd, p.MessagesEnd}, `,{"role":"assistant"}`)
		}
		got := Splice(nil, body, edits)
		if !bytes.Equal(body, before) {
			t.Fatal("the body was changed")
		}
		var was, is map[string]any
		if json.Unmarshal(body, &was) != nil || was == nil {
			return // cut: what can be found in it may be replaced, which the host will refuse all the same
		}
		if err := json.Unmarshal(got, &is); err != nil {
			t.Fatalf("%q became %q: %v", body, got, err)
		}
		if again := Parse(got); p.ModelAt.To != 0 && len(name) <= maxModel && is["model"] != again.Model {
			t.Errorf("%q became %q, of model %q", body, got, again.Model)
		}
		for _, key := range []string{"model", "thinking", "enable_thinking", "reasoning", "messages", "max_tokens", "max_completion_tokens", "max_output_tokens"} {
			delete(was, key)
			delete(is, key)
		}
		if !reflect.DeepEqual(was, is) {
			t.Errorf("%q became %q: more than the fields changed", body, got)
		}
	})
}
