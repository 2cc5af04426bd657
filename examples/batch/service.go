package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
)

// This file is the job. It is what you copy.

// newTransport returns breakwater for a job that has all night. Tests give more
// options, such as a network of fakes.
func newTransport(key string, logger *slog.Logger, more ...breakwater.Option) (*breakwater.Transport, error) {
	options := []breakwater.Option{
		breakwater.WithEndpoints(breakwater.DeepSeek(key)),
		breakwater.WithRetry(breakwater.RetryPolicy{
			Attempts:      60,
			MinDelay:      time.Second,
			MaxDelay:      2 * time.Minute,
			MaxRetryAfter: 30 * time.Minute,
			Budget:        10,
		}),
		breakwater.WithBreaker(breakwater.BreakerPolicy{
			FailureRate: breakwater.Off,
			Consecutive: breakwater.Off,
		}),
		breakwater.WithObserver(breakwater.Log(logger)),
	}
	return breakwater.New(append(options, more...)...)
}

const (
	workers     = 4
	perDocument = 30 * time.Minute // with all waits: a host that queues for ever must not hold a worker for ever
)

// A job summarizes documents. Its results are your table or your files: what is
// there is not asked for again.
type job struct {
	client *http.Client

	mu      sync.Mutex // guards results
	results map[string]string
}

// run works through the documents that have no result yet. A document that fails
// is left for the next run. An error ends the run: nothing else would succeed.
func (j *job) run(ctx context.Context, documents []string) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	queue := make(chan string)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for document := range queue {
				if err := j.do(ctx, document); err != nil {
					stop(err)
				}
			}
		})
	}
	for _, document := range documents {
		if ctx.Err() == nil && !j.has(document) {
			queue <- document
		}
	}
	close(queue)
	wg.Wait()
	return context.Cause(ctx)
}

func (j *job) has(document string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.results[document] != ""
}

// do asks for one summary. Its error ends the run.
func (j *job) do(ctx context.Context, document string) error {
	ctx, cancel := context.WithTimeout(ctx, perDocument)
	defer cancel()
	body, _ := json.Marshal(map[string]any{ // strings always have JSON
		"model":    "deepseek-flash",
		"messages": []map[string]string{{"role": "user", "content": document}},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.deepseek.com/chat/completions", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := j.client.Do(req)
	if err != nil {
		return nil // its time is over: the next run may do it
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return j.keep(document, resp.Body)
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden:
		return fmt.Errorf("status %d: the key or the account needs attention", resp.StatusCode)
	}
	return nil // the host is down for long, or refuses this document
}

// keep keeps a result. breakwater has checked that the JSON is whole.
func (j *job) keep(document string, body io.Reader) error {
	var answer struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.NewDecoder(body).Decode(&answer); err != nil || len(answer.Choices) == 0 {
		return fmt.Errorf("not an answer: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.results[document] = answer.Choices[0].Message.Content
	return nil
}
