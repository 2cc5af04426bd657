// Chat is the recipe docs/recipes/chat.md: a service that answers people, and what
// its users see while the API is silent, breaks streams and is down. It needs no
// key: the hosts are fakes on this machine.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
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
	service := &chat{&http.Client{Transport: transport}}
	deepseek, siliconflow := world.Server("deepseek"), world.Server("siliconflow")

	show := func(what, question string) {
		sees := user(ctx, service, question)
		fmt.Fprintf(out, "%s\n  breakwater: %s\n  the user: %s\n", what, journal.Take(), sees)
	}
	show("All is well.", "When is high tide?")
	deepseek.BreakNext(1, kit.QueueForever())
	show("DeepSeek queues the call for ever.", "Where do I berth?")
	deepseek.BreakNext(1, kit.CutStream(6))
	show("DeepSeek cuts the stream in the middle.", "Who is the pilot?")
	deepseek.Break(kit.Refused())
	siliconflow.Break(kit.Busy())
	show("Both are down. The user has asked this before.", "When is high tide?")
	show("Both are down. The question is new.", "Is it windy?")
	return nil
}

// user sends a question to the service, and tells what a browser gets.
func user(ctx context.Context, service http.Handler, question string) string {
	body, _ := json.Marshal([]message{{"user", question}})
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/chat", bytes.NewReader(body))
	req.Header.Set("X-User", "ada")
	got, began := httptest.NewRecorder(), time.Now()
	service.ServeHTTP(got, req)
	if got.Code != http.StatusOK {
		return fmt.Sprintf("%d %s", got.Code, strings.TrimSpace(got.Body.String()))
	}
	answer, last := "", ""
	for event := range strings.SplitSeq(got.Body.String(), "\n\n") {
		var text string
		if end, ok := strings.CutPrefix(event, "event: "); ok {
			last, _, _ = strings.Cut(end, "\n")
		} else if json.Unmarshal([]byte(strings.TrimPrefix(event, "data: ")), &text) == nil {
			answer += text
		}
	}
	if answer != kit.Answer(question) {
		return "a wrong answer, " + last
	}
	return fmt.Sprintf("the whole answer after %.0fs, %s", time.Since(began).Seconds(), last)
}
