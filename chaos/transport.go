package chaos

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/request"
)

// A transport is an Injector in front of another RoundTripper.
type transport struct {
	injector *Injector
	next     http.RoundTripper
}

// CloseIdleConnections closes those of the RoundTripper below.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip sends a request, or does what a rule says.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL == nil || req.URL.Host == "" {
		return t.next.RoundTrip(req) // it says what is wrong
	}
	i := t.injector
	q := i.ask(req)
	given := req
	if i.wantsBody(q) {
		var err error
		if req, err = read(req, q); err != nil {
			return nil, err
		}
	}
	p, protected := i.decide(q)
	if protected != nil {
		i.protect(req.Context(), *protected)
	}
	for _, h := range p.hits {
		if i.config.OnHit != nil {
			i.config.OnHit(h)
		}
	}
	if err := lifeOf(req).wait(p.latency()); err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := t.play(req, q, p)
	if resp != nil && resp.Request == req {
		resp.Request = given
	}
	return resp, err
}

// play does what a request meets, after its latency.
func (t *transport) play(req *http.Request, q *question, p plan) (*http.Response, error) {
	act := &act{injector: t.injector, req: req, q: q, words: t.injector.dialectOf(req), rule: p.fault}
	if p.fault != nil && !p.fault.info.sends {
		resp, err := act.instead()
		if err == nil {
			act.slowDown(resp, p.slows)
		}
		return resp, err
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil || resp == nil {
		return resp, err
	}
	act.spoil(resp, p)
	return resp, nil
}

// latency returns how long a request waits before it is sent.
func (p *plan) latency() (d time.Duration) {
	for _, r := range p.slows {
		if r.Fault == Latency {
			d += r.Delay
		}
	}
	return d
}

// ask notes what is known of a request without its body.
func (i *Injector) ask(req *http.Request) *question {
	q := &question{method: req.Method, host: req.URL.Host, operation: operationOf(req)}
	if q.method == "" {
		q.method = http.MethodGet
	}
	if e := i.endpointFor(req.URL); e != nil {
		q.endpoint = e.name
	}
	return q
}

// maxBody bounds what is read of a request's body to find its model.
const maxBody = 32 << 20

// read notes what a request's body says. It returns the request to send in place of req, which
// has another body if the body of req can be read only once.
func read(req *http.Request, q *question) (*http.Request, error) {
	if req.Body == nil || req.Body == http.NoBody {
		q.note(nil)
		return req, nil
	}
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			closeBody(req)
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(body, maxBody))
		_ = body.Close() // it was only read
		if err != nil {
			closeBody(req)
			return nil, err
		}
		q.note(text)
		return req, nil
	}
	var text []byte
	err := whileOpen(req, func() (err error) {
		text, err = io.ReadAll(io.LimitReader(req.Body, maxBody))
		return err
	})
	if err != nil {
		closeBody(req)
		return nil, err
	}
	q.note(text)
	again := req.Clone(req.Context())
	again.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), req.Body), req.Body}
	return again, nil
}

// note reads a body.
func (q *question) note(body []byte) {
	params := request.Parse(body)
	q.model, q.stream = strings.Clone(params.Model), params.Stream && q.operation != "embeddings" && q.operation != other
	q.choices, q.digest = int(params.Choices), digest(body)
}

func digest(body []byte) uint64 {
	return hash(0, string(body))
}

// drain reads the request's body to its end and closes it, as a host does that takes the whole
// request before it answers.
func drain(req *http.Request) error {
	if req.Body == nil {
		return nil
	}
	err := whileOpen(req, func() error {
		_, err := io.Copy(io.Discard, req.Body)
		return err
	})
	closeBody(req)
	return err
}

// whileOpen runs what reads the request's body, until the request ends. The goroutine ends when
// Read returns, which it does after Close if the caller's body keeps to its contract.
func whileOpen(req *http.Request, do func() error) error {
	end := lifeOf(req)
	if end.ctx.Done() == nil && end.cancel == nil {
		return do()
	}
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-end.ctx.Done():
		return context.Cause(end.ctx)
	case <-end.cancel:
		return context.Canceled
	}
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // there is nobody to tell
	}
}

// A life ends with a request's context, its Cancel, or the close of its response's body.
type life struct {
	ctx    context.Context
	cancel <-chan struct{}
	closed <-chan struct{} // nil: there is no body yet
}

func lifeOf(req *http.Request) life {
	return life{ctx: req.Context(), cancel: req.Cancel} //lint:ignore SA1019 callers may still use it
}

// wait waits for d, and returns an error if the life ends before.
func (l life) wait(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	return l.until(timer.C)
}

// hang waits until the life ends.
func (l life) hang() error { return l.until(nil) }

func (l life) until(c <-chan time.Time) error {
	select {
	case <-c:
		return nil
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	case <-l.cancel:
		return context.Canceled
	case <-l.closed:
		return http.ErrBodyReadAfterClose
	}
}
