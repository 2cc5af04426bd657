package breakwater

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/progress"
	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// judge holds the response until it is known to carry an answer.
func (a *attempt) judge(resp *http.Response) (*http.Response, error) {
	resp.Request = a.call.req
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols:
		return a.switched(resp)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, a.refusal(resp)
	}
	if len(a.endpoint.profile.Limits) > 0 {
		a.heedLimits(resp.Header)
	}
	kind := header.MediaType(resp.Header)
	switch {
	case header.IsEncoded(resp.Header):
		return a.unjudged(a.dropForeign(resp, false), nil, false)
	case kind == "text/event-stream",
		a.call.params.Stream && kind != "application/json" && kind != "text/html":
		return a.judgeStream(a.dropForeign(resp, false))
	}
	return a.judgeJSON(resp)
}

// broken says what an error of the base, or of a body before commit, means.
func (a *attempt) broken(err error, class Class) *exchange.Failure {
	if expired, early := a.watch.expired(); errors.Is(expired, ErrStalled) {
		return &exchange.Failure{Class: ClassStalled, Err: expired}
	} else if expired != nil {
		return &exchange.Failure{Class: ClassNoFirstToken, Err: expired, Blameless: early && !a.hadTime()}
	}
	if tr := a.endedByCaller(); tr != nil {
		return tr
	}
	var wire *wireError
	if class == ClassUnreachable && len(a.call.t.config.perAttempt) > 0 && err != nil && err != errNoResponse && !errors.As(err, &wire) {
		class = ClassRewrite // of the user's middleware
	}
	if err != nil && err != errNoResponse && !errors.Is(err, ErrBadResponse) && !errors.Is(err, ErrTruncated) {
		err = outcome.Quiet(err)
	}
	return &exchange.Failure{Class: class, Err: err}
}

// endedByCaller returns the failure of an attempt whose caller left, is out of
// time, or gave a body that failed; nil if none of it is so. Who leaves may have
// the body fail: the first reason counts.
func (a *attempt) endedByCaller() *exchange.Failure {
	if ended := a.call.ended(); errors.Is(a.call.Err(), context.Canceled) {
		return &exchange.Failure{Class: ClassCanceled, Err: ended}
	} else if ended != nil {
		return &exchange.Failure{Class: ClassDeadline, Err: ended, Blameless: !a.hadTime()}
	}
	if own := a.failed.Load(); own != nil {
		return &exchange.Failure{Class: ClassCanceled, Err: *own}
	}
	return nil
}

// heedLimits has the account's limit rest that this very answer has used up.
func (a *attempt) heedLimits(h http.Header) {
	wait := a.endpoint.profile.Spent(h)
	if wait <= 0 {
		return
	}
	t := a.call.t
	keys := a.call.pauseKeys(a.endpoint, a.model)
	a.run.pauses.Ask(keys.of(outcome.ScopeLimit), time.Now(), wait, nil)
	t.config.observers.emit(a.call, Event{Kind: KindPause, Endpoint: a.endpoint.Name, Model: a.model, Class: ClassRateLimited, Wait: wait})
}

const (
	maxRefusal = 1 << 20
	// refusalWait is how long the body of a refusal may take: the headers have
	// said the most of it.
	refusalWait = 10 * time.Second
)

// refusal reads the answer of another status than 2xx, whole, so that the
// network's body can be closed at once: several SDKs never close theirs.
func (a *attempt) refusal(resp *http.Response) *exchange.Failure {
	a.watch.settle()
	timer := time.AfterFunc(refusalWait, func() { a.cancel(errSlowRefusal) })
	body, err := io.ReadAll(io.LimitReader(&progress.Reader{Reader: resp.Body}, maxRefusal+1))
	timer.Stop()
	resp.Body.Close()
	if a.call.Err() != nil {
		return a.broken(err, ClassUnreachable)
	}
	t := &exchange.Failure{Status: resp.StatusCode, Resp: resp, Said: body, Refused: true}
	t.RetryAfter, t.Asked = a.endpoint.profile.RetryAfter(resp.StatusCode, resp.Header, time.Now())
	t.Class = a.classify(resp.StatusCode, body, t.Asked)
	a.status, a.limitSaid = int32(resp.StatusCode), a.endpoint.profile.LimitSaid(body)
	if t.Class == ClassRedirected {
		a.redirected(t)
	}
	resp = a.dropForeign(resp, true)
	if len(body) > maxRefusal || err != nil {
		if a.Err() != nil { // the timer's doing, not the caller's
			err = errSlowRefusal
		}
		resp.Body = exchange.InMemory(body[:min(len(body), maxRefusal)], outcome.TruncatedBy(err))
		return t
	}
	setWhole(resp, body)
	return t
}

