// Agent is the recipe docs/recipes/agent.md: an agent with a tool that must not run
// twice, and what it does while the API cuts answers and is down. It needs no key:
// the hosts are fakes on this machine.
package main

import (
	"context"
	"encoding/json"
	"errors"
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

const schema = `[{"type":"function","function":{"name":"book_berth","parameters":{"type":"object"}}}]`

// run plays an outage.
func run(ctx context.Context, out io.Writer, start recipe.Starter) error {
	world, err := recipe.Begin(start, map[string]kit.Host{
		"api.deepseek.com":    kit.DeepSeek("deepseek"),
		"api.siliconflow.com": kit.SiliconFlow("siliconflow"),
	})
	if err != nil {
		return err
	}
	defer world.Close()
	journal := &recipe.Journal{}
	transport, err := newTransport("sk-1", "sk-2", slog.New(slog.DiscardHandler),
		breakwater.WithBase(world), breakwater.WithObserver(journal.Observe))
	if err != nil {
		return err
	}
	defer transport.Close()
	deepseek, siliconflow := world.Server("deepseek"), world.Server("siliconflow")

	booked, afterwards := 0, func() {}
	book := func(_ context.Context, callID, arguments string) (string, error) {
		booked++
		afterwards()
		return "berth 7 is yours", nil
	}
	a := &agent{client: &http.Client{Transport: transport}, schema: json.RawMessage(schema),
		tools: map[string]func(context.Context, string, string) (string, error){"book_berth": book}}
	work := func(what string, t *task) {
		booked = 0
		err := a.work(ctx, t)
		fmt.Fprintf(out, "%s\n  breakwater: %s\n  tool runs: %d\n  ", what, journal.Take(), booked)
		var nobody *breakwater.Error
		switch {
		case errors.As(err, &nobody):
			fmt.Fprintln(out, "the task stops: no host answered")
		case err != nil:
			fmt.Fprintln(out, "the task fails:", err)
		default:
			fmt.Fprintf(out, "the task is done with %d messages\n", len(t.Messages))
		}
	}

	deepseek.BreakNext(1, kit.CutJSON())
	work("DeepSeek cuts the answer with the tool call.", newTask("Book a berth for the Aurora."))

	t := newTask("Book a berth for the Beagle.")
	afterwards = func() {
		deepseek.Break(kit.Busy())
		siliconflow.Break(kit.Refused())
	}
	work("Both hosts go down after the tool has run.", t)
	deepseek.Heal()
	siliconflow.Heal()
	work("The hosts are back. The task continues.", t)
	return nil
}

func newTask(question string) *task {
	message, _ := json.Marshal(map[string]string{"role": "user", "content": question})
	return &task{Messages: []json.RawMessage{message}}
}
