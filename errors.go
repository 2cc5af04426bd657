package breakwater

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/pause"
)

// What an attempt can end in, besides the errors of the network. Test with
// errors.Is. ErrRateLimited is a limit of our own, [ClassLimited], not a host's 429.
var (
	ErrCircuitOpen  error = outcome.ErrCircuitOpen
	ErrRateLimited  error = outcome.ErrRateLimited
	ErrNoFirstToken error = outcome.ErrNoFirstToken // a net.Error, whose Timeout is true
	ErrStalled      error = outcome.ErrStalled      // as well
	ErrBadResponse  error = outcome.ErrBadResponse

	// ErrTruncated is an io.ErrUnexpectedEOF, too.
	ErrTruncated = outcome.ErrTruncated

	// ErrNoKey is no attempt's end, but a warning in an Event of [KindKey]: an
	// endpoint that is not Keyless was asked without a key. It is told once of each.
	ErrNoKey error = outcome.ErrNoKey
)

// An Error is a call that no endpoint answered, with every attempt made; none
// if the endpoint that Call names does not exist or does not have the model.
type Error struct {
	Attempts []Attempt
}

// Error tells the attempts by endpoint and class. It quotes no URL, key or body.
func (e *Error) Error() string {
	return "breakwater: " + e.summary()
}

func (e *Error) summary() string {
	var b strings.Builder
	b.WriteString("no endpoint answered")
	for i, a := range e.Attempts {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %s", a.Endpoint, a.Class)
		if a.Status != 0 {
			fmt.Fprintf(&b, " (%d)", a.Status)
		} else if text := outcome.Describe(a.Err); text != "" {
			fmt.Fprintf(&b, " (%s)", text)
		}
	}
	return b.String()
}

// Unwrap returns what each attempt ended in.
func (e *Error) Unwrap() []error {
	var errs []error
	for _, a := range e.Attempts {
		if a.Err != nil {
			errs = append(errs, a.Err)
		}
	}
	return errs
}

// Timeout reports whether the last attempt ran out of time.
func (e *Error) Timeout() bool {
	if len(e.Attempts) == 0 {
		return false
	}
	last := e.Attempts[len(e.Attempts)-1]
	var t interface{ Timeout() bool }
	return outcome.Of(last.Class).TimedOut || errors.As(last.Err, &t) && t.Timeout()
}

// Temporary is Timeout: with both, an Error is a net.Error.
func (e *Error) Temporary() bool { return e.Timeout() }

// ErrorOf returns the *Error behind an answer that breakwater wrote itself, be
// it an empty 502 where a 200 brought nothing; else nil.
func ErrorOf(resp *http.Response) error {
	if resp == nil || resp.Request == nil || resp.Header.Get(header.Error) == "" {
		return nil
	}
	c := callOf(resp.Request.Context())
	if c == nil {
		return nil
	}
	if failure := c.failed(); failure != nil {
		return failure
	}
	return nil // a nil *Error in an error would not be nil
}

// fails keeps the error behind an answer of our own, for [ErrorOf].
func (c *call) fails(failure *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = failure
}

// failed returns the error behind an answer of our own, nil if it is none.
func (c *call) failed() *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// ownAnswer returns the response that breakwater writes where no host gave one.
func (c *call) ownAnswer(class Class, message string, wait time.Duration) *http.Response {
	status, code := http.StatusServiceUnavailable, string(class)
	switch class {
	case ClassLimited:
		status, code = http.StatusTooManyRequests, "rate_limited"
	case ClassNotCached:
		status = http.StatusGatewayTimeout
	}
	resp := c.response(status, c.op.Wire().ErrorBody(status, code, "breakwater: "+message))
	resp.Header.Set("Content-Type", "application/json")
	resp.Header.Set(header.Error, code)
	resp.Header.Set(header.ShouldRetry, "false")
	if wait > 0 {
		resp.Header.Set("Retry-After", seconds(wait))
	}
	return resp
}

// lastEvent returns what the call's stream ends with that broke off in err: see
// [exchange.Policy.LastEvent].
func (c *call) lastEvent(said []byte, err error, open bool) []byte {
	return c.t.exchanges.LastEvent(c.op.Wire(), said, err, open)
}

// pausedAnswer returns the refusal that made an endpoint pause once more.
func (c *call) pausedAnswer(p pause.Pause[refusal], wait time.Duration) *http.Response {
	resp := c.response(p.Note.status, p.Note.body)
	if p.Note.contentType != "" {
		resp.Header.Set("Content-Type", p.Note.contentType)
	}
	resp.Header.Set(header.Error, string(ClassPaused))
	resp.Header.Set(header.ShouldRetry, "false")
	resp.Header.Set("Retry-After", seconds(wait))
	return resp
}

// seconds returns a wait in the format of Retry-After, rounded up.
func seconds(d time.Duration) string {
	n := int64(max(d, 0) / time.Second)
	if d > 0 && d%time.Second > 0 {
		n++
	}
	return strconv.FormatInt(n, 10)
}

// response returns a response to this call with a body from memory.
func (c *call) response(status int, body []byte) *http.Response {
	return &http.Response{
		Status:        strconv.Itoa(status) + " " + http.StatusText(status),
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        make(http.Header),
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       c.req,
	}
}
