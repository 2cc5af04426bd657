package breakwatertest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	bt "github.com/breakwater-go/breakwater/breakwatertest"
)

// post sends a chat request of this body.
func (c *client) post(s *bt.Server, body string) *http.Response {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, s.URL()+"/chat/completions", strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

func (c *client) send(s *bt.Server, body string) (bt.Reply, error) {
	c.t.Helper()
	return bt.ReadAnswer(c.post(s, body))
}

const weather = `"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}]`

// What is asked for is what comes, plain and streamed.
func TestAnswers(t *testing.T) {
	c := tcp(t, bt.DeepSeek("deepseek"), bt.OpenAI("openai"))
	type want struct {
		content, reasoning, arguments, finish string
		reasoned                              int
	}
	answer := want{content: bt.Answer("hello"), finish: "stop"}
	thought := answer
	thought.reasoning, thought.reasoned = bt.Reasoning("hello"), 6
	called := want{arguments: bt.ToolArguments("hello"), finish: "tool_calls"}
	for _, tt := range []struct {
		name, host, fields string
		want               want
	}{
		{"DeepSeek thinks by default", "deepseek", `"messages":[{"role":"user","content":"hello"}]`, thought},
		{"thinking disabled", "deepseek", `"thinking":{"type":"disabled"},"messages":[{"role":"user","content":"hello"}]`, answer},
		{"others do not think", "openai", `"messages":[{"role":"user","content":"hello"}]`, answer},
		{"others think when told to", "openai", `"thinking":{"type":"enabled"},"messages":[{"role":"user","content":"hello"}]`, thought},
		{"the last user message counts", "openai", `"messages":[{"role":"user","content":"before"},{"role":"user","content":"hello"},{"role":"assistant","content":"hm"}]`, answer},
		{"content in parts", "openai", `"messages":[{"role":"user","content":[{"type":"text","text":"hel"},{"type":"text","text":"lo"}]}]`, answer},
		{"a tool", "openai", weather + `,"messages":[{"role":"user","content":"hello"}]`, called},
		{"behind a tool's result", "openai", weather + `,"messages":[{"role":"user","content":"hello"},{"role":"tool","content":"rain"}]`, answer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, stream := range []string{"false", "true"} {
				s := c.fleet.Server(tt.host)
				got, err := c.send(s, `{"model":"`+model+`","stream":`+stream+`,`+tt.fields+`}`)
				if err != nil {
					t.Fatal(err)
				}
				if got := (want{got.Content, got.Reasoning, got.ToolArguments, got.FinishReason, got.Usage.ReasoningTokens}); got != tt.want {
					t.Errorf("stream %s: got %+v, want %+v", stream, got, tt.want)
				}
				u := got.Usage
				if u.PromptTokens == 0 || u.TotalTokens != u.PromptTokens+u.CompletionTokens || u.CompletionTokens != 12+tt.want.reasoned ||
					tt.host == "deepseek" && u.CacheMissTokens != u.PromptTokens || got.Model != model || !strings.HasPrefix(got.ID, tt.host+"-") {
					t.Errorf("stream %s: got %+v", stream, got)
				}
			}
		})
	}
}

func TestAnswersDiffer(t *testing.T) {
	if bt.Answer("a") == bt.Answer("b") || strings.Contains(bt.Answer("a"), bt.Reasoning("a")) {
		t.Error("an answer does not prove which prompt it belongs to")
	}
	if !json.Valid([]byte(bt.ToolArguments("a"))) {
		t.Errorf("tool arguments are no JSON: %s", bt.ToolArguments("a"))
	}
}

// events are the data of a stream's events.
func events(t *testing.T, resp *http.Response) []string {
	t.Helper()
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Errorf("a stream has the type %q", got)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for event := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n\n"), "\n\n") {
		data, ok := strings.CutPrefix(event, "data: ")
		if !ok || strings.Contains(data, "\n") {
			t.Errorf("%q is no event of one data line", event)
		}
		all = append(all, data)
	}
	return all
}

// The events of a stream are in DeepSeek's order: role, reasoning, content,
// finish with the usage, [DONE]; null and "" are where DeepSeek has them.
func TestStreamShape(t *testing.T) {
	c := tcp(t, bt.DeepSeek("primary"))
	s := c.fleet.Server("primary")
	s.SetPace(bt.Pace{Tokens: 2})
	const ask = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]`
	got := events(t, c.post(s, ask+`}`))
	for i, want := range []string{
		`"delta":{"role":"assistant","content":null,"reasoning_content":""},"logprobs":null,"finish_reason":null}]`,
		`"delta":{"content":null,"reasoning_content":"思考`,
		`"delta":{"content":"回答`,
		`"reasoning_content":null}`,
		`"finish_reason":"stop"}],"usage":{`,
		`[DONE]`,
	} {
		if len(got) != 6 || !strings.Contains(got[i], want) {
			t.Fatalf("event %d of %d is %s, want %s in it", i+1, len(got), got[i], want)
		}
	}
	got = events(t, c.post(s, ask+`,"stream_options":{"include_usage":true}}`))
	if n := len(got); n != 7 || strings.Contains(got[4], `"usage"`) || !strings.Contains(got[5], `"choices":[],"usage":{`) {
		t.Errorf("with include_usage the last of %d events are %q", n, got[n-3:])
	}
	got = events(t, c.post(s, ask+`,"n":2,"thinking":{"type":"disabled"}}`))
	if text := strings.Join(got, "\n"); strings.Count(text, `"finish_reason":"stop"`) != 2 || strings.Count(text, `"index":1`) != 4 {
		t.Errorf("of two choices came:\n%s", text)
	}
}

// Waiting is seen as keep-alives, and takes as long as the pace says.
func TestPace(t *testing.T) {
	pace := bt.Pace{Queue: 3500 * time.Millisecond, FirstToken: 2 * time.Second, PerToken: time.Second, Tokens: 4}
	host := bt.OpenAI("primary")
	host.Pace = pace
	inBubble(t, func(t *testing.T, c *client) {
		s := c.fleet.Server("primary")
		for _, tt := range []struct {
			stream    string
			keepAlive string
		}{{"false", "\n"}, {"true", ": keep-alive\n\n"}} {
			start := time.Now()
			resp := c.post(s, `{"model":"m","stream":`+tt.stream+`,"messages":[{"role":"user","content":"hello"}]}`)
			if d := time.Since(start); d != 0 {
				t.Errorf("stream %s: headers after %v, want at once", tt.stream, d)
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if want := 9500 * time.Millisecond; time.Since(start) != want {
				t.Errorf("stream %s: the answer took %v, want %v", tt.stream, time.Since(start), want)
			}
			if rest, ok := strings.CutPrefix(string(text), strings.Repeat(tt.keepAlive, 3)); !ok || strings.HasPrefix(rest, tt.keepAlive) {
				t.Errorf("stream %s: want three keep-alives first:\n%s", tt.stream, text)
			}
		}
		s.SetPace(bt.Pace{})
		start := time.Now()
		c.mustAnswer(s, "faster", true)
		if d := time.Since(start); d != 0 {
			t.Errorf("with the zero pace the answer took %v", d)
		}
	}, host)
}
