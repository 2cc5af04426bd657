package outcome

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
)

// The errors that the root package documents for users.
const (
	ErrCircuitOpen  = Error("circuit open")
	ErrRateLimited  = Error("local rate limit")
	ErrSpent        = Error("the money of the day is spent")
	ErrNoFirstToken = timeoutError("no first token in time")
	ErrStalled      = timeoutError("stream stalled")
	ErrBadResponse  = Error("bad response")
	ErrFlawed       = Error("flawed answer")
	ErrRepetition   = flawError("the answer repeats itself without end")
	ErrNoAnswer     = flawError("neither text nor a tool call in the answer")
	ErrFormat       = flawError("the answer does not have the format that was asked for")
	ErrNoKey        = Error("neither the call nor its endpoint has a key")
	ErrKeyFunc      = Error("KeyFunc gave no key")
	ErrUnprotected  = Error("the request is meant for no endpoint")
)

// ErrTruncated is also an io.ErrUnexpectedEOF.
var ErrTruncated error = truncatedError{}

// ErrTooSlow is also an ErrStalled.
var ErrTooSlow error = tooSlowError{timeoutError("answer too slow")}

// Errors of which users see only the text.
const (
	ErrOutrun = Error("another attempt was faster")
	ErrPaused = Error("endpoint paused")
	ErrPanic  = Error("panic below")
	ErrClosed = Error("exchange over") // the cause with which an exchange that has ended cancels its context
)

// An Error is one of breakwater's own errors. It quotes nothing, so it is safe to show.
type Error string

func (e Error) Error() string { return "breakwater: " + string(e) }

// A timeoutError is one of breakwater's own errors that implements net.Error as a timeout.
type timeoutError string

func (e timeoutError) Error() string   { return Error(e).Error() }
func (e timeoutError) Timeout() bool   { return true }
func (e timeoutError) Temporary() bool { return true } // required by net.Error

// A flawError is one of breakwater's own errors that says how an answer is flawed.
type flawError string

func (e flawError) Error() string { return Error(e).Error() }
func (e flawError) Unwrap() error { return ErrFlawed }

type tooSlowError struct{ timeoutError }

func (tooSlowError) Unwrap() error { return ErrStalled }

type truncatedError struct{}

func (truncatedError) Error() string { return "breakwater: answer truncated" }
func (truncatedError) Unwrap() error { return io.ErrUnexpectedEOF }

// A brokenError is one of our own errors with its cause.
type brokenError struct {
	error
	cause error
}

func (e *brokenError) Unwrap() []error { return []error{e.error, e.cause} }

// Broken returns one of our own errors with its cause. The text does not mention the
// cause.
func Broken(own, cause error) error { return &brokenError{own, cause} }

// TruncatedBy returns the error of an answer whose source ended in cause before the answer
// was complete. A cause of nil or io.EOF is left out, because it says nothing.
func TruncatedBy(cause error) error {
	if cause == nil || cause == io.EOF {
		return ErrTruncated
	}
	return Broken(ErrTruncated, cause)
}

// Broke reports whether a stream that ended in err broke, and was not left by its caller.
func Broke(err error) bool { return BreakOf(err) != "" }

// BreakOf returns the class of a stream that broke in err, or "" if it did not break.
func BreakOf(err error) Class {
	switch {
	case errors.Is(err, ErrStalled):
		return Stalled
	case errors.Is(err, ErrBadResponse):
		return BadResponse
	case errors.Is(err, ErrFlawed):
		return Flawed
	case errors.Is(err, ErrTruncated):
		return Truncated
	}
	return ""
}

// Lasting reports whether an error of the network would come again if the same host was
// asked again at once: it cannot prove who it is, does not speak TLS, or does not take the
// certificate of ours.
func Lasting(err error) bool {
	var (
		cert    *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		name    x509.HostnameError
		roots   x509.SystemRootsError
		record  tls.RecordHeaderError
		ech     *tls.ECHRejectionError
	)
	switch {
	case errors.As(err, &cert), errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &name),
		errors.As(err, &roots), errors.As(err, &record), errors.As(err, &ech), errors.Is(err, http.ErrSchemeMismatch):
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && refusesUs(op.Err.Error())
}

