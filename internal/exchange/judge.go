package exchange

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/breakwater-go/breakwater/internal/flaw"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/progress"
	"github.com/breakwater-go/breakwater/internal/recast"
	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// Judge reads a response until it is sure that it carries an answer, and returns it
// with a Body. If it carries none, Judge closes its body and returns the failure.
// Judge may change resp.
//
// The first bytes of a body tell whether it is JSON or a stream, not its label. If it is not what
// the request asked for, it is converted, unless it is too large or the conversion would lose
// something.
func (e *Exchange) Judge(resp *http.Response, w Want) (*http.Response, *Failure) {
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, e.refusal(resp)
	}
	e.Answer.Wire, e.Answer.Choices, e.Answer.Listener, e.Answer.Counts = w.Wire, w.Choices, e.Owner, w.Count
	kind := header.MediaType(resp.Header)
	switch {
	case header.IsEncoded(resp.Header):
		return e.PassOn(resp)
	case kind == "text/event-stream", w.Stream && kind != "application/json" && kind != "text/html":
		return e.judgeStream(resp, w, nil)
	}
	return e.judgeWhole(resp, w, nil)
}

// errorInside returns the failure of a 200 that has an error inside. stated is the status that
// something else than its text states; 0: none.
func errorInside(said []byte, stated int) *Failure {
	status := stated
	if status < 400 {
		status = wire.RefusalOf(said).Status
	}
	if status == 0 {
		status = http.StatusBadGateway
	}
	return &Failure{Status: status, Body: said, Err: outcome.ErrBadResponse}
}

// judgeWhole judges an answer in one piece: it reads all of it first. begun is what was read of
// it already.
func (e *Exchange) judgeWhole(resp *http.Response, w Want, begun []byte) (*http.Response, *Failure) {
	body, form, err := e.readWhole(resp, begun)
	switch {
	case err == nil && form == events:
		return e.judgeStream(resp, w, body)
	case err == nil && form == overlong:
		return e.passOn(resp, body, true)
	}
	resp.Body.Close()
	if err == outcome.ErrTooSlow {
		return nil, &Failure{Class: outcome.Stalled, Err: err}
	}
	if err != nil {
		f := e.failure(outcome.TruncatedBy(err))
		if f.Class == outcome.BadResponse {
			f.show(resp, http.StatusBadGateway, body)
		}
		return nil, f
	}
	signal := e.Answer.Text(body)
	e.noteSpoken()
	if signal == wire.Malformed {
		if stream, ok := eventsOf(body, w); ok {
			endBody(resp, io.EOF)
			return e.judgeStream(resp, w, stream)
		}
		body, signal = e.cutBehind(body)
	}
	if f := e.failureInside(resp, body, signal, w); f != nil {
		return nil, f
	}
	if f := e.flawInside(resp, body, w); f != nil {
		return nil, f
	}
	if w.Stream && !w.AsItComes {
		if stream, ok := recast.ToStream(w.Wire, body); ok {
			if !w.Usage {
				stream = recast.DropUsageEvents(stream)
			}
			return e.inOnePiece(resp, stream, "text/event-stream")
		}
	}
	label := ""
	if header.MediaType(resp.Header) == "text/event-stream" { // a client goes by the label
		label = "application/json"
	}
	return e.inOnePiece(resp, body, label)
}

// failureInside returns the failure that an answer in one piece is, nil if it is none.
func (e *Exchange) failureInside(resp *http.Response, body []byte, signal wire.Signal, w Want) *Failure {
	if signal == wire.Nothing && w.Stream && !w.AsItComes && !e.Answer.Begun() {
		signal = wire.Malformed // of a kind that nobody knows, in a form that nobody asked for
	}
	switch signal {
	case wire.Malformed:
		f := &Failure{Class: outcome.BadResponse, Err: outcome.ErrBadResponse}
		return f.show(resp, http.StatusBadGateway, body)
	case wire.OutOfResources:
		f := &Failure{Class: outcome.Unavailable, Err: outcome.ErrBadResponse}
		return f.show(resp, http.StatusServiceUnavailable, body)
	case wire.Failure:
		f := errorInside(body, 0)
		if w.Stream && header.MediaType(resp.Header) == "text/event-stream" { // readers of streams look for the error in the text
			return f.showAsItCame(resp, body)
		}
		return f.show(resp, f.Status, body)
	}
	return nil
}

// maxBelieved is the longest Content-Length for which a buffer is allocated at once.
const maxBelieved = 256 << 10

// readWhole reads a body to its end and drops what is blank before it. It stops early if the body
// is larger than MaxBuffer or turns out to be a stream.
func (e *Exchange) readWhole(resp *http.Response, begun []byte) (body []byte, is form, err error) {
	p := e.Policy
	if p.MaxBuffer == 0 {
		return begun, overlong, nil
	}
	// A server may claim any length. One byte more is needed to see the end.
	size := resp.ContentLength + 1
	if size <= 0 || size > maxBelieved {
		size = bytes.MinRead
	}
	body = append(make([]byte, 0, size), begun...)
	in, queued, first := progress.Reader{Reader: resp.Body}, false, time.Time{}
	for known := len(begun) > 0; ; {
		if int64(len(body)) > p.MaxBuffer {
			return body, overlong, nil
		}
		if len(body) == cap(body) {
			body = slices.Grow(body, max(len(body), bytes.MinRead))
		}
		n, err := in.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if !known && n > 0 {
			body = dropBlanks(body)
			known = len(body) >= len("retry:") || err != nil || bytes.IndexByte(body, '{') == 0
			if known && looksLikeStream(body) {
				endBody(resp, err)
				return body, events, nil
			}
		}
		switch {
		case err == io.EOF:
			return body, piece, nil
		case err != nil:
			return body, piece, err
		case len(body) > 0:
			e.FirstPayload.reset(p.Stall, true)
			if p.MinRate.Bytes > 0 && e.isTooSlow(len(body), &first) {
				return body, piece, outcome.ErrTooSlow
			}
		case n > 0 && !queued:
			queued = true
			e.FirstPayload.reset(p.Queued, false)
		}
	}
}

