// Command eino-ext-deepseek has breakwater under eino's model for DeepSeek,
// github.com/cloudwego/eino-ext/components/model/deepseek.
package main

import (
	"context"

	"github.com/cloudwego/eino-ext/components/model/deepseek"
	"github.com/cloudwego/eino/schema"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/test/exampleenv"
)

func main() {
	hc, key, done := exampleenv.Client()
	defer done()

	// Timeout bounds each call with all its tries, and a stream's reading, too: 5
	// minutes where it is not set. BaseURL needs no slash at its end here.
	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	model, err := deepseek.NewChatModel(ctx, &deepseek.ChatModelConfig{APIKey: key, BaseURL: exampleenv.BaseURL, Model: exampleenv.Model, HTTPClient: hc})
	if err != nil {
		panic(err)
	}

	message, err := model.Generate(ctx, []*schema.Message{schema.UserMessage("what is a breakwater?")})
	if err != nil {
		exampleenv.Print("", err, &trail)
	}
	exampleenv.Print(message.Content, nil, &trail)
}
