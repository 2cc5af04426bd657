// Retries is the recipe docs/recipes/retries.md: jobs that run out of time and run again, and
// are paid once. It needs no key: the host is a fake on this machine.
package main

import (
	"context"
	"errors"
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

const (
	takes = 700 * time.Millisecond // the host, for an answer
	limit = 250 * time.Millisecond // of one run of a job
	pause = 50 * time.Millisecond  // between two runs
)

// run plays a queue whose jobs have less time than the host needs.
func run(ctx context.Context, out io.Writer, start recipe.Starter) error {
	world, err := recipe.Begin(start, map[string]kit.Host{"api.deepseek.com": kit.DeepSeek("deepseek")})
	if err != nil {
		return err
	}
	defer world.Close()
	host := world.Server("deepseek")
	host.SetPace(kit.Pace{FirstToken: takes})
	client, err := newClient("sk-1", slog.New(slog.DiscardHandler), breakwater.WithBase(world))
	if err != nil {
		return err
	}
	defer client.Transport.(*breakwater.Transport).Close()

	fmt.Fprintf(out, "The host takes %v. A job has %v, and the queue runs it up to 4 times.\n", takes, limit)
	play := func(what, job, text string) {
		host.Forget()
		runs, said, err := runJob(ctx, client, job, text)
		result := "right answer"
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			result = "no answer"
		case err != nil:
			result = err.Error()
		case said != kit.Answer("Summarize: "+text):
			result = "wrong answer"
		}
		fmt.Fprintf(out, "  %-19s runs %d, requests %d: %s\n", what+":", runs, len(host.Requests()), result)
	}
	play("without a key", "", "the log")
	play("with the job's id", "job-7", "the log")
	play("and once more", "job-7", "the log")
	play("with another text", "job-7", "the diary")
	return nil
}

// runJob runs a job as a queue does, and returns how many runs it took.
func runJob(ctx context.Context, client *http.Client, job, text string) (runs int, said string, err error) {
	for runs = 1; ; runs++ {
		bounded, cancel := context.WithTimeout(ctx, limit)
		said, err = summarize(bounded, client, job, text)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || runs == 4 {
			return runs, said, err
		}
		time.Sleep(pause)
	}
}
