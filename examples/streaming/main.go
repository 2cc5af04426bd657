// Streaming shows what a stream that breaks in the middle looks like through
// breakwater: what came is shown at once, then the host is asked to go on from
// it; where nobody can, the end is an error, never a clean EOF. It needs no
// key: the host is a fake one, which cuts the first stream of each client.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

const question = "what is a breakwater?"

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) error {
	fleet, err := kit.NewFleet(kit.DeepSeek("host"))
	if err != nil {
		return err
	}
	defer fleet.Close()
	host := fleet.Server("host")
	host.SetPace(kit.Pace{PerToken: 20 * time.Millisecond})

	for _, rescue := range []breakwater.Rescue{breakwater.RescueContinue, breakwater.RescueOff} {
		client, err := breakwater.NewClient(
			breakwater.WithEndpoints(breakwater.Endpoint{Name: "host", URL: host.URL(), APIKey: "sk-example", Host: breakwater.HostDeepSeek}),
			breakwater.WithStream(breakwater.StreamPolicy{Stall: 30 * time.Second, Rescue: rescue}),
			breakwater.WithObserver(func(_ context.Context, e breakwater.Event) {
				if e.Kind == breakwater.KindRescue {
					fmt.Fprint(out, "|") // here the stream broke, and another goes on
				}
			}),
		)
		if err != nil {
			return err
		}
		host.BreakNext(1, kit.EndStream(10))
		err = ask(ctx, out, client, host.URL())
		client.CloseIdleConnections()
		if err != nil {
			return err
		}
	}
	return nil
}

// ask asks a question and tells how the answer ended.
func ask(ctx context.Context, out io.Writer, client *http.Client, url string) error {
	req, err := kit.ChatRequest(ctx, url, "", "deepseek-chat", question, true)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err // only the caller's own cancel or deadline
	}
	fmt.Fprintf(out, "> %s\n", question)
	err = show(out, resp)
	switch {
	case err == nil:
		fmt.Fprintln(out, "\n(whole)")
	case errors.Is(err, breakwater.ErrTruncated), errors.Is(err, breakwater.ErrStalled):
		fmt.Fprintf(out, "\n(%v)\n", err)
	default:
		return err
	}
	return nil
}

// show prints the answer as it comes. The error behind the last event is the
// only sign that the answer is not whole: read to the end.
func show(out io.Writer, resp *http.Response) error {
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var event struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return err
		}
		for _, c := range event.Choices {
			fmt.Fprint(out, c.Delta.Content)
		}
	}
	return lines.Err()
}
