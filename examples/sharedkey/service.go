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

// newTransport returns breakwater for one of several processes that share a key. The
// store is the same for all of them. Tests give more options, such as a network of
// fakes.
func newTransport(key string, store breakwater.Store, logger *slog.Logger, more ...breakwater.Option) (*breakwater.Transport, error) {
	const (
		accountLimit = 12 // answers at once, of the whole account
		processes    = 3  // at most, in a deployment too
	)
	options := []breakwater.Option{
		breakwater.WithEndpoints(breakwater.DeepSeek(key)),
		breakwater.WithRateLimit(breakwater.RatePolicy{
			InFlight: accountLimit / processes,
			Adaptive: true,
			MaxWait:  10 * time.Second,
		}),
		breakwater.WithObserver(breakwater.Log(logger)),
	}
	options = append(options, breakwater.WithCache(breakwater.CachePolicy{
		TTL:          10 * time.Minute,
		StaleIfError: 24 * time.Hour,
		Store:        store,
	}))
	return breakwater.New(append(options, more...)...)
}

// A process answers questions.
type process struct{ client *http.Client }

func (p *process) ask(ctx context.Context, key, question string) (string, error) {
	body, _ := json.Marshal(map[string]any{ // strings always have JSON
		"model":    "deepseek-flash",
		"messages": []map[string]string{{"role": "user", "content": question}},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.deepseek.com/chat/completions", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+key) // the owner of the kept answers
	resp, err := p.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Choices []struct{ Message struct{ Content string } }
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	if resp.StatusCode != http.StatusOK || err != nil || len(answer.Choices) == 0 {
		return "", fmt.Errorf("no answer: status %d", resp.StatusCode)
	}
	return answer.Choices[0].Message.Content, nil
}
