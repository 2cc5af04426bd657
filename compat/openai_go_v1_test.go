package compat

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/openai/openai-go"
	"github.com/openai/openai-go/option"
	"github.com/openai/openai-go/packages/respjson"

	"github.com/breakwater-go/breakwater/internal/test/sdktest"
)

// openAIGoV1 is github.com/openai/openai-go, which tries again by itself: its
// default of two retries is left as it is.
type openAIGoV1 struct{ client openai.Client }

func newOpenAIGoV1(baseURL string, client *http.Client) sdktest.Client {
	return openAIGoV1{openai.NewClient(
		option.WithBaseURL(baseURL),
		option.WithAPIKey(sdktest.CallerKey),
		option.WithOrganization(sdktest.CallerOrg),
		option.WithHTTPClient(client),
	)}
}

func (s openAIGoV1) params(q sdktest.Question) openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{
		Model:    q.Model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(q.Prompt)},
	}
	if q.Tool != "" {
		p.Tools = []openai.ChatCompletionToolParam{{Function: openai.FunctionDefinitionParam{
			Name: q.Tool, Parameters: openai.FunctionParameters{"type": "object"},
		}}}
	}
	return p
}

func (s openAIGoV1) Chat(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	resp, err := s.client.Chat.Completions.New(ctx, s.params(q))
	if err != nil {
		return sdktest.Answer{}, err
	}
	choice := resp.Choices[0]
	a := sdktest.Answer{
		Text: choice.Message.Content, Reasoning: extraV1(choice.Message.JSON.ExtraFields),
		Finish: choice.FinishReason, Model: resp.Model, Fingerprint: resp.SystemFingerprint,
	}
	for _, call := range choice.Message.ToolCalls {
		a.Tool += call.Function.Name
		a.ToolArguments += call.Function.Arguments
	}
	return a, nil
}

func (s openAIGoV1) Stream(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	stream := s.client.Chat.Completions.NewStreaming(ctx, s.params(q))
	defer stream.Close()
	var a sdktest.Answer
	for stream.Next() {
		chunk := stream.Current()
		a.Model, a.Fingerprint = chunk.Model, chunk.SystemFingerprint
		for _, choice := range chunk.Choices {
			a.Text += choice.Delta.Content
			a.Reasoning += extraV1(choice.Delta.JSON.ExtraFields)
			a.Finish += choice.FinishReason
			for _, call := range choice.Delta.ToolCalls {
				a.Tool += call.Function.Name
				a.ToolArguments += call.Function.Arguments
			}
		}
	}
	return a, stream.Err()
}

func (openAIGoV1) APIError(err error) (sdktest.APIError, bool) {
	var e *openai.Error
	if !errors.As(err, &e) {
		return sdktest.APIError{}, false
	}
	return sdktest.APIError{Status: e.StatusCode, Message: e.Message}, true
}

// extraV1 reads reasoning_content, which this SDK knows only as a field it does
// not know.
func extraV1(fields map[string]respjson.Field) string {
	var text string
	_ = json.Unmarshal([]byte(fields["reasoning_content"].Raw()), &text) // absent and null are no text
	return text
}

func TestOpenAIGoV1(t *testing.T) {
	sdktest.Run(t, sdktest.SDK{Name: "openai-go v1", New: newOpenAIGoV1})
}
