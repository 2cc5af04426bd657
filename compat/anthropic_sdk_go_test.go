package compat

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/sdktest"
)

// anthropicSDKGo is github.com/anthropics/anthropic-sdk-go, which tries again
// by itself: its default of two retries is left as it is.
type anthropicSDKGo struct{ client anthropic.Client }

func newAnthropicSDKGo(baseURL string, client *http.Client) sdktest.Client {
	return anthropicSDKGo{anthropic.NewClient(
		option.WithoutEnvironmentDefaults(), // nor its profiles
		option.WithBaseURL(baseURL),
		option.WithAPIKey(sdktest.CallerKey),
		option.WithHTTPClient(client),
	)}
}

func (anthropicSDKGo) params(q sdktest.Question) anthropic.MessageNewParams {
	p := anthropic.MessageNewParams{
		Model:     anthropic.Model(q.Model),
		MaxTokens: 4096,
		Messages:  []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(q.Prompt))},
	}
	if q.Tool != "" {
		p.Tools = []anthropic.ToolUnionParam{anthropic.ToolUnionParamOfTool(anthropic.ToolInputSchemaParam{}, q.Tool)}
	}
	return p
}

func (s anthropicSDKGo) Chat(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	message, err := s.client.Messages.New(ctx, s.params(q))
	if err != nil {
		return sdktest.Answer{}, err
	}
	a := sdktest.Answer{Finish: finish(message.StopReason), Model: string(message.Model)}
	for _, block := range message.Content {
		a.Text += block.Text
		a.Reasoning += block.Thinking
		a.Tool += block.Name
		a.ToolArguments += string(block.Input)
	}
	return a, nil
}

func (s anthropicSDKGo) Stream(ctx context.Context, q sdktest.Question) (sdktest.Answer, error) {
	stream := s.client.Messages.NewStreaming(ctx, s.params(q))
	defer stream.Close()
	var a sdktest.Answer
	for stream.Next() {
		switch event := stream.Current(); event.Type {
		case "message_start":
			a.Model = string(event.Message.Model)
		case "content_block_start":
			a.Tool += event.ContentBlock.Name
		case "content_block_delta":
			a.Text += event.Delta.Text
			a.Reasoning += event.Delta.Thinking
			a.ToolArguments += event.Delta.PartialJSON
		case "message_delta":
			a.Finish = finish(event.Delta.StopReason)
		}
	}
	return a, stream.Err()
}

// finish is a stop reason in the words of chat completions.
func finish(reason anthropic.StopReason) string {
	switch reason {
	case anthropic.StopReasonEndTurn:
		return "stop"
	case anthropic.StopReasonToolUse:
		return "tool_calls"
	}
	return string(reason)
}

// APIError reads the message where the SDK leaves it: in the raw body.
func (anthropicSDKGo) APIError(err error) (sdktest.APIError, bool) {
	var e *anthropic.Error
	if !errors.As(err, &e) {
		return sdktest.APIError{}, false
	}
	var body struct {
		Error struct{ Message string }
	}
	_ = json.Unmarshal([]byte(e.RawJSON()), &body) // what is no JSON has no message
	return sdktest.APIError{Status: e.StatusCode, Message: body.Error.Message}, true
}

func TestAnthropicSDKGo(t *testing.T) {
	sdktest.Run(t, sdktest.SDK{Name: "anthropic-sdk-go", New: newAnthropicSDKGo, Wire: kit.Messages})
}

// This SDK's error keeps the response, too, and knows the type of an answer
// that breakwater wrote itself.
func TestErrorOfThroughAnthropicSDKGo(t *testing.T) {
	rt, err := breakwater.New(breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 1}), breakwater.WithBase(breakwater.RoundTripperFunc(func(*http.Request) (*http.Response, error) {
		return nil, syscall.ECONNREFUSED
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	client := newAnthropicSDKGo("https://api.deepseek.com/anthropic", &http.Client{Transport: rt})
	_, err = client.Chat(t.Context(), sdktest.Question{Model: "deepseek-flash", Prompt: "is anybody there?"})
	var api *anthropic.Error
	if !errors.As(err, &api) {
		t.Fatalf("got %v, want the SDK's API error", err)
	}
	if got, want := api.Type(), anthropic.ErrorTypeOverloadedError; got != want {
		t.Errorf("Type() = %q, want %q", got, want)
	}
	var own *breakwater.Error
	if !errors.As(breakwater.ErrorOf(api.Response), &own) || len(own.Attempts) != 1 || !errors.Is(own, syscall.ECONNREFUSED) {
		t.Errorf("ErrorOf = %v, want the one attempt, and the network's error behind it", own)
	}
}

// The one thing this SDK's retries multiply is its own timeout, ten minutes for
// an answer that is no stream: that is a deadline of the caller's, which stays
// a Go error, and it tries again on those. With WithMaxRetries(0) it does not.
func TestTimeoutOfAnthropicSDKGo(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []option.RequestOption
		want int
	}{
		{"as it is", nil, 3},
		{"without its retries", []option.RequestOption{option.WithMaxRetries(0)}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				attempts := 0
				rt, err := breakwater.New(breakwater.WithBase(breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					attempts++
					<-req.Context().Done()
					return nil, context.Cause(req.Context())
				})))
				if err != nil {
					t.Fatal(err)
				}
				defer rt.Close()
				s := newAnthropicSDKGo("https://api.deepseek.com/anthropic", &http.Client{Transport: rt}).(anthropicSDKGo)
				start := time.Now()
				_, err = s.client.Messages.New(t.Context(), s.params(sdktest.Question{Model: "deepseek-flash", Prompt: "is anybody there?"}), tt.opts...)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
				}
				if got := time.Since(start).Round(time.Minute); attempts != tt.want || got != time.Duration(tt.want)*10*time.Minute {
					t.Errorf("%d attempts in %v, want %d of 10m", attempts, got, tt.want)
				}
			})
		})
	}
}
