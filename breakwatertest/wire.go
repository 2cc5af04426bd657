package breakwatertest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/breakwater-go/breakwater/internal/dialect"
)

// A Wire is one of the API formats for an answer. The zero Wire is [Chat].
type Wire int

const (
	// Chat is POST …/chat/completions.
	Chat Wire = iota
	// Completions is POST …/completions: text to continue, or to fill in.
	Completions
	// Responses is POST …/responses, OpenAI's newer format.
	Responses
	// Messages is POST …/v1/messages, Anthropic's format.
	Messages
)

// Wires returns all wires.
func Wires() []Wire { return []Wire{Chat, Completions, Responses, Messages} }

// String returns the operation of the wire, such as "chat/completions".
func (w Wire) String() string {
	if w < Chat || w > Messages {
		return fmt.Sprintf("Wire(%d)", int(w))
	}
	return [...]string{"chat/completions", "completions", "responses", "messages"}[w]
}

// Request returns a request with prompt as its only message and thinking disabled.
// GetBody is set, so it can be sent again. With an empty key it has no credential.
//
// baseURL is the base URL of an SDK, as [Server.WireURL] returns it. The request's
// URL is baseURL with the operation. For Messages, /v1 is inserted if baseURL does
// not end in it.
func (w Wire) Request(ctx context.Context, baseURL, key, model, prompt string, stream bool) (*http.Request, error) {
	url := strings.TrimRight(baseURL, "/")
	if w == Messages && !strings.HasSuffix(url, "/v1") {
		url += "/v1"
	}
	url += "/" + w.String()
	// NewRequest sets GetBody for a bytes.Reader.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(w.ask(model, prompt, stream))))
	if err != nil {
		return nil, fmt.Errorf("breakwatertest: making a request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if stream {
		req.Header.Set("Accept", "text/event-stream")
	}
	switch {
	case w == Messages:
		req.Header.Set("Anthropic-Version", "2023-06-01")
		if key != "" {
			req.Header.Set("X-Api-Key", key)
		}
	case key != "":
		req.Header.Set("Authorization", "Bearer "+key)
	}
	return req, nil
}

// ask returns the body of a request.
func (w Wire) ask(model, prompt string, stream bool) string {
	turns := []fields{{"role", "user", "content", prompt}}
	disabled := fields{"type", "disabled"}
	switch w {
	case Completions:
		return fields{"model", model, "prompt", prompt, "stream", stream}.JSON()
	case Responses:
		return fields{"model", model, "input", turns, "stream", stream, "reasoning", fields{"effort", "none"}}.JSON()
	case Messages:
		return fields{"model", model, "max_tokens", 1024, "messages", turns, "stream", stream, "thinking", disabled}.JSON()
	}
	return fields{"model", model, "messages", turns, "stream", stream, "thinking", disabled}.JSON()
}

// ChatRequest returns a request of the wire [Chat]: see [Wire.Request].
func ChatRequest(ctx context.Context, baseURL, key, model, prompt string, stream bool) (*http.Request, error) {
	return Chat.Request(ctx, baseURL, key, model, prompt, stream)
}

// fields is a JSON object as names and values, alternating.
type fields = dialect.Fields
