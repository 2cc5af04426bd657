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
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// An attempt is one trip to one endpoint. It is the context of the request it
// sends, so that the layers below the loop find it.
type attempt struct {
	context.Context // ends with the exchange, or earlier: see cancel
	cancel          context.CancelCauseFunc

	call      *call
	endpoint  *endpoint
	model     string // by the endpoint's name
	n         int
	place     int // in the trail
	start     time.Time
	watch     watch
	answer    wire.Answer
	layers    [3]ender  // room for those of our own layers
	pass      pass      // of the breaker
	status    int       // of a refusal; of an error inside a 200, what that stands for
	limitSaid int       // the number a host that refuses may give for its limit
	body      sentBody  // of the request, unless that is streamed
	whole     wholeBody // of the response, if it is JSON

	sent   atomic.Bool                  // the base began to read the request's body
	failed atomic.Pointer[callersError] // that body did
	forced bool                         // may pass an open circuit: nobody else could serve

	mu       sync.Mutex // guards what follows
	replayed bool       // the base has sent the request twice
	over     bool
	room     *room   // of the request's body, while the attempt is sent; nil: it has none
	enders   []ender // told at the end, from the last to the first
	class    Class   // it ended in
	used     Usage   // set before the enders are told
}

// An ender is told, exactly once, how an exchange ended.
type ender interface {
	ended(*attempt, Class)
}

type attemptKey struct{}

// Value finds the attempt itself under its key.
func (a *attempt) Value(key any) any {
	if key == (attemptKey{}) {
		return a
	}
	return a.Context.Value(key)
}

func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// atEnd has e told of the end; the last one registered is told first. It
// reports false if the attempt, outrun by another, has ended meanwhile: e has
// been told then.
func (a *attempt) atEnd(e ender) bool {
	a.mu.Lock()
	over, class := a.over, a.class
	if !over {
		a.enders = append(a.enders, e)
	}
	a.mu.Unlock()
	if over {
		e.ended(a, class)
	}
	return !over
}

func (a *attempt) usage() Usage { return a.used }

// end is the end of the exchange. Whoever comes first decides how it ended.
func (a *attempt) end(class Class, err error, used Usage, bytes int64) {
	a.mu.Lock()
	if a.over {
		a.mu.Unlock()
		return
	}
	a.over, a.class, a.used = true, class, used
	a.mu.Unlock()
	a.watch.settle()
	if a.call.streamed != nil && !class.local() { // what was not sent may still be
		a.call.streamed.Close()
	}
	a.tell(class)
	if class == ClassOK {
		a.call.t.prefixes.note(a)
	}
	accepted := false
	a.call.book.amend(a.place, func(t *Attempt) {
		t.Class, t.Err, t.Usage, t.Bytes = class, err, used, bytes
		t.Elapsed = time.Since(a.start)
		accepted = t.Verdict == VerdictAccept
	})
	if accepted {
		a.emit(KindAttempt)
	} // else the loop tells, once it knows what to do next
}

// emit tells observers what the trail says of the attempt.
func (a *attempt) emit(kind Kind) {
	if c := a.call; c.t.observed() {
		c.t.emit(c, c.book.at(a.place).event(kind))
	}
}

// tell tells the enders, from the last to the first: all of them, even if the
// user's code panics behind one.
func (a *attempt) tell(class Class) {
	defer func() {
		if len(a.enders) > 0 { // a panic passes
			a.tell(class)
		}
	}()
	for n := len(a.enders); n > 0; n = len(a.enders) {
		e := a.enders[n-1]
		a.enders = a.enders[:n-1]
		e.ended(a, class)
	}
}

func (t Attempt) event(kind Kind) Event {
	return Event{
		Kind: kind, Endpoint: t.Endpoint, Model: t.Model, Attempt: t.N, Status: t.Status, Class: t.Class,
		Verdict: t.Verdict, Wait: t.Wait, Elapsed: t.Elapsed, Bytes: t.Bytes, Usage: t.Usage, Err: t.Err,
	}
}

// A trouble is an attempt that gave no answer. It travels as an error up the
// layers to the loop.
type trouble struct {
	class      Class
	endpoint   *endpoint
	status     int
	retryAfter time.Duration  // 0: none asked for
	asked      bool           // for retryAfter
	resp       *http.Response // what came, in memory; nil: nothing worth showing
	body       []byte         // of a refusal
	refused    bool           // by its status, not inside a 200
	err        error
}

