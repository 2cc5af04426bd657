package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/background"
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
	e.Answer.Wire, e.Answer.Choices, e.Answer.Listener = w.Wire, w.Choices, e.Owner
	kind := header.MediaType(resp.Header)
	switch {
	case header.IsEncoded(resp.Header):
		return e.PassOn(resp)
	case kind == "text/event-stream", w.Stream && kind != "application/json" && kind != "text/html":
		return e.judgeStream(resp, w, nil)
	}
	return e.judgeWhole(resp, w, nil)
}

// looksLikeStream reports whether a body that begins so is a stream of events: a field, or a
// comment.
func looksLikeStream(head []byte) bool {
	name, _, ok := bytes.Cut(head[:min(len(head), len("retry:"))], []byte(":"))
	if !ok {
		return false
	}
	switch string(name) {
	case "", "data", "event", "id", "retry", "error":
		return true
	}
	return false
}

// looksLikeJSON reports whether a body that begins so is no stream of events but a JSON text.
func looksLikeJSON(head []byte) bool {
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte(byteOrderMark)), blanks)
	return len(head) > 0 && (head[0] == '{' || head[0] == '[')
}

const (
	blanks        = " \t\r\n"
	byteOrderMark = "\ufeff"
)

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

// inOnePiece commits the exchange to an answer that was read to its end. label is its media type
// if the response has another one.
func (e *Exchange) inOnePiece(resp *http.Response, body []byte, label string) (*http.Response, *Failure) {
	if !e.FirstPayload.Stop() {
		return nil, e.Interrupted()
	}
	e.setWhole(resp, body, label)
	return resp, nil
}

// setWhole makes an answer in one piece the body of a response. label is its media type if the
// response has another one.
func (e *Exchange) setWhole(resp *http.Response, body []byte, label string) {
	if label != "" && label != header.MediaType(resp.Header) {
		setType(resp, label)
	}
	e.whole = Whole{x: e, body: body}
	setBody(resp, &e.whole, len(body))
}

// eventsOf returns the events of an answer that has a JSON object in each line in place of events.
func eventsOf(body []byte, w Want) ([]byte, bool) {
	answer := wire.Answer{Wire: w.Wire, Choices: w.Choices}
	stream := make([]byte, 0, len(body)+len(body)/8)
	for line := range bytes.Lines(body) {
		line = bytes.Trim(line, blanks)
		if len(line) == 0 {
			continue
		}
		if line[0] != '{' || !wire.Valid(line) || answer.Event(line) >= wire.Malformed {
			return nil, false
		}
		stream = append(append(append(stream, "data: "...), line...), "\n\n"...)
	}
	return stream, answer.Ended()
}

// cutBehind reads an answer that something follows: the terminator of a stream, or, if the answer
// is whole, anything.
func (e *Exchange) cutBehind(body []byte) ([]byte, wire.Signal) {
	if text, ok := cutTerminator(body); ok {
		return text, e.Answer.Text(text)
	}
	before, text := e.Answer, wire.First(body)
	if signal := e.Answer.Text(text); signal < wire.Malformed && e.Answer.Ended() {
		return text, signal
	}
	e.Answer = before
	return body, wire.Malformed
}

// cutTerminator removes the terminator of a stream that some gateways send behind JSON.
func cutTerminator(body []byte) ([]byte, bool) {
	text, ok := bytes.CutSuffix(bytes.TrimRight(body, blanks), []byte("[DONE]"))
	if !ok {
		return nil, false
	}
	text = bytes.TrimRight(text, blanks)
	text = bytes.TrimSuffix(text, []byte("data:"))
	return bytes.TrimRight(text, blanks), true
}

// maxBelieved is the longest Content-Length for which a buffer is allocated at once.
const maxBelieved = 256 << 10

// A form is what readWhole finds a body to be.
type form uint8

const (
	piece    form = iota // in one piece, and read to its end
	overlong             // larger than MaxBuffer
	events               // a stream of events
)

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

// dropBlanks moves the text of body to its front, without the blanks and the byte order mark
// before it.
func dropBlanks(body []byte) []byte {
	text := bytes.TrimLeft(body, blanks)
	text = bytes.TrimPrefix(text, []byte(byteOrderMark))
	if len(text) == len(body) {
		return body
	}
	text = bytes.TrimLeft(text, blanks)
	return body[:copy(body, text)]
}

