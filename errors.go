package breakwater

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/breakwater-go/breakwater/internal/outcome"
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

// An exhausted is the error of a call that no endpoint could answer. The cache may
// have an answer all the same; else the caller gets resp or, with WithErrors,
// failure.
type exhausted struct {
	resp     *http.Response // nil with WithErrors
	failure  *Error
	unprobed bool // the call did not see to the end whether all endpoints are still down
}

func (x *exhausted) Error() string { return x.failure.Error() }

func (x *exhausted) Unwrap() error { return x.failure }

// asExhausted returns the *exhausted in err, nil if there is none.
func asExhausted(err error) *exhausted {
	if err == nil {
		return nil
	}
	var x *exhausted // on the heap, so not for calls that are answered
	errors.As(err, &x)
	return x
}

// result returns what the caller gets.
func (x *exhausted) result() (*http.Response, error) {
	if x.resp != nil {
		return x.resp, nil
	}
	return nil, x.failure
}
