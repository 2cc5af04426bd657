// Sharedkey is the recipe docs/recipes/shared-key.md: several processes with one key,
// which share the account's limit and the kept answers. It needs no key: the host is a
// fake on this machine, and each process is a client of its own.
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

const key = "sk-shared"

// run plays a rush of questions and an outage.
func run(ctx context.Context, out io.Writer, start recipe.Starter) error {
	host := kit.DeepSeek("deepseek")
	host.Concurrency = 12
	host.Pace = kit.Pace{FirstToken: 500 * time.Millisecond}
	world, err := recipe.Begin(start, map[string]kit.Host{"api.deepseek.com": host})
	if err != nil {
		return err
	}
	defer world.Close()
	deepseek := world.Server("deepseek")

	fmt.Fprintln(out, "Three processes ask 8 questions each, at once. The account's limit is 12.")
	bare := &process{&http.Client{Transport: world}}
	fmt.Fprintf(out, "  without breakwater: %d answered", rush(ctx, bare, bare, bare))
	fmt.Fprintf(out, ", %d requests\n", len(deepseek.Requests()))

	deepseek.Forget()
	store, journal := &shared{entries: make(map[string][]byte)}, &recipe.Journal{}
	var transports []*breakwater.Transport
	var processes []*process
	for range 3 {
		transport, err := newTransport(key, store, slog.New(slog.DiscardHandler),
			breakwater.WithBase(world), breakwater.WithObserver(journal.Observe))
		if err != nil {
			return err
		}
		defer transport.Close()
		transports = append(transports, transport)
		processes = append(processes, &process{&http.Client{Transport: transport}})
	}
	fmt.Fprintf(out, "  with breakwater: %d answered", rush(ctx, processes...))
	fmt.Fprintf(out, ", %d requests\n", len(deepseek.Requests()))
	journal.Take()

	question := "Is the lighthouse on?"
	ask := func(who int) {
		_, err := processes[who].ask(ctx, key, question)
		how := "answered"
		if err != nil {
			how = err.Error()
		}
		fmt.Fprintf(out, "  process %d: %s (%s)\n", who+1, how, journal.Take())
	}
	fmt.Fprintln(out, "One process asks a question, and ends.")
	ask(0)
	transports[0].Close() // waits until the answer is in the store
	fmt.Fprintln(out, "The host is down. Another process is asked the same.")
	deepseek.Break(kit.Refused())
	ask(1)
	return nil
}

// rush asks 8 questions through each process, all at once, and counts the answers.
func rush(ctx context.Context, processes ...*process) (answered int) {
	var mu sync.Mutex // guards answered
	var wg sync.WaitGroup
	for i, p := range processes {
		for j := range 8 {
			wg.Go(func() {
				question := fmt.Sprintf("Which ship is at berth %d of pier %d?", j, i)
				answer, err := p.ask(ctx, key, question)
				mu.Lock()
				defer mu.Unlock()
				if err == nil && answer == kit.Answer(question) {
					answered++
				}
			})
		}
	}
	wg.Wait()
	return answered
}

// shared is a breakwater.Store in memory. It takes the place of your Redis.
type shared struct {
	mu      sync.Mutex // guards entries
	entries map[string][]byte
}

func (s *shared) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[key], nil
}

func (s *shared) Set(_ context.Context, key string, entry []byte, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[key] = entry
	return nil
}
