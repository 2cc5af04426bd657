package compat

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cohesion-org/deepseek-go"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/sdktest"
)

// cohesion is github.com/cohesion-org/deepseek-go, which never tries again and
// bounds every call, streams included, by 5 minutes.
type cohesion struct{ client *deepseek.Client }

func newCohesion(baseURL string, client *http.Client) sdktest.Client {
	c, err := deepseek.NewClientWithOptions(sdktest.CallerKey, deepseek.WithBaseURL(baseURL+"/"), deepseek.WithHTTPClient(client))
	if err != nil {
		panic(err)
	}
	return cohesion{c}
}

func cohesionTools(q sdktest.Question) []deepseek.Tool {
	if q.Tool == "" {
		return nil
	}
	return []deepseek.Tool{{Type: "function", Function: deepseek.Function{Name: q.Tool, Parameters: &deepseek.FunctionParameters{Type: "object"}}}}
}

func (c cohesion) Chat(ctx context.Context, q sdktest.Question) (a sdktest.Answer, err error) {
	resp, err := c.client.CreateChatCompletion(ctx, &deepseek.ChatCompletionRequest{
		Model: q.Model, Messages: []deepseek.ChatCompletionMessage{{Role: "user", Content: q.Prompt}}, Tools: cohesionTools(q),
	})
	if err != nil {
		return a, err
	}
	choice := resp.Choices[0]
	a = sdktest.Answer{Text: choice.Message.Content, Reasoning: choice.Message.ReasoningContent, Finish: choice.FinishReason, Model: resp.Model}
	for _, call := range choice.Message.ToolCalls {
		a.Tool += call.Function.Name
		a.ToolArguments += call.Function.Arguments
	}
	return a, nil
}

func (c cohesion) Stream(ctx context.Context, q sdktest.Question) (a sdktest.Answer, err error) {
	stream, err := c.client.CreateChatCompletionStream(ctx, &deepseek.StreamChatCompletionRequest{
		Stream: true, Model: q.Model, Messages: []deepseek.ChatCompletionMessage{{Role: "user", Content: q.Prompt}}, Tools: cohesionTools(q),
	})
	if err != nil {
		return a, err
	}
	defer stream.Close()
	for {
		chunk, err := stream.Recv()
		switch {
		case err == io.EOF:
			return a, nil
		case err != nil:
			return a, err
		}
		a.Model = chunk.Model
		for _, choice := range chunk.Choices {
			a.Text += choice.Delta.Content
			a.Reasoning += choice.Delta.ReasoningContent
			a.Finish += choice.FinishReason
			for _, call := range choice.Delta.ToolCalls {
				a.Tool += call.Function.Name
				a.ToolArguments += call.Function.Arguments
			}
		}
	}
}

// APIError takes the message out of the body: the SDK's own word for it is its
// status's, since it looks for a code at the top.
func (cohesion) APIError(err error) (sdktest.APIError, bool) { return cohesionError(err) }

func cohesionError(err error) (sdktest.APIError, bool) {
	var e *deepseek.APIError
	if !errors.As(err, &e) {
		return sdktest.APIError{}, false
	}
	var body struct{ Error struct{ Message string } }
	if json.Unmarshal([]byte(e.ResponseBody), &body) != nil || body.Error.Message == "" {
		return sdktest.APIError{Status: e.StatusCode, Message: e.ResponseBody}, true
	}
	return sdktest.APIError{Status: e.StatusCode, Message: body.Error.Message}, true
}

func TestCohesion(t *testing.T) {
	sdktest.Run(t, sdktest.SDK{Name: "cohesion-org/deepseek-go", New: newCohesion, NoFingerprint: true})
}

// cohesionAnthropic is the same on Anthropic's wire.
type cohesionAnthropic struct{ client *deepseek.AnthropicClient }

func newCohesionAnthropic(baseURL string, client *http.Client) sdktest.Client {
	c := deepseek.NewAnthropicClient(sdktest.CallerKey)
	c.BaseURL, c.HTTPClient = strings.TrimSuffix(baseURL, "anthropic"), client
	return cohesionAnthropic{c}
}

func (cohesionAnthropic) request(q sdktest.Question) *deepseek.AnthropicRequest {
	r := &deepseek.AnthropicRequest{Model: q.Model, MaxTokens: 4096, Messages: []deepseek.AnthropicMessage{
		{Role: "user", Content: []any{map[string]string{"type": "text", "text": q.Prompt}}},
	}}
	if q.Tool != "" {
		r.Tools = []deepseek.AnthropicTool{{Name: q.Tool, InputSchema: map[string]string{"type": "object"}}}
	}
	return r
}

func (c cohesionAnthropic) answer(resp *deepseek.AnthropicResponse) sdktest.Answer {
	a := sdktest.Answer{Model: resp.Model, Finish: anthropicFinish(resp.StopReason)}
	for _, content := range resp.Content {
		block, _ := content.(map[string]any)
		text := func(name string) string { s, _ := block[name].(string); return s }
		switch block["type"] {
		case "text":
			a.Text += text("text")
		case "thinking":
			a.Reasoning += text("thinking")
		case "tool_use":
			arguments, _ := json.Marshal(block["input"])
			a.Tool, a.ToolArguments = a.Tool+text("name"), a.ToolArguments+string(arguments)
		}
	}
	return a
}

// anthropicFinish is a stop_reason as chat completions have it.
func anthropicFinish(reason string) string {
	switch reason {
	case "end_turn":
		return "stop"
	case "tool_use":
		return "tool_calls"
	}
	return reason
}

func (c cohesionAnthropic) Chat(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	resp, err := c.client.CreateAnthropicMessage(ctx, c.request(q))
	if err != nil {
		return sdktest.Answer{}, err
	}
	return c.answer(resp), nil
}

func (c cohesionAnthropic) Stream(ctx context.Context, q sdktest.Question) (a sdktest.Answer, err error) {
	stream, err := c.client.CreateAnthropicMessageStream(ctx, c.request(q))
	if err != nil {
		return a, err
	}
	defer stream.Close()
	for {
		resp, err := stream.Recv()
		switch {
		case err == io.EOF:
			return a, nil
		case err != nil:
			return a, err
		}
		a = c.answer(resp)
	}
}

func (cohesionAnthropic) APIError(err error) (sdktest.APIError, bool) { return cohesionError(err) }

func TestCohesionAnthropic(t *testing.T) {
	sdktest.Run(t, sdktest.SDK{
		Name: "cohesion-org/deepseek-go, Anthropic", New: newCohesionAnthropic, Wire: kit.Messages,
		NoStreamReasoning: true, NoStreamTools: true, // it drops their deltas, of a tool it tells the name
	})
}
