package breakwatertest_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	bt "github.com/breakwater-go/breakwater/breakwatertest"
)

const (
	key   = "sk-test"
	model = "deepseek-flash"
	ages  = time.Hour // for what comes at once, but on a busy machine
)

// client is a bare HTTP client of a fleet.
type client struct {
	t         *testing.T
	fleet     *bt.Fleet
	transport *http.Transport
}

func newClient(t *testing.T, fleet *bt.Fleet, err error) *client {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, fleet: fleet, transport: fleet.Transport()}
	t.Cleanup(c.close)
	return c
}

func (c *client) close() {
	c.transport.CloseIdleConnections()
	c.fleet.Close()
}

func tcp(t *testing.T, hosts ...bt.Host) *client {
	t.Helper()
	fleet, err := bt.NewFleet(hosts...)
	return newClient(t, fleet, err)
}

// inBubble runs f with a pipe fleet in a synctest bubble. The bubble only ends
// when nothing of fleet and client is left, so each such test is a leak test.
func inBubble(t *testing.T, f func(t *testing.T, c *client), hosts ...bt.Host) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fleet, err := bt.NewPipeFleet(hosts...)
		f(t, newClient(t, fleet, err))
	})
}

// ask asks the server and reads the answer, giving up after timeout.
func (c *client) ask(s *bt.Server, prompt string, stream bool, timeout time.Duration) (bt.Reply, error) {
	c.t.Helper()
	return c.askOn(bt.Chat, s, prompt, stream, timeout)
}

// askOn asks on a wire.
func (c *client) askOn(w bt.Wire, s *bt.Server, prompt string, stream bool, timeout time.Duration) (bt.Reply, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), timeout)
	defer cancel()
	req, err := w.Request(ctx, s.WireURL(w), key, model, prompt, stream)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.do(req)
}

func (c *client) do(req *http.Request) (bt.Reply, error) {
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return bt.Reply{}, err
	}
	return bt.ReadAnswer(resp)
}

// mustAnswer demands the right and whole answer.
func (c *client) mustAnswer(s *bt.Server, prompt string, stream bool) {
	c.t.Helper()
	c.mustAnswerOn(bt.Chat, s, prompt, stream)
}

func (c *client) mustAnswerOn(w bt.Wire, s *bt.Server, prompt string, stream bool) {
	c.t.Helper()
	got, err := c.askOn(w, s, prompt, stream, ages)
	if err != nil {
		c.t.Fatalf("%s, %s, stream %v: %v", s.Name(), w, stream, err)
	}
	if got.Content != bt.Answer(prompt) || got.FinishReason != "stop" || !got.Done ||
		got.Fingerprint != "fp_"+s.Name() || got.Model != model {
		c.t.Errorf("%s, %s, stream %v: wrong answer %+v", s.Name(), w, stream, got)
	}
}

// eventually waits, on the real clock, until the condition holds: as long as
// the run may take.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for !condition() {
		time.Sleep(time.Millisecond)
		if end, ok := t.Deadline(); ok && time.Until(end) < time.Second {
			t.Fatalf("never: %s", what)
		}
	}
}

func kindOf(stream bool) string {
	if stream {
		return "stream"
	}
	return "JSON"
}
