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

// postTo sends a request of this body to a wire.
func (c *client) postTo(w bt.Wire, s *bt.Server, body string) *http.Response {
	c.t.Helper()
	req, err := w.Request(c.t.Context(), s.WireURL(w), key, model, "", false)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Body, req.GetBody, req.ContentLength = io.NopCloser(strings.NewReader(body)), nil, int64(len(body))
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

// Every host answers on every wire.
func TestWiresOfAllPersonas(t *testing.T) {
	c := tcp(t, bt.Personas()...)
	for _, s := range c.fleet.Servers() {
		for _, w := range bt.Wires() {
			c.mustAnswerOn(w, s, "hello", false)
			c.mustAnswerOn(w, s, "hello", true)
		}
	}
}

// A request can be sent again, and says what its wire has words for.
func TestWireRequest(t *testing.T) {
	for _, tt := range []struct {
		wire           bt.Wire
		base, url      string
		credential     string
		says, saysNone string
	}{
		{bt.Chat, "http://a/v1/", "http://a/v1/chat/completions", "Authorization", `"thinking":{"type":"disabled"}`, "max_tokens"},
		{bt.Completions, "http://a/beta", "http://a/beta/completions", "Authorization", `"prompt":"hello"`, "thinking"},
		{bt.Responses, "http://a", "http://a/responses", "Authorization", `"effort":"none"`, "messages"},
		{bt.Messages, "http://a/anthropic", "http://a/anthropic/v1/messages", "X-Api-Key", `"max_tokens":`, "input"},
		{bt.Messages, "http://a/v1", "http://a/v1/messages", "X-Api-Key", `"thinking":{"type":"disabled"}`, "input"},
	} {
		req, err := tt.wire.Request(t.Context(), tt.base, key, model, "hello", true)
		if err != nil {
			t.Fatal(err)
		}
		again, err := req.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(again)
		if got := req.URL.String(); got != tt.url || !strings.Contains(req.Header.Get(tt.credential), key) ||
			!json.Valid(body) || !strings.Contains(string(body), tt.says) || strings.Contains(string(body), tt.saysNone) ||
			!strings.Contains(string(body), `"stream":true`) {
			t.Errorf("%s of %s: %s %v %s", tt.wire, tt.base, got, req.Header, body)
		}
	}
}

// The wires say the same, each in its own shape.
func TestAnswersOnWires(t *testing.T) {
	c := tcp(t, bt.DeepSeek("deepseek"))
	s := c.fleet.Server("deepseek")
	const (
		asked   = `[{"role":"user","content":"before"},{"role":"assistant","content":"hm"},{"role":"user","content":"hello"}]`
		inParts = `[{"role":"user","content":[{"type":"input_text","text":"hel"},{"type":"text","text":"lo"}]}]`
	)
	type want struct {
		content, reasoning, arguments, finish string
	}
	answer := want{content: bt.Answer("hello"), finish: "stop"}
	thought := answer
	thought.reasoning = bt.Reasoning("hello")
	called := want{reasoning: bt.Reasoning("hello"), arguments: bt.ToolArguments("hello"), finish: "tool_calls"}
	for _, tt := range []struct {
		name string
		wire bt.Wire
		body string
		want want
	}{
		{"text goes on", bt.Completions, `"prompt":"hello","suffix":"world"`, answer},
		{"prompt in pieces", bt.Completions, `"prompt":["hel","lo"]`, answer},
		{"a text for input", bt.Responses, `"input":"hello"`, thought},
		{"items for input", bt.Responses, `"input":` + asked, thought},
		{"parts of an item", bt.Responses, `"input":` + inParts + `,"reasoning":{"effort":"none"}`, answer},
		{"a function", bt.Responses, `"input":"hello","tools":[{"type":"function","name":"weather"}]`, called},
		{"a function's output", bt.Responses, `"tools":[{"name":"weather"}],"input":[{"role":"user","content":"hello"},{"type":"function_call_output","output":"rain"}]`, thought},
		{"messages", bt.Messages, `"messages":` + asked, thought},
		{"parts of a message", bt.Messages, `"messages":` + inParts + `,"thinking":{"type":"disabled"}`, answer},
		{"a tool", bt.Messages, `"messages":` + asked + `,"tools":[{"name":"weather"}]`, called},
		{"a tool's result", bt.Messages, `"tools":[{"name":"weather"}],"messages":[{"role":"user","content":"hello"},{"role":"user","content":[{"type":"tool_result","content":"rain"}]}]`, thought},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, stream := range []string{"false", "true"} {
				got, err := bt.ReadAnswer(c.postTo(tt.wire, s, `{"model":"`+model+`","stream":`+stream+`,`+tt.body+`}`))
				if err != nil {
					t.Fatal(err)
				}
				if got := (want{got.Content, got.Reasoning, got.ToolArguments, got.FinishReason}); got != tt.want {
					t.Errorf("stream %s: got %+v, want %+v", stream, got, tt.want)
				}
				u := got.Usage
				if u.PromptTokens == 0 || u.TotalTokens != u.PromptTokens+u.CompletionTokens || u.CompletionTokens < 12 ||
					!got.Done || got.Model != model || !strings.HasPrefix(got.ID, "deepseek-") || got.Fingerprint != "fp_deepseek" {
					t.Errorf("stream %s: got %+v", stream, got)
				}
			}
		})
	}
}

