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

// newTransport returns breakwater for a server of your own, with a cloud as backup.
// Tests give more options, such as a network of fakes.
func newTransport(key string, logger *slog.Logger, more ...breakwater.Option) (*breakwater.Transport, error) {
	local := breakwater.VLLM("http://vllm.internal:8000/v1", "")
	local.Name = "local"
	local.Tags = []string{"on-premises"}
	local.Models = map[string]string{
		"deepseek-flash": "deepseek-ai/DeepSeek-V4-Flash",
	}
	local.Limits = map[string]breakwater.RatePolicy{
		"": {InFlight: 16, MaxWait: time.Second, Spill: true},
	}
	options := []breakwater.Option{
		breakwater.WithEndpoints(local),
		breakwater.WithBackup(breakwater.DeepSeek(key)),
		breakwater.WithRetry(breakwater.RetryPolicy{
			Patience: breakwater.Off,
		}),
		breakwater.WithStream(breakwater.StreamPolicy{
			FirstToken: 5 * time.Second,
			Thinking:   time.Minute,
		}),
		breakwater.WithObserver(breakwater.Log(logger)),
	}
	return breakwater.New(append(options, more...)...)
}

// A service answers questions.
type service struct{ client *http.Client }

// ask asks the server of your own, and the cloud if the server cannot answer. What
// is confidential never goes to the cloud, whatever happens.
func (s *service) ask(ctx context.Context, question string, confidential bool) (string, error) {
	if confidential {
		ctx = breakwater.WithCall(ctx, breakwater.Call{
			Endpoints: []string{"on-premises"},
		})
	}
	body, _ := json.Marshal(map[string]any{ // strings always have JSON
		"model":    "deepseek-flash",
		"messages": []map[string]string{{"role": "user", "content": question}},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://vllm.internal:8000/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
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
