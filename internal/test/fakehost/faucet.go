package fakehost

import (
	"context"
	"io"
	"net/http"
	"sync"
)

// A Faucet is the body of a stream that comes event by event, as a test lets
// it. A read waits for the next event, and fails when the request is given up.
type Faucet struct {
	ctx  context.Context // of the request
	more chan struct{}   // has one element if something was sent

	mu     sync.Mutex // guards what follows
	events []string   // sent and not read
	end    error      // what reads return after the events; nil: they wait
	closed bool
}

// NewFaucet returns the body of an answer to req. It begins with first, which
// may be empty.
func NewFaucet(req *http.Request, first string) *Faucet {
	f := &Faucet{ctx: req.Context(), more: make(chan struct{}, 1)}
	if first != "" {
		f.Send(first)
	}
	return f
}

// Faucets returns a Base that answers with streams that begin with first, and
// the channel on which it hands over the Faucet of each.
func Faucets(first string) (*Base, chan *Faucet) {
	opened := make(chan *Faucet, 100)
	return New(func(req *http.Request) (*http.Response, error) {
		f := NewFaucet(req, first)
		opened <- f
		return f.Answer(), nil
	}), opened
}

// Answer returns a response with the stream.
func (f *Faucet) Answer() *http.Response {
	resp := Answer(200, Stream, "")
	resp.Body = f
	return resp
}

// Send adds an event, or a part of one, to what is read. It does not wait for
// the reader.
func (f *Faucet) Send(event string) {
	if event == "" {
		return
	}
	f.mu.Lock()
	f.events = append(f.events, event)
	f.mu.Unlock()
	f.wake()
}

// End ends the stream after what was sent.
func (f *Faucet) End() { f.Break(io.EOF) }

// Break makes reads fail with err after what was sent.
func (f *Faucet) Break(err error) {
	f.mu.Lock()
	f.end = err
	f.mu.Unlock()
	f.wake()
}

func (f *Faucet) wake() {
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// Read implements io.Reader. One read gives no more than one event.
func (f *Faucet) Read(p []byte) (int, error) {
	for {
		if n, err := f.take(p); n > 0 || err != nil {
			return n, err
		}
		select {
		case <-f.more:
		case <-f.ctx.Done():
			return 0, f.ctx.Err()
		}
	}
}

// take reads without waiting.
func (f *Faucet) take(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return 0, http.ErrBodyReadAfterClose
	case len(f.events) == 0:
		return 0, f.end
	}
	n := copy(p, f.events[0])
	if f.events[0] = f.events[0][n:]; f.events[0] == "" {
		f.events = f.events[1:]
	}
	return n, nil
}

// Close implements io.Closer. It ends no read that waits: the end of the
// request does.
func (f *Faucet) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// Closed reports whether the body was closed.
func (f *Faucet) Closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// Context is the context of the request that the stream answers.
func (f *Faucet) Context() context.Context { return f.ctx }
