package wire

import "testing"

func TestEvent(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		want       Says
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
		{"flat error", `{"code":50603,"message":"busy","data":null}`, Failure, false},
		{"a message beside choices is none", `{"code":0,"message":"ok","choices":[{"index":0,"delta":{"content":"a"}}]}`, Payload, false},
		{"out of resources", `{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"insufficient_system_resource"}]}`, OutOfResources, false},
		{"cut", `{"choices":[{"index":0,"delta":{"con`, Malformed, false},
		{"no object", `[1]`, Malformed, false},
		{"empty", ``, Malformed, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a Answer
			if got := a.Event([]byte(tt.data)); got != tt.want || a.Finished() != tt.finished {
				t.Errorf("Event(%s) = %v, finished %v, want %v, %v", tt.data, got, a.Finished(), tt.want, tt.finished)
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
	if !a.Finished() || !a.Length {
		t.Errorf("Finished(), Length = %v, %v after both, want true, true", a.Finished(), a.Length)
	}
}

func TestUsage(t *testing.T) {
	var a Answer
	a.Text([]byte(`{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":-7,"total_tokens":1e300,"prompt_cache_hit_tokens":2,"completion_tokens_details":{"reasoning_tokens":1}}}`))
	if want := (Usage{PromptTokens: 5, TotalTokens: 1 << 31, CachedTokens: 2, ReasoningTokens: 1}); a.Usage != want {
		t.Errorf("Usage = %+v, want %+v", a.Usage, want)
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
	f.Fuzz(func(t *testing.T, data []byte) {
		var a Answer
		says := a.Event(data)
		if says == Malformed && (a.Finished() || a.Begun()) {
			t.Errorf("Event(%q) is malformed and still says something", data)
		}
		RefusalOf(data)
	})
}
