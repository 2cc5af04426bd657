// Command go-deepseek has breakwater under github.com/go-deepseek/deepseek.
package main

import (
	"context"

	"github.com/go-deepseek/deepseek/client"
	"github.com/go-deepseek/deepseek/config"
	"github.com/go-deepseek/deepseek/request"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/test/exampleenv"
)

func main() {
	hc, key, done := exampleenv.Client()
	defer done()

	// Its host is fixed, and its models are the names that DeepSeek has retired:
	// breakwater says today's. TimeoutSeconds bounds a stream's reading, too.
	c, err := client.NewClient(config.Config{ApiKey: key, TimeoutSeconds: 120})
	if err != nil {
		panic(err)
	}
	c.Client.Transport = hc.Transport

	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	resp, err := c.CallChatCompletionsChat(ctx, &request.ChatCompletionsRequest{
		Model: "deepseek-chat", Messages: []*request.Message{{Role: "user", Content: "what is a breakwater?"}},
	})
	if err != nil {
		exampleenv.Print("", err, &trail)
	}
	exampleenv.Print(resp.Choices[0].Message.Content, nil, &trail)
}
