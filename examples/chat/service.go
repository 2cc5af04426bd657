package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
)

// This file is the service. It is what you copy.

// newTransport returns breakwater for people who wait for an answer. Tests give
// more options, such as a network of fakes.
func newTransport(key, otherKey string, logger *slog.Logger, more ...breakwater.Option) (*breakwater.Transport, error) {
	options := []breakwater.Option{
		breakwater.WithEndpoints(breakwater.DeepSeek(key)),
		breakwater.WithBackup(breakwater.SiliconFlow(otherKey)),
		breakwater.WithStream(breakwater.StreamPolicy{
			FirstToken: 4 * time.Second,
			Stall:      15 * time.Second,
		}),
		breakwater.WithRetry(breakwater.RetryPolicy{
			Patience:      time.Second,
			MaxRetryAfter: 5 * time.Second,
		}),
		breakwater.WithCache(breakwater.CachePolicy{
			TTL:          breakwater.Off,
			StaleIfError: 24 * time.Hour,
		}),
		breakwater.WithObserver(breakwater.Log(logger)),
	}
	return breakwater.New(append(options, more...)...)
}

// A chat answers people's questions.
type chat struct{ client *http.Client }

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

const sorry = "The assistant is not available. Please try again in a minute."

// ServeHTTP gets a conversation as JSON and sends the answer as server-sent
// events, each with a piece of text. The last event is "done" or "broken".
func (c *chat) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var conversation []message
	if err := json.NewDecoder(r.Body).Decode(&conversation); err != nil {
		http.Error(w, "want a list of messages", http.StatusBadRequest)
		return
	}
	// A user gets kept answers to their own questions only.
	ctx, cancel := context.WithCancel(breakwater.WithCall(r.Context(), breakwater.Call{Scope: "user " + userOf(r)}))
	defer cancel()
	// The response comes with the first text. An answer that comes has no time limit.
	tooLong := time.AfterFunc(15*time.Second, cancel)
	resp, err := c.ask(ctx, conversation)
	tooLong.Stop()
	if err != nil { // it took too long, or the user has left
		http.Error(w, sorry, http.StatusGatewayTimeout)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		http.Error(w, sorry, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	end := "done"
	if err := forward(w, resp); err != nil { // a broken stream never looks whole
		end = "broken"
	}
	fmt.Fprintf(w, "event: %s\ndata: {}\n\n", end)
}

// ask asks for a streamed answer without reasoning: such a stream can be continued
// if it breaks.
func (c *chat) ask(ctx context.Context, conversation []message) (*http.Response, error) {
	body, _ := json.Marshal(map[string]any{ // strings always have JSON
		"model":    "deepseek-flash",
		"messages": conversation,
		"stream":   true,
		"thinking": map[string]string{"type": "disabled"},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.deepseek.com/chat/completions", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return c.client.Do(req)
}

// forward passes the text on as it comes.
func forward(w http.ResponseWriter, resp *http.Response) error {
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
		for _, choice := range event.Choices {
			text, _ := json.Marshal(choice.Delta.Content)
			fmt.Fprintf(w, "data: %s\n\n", text)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
	}
	return lines.Err()
}

// userOf returns who asks. Take it from your session.
func userOf(r *http.Request) string { return r.Header.Get("X-User") }
