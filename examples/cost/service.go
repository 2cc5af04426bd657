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
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
)

// This file is the service. It is what you copy.

type purposeKey struct{}

// newTransport returns breakwater with prices for each host. Tests give more options, such as a
// network of fakes.
func newTransport(key, otherKey string, logger *slog.Logger, more ...breakwater.Option) (*breakwater.Transport, error) {
	backup := breakwater.SiliconFlow(otherKey)
	backup.Price = map[string]breakwater.Price{
		"deepseek-ai/DeepSeek-V4-Flash": {
			Input: 0.20, CachedInput: 0.02, Output: 0.80,
			Source: "your contract", Checked: "2026-11-28",
		},
	}
	// DeepSeek's prices are known.
	options := []breakwater.Option{
		breakwater.WithEndpoints(breakwater.DeepSeek(key)),
		breakwater.WithBackup(backup),
		breakwater.WithCache(breakwater.CachePolicy{TTL: 10 * time.Minute}),
		breakwater.WithStream(breakwater.StreamPolicy{
			Rescue: breakwater.RescueOff,
		}),
		breakwater.WithObserver(breakwater.Log(logger)),
	}
	return breakwater.New(append(options, more...)...)
}

// A ledger sums what calls cost, by what they are for.
type ledger struct {
	mu   sync.Mutex // guards what follows
	sums map[string]sum
	last breakwater.Cost // of the latest call
}

type sum struct {
	amount, estimated float64
	unknown           int // calls of which not all costs are known
}

// observe books each call when it is over: the costs of all its attempts.
func (l *ledger) observe(ctx context.Context, e breakwater.Event) {
	if e.Kind != breakwater.KindEnd {
		return
	}
	purpose, _ := ctx.Value(purposeKey{}).(string)
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sums[purpose]
	s.amount += e.Cost.Amount
	if e.Cost.Estimated {
		s.estimated += e.Cost.Amount
	}
	if !e.Cost.Known {
		s.unknown++
	}
	l.sums[purpose], l.last = s, e.Cost
}

// ask asks for a stream and reads as many words of it as somebody wants to see.
func ask(ctx context.Context, client *http.Client, purpose, question string, words int) (string, error) {
	ctx = context.WithValue(ctx, purposeKey{}, purpose) // for observe
	body, _ := json.Marshal(map[string]any{             // strings always have JSON
		"model":    "deepseek-flash",
		"stream":   true,
		"thinking": map[string]string{"type": "disabled"},
		"messages": []map[string]string{{"role": "user", "content": question}},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.deepseek.com/chat/completions", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("no answer: status %d", resp.StatusCode)
	}
	var text strings.Builder
	lines := bufio.NewScanner(resp.Body)
	for n := 0; n < words && lines.Scan(); {
		var chunk struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if ok && json.Unmarshal(data, &chunk) == nil && len(chunk.Choices) > 0 && chunk.Choices[0].Delta.Content != "" {
			text.WriteString(chunk.Choices[0].Delta.Content)
			n++
		}
	}
	return text.String(), lines.Err()
}
