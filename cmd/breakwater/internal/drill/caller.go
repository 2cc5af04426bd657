package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A result is what a caller got.
type result int

const (
	answered   result = iota // the whole, right answer in time
	failed                   // an error
	wrong                    // no error, but half an answer or a wrong one
	unfinished               // the drill ended first; it counts for nothing
)

// A call is one call as its caller saw it. Times are from the start of the drill.
type call struct {
	at     time.Duration // when it began
	first  time.Duration // from at to the first text; JSON: to the whole answer
	took   time.Duration // from at to the end
	stream bool
	result result
	by     string // the host that answered, or "cache"; empty: none did
	stale  bool   // from the cache, older than its TTL
	why    string // of a call that was not answered: a few words, with nothing that a host said
}

// A question is one call to make.
type question struct {
	prompt string
	wire   kit.Wire
	stream bool
}

// A caller asks questions through one client.
type caller struct {
	client *http.Client
	stage  Stage
	load   Load
}

// maxAnswer bounds what is read of one answer, in bytes.
const maxAnswer = 16 << 20

// ask asks a question and judges the answer.
func (c *caller) ask(ctx context.Context, q question, began time.Time) call {
	start := time.Now()
	out := call{at: start.Sub(began), stream: q.stream}
	limited, cancel := context.WithTimeout(ctx, c.load.Deadline)
	defer cancel()
	var trail breakwater.Trail
	reply, watch, resp, err := c.do(breakwater.WithCall(limited, breakwater.Call{Trail: &trail}), q)
	out.took = time.Since(start)
	out.first = out.took
	if q.stream && watch != nil && !watch.first.IsZero() {
		out.first = watch.first.Sub(start)
	}
	switch {
	case ctx.Err() != nil && err != nil:
		out.result = unfinished
	case err != nil:
		out.result, out.why = failed, reason(err, resp)
	case !c.right(q, reply):
		out.result, out.why = wrong, "half or wrong answer, no error"
	default:
		out.by, out.stale = c.answerer(resp)
	}
	return out
}

// right reports whether a reply is the whole answer: word for word if the hosts are fakes, else
// as far as its form shows.
func (c *caller) right(q question, r kit.Reply) bool {
	if c.stage.Knows() {
		return r.Content == kit.Answer(q.prompt)
	}
	switch r.FinishReason {
	case "", "insufficient_system_resource", "error", "failed":
		return false
	}
	return r.Content != "" || r.Reasoning != "" || r.FinishReason == "length"
}

func (c *caller) answerer(resp *http.Response) (by string, stale bool) {
	status := resp.Header.Get("Cache-Status")
	if strings.Contains(status, "; hit") {
		return "cache", strings.Contains(status, "stale-if-error")
	}
	if name := resp.Header.Get("Breakwater-Endpoint"); name != "" {
		return name, false
	}
	return c.stage.HostOf(resp.Request), false
}

func (c *caller) do(ctx context.Context, q question) (reply kit.Reply, watch *firstText, resp *http.Response, err error) {
	req, err := c.stage.Request(ctx, c.load.Model, q)
	if err != nil {
		return reply, nil, nil, err
	}
	if resp, err = c.client.Do(req); err != nil {
		return reply, nil, nil, err
	}
	watch = &firstText{body: resp.Body, left: maxAnswer}
	resp.Body = watch
	reply, err = kit.ReadAnswer(resp)
	return reply, watch, resp, err
}

// errTooLong ends an answer without end.
var errTooLong = errors.New("the answer is longer than 16 MiB")

// A firstText is a body that notes when the first event came that carries text.
type firstText struct {
	body  io.ReadCloser
	left  int
	first time.Time
	tail  []byte // of what came before, so that a mark in two pieces is found
}

// marks stand before the text of an event, on each wire. An empty text has its closing quote
// directly behind the mark, and null has no quote.
var marks = [][]byte{
	[]byte(`"content":"`), []byte(`"reasoning_content":"`), []byte(`"reasoning":"`), []byte(`"text":"`), []byte(`"delta":"`),
}

func (f *firstText) Read(p []byte) (int, error) {
	n, err := f.body.Read(p)
	if f.left -= n; f.left < 0 {
		return n, errTooLong
	}
	if f.first.IsZero() && n > 0 {
		f.tail = append(f.tail, p[:n]...)
		if hasText(f.tail) {
			f.first, f.tail = time.Now(), nil
		} else if len(f.tail) > 64 {
			f.tail = append(f.tail[:0], f.tail[len(f.tail)-64:]...)
		}
	}
	return n, err
}

func (f *firstText) Close() error { return f.body.Close() }

func hasText(b []byte) bool {
	for _, mark := range marks {
		rest := b
		for {
			i := bytes.Index(rest, mark)
			if i < 0 {
				break
			}
			rest = rest[i+len(mark):]
			if len(rest) > 0 && rest[0] != '"' {
				return true
			}
		}
	}
	return false
}

// reason says in a few words why a call failed. It quotes nothing of a host.
func reason(err error, resp *http.Response) string {
	if resp != nil {
		if word := resp.Header.Get("Breakwater-Error"); word != "" {
			return "breakwater: " + word
		}
	}
	var status *kit.StatusError
	var dns *net.DNSError
	var network net.Error
	for _, sentinel := range []error{breakwater.ErrTruncated, breakwater.ErrStalled, breakwater.ErrBadResponse, breakwater.ErrNoFirstToken} {
		if errors.Is(err, sentinel) {
			return sentinel.Error()
		}
	}
	switch {
	case errors.As(err, &status):
		return fmt.Sprintf("status %d", status.Code)
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer by the deadline"
	case errors.As(err, &dns):
		return "no such host"
	case errors.As(err, &network) && network.Timeout():
		return "network timeout"
	case errors.As(err, &network):
		return "no connection"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "connection broke"
	}
	return "error in the answer"
}
