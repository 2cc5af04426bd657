package request

import (
	"strings"
	"testing"
)

// What a request needs of its host stands in many places. Texts that look like it say
// nothing.
func TestNeeds(t *testing.T) {
	chat := func(content string) string { return `{"messages":[{"role":"user","content":` + content + `}]}` }
	for _, tt := range []struct {
		body string
		want Needs
	}{
		{`{}`, 0},
		{`[{"safety_check":{"level":"high"}}]`, 0},
		{chat(`"an {\"type\":\"image_url\"} and \"safety_check\":{\"level\":\"high\"}"`), 0},
		{chat(`[{"type":"text","text":"\"type\":\"image_url\""}]`), 0},
		{chat(`null`), 0},
		{chat(`[]`), 0},
		{chat(`["a","b"]`), 0},

		{chat(`[{"type":"text","text":"q"},{"type":"image_url","image_url":{"url":"https://x.example/i.png"}}]`), Images},
		{chat(`[{"image_url":{"url":"data:image/png;base64,iVBO"},"type":"image_url"}]`), Images},
		{chat(`[{"type":"image_url","image_url":"HTTPS://x.example/i.png"}]`), Images},
		{chat(`[{"t\u0079pe":"image\u005furl"}]`), Images},
		{chat(`[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBO"}}]`), Images},
		{chat(`[{"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"type":"url","url":"https://x.example/i.png"}}]}]`), Images},
		{`{"input":[{"role":"user","content":[{"type":"input_image","image_url":"https://x.example/i.png"}]}]}`, Images},
		{`{"input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"data:image/png;base64,iVBO"}]}]}`, Images},
		{`{"messages":[{"content":"q"},{"content":[{"type":"image_url"}]},{"content":"r"}]}`, Images},

		{chat(`[{"type":"image_url","image_url":{"url":"file:file-api-1"}}]`), Images | Stored},
		{chat(`[{"type":"image_url","image_url":{"url":"file-api-1"}}]`), Images | Stored},
		{chat(`[{"type":"image_url","image_url":{"url":"oss://bucket/i.png"}}]`), Images | Stored},
		{chat(`[{"type":"image","source":{"type":"file","file_id":"file-api-1"}}]`), Images | Stored},
		{`{"input":[{"role":"user","content":[{"type":"input_image","file_id":"file-api-1"}]}]}`, Images | Stored},
		{chat(`[{"type":"file","file":{"file_id":"file-api-1"}}]`), Files | Stored},
		{chat(`[{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBE"}}]`), Files},
		{chat(`[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBE"}}]`), Files},
		{chat(`[{"type":"document","source":{"type":"file","file_id":"file-api-1"}}]`), Files | Stored},
		{chat(`[{"type":"input_audio","input_audio":{"data":"UklG","format":"wav"}}]`), Files},
		{chat(`[{"type":"video_url","video_url":{"url":"https://x.example/v.mp4"}}]`), Files},
		{`{"input":[{"role":"user","content":[{"type":"input_file","file_id":"file-api-1"}]}]}`, Files | Stored},
		{`{"input":[{"role":"user","content":[{"type":"input_file","file_url":"https://x.example/a.pdf"}]}]}`, Files},
		{`{"input":[{"role":"user","content":[{"type":"input_file","file_id":null,"file_data":"JVBE"}]}]}`, Files},
		{chat(`[{"type":"document","document":{"file_id":"file-api-1"}}]`), Files | Stored},
		{chat(`[{"type":"file_url","file_url":{"url":"https://x.example/a.pdf"}}]`), Files},
		{chat(`[{"type":"file","file":"file-api-1"}]`), Files | Stored},
		{chat(`[{"type":"tool_use","id":"toolu_1","name":"open","input":{"file_id":"file-1","url":"file:///a"}}]`), 0},
		{chat(`[{"type":"text","text":"see file-1","cache_control":{"type":"ephemeral"}}]`), 0},
		{`{"messages":[{"role":"user","content":"q","file_ids":["file-1"]}]}`, Stored},
		{`{"messages":[{"role":"user","content":"q","file_ids":[]}]}`, 0},
		{`{"messages":[{"role":"system","content":"fileid://file-fe-1"}]}`, Stored},

		{`{"input":"text"}`, 0},
		{`{"input":["a","b"]}`, 0},
		{`{"input":[1,2,3]}`, 0},
		{`{"input":[[1,2],[3]]}`, 0},
		{`{"input":[{"role":"user","content":"q"},{"type":"reasoning","summary":[]},{"type":"function_call","name":"f"},{"type":"function_call_output","output":"{}"}]}`, 0},
		{`{"input":[{"type":"item_reference","id":"msg_1"}]}`, Stored},
		{`{"input":[{"type":"web_search_call","id":"ws_1"},{"role":"user","content":"q"}]}`, OwnTools},
		{chat(`[{"type":"server_tool_use","name":"web_search"},{"type":"web_search_tool_result","content":[]}]`), OwnTools},
		{chat(`[{"type":"tool_use","name":"f","input":{"type":"image"}},{"type":"thinking","thinking":"t"}]`), 0},

		{`{"tools":[]}`, 0},
		{`{"tools":null}`, 0},
		{`{"tools":[{"type":"function","function":{"name":"web_search","parameters":{"type":"object","properties":{"type":{"type":"string"}}}}}]}`, Tools},
		{`{"tools":[{"name":"f","input_schema":{"type":"object"}}]}`, Tools},
		{`{"tools":[{"name":"f","type":"custom"}]}`, Tools},
		{`{"functions":[{"name":"f"}]}`, Tools},
		{`{"tools":[{"type":"deepseek_web_search"}]}`, DeepSeekTools},
		{`{"tools":[{"type":"deepseek_read_url","name":"deepseek_read_url"},{"type":"function","function":{}}]}`, DeepSeekTools | Tools},
		{`{"tools":[{"type":"deepseek_web_search"}],"messages":[{"content":[{"type":"server_tool_use"}]}]}`, DeepSeekTools},
		{`{"tools":[{"type":"web_search"}]}`, OwnTools},
		{`{"tools":[{"type":"web_search_20250305","name":"web_search"}]}`, OwnTools},
		{`{"tools":[{"type":"mcp","server_url":"https://m.example"}]}`, OwnTools},
		{`{"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}`, OwnTools | Stored},
		{`{"tools":[{"type":"code_interpreter","container":"cntr_1"}]}`, OwnTools | Stored},
		{`{"tools":[{"type":"code_interpreter","container":{"type":"auto"}}]}`, OwnTools},
		{`{"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-1"]}}]}`, OwnTools | Stored},
		{`{"web_search_options":{"search_context_size":"low"}}`, OwnTools},
		{`{"enable_search":true}`, OwnTools},
		{`{"enable_search":false}`, 0},
		{`{"plugins":[{"id":"web"}]}`, OwnTools},
		{`{"plugins":[]}`, 0},
		{`{"enable_code_interpreter":true}`, OwnTools},
		{`{"mcp_servers":[{"type":"url"}]}`, OwnTools},
		{`{"container":"container_1"}`, Stored},
		{`{"prompt":{"id":"pmpt_1"}}`, Stored},
		{`{"prompt":"{"}`, 0},

		{`{"response_format":{"type":"text"}}`, 0},
		{`{"response_format":null}`, 0},
		{`{"response_format":{"type":"json_object"}}`, JSONMode},
		{`{"response_format":{"json_schema":{"schema":{"type":"object"}},"type":"json_schema"}}`, JSONSchema},
		{`{"response_format":{"type":"grammar","grammar":"root ::= x"}}`, Grammar},
		{`{"text":{"format":{"type":"json_schema","name":"n"}}}`, JSONSchema},
		{`{"text":{"format":{"type":"text"},"verbosity":"low"}}`, 0},
		{`{"output_config":{"effort":"low","format":{"type":"json_schema"}}}`, JSONSchema},
		{`{"guided_regex":"a+"}`, Grammar},
		{`{"guided_json":null}`, 0},

		{`{"safety_check":{"level":"high"}}`, Review},
		{`{"safety_check":{"level":"medium"}}`, Review},
		{`{"safety_check":{"level":"low"}}`, 0},
		{`{"safety_check": { "level" : "low" } }`, 0},
		{`{"safety_check":{}}`, Review},
		{`{"safety_check":null}`, 0},
		{`{"safety_check":"high"}`, Review},
		{`{"safety_check":{"level":"low"},"safety_check":{"level":"high"}}`, Review},
		{`{"safety_check":{"level":"low","level":"high"}}`, Review},

		{`{"messages":[{"role":"assistant","content":"a","partial":true}]}`, OwnPrefix},
		{`{"messages":[{"role":"assistant","partial":true},{"role":"user"}]}`, 0},
		{`{"continue_final_message":true,"add_generation_prompt":false}`, OwnPrefix},

		{`{"previous_response_id":"resp_1"}`, Stored},
		{`{"conversation":"conv_1"}`, Stored},
		{`{"background":true,"tools":[{"type":"web_search"}]}`, Stored | OwnTools},
		{`{"model":"m","safety_check":{"level":"high"}`, Review}, // cut
	} {
		if got := Parse([]byte(tt.body)).Needs; got != tt.want {
			t.Errorf("Parse(%s): needs %b, want %b", tt.body, got, tt.want)
		}
		spaced := strings.NewReplacer(`":`, "\" :\n\t", `,"`, " , \"", `[{`, "[ {", `}]`, "} ]").Replace(tt.body)
		if got := Parse([]byte(spaced)).Needs; got != tt.want && !strings.Contains(tt.body, `\"`) {
			t.Errorf("Parse(%s): needs %b, want %b", spaced, got, tt.want)
		}
	}
}

// However deep content stands in content, the request is read to its end.
func TestNeeds_OfDeepContent(t *testing.T) {
	deep := strings.Repeat(`[{"type":"tool_result","content":`, 100_000) + `"x"` + strings.Repeat(`}]`, 100_000)
	p := Parse([]byte(`{"messages":[{"content":` + deep + `}],"model":"m"}`))
	if p.Model != "m" || p.Needs != 0 {
		t.Errorf("the model is %q, the needs are %b", p.Model, p.Needs)
	}
}