// endBody makes a body that has ended in err do so again, whatever the base's own does. nil: it
// has not ended.
func endBody(resp *http.Response, err error) {
	if err != nil {
		resp.Body.Close()
		resp.Body = InMemory(nil, err)
	}
}

// judgeStream judges a stream: it reads events up to the first that has payload. begun is what
// was read of the stream already.
func (e *Exchange) judgeStream(resp *http.Response, w Want, begun []byte) (*http.Response, *Failure) {
	s := newStream(e, resp.Body, w)
	if begun != nil {
		s.in.Reader = io.MultiReader(bytes.NewReader(begun), resp.Body)
	} else if body, ok := s.isWhole(); ok {
		endBody(resp, s.eof)
		return e.judgeWhole(resp, w, dropBlanks(body))
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
			s.out = append(s.out, ev.Raw...) // a copy, for the scanner uses its buffer again
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

// become makes a stream the body of its response.
func (s *Stream) become(resp *http.Response) {
	resp.Body = s
	if len(resp.Header["Content-Length"]) > 0 || resp.ContentLength > 0 {
		clearLength(resp) // comments are dropped
	}
	switch header.MediaType(resp.Header) {
	case "application/json", "application/x-ndjson", "application/jsonl", "text/html": // a client goes by the label
		setType(resp, "text/event-stream")
	}
}

// gather reads a stream to its end, because the request asked for JSON, and converts it. A stream
// that is too large, or would lose something, stays what it is.
func (e *Exchange) gather(s *Stream, resp *http.Response) (*http.Response, *Failure) {
	s.gathered = true
	body, err := io.ReadAll(io.LimitReader(s, min(e.Policy.MaxBuffer, math.MaxInt64-1)+1))
	switch text, ok := []byte(nil), false; {
	case err == nil && int64(len(body)) > e.Policy.MaxBuffer:
		s.gathered = false
		s.out = append(body, s.out...)
		s.become(resp)
	case err != nil:
		f := s.failed(err)
		if f == s.inside {
			return nil, f.showError(resp)
		}
		if s.flawed != nil {
			text, f.Usable = recast.ToJSON(e.Answer.Wire, append(body, s.flawed...))
		}
		if f.Usable {
			e.setWhole(resp, text, "application/json")
			setMemory(resp, text)
			f.Status, f.Resp = resp.StatusCode, resp
		}
		return nil, f
	default:
		if text, ok = recast.ToJSON(e.Answer.Wire, body); ok {
			e.setWhole(resp, text, "application/json")
		} else {
			e.setWhole(resp, body, "text/event-stream")
		}
	}
	return resp, nil
}

// failed returns the failure of a stream that ended in err and that no reader has seen.
func (s *Stream) failed(err error) *Failure {
	switch f := s.x.LeftByCaller(); {
	case f != nil:
		return f
	case s.inside != nil:
		return s.inside
	}
	return &Failure{Class: outcome.BreakOf(err), Err: err}
}

// maxHead is how much of a stream may be blank or comments until it counts as one.
const maxHead = 4 << 10

// isWhole reports whether what claims to be a stream is JSON, and returns what was read of it. It
// reads up to the first byte that is neither blank nor in a comment.
func (s *Stream) isWhole() ([]byte, bool) {
	for {
		_, s.eof = s.scan.Fill(&s.in)
		head := behindComments(s.scan.Unread())
		if looksLikeJSON(head) {
			return bytes.Clone(head), true
		}
		isComment := len(head) > 0 && head[0] == ':' // the rest of its line is missing
		if s.eof != nil || len(s.scan.Unread()) > maxHead || !isComment && len(dropBlanks(bytes.Clone(head))) > 0 {
			return nil, false
		}
	}
}

// behindComments returns what follows the comments that a stream begins with: some hosts keep the
// connection alive with them, and then send JSON.
func behindComments(head []byte) []byte {
	for rest := head; ; {
		line, behind, ok := bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimRight(line, "\r")
		if !ok || len(line) > 0 && line[0] != ':' {
			return rest
		}
		rest = behind
	}
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
	f := e.failureOf(flaw.Whole(*w.Flaws, w.Wire, body, e.Answer.Partial), w.KeepFlawed)
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

// setType sets the media type of a response.
func setType(resp *http.Response, label string) {
	if resp.Header == nil {
		resp.Header = make(http.Header)
	}
	resp.Header["Content-Type"] = []string{label}
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
