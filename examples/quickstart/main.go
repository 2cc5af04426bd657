// Quickstart shows breakwater at work.
//
// Without DEEPSEEK_API_KEY it starts fake hosts on this machine, breaks them in
// several ways, and compares three clients for about 40 seconds. It exits with
// status 0 only if breakwater gave no wrong answer, and answered, with its
// backup, every call that a host or the cache could answer.
//
// With DEEPSEEK_API_KEY set it asks the real API one question, as JSON and as a
// stream.
//
// The flag -v shows more: attempts, circuits and latencies.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/examples/internal/terminal"
)

func main() {
	details := flag.Bool("v", false, "show attempts, circuits and latencies, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	style := terminal.StyleOf(os.Stdout)
	var err error
	if key := os.Getenv("DEEPSEEK_API_KEY"); key != "" {
		err = askDeepSeek(ctx, os.Stdout, style, *details, breakwater.DeepSeek(key))
	} else {
		err = showOutage(ctx, os.Stdout, style, *details, kit.NewFleet)
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, terminal.Fold("quickstart: "+err.Error()))
		os.Exit(1)
	}
}

func showOutage(ctx context.Context, out io.Writer, style terminal.Style, details bool, start starter) error {
	s := &screen{out: out, style: style, details: details}
	s.begin(ordinary)
	all, err := playOutage(ctx, ordinary, start, s)
	if err != nil {
		s.interrupted()
		return err
	}
	s.end(all)
	return judge(all)
}
