package breakwatertest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/recording"
)

// wrapped returns the request with bodies that are recorded while the base reads them.
func (t *take) wrapped(req *http.Request) *http.Request {
	if req.Body == nil || req.Body == http.NoBody {
		return req
	}
	t.x.Sent = recording.SentNone
	copied := *req // the caller's request must not change
	copied.Body = &sentBody{ReadCloser: req.Body, take: t}
	if again := req.GetBody; again != nil {
		copied.GetBody = func() (io.ReadCloser, error) {
			body, err := again()
			if err != nil || body == http.NoBody {
				return body, err
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			if !t.over {
				t.x.Body, t.x.Sent = nil, recording.SentNone
			}
			return &sentBody{ReadCloser: body, take: t}, nil
		}
	}
	return &copied
}

// A sentBody is a request's body as the base reads it.
type sentBody struct {
	io.ReadCloser
	take *take
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	t := b.take
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.x.Sent == recording.SentTooBig {
		return n, err
	}
	t.x.Body = append(t.x.Body, p[:n]...)
	switch {
	case int64(len(t.x.Body)) > t.recorder.options.MaxBody:
		t.x.Body, t.x.Sent = t.x.Body[:t.recorder.options.MaxBody], recording.SentTooBig
	case errors.Is(err, io.EOF):
		t.x.Sent = recording.SentWhole
	case t.x.Sent == recording.SentNone && n > 0:
		t.x.Sent = recording.SentPart
	}
	return n, err
}

// respond records a response from now on.
func (t *take) respond(resp *http.Response) {
	t.mu.Lock()
	t.resp = resp
	t.x.Response = &recording.Response{
		After: time.Since(t.start), Proto: resp.Proto, Status: resp.Status,
		Header: resp.Header.Clone(), Length: max(resp.ContentLength, -1), Uncompressed: resp.Uncompressed,
	}
	if recording.StatusCode(resp.Status) != resp.StatusCode { // a base of the user's may leave it out
		t.x.Response.Status = statusText(resp.StatusCode)
	}
	if _, _, ok := http.ParseHTTPVersion(resp.Proto); !ok {
		t.x.Response.Proto = "HTTP/1.1"
	}
	t.mu.Unlock()
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols:
		t.finish(recording.EndUpgraded, nil)
	case resp.Body == nil || resp.Body == http.NoBody:
		t.finish(recording.EndEOF, nil)
	default:
		resp.Body = &seenBody{ReadCloser: resp.Body, take: t}
	}
}

// A seenBody is a response's body as the client reads it.
type seenBody struct {
	io.ReadCloser
	take    *take
	reading atomic.Int32
}

func (b *seenBody) Read(p []byte) (int, error) {
	b.reading.Add(1)
	n, err := b.ReadCloser.Read(p)
	b.reading.Add(-1)
	t := b.take
	if n > 0 {
		t.keep(p[:n])
	}
	switch {
	case err == nil:
	case err == io.EOF: // as readers of a body compare it
		t.finish(recording.EndEOF, nil)
	default:
		t.end(err)
	}
	return n, err
}

func (b *seenBody) Close() error {
	switch {
	case b.reading.Load() > 0 || b.take.left():
		b.take.finish(recording.EndCanceled, nil)
	default:
		b.take.finish(recording.EndClosed, nil)
	}
	return b.ReadCloser.Close()
}

// readCost is about how many bytes of memory a read takes besides its data.
const readCost = 64

// keep adds what a read brought, within MaxBody.
func (t *take) keep(data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.cut {
		return
	}
	limit := t.recorder.options.MaxBody
	if total := t.size() + int64(len(data)); total > limit || t.kept+readCost > 4*limit+1<<20 {
		data = data[:max(0, min(limit-t.size(), int64(len(data))))]
		t.cut = true
	}
	if len(data) > 0 {
		t.kept += int64(len(data)) + readCost
		t.x.Response.Reads = append(t.x.Response.Reads, recording.Read{After: time.Since(t.start), Data: append([]byte(nil), data...)})
	}
}

// size returns how many bytes of the response's body were kept.
func (t *take) size() int64 { return t.kept - int64(len(t.x.Response.Reads))*readCost }

func statusText(code int) string { return fmt.Sprintf("%03d %s", code, http.StatusText(code)) }