func (t *trouble) Error() string { return string(t.class) }
func (t *trouble) Unwrap() error { return t.err }

// mayBeBilled reports whether the host may have worked for nothing, if the
// request was sent. A refusal costs nothing, but a gateway's speaks of a host
// that may have answered too late for it.
func (t *trouble) mayBeBilled(sent bool) bool {
	if !t.refused {
		return sent
	}
	switch t.status {
	case http.StatusRequestTimeout, http.StatusBadGateway, http.StatusGatewayTimeout:
		return sent
	}
	return false
}

// refusal is what the trouble said, to say again to those whom a pause keeps away.
func (t *trouble) refusal() *refusal {
	if t.resp == nil || len(t.body) > maxKeptRefusal {
		return nil
	}
	return &refusal{status: t.status, contentType: first(t.resp.Header, "Content-Type"), body: t.body}
}

// gate is the middleware that sends and judges: it makes the attempt's own
// request, and holds the response back until it is known to carry an answer.
func gate(next http.RoundTripper) http.RoundTripper {
	return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		a := attemptOf(req.Context())
		if err := a.shape(req); err != nil {
			return nil, &trouble{class: ClassRewrite, err: &quietError{err}}
		}
		a.watch.begin(a)
		a.call.t.counts.attempts.Add(1)
		resp, err := next.RoundTrip(req)
		switch {
		case err != nil:
			if resp != nil && resp.Body != nil {
				resp.Body.Close()
			}
			return nil, a.broken(err, ClassUnreachable)
		case resp == nil:
			return nil, a.broken(errNoResponse, ClassUnreachable)
		case resp.Body == nil:
			resp.Body = http.NoBody
		}
		status := resp.StatusCode
		if resp, err = a.judge(resp); err != nil {
			a.call.book.amend(a.place, func(t *Attempt) { t.Status = status })
		}
		return resp, err
	})
}

var errNoResponse = errors.New("breakwater: the base returned neither response nor error")

// neededHeaders are all that goes to another origin than the caller meant.
var neededHeaders = []string{"Accept", "Content-Type", "User-Agent", "Anthropic-Version", "Anthropic-Beta"}

// shape makes req, so far a copy of the caller's request, this endpoint's: its
// URL, key and model name.
func (a *attempt) shape(req *http.Request) error {
	c, e := a.call, a.endpoint
	req.URL = e.urlFor(c)
	if c.goesTo(e) {
		req.Header = make(http.Header, len(c.req.Header)+2)
		for name, v := range c.req.Header {
			req.Header[name] = v[:len(v):len(v)]
		}
	} else {
		req.Host = ""
		req.Trailer = nil
		req.Header = make(http.Header, len(neededHeaders)+2)
		for _, name := range neededHeaders {
			if v := c.req.Header[name]; v != nil {
				req.Header[name] = v[:len(v):len(v)]
			}
		}
	}
	// The base asks for gzip by itself and undoes it: what it did not ask for
	// it would hand on packed, and nobody could judge it.
	delete(req.Header, "Accept-Encoding")
	e.authorize(req, c.op)
	a.setBody(req)
	if e.Rewrite == nil && len(c.t.config.perTry) == 0 {
		return nil // a base may not change what it is given, so that is shared
	}
	u := *req.URL
	req.URL, req.Header = &u, req.Header.Clone()
	if e.Rewrite == nil {
		return nil
	}
	return e.Rewrite(req)
}

// goesTo reports whether e is of the origin that the caller meant.
func (c *call) goesTo(e *endpoint) bool { return c.meant.origin == e.origin }

