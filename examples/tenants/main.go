// Tenants is the recipe docs/recipes/tenants.md: a service for many tenants, who get
// no answers of each other, and of whom none takes all the room. It needs no key: the
// hosts are fakes on this machine.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"sync"
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

// run plays a day of four tenants.
func run(ctx context.Context, out io.Writer, start recipe.Starter) error {
	world, err := recipe.Begin(start, map[string]kit.Host{
		"api.deepseek.com":    kit.DeepSeek("deepseek"),
		"api.siliconflow.com": kit.SiliconFlow("siliconflow"),
	})
	if err != nil {
		return err
	}
	defer world.Close()
	deepseek, siliconflow := world.Server("deepseek"), world.Server("siliconflow")
	journal := &recipe.Journal{}
	transport, err := newTransport("sk-1", "sk-2", slog.New(slog.DiscardHandler),
		breakwater.WithBase(world), breakwater.WithObserver(journal.Observe))
	if err != nil {
		return err
	}
	defer transport.Close()
	s := &service{client: &http.Client{Transport: transport}}

	ask := func(tenant, question string) {
		answer, err := s.ask(ctx, tenant, question)
		how := "answered"
		if err != nil {
			how = "not answered"
		} else if answer != kit.Answer(question) {
			how = "a wrong answer"
		}
		fmt.Fprintf(out, "  %-9s %s (%s)\n", cmp.Or(tenant, "(none)"), how, journal.Take())
	}
	fmt.Fprintln(out, "Three tenants ask the same question, then two ask it again.")
	for _, tenant := range []string{"aurora", "beagle", "", "beagle", ""} {
		ask(tenant, "What are the port fees?")
	}
	fmt.Fprintln(out, "Both hosts are down.")
	deepseek.Break(kit.Refused())
	siliconflow.Break(kit.Refused())
	ask("aurora", "What are the port fees?")
	ask("calypso", "What are the port fees?")

	fmt.Fprintln(out, "The hosts are back. One tenant sends ten questions at once.")
	deepseek.Heal()
	siliconflow.Heal()
	deepseek.SetPace(kit.Pace{FirstToken: 500 * time.Millisecond})
	siliconflow.SetPace(kit.Pace{FirstToken: 500 * time.Millisecond})
	answered, refused := askAtOnce(ctx, s, "discovery", 10)
	fmt.Fprintf(out, "  discovery %d answered, %d refused with %q\n", answered, refused, errBusy)

	fmt.Fprintln(out, "What they have used today")
	for _, t := range transport.Status().Tenants {
		fmt.Fprintf(out, "  %-9s %3d tokens, %d calls, %d refused\n", cmp.Or(t.Name, "(none)"), t.Tokens, t.Calls, t.Refused)
	}
	return nil
}

// askAtOnce asks n questions at the same time.
func askAtOnce(ctx context.Context, s *service, tenant string, n int) (answered, refused int) {
	var mu sync.Mutex // guards the counts
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			_, err := s.ask(ctx, tenant, fmt.Sprintf("What does berth %d cost?", i))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				answered++
			case errors.Is(err, errBusy):
				refused++
			}
		})
	}
	wg.Wait()
	return answered, refused
}
