// Sdk shows breakwater under an SDK, here openai-go. The SDK gets breakwater's
// http.Client, and nothing else changes. From the root of the repository:
//
//	go run -C examples/sdk .
//
// With DEEPSEEK_API_KEY set it asks the real API. Without, it asks two fake
// hosts, the first of which is too busy to answer.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

func main() {
	if key := os.Getenv("DEEPSEEK_API_KEY"); key != "" {
		deepseek := breakwater.DeepSeek(key)
		exit(ask(context.Background(), os.Stdout, deepseek.URL, breakwater.WithEndpoints(deepseek)))
		return
	}
	exit(askFakes(context.Background(), os.Stdout))
}

func exit(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func askFakes(ctx context.Context, out io.Writer) error {
	fleet, err := kit.NewFleet(kit.DeepSeek("primary"), kit.DeepSeek("second"))
	if err != nil {
		return err
	}
	defer fleet.Close()
	fleet.Server("primary").Break(kit.Busy())
	first := breakwater.Endpoint{Name: "primary", URL: fleet.Server("primary").URL(), APIKey: "sk-primary"}
	second := breakwater.Endpoint{Name: "second", URL: fleet.Server("second").URL(), APIKey: "sk-second"}
	return ask(ctx, out, first.URL, breakwater.WithEndpoints(first), breakwater.WithBackup(second))
}

const (
	model    = "deepseek-flash"
	question = "In one sentence: what does a breakwater do for a harbour?"
)

// ask asks one question, plain and streaming.
func ask(ctx context.Context, out io.Writer, baseURL string, opts ...breakwater.Option) error {
	hc, err := breakwater.NewClient(opts...)
	if err != nil {
		return err
	}
	defer hc.CloseIdleConnections()
	client := openai.NewClient(
		option.WithBaseURL(baseURL),
		option.WithAPIKey("unused: the endpoints have their own"),
		option.WithHTTPClient(hc), // the one line
	)
	params := openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(question)}}
	fmt.Fprintln(out, "openai-go asks through breakwater: once for JSON, once for a stream.")

	// An SDK hides the response. A Trail in the context says who answered.
	var trail breakwater.Trail
	ctx = breakwater.WithCall(ctx, breakwater.Call{Trail: &trail})

	fmt.Fprintln(out, ">", question)
	answer, err := client.Chat.Completions.New(ctx, params)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, answer.Choices[0].Message.Content)
	printTrail(out, &trail)

	fmt.Fprintln(out, "\n>", question)
	stream := client.Chat.Completions.NewStreaming(ctx, params)
	defer stream.Close()
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			fmt.Fprint(out, choice.Delta.Content)
		}
	}
	fmt.Fprintln(out)
	printTrail(out, &trail)
	return stream.Err() // a stream that broke says so here
}

func printTrail(out io.Writer, trail *breakwater.Trail) {
	for _, a := range trail.Attempts() {
		fmt.Fprintf(out, "  attempt %d: %s, %s, then %s\n", a.N, a.Endpoint, a.Class, a.Verdict)
	}
}
