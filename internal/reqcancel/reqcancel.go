// Package reqcancel makes Request.Cancel an end of the request's context, so
// that nobody below need know of it. Cancel is deprecated, and still in use:
// http.Client.Timeout closes it, beside the context's deadline, for every
// RoundTripper that is not net/http's own.
//
// A bridge from Cancel to the context stands from Bridge until its done is
// called, which is the end of the exchange. It is called from where a Transport
// is entered, and nowhere else.
package reqcancel

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// Bridge returns req, which must have a Cancel, with a context that ends with
// it. done ends that context, and lets go of all that waits for Cancel. It may be
// called more than once.
func Bridge(req *http.Request) (bridged *http.Request, done func()) {
	caller := req.Context()
	ctx, cancel := context.WithCancelCause(caller)
	canceled := req.Cancel //lint:ignore SA1019 see the package
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
	req.Cancel = nil //lint:ignore SA1019 see the package
	return req, func() { cancel(outcome.ErrClosed) }
}

// awaitDeadline waits for a context to end whose deadline has passed.
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

// AtEnd has done called when resp's body is read to its end, fails, or is closed.
// A body that is a connection, of a 101, remains one.
func AtEnd(resp *http.Response, done func()) {
	b := &body{resp.Body, done}
	resp.Body = b
	if w, ok := b.ReadCloser.(io.Writer); ok {
		resp.Body = struct {
			*body
			io.Writer
		}{b, w}
	}
}

// A body is the body of a response whose request had a Cancel.
type body struct {
	io.ReadCloser
	done func()
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.done()
	}
	return n, err
}

func (b *body) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
