// Command genkit has breakwater under github.com/firebase/genkit/go.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/firebase/genkit/go/ai"
	"github.com/firebase/genkit/go/genkit"
	"github.com/firebase/genkit/go/plugins/compat_oai"
	"github.com/openai/openai-go/option"

	"github.com/breakwater-go/breakwater"
)

func main() {
	hc, key, done := client()
	defer done()

	// option.WithMaxRetries(0) is unnecessary: once breakwater's own tries are
	// spent, the answer tells the SDK beneath the plugin not to try again.
	app := genkit.Init(context.Background(), genkit.WithPlugins(&compat_oai.OpenAICompatible{
		Provider: "deepseek", APIKey: key, BaseURL: baseURL, Opts: []option.RequestOption{option.WithHTTPClient(hc)},
	}))

	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail})
	answer, err := genkit.GenerateText(ctx, app, ai.WithModelName("deepseek/deepseek-flash"), ai.WithPrompt("what is a breakwater?"))
	if err != nil {
		fail(err)
	}
	fmt.Println(answer)
	for _, a := range trail.Attempts() {
		fmt.Printf("%d %s: %s, %s\n", a.N, a.Endpoint, a.Class, a.Verdict)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
