package breakwatertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/recording"
)

// A playback is one record while it is played, and then the body of its response.
type playback struct {
	x      *recording.Exchange
	ctx    context.Context
	cancel <-chan struct{}
	start  time.Time
	speed  float64

	closing sync.Once
	closed  chan struct{}

	resp *http.Response
	read int    // how many reads were begun
	rest []byte // of the last one
	err  error  // how the body ended
}

var (
	errCanceled = errors.New("net/http: request canceled")
	errClosed   = errors.New("http: read on closed response body") // as net/http says it
)

// wait waits until the time of an event, or until the client leaves.
func (p *playback) wait(after time.Duration) error {
	const longest = float64(1 << 62) // so that a very low speed does not overflow
	after = time.Duration(min(float64(after)/p.speed, longest))
	timer := time.NewTimer(after - time.Since(p.start))
	defer timer.Stop()
	return p.await(timer.C)
}

// await waits for c, which may be nil, or until the client leaves.
func (p *playback) await(c <-chan time.Time) error {
	select {
	case <-p.closed: // checked alone first, because select chooses at random
		return errClosed
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	default:
	}
	select {
	case <-c:
		return nil
	case <-p.closed:
		return errClosed
	case <-p.cancel:
		return errCanceled
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

// respond waits for the response or the error, and returns it.
func (p *playback) respond(req *http.Request) (*http.Response, error) {
	seen := p.x.Response
	switch {
	case p.x.End == recording.EndUpgraded:
		return nil, ErrUnplayable
	case seen == nil && p.x.End == recording.EndError:
		if err := p.wait(p.x.EndAfter); err != nil {
			return nil, err
		}
		return nil, p.x.Err
	case seen == nil: // the client left, so nobody knows what the host would have done
		return nil, p.await(nil)
	}
	if err := p.wait(seen.After); err != nil {
		return nil, err
	}
	resp := &http.Response{
		Status: seen.Status, StatusCode: recording.StatusCode(seen.Status), Proto: seen.Proto,
		Header: played(seen.Header), ContentLength: seen.Length, Uncompressed: seen.Uncompressed,
		Body: p, Request: req,
	}
	resp.ProtoMajor, resp.ProtoMinor, _ = http.ParseHTTPVersion(seen.Proto)
	if seen.Length < 0 && resp.ProtoMajor == 1 && resp.ProtoMinor == 1 {
		resp.TransferEncoding = []string{"chunked"}
	}
	for name := range seen.Trailer {
		if resp.Trailer == nil {
			resp.Trailer = make(http.Header)
		}
		resp.Trailer[name] = nil
	}
	p.resp = resp
	if len(seen.Reads) == 0 && seen.Length == 0 && p.x.End == recording.EndEOF {
		resp.Body = http.NoBody
	}
	return resp, nil
}

// played returns a header without the values that were removed.
func played(h http.Header) http.Header {
	all := h.Clone()
	for name, values := range all {
		if len(values) > 0 && values[0] == recording.Removed {
			delete(all, name)
		}
	}
	return all
}

// Read brings the recorded bytes at their times.
func (p *playback) Read(b []byte) (int, error) {
	reads := p.x.Response.Reads
	switch {
	case len(p.rest) > 0 || p.err != nil:
		select {
		case <-p.closed:
			return 0, errClosed
		default:
		}
	case p.read < len(reads):
		if err := p.wait(reads[p.read].After); err != nil {
			p.err = err
			break
		}
		p.rest = reads[p.read].Data
		p.read++
	default:
		p.err = p.end()
	}
	if len(p.rest) == 0 {
		return 0, p.err
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// end waits for the recorded end, and returns it.
func (p *playback) end() error {
	switch p.x.End {
	case recording.EndCanceled:
		return p.await(nil)
	case recording.EndOpen, recording.EndTruncated:
		return ErrRecordEnds
	}
	if err := p.wait(p.x.EndAfter); err != nil {
		return err
	}
	switch p.x.End {
	case recording.EndError:
		return p.x.Err
	case recording.EndClosed:
		if !isWhole(p.x.Response) {
			return ErrRecordEnds
		}
	}
	for name, values := range played(p.x.Response.Trailer) {
		p.resp.Trailer[name] = values
	}
	return io.EOF
}

// isWhole reports whether a body is whole although its client did not read its end.
func isWhole(r *recording.Response) bool {
	body := r.Body()
	if r.Length >= 0 {
		return int64(len(body)) == r.Length
	}
	for _, last := range []string{"data: [DONE]", "data:[DONE]", `"type":"message_stop"`, `"type":"response.completed"`} {
		if bytes.Contains(body, []byte(last)) {
			return true
		}
	}
	return json.Valid(body)
}

// Close ends a Read that waits.
func (p *playback) Close() error {
	p.closing.Do(func() { close(p.closed) })
	return nil
}
