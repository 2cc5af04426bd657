package breakwater

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/progress"
)

// This file reads the caller's own request body, which is the caller's code: it
// may block for good, as a pipe does that nobody writes to. A call ends with its
// context all the same.

// fillUntil fills the room with a body and closes that, unless it is too large.
// It ends with ctx at the latest: what the body still gives then goes nowhere.
func (r *room) fillUntil(ctx context.Context, body io.ReadCloser, size, limit int64) error {
	if ctx.Done() == nil || inMemory(body) {
		return r.fillAndClose(body, size, limit)
	}
	body = &onceCloser{ReadCloser: body}
	type end struct {
		err   error
		panic any
	}
	own := &room{text: r.text}
	ended := make(chan end, 1)
	go func() {
		e := end{err: outcome.ErrPanic}
		defer func() {
			if e.err == outcome.ErrPanic {
				e.panic = recover()
			}
			ended <- e
		}()
		e.err = own.fillAndClose(body, size, limit)
	}()
	r.text = nil // it is the reader's until that ends
	select {
	case e := <-ended:
		if e.panic != nil {
			panic(e.panic)
		}
		r.text = own.text
		return e.err
	case <-ctx.Done():
		go recovered(func() { body.Close() })() // which ends most reads
		return context.Cause(ctx)
	}
}

func (r *room) fillAndClose(body io.ReadCloser, size, limit int64) error {
	err := r.fill(body, size, limit)
	if err == errTooLarge {
		return err
	}
	return errors.Join(err, body.Close())
}

// A onceCloser is a body that is closed once, whoever closes it.
type onceCloser struct {
	io.ReadCloser
	once sync.Once
	err  error
}

func (b *onceCloser) Close() error {
	b.once.Do(func() { b.err = b.ReadCloser.Close() })
	return b.err
}

// inMemory reports whether a body is read from memory, so that it never blocks:
// one of those that http.NewRequest knows, as net/http tells them, too.
func inMemory(src io.Reader) bool {
	switch src.(type) {
	case *bytes.Reader, *bytes.Buffer, *strings.Reader:
		return true
	}
	if t := reflect.TypeOf(src); t != noCloser && t != noCloserWriterTo {
		return false
	}
	inner, _ := reflect.ValueOf(src).Field(0).Interface().(io.Reader)
	return inner != nil && inMemory(inner)
}

// The types of what io.NopCloser returns.
var (
	noCloser         = reflect.TypeOf(io.NopCloser(nil))
	noCloserWriterTo = reflect.TypeOf(io.NopCloser(new(bytes.Reader)))
)

// An upload is a caller's body that is too large to be kept, as it is streamed
// on: the base closes it, and the end of the attempt in case the base did not.
type upload struct {
	io.Reader
	size   int64 // that it is said to have; 0 or negative: unknown
	body   *onceCloser
	ctx    context.Context
	reads  *reads // of a body that may block; nil: it does not
	closed atomic.Bool
}

// newUpload streams on a body, of which begun was read before. Its reads end
// with ctx at the latest.
func newUpload(ctx context.Context, begun []byte, body io.ReadCloser, size int64) *upload {
	u := &upload{Reader: &progress.Reader{Reader: body}, size: size, body: &onceCloser{ReadCloser: body}, ctx: ctx}
	if ctx.Done() != nil && !inMemory(body) {
		u.reads = newReads(ctx, u.Reader)
		u.Reader = u.reads
	}
	if begun != nil {
		u.Reader = io.MultiReader(bytes.NewReader(begun), u.Reader)
	}
	return u
}

// A reads reads on a goroutine of its own, from its first Read on, so that each
// Read ends with a context, or with stop.
type reads struct {
	src   io.Reader
	read  *io.PipeReader
	write *io.PipeWriter
	leave func() bool
	start sync.Once
	busy  atomic.Bool // the goroutine runs
}

func newReads(ctx context.Context, src io.Reader) *reads {
	r := &reads{src: src}
	r.read, r.write = io.Pipe()
	r.leave = context.AfterFunc(ctx, func() { r.read.CloseWithError(context.Cause(ctx)) })
	return r
}

func (r *reads) Read(p []byte) (int, error) {
	r.start.Do(func() {
		r.busy.Store(true)
		go recovered(func() {
			err := error(outcome.ErrPanic)
			defer func() {
				r.busy.Store(false) // before anybody sees the end
				r.write.CloseWithError(err)
			}()
			_, err = io.Copy(r.write, r.src)
		})()
	})
	return r.read.Read(p)
}

func (r *reads) stop() {
	r.leave()
	r.read.Close()
}

// Close closes the body. Where that may wait for a read that blocks, nobody
// waits for it.
func (u *upload) Close() error {
	u.closed.Store(true)
	if u.reads == nil {
		return u.body.Close()
	}
	u.reads.stop()
	if u.reads.busy.Load() {
		go recovered(func() { u.body.Close() })()
		return nil
	}
	return closeWithin(u.ctx, u.body)
}

// closeWithin closes a caller's body, and waits for that until ctx is over and
// a moment longer.
func closeWithin(ctx context.Context, body io.ReadCloser) error {
	if inMemory(body) {
		return body.Close()
	}
	done := make(chan error, 1)
	go recovered(func() { done <- body.Close() })()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(leaveWait)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return context.Cause(ctx)
	}
}

// A streamedBody is an upload as the base reads it.
type streamedBody struct {
	*upload
	attempt *attempt
	read    int64
}

var errLength = errors.New("breakwater: the request's body is not as long as its Content-Length says")

func (b *streamedBody) Read(p []byte) (int, error) {
	b.attempt.begunToSend()
	n, err := b.upload.Read(p)
	b.read += int64(n)
	own := err
	if b.closed.Load() { // the base wants no more of it, as where a host refuses early
		own = nil
	} else if own == nil || own == io.EOF {
		own = nil
		if b.size > 0 && (b.read > b.size || err == io.EOF && b.read < b.size) {
			own = errLength
		}
	}
	if own != nil {
		b.attempt.failed.Store(&callersError{own})
	}
	return n, err
}

// A callersError is what reading the caller's own body ended in.
type callersError struct{ error }

func (e *callersError) Unwrap() error { return e.error }
