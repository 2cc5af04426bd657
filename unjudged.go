package breakwater

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/progress"
)

// unjudged hands over what cannot be judged: an encoding nobody asked for, or
// JSON beyond MaxBuffer, begun being the part read already. An object that does
// not end as objects end is still no clean end.
func (a *attempt) unjudged(resp *http.Response, begun []byte, object bool) (*http.Response, error) {
	if !a.watch.settle() {
		resp.Body.Close()
		return nil, a.broken(nil, ClassNoFirstToken)
	}
	b := &unjudgedBody{attempt: a, src: resp.Body, in: progress.Reader{Reader: resp.Body}, object: object}
	if begun != nil {
		b.in.Reader = io.MultiReader(bytes.NewReader(begun), resp.Body)
		lengthUnknown(resp) // blank lines before the JSON were left out
	}
	b.leave = a.watchCaller(&b.read)
	resp.Body = b
	return resp, nil
}

type unjudgedBody struct {
	attempt *attempt
	src     io.Closer
	in      progress.Reader // what is to be read of it
	object  bool            // JSON: must end in a brace
	last    byte            // that is not blank
	read    atomic.Int64
	err     error // it ended in
	leave   func() bool
}

// Kind says that nobody can look into the body.
func (b *unjudgedBody) Kind() exchange.Kind { return exchange.KindOpaque }

// Observe tells nothing: nobody knows when such an answer is whole.
func (b *unjudgedBody) Observe(exchange.Completion) {}

func (b *unjudgedBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.in.Read(p)
	b.read.Add(int64(n))
	if text := bytes.TrimRight(p[:n], " \t\r\n"); len(text) > 0 {
		b.last = text[len(text)-1]
	}
	class, why := ClassOK, error(nil)
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF && b.object && b.last != '}':
		class, why = ClassTruncated, ErrTruncated
	case err == io.EOF:
	case b.attempt.call.Err() != nil:
		class, why = ClassCanceled, context.Cause(b.attempt.call)
	default:
		class, why = ClassTruncated, outcome.TruncatedBy(err)
	}
	if b.err = err; why != nil {
		b.err = why
	}
	defer b.release() // some never close what they have read to its end
	b.attempt.end(class, why, Usage{}, b.read.Load())
	return n, b.err
}

func (b *unjudgedBody) Close() (err error) {
	defer func() { err = b.release() }() // also if an Observer panics
	b.attempt.end(ClassOK, nil, Usage{}, b.read.Load())
	return nil
}

// release lets go of the connection.
func (b *unjudgedBody) release() error {
	defer b.attempt.cancel(outcome.ErrClosed)
	b.leave()
	return b.src.Close()
}
