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
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// openAIGo is github.com/openai/openai-go, which tries again by itself: its
// default of two retries is left as it is.
type openAIGo struct{ client openai.Client }

func newOpenAIGo(baseURL string, client *http.Client) sdk {
	return openAIGo{openai.NewClient(
		option.WithBaseURL(baseURL),
		option.WithAPIKey(callerKey),
		option.WithOrganization(callerOrg),
		option.WithHTTPClient(client),
	)}
}

func (s openAIGo) params(q question) openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{
		Model:    q.model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(q.prompt)},
	}
	if q.tool != "" {
		p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
			Name: q.tool, Parameters: openai.FunctionParameters{"type": "object"},
		})}
	}
	return p
}

func (s openAIGo) chat(ctx context.Context, q question) (answer, error) {
	resp, err := s.client.Chat.Completions.New(ctx, s.params(q))
	if err != nil {
		return answer{}, err
	}
	choice := resp.Choices[0]
	a := answer{
		text: choice.Message.Content, reasoning: extra(choice.Message.JSON.ExtraFields),
		finish: choice.FinishReason, model: resp.Model, fingerprint: resp.SystemFingerprint,
	}
	for _, call := range choice.Message.ToolCalls {
		a.tool += call.Function.Name
		a.toolArguments += call.Function.Arguments
	}
	return a, nil
}

func (s openAIGo) stream(ctx context.Context, q question) (answer, error) {
	stream := s.client.Chat.Completions.NewStreaming(ctx, s.params(q))
	defer stream.Close()
	var a answer
	for stream.Next() {
		chunk := stream.Current()
		a.model, a.fingerprint = chunk.Model, chunk.SystemFingerprint
		for _, choice := range chunk.Choices {
			a.text += choice.Delta.Content
			a.reasoning += extra(choice.Delta.JSON.ExtraFields)
			a.finish += choice.FinishReason
			for _, call := range choice.Delta.ToolCalls {
				a.tool += call.Function.Name
				a.toolArguments += call.Function.Arguments
			}
		}
	}
	return a, stream.Err()
}

func (openAIGo) apiError(err error) (apiError, bool) {
	var e *openai.Error
	if !errors.As(err, &e) {
		return apiError{}, false
	}
	return apiError{e.StatusCode, e.Message}, true
}

// extra reads reasoning_content, which this SDK knows only as a field it does
// not know.
func extra(fields map[string]respjson.Field) string {
	var text string
	_ = json.Unmarshal([]byte(fields["reasoning_content"].Raw()), &text) // absent and null are no text
	return text
}

// This SDK's error keeps the response, so that ErrorOf reaches what is behind
// an answer that breakwater wrote itself.
func TestErrorOfThroughOpenAIGo(t *testing.T) {
	w := newWorld(t, newOpenAIGo, false)
	w.breaks("primary", kit.Refused())
	w.breaks("backup", kit.Refused())
	_, err, trail := w.ask(t.Context(), question{model: model, prompt: "is anybody there?"}, false)
	var api *openai.Error
	if !errors.As(err, &api) {
		t.Fatalf("got %v, want the SDK's API error", err)
	}
	var own *breakwater.Error
	if !errors.As(breakwater.ErrorOf(api.Response), &own) || len(own.Attempts) != len(trail) {
		t.Errorf("ErrorOf = %v, want the %d attempts of the trail", own, len(trail))
	}
	if !errors.Is(own, syscall.ECONNREFUSED) {
		t.Errorf("%v has not the network's error behind it", own)
	}
}
