package compat

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"github.com/tmc/langchaingo/llms"
	"github.com/tmc/langchaingo/llms/openai"

	"github.com/breakwater-go/breakwater/internal/test/sdktest"
)

// langChain is github.com/tmc/langchaingo's llms/openai, which never tries
// again.
type langChain struct{ llm *openai.LLM }

func newLangChain(baseURL string, client *http.Client) sdktest.Client {
	llm, err := openai.New(
		openai.WithToken(sdktest.CallerKey),
		openai.WithOrganization(sdktest.CallerOrg),
		openai.WithBaseURL(baseURL),
		openai.WithHTTPClient(client),
	)
	if err != nil {
		panic(err)
	}
	return langChain{llm}
}

func (langChain) options(q sdktest.Question) []llms.CallOption {
	options := []llms.CallOption{llms.WithModel(q.Model)}
	if q.Tool != "" {
		options = append(options, llms.WithTools([]llms.Tool{{Type: "function", Function: &llms.FunctionDefinition{
			Name: q.Tool, Parameters: map[string]string{"type": "object"},
		}}}))
	}
	return options
}

func (s langChain) ask(ctx context.Context, q sdktest.Question, options []llms.CallOption) (sdktest.Answer, error) {
	resp, err := s.llm.GenerateContent(ctx, []llms.MessageContent{llms.TextParts(llms.ChatMessageTypeHuman, q.Prompt)}, options...)
	if err != nil {
		return sdktest.Answer{}, err
	}
	choice := resp.Choices[0]
	a := sdktest.Answer{Text: choice.Content, Reasoning: choice.ReasoningContent, Finish: choice.StopReason}
	for _, call := range choice.ToolCalls {
		a.Tool += call.FunctionCall.Name
		a.ToolArguments += call.FunctionCall.Arguments
	}
	return a, nil
}

func (s langChain) Chat(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	return s.ask(ctx, q, s.options(q))
}

func (s langChain) Stream(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	var part sdktest.Answer
	a, err := s.ask(ctx, q, append(s.options(q), llms.WithStreamingReasoningFunc(func(_ context.Context, reasoning, chunk []byte) error {
		part.Reasoning += string(reasoning)
		// A chunk is text, or JSON of the parts of tool calls.
		var calls []struct{ Function llms.FunctionCall }
		if q.Tool == "" || json.Unmarshal(chunk, &calls) != nil {
			part.Text += string(chunk)
		}
		for _, call := range calls {
			part.Tool += call.Function.Name
			part.ToolArguments += call.Function.Arguments
		}
		return nil
	})))
	if err != nil {
		return part, err
	}
	return a, nil
}

var langChainStatus = regexp.MustCompile(`^API returned unexpected status code: (\d+)`)

// APIError reads text: this SDK has no type for a refusal.
func (langChain) APIError(err error) (sdktest.APIError, bool) {
	if err == nil {
		return sdktest.APIError{}, false
	}
	match := langChainStatus.FindStringSubmatch(err.Error())
	if match == nil {
		return sdktest.APIError{}, false
	}
	status, _ := strconv.Atoi(match[1])
	return sdktest.APIError{Status: status, Message: err.Error()}, true
}

func TestLangChainGo(t *testing.T) {
	sdktest.Run(t, sdktest.SDK{Name: "langchaingo", New: newLangChain, NoModel: true, NoFingerprint: true, NoStatus: true})
}
