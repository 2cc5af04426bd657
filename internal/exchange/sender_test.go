package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// policy is that of most exchanges here.
var policy = exchange.Policy{Queued: time.Minute, Stall: 10 * time.Second, MaxBuffer: 1 << 20}

// What callers want.
var (
	wantJSON   = exchange.Want{Wire: wire.Chat, Choices: 1}
	wantStream = exchange.Want{Wire: wire.Chat, Choices: 1, Stream: true}
)

// A sender is the owner of one exchange.
type sender struct {
	exchange.Exchange
	leave context.CancelFunc // of the caller
	onEnd func()             // what an Observer does, at the first end
	onAsk func()             // what happens while the owner is asked for another endpoint

	mu        sync.Mutex // guards what follows
	elsewhere bool       // another endpoint could serve
	flaws     []error    // with which an answer was handed over
	sentOnce  bool       // but must not
	asked     int        // how often that was asked
	ends      []end
}

// An end is what the owner is told.
type end struct {
	class outcome.Class
	err   error
	used  wire.Usage
	bytes int64
}

// send begins an exchange for a caller with this context.
func send(ctx context.Context, p exchange.Policy) *sender {
	caller, leave := context.WithCancel(ctx)
	ctx, cancel := context.WithCancelCause(caller)
	s := &sender{leave: leave}
	s.Exchange = exchange.Exchange{Context: ctx, Cancel: cancel, Caller: caller, Owner: s, Policy: &p, Start: time.Now()}
	return s
}

func (s *sender) Elsewhere() bool {
	if s.onAsk != nil {
		s.onAsk()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.elsewhere
}

func (s *sender) MayTakeOver() bool { return s.Elsewhere() && !s.sentOnce }

func (s *sender) Flawed(err error) { s.flaws = append(s.flaws, err) }

func (s *sender) EndpointName() string { return "a" }

func (s *sender) ServedBy(model, fingerprint []byte) {}

func (s *sender) ClassOf(f *exchange.Failure) outcome.Class {
	if f.Status == 429 {
		return outcome.RateLimited
	}
	return outcome.BadResponse
}

func (s *sender) End(class outcome.Class, err error, used wire.Usage, bytes int64) {
	s.FirstPayload.Stop()
	s.mu.Lock()
	s.ends = append(s.ends, end{class, err, used, bytes})
	first := len(s.ends) == 1
	s.mu.Unlock()
	if first && s.onEnd != nil {
		s.onEnd()
	}
}

// timesAsked is how often the owner was asked for another endpoint.
func (s *sender) timesAsked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// serves says whether another endpoint can serve from now on.
func (s *sender) serves(elsewhere bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.elsewhere = elsewhere
}

// ended is how the exchange ended; the class is empty if it has not.
func (s *sender) ended() end {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ends) == 0 {
		return end{}
	}
	return s.ends[0]
}

// faucet returns a stream that comes as the test lets it, as the response to
// the exchange.
func (s *sender) faucet(first string) *fakehost.Faucet {
	req, _ := http.NewRequestWithContext(s.Context, http.MethodPost, "https://a/chat/completions", nil)
	return fakehost.NewFaucet(req, first)
}

// A seen is what came of a response.
type seen struct {
	*sender
	failure *exchange.Failure // nil: it was committed
	resp    *http.Response    // what the caller may see; nil: nothing
	text    string
	err     error // that its body ended in; nil: io.EOF
}

// String says what came in a line.
func (s seen) String() string {
	class, status := s.ended().class, 0
	if s.failure != nil {
		class = s.failure.Class
	}
	if s.resp != nil {
		status = s.resp.StatusCode
	}
	return fmt.Sprintf("%s %d %q %v", class, status, s.text, s.err)
}

// judge judges a response and reads what the caller may see of it to its end.
func judge(t testing.TB, p exchange.Policy, w exchange.Want, resp *http.Response) seen {
	t.Helper()
	s := seen{sender: send(t.Context(), p)}
	came := resp.Body
	s.resp, s.failure = s.Judge(resp, w)
	if s.failure != nil {
		if body, ok := came.(*fakehost.Body); ok && body.Closed() == 0 {
			t.Errorf("the body of a response that failed was not closed")
		}
		s.resp = s.failure.Resp
	}
	if s.resp != nil {
		s.text, s.err = read(s.resp.Body)
	}
	return s
}

// judgeText judges a 200 with that text.
func judgeText(t testing.TB, w exchange.Want, contentType, text string) seen {
	t.Helper()
	return judge(t, policy, w, fakehost.Answer(200, contentType, text))
}

// read reads a body to its end and closes it.
func read(body io.ReadCloser) (string, error) {
	defer body.Close()
	text, err := io.ReadAll(body)
	return string(text), err
}

// typed reports whether err is one of those that a stream may end in by the
// host's fault.
func typed(err error) bool {
	return errors.Is(err, outcome.ErrTruncated) || errors.Is(err, outcome.ErrBadResponse) || errors.Is(err, outcome.ErrStalled)
}

// A completion notes what an observer of a body is told.
type completion struct {
	bytes, payloads int
	private         bool
	broke           []byte
	complete        bool
	endpoint        string
	keepable, usage bool
}

func (c *completion) Pass(n int, payload bool) {
	c.bytes += n
	if payload {
		c.payloads++
	}
}
func (c *completion) Continue(http.Header) {}
func (c *completion) Private()             { c.private = true }
func (c *completion) Break(event []byte)   { c.broke = event }
func (c *completion) Complete(endpoint string, _, keepable, usage bool) {
	c.complete, c.endpoint, c.keepable, c.usage = true, endpoint, keepable, usage
}
