// Command go-openai has breakwater under github.com/sashabaranov/go-openai.
package main

import (
	"context"

	"github.com/sashabaranov/go-openai"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/test/exampleenv"
)

func main() {
	hc, key, done := exampleenv.Client()
	defer done()

	// This client never tries again by itself. EmptyMessagesLimit may stay as it
	// is: keep-alives, which it counts, end at breakwater.
	config := openai.DefaultConfig(key)
	config.BaseURL, config.HTTPClient = exampleenv.BaseURL, hc
	client := openai.NewClientWithConfig(config)

	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	resp, err := client.CreateChatCompletion(ctx, openai.ChatCompletionRequest{
		Model: exampleenv.Model, Messages: []openai.ChatCompletionMessage{{Role: openai.ChatMessageRoleUser, Content: "what is a breakwater?"}},
	})
	if err != nil {
		exampleenv.Print("", err, &trail)
	}
	exampleenv.Print(resp.Choices[0].Message.Content, nil, &trail)
}
