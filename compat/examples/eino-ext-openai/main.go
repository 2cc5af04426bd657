// Command eino-ext-openai has breakwater under eino's model for OpenAI,
// github.com/cloudwego/eino-ext/components/model/openai.
package main

import (
	"context"

	"github.com/cloudwego/eino-ext/components/model/openai"
	"github.com/cloudwego/eino/schema"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/test/exampleenv"
)

func main() {
	hc, key, done := exampleenv.Client()
	defer done()

	// Timeout is without effect beside HTTPClient: bound a call by its context.
	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	model, err := openai.NewChatModel(ctx, &openai.ChatModelConfig{APIKey: key, BaseURL: exampleenv.BaseURL, Model: exampleenv.Model, HTTPClient: hc})
	if err != nil {
		panic(err)
	}

	message, err := model.Generate(ctx, []*schema.Message{schema.UserMessage("what is a breakwater?")})
	if err != nil {
		exampleenv.Print("", err, &trail)
	}
	exampleenv.Print(message.Content, nil, &trail)
}
