package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater"
)

// This file is the service. It is what you copy.

// newClient returns a client for jobs that a queue runs again if they fail. Tests give more
// options, such as a network of fakes.
func newClient(key string, logger *slog.Logger, more ...breakwater.Option) (*http.Client, error) {
	options := []breakwater.Option{
		breakwater.WithEndpoints(breakwater.DeepSeek(key)),
		breakwater.WithIdempotency(breakwater.IdempotencyPolicy{
			Linger: 5 * time.Minute,
		}),
		breakwater.WithObserver(breakwater.Log(logger)),
	}
	return breakwater.NewClient(append(options, more...)...)
}

// summarize asks for the summary of a text, on behalf of a job. Each run of the job has the
// same id.
func summarize(ctx context.Context, client *http.Client, job, text string) (string, error) {
	body, err := json.Marshal(map[string]any{
		"model":    "deepseek-flash",
		"messages": []map[string]string{{"role": "user", "content": "Summarize: " + text}},
	})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.deepseek.com/chat/completions", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	if job != "" {
		req.Header.Set("Idempotency-Key", job)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Choices []struct{ Message struct{ Content string } }
		Error   struct{ Code string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK || len(answer.Choices) == 0 {
		return "", fmt.Errorf("status %d, %s", resp.StatusCode, answer.Error.Code)
	}
	return answer.Choices[0].Message.Content, nil
}
