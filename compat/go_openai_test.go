package compat

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/sashabaranov/go-openai"
)

// goOpenAI is github.com/sashabaranov/go-openai, which never tries again.
type goOpenAI struct{ client *openai.Client }

func newGoOpenAI(baseURL string, client *http.Client) sdk {
	config := openai.DefaultConfig(callerKey)
	config.BaseURL = baseURL
	config.OrgID = callerOrg
	config.HTTPClient = client
	return goOpenAI{openai.NewClientWithConfig(config)}
}

func (goOpenAI) request(q question) openai.ChatCompletionRequest {
	r := openai.ChatCompletionRequest{
		Model:    q.model,
		Messages: []openai.ChatCompletionMessage{{Role: openai.ChatMessageRoleUser, Content: q.prompt}},
	}
	if q.tool != "" {
		r.Tools = []openai.Tool{{Type: openai.ToolTypeFunction, Function: &openai.FunctionDefinition{
			Name: q.tool, Parameters: map[string]string{"type": "object"},
		}}}
	}
	return r
}

func (s goOpenAI) chat(ctx context.Context, q question) (answer, error) {
	resp, err := s.client.CreateChatCompletion(ctx, s.request(q))
	if err != nil {
		return answer{}, err
	}
	choice := resp.Choices[0]
	a := answer{
		text: choice.Message.Content, reasoning: choice.Message.ReasoningContent,
		finish: string(choice.FinishReason), model: resp.Model, fingerprint: resp.SystemFingerprint,
	}
	for _, call := range choice.Message.ToolCalls {
		a.tool += call.Function.Name
		a.toolArguments += call.Function.Arguments
	}
	return a, nil
}

func (s goOpenAI) stream(ctx context.Context, q question) (answer, error) {
	stream, err := s.client.CreateChatCompletionStream(ctx, s.request(q))
	if err != nil {
		return answer{}, err
	}
	defer stream.Close()
	var a answer
	for {
		chunk, err := stream.Recv()
		switch {
		case err == io.EOF:
			return a, nil
		case err != nil:
			return a, err
		}
		a.model, a.fingerprint = chunk.Model, chunk.SystemFingerprint
		for _, choice := range chunk.Choices {
			a.text += choice.Delta.Content
			a.reasoning += choice.Delta.ReasoningContent
			a.finish += string(choice.FinishReason)
			for _, call := range choice.Delta.ToolCalls {
				a.tool += call.Function.Name
				a.toolArguments += call.Function.Arguments
			}
		}
	}
}

// apiError takes RequestError for one, too: the SDK's word for a refusal
// whose body is not in OpenAI's shape.
func (goOpenAI) apiError(err error) (apiError, bool) {
	var e *openai.APIError
	if errors.As(err, &e) {
		return apiError{e.HTTPStatusCode, e.Message}, true
	}
	var r *openai.RequestError
	if errors.As(err, &r) {
		return apiError{r.HTTPStatusCode, string(r.Body)}, true
	}
	return apiError{}, false
}