func (a *attempt) setBody(req *http.Request) {
	c := a.call
	if c.streamed != nil {
		req.Body, req.GetBody = &streamedBody{c.streamed, a}, nil
		return
	}
	text := a.splice()
	if len(text) == 0 {
		req.Body, req.GetBody, req.ContentLength = http.NoBody, nil, 0
		return
	}
	a.body.attempt, a.body.room = a, a.room.share()
	req.Body, req.GetBody = &a.body, a.replay
	req.ContentLength = int64(len(text))
	req.TransferEncoding = nil
	switch {
	case c.t.config.retry.SendOnce:
		req.GetBody = nil
	case c.rescue != notRescued, len(req.Header["Idempotency-Key"]) == 0:
		// A rescue is another request than the caller's. An empty list is not sent. It has net/http replay into a connection that
		// turns out closed, which it does not dare by itself: see http.Transport.
		req.Header["Idempotency-Key"] = nil
	}
}

// splice puts the body into the endpoint's words, and returns it.
func (a *attempt) splice() []byte {
	if edits := a.call.editsFor(a.endpoint, a.model); len(edits) > 0 {
		spliced := roomFor(int64(len(a.room.text)))
		spliced.text = withEdits(spliced.text, a.room.text, edits)
		a.moveTo(spliced)
	}
	if a.room == nil {
		return nil
	}
	return a.room.text
}

// moveTo has the attempt use another room than so far, nil for none.
func (a *attempt) moveTo(other *room) {
	a.mu.Lock()
	last := a.room
	a.room = other
	a.mu.Unlock()
	last.leave()
}

// replay is the body once more. The base may send once again, at once, what no
// host has taken in: into a connection that was idle and just closed, on a
// stream that was refused (HTTP/2's REFUSED_STREAM and GOAWAY). Left alone,
// net/http does that for a minute; to try again later is the loop's office.
func (a *attempt) replay() (io.ReadCloser, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.room == nil || a.replayed || now.Sub(a.start) > replayWithin || !a.call.t.budget.Take(now) {
		return nil, errNotTaken
	}
	a.replayed = true
	if a.sent.Load() {
		a.call.book.amend(a.place, func(t *Attempt) { t.MayBeBilled = true })
	}
	return &sentBody{attempt: a, room: a.room.share()}, nil
}

// replayWithin is how soon a connection that was idle turns out closed; after
// that, the host may have worked on the request.
const replayWithin = time.Second

// errNotTaken is an attempt that the host turned away twice, unread.
var errNotTaken = errors.New("breakwater: the host did not take the request in")

// broken says what an error of the base, or of a body before commit, means.
func (a *attempt) broken(err error, class Class) *trouble {
	if expired := a.watch.expired(); expired != nil {
		class := ClassNoFirstToken
		if expired == ErrStalled {
			class = ClassStalled
		}
		return &trouble{class: class, err: expired}
	}
	if a.call.Err() != nil {
		class = ClassCanceled
		if errors.Is(a.call.Err(), context.DeadlineExceeded) {
			class = ClassDeadline
		}
		return &trouble{class: class, err: context.Cause(a.call)}
	}
	if own := a.failed.Load(); own != nil {
		return &trouble{class: ClassCanceled, err: own.error}
	}
	var wire *wireError
	if class == ClassUnreachable && len(a.call.t.config.perTry) > 0 && err != nil && err != errNoResponse && !errors.As(err, &wire) {
		class = ClassRewrite // of the user's middleware
	}
	if err != nil && err != errNoResponse && !errors.Is(err, ErrBadResponse) && !errors.Is(err, ErrTruncated) {
		err = &quietError{err}
	}
	return &trouble{class: class, err: err}
}

// judge holds the response until it is known to carry an answer.
func (a *attempt) judge(resp *http.Response) (*http.Response, error) {
	resp.Request = a.call.req
	if !a.call.goesTo(a.endpoint) {
		dropForeign(resp.Header)
	}
	kind, _, _ := strings.Cut(first(resp.Header, "Content-Type"), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	packed := isPacked(first(resp.Header, "Content-Encoding"))
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, a.refusal(resp)
	}
	if len(a.endpoint.row.limits) > 0 {
		a.heedLimits(resp.Header)
	}
	switch {
	case packed:
		return a.unjudged(resp, nil, false)
	case kind == "text/event-stream",
		a.call.look.stream && kind != "application/json" && kind != "text/html":
		return a.judgeStream(resp)
	}
	return a.judgeJSON(resp)
}

