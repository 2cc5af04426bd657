// Command langchaingo has breakwater under github.com/tmc/langchaingo.
package main

import (
	"context"

	"github.com/tmc/langchaingo/llms"
	"github.com/tmc/langchaingo/llms/openai"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/test/exampleenv"
)

func main() {
	hc, key, done := exampleenv.Client()
	defer done()

	// Leave breakwater.WithErrors out: of an answer this SDK tells status and
	// message, of a Go error neither what it was nor what it said. To replace
	// http.DefaultTransport is not enough: the SDK has its own client.
	llm, err := openai.New(openai.WithToken(key), openai.WithBaseURL(exampleenv.BaseURL), openai.WithModel(exampleenv.Model), openai.WithHTTPClient(hc))
	if err != nil {
		panic(err)
	}

	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	answer, err := llms.GenerateFromSinglePrompt(ctx, llm, "what is a breakwater?")
	exampleenv.Print(answer, err, &trail)
}
