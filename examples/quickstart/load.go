package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A load asks questions through one client and knows the right answers.
type load struct {
	client   *http.Client
	url, key string

	mu       sync.Mutex // guards answered
	answered map[string]bool
}

func newLoad(client *http.Client, url, key string) *load {
	return &load{client: client, url: url, key: key, answered: make(map[string]bool)}
}

// questionOf returns a question of this moment. Every third question is one that
// is asked again and again, so that it may come from the cache.
func questionOf(ph phase, i int) string {
	if i%3 == 0 {
		return fmt.Sprintf("the usual question %d", i/3%8)
	}
	return fmt.Sprintf("question %d while: %s", i, ph.name)
}

// A verdict is what became of a call.
type verdict int

const (
	right  verdict = iota // the whole, right answer
	told                  // an error, and neither a host nor the cache could answer
	missed                // an error, though a host or the cache could answer
	wrong                 // taken for an answer, and not the right one
)

// An outcome is one call as its caller saw it.
type outcome struct {
	verdict  verdict
	took     time.Duration
	cached   bool
	stale    bool
	attempts []breakwater.Attempt
	says     error // why it is not right
}

// ask asks one question and compares the answer with what it must be.
func (l *load) ask(ctx context.Context, ph phase, prompt string, stream bool) outcome {
	key := fmt.Sprint(stream, prompt)
	l.mu.Lock()
	answered := l.answered[key]
	l.mu.Unlock()
	o, reply, err := l.do(ctx, prompt, stream)
	switch {
	case err == nil && reply.Content == kit.Answer(prompt) && reply.FinishReason == "stop":
		o.verdict = right
		l.mu.Lock()
		l.answered[key] = true
		l.mu.Unlock()
		return o
	case err == nil:
		o.verdict = wrong
		err = errors.New("no error, but not the answer")
	case ph.dark && !answered:
		o.verdict = told
	default:
		o.verdict = missed
	}
	o.says = fmt.Errorf("%q, stream %v: %w", prompt, stream, err)
	return o
}

func (l *load) do(ctx context.Context, prompt string, stream bool) (o outcome, reply kit.Reply, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	start := time.Now()
	defer func() { o.took = time.Since(start) }()
	req, err := kit.ChatRequest(ctx, l.url, l.key, model, prompt, stream)
	if err != nil {
		return o, reply, err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return o, reply, err
	}
	reply, err = kit.ReadAnswer(resp)
	status := resp.Header.Get("Cache-Status")
	o.cached = strings.Contains(status, "; hit")
	o.stale = strings.Contains(status, "stale-if-error")
	o.attempts = breakwater.TrailOf(resp)
	return o, reply, err
}
