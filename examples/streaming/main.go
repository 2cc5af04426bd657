// Streaming shows what a caller gets if a stream breaks off in the middle.
// With the default, breakwater asks a host for the rest, and the caller reads on.
// Without a rescue, or where no host can continue, the stream ends in an error
// and never in a clean EOF. It needs no key: the hosts are fakes on this machine.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/examples/internal/terminal"
)

const question = "what is a breakwater?"

func main() {
	if err := run(context.Background(), os.Stdout, terminal.StyleOf(os.Stdout)); err != nil {
		fmt.Fprintln(os.Stderr, terminal.Fold("streaming: "+err.Error()))
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, style terminal.Style) error {
	fleet, err := kit.NewFleet(kit.DeepSeek("primary"), kit.DeepSeek("second"))
	if err != nil {
		return err
	}
	defer fleet.Close()
	for _, server := range fleet.Servers() {
		server.SetPace(kit.Pace{PerToken: 20 * time.Millisecond})
	}
	primary := breakwater.Endpoint{Name: "primary", URL: fleet.Server("primary").URL(), APIKey: "sk-example", Host: breakwater.HostDeepSeek}
	second := breakwater.Endpoint{Name: "second", URL: fleet.Server("second").URL(), APIKey: "sk-example", Host: breakwater.HostDeepSeek}

	fleet.Server("primary").Break(kit.EndStream(10))

	fmt.Fprintln(out, style.Strong("The host ends a stream in the middle of the answer. What does the caller get?"))
	for _, part := range []struct {
		name   string
		rescue breakwater.Rescue
	}{
		{"With a rescue, which is the default:", breakwater.RescueContinue},
		{"With breakwater.RescueOff:", breakwater.RescueOff},
	} {
		v := &viewer{out: out, style: style}
		client, err := breakwater.NewClient(
			breakwater.WithEndpoints(primary),
			breakwater.WithBackup(second),
			breakwater.WithStream(breakwater.StreamPolicy{Rescue: part.rescue}),
			breakwater.WithObserver(v.observe),
		)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\n%s\n> %s\n", style.Strong(part.name), question)
		err = v.ask(ctx, client, primary.URL)
		client.CloseIdleConnections()
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\n%s  docs/streams.md says which streams can be rescued.\n", style.Strong("Next"))
	return nil
}

// A viewer shows a stream as it comes, and who sends it.
type viewer struct {
	out    io.Writer
	style  terminal.Style
	text   terminal.Folder
	sender string // of the text that comes
}

// observe marks where one host broke off and another one continues. It is called
// while the caller reads, so the mark stands between the texts of both.
func (v *viewer) observe(_ context.Context, e breakwater.Event) {
	switch {
	case e.Kind == breakwater.KindCommit && v.sender == "":
		v.sender = e.Endpoint
	case e.Kind == breakwater.KindRescue:
		v.mark(v.style.Bad(fmt.Sprintf("[%s broke off here; %s continues]", v.sender, e.Endpoint)))
		v.sender = e.Endpoint
	}
}

// mark writes a line of its own.
func (v *viewer) mark(text string) {
	fmt.Fprintf(v.out, "%s%s\n", v.text.Fold("\n"), text)
}

// ask asks a question and tells how the answer ended.
func (v *viewer) ask(ctx context.Context, client *http.Client, url string) error {
	req, err := kit.ChatRequest(ctx, url, "", "deepseek-chat", question, true)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err // only the caller's own cancel or deadline
	}
	err = v.show(resp)
	switch {
	case err == nil:
		v.mark(v.style.Good("ok: the answer is whole"))
	case errors.Is(err, breakwater.ErrTruncated), errors.Is(err, breakwater.ErrStalled):
		v.mark(v.style.Bad("error: " + err.Error()))
	default:
		return err
	}
	for _, a := range breakwater.TrailOf(resp) {
		text := fmt.Sprintf("  attempt %d: %s, %s", a.N, a.Endpoint, a.Class)
		if a.Unrescued != "" {
			text += fmt.Sprintf(" and not continued: %s", a.Unrescued)
		}
		fmt.Fprintln(v.out, v.style.Quiet(text))
		fmt.Fprintln(v.out, v.style.Quiet(fmt.Sprintf("    model %s, request %s", a.Served, a.RequestID)))
	}
	return nil
}

// show prints the answer as it comes. The error after the last event is the only
// sign that the answer is not whole: read to the end.
func (v *viewer) show(resp *http.Response) error {
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
			fmt.Fprint(v.out, v.text.Fold(c.Delta.Content))
		}
	}
	return lines.Err()
}
