package compat

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/go-deepseek/deepseek/client"
	"github.com/go-deepseek/deepseek/config"
	"github.com/go-deepseek/deepseek/request"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/sdktest"
)

// goDeepSeek is github.com/go-deepseek/deepseek, whose host and models are
// fixed, and whose only door is its http.Client.
type goDeepSeek struct{ client *client.Client }

func newGoDeepSeek(_ string, hc *http.Client) sdktest.Client {
	c, err := client.NewClient(config.Config{ApiKey: sdktest.CallerKey, TimeoutSeconds: 120})
	if err != nil {
		panic(err)
	}
	c.Client.Transport = hc.Transport
	return goDeepSeek{c}
}

func (goDeepSeek) request(q sdktest.Question, stream bool) *request.ChatCompletionsRequest {
	r := &request.ChatCompletionsRequest{Model: q.Model, Stream: stream, Messages: []*request.Message{{Role: "user", Content: q.Prompt}}}
	if q.Tool != "" {
		r.Tools = &[]request.Tool{{Type: "function", Function: &request.ToolFunction{Name: q.Tool, Parameters: map[string]string{"type": "object"}}}}
	}
	return r
}

// reasoner is the other of its two models, which has methods of its own.
const reasoner = "deepseek-reasoner"

func (c goDeepSeek) Chat(ctx context.Context, q sdktest.Question) (a sdktest.Answer, err error) {
	call := c.client.CallChatCompletionsChat
	if q.Model == reasoner {
		call = c.client.CallChatCompletionsReasoner
	}
	resp, err := call(ctx, c.request(q, false))
	if err != nil {
		return a, err
	}
	choice := resp.Choices[0]
	a = sdktest.Answer{
		Text: choice.Message.Content, Reasoning: choice.Message.ReasoningContent, Finish: choice.FinishReason,
		Model: resp.Model, Fingerprint: resp.SystemFingerprint,
	}
	for _, call := range choice.Message.ToolCalls {
		a.Tool += call.Function.Name
		a.ToolArguments += call.Function.Arguments
	}
	return a, nil
}

func (c goDeepSeek) Stream(ctx context.Context, q sdktest.Question) (a sdktest.Answer, err error) {
	call := c.client.StreamChatCompletionsChat
	if q.Model == reasoner {
		call = c.client.StreamChatCompletionsReasoner
	}
	stream, err := call(ctx, c.request(q, true))
	if err != nil {
		return a, err
	}
	for {
		chunk, err := stream.Read()
		switch {
		case err == io.EOF:
			return a, nil
		case err != nil:
			return a, err
		}
		a.Model, a.Fingerprint = chunk.Model, chunk.SystemFingerprint
		for _, choice := range chunk.Choices {
			a.Finish += choice.FinishReason
			if choice.Delta != nil {
				a.Text += choice.Delta.Content
				a.Reasoning += choice.Delta.ReasoningContent
			}
		}
	}
}

var statusInText = regexp.MustCompile(`http_status_code=(\d+)`)

// APIError reads the text: this SDK has no type for errors.
func (goDeepSeek) APIError(err error) (sdktest.APIError, bool) {
	if err == nil {
		return sdktest.APIError{}, false
	}
	e := sdktest.APIError{Message: err.Error()}
	if found := statusInText.FindStringSubmatch(e.Message); found != nil {
		e.Status, _ = strconv.Atoi(found[1])
	}
	return e, strings.HasPrefix(e.Message, "err: ")
}

func TestGoDeepSeek(t *testing.T) {
	sdktest.Run(t, sdktest.SDK{
		Name: "go-deepseek/deepseek", New: newGoDeepSeek, Origin: "https://api.deepseek.com", Model: "deepseek-chat",
		NoStreamTools: true, // its deltas do not have them
		NoStatus:      true, // it has no type for errors
	})
}

// The table asks for deepseek-chat, which does not think. Its deepseek-reasoner
// does, by today's name of it.
func TestGoDeepSeekReasoner(t *testing.T) {
	host := kit.DeepSeek("deepseek")
	host.Models = []string{"deepseek-flash"}
	fleet, err := kit.NewFleet(host)
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	base := fleet.Transport()
	defer base.CloseIdleConnections()
	server := fleet.Server("deepseek")
	toServer := breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		req = req.Clone(req.Context())
		req.URL.Scheme, req.URL.Host = "http", strings.TrimPrefix(server.URL(), "http://")
		return base.RoundTrip(req)
	})
	rt, err := breakwater.New(breakwater.WithBase(toServer))
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	client := newGoDeepSeek("", &http.Client{Transport: rt})
	q := sdktest.Question{Model: reasoner, Prompt: "why?"}
	for name, ask := range map[string]func(context.Context, sdktest.Question) (sdktest.Answer, error){"chat": client.Chat, "stream": client.Stream} {
		got, err := ask(t.Context(), q)
		if err != nil || got.Text != kit.Answer(q.Prompt) || got.Reasoning != kit.Reasoning(q.Prompt) || got.Model != "deepseek-flash" {
			t.Errorf("%s = %+v, %v, want deepseek-flash's text and reasoning", name, got, err)
		}
	}
}
