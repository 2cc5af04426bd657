package breakwater

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"
)

// unjudged hands over what cannot be judged: an encoding nobody asked for, or
// JSON beyond MaxBuffer, begun being the part read already. An object that does
// not end as objects end is still no clean end.
func (a *attempt) unjudged(resp *http.Response, begun []byte, object bool) (*http.Response, error) {
	if !a.watch.settle() {
		resp.Body.Close()
		return nil, a.broken(nil, ClassNoFirstToken)
	}
	b := &unjudgedBody{attempt: a, src: resp.Body, in: progress{Reader: resp.Body}, object: object}
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
	in      progress // what is to be read of it
	object  bool     // JSON: must end in a brace
	last    byte     // that is not blank
	read    atomic.Int64
	err     error // it ended in
	leave   func() bool
}

func (b *unjudgedBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.in.Read(p)
	b.read.Add(int64(n))
	if text := bytes.TrimRight(p[:n], " \t\r\n"); len(text) > 0 {
		b.last = text[len(text)-1]
	}
	switch {
	case err == nil:
	case err == io.EOF && b.object && b.last != '}':
		err = ErrTruncated
		b.attempt.end(ClassTruncated, err, Usage{}, b.read.Load())
	case err == io.EOF:
		b.attempt.end(ClassOK, nil, Usage{}, b.read.Load())
	case b.attempt.call.Err() != nil:
		err = context.Cause(b.attempt.call)
		b.attempt.end(ClassCanceled, err, Usage{}, b.read.Load())
	default:
		err = truncated(err)
		b.attempt.end(ClassTruncated, err, Usage{}, b.read.Load())
	}
	if b.err = err; err != nil {
		b.release() // some never close what they have read to its end
	}
	return n, err
}

func (b *unjudgedBody) Close() error {
	b.attempt.end(ClassOK, nil, Usage{}, b.read.Load())
	return b.release()
}

// release lets go of the connection.
func (b *unjudgedBody) release() error {
	b.leave()
	err := b.src.Close()
	b.attempt.cancel(errClosed)
	return err
}
