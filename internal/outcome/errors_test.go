package outcome

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

var sentinels = []error{
	ErrCircuitOpen, ErrRateLimited, ErrNoFirstToken, ErrStalled, ErrBadResponse, ErrNoKey, ErrTruncated,
	ErrOutrun, ErrPaused, ErrPanic, ErrClosed,
}

// The sentinels are told apart by errors.Is, each within what it is wrapped in,
// and say whose they are.
func TestErrors_SentinelsDiffer(t *testing.T) {
	for i, a := range sentinels {
		if !strings.HasPrefix(a.Error(), "breakwater: ") {
			t.Errorf("%q does not say whose it is", a)
		}
		for j, b := range sentinels {
			for _, err := range []error{a, fmt.Errorf("x: %w", a), Broken(a, io.ErrNoProgress), Quiet(a)} {
				if got := errors.Is(err, b); got != (i == j) {
					t.Errorf("errors.Is(%v, %v) = %v", err, b, got)
				}
			}
		}
	}
}

// An error of a clock of ours is a timeout for who asks as net.Error has it.
func TestErrors_TimeoutsAreNetErrors(t *testing.T) {
	for _, err := range sentinels {
		want := err == ErrNoFirstToken || err == ErrStalled
		for _, err := range []error{err, Broken(err, io.EOF), fmt.Errorf("wrapped: %w", err)} {
			var timeout net.Error
			//lint:ignore SA1019 net.Error wants it still
			if got := errors.As(err, &timeout) && timeout.Timeout() && timeout.Temporary(); got != want {
				t.Errorf("%v is a timeout: %v, want %v", err, got, want)
			}
		}
	}
}

func TestErrors_Broken(t *testing.T) {
	cause := errors.New("secret")
	err := TruncatedBy(cause)
	if !errors.Is(err, ErrTruncated) || !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, cause) {
		t.Errorf("TruncatedBy(cause) = %v, want both", err)
	}
	if err.Error() != ErrTruncated.Error() {
		t.Errorf("TruncatedBy(cause) says %q, want nothing of the cause", err)
	}
	for _, cause := range []error{nil, io.EOF} {
		if err := TruncatedBy(cause); err != ErrTruncated {
			t.Errorf("TruncatedBy(%v) = %v, want ErrTruncated alone", cause, err)
		}
	}
}

func TestErrors_Broke(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Class
	}{
		{ErrStalled, Stalled},
		{ErrBadResponse, BadResponse},
		{fmt.Errorf("%w: malformed event", ErrBadResponse), BadResponse},
		{ErrTruncated, Truncated},
		{TruncatedBy(syscall.ECONNRESET), Truncated},
		{nil, ""},
		{io.EOF, ""},
		{io.ErrUnexpectedEOF, ""},
		{context.Canceled, ""},
		{ErrNoFirstToken, ""},
	} {
		if got := BreakOf(tt.err); got != tt.want || Broke(tt.err) != (tt.want != "") {
			t.Errorf("BreakOf(%v) = %q and Broke = %v, want %q", tt.err, got, Broke(tt.err), tt.want)
		}
	}
}

// Of the network's errors, only what holds no secret is told.
func TestErrors_Describe(t *testing.T) {
	secret := errors.New("GET https://user:secret@bucket/?sig=secret")
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"none", nil, ""},
		{"refused", &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "dial: connection refused"},
		{"the caller's own reader", &net.OpError{Op: "readfrom", Net: "tcp", Err: secret}, "readfrom"},
		{"no reason", &net.OpError{Op: "dial"}, "dial"},
		{"timeout", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, "read: timeout"},
		{"closed by us", &net.OpError{Op: "write", Err: net.ErrClosed}, "write: closed"},
		{"TLS alert", &net.OpError{Op: "remote error", Err: tls.AlertError(40)}, "remote error: tls: handshake failure"},
		{"proxy", &net.OpError{Op: "proxyconnect", Err: secret}, "proxyconnect"},
		{"proxy, refused", &net.OpError{Op: "proxyconnect", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, "proxyconnect: dial: connection refused"},
		{"proxy, refused by its words", &net.OpError{Op: "proxyconnect", Err: fmt.Errorf("%w: %w", secret, syscall.ECONNREFUSED)}, "proxyconnect"},
		{"DNS", &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "secret.example"}}, "DNS: no such host"},
		{"certificate", &tls.CertificateVerificationError{Err: secret}, "TLS: certificate not verified"},
		{"connection closed", fmt.Errorf("Post https://user:secret@a/?key=secret: %w", io.ErrUnexpectedEOF), "connection closed"},
		{"deadline", fmt.Errorf("secret: %w", context.DeadlineExceeded), "deadline exceeded"},
		{"anything else", secret, ""},
		{"our own", ErrPanic, ""},
	} {
		if got := Describe(tt.err); got != tt.want {
			t.Errorf("%s: Describe = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestErrors_LogText(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{ErrCircuitOpen, "circuit open"},
		{ErrStalled, "stream stalled"},
		{ErrTooSlow, "answer too slow"},
		{Broken(ErrFormat, errors.New("secret")), "the answer does not have the format that was asked for"},
		{ErrTruncated, "connection closed"},
		{Quiet(io.EOF), "connection closed"},
		{errors.New("redis://user:secret@host"), ""},
		{fmt.Errorf("redis://user:secret@host: %w", ErrPanic), ""},
	} {
		if got := LogText(tt.err); got != tt.want {
			t.Errorf("LogText(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}

// A quiet error tells a text that holds no secret, and unwraps to the error.
func TestErrors_Quiet(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "breakwater: dial: connection refused"},
		{errors.New("https://user:secret@host"), "breakwater: error of type *errors.errorString"},
	} {
		err := Quiet(tt.err)
		if err.Error() != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("Quiet(%v) = %q, want %q", tt.err, err, tt.want)
		}
	}
}
