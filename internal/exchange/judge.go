package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/progress"
	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// Judge reads a response until it is sure that it carries an answer, and returns it
// with a Body. If it carries none, Judge closes its body and returns the failure.
// Judge may change resp.
func (e *Exchange) Judge(resp *http.Response, w Want) (*http.Response, *Failure) {
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, e.refusal(resp)
	}
	e.Answer.Wire, e.Answer.Choices, e.Answer.Listener = w.Wire, w.Choices, e.Owner
	kind := header.MediaType(resp.Header)
	switch {
	case header.IsEncoded(resp.Header):
		return e.PassOn(resp)
	case kind == "text/event-stream", w.Stream && kind != "application/json" && kind != "text/html":
		return e.judgeStream(resp, w)
	}
	return e.judgeWhole(resp)
}

const (
	maxRefusal = 1 << 20
	// refusalWait is how long the body of a refusal may take, and refusalPause how long it
	// may bring nothing. Its words may decide what the call does next.
	refusalWait  = 10 * time.Second
	refusalPause = 500 * time.Millisecond
)

var errSlowRefusal = errors.New("breakwater: the body of a refusal took too long")

// refusal reads a response that is no 2xx to its end and closes it. Several SDKs
// never close the bodies of errors.
func (e *Exchange) refusal(resp *http.Response) *Failure {
	e.FirstPayload.Stop()
	source := resp.Body
	var slow atomic.Bool
	timer := time.AfterFunc(bodyWait(resp.StatusCode), background.Recovered(func() {
		slow.Store(true)
		e.Cancel(errSlowRefusal)
		source.Close() // some bodies do not end with the context
	}))
	in := io.Reader(&progress.Reader{Reader: source})
	if !statusSaysAll(resp.StatusCode) {
		in = &steadyReader{in, timer, time.Now().Add(refusalWait)}
	}
	body, err := io.ReadAll(io.LimitReader(in, maxRefusal+1))
	timer.Stop()
	source.Close()
	if e.Caller.Err() != nil {
		return e.Interrupted()
	}
	f := &Failure{Status: resp.StatusCode, Resp: resp, Refused: true, Body: body}
	if len(body) <= maxRefusal && err == nil {
		setMemory(resp, body)
		return f
	}
	if slow.Load() {
		err = errSlowRefusal
	}
	resp.Body = InMemory(body[:min(len(body), maxRefusal)], outcome.TruncatedBy(err))
	return f
}