// isTooSlow reports whether a body comes too slowly while another endpoint could serve. first is
// when its first byte came.
func (e *Exchange) isTooSlow(bytes int, first *time.Time) bool {
	if first.IsZero() {
		*first = time.Now()
	}
	return !e.Policy.MinRate.allows(int64(bytes), time.Since(*first)) && e.Owner.MayTakeOver()
}

// judgeStream judges a stream: it reads events up to the first that has payload. begun is what
// was read of the stream already.
func (e *Exchange) judgeStream(resp *http.Response, w Want, begun []byte) (*http.Response, *Failure) {
	if begun != nil {
		resp.Body = readFirst(begun, resp.Body)
	}
	s := newStream(e, resp.Body, w)
	if begun == nil || begun[0] == ':' { // comments may also come before JSON
		if body, ok := s.isWhole(); ok {
			endBody(resp, s.eof)
			return e.judgeWhole(resp, w, dropBlanks(body))
		}
	}
	for {
		ev, signal, err := s.nextToJudge()
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
			if f.Body != nil && !w.Stream && !w.AsItComes {
				s.discard()
				return nil, f.showError(resp)
			}
			return nil, s.show(f, resp, ev.Raw)
		}
		if f := e.failureOf(s.checkFlaws(signal == wire.Done), w.KeepFlawed); f != nil {
			s.discard()
			return nil, f
		}
		if s.isPassedOn(ev, signal) {
			s.out = append(s.out, s.trimmed(ev.Raw)...) // a copy, for the scanner uses its buffer again
		}
		if !s.commits(signal) {
			continue
		}
		if !e.FirstPayload.Stop() {
			s.discard()
			return nil, e.Interrupted()
		}
		s.commit(signal)
		if w.Stream || w.AsItComes {
			s.become(resp)
			return resp, nil
		}
		return e.gather(s, resp)
	}
}

// isPassedOn reports whether the reader gets an event before the first payload. Keep-alives have
// served their purpose, but those of Responses are events that clients count.
func (s *Stream) isPassedOn(ev *sse.Event, signal wire.Signal) bool {
	return ev.Kind != sse.Blank && (signal != wire.KeepAlive || s.x.Answer.Wire == wire.Responses || s.x.Policy.KeepComments)
}

// nextToJudge is next before the commit.
func (s *Stream) nextToJudge() (*sse.Event, wire.Signal, error) {
	ended := s.flaws != nil && s.x.Answer.Ended() // by an event that the reader gets
	ev, signal, err := s.next()
	switch {
	case err == nil && int64(len(s.out)+len(ev.Raw)) > max(s.x.Policy.MaxBuffer, MaxEvent):
		err = fmt.Errorf("%w: too much before the first payload", outcome.ErrBadResponse)
	case err == io.EOF && ended && !s.review: // see commits
		return &sse.Event{Kind: sse.Blank}, wire.Done, nil
	}
	return ev, signal, err
}

// commits reports whether an event commits the exchange. If flaws matter, a finish_reason
// without payload does not: what follows shows whether there is an answer.
func (s *Stream) commits(signal wire.Signal) bool {
	return signal == wire.Payload || signal == wire.Work || signal == wire.Done || s.flaws == nil && s.x.Answer.Finished() && !s.x.Answer.Empty()
}

// flawInside returns the failure of an answer in one piece that is flawed, nil if it is not, or is
// handed over all the same.
func (e *Exchange) flawInside(resp *http.Response, body []byte, w Want) *Failure {
	if w.Flaws == nil {
		return nil
	}
	f := e.failureOf(flaw.Whole(*w.Flaws, w.Wire, body, e.Answer.Partial || e.Answer.Accepted), w.KeepFlawed)
	if f != nil && w.KeepFlawed {
		setMemory(resp, body)
		f.Status, f.Resp, f.Usable = resp.StatusCode, resp, true
	}
	return f
}

// failureOf returns the failure of an answer that is flawed as err says, nil if it is not, or if
// it is handed over all the same: nothing else could serve.
func (e *Exchange) failureOf(err error, keep bool) *Failure {
	switch {
	case err == nil:
		return nil
	case keep && !e.Owner.MayTakeOver():
		e.keepFlawed(err)
		return nil
	}
	return &Failure{Class: outcome.Flawed, Err: err}
}

// keepFlawed hands the answer over although it is flawed as err says.
func (e *Exchange) keepFlawed(err error) {
	e.flawed = true
	e.Owner.Flawed(err)
}

// failureIn returns the failure that an event before the first payload stands for,
// nil if it is none.
func (e *Exchange) failureIn(ev *sse.Event, signal wire.Signal) *Failure {
	switch {
	case signal == wire.Malformed, signal == wire.Done && e.Answer.Empty():
		return &Failure{Class: outcome.BadResponse, Err: outcome.ErrBadResponse}
	case signal == wire.OutOfResources:
		return &Failure{Class: outcome.Unavailable, Err: outcome.ErrTruncated}
	case signal == wire.Failure:
		return errorInside(bytes.Clone(ev.Data), ev.Status)
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
	return f.showAsItCame(resp, append(s.out, last...))
}
