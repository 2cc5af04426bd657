package breakwatertest_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	bt "github.com/breakwater-go/breakwater/breakwatertest"
)

// Each host refuses in its own words.
func TestRefusalsOfAllPersonas(t *testing.T) {
	type says struct {
		status int
		text   string
	}
	overdue, unknown, throttled, busy, wrong := bt.Overdue(), bt.ModelNotFound(), bt.QuotaThrottle(), bt.Busy(), bt.Unauthorized()
	filtered := bt.ContentFilter()
	want := map[string]map[string]says{
		"deepseek": {
			overdue.Name(): {402, `"message":"Insufficient Balance"`}, unknown.Name(): {400, "but you passed deepseek-flash."},
			wrong.Name(): {401, `"type":"authentication_error"`},
		},
		"openai":      {unknown.Name(): {404, `"code":"model_not_found"`}, throttled.Name(): {429, `"code":"insufficient_quota"`}, filtered.Name(): {400, "The prompt was filtered by"}},
		"siliconflow": {overdue.Name(): {403, `{"code":30001,"message":"Sorry, your account balance is insufficient","data":null}`}, busy.Name(): {503, `{"code":50603,"message":"System is really busy`}},
		"ark":         {overdue.Name(): {403, `"code":"AccountOverdueError"`}, unknown.Name(): {404, `"code":"InvalidEndpointOrModel.NotFound"`}, busy.Name(): {429, `"code":"ServerOverloaded"`}},
		"bailian":     {overdue.Name(): {400, `"code":"Arrearage"`}, throttled.Name(): {429, `"code":"insufficient_quota"`}},
		"tokenhub":    {wrong.Name(): {401, `"error":{`}},
		"qianfan":     {overdue.Name(): {403, `{"error":{"code":"account_overdue"`}, wrong.Name(): {401, `"invalid_iam_token"`}},
		"azure":       {wrong.Name(): {401, `"code":"401"`}, filtered.Name(): {400, "The response was filtered due to"}},
		"openrouter":  {overdue.Name(): {402, `{"error":{"code":402,`}, busy.Name(): {503, `"metadata":{}`}},
		"together":    {overdue.Name(): {402, `"type":"credit_limit"`}},
		"fireworks":   {unknown.Name(): {404, `"code":"NOT_FOUND"`}, overdue.Name(): {412, "spending limit or failure to pay"}},
		"ollama":      {busy.Name(): {503, `{"error":"server busy, please try again. maximum pending requests exceeded"}`}},
		"vllm":        {unknown.Name(): {404, `"code":404}}`}, bt.ServerError().Name(): {500, `"code":500}}`}},
		"sglang":      {unknown.Name(): {404, `{"object":"error","message":"The model `}},
	}
	c := tcp(t, bt.Personas()...)
	for _, s := range c.fleet.Servers() {
		if want[s.Name()] == nil {
			t.Errorf("no test knows the host %s", s.Name())
		}
		for _, fault := range bt.Faults() {
			says, ok := want[s.Name()][fault.Name()]
			if !ok {
				continue
			}
			s.Break(fault)
			_, err := c.ask(s, "hello", false, time.Minute)
			var refused *bt.StatusError
			if !errors.As(err, &refused) || refused.Code != says.status || !strings.Contains(refused.Body, says.text) {
				t.Errorf("%s: %s is %v, want %d and %s", s.Name(), fault, err, says.status, says.text)
			}
		}
	}
}

// On Messages every host's errors have Anthropic's shape.
func TestRefusalsOnMessages(t *testing.T) {
	c := tcp(t, bt.Personas()...)
	for _, s := range c.fleet.Servers() {
		s.Break(bt.TooManyRequests("1"))
		_, err := c.askOn(bt.Messages, s, "hello", true, time.Minute)
		var refused *bt.StatusError
		if !errors.As(err, &refused) || refused.Code != http.StatusTooManyRequests ||
			!strings.HasPrefix(refused.Body, `{"type":"error","error":{"type":"rate_limit_error","message":`) {
			t.Errorf("%s: %v", s.Name(), err)
		}
	}
}

// Some hosts call the reasoning otherwise, or keep a queued client alive so.
func TestOddFields(t *testing.T) {
	openRouter := bt.OpenRouter("openrouter")
	openRouter.Pace = bt.Pace{Queue: 2, KeepAlive: 1}
	c := tcp(t, openRouter, bt.VLLM("vllm"))
	for _, name := range []string{"openrouter", "vllm"} {
		for _, stream := range []string{"true", "false"} {
			body := `{"model":"m","stream":` + stream + `,"thinking":{"type":"enabled"},"messages":[{"role":"user","content":"hello"}]}`
			got, err := c.send(c.fleet.Server(name), body)
			if err != nil || got.Reasoning != bt.Reasoning("hello") || got.Content != bt.Answer("hello") {
				t.Errorf("%s, stream %s: %+v, %v", name, stream, got, err)
			}
			resp := c.post(c.fleet.Server(name), body)
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if strings.Contains(string(text), "reasoning_content") || !strings.Contains(string(text), `"reasoning":"`) ||
				stream == "true" && strings.Contains(string(text), ": OPENROUTER PROCESSING\n\n") != (name == "openrouter") {
				t.Errorf("%s, stream %s: %s", name, stream, text)
			}
		}
	}
}

// A DeepSeek host has its wires where api.deepseek.com has them, and nowhere else.
func TestPaths(t *testing.T) {
	c := tcp(t, bt.DeepSeek("deepseek"), bt.Bailian("bailian"), bt.Qianfan("qianfan"))
	for _, tt := range []struct {
		host, base string
		wire       bt.Wire
		status     int
	}{
		{"deepseek", "", bt.Chat, 200},
		{"deepseek", "/v1", bt.Chat, 200},
		{"deepseek", "/beta", bt.Chat, 200},
		{"deepseek", "/beta", bt.Completions, 200},
		{"deepseek", "", bt.Completions, 404},
		{"deepseek", "", bt.Responses, 200},
		{"deepseek", "/v1", bt.Responses, 200},
		{"deepseek", "/anthropic", bt.Messages, 200},
		{"deepseek", "", bt.Messages, 404},
		{"bailian", "/compatible-mode/v1", bt.Chat, 200},
		{"bailian", "/apps/anthropic", bt.Messages, 200},
		{"bailian", "/v1", bt.Chat, 404},
		{"qianfan", "/v2", bt.Messages, 200},
	} {
		s := c.fleet.Server(tt.host)
		origin := strings.TrimSuffix(strings.TrimSuffix(s.URL(), "/compatible-mode/v1"), "/v2")
		req, err := tt.wire.Request(t.Context(), origin+tt.base, key, model, "hello", false)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.do(req)
		got := 200
		if refused := (*bt.StatusError)(nil); errors.As(err, &refused) {
			got = refused.Code
		} else if err != nil {
			t.Error(err)
		}
		if got != tt.status {
			t.Errorf("%s%s, %s: %d, want %d", tt.host, tt.base, tt.wire, got, tt.status)
		}
	}
}