// names are the events of a stream by name, runs of one name once. It also
// checks that each is also the type in its data.
func names(t *testing.T, resp *http.Response) []string {
	t.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for event := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n\n"), "\n\n") {
		head, data, ok := strings.Cut(event, "\ndata: ")
		name, named := strings.CutPrefix(head, "event: ")
		if !ok || !named || !strings.HasPrefix(data, `{"type":"`+name+`"`) || !json.Valid([]byte(data)) {
			t.Errorf("%q is no named event", event)
		}
		if len(all) == 0 || all[len(all)-1] != name {
			all = append(all, name)
		}
	}
	return all
}

func TestNamedEvents(t *testing.T) {
	c := tcp(t, bt.DeepSeek("primary"))
	s := c.fleet.Server("primary")
	for _, tt := range []struct {
		wire       bt.Wire
		body, want string
	}{
		{bt.Responses, `"input":"hello"`, `response.created response.in_progress
			response.output_item.added response.reasoning_text.delta response.reasoning_text.done response.output_item.done
			response.output_item.added response.content_part.added response.output_text.delta response.output_text.done
			response.content_part.done response.output_item.done response.completed`},
		{bt.Responses, `"input":"hello","reasoning":{"effort":"none"},"tools":[{"name":"weather"}]`, `response.created response.in_progress
			response.output_item.added response.function_call_arguments.delta response.function_call_arguments.done
			response.output_item.done response.completed`},
		{bt.Messages, `"messages":[{"role":"user","content":"hello"}]`, `message_start ping
			content_block_start content_block_delta content_block_stop
			content_block_start content_block_delta content_block_stop message_delta message_stop`},
	} {
		got := strings.Join(names(t, c.postTo(tt.wire, s, `{"model":"m","stream":true,`+tt.body+`}`)), " ")
		if want := strings.Join(strings.Fields(tt.want), " "); got != want {
			t.Errorf("%s: got %s, want %s", tt.wire, got, want)
		}
	}
}

// Errors inside a 200 have the shape of their wire.
func TestErrorsInsideOnWires(t *testing.T) {
	c := tcp(t, bt.DeepSeek("primary"))
	s := c.fleet.Server("primary")
	for _, tt := range []struct {
		wire   bt.Wire
		fault  bt.Fault
		stream bool
		want   string
	}{
		{bt.Chat, bt.ErrorInside(), true, `data: {"error":{`},
		{bt.Responses, bt.ErrorInside(), true, "event: error\ndata: {\"type\":\"error\",\"code\":"},
		{bt.Responses, bt.ErrorFrame(3), true, "event: response.failed\ndata: "},
		{bt.Responses, bt.ErrorFrame(3), false, `"status":"failed"`},
		{bt.Responses, bt.OutOfResources(), false, `"incomplete_details":{"reason":"insufficient_system_resource"}`},
		{bt.Responses, bt.OutOfResources(), true, "event: response.incomplete\n"},
		{bt.Messages, bt.ErrorInside(), false, `{"type":"error","error":{"type":"api_error","message":`},
		{bt.Messages, bt.ErrorFrame(3), true, "event: error\ndata: {\"type\":\"error\",\"error\":{"},
		{bt.Messages, bt.OutOfResources(), true, `"stop_reason":"insufficient_system_resource"`},
		{bt.Messages, bt.Busy(), false, `{"type":"error","error":{"type":"overloaded_error","message":"Service is too busy."}}`},
	} {
		s.Break(tt.fault)
		req, err := tt.wire.Request(t.Context(), s.WireURL(tt.wire), key, model, "hello", tt.stream)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.Contains(string(text), tt.want) {
			t.Errorf("%s, %s, stream %v: want %s in\n%s", tt.wire, tt.fault, tt.stream, tt.want, text)
		}
	}
}

// A queued message shows pings as well as comments.
func TestKeepAlivesOnMessages(t *testing.T) {
	host := bt.DeepSeek("primary")
	host.Pace = bt.Pace{Queue: 4 * time.Second}
	inBubble(t, func(t *testing.T, c *client) {
		s := c.fleet.Server("primary")
		resp := c.postTo(bt.Messages, s, `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`)
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		queued, _, _ := strings.Cut(string(text), "event: message_start")
		if strings.Count(queued, "event: ping\n") != 2 || strings.Count(queued, ": keep-alive\n\n") != 2 {
			t.Errorf("while queued came %q", queued)
		}
	}, host)
}

// The choices of one answer differ and take turns.
func TestChoices(t *testing.T) {
	c := tcp(t, bt.OpenAI("primary"))
	s := c.fleet.Server("primary")
	for _, w := range []bt.Wire{bt.Chat, bt.Completions} {
		for _, stream := range []string{"false", "true"} {
			got, err := bt.ReadAnswer(c.postTo(w, s, `{"model":"m","n":3,"stream":`+stream+`,"prompt":"hello","messages":[{"role":"user","content":"hello"}]}`))
			if err != nil || len(got.Choices) != 3 || got.Content != bt.Answer("hello") || got.Usage.CompletionTokens != 36 {
				t.Fatalf("%s, stream %s: %+v, %v", w, stream, got, err)
			}
			for i, content := range got.Choices {
				if content != bt.Choice("hello", i) || i > 0 && content == got.Content {
					t.Errorf("%s, stream %s: choice %d says %q", w, stream, i, content)
				}
			}
		}
	}
	all := events(t, c.post(s, `{"model":"m","n":2,"stream":true,"messages":[{"role":"user","content":"hello"}]}`))
	for i, e := range all[:26] { // two roles and twelve deltas each
		if want := `"index":` + string(rune('0'+i%2)); !strings.Contains(e, want) {
			t.Errorf("event %d is %s, want %s in it", i+1, e, want)
		}
	}
}
