// Package fakehost is a base transport without a network, for tests: hosts
// that answer as a test says, well or badly.
//
// A Base is an http.RoundTripper that asks a Handler, one for each host if a
// test wants, and counts the requests. A Handler answers one request. The
// handlers of this package give whole answers, break off, refuse, hang, come
// late or play a script, and some wrap others. A Faucet is a stream that comes
// event by event, when the test says so.
//
// All of it works in the virtual time of testing/synctest. The package knows
// nothing of the library's root, so every package's tests can use it. Servers
// that speak real HTTP are in breakwatertest.
package fakehost

import (
	"io"
	"net/http"
	"sync"
)

// A Handler answers one request as http.RoundTripper does.
type Handler func(*http.Request) (*http.Response, error)

// A Base answers each request by the handler of its host, or else by the one
// for all others, and counts what it was sent. Use New or NewUnread.
type Base struct {
	unread bool // request bodies are left to the handlers

	mu       sync.Mutex // guards what follows
	handlers map[string]Handler
	requests map[string]int
}

// New returns a Base that answers every host by others. It reads request
// bodies to their ends and closes them before it asks a handler.
func New(others Handler) *Base {
	return &Base{handlers: map[string]Handler{"": others}, requests: make(map[string]int)}
}

// NewUnread returns a Base that leaves request bodies to its handlers.
func NewUnread(others Handler) *Base {
	b := New(others)
	b.unread = true
	return b
}

// RoundTrip implements http.RoundTripper.
func (b *Base) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil && !b.unread {
		io.Copy(io.Discard, req.Body)
		req.Body.Close()
	}
	b.mu.Lock()
	b.requests[req.URL.Host]++
	do, ok := b.handlers[req.URL.Host]
	if !ok {
		do = b.handlers[""]
	}
	b.mu.Unlock()
	return do(req)
}

// Set makes do the handler of host, "" standing for all hosts without one.
func (b *Base) Set(host string, do Handler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handlers[host] = do
}

// Count is how many requests host got, "" standing for all hosts together.
func (b *Base) Count(host string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if host != "" {
		return b.requests[host]
	}
	n := 0
	for _, count := range b.requests {
		n += count
	}
	return n
}
