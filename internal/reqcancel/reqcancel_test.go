package reqcancel

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// with returns a request with a Cancel.
func with(ctx context.Context, cancel <-chan struct{}) *http.Request {
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://host.test", nil)
	req.Cancel = cancel //lint:ignore SA1019 this is what is tested
	return req
}

// The context ends with whatever comes first, in that cause, and leaves nothing
// behind: the bubble fails where a goroutine is left.
func TestBridge(t *testing.T) {
	gone := errors.New("the caller has gone")
	for _, tt := range []struct {
		name                         string
		cancel, ctx, deadline, close time.Duration // when each comes; 0: never
		after                        time.Duration
		cause                        error
	}{
		{"Cancel", 1, 2, 0, 2, 1, context.Canceled},
		{"the context", 2, 1, 0, 2, 1, gone},
		{"the end of the exchange", 2, 2, 0, 1, 1, outcome.ErrClosed},
		{"the deadline", 2, 2, 1, 2, 1, context.DeadlineExceeded},
		{"Cancel before the deadline", 1, 3, 2, 3, 1, context.Canceled},
		{"Cancel behind the deadline, as http.Client has it", 1, 3, 1, 3, 1, context.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancelCause(t.Context())
				defer stop(nil)
				if tt.deadline != 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.deadline*time.Second)
					defer cancel()
				}
				canceled := make(chan struct{})
				start := time.Now()
				req, done := Bridge(with(ctx, canceled))
				//lint:ignore SA1019 this is what is tested
				if req.Cancel != nil {
					t.Error("the request has a Cancel still")
				}
				for at, do := range map[*time.Duration]func(){&tt.cancel: func() { close(canceled) }, &tt.ctx: func() { stop(gone) }, &tt.close: done} {
					if *at != 0 {
						time.AfterFunc(*at*time.Second, do)
					}
				}
				<-req.Context().Done()
				if got := context.Cause(req.Context()); got != tt.cause || time.Since(start) != tt.after*time.Second {
					t.Errorf("the context ended in %v after %v, want %v after %d s", got, time.Since(start), tt.cause, tt.after)
				}
				done()
				time.Sleep(5 * time.Second)
			})
		})
	}
}

// A request may come with a Cancel that is closed, and with a deadline that has
// passed.
func TestBridge_ClosedBefore(t *testing.T) {
	canceled := make(chan struct{})
	close(canceled)
	synctest.Test(t, func(t *testing.T) {
		req, done := Bridge(with(t.Context(), canceled))
		defer done()
		if got := context.Cause(req.Context()); got != context.Canceled {
			t.Errorf("the context ended in %v, want %v", got, context.Canceled)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		time.Sleep(2 * time.Second)
		req, done := Bridge(with(ctx, canceled))
		defer done()
		if got := context.Cause(req.Context()); got != context.DeadlineExceeded {
			t.Errorf("the context ended in %v, want %v", got, context.DeadlineExceeded)
		}
	})
}

// A liar is a context whose deadline passes without an end.
type liar struct{ context.Context }

func (liar) Deadline() (time.Time, bool) { return time.Now(), true }

// A context that does not end at its deadline holds nobody up.
func TestBridge_DeadlineThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		canceled := make(chan struct{})
		close(canceled)
		start := time.Now()
		req, done := Bridge(with(liar{t.Context()}, canceled))
		defer done()
		if got := context.Cause(req.Context()); got != context.Canceled || time.Since(start) != maxTimerLag {
			t.Errorf("the context ended in %v after %v, want %v after %v", got, time.Since(start), context.Canceled, maxTimerLag)
		}
	})
}

func TestAtEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		body io.Reader
		use  func(io.ReadCloser)
		want bool
	}{
		"a body that is not read":     {strings.NewReader("text"), func(io.ReadCloser) {}, false},
		"one that is read in part":    {strings.NewReader("text"), func(b io.ReadCloser) { b.Read(make([]byte, 1)) }, false},
		"one that is read to its end": {strings.NewReader("text"), func(b io.ReadCloser) { io.Copy(io.Discard, b) }, true},
		"one that fails":              {iotest.ErrReader(io.ErrUnexpectedEOF), func(b io.ReadCloser) { b.Read(make([]byte, 1)) }, true},
		"one that is closed":          {strings.NewReader("text"), func(b io.ReadCloser) { b.Close() }, true},
	} {
		done := false
		resp := &http.Response{Body: io.NopCloser(tt.body)}
		AtEnd(resp, func() { done = true })
		if tt.use(resp.Body); done != tt.want {
			t.Errorf("%s: done %v, want %v", name, done, tt.want)
		}
		if _, ok := resp.Body.(io.Writer); ok {
			t.Errorf("%s can be written to", name)
		}
	}
}

// A connection is a body that can be written to.
type connection struct {
	io.ReadCloser
	strings.Builder
}

func TestAtEnd_OfAConnection(t *testing.T) {
	c := &connection{ReadCloser: io.NopCloser(strings.NewReader(""))}
	resp, done := &http.Response{Body: c}, false
	AtEnd(resp, func() { done = true })
	w, ok := resp.Body.(io.Writer)
	if !ok {
		t.Fatal("it cannot be written to any more")
	}
	if io.WriteString(w, "text"); c.String() != "text" {
		t.Errorf("it got %q, want what was written", c.String())
	}
	if resp.Body.Close(); !done {
		t.Error("its Close is not the exchange's end")
	}
}
