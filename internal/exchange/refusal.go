package exchange

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/progress"
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
	if f := e.Interrupted(); f != nil && (err != nil || e.Caller.Err() != nil) { // a deadline counts also if its timer is late
		return f
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

// Decline returns the failure of a response whose status says all. Its body is left to the
// caller of the exchange as it comes, or to Failure.Hold if the request is sent again.
func (e *Exchange) Decline(resp *http.Response) *Failure {
	status := resp.StatusCode
	resp, f := e.PassOn(resp)
	if f != nil {
		return f
	}
	return &Failure{Status: status, Resp: resp, Refused: true, Open: true}
}

// maxHeld is how much of a declined response is kept in memory.
const maxHeld = 64 << 10

// Hold takes what is there of an open body into memory and closes it.
func (f *Failure) Hold() {
	if !f.Open {
		return
	}
	f.Open = false
	source := f.Resp.Body
	timer := time.AfterFunc(drainWait, background.Recovered(func() { source.Close() }))
	body, err := io.ReadAll(io.LimitReader(source, maxHeld+1))
	timer.Stop()
	source.Close()
	end := io.EOF
	if err != nil || len(body) > maxHeld {
		body, end = body[:min(len(body), maxHeld)], outcome.TruncatedBy(err)
	}
	f.Resp.Body = InMemory(body, end)
}