// statusSaysAll reports whether the words of a refusal would change little: the call goes
// on anyway, so a body that trickles would only delay that.
func statusSaysAll(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

// bodyWait returns how long the body of a refusal may bring nothing at first.
func bodyWait(status int) time.Duration {
	if statusSaysAll(status) {
		return drainWait
	}
	return refusalPause
}

// A steadyReader gives its timer refusalPause more with each read, until the time end.
type steadyReader struct {
	io.Reader
	timer *time.Timer
	end   time.Time
}

func (r *steadyReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if left := time.Until(r.end); n > 0 && left > 0 {
		r.timer.Reset(min(refusalPause, left))
	}
	return n, err
}

// errorInside returns the failure of a 200 that has an error inside.
func errorInside(said []byte) *Failure {
	status := wire.RefusalOf(said).Status
	if status == 0 {
		status = http.StatusBadGateway
	}
	return &Failure{Status: status, Body: said, Err: outcome.ErrBadResponse}
}

// judgeWhole judges an answer in one piece: it reads all of it first.
func (e *Exchange) judgeWhole(resp *http.Response) (*http.Response, *Failure) {
	body, all, err := e.readWhole(resp)
	if err == nil && !all {
		return e.passOn(resp, body, true)
	}
	resp.Body.Close()
	if err != nil {
		f := e.failure(outcome.TruncatedBy(err))
		if f.Class == outcome.BadResponse {
			f.show(resp, http.StatusBadGateway, body)
		}
		return nil, f
	}
	switch e.Answer.Text(body) {
	case wire.Malformed:
		f := &Failure{Class: outcome.BadResponse, Err: outcome.ErrBadResponse}
		return nil, f.show(resp, http.StatusBadGateway, body)
	case wire.OutOfResources:
		f := &Failure{Class: outcome.Unavailable, Err: outcome.ErrBadResponse}
		return nil, f.show(resp, http.StatusServiceUnavailable, body)
	case wire.Failure:
		f := errorInside(body)
		return nil, f.show(resp, f.Status, body)
	}
	if !e.FirstPayload.Stop() {
		return nil, e.Interrupted()
	}
	e.whole = Whole{x: e, body: body}
	setBody(resp, &e.whole, len(body))
	return resp, nil
}

// maxBelieved is the longest Content-Length for which a buffer is allocated at once.
const maxBelieved = 256 << 10

// readWhole reads a body to its end and drops the blank lines before it. If it is
// larger than MaxBuffer, readWhole stops there and all is false.
func (e *Exchange) readWhole(resp *http.Response) (body []byte, all bool, err error) {
	p := e.Policy
	if p.MaxBuffer == 0 {
		return nil, false, nil
	}
	// A server may claim any length. One byte more is needed to see the end.
	size := resp.ContentLength + 1
	if size <= 0 || size > maxBelieved {
		size = bytes.MinRead
	}
	body = make([]byte, 0, size)
	in, queued := progress.Reader{Reader: resp.Body}, false
	for {
		if int64(len(body)) > p.MaxBuffer {
			return body, false, nil
		}
		if len(body) == cap(body) {
			body = slices.Grow(body, max(len(body), bytes.MinRead))
		}
		n, err := in.Read(body[len(body):cap(body)])
		got := body[len(body) : len(body)+n]
		if len(body) == 0 {
			got = bytes.TrimLeft(got, " \t\r\n")
			copy(body[:cap(body)], got)
		}
		body = body[:len(body)+len(got)]
		switch {
		case err == io.EOF:
			return body, true, nil
		case err != nil:
			return body, false, err
		case len(body) > 0:
			e.FirstPayload.reset(p.Stall, true)
		case n > 0 && !queued:
			queued = true
			e.FirstPayload.reset(p.Queued, false)
		}
	}
}

// judgeStream judges a stream: it reads events up to the first that has payload.
func (e *Exchange) judgeStream(resp *http.Response, w Want) (*http.Response, *Failure) {
	s := newStream(e, resp.Body, w)
	for {
		ev, signal, err := s.next()
		if err == nil && int64(len(s.out)+len(ev.Raw)) > max(e.Policy.MaxBuffer, MaxEvent) {
			err = fmt.Errorf("%w: too much before the first payload", outcome.ErrBadResponse)
		}
		if err != nil {
			if !outcome.Broke(err) {
				err = outcome.TruncatedBy(err)
			}
			f := e.failure(err)
			if f.Class != outcome.BadResponse {
				s.discard()
				return nil, f
			}
			return nil, s.show(f, resp, nil)
		}
		if f := e.failureIn(ev, signal); f != nil {
			return nil, s.show(f, resp, ev.Raw)
		}
		if ev.Kind != sse.Blank && (signal != wire.KeepAlive || e.Policy.KeepComments) {
			s.out = append(s.out, ev.Raw...) // a copy, for the scanner uses its buffer again
		}
		if signal != wire.Payload && signal != wire.Done && !e.Answer.Finished() {
			continue
		}
		if !e.FirstPayload.Stop() {
			s.discard()
			return nil, e.Interrupted()
		}
		s.commit(signal)
		resp.Body = s
		if len(resp.Header["Content-Length"]) > 0 || resp.ContentLength > 0 {
			clearLength(resp) // comments are dropped
		}
		return resp, nil
	}
}

// failureIn returns the failure that an event before the first payload stands for,
// nil if it is none.
func (e *Exchange) failureIn(ev *sse.Event, signal wire.Signal) *Failure {
	switch {
	case signal == wire.Malformed, signal == wire.Done && !e.Answer.Begun():
		return &Failure{Class: outcome.BadResponse, Err: outcome.ErrBadResponse}
	case signal == wire.OutOfResources:
		return &Failure{Class: outcome.Unavailable, Err: outcome.ErrTruncated}
	case signal == wire.Failure:
		return errorInside(bytes.Clone(ev.Data))
	}
	return nil
}

// show makes a stream without payload the response of f. It stays as it came but
// ends in f's error. last is the event that broke it, if one did: with ErrorFrames
// on, breakwater's own event replaces it, unless it is the host's own error. A
// stream that brought nothing becomes an empty 502.
func (s *Stream) show(f *Failure, resp *http.Response, last []byte) *Failure {
	s.discard()
	if len(s.out)+len(last) == 0 {
		return f.show(resp, http.StatusBadGateway, nil)
	}
	if s.x.Policy.ErrorFrames && f.Body == nil {
		last = errorEvent(s.x.Answer.Wire, f.Err, len(s.out) > 0 && !sse.EndsBlock(s.out))
	}
	s.out = append(s.out, last...)
	f.Resp = resp
	resp.Body = InMemory(s.out, f.Err)
	clearLength(resp)
	return f
}

// setMemory gives resp a body in memory.
func setMemory(resp *http.Response, body []byte) {
	setBody(resp, InMemory(body, io.EOF), len(body))
}

func setBody(resp *http.Response, body io.ReadCloser, length int) {
	resp.Body = body
	resp.ContentLength = int64(length)
	resp.TransferEncoding = nil
	if header.First(resp.Header, "Content-Length") != "" {
		resp.Header.Set("Content-Length", strconv.Itoa(length))
	}
}

// clearLength removes the length of a response.
func clearLength(resp *http.Response) {
	resp.ContentLength = -1
	delete(resp.Header, "Content-Length")
}
