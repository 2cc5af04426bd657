// Command cohesion-org has breakwater under github.com/cohesion-org/deepseek-go.
package main

import (
	"context"

	"github.com/cohesion-org/deepseek-go"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/test/exampleenv"
)

func main() {
	hc, key, done := exampleenv.Client()
	defer done()

	// The base URL ends in a slash. The SDK bounds each call, with all its tries
	// and a stream's reading, by 5 minutes: deepseek.WithTimeout changes that.
	client, err := deepseek.NewClientWithOptions(key, deepseek.WithBaseURL(exampleenv.BaseURL+"/"), deepseek.WithHTTPClient(hc))
	if err != nil {
		panic(err)
	}

	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	resp, err := client.CreateChatCompletion(ctx, &deepseek.ChatCompletionRequest{
		Model: exampleenv.Model, Messages: []deepseek.ChatCompletionMessage{{Role: "user", Content: "what is a breakwater?"}},
	})
	if err != nil {
		exampleenv.Print("", err, &trail)
	}
	exampleenv.Print(resp.Choices[0].Message.Content, nil, &trail)
}
