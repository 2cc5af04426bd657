// Command genkit has breakwater under github.com/firebase/genkit/go.
package main

import (
	"context"

	"github.com/firebase/genkit/go/ai"
	"github.com/firebase/genkit/go/genkit"
	"github.com/firebase/genkit/go/plugins/compat_oai"
	"github.com/openai/openai-go/option"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/test/exampleenv"
)

func main() {
	hc, key, done := exampleenv.Client()
	defer done()

	// option.WithMaxRetries(0) is unnecessary: once breakwater's own tries are
	// spent, the answer tells the SDK beneath the plugin not to try again.
	app := genkit.Init(context.Background(), genkit.WithPlugins(&compat_oai.OpenAICompatible{
		Provider: "deepseek", APIKey: key, BaseURL: exampleenv.BaseURL, Opts: []option.RequestOption{option.WithHTTPClient(hc)},
	}))

	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	answer, err := genkit.GenerateText(ctx, app, ai.WithModelName("deepseek/"+exampleenv.Model), ai.WithPrompt("what is a breakwater?"))
	exampleenv.Print(answer, err, &trail)
}