// first is the first value of a header by its canonical name, as Header.Get
// returns it for any spelling.
func first(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// heedLimits has the account's limit rest that this very answer has used up.
func (a *attempt) heedLimits(h http.Header) {
	wait := a.endpoint.row.spent(h)
	if wait <= 0 {
		return
	}
	t := a.call.t
	t.pauses.ask(a.call.pauseKeys(a.endpoint, a.model)[ofLimit], time.Now(), wait, nil)
	t.emit(a.call, Event{Kind: KindPause, Endpoint: a.endpoint.Name, Model: a.model, Class: ClassRateLimited, Wait: wait})
}

// isPacked reports whether a body has a coding that hides what it says. The
// base has undone what it asked for; what is no known coding hides nothing.
func isPacked(codings string) bool {
	if codings == "" {
		return false
	}
	for coding := range strings.SplitSeq(codings, ",") {
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "gzip", "x-gzip", "br", "zstd", "deflate", "compress", "x-compress", "dcb", "dcz":
			return true
		}
	}
	return false
}

// dropForeign takes out what another origin than the caller's may not say to
// the caller.
func dropForeign(h http.Header) {
	delete(h, "Set-Cookie")
	delete(h, headerRetry)
	for name := range h {
		if strings.HasPrefix(name, "Breakwater-") {
			delete(h, name)
		}
	}
}

const (
	maxRefusal = 1 << 20
	// refusalWait is how long the body of a refusal may take: the headers have
	// said the most of it.
	refusalWait = 10 * time.Second
)

// refusal reads the answer of another status than 2xx, whole, so that the
// network's body can be closed at once: several SDKs never close theirs.
func (a *attempt) refusal(resp *http.Response) *trouble {
	a.watch.settle()
	timer := time.AfterFunc(refusalWait, func() { a.cancel(errSlowRefusal) })
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal+1))
	timer.Stop()
	resp.Body.Close()
	if a.call.Err() != nil {
		return a.broken(err, ClassUnreachable)
	}
	t := &trouble{status: resp.StatusCode, resp: resp, body: body, refused: true}
	t.retryAfter, t.asked = a.endpoint.row.retryAfter(resp.StatusCode, resp.Header, time.Now())
	t.class = a.classify(resp.StatusCode, body, t.asked)
	a.status, a.limitSaid = resp.StatusCode, a.endpoint.row.limitSaid(body)
	if len(body) > maxRefusal || err != nil {
		resp.Body = failing(body[:min(len(body), maxRefusal)], ErrTruncated)
		return t
	}
	setWhole(resp, body)
	return t
}

// classify says what a refusal means. That an endpoint which the caller did
// not mean lacks the very path says nothing about the call.
func (a *attempt) classify(status int, body []byte, asked bool) Class {
	class := a.endpoint.row.classify(status, body, asked)
	if class == ClassRefused && a.endpoint != a.call.meant && (status == http.StatusNotFound || status == http.StatusMethodNotAllowed) {
		return ClassNoModel
	}
	return class
}

var errSlowRefusal = errors.New("breakwater: the body of a refusal took too long")

// setWhole gives resp a body from memory.
func setWhole(resp *http.Response, body []byte) {
	setBody(resp, io.NopCloser(bytes.NewReader(body)), len(body))
}

func setBody(resp *http.Response, body io.ReadCloser, length int) {
	resp.Body = body
	resp.ContentLength = int64(length)
	resp.TransferEncoding = nil
	if first(resp.Header, "Content-Length") != "" {
		resp.Header.Set("Content-Length", strconv.Itoa(length))
	}
}

