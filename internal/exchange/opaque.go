package exchange

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/progress"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// An Opaque is a body that is passed on as it comes, for nobody can look into it:
// it has a coding that nobody asked for, is too large, or is no answer at all.
type Opaque struct {
	x      *Exchange
	src    io.Closer
	in     progress.Reader // what is to be read of it
	object bool            // JSON: it must end in a brace
	last   byte            // that is not blank
	read   atomic.Int64
	err    error // it ended in
	leave  func() bool
}

// PassOn commits the exchange to a response that nobody can look into.
func (x *Exchange) PassOn(resp *http.Response) (*http.Response, *Failure) {
	return x.passOn(resp, nil, false)
}

// passOn is PassOn where begun was read of the body before. An object that does
// not end as objects end is no clean end.
func (x *Exchange) passOn(resp *http.Response, begun []byte, object bool) (*http.Response, *Failure) {
	if !x.FirstPayload.Stop() {
		resp.Body.Close()
		return nil, x.Interrupted()
	}
	b := &Opaque{x: x, src: resp.Body, in: progress.Reader{Reader: resp.Body}, object: object}
	if begun != nil {
		b.in.Reader = io.MultiReader(bytes.NewReader(begun), resp.Body)
		clearLength(resp) // blank lines before the JSON were left out
	}
	b.leave = x.endWithCaller(&b.read)
	resp.Body = b
	return resp, nil
}

// Kind says that nobody can look into the body.
func (b *Opaque) Kind() Kind { return KindOpaque }

// Observe does nothing: nobody knows when such an answer is whole.
func (b *Opaque) Observe(Completion) {}

func (b *Opaque) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.in.Read(p)
	b.read.Add(int64(n))
	if text := bytes.TrimRight(p[:n], " \t\r\n"); len(text) > 0 {
		b.last = text[len(text)-1]
	}
	if err == nil {
		return n, nil
	}
	class, why := outcome.Truncated, outcome.TruncatedBy(err)
	switch {
	case err == io.EOF && (!b.object || b.last == '}'):
		class, why = outcome.OK, nil
	case err == io.EOF:
	case b.x.Caller.Err() != nil:
		class, why = outcome.Canceled, context.Cause(b.x.Caller)
	}
	if b.err = err; why != nil {
		b.err = why
	}
	defer b.release() // some never close what they have read to its end
	b.x.Owner.End(class, why, wire.Usage{}, b.read.Load())
	return n, b.err
}

func (b *Opaque) Close() (err error) {
	defer func() { err = b.release() }() // also if an Observer panics
	b.x.Owner.End(outcome.OK, nil, wire.Usage{}, b.read.Load())
	return nil
}

// release lets go of the connection.
func (b *Opaque) release() error {
	defer b.x.Cancel(outcome.ErrClosed)
	b.leave()
	return b.src.Close()
}
