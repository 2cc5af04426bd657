// Quickstart shows breakwater at work.
//
// With DEEPSEEK_API_KEY set it asks the real API one question, plain and
// streaming. Without, it starts a fleet of fake hosts and plays an outage of
// about 40 seconds, with a bare http.Client beside breakwater's. It exits with
// status 0 only if breakwater answered every call that could be answered, and
// none wrongly.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Getenv("DEEPSEEK_API_KEY")); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, key string) error {
	if key != "" {
		return askDeepSeek(ctx, out, breakwater.DeepSeek(key))
	}
	return playOutage(ctx, out, ordinary, kit.NewFleet)
}
