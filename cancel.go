package breakwater

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/reqbody"
)

// This file is about Request.Cancel, which is deprecated and still in use:
// http.Client.Timeout closes it, beside the context's deadline, for every
// RoundTripper that is not net/http's own.

// untilCancel makes req.Cancel an end of the request's context, so that nobody
// below need know of it. done ends that, once the exchange is over.
func untilCancel(req *http.Request) (bridged *http.Request, done func()) {
	caller := req.Context()
	ctx, cancel := context.WithCancelCause(caller)
	canceled := req.Cancel //lint:ignore SA1019 see above
	select {
	case <-canceled:
		awaitDeadline(caller)
		cancel(context.Canceled)
	default:
		go func() {
			select {
			case <-ctx.Done():
			case <-canceled:
				awaitDeadline(caller)
				cancel(context.Canceled)
			}
		}()
	}
	req = req.WithContext(ctx)
	req.Cancel = nil //lint:ignore SA1019 see above
	return req, func() { cancel(outcome.ErrClosed) }
}

// awaitDeadline waits for a context to end whose deadline has passed:
// http.Client closes Cancel at the very time of its deadline, and the call ends
// in that, not in a cancel.
func awaitDeadline(ctx context.Context) {
	deadline, ok := ctx.Deadline()
	if !ok || time.Now().Before(deadline) {
		return
	}
	timer := time.NewTimer(maxTimerLag)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C: // a context that does not keep its word
	}
}

// maxTimerLag is how late the timer of a context may fire.
const maxTimerLag = 10 * time.Millisecond

// A bridgedBody is the body of a response whose request has a Cancel.
type bridgedBody struct {
	io.ReadCloser
	done func()
}

func (b *bridgedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.done()
	}
	return n, err
}

func (b *bridgedBody) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}

// bridge has the response's end end the bridge.
func bridge(resp *http.Response, done func()) {
	switch exchange.KindOf(resp.Body) {
	case exchange.KindWhole, exchange.KindMemory:
		done() // what is in memory need not be read, nor closed
		return
	}
	if reqbody.InMemory(resp.Body) {
		done()
		return
	}
	body := &bridgedBody{resp.Body, done}
	resp.Body = body
	if w, ok := body.ReadCloser.(io.Writer); ok { // of a 101
		resp.Body = struct {
			*bridgedBody
			io.Writer
		}{body, w}
	}
}
