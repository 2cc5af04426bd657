package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/breakwatertest"
)

// transport checks a Store with two Transports, as in two processes. The second must
// answer from the Store what the first has asked, but only to callers with the same
// key. A Transport waits for a Store for a quarter of a second. A busy machine may
// take longer, so only a Store that is late each time fails.
func (p *pair) transport() {
	for range 4 {
		heard := &notes{reporter: p.reporter}
		done := make(chan struct{})
		go func() {
			defer close(done)
			(&pair{reporter: heard, one: p.one, other: p.other}).processes()
		}()
		<-done
		if !heard.late() {
			heard.tell()
			return
		}
	}
	p.processes()
}

// notes collect reports, so that they can be dropped.
type notes struct {
	reporter

	mu    sync.Mutex // guards texts
	texts []string
}

func (n *notes) Errorf(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.texts = append(n.texts, fmt.Sprintf(format, args...))
}

func (n *notes) Fatalf(format string, args ...any) {
	n.Errorf(format, args...)
	runtime.Goexit()
}

// late reports whether the Store was late.
func (n *notes) late() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.texts, func(text string) bool { return strings.Contains(text, "the Store did not answer in time") })
}

func (n *notes) tell() {
	n.Helper()
	for _, text := range n.texts {
		n.reporter.Errorf("%s", text)
	}
}

func (p *pair) processes() {
	fleet, err := breakwatertest.NewPipeFleet(breakwatertest.DeepSeek("host"))
	if err != nil {
		p.Fatalf("no host to ask: %v", err)
	}
	defer fleet.Close()
	host := fleet.Server("host")
	ours, theirs := "sk-"+newKey(), "sk-"+newKey()
	for _, stream := range []bool{false, true} {
		prompt := "what is " + newKey() + "?"
		// asks sends the same request once with each key, in a process that has its own
		// memory. It returns how many requests reached the host.
		asks := func(store breakwater.Store, keys ...string) int {
			host.Forget()
			p.process(fleet, store, func(client *http.Client) {
				for _, key := range keys {
					p.ask(client, host.URL(), key, prompt, stream)
				}
			})
			return len(host.Requests())
		}
		if n := asks(p.one, ours); n != 1 {
			p.Errorf("stream %v: the first process asked the host %d times, want 1", stream, n)
		}
		if n := asks(p.other, ours, ours); n != 0 {
			p.Errorf("stream %v: the second process asked the host %d times, want 0: the first has kept the answer", stream, n)
		}
		if n := asks(p.other, theirs); n != 1 {
			p.Errorf("stream %v: with another credential the host was asked %d times, want 1: the answer is not to be shared", stream, n)
		}
	}
}

// process runs do with a new Transport, whose memory is empty, as in a new process.
// When process returns, the Store has all answers.
func (p *pair) process(fleet *breakwatertest.Fleet, store breakwater.Store, do func(*http.Client)) {
	base := fleet.Transport()
	transport, err := breakwater.New(
		breakwater.WithBase(base),
		breakwater.WithCache(breakwater.CachePolicy{Store: store}),
		breakwater.WithObserver(func(_ context.Context, e breakwater.Event) {
			if e.Kind == breakwater.KindCacheError {
				p.Errorf("a Transport could not use the Store: %v (%v)", e.Err, errors.Unwrap(e.Err))
			}
		}),
	)
	if err != nil {
		p.Fatalf("no Transport: %v", err)
	}
	defer base.CloseIdleConnections()
	defer transport.Close()
	do(&http.Client{Transport: transport})
}

// ask sends a request and checks the answer, which may come from the cache.
func (p *pair) ask(client *http.Client, url, key, prompt string, stream bool) {
	req, err := breakwatertest.ChatRequest(p.Context(), url, key, "deepseek-flash", prompt, stream)
	if err != nil {
		p.Fatalf("no request: %v", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		p.Fatalf("stream %v: no answer: %v", stream, err)
	}
	reply, err := breakwatertest.ReadAnswer(resp)
	if err == nil && reply.Content != breakwatertest.Answer(prompt) {
		err = errors.New("not the answer to the question")
	}
	if err != nil {
		p.Errorf("stream %v: %v", stream, err)
	}
}
