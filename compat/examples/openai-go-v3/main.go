// Command openai-go-v3 has breakwater under github.com/openai/openai-go, version 3.
package main

import (
	"context"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/sea"
)

func main() {
	hc, key, done := sea.Client()
	defer done()

	// option.WithMaxRetries(0) is unnecessary: once breakwater's own tries are
	// spent, the answer tells the SDK not to try again.
	client := openai.NewClient(option.WithBaseURL(sea.BaseURL), option.WithAPIKey(key), option.WithHTTPClient(hc))

	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	resp, err := client.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{
		Model: sea.Model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("what is a breakwater?")},
	})
	if err != nil {
		sea.Print("", err, &trail)
	}
	sea.Print(resp.Choices[0].Message.Content, nil, &trail)
}
