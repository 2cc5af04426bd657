package compat

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"syscall"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/respjson"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/test/sdktest"
)

// openAIGo is github.com/openai/openai-go, which tries again by itself: its
// default of two retries is left as it is.
type openAIGo struct{ client openai.Client }

func newOpenAIGo(baseURL string, client *http.Client) sdktest.Client {
	return openAIGo{openai.NewClient(
		option.WithBaseURL(baseURL),
		option.WithAPIKey(sdktest.CallerKey),
		option.WithOrganization(sdktest.CallerOrg),
		option.WithHTTPClient(client),
	)}
}

func (s openAIGo) params(q sdktest.Question) openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{
		Model:    q.Model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(q.Prompt)},
	}
	if q.Tool != "" {
		p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
			Name: q.Tool, Parameters: openai.FunctionParameters{"type": "object"},
		})}
	}
	return p
}

func (s openAIGo) Chat(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	resp, err := s.client.Chat.Completions.New(ctx, s.params(q))
	if err != nil {
		return sdktest.Answer{}, err
	}
	choice := resp.Choices[0]
	a := sdktest.Answer{
		Text: choice.Message.Content, Reasoning: extra(choice.Message.JSON.ExtraFields),
		Finish: choice.FinishReason, Model: resp.Model, Fingerprint: resp.SystemFingerprint,
	}
	for _, call := range choice.Message.ToolCalls {
		a.Tool += call.Function.Name
		a.ToolArguments += call.Function.Arguments
	}
	return a, nil
}

func (s openAIGo) Stream(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	stream := s.client.Chat.Completions.NewStreaming(ctx, s.params(q))
	defer stream.Close()
	var a sdktest.Answer
	for stream.Next() {
		chunk := stream.Current()
		a.Model, a.Fingerprint = chunk.Model, chunk.SystemFingerprint
		for _, choice := range chunk.Choices {
			a.Text += choice.Delta.Content
			a.Reasoning += extra(choice.Delta.JSON.ExtraFields)
			a.Finish += choice.FinishReason
			for _, call := range choice.Delta.ToolCalls {
				a.Tool += call.Function.Name
				a.ToolArguments += call.Function.Arguments
			}
		}
	}
	return a, stream.Err()
}

func (openAIGo) APIError(err error) (sdktest.APIError, bool) {
	var e *openai.Error
	if !errors.As(err, &e) {
		return sdktest.APIError{}, false
	}
	return sdktest.APIError{Status: e.StatusCode, Message: e.Message}, true
}

// extra reads reasoning_content, which this SDK knows only as a field it does
// not know.
func extra(fields map[string]respjson.Field) string {
	var text string
	_ = json.Unmarshal([]byte(fields["reasoning_content"].Raw()), &text) // absent and null are no text
	return text
}

func TestOpenAIGo(t *testing.T) {
	sdktest.Run(t, sdktest.SDK{Name: "openai-go v3", New: newOpenAIGo})
}

// This SDK's error keeps the response, so that ErrorOf reaches what is behind
// an answer that breakwater wrote itself.
func TestErrorOfThroughOpenAIGo(t *testing.T) {
	rt, err := breakwater.New(breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 1}), breakwater.WithBase(breakwater.RoundTripperFunc(func(*http.Request) (*http.Response, error) {
		return nil, syscall.ECONNREFUSED
	})))
	if err != nil {
		t.Fatal(err)
	}
	_, err = newOpenAIGo("https://api.deepseek.com", &http.Client{Transport: rt}).Chat(t.Context(), sdktest.Question{Model: "deepseek-flash", Prompt: "is anybody there?"})
	var api *openai.Error
	if !errors.As(err, &api) {
		t.Fatalf("got %v, want the SDK's API error", err)
	}
	var own *breakwater.Error
	if !errors.As(breakwater.ErrorOf(api.Response), &own) || len(own.Attempts) != 1 || !errors.Is(own, syscall.ECONNREFUSED) {
		t.Errorf("ErrorOf = %v, want the one attempt, and the network's error behind it", own)
	}
}
