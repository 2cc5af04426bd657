// Package reqbody holds the bodies of requests: a Buffer has a complete one, so that
// several attempts can send it; an Upload streams one that is too large for that, once.
//
// A caller's body is the caller's code and may block for ever, as a pipe does that nobody
// writes to. All that reads or closes it here ends with a context nevertheless. If it
// panics on a goroutine of this package, the process does not crash.
//
// A Buffer has one or more users, or it is in the pool. A Reader or an Upload is open or
// closed, and may be closed while it is read. The calls and attempts of the root are the
// users.
package reqbody

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/progress"
)

// A Buffer holds a request body and is reference counted: by the call, by each
// attempt while it is sent, and by each Reader that a transport has not closed.
// The last Release returns it to the pool.
type Buffer struct {
	text  []byte
	users atomic.Int32
}

var pool sync.Pool // of *Buffer

// maxPooled bounds what is kept in the pool, in bytes each.
const maxPooled = 256 << 10

// Get returns an empty buffer for a body of about size bytes; negative: unknown. The
// caller is its only user.
func Get(size int64) *Buffer {
	b, _ := pool.Get().(*Buffer)
	if b != nil && int64(cap(b.text)) > 4*max(size, 1<<10) {
		pool.Put(b) // leave it for a larger body, because a small one could hold that much memory for a long time
		b = nil
	}
	if b == nil {
		b = &Buffer{}
	}
	b.users.Store(1)
	return b
}

// Retain adds a user, and returns b. Only a user may call it.
func (b *Buffer) Retain() *Buffer {
	if b != nil {
		b.users.Add(1)
	}
	return b
}

// Release removes a user, who must not use the buffer any more.
func (b *Buffer) Release() {
	if b != nil && b.users.Add(-1) == 0 && cap(b.text) <= maxPooled {
		b.text = b.text[:0]
		pool.Put(b)
	}
}

// Bytes returns the body, or nil if b is nil. It must not be changed while there are other
// users.
func (b *Buffer) Bytes() []byte {
	if b == nil {
		return nil
	}
	return b.text
}

// Set makes text the body, which may extend what Bytes returned. Only a single user may
// call it.
func (b *Buffer) Set(text []byte) { b.text = text }

// Take reads a caller's body and returns when ctx ends at the latest. A body of at most
// limit bytes is read to its end, and closed; a larger one becomes an Upload. If there is
// no body, or an error, it returns neither.
func Take(ctx context.Context, req *http.Request, limit int64) (*Buffer, *Upload, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, nil, nil
	}
	if req.ContentLength > limit {
		return nil, newUpload(ctx, nil, req.Body, req.ContentLength), nil
	}
	b := Get(req.ContentLength)
	switch err := b.fill(ctx, req.Body, req.ContentLength, limit); err {
	case nil:
		return b, nil, nil
	case errTooLarge:
		return nil, newUpload(ctx, b.text, req.Body, req.ContentLength), nil
	default:
		return nil, nil, err
	}
}

var errTooLarge = errors.New("larger than the limit")

// fill reads body to its end, and closes it. size is the length that the request states;
// negative: unknown. If the body is larger than limit, fill stops there and returns
// errTooLarge with the body open, so that the caller can read on. What body returns after
// the end of ctx is lost. A panic in body is passed on.
func (b *Buffer) fill(ctx context.Context, body io.ReadCloser, size, limit int64) error {
	if ctx.Done() == nil || InMemory(body) {
		return b.readAndClose(body, size, limit)
	}
	body = &onceCloser{ReadCloser: body}
	type end struct {
		err   error
		panic any
	}
	own := &Buffer{text: b.text}
	ended := make(chan end, 1)
	go func() {
		e := end{err: outcome.ErrPanic}
		defer func() {
			if e.err == outcome.ErrPanic {
				e.panic = recover()
			}
			ended <- e
		}()
		e.err = own.readAndClose(body, size, limit)
	}()
	b.text = nil // it belongs to the goroutine until that ends
	select {
	case e := <-ended:
		if e.panic != nil {
			panic(e.panic)
		}
		b.text = own.text
		return e.err
	case <-ctx.Done():
		closeLater(body) // this ends most reads
		return context.Cause(ctx)
	}
}

func (b *Buffer) readAndClose(body io.ReadCloser, size, limit int64) error {
	err := b.read(body, size, limit)
	if err == errTooLarge {
		return err
	}
	return errors.Join(err, body.Close())
}

func (b *Buffer) read(src io.Reader, size, limit int64) error {
	if size++; size <= 0 { // one more byte, to see the end
		size = bytes.MinRead
	}
	text := b.text[:0]
	if size = min(size, 1<<20); int64(cap(text)) < size {
		text = make([]byte, 0, size)
	}
	in := progress.Reader{Reader: src}
	for {
		n, err := in.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		b.text = text
		switch {
		case int64(len(text)) > limit:
			return errTooLarge
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case len(text) == cap(text):
			text = append(text, 0)[:len(text)]
		}
	}
}
