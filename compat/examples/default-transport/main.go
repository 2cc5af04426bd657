// Command default-transport has breakwater under code that cannot be changed:
// what makes its own client, and sets no transport in it, uses
// http.DefaultTransport.
package main

import (
	"context"
	"net/http"

	"github.com/sashabaranov/go-openai"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/test/exampleenv"
)

func main() {
	hc, key, done := exampleenv.Client()
	defer done()

	// First of all: some clients look it up when they are made, not at each call.
	// Those that captured it when their package was initialized (langchaingo
	// does), or have a transport of their own, are not reached. All that is no
	// inference, or not meant for an endpoint of breakwater's, passes as it is.
	http.DefaultTransport = hc.Transport

	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	answer, err := ask(ctx, key, "what is a breakwater?")
	exampleenv.Print(answer, err, &trail)
}

// ask is the code that cannot be changed: it knows of no transport.
func ask(ctx context.Context, key, question string) (string, error) {
	config := openai.DefaultConfig(key)
	config.BaseURL = exampleenv.BaseURL
	resp, err := openai.NewClientWithConfig(config).CreateChatCompletion(ctx, openai.ChatCompletionRequest{
		Model: exampleenv.Model, Messages: []openai.ChatCompletionMessage{{Role: openai.ChatMessageRoleUser, Content: question}},
	})
	if err != nil {
		return "", err
	}
	return resp.Choices[0].Message.Content, nil
}
