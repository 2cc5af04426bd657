// Command anthropic-sdk-go has breakwater under github.com/anthropics/anthropic-sdk-go.
package main

import (
	"context"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/test/exampleenv"
)

func main() {
	hc, key, done := exampleenv.Client()
	defer done()

	// /anthropic is where DeepSeek has this wire; a backup gets the call where it
	// has it. option.WithMaxRetries(0) is unnecessary: once breakwater's own tries
	// are spent, the answer tells the SDK not to try again. Only behind the SDK's
	// own timeout, ten minutes without a stream, it does so all the same.
	client := anthropic.NewClient(option.WithBaseURL(exampleenv.BaseURL+"/anthropic"), option.WithAPIKey(key), option.WithHTTPClient(hc))

	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	message, err := client.Messages.New(ctx, anthropic.MessageNewParams{
		Model: exampleenv.Model, MaxTokens: 1024, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("what is a breakwater?"))},
	})
	if err != nil {
		exampleenv.Print("", err, &trail)
	}
	var text string
	for _, block := range message.Content { // thoughts are blocks, too
		text += block.Text
	}
	exampleenv.Print(text, nil, &trail)
}
