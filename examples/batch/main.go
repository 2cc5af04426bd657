// Batch is the recipe docs/recipes/batch.md: a job that works through documents at
// night, and what it does while the API refuses, fails and has no money left. It
// needs no key: the host is a fake on this machine.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/recipe"
)

func main() {
	if err := run(context.Background(), os.Stdout, kit.NewFleet); err != nil {
		log.Fatal(err)
	}
}

// run plays a night with three runs of the job.
func run(ctx context.Context, out io.Writer, start recipe.Starter) error {
	world, err := recipe.Begin(start, map[string]kit.Host{"api.deepseek.com": kit.DeepSeek("deepseek")})
	if err != nil {
		return err
	}
	defer world.Close()
	deepseek := world.Server("deepseek")
	documents := make([]string, 24)
	for i := range documents {
		documents[i] = fmt.Sprintf("Summarize page %d of the logbook.", i+1)
	}
	results := make(map[string]string)

	fmt.Fprintln(out, "1 am. DeepSeek refuses 1 request, fails 2, and cuts 2 answers.")
	deepseek.BreakNext(1, kit.TooManyRequests("1"))
	deepseek.BreakNext(2, kit.Busy())
	deepseek.BreakNext(2, kit.CutJSON())
	if err := night(ctx, out, world, documents[:12], results); err != nil {
		return err
	}
	fmt.Fprintln(out, "2 am. 12 more documents. The account has no money.")
	deepseek.Break(kit.InsufficientBalance())
	if err := night(ctx, out, world, documents, results); err != nil {
		return err
	}
	fmt.Fprintln(out, "3 am. The account has money again.")
	deepseek.Heal()
	return night(ctx, out, world, documents, results)
}

// night is one run of the job, in a process of its own.
func night(ctx context.Context, out io.Writer, world *recipe.World, documents []string, results map[string]string) error {
	transport, err := newTransport("sk-1", slog.New(slog.DiscardHandler), breakwater.WithBase(world))
	if err != nil {
		return err
	}
	defer transport.Close()
	had := len(results)
	j := &job{client: &http.Client{Transport: transport}, results: results}
	stopped := j.run(ctx, documents)

	right := 0
	for document, result := range results {
		if result == kit.Answer(document) {
			right++
		}
	}
	fmt.Fprintf(out, "  %d of %d documents have a result, %d of them are right\n", len(results), len(documents), right)
	if stopped != nil {
		fmt.Fprintf(out, "  stopped: %v\n", stopped)
		return nil
	}
	fmt.Fprintf(out, "  %d requests for %d documents\n", transport.Status().Attempts, len(results)-had)
	return nil
}
