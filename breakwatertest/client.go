package breakwatertest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
)

// ChatRequest is a chat request with prompt as its only message and thinking
// disabled. It can be sent again: GetBody is set. An empty key sends no
// Authorization.
func ChatRequest(ctx context.Context, baseURL, key, model, prompt string, stream bool) (*http.Request, error) {
	type turn struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	type thinking struct {
		Type string `json:"type"`
	}
	body := mustJSON(struct {
		Model    string   `json:"model"`
		Messages []turn   `json:"messages"`
		Stream   bool     `json:"stream"`
		Thinking thinking `json:"thinking"`
	}{model, []turn{{"user", prompt}}, stream, thinking{"disabled"}})

	url := strings.TrimRight(baseURL, "/") + "/chat/completions"
	// NewRequest sets GetBody for a bytes.Reader.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, fmt.Errorf("breakwatertest: making a chat request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if stream {
		req.Header.Set("Accept", "text/event-stream")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	return req, nil
}