// judgeJSON reads an answer whole and checks it.
func (a *attempt) judgeJSON(resp *http.Response) (*http.Response, error) {
	body, all, err := a.readJSON(resp)
	if err == nil && !all {
		return a.unjudged(resp, body, true)
	}
	resp.Body.Close()
	if err != nil {
		t := a.broken(err, ClassBadResponse)
		if t.class == ClassBadResponse {
			t.err = &brokenError{ErrTruncated, err}
			a.standFor(t, resp, http.StatusBadGateway, body)
		}
		return nil, t
	}
	a.answer.Wire, a.answer.Choices = a.call.op.wire(), a.call.choices()
	switch a.answer.Text(body) {
	case wire.Malformed:
		t := &trouble{class: ClassBadResponse, err: ErrBadResponse}
		a.standFor(t, resp, http.StatusBadGateway, body)
		return nil, t
	case wire.OutOfResources:
		t := &trouble{class: ClassUnavailable, err: ErrBadResponse}
		a.standFor(t, resp, http.StatusServiceUnavailable, body)
		return nil, t
	case wire.Failure:
		t := &trouble{err: ErrBadResponse}
		a.errorInside(t, body)
		a.standFor(t, resp, t.status, body)
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
func (a *attempt) errorInside(t *trouble, body []byte) {
	t.status = wire.RefusalOf(body).Status
	if t.status == 0 {
		t.status = http.StatusBadGateway
	}
	t.class = a.classify(t.status, body, false)
	a.status, a.limitSaid = t.status, a.endpoint.row.limitSaid(body)
}

// standFor keeps a failed 200 as the answer of the status it stands for.
func (a *attempt) standFor(t *trouble, resp *http.Response, status int, body []byte) {
	setWhole(resp, body)
	resp.StatusCode = status
	resp.Status = fmt.Sprintf("%d %s", status, http.StatusText(status))
	t.status, t.resp = status, resp
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
	queued := false
	for idle := 0; ; {
		if int64(len(body)) > p.MaxBuffer {
			return body, false, nil
		}
		if len(body) == cap(body) {
			body = slices.Grow(body, max(len(body), bytes.MinRead))
		}
		n, err := resp.Body.Read(body[len(body):cap(body)])
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
		if idle++; n > 0 {
			idle = 0
		} else if idle > maxIdleReads {
			return body, false, io.ErrNoProgress
		}
	}
}

// maxBelieved is how long an answer may be said to be for its room to be made
// beforehand.
const maxBelieved = 256 << 10

// maxIdleReads is how often a body may return neither bytes nor an error.
const maxIdleReads = 100

// judgeStream reads events until the first that carries payload.
func (a *attempt) judgeStream(resp *http.Response) (*http.Response, error) {
	a.answer.Wire, a.answer.Choices = a.call.op.wire(), a.call.choices()
	b := newStreamBody(a, resp.Body)
	switch {
	case a.call.parent != nil:
		b.rescuable = true
	case a.room != nil && a.call.mayBeRescued():
		b.rescuable, a.answer.Tape = true, &b.tape
	}
	t := &trouble{err: ErrBadResponse}
	for {
		ev, says, err := b.next()
		if err == nil && len(b.out)+len(ev.Raw) > int(max(a.call.t.config.stream.MaxBuffer, maxEvent)) {
			err = fmt.Errorf("%w: too much before the first payload", ErrBadResponse)
		}
		if err != nil {
			b.abandon()
			t = a.broken(err, ClassBadResponse)
			if t.class == ClassBadResponse {
				if err == io.EOF {
					t.err = ErrTruncated
				}
				t.keep(resp, b.out)
			}
			return nil, t
		}
		if ev.Kind != sse.Blank && (says != wire.Alive || b.keepAlives) {
			b.out = append(b.out, ev.Raw...) // a copy: the scanner's bytes do not last
		}
		switch {
		case says == wire.Malformed:
			t.class = ClassBadResponse
		case says == wire.OutOfResources:
			t.class, t.err = ClassUnavailable, ErrTruncated
		case says == wire.Failure:
			a.errorInside(t, ev.Data)
		case says == wire.Done && !a.answer.Begun():
			t.class = ClassBadResponse
		case says == wire.Payload, says == wire.Done, a.answer.Finished():
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
		default:
			continue
		}
		b.abandon()
		t.keep(resp, b.out)
		return nil, t
	}
}

// keep keeps a failed stream as what it was, ending in its error instead of
// EOF; one that brought nothing is an empty bad gateway.
func (t *trouble) keep(resp *http.Response, out []byte) {
	t.resp = resp
	if len(out) == 0 {
		setWhole(resp, nil)
		resp.StatusCode, resp.Status = http.StatusBadGateway, "502 Bad Gateway"
		t.status = resp.StatusCode
		return
	}
	resp.Body = failing(out, t.err)
	lengthUnknown(resp)
}

// failing is a body that ends in err.
func failing(body []byte, err error) io.ReadCloser {
	return io.NopCloser(io.MultiReader(bytes.NewReader(body), errorReader{err}))
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }
