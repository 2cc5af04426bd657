package genkit

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/firebase/genkit/go/ai"
	"github.com/firebase/genkit/go/genkit"
	"github.com/firebase/genkit/go/plugins/compat_oai"
	"github.com/openai/openai-go"
	"github.com/openai/openai-go/option"

	"github.com/breakwater-go/breakwater/internal/test/sdktest"
)

// A client is github.com/firebase/genkit/go's plugin for compatible APIs, which
// is made on openai-go v1 and leaves its two retries as they are.
type client struct{ app *genkit.Genkit }

// newClient makes an application that ends with ctx.
func newClient(ctx context.Context, baseURL string, hc *http.Client) sdktest.Client {
	return client{genkit.Init(ctx, genkit.WithPlugins(&compat_oai.OpenAICompatible{
		Provider: "deepseek",
		APIKey:   sdktest.CallerKey,
		BaseURL:  baseURL,
		Opts:     []option.RequestOption{option.WithOrganization(sdktest.CallerOrg), option.WithHTTPClient(hc)},
	}))}
}

func (c client) ask(ctx context.Context, q sdktest.Question, options ...ai.GenerateOption) (sdktest.Answer, error) {
	options = append(options, ai.WithModelName("deepseek/"+q.Model), ai.WithPrompt("%s", q.Prompt))
	if q.Tool != "" {
		tool := ai.NewTool(q.Tool, "", func(*ai.ToolContext, struct{}) (string, error) { return "", errors.New("nobody runs it") })
		options = append(options, ai.WithTools(tool), ai.WithReturnToolRequests(true))
	}
	resp, err := genkit.Generate(ctx, c.app, options...)
	if err != nil {
		return sdktest.Answer{}, err
	}
	a := sdktest.Answer{Text: resp.Text(), Reasoning: resp.Reasoning(), Finish: string(resp.FinishReason)}
	for _, request := range resp.ToolRequests() {
		a.Finish = "tool_calls" // genkit calls that stop, too
		a.Tool += request.Name
		arguments, err := json.Marshal(request.Input)
		if err != nil {
			return a, err
		}
		a.ToolArguments += string(arguments)
	}
	if custom, ok := resp.Custom.(map[string]any); ok {
		a.Model, _ = custom["model"].(string)
		a.Fingerprint, _ = custom["systemFingerprint"].(string)
	}
	return a, nil
}

func (c client) Chat(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	return c.ask(ctx, q)
}

func (c client) Stream(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	var part sdktest.Answer
	a, err := c.ask(ctx, q, ai.WithStreaming(func(_ context.Context, chunk *ai.ModelResponseChunk) error {
		part.Text += chunk.Text()
		part.Reasoning += chunk.Reasoning()
		for _, p := range chunk.Content {
			if p.IsToolRequest() {
				part.Tool += p.ToolRequest.Name
				arguments, _ := p.ToolRequest.Input.(string) // in a stream they are text, in pieces
				part.ToolArguments += arguments
			}
		}
		return nil
	}))
	if err != nil {
		return part, err
	}
	return a, nil
}

func (client) APIError(err error) (sdktest.APIError, bool) {
	var e *openai.Error
	if !errors.As(err, &e) {
		return sdktest.APIError{}, false
	}
	return sdktest.APIError{Status: e.StatusCode, Message: e.Message}, true
}

func TestGenkit(t *testing.T) {
	sdktest.Run(t, sdktest.SDK{
		Name: "genkit", NoReasoning: true,
		New: func(baseURL string, hc *http.Client) sdktest.Client { return newClient(t.Context(), baseURL, hc) },
	})
}
