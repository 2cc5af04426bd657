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

// An Opaque is a body that is passed on unchecked: it is encoded, larger than
// MaxBuffer, or another protocol.
type Opaque struct {
	x      *Exchange
	src    io.Closer
	in     progress.Reader // of src
	object bool            // it is JSON, so it must end in a brace
	last   byte            // the last byte that is not blank
	read   atomic.Int64    // bytes the reader has got
	err    error           // what it ended in
	stop   func() bool     // stops endWithCaller
}

// PassOn commits the exchange to a response whose body cannot be checked.
func (e *Exchange) PassOn(resp *http.Response) (*http.Response, *Failure) {
	return e.passOn(resp, nil, false)
}

// passOn is PassOn for a body of which begun was read already. object: it is a JSON
// object, so that a body that does not end in a brace is truncated.
func (e *Exchange) passOn(resp *http.Response, begun []byte, object bool) (*http.Response, *Failure) {
	if !e.FirstPayload.Stop() {
		resp.Body.Close()
		return nil, e.Interrupted()
	}
	e.opaque = true
	o := &Opaque{x: e, src: resp.Body, in: progress.Reader{Reader: resp.Body}, object: object}
	if begun != nil {
		o.in.Reader = io.MultiReader(bytes.NewReader(begun), resp.Body)
		clearLength(resp) // readWhole has dropped the blank lines before the JSON
	}
	o.stop = e.endWithCaller(&o.read)
	resp.Body = o
	return resp, nil
}

// Kind returns KindOpaque.
func (o *Opaque) Kind() Kind { return KindOpaque }

// Observe does nothing: nobody knows whether such an answer is complete.
func (o *Opaque) Observe(Completion) {}

// Read implements io.Reader.
func (o *Opaque) Read(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.in.Read(p)
	o.read.Add(int64(n))
	if text := bytes.TrimRight(p[:n], " \t\r\n"); len(text) > 0 {
		o.last = text[len(text)-1]
	}
	if err == nil {
		return n, nil
	}
	class, why := outcome.Truncated, outcome.TruncatedBy(err)
	switch {
	case err == io.EOF && (!o.object || o.last == '}'):
		class, why = outcome.OK, nil
	case err == io.EOF:
	case o.x.Caller.Err() != nil:
		class, why = outcome.Canceled, context.Cause(o.x.Caller)
	}
	if o.err = err; why != nil {
		o.err = why
	}
	defer o.release() // some clients do not close a body that they have read to its end
	o.x.Owner.End(class, why, wire.Usage{}, o.read.Load())
	return n, o.err
}

// Close ends the exchange. A reader may leave when it likes: that is no failure.
func (o *Opaque) Close() (err error) {
	defer func() { err = o.release() }() // also if an Observer panics
	o.x.Owner.End(outcome.OK, nil, wire.Usage{}, o.read.Load())
	return nil
}

// release gives the connection back.
func (o *Opaque) release() error {
	defer o.x.Cancel(outcome.ErrClosed)
	o.stop()
	return o.src.Close()
}
