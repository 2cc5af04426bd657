// Onpremises is the recipe docs/recipes/on-premises.md: a server of your own comes
// first, and a cloud answers what it cannot. It needs no key: both are fakes on this
// machine.
package main

import (
	"context"
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

// run plays a busy hour and a restart of the server.
func run(ctx context.Context, out io.Writer, start recipe.Starter) error {
	vllm := kit.VLLM("vllm")
	vllm.Models = []string{"deepseek-ai/DeepSeek-V4-Flash"}
	world, err := recipe.Begin(start, map[string]kit.Host{
		"vllm.internal:8000": vllm,
		"api.deepseek.com":   kit.DeepSeek("cloud"),
	})
	if err != nil {
		return err
	}
	defer world.Close()
	local, cloud := world.Server("vllm"), world.Server("cloud")
	journal := &recipe.Journal{}
	transport, err := newTransport("sk-1", slog.New(slog.DiscardHandler),
		breakwater.WithBase(world), breakwater.WithObserver(journal.Observe))
	if err != nil {
		return err
	}
	defer transport.Close()
	s := &service{&http.Client{Transport: transport}}

	ask := func(what string, confidential bool) {
		question := "Which ships are due?"
		answer, err := s.ask(ctx, question, confidential)
		how := "answered"
		if err != nil {
			how = err.Error()
		} else if answer != kit.Answer(question) {
			how = "a wrong answer"
		}
		fmt.Fprintf(out, "%s\n  %s (%s)\n", what, how, journal.Take())
	}
	ask("All is well.", false)

	local.SetPace(kit.Pace{FirstToken: 2 * time.Second})
	local.Forget()
	answered := askAtOnce(ctx, s, 20)
	fmt.Fprintf(out, "20 questions come at once, and the server takes 16.\n  %d answered, %d by the server, %d by the cloud\n",
		answered, len(local.Requests()), len(cloud.Requests()))
	journal.Take()

	local.SetPace(kit.Pace{})
	local.Break(kit.Refused())
	ask("The server restarts.", false)
	cloud.Forget()
	ask("The server restarts. The question is confidential.", true)
	fmt.Fprintf(out, "  requests to the cloud: %d\n", len(cloud.Requests()))
	local.Heal()
	ask("The server is back.", false)
	return nil
}

// askAtOnce asks n questions at the same time, and counts the right answers.
func askAtOnce(ctx context.Context, s *service, n int) (answered int) {
	var mu sync.Mutex // guards answered
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			question := fmt.Sprintf("When does ship %d arrive?", i)
			answer, err := s.ask(ctx, question, false)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && answer == kit.Answer(question) {
				answered++
			}
		})
	}
	wg.Wait()
	return answered
}
