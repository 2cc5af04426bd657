package request

import (
	"encoding/json"
	"reflect"
	"testing"
)

// The usage is asked for where nobody asked for it, and where no host can misunderstand the
// request.
func TestAskForUsage(t *testing.T) {
	for body, want := range map[string]string{
		`{"model":"m","stream":true}`:                                            `{"stream_options":{"include_usage":true},"model":"m","stream":true}`,
		" {\n \"stream\" : true }":                                               " {\"stream_options\":{\"include_usage\":true},\n \"stream\" : true }",
		`{"stream":true,"stream_options":{}}`:                                    `{"stream":true,"stream_options":{"include_usage":true}}`,
		`{"stream":true,"stream_options":null}`:                                  `{"stream":true,"stream_options":{"include_usage":true}}`,
		`{"stream":true,"stream_options": {"include_usage":false} ,"model":"m"}`: `{"stream":true,"stream_options": {"include_usage":true} ,"model":"m"}`,
		`{"stream":true,"stream_options":{"include_usage":null}}`:                `{"stream":true,"stream_options":{"include_usage":true}}`,
		`{"stream":true,"stream_options":{"include_usage":true}}`:                ``,
		`{"stream":true,"stream_options":{"include_usage":1}}`:                   ``,
		`{"stream":true,"stream_options":{"continuous_usage_stats":true}}`:       ``,
		`{"stream":true,"stream_options":{},"stream_options":{}}`:                ``,
		`{"stream":true,"Stream_Options":{}}`:                                    ``,
		`{"stream":true,"stream_options":"yes"}`:                                 ``,
		`{"stream":false}`:                                                       ``,
		`{"model":"m"}`:                                                          ``,
		`{"stream":"true"}`:                                                      ``,
		`[]`:                                                                     ``,
		``:                                                                       ``,
		`{"messages":[{"content":"{\"stream_options\":{}}"}],"stream":true}`:     `{"stream_options":{"include_usage":true},"messages":[{"content":"{\"stream_options\":{}}"}],"stream":true}`,
		`{"messages":[{"stream_options":{}}],"stream":true,"stream_options":null}`: `{"messages":[{"stream_options":{}}],"stream":true,"stream_options":{"include_usage":true}}`,
	} {
		p := Parse([]byte(body))
		edit, ok := AskForUsage(&p, []byte(body))
		if !ok {
			if want != "" {
				t.Errorf("%s: nothing is asked for", body)
			}
			continue
		}
		if got := string(Splice(nil, []byte(body), []Edit{edit})); got != want {
			t.Errorf("%s becomes %s, want %s", body, got, want)
		}
	}
}

// Whatever a request is, one that asks for its usage asks for nothing else, and all else stays.
func FuzzAskForUsage(f *testing.F) {
	for _, seed := range []string{`{"stream":true}`, `{"stream":true,"stream_options":{"include_usage":false},"x":[1]}`, `{"stream_options":null,"stream":true}`, `{"stream":true`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p := Parse(body)
		edit, ok := AskForUsage(&p, body)
		if !ok || !json.Valid(body) {
			return
		}
		var before, after map[string]any
		if json.Unmarshal(body, &before) != nil {
			return
		}
		got := Splice(nil, body, []Edit{edit})
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%q becomes %q: %v", body, got, err)
		}
		if q := Parse(got); !q.IncludeUsage || !q.Stream || q.Ambiguous {
			t.Errorf("%q becomes %q, which does not ask for the usage", body, got)
		}
		delete(before, "stream_options")
		delete(after, "stream_options")
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%q becomes %q", body, got)
		}
	})
}
