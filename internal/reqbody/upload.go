package reqbody

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/progress"
)

// An Upload is a caller's body that is too large to be kept. The transport closes it, and
// so does the end of the attempt, in case the transport did not.
type Upload struct {
	io.Reader
	size   int64 // as the request states it; 0 or negative: unknown
	body   *onceCloser
	ctx    context.Context
	pump   *pump // for a body that may block; nil: it does not
	closed atomic.Bool
}

// newUpload returns an Upload of a body whose beginning, begun, was read before. size is
// the length that the request states; 0 or negative: unknown. Its reads end with ctx at
// the latest.
func newUpload(ctx context.Context, begun []byte, body io.ReadCloser, size int64) *Upload {
	u := &Upload{Reader: &progress.Reader{Reader: body}, size: size, body: &onceCloser{ReadCloser: body}, ctx: ctx}
	if ctx.Done() != nil && !InMemory(body) {
		u.pump = newPump(ctx, u.Reader)
		u.Reader = u.pump
	}
	if begun != nil {
		u.Reader = io.MultiReader(bytes.NewReader(begun), u.Reader)
	}
	return u
}

// Close closes the body once. It does not wait if that would have to wait for a read that
// blocks.
func (u *Upload) Close() error {
	u.closed.Store(true)
	if u.pump == nil {
		return u.body.Close()
	}
	u.pump.stop()
	if u.pump.busy.Load() {
		closeLater(u.body)
		return nil
	}
	return Close(u.ctx, u.body)
}

// A pump reads on a goroutine of its own, from its first Read on, so that each Read ends
// with the context, or with stop.
type pump struct {
	src       io.Reader
	read      *io.PipeReader
	write     *io.PipeWriter
	stopWatch func() bool // stops watching the context
	start     sync.Once
	busy      atomic.Bool // the goroutine is running
}

func newPump(ctx context.Context, src io.Reader) *pump {
	p := &pump{src: src}
	p.read, p.write = io.Pipe()
	p.stopWatch = context.AfterFunc(ctx, func() { p.write.CloseWithError(context.Cause(ctx)) })
	return p
}

func (p *pump) Read(buf []byte) (int, error) {
	p.start.Do(func() {
		p.busy.Store(true)
		go p.run()
	})
	return p.read.Read(buf)
}

func (p *pump) run() {
	defer func() { _ = recover() }()
	err := error(outcome.ErrPanic)
	defer func() {
		p.busy.Store(false) // before a reader sees the end
		p.write.CloseWithError(err)
	}()
	_, err = io.Copy(p.write, p.src)
}

func (p *pump) stop() {
	p.stopWatch()
	p.read.Close()
}

// ErrLength is the error of an upload that is shorter or longer than its size.
var ErrLength = errors.New("breakwater: the request's body is not as long as its Content-Length says")

// A Sender learns how a transport reads an Upload. It may be called from any goroutine.
type Sender interface {
	// BodyRead is called before each read. From the first one on, the host may see the
	// request, and bill it.
	BodyRead()

	// BodyFailed is called with the error of the body itself, which is not a failure of
	// the host.
	BodyFailed(err error)
}

// An UploadReader is an Upload that the transport reads for one attempt.
type UploadReader struct {
	*Upload
	Sender Sender

	read int64
}

// Read implements io.Reader.
func (r *UploadReader) Read(p []byte) (int, error) {
	r.Sender.BodyRead()
	n, err := r.Upload.Read(p)
	r.read += int64(n)
	if own := r.failure(err); own != nil {
		r.Sender.BodyFailed(own)
	}
	return n, err
}

// failure returns the body's own error after a read has ended in err, or nil if there is
// none.
func (r *UploadReader) failure(err error) error {
	switch {
	case r.closed.Load(): // the transport needs no more of it, for example because a host has refused early
		return nil
	case err != nil && err != io.EOF:
		return err
	case r.size > 0 && (r.read > r.size || err == io.EOF && r.read < r.size):
		return ErrLength
	}
	return nil
}

// Close closes a caller's body, and waits for that until shortly after the end of ctx.
func Close(ctx context.Context, body io.ReadCloser) error {
	if InMemory(body) {
		return body.Close()
	}
	done := make(chan error, 1)
	go func() {
		defer func() { _ = recover() }()
		done <- body.Close()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(closeGrace)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return context.Cause(ctx)
	}
}

// closeGrace is how long after the end of its context Close waits.
const closeGrace = 20 * time.Millisecond
