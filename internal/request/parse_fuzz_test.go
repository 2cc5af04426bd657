package request

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// FuzzParse: to look for needs on the way changes nothing of what else is found, and no
// body, however broken, is read beyond its end.
func FuzzParse(f *testing.F) {
	for _, body := range []string{
		`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:x"}}]},{"content":"a","prefix":true}],"stream":true,"max_tokens":9}`,
		`{"tools":[{"type":"deepseek_web_search","container":{"file_ids":["x"]}}],"input":[{"type":"item_reference"}],"user":"u","model":"m"}`,
		`{"safety_check":{"level":"low"},"text":{"format":{"type":"json_schema"}},"system":["a",{"text":"b"}],"model":"m"}`,
		`{"messages":[{"content":[{"content":[{"content":[{"content":[{"type":"image"}]}]}]}]}],"model":"m"}`,
		`{"messages":[{"a":1]},"model":"m"}`, `{"messages":[{"content":`, `{"tools":[`, `{"input":["`, `{"messages":{"a":[}}`, `{"response_format":{"type"`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got := Parse(body)
		if least := MeasureTokens(body); int(least) > len(body) {
			t.Errorf("%q has %d tokens at least", body, least)
		}
		if !json.Valid(body) {
			return
		}
		plain := newParser(body)
		wire.Members(body, plain.member)
		want := plain.finish()
		want.Needs, want.TextBytes, want.PrefixCompletion = got.Needs, got.TextBytes, got.PrefixCompletion
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Parse(%q) = %+v, want %+v", body, got, want)
		}
	})
}
