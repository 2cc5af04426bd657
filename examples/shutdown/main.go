// Shutdown is the recipe docs/recipes/shutdown.md: a service that ends while answers
// are under way. It needs no key: the hosts are fakes on this machine.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
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

// run lets the service end while it sends a short answer and a long one.
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
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	ctx, sigterm := context.WithCancel(ctx)
	defer sigterm()
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener, transport, 2*time.Second) }()

	deepseek := world.Server("deepseek")
	deepseek.SetPace(kit.Pace{PerToken: 50 * time.Millisecond})
	short, err := ask(url, "Who is on watch?")
	if err != nil {
		return err
	}
	deepseek.SetPace(kit.Pace{PerToken: time.Minute})
	long, err := ask(url, "What is in the logbook?")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "Two users read answers. SIGTERM comes.")
	sigterm()
	fmt.Fprintln(out, "  the short answer ends:", endOf(short))
	fmt.Fprintln(out, "  the long answer ends:", endOf(long))
	err = <-ended
	fmt.Fprintf(out, "The service has ended: %v\n  breakwater: %s\n", err, journal.Take())
	_, err = ask(url, "Is anybody there?")
	fmt.Fprintln(out, "  a new user is refused:", err != nil)
	return nil
}

// ask returns the answer's stream once it has begun.
func ask(url, question string) (*http.Response, error) {
	body := `{"model":"deepseek-flash","stream":true,"messages":[{"role":"user","content":"` + question + `"}]}`
	return http.Post(url, "application/json", strings.NewReader(body))
}

// endOf reads a stream to its end, and returns its last event.
func endOf(resp *http.Response) string {
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	events := strings.Split(strings.TrimSpace(string(text)), "\n\n")
	last, _, _ := strings.Cut(events[len(events)-1], "\n")
	return last
}
