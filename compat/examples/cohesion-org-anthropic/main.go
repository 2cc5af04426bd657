// Command cohesion-org-anthropic has breakwater under the client that
// github.com/cohesion-org/deepseek-go has for Anthropic's wire.
package main

import (
	"context"
	"fmt"

	"github.com/cohesion-org/deepseek-go"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/test/exampleenv"
)

func main() {
	hc, key, done := exampleenv.Client()
	defer done()

	client := deepseek.NewAnthropicClient(key)
	client.HTTPClient = hc

	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	resp, err := client.CreateAnthropicMessage(ctx, &deepseek.AnthropicRequest{
		Model: exampleenv.Model, MaxTokens: 1000,
		Messages: []deepseek.AnthropicMessage{{Role: "user", Content: []any{map[string]string{"type": "text", "text": "what is a breakwater?"}}}},
	})
	if err != nil {
		exampleenv.Print("", err, &trail)
	}
	var text string
	for _, content := range resp.Content {
		if block, ok := content.(map[string]any); ok && block["type"] == "text" {
			text += fmt.Sprint(block["text"])
		}
	}
	exampleenv.Print(text, nil, &trail)
}
