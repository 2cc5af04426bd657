package breakwater

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A sending is a request on its way through the base. Above the base, a body
// may be read as often as anybody likes: who signs a request reads it. Below,
// what is read is sent, and what is sent again is counted. An attempt is one
// sending, unless middleware of the user's makes several.
type sending struct {
	attempt *attempt
	start   time.Duration // since the attempt's
	body    sentBody
	again   func() (io.ReadCloser, error) // the request's own GetBody; nil: the attempt's

	sent    atomic.Bool // the base began to read the body, or a copy
	over    atomic.Bool
	refused atomic.Bool // by a status that costs nothing
}

// A sentBody is a request's body as the base reads it. From the first read on,
// the host may see, and bill, the request.
type sentBody struct {
	io.ReadCloser
	of *sending

	read, closed atomic.Bool
}

func (b *sentBody) Read(p []byte) (int, error) {
	if !b.read.Load() {
		b.read.Store(true)
		b.of.sent.Store(true)
		b.of.attempt.BodyRead()
	}
	return b.ReadCloser.Read(p)
}

func (b *sentBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

// A repeated is a sending that middleware makes.
type repeated struct {
	sending
	path     string
	previous *repeated
}

// begin has the base read req's body, if there is one, through the sending.
func (s *sending) begin(a *attempt, req *http.Request, now time.Time) {
	if req.Body == nil || req.Body == http.NoBody {
		return
	}
	s.attempt, s.start, s.again = a, now.Sub(a.Start), req.GetBody
	s.body.ReadCloser, s.body.of = req.Body, s
	req.Body = &s.body
	switch {
	case a.run.retry.SendOnce:
		req.GetBody = nil
	case req.GetBody != nil:
		req.GetBody = s.replay
	}
}

// ended notes what came of the sending.
func (s *sending) ended(resp *http.Response) {
	if resp != nil && (resp.StatusCode < 200 || resp.StatusCode > 299) && !afterWork(resp.StatusCode) {
		s.refused.Store(true)
	}
	s.over.Store(true)
}

// copyBody is the attempt's body once more, to be read.
func (a *attempt) copyBody() (io.ReadCloser, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.buffer == nil {
		return nil, outcome.ErrClosed
	}
	return a.buffer.NewReader(), nil
}

// replay is the sending's body once more. The base may send once again, at once,
// what no host has taken in: into a connection that was idle and just closed, on
// a stream that was refused (HTTP/2's REFUSED_STREAM and GOAWAY). Left alone,
// net/http does that for a minute; to try again later is the loop's office.
// Before the base reads or closes the body itself, it sends nothing: it may sign
// what it is to send, and gets as many copies as it likes.
func (s *sending) replay() (io.ReadCloser, error) {
	again := s.again
	if again == nil {
		again = s.attempt.copyBody
	}
	body, err := again()
	if err != nil {
		return nil, err
	}
	b := &sentBody{ReadCloser: body, of: s}
	if (s.body.read.Load() || s.body.closed.Load()) && !s.attempt.replays(b) {
		body.Close()
		return nil, errNotTaken
	}
	return b, nil
}

// replays reports whether the base may send b in the place of what it had.
func (a *attempt) replays(b *sentBody) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	last := &b.of.body
	if a.second != nil && a.second.of == b.of {
		last = a.second
	}
	switch {
	case !last.read.Load(): // nor sent: behind GOAWAY, net/http asks twice for what it sends once
	case a.replayed, now.Sub(a.Start)-b.of.start > replayWithin, !a.run.budget.Take(now):
		return false
	default:
		a.replayed = true
		a.update(func(t *Attempt) { t.MayBeBilled = true })
	}
	a.second = b
	return true
}

const (
	// replayWithin is how soon a connection that was idle turns out closed; after
	// that, the host may have worked on the request.
	replayWithin = time.Second

	// errNotTaken is an attempt that the host turned away twice, unread.
	errNotTaken = outcome.Error("the host did not take the request in")
	// errSentAgain is what middleware gets that sends again what it may not.
	errSentAgain = outcome.Error("sent before, and RetryPolicy does not let it be sent again")
)

// goesDown returns what middleware sends as the base is to have it: a copy, for
// the request is the middleware's. To send to a path again is an extra attempt,
// as the loop's are, whatever body that has; what goes to another path may
// fetch a token.
func (a *attempt) goesDown(req *http.Request) (*sending, *http.Request, error) {
	s := &repeated{}
	req = req.WithContext(req.Context())
	s.begin(a, req, time.Now())
	if s.attempt == nil { // it has no body, so nobody bills it
		return &s.sending, req, nil
	}
	if req.URL != nil {
		s.path = req.URL.Path
	}
	if !a.maySend(s) {
		req.Body.Close()
		return nil, nil, errSentAgain
	}
	return &s.sending, req, nil
}

// maySend reports whether middleware may send this, beside what it has sent.
func (a *attempt) maySend(s *repeated) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	again, billed := false, false
	for other := a.repeats; other != nil; other = other.previous {
		if other.path == s.path && (other.sent.Load() || !other.over.Load()) {
			again, billed = true, billed || !other.refused.Load()
		}
	}
	switch {
	case !again:
	case a.run.retry.SendOnce && billed:
		return false
	case !a.run.budget.Take(a.Start.Add(s.start)):
		a.update(func(t *Attempt) { t.Denied = true })
		return false
	case billed:
		a.update(func(t *Attempt) { t.MayBeBilled = true })
	}
	s.previous, a.repeats = a.repeats, s
	return true
}

// mayBeBilled reports whether the host may have worked for nothing, if the
// request was sent. A refusal costs nothing, but a gateway's may come from a
// host that answered it too late.
func mayBeBilled(f *exchange.Failure, sent bool) bool {
	return sent && (!f.Refused || afterWork(f.Status))
}

// afterWork reports whether a status may come when a host has worked in vain.
func afterWork(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusBadGateway || status == http.StatusGatewayTimeout
}
