package fakehost

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing/iotest"
)

// Content types.
const (
	JSON   = "application/json"
	Stream = "text/event-stream"
)

// Questions and answers of the Chat Completions API.
const (
	ChatJSON   = `{"model":"m","messages":[{"role":"user","content":"q"}]}`
	ChatStream = `{"model":"m","stream":true,"messages":[{"role":"user","content":"q"}]}`

	GoodJSON = `{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"total_tokens":3}}`

	GoodEvent   = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n"
	EndEvent    = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
	FinishEvent = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"total_tokens\":3}}\n\n" // EndEvent with usage
	UsageEvent  = "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n"
	DoneEvent   = "data: [DONE]\n\n"
	WholeStream = GoodEvent + EndEvent + DoneEvent
)

// Event is GoodEvent with a text of its own.
func Event(text string) string { return strings.Replace(GoodEvent, "hi", text, 1) }

// Answer returns a response with a *Body.
func Answer(status int, contentType, body string) *http.Response {
	return AnswerFrom(status, contentType, strings.NewReader(body))
}

// AnswerFrom returns a response with a *Body that reads from body.
func AnswerFrom(status int, contentType string, body io.Reader) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {contentType}}, Body: &Body{Reader: body}, ContentLength: -1,
	}
}

// Post returns a request for a chat completion, with a key and a *Body.
func Post(ctx context.Context, url, body string) (*http.Request, *Body) {
	b := &Body{Reader: strings.NewReader(body)}
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, url+"/chat/completions", b)
	req.ContentLength = int64(len(body))
	req.Header.Set("Authorization", "Bearer sk-caller")
	req.Header.Set("Content-Type", JSON)
	return req, b
}

// A Body counts how often it is closed, and refuses to be read after that, as
// net/http's bodies do.
type Body struct {
	io.Reader
	closed atomic.Int32
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	if b.closed.Load() > 0 {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.Reader.Read(p)
}

// Close implements io.Closer.
func (b *Body) Close() error { b.closed.Add(1); return nil }

// Closed is how often the body was closed.
func (b *Body) Closed() int { return int(b.closed.Load()) }

// Bodies keeps bodies, so that a test can look for those that nobody closed. The zero value is ready.
type Bodies struct {
	mu  sync.Mutex // guards what follows
	all []*Body
}

// Of returns do, with the bodies of its answers kept. They must be of type *Body.
func (b *Bodies) Of(do Handler) Handler {
	return func(req *http.Request) (*http.Response, error) {
		resp, err := do(req)
		if resp != nil {
			b.Keep(resp.Body.(*Body))
		}
		return resp, err
	}
}

// Keep keeps a body, of a request for example.
func (b *Bodies) Keep(body *Body) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, body)
}

// Open is how many bodies are not closed.
func (b *Bodies) Open() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, body := range b.all {
		if body.Closed() == 0 {
			n++
		}
	}
	return n
}

// A ReaderFunc is an io.Reader.
type ReaderFunc func([]byte) (int, error)

// Read implements io.Reader.
func (f ReaderFunc) Read(p []byte) (int, error) { return f(p) }

// Cut reads text and then fails with err.
func Cut(text string, err error) io.Reader {
	return io.MultiReader(strings.NewReader(text), iotest.ErrReader(err))
}
