package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
)

// This file is the service. It is what you copy.

type tenantKey struct{}

// tenantOf returns the tenant whose call has this context.
func tenantOf(ctx context.Context) string {
	tenant, _ := ctx.Value(tenantKey{}).(string)
	return tenant
}

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
		breakwater.WithObserver(breakwater.Log(logger)),
	}
	return breakwater.New(append(options, more...)...)
}

// errBusy tells a tenant that too many of its calls are under way.
var errBusy = errors.New("too many calls at once")

// A service answers the users of many tenants.
type service struct {
	client    *http.Client
	perTenant int // calls of one tenant at once

	mu     sync.Mutex     // guards what follows
	calls  map[string]int // under way, by tenant
	tokens map[string]int // paid for, by tenant
}

// observe counts tokens. An observer gets the context of the call.
func (s *service) observe(ctx context.Context, e breakwater.Event) {
	if e.Kind == breakwater.KindAttempt {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tokens[tenantOf(ctx)] += e.Usage.TotalTokens
	}
}

// enter lets a call of a tenant begin, unless too many are under way.
func (s *service) enter(tenant string) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[tenant] >= s.perTenant {
		return nil, false
	}
	s.calls[tenant]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls[tenant]--
	}, true
}

// ask answers a question of a tenant's user.
func (s *service) ask(ctx context.Context, tenant, question string) (string, error) {
	leave, ok := s.enter(tenant)
	if !ok {
		return "", errBusy
	}
	defer leave()
	ctx = context.WithValue(ctx, tenantKey{}, tenant)                              // for observe
	ctx = breakwater.WithCall(ctx, breakwater.Call{Tenant: tenant, Scope: tenant}) // for the cache
	body, _ := json.Marshal(map[string]any{                                        // strings always have JSON
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
	var answer struct {
		Choices []struct{ Message struct{ Content string } }
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	if resp.StatusCode != http.StatusOK || err != nil || len(answer.Choices) == 0 {
		return "", fmt.Errorf("no answer: status %d", resp.StatusCode)
	}
	return answer.Choices[0].Message.Content, nil
}
