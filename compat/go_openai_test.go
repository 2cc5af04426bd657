package compat

import (
	"testing"

	"context"
	"errors"
	"github.com/breakwater-go/breakwater/internal/test/sdktest"
	"io"
	"net/http"

	"github.com/sashabaranov/go-openai"
)

// goOpenAI is github.com/sashabaranov/go-openai, which never tries again.
type goOpenAI struct{ client *openai.Client }

func newGoOpenAI(baseURL string, client *http.Client) sdktest.Client {
	config := openai.DefaultConfig(sdktest.CallerKey)
	config.BaseURL = baseURL
	config.OrgID = sdktest.CallerOrg
	config.HTTPClient = client
	return goOpenAI{openai.NewClientWithConfig(config)}
}

func (goOpenAI) request(q sdktest.Question) openai.ChatCompletionRequest {
	r := openai.ChatCompletionRequest{
		Model:    q.Model,
		Messages: []openai.ChatCompletionMessage{{Role: openai.ChatMessageRoleUser, Content: q.Prompt}},
	}
	if q.Tool != "" {
		r.Tools = []openai.Tool{{Type: openai.ToolTypeFunction, Function: &openai.FunctionDefinition{
			Name: q.Tool, Parameters: map[string]string{"type": "object"},
		}}}
	}
	return r
}

func (s goOpenAI) Chat(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	resp, err := s.client.CreateChatCompletion(ctx, s.request(q))
	if err != nil {
		return sdktest.Answer{}, err
	}
	choice := resp.Choices[0]
	a := sdktest.Answer{
		Text: choice.Message.Content, Reasoning: choice.Message.ReasoningContent,
		Finish: string(choice.FinishReason), Model: resp.Model, Fingerprint: resp.SystemFingerprint,
	}
	for _, call := range choice.Message.ToolCalls {
		a.Tool += call.Function.Name
		a.ToolArguments += call.Function.Arguments
	}
	return a, nil
}

func (s goOpenAI) Stream(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	stream, err := s.client.CreateChatCompletionStream(ctx, s.request(q))
	if err != nil {
		return sdktest.Answer{}, err
	}
	defer stream.Close()
	var a sdktest.Answer
	for {
		chunk, err := stream.Recv()
		switch {
		case err == io.EOF:
			return a, nil
		case err != nil:
			return a, err
		}
		a.Model, a.Fingerprint = chunk.Model, chunk.SystemFingerprint
		for _, choice := range chunk.Choices {
			a.Text += choice.Delta.Content
			a.Reasoning += choice.Delta.ReasoningContent
			a.Finish += string(choice.FinishReason)
			for _, call := range choice.Delta.ToolCalls {
				a.Tool += call.Function.Name
				a.ToolArguments += call.Function.Arguments
			}
		}
	}
}

// apiError takes RequestError for one, too: the SDK's word for a refusal
// whose body is not in OpenAI's shape.
func (goOpenAI) APIError(err error) (sdktest.APIError, bool) {
	var e *openai.APIError
	if errors.As(err, &e) {
		return sdktest.APIError{Status: e.HTTPStatusCode, Message: e.Message}, true
	}
	var r *openai.RequestError
	if errors.As(err, &r) {
		return sdktest.APIError{Status: r.HTTPStatusCode, Message: string(r.Body)}, true
	}
	return sdktest.APIError{}, false
}

func TestGoOpenAI(t *testing.T) {
	sdktest.Run(t, sdktest.SDK{Name: "sashabaranov/go-openai", New: newGoOpenAI})
}