// refusesUs reports whether the text of a TLS alert, which crypto/tls gives no type, says
// that the host does not want to speak to a client like us.
func refusesUs(alert string) bool {
	for _, words := range [...]string{"certificate", "handshake failure", "protocol version", "access denied", "unrecognized name", "no application protocol"} {
		if strings.Contains(alert, words) {
			return true
		}
	}
	return false
}

// A quietError hides the text of an error that may quote secrets.
type quietError struct{ cause error }

// Quiet returns an error whose text does not quote err, which may hold a URL, a
// key or a body: an error of the network or of user code. errors.Is and
// errors.As still find err.
func Quiet(err error) error { return &quietError{err} }

func (e *quietError) Error() string {
	text := Describe(e.cause)
	if text == "" {
		text = fmt.Sprintf("error of type %T", e.cause)
	}
	return "breakwater: " + text
}

func (e *quietError) Unwrap() error { return e.cause }

// Describe names an error of the network, or of a KeyFunc, without what it may quote: the user and query of
// a URL, the password of a proxy. It returns "" for an error of another kind.
func Describe(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	var noKey *keyError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &noKey):
		return noKey.text()
	case errors.As(err, &dns):
		return "DNS: " + dns.Err
	case errors.As(err, &cert):
		return "TLS: certificate not verified"
	case errors.As(err, &op) && op.Err == nil:
		return op.Op
	case op != nil && op.Op == "proxyconnect": // op.Err holds the proxy's answer or its URL
		return strings.TrimSuffix("proxyconnect: "+Describe(op.Err), ": ")
	case op != nil:
		return strings.TrimSuffix(op.Op+": "+describeSystem(op.Err), ": ")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "connection closed"
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline exceeded"
	}
	return ""
}

// describeSystem is Describe for the error inside a net.OpError. The texts of
// the operating system and of TLS alerts quote nothing.
func describeSystem(err error) string {
	var number syscall.Errno
	var alert tls.AlertError
	switch {
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &alert):
		return alert.Error()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, net.ErrClosed):
		return "closed"
	}
	return Describe(err)
}

// Stray returns ErrUnprotected with words about the endpoint that the request came near to.
// They must hold neither a key nor the path of the request.
func Stray(near string) error { return &strayError{near} }

type strayError struct{ near string }

func (e *strayError) Error() string { return ErrUnprotected.Error() + ": " + e.near }

func (e *strayError) Unwrap() error { return ErrUnprotected }

// WithoutKey returns an ErrKeyFunc with words about what the function did, and the error that it
// returned, if it did. The words must hold no key. Of the cause, which may hold one, the text
// has what LogText says of it.
func WithoutKey(what string, cause error) error { return &keyError{what, cause} }

type keyError struct {
	what  string
	cause error
}

func (e *keyError) Error() string { return "breakwater: " + e.text() }

func (e *keyError) text() string {
	text := "KeyFunc " + e.what
	if why := LogText(e.cause); why != "" && e.cause != context.DeadlineExceeded {
		text += ": " + why
	}
	return text
}

func (e *keyError) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrKeyFunc}
	}
	return []error{ErrKeyFunc, e.cause}
}

// LogText returns the text of err for a log: that of our own errors without its prefix,
// otherwise Describe's.
func LogText(err error) string {
	switch own := err.(type) {
	case Error:
		return string(own)
	case timeoutError:
		return string(own)
	case tooSlowError:
		return string(own.timeoutError)
	case flawError:
		return string(own)
	case *strayError:
		return string(ErrUnprotected) + ": " + own.near
	case *brokenError:
		return LogText(own.error)
	case *keyError:
		return own.text()
	}
	return Describe(err)
}