// classify says what a refusal means. That an endpoint which the caller did
// not mean lacks the very path says nothing about the call.
func (a *attempt) classify(status int, body []byte, asked bool) Class {
	class := a.endpoint.profile.Classify(status, body, asked)
	if class == ClassRefused && a.endpoint != a.call.target && (status == http.StatusNotFound || status == http.StatusMethodNotAllowed) {
		return ClassNoModel
	}
	return class
}

var errSlowRefusal = errors.New("breakwater: the body of a refusal took too long")

// judgeJSON reads an answer whole and checks it.
func (a *attempt) judgeJSON(resp *http.Response) (*http.Response, error) {
	body, all, err := a.readJSON(resp)
	resp = a.dropForeign(resp, all)
	if err == nil && !all {
		return a.unjudged(resp, body, true)
	}
	resp.Body.Close()
	if err != nil {
		t := a.broken(err, ClassBadResponse)
		if t.Class == ClassBadResponse {
			t.Err = outcome.TruncatedBy(err)
			standFor(t, resp, http.StatusBadGateway, body)
		}
		return nil, t
	}
	a.answer.Wire, a.answer.Choices = a.call.op.Wire(), a.call.choices()
	switch a.answer.Text(body) {
	case wire.Malformed:
		t := &exchange.Failure{Class: ClassBadResponse, Err: ErrBadResponse}
		standFor(t, resp, http.StatusBadGateway, body)
		return nil, t
	case wire.OutOfResources:
		t := &exchange.Failure{Class: ClassUnavailable, Err: ErrBadResponse}
		standFor(t, resp, http.StatusServiceUnavailable, body)
		return nil, t
	case wire.Failure:
		t := &exchange.Failure{Err: ErrBadResponse}
		a.errorInside(t, body)
		standFor(t, resp, t.Status, body)
		return nil, t
	}
	if !a.watch.settle() {
		return nil, a.broken(nil, ClassNoFirstToken)
	}
	a.whole = wholeBody{bytes: body, attempt: a}
	a.whole.Reset(body)
	setBody(resp, &a.whole, len(body))
	return resp, nil
}

// errorInside gives t the class and status that an error inside a 200 stands for.
func (a *attempt) errorInside(t *exchange.Failure, body []byte) {
	t.Status = wire.RefusalOf(body).Status
	if t.Status == 0 {
		t.Status = http.StatusBadGateway
	}
	t.Class = a.classify(t.Status, body, false)
	a.status, a.limitSaid = int32(t.Status), a.endpoint.profile.LimitSaid(body)
}

// standFor keeps a failed 200 as the answer of the status it stands for. One
// that brought nothing is an answer of our own.
func standFor(t *exchange.Failure, resp *http.Response, status int, body []byte) {
	setWhole(resp, body)
	resp.StatusCode = status
	resp.Status = fmt.Sprintf("%d %s", status, http.StatusText(status))
	t.Status, t.Resp, t.Empty = status, resp, len(body) == 0
}

// readJSON reads the body, blank lines before it left out, until its end or
// until it is larger than may be kept: then whole is false.
func (a *attempt) readJSON(resp *http.Response) (body []byte, whole bool, err error) {
	p := a.call.t.config.stream
	if p.MaxBuffer == 0 {
		return nil, false, nil
	}
	// The length is the server's word: it is believed up to a point. One byte
	// more, so that the end is seen.
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
			a.watch.arm(p.Stall, ErrStalled)
		case n > 0 && !queued:
			queued = true
			a.watch.arm(p.Queued, ErrNoFirstToken)
		}
	}
}

