// Command openai-go-v1 has breakwater under github.com/openai/openai-go, version 1.
package main

import (
	"context"

	"github.com/openai/openai-go"
	"github.com/openai/openai-go/option"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/test/exampleenv"
)

func main() {
	hc, key, done := exampleenv.Client()
	defer done()

	// option.WithMaxRetries(0) is unnecessary: once breakwater's own tries are
	// spent, the answer tells the SDK not to try again.
	client := openai.NewClient(option.WithBaseURL(exampleenv.BaseURL), option.WithAPIKey(key), option.WithHTTPClient(hc))

	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	resp, err := client.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{
		Model: exampleenv.Model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("what is a breakwater?")},
	})
	if err != nil {
		exampleenv.Print("", err, &trail)
	}
	exampleenv.Print(resp.Choices[0].Message.Content, nil, &trail)
}
