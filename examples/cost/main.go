// Cost is the recipe docs/recipes/cost.md: what calls cost, by what they are for. It needs no
// key: the hosts are fakes on this machine.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/recipe"
)

func main() {
	if err := run(context.Background(), os.Stdout, kit.NewFleet); err != nil {
		log.Fatal(err)
	}
}

// run asks some questions for two purposes.
func run(ctx context.Context, out io.Writer, start recipe.Starter) error {
	world, err := recipe.Begin(start, map[string]kit.Host{
		"api.deepseek.com":    kit.DeepSeek("deepseek"),
		"api.siliconflow.com": kit.SiliconFlow("siliconflow"),
	})
	if err != nil {
		return err
	}
	defer world.Close()
	deepseek := world.Server("deepseek")
	journal := &recipe.Journal{}
	books := &ledger{sums: make(map[string]sum)}
	transport, err := newTransport("sk-1", "sk-2", slog.New(slog.DiscardHandler),
		breakwater.WithBase(world), breakwater.WithObserver(books.observe), breakwater.WithObserver(journal.Observe))
	if err != nil {
		return err
	}
	defer transport.Close()
	client := &http.Client{Transport: transport}

	const whole = 1000 // words: more than an answer has
	say := func(purpose, question string, words int) {
		_, err := ask(ctx, client, purpose, question, words)
		end := ""
		if err != nil {
			end = ", and its stream broke"
		}
		mark := ""
		if books.last.Estimated {
			mark = " (estimated)"
		}
		fmt.Fprintf(out, "  %-8s %.7f %s%s: %s%s\n", purpose, books.last.Amount, books.last.Currency(), mark, journal.Take(), end)
	}
	fmt.Fprintln(out, "Calls")
	say("support", "What are the port fees?", whole)
	say("support", "What are the port fees?", whole)
	say("search", "Which berths are free?", whole)
	deepseek.SetPace(kit.Pace{PerToken: 20 * time.Millisecond}) // or all words would have come when it stops to read
	say("search", "Which berths are deep?", 3)
	deepseek.SetPace(kit.Pace{})
	deepseek.BreakNext(1, kit.CutStream(5))
	say("support", "When is high tide?", whole)
	deepseek.Break(kit.InsufficientBalance())
	say("support", "How long is the mole?", whole)

	fmt.Fprintln(out, "By purpose")
	for _, purpose := range []string{"support", "search"} {
		s := books.sums[purpose]
		fmt.Fprintf(out, "  %-8s %.7f, of which %.7f is estimated\n", purpose, s.amount, s.estimated)
	}
	fmt.Fprintln(out, "By endpoint")
	status := transport.Status()
	for _, e := range status.Endpoints {
		fmt.Fprintf(out, "  %-11s %.7f %s\n", e.Name, e.Cost.Amount, e.Cost.Currency)
	}
	fmt.Fprintf(out, "  %-11s %.7f %s\n", "all", status.Cost.Amount, status.Cost.Currency)
	return nil
}