// maxBelieved is how long an answer may be said to be for its room to be made
// beforehand.
const maxBelieved = 256 << 10

// judgeStream reads events until the first that carries payload.
func (a *attempt) judgeStream(resp *http.Response) (*http.Response, error) {
	a.answer.Wire, a.answer.Choices = a.call.op.Wire(), a.call.choices()
	b := newStreamBody(a, resp.Body)
	switch {
	case a.call.resumption != nil:
		b.rescuable = true
	case a.call.transcribe != nil:
		b.rescuable, a.answer.Tape = true, &b.tape
	}
	t := &exchange.Failure{Err: ErrBadResponse}
	for {
		ev, says, err := b.next()
		if err == nil && int64(len(b.out)+len(ev.Raw)) > max(a.call.t.config.stream.MaxBuffer, maxEvent) {
			err = fmt.Errorf("%w: too much before the first payload", ErrBadResponse)
		}
		if err != nil {
			if t = a.broken(err, ClassBadResponse); t.Class != ClassBadResponse {
				b.abandon()
				return nil, t
			}
			if !outcome.Broke(err) {
				t.Err = outcome.TruncatedBy(err)
			}
			return nil, b.fails(t, resp, nil, false)
		}
		failed := true
		switch {
		case says == wire.Malformed, says == wire.Done && !a.answer.Begun():
			t.Class = ClassBadResponse
		case says == wire.OutOfResources:
			t.Class, t.Err = ClassUnavailable, ErrTruncated
		case says == wire.Failure:
			a.errorInside(t, ev.Data)
		default:
			failed = false
		}
		if failed {
			return nil, b.fails(t, resp, ev.Raw, says == wire.Failure)
		}
		if ev.Kind != sse.Blank && (says != wire.Alive || b.keepAlives) {
			b.out = append(b.out, ev.Raw...) // a copy: the scanner's bytes do not last
		}
		if says != wire.Payload && says != wire.Done && !a.answer.Finished() {
			continue
		}
		if !a.watch.settle() {
			b.abandon()
			return nil, a.broken(nil, ClassNoFirstToken)
		}
		b.commit(says)
		resp.Body = b
		if len(resp.Header["Content-Length"]) > 0 || resp.ContentLength > 0 {
			lengthUnknown(resp) // comments go, so the length does
		}
		return resp, nil
	}
}

// fails ends a stream that brought no payload, and keeps it as what it was,
// ending in t's error instead of EOF. If events are to tell of that, one takes
// the place of the last, which broke the stream, unless that tells of it
// itself. Of a stream that brought nothing, a bad gateway is left.
func (b *streamBody) fails(t *exchange.Failure, resp *http.Response, last []byte, tells bool) *exchange.Failure {
	b.abandon()
	if len(b.out)+len(last) == 0 {
		standFor(t, resp, http.StatusBadGateway, nil)
		return t
	}
	if c := b.attempt.call; c.t.config.stream.ErrorFrames && !tells {
		last = c.errorEvent(t.Err, len(b.out) > 0 && !sse.EndsBlock(b.out))
	}
	b.out = append(b.out, last...)
	t.Resp = resp
	resp.Body = exchange.InMemory(b.out, t.Err)
	lengthUnknown(resp)
	return t
}

// setWhole gives resp a body from memory.
func setWhole(resp *http.Response, body []byte) {
	setBody(resp, io.NopCloser(bytes.NewReader(body)), len(body))
}

func setBody(resp *http.Response, body io.ReadCloser, length int) {
	resp.Body = body
	resp.ContentLength = int64(length)
	resp.TransferEncoding = nil
	if header.First(resp.Header, "Content-Length") != "" {
		resp.Header.Set("Content-Length", strconv.Itoa(length))
	}
}

// lengthUnknown takes back what a response says of its length.
func lengthUnknown(resp *http.Response) {
	resp.ContentLength = -1
	delete(resp.Header, "Content-Length")
}
