package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater"
)

// This file is the service. It is what you copy.

// newTransport returns breakwater for tenants who share your key. Tests give more
// options, such as a network of fakes.
func newTransport(key, otherKey string, logger *slog.Logger, more ...breakwater.Option) (*breakwater.Transport, error) {
	options := []breakwater.Option{
		breakwater.WithEndpoints(breakwater.DeepSeek(key)),
		breakwater.WithBackup(breakwater.SiliconFlow(otherKey)),
		breakwater.WithCache(breakwater.CachePolicy{
			TTL:          10 * time.Minute,
			StaleIfError: 24 * time.Hour,
			Scope:        func(*http.Request) string { return "" }, // see ask
		}),
		breakwater.WithRateLimit(breakwater.RatePolicy{
			InFlight: 200,
			MaxWait:  2 * time.Second,
			Spill:    true,
		}),
		breakwater.WithTenants(breakwater.TenantPolicy{
			Default: breakwater.TenantLimits{InFlight: 4, TokensPerDay: 1_000_000},
		}),
		breakwater.WithObserver(breakwater.Log(logger)),
	}
	return breakwater.New(append(options, more...)...)
}

// errBusy tells a tenant that it is at one of its limits.
var errBusy = errors.New("you ask for too much at once")

// A service answers the users of many tenants.
type service struct{ client *http.Client }

// ask answers a question of a tenant's user.
func (s *service) ask(ctx context.Context, tenant, question string) (string, error) {
	ctx = breakwater.WithCall(ctx, breakwater.Call{Tenant: tenant, Scope: tenant})
	body, _ := json.Marshal(map[string]any{ // strings always have JSON
		"model":    "deepseek-flash",
		"messages": []map[string]string{{"role": "user", "content": question}},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.deepseek.com/chat/completions", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if limit, ok := errors.AsType[*breakwater.LimitError](breakwater.ErrorOf(resp)); ok && limit.Tenant != "" {
		return "", errBusy
	}
	var answer struct {
		Choices []struct{ Message struct{ Content string } }
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	if resp.StatusCode != http.StatusOK || err != nil || len(answer.Choices) == 0 {
		return "", fmt.Errorf("no answer: status %d", resp.StatusCode)
	}
	return answer.Choices[0].Message.Content, nil
}
