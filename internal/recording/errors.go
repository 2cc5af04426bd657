package recording

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
)

// A fault is an error as it is written. Errors whose types programs ask for keep them; of
// others, the text and what Timeout and Temporary say are kept, and the errors that they wrap.
type fault struct {
	Type      string   `json:"type,omitempty"` // "": another one, of which the text is kept
	Text      string   `json:"text,omitempty"`
	Timeout   bool     `json:"timeout,omitempty"`
	Temporary bool     `json:"temporary,omitempty"`
	Wraps     []*fault `json:"wraps,omitempty"`

	Op       string   `json:"op,omitempty"` // of net.OpError; the call of os.SyscallError
	Net      string   `json:"net,omitempty"`
	Source   string   `json:"source,omitempty"`
	Addr     string   `json:"addr,omitempty"`
	Name     string   `json:"name,omitempty"` // of net.DNSError and x509.HostnameError
	Server   string   `json:"server,omitempty"`
	NotFound bool     `json:"not_found,omitempty"`
	Reason   int      `json:"reason,omitempty"` // of x509.CertificateInvalidError
	Alert    uint8    `json:"alert,omitempty"`
	Chain    [][]byte `json:"chain,omitempty"` // certificates
}

// sentinels are errors that programs compare with.
var sentinels = map[string]error{
	"io.EOF": io.EOF, "io.ErrUnexpectedEOF": io.ErrUnexpectedEOF, "io.ErrClosedPipe": io.ErrClosedPipe,
	"net.ErrClosed": net.ErrClosed, "os.ErrDeadlineExceeded": os.ErrDeadlineExceeded,
	"context.Canceled": context.Canceled, "context.DeadlineExceeded": context.DeadlineExceeded,
	"http.ErrSchemeMismatch": http.ErrSchemeMismatch, "http.ErrLineTooLong": http.ErrLineTooLong,
}

// numbers are the errors of the operating system by their names, since their numbers differ
// between systems.
var numbers = map[string]syscall.Errno{
	"ECONNREFUSED": syscall.ECONNREFUSED, "ECONNRESET": syscall.ECONNRESET, "ECONNABORTED": syscall.ECONNABORTED,
	"EPIPE": syscall.EPIPE, "ETIMEDOUT": syscall.ETIMEDOUT, "EHOSTUNREACH": syscall.EHOSTUNREACH,
	"ENETUNREACH": syscall.ENETUNREACH, "EADDRNOTAVAIL": syscall.EADDRNOTAVAIL, "EADDRINUSE": syscall.EADDRINUSE,
	"EACCES": syscall.EACCES, "EPERM": syscall.EPERM, "EMFILE": syscall.EMFILE, "EINVAL": syscall.EINVAL,
}

const (
	maxDepth = 16 // of wrapped errors
	maxWraps = 8  // by one error
	maxText  = 4 << 10
	maxChain = 8
)

// encodeError returns an error as one line of JSON.
func encodeError(err error) []byte {
	text, bad := json.Marshal(faultOf(err, maxDepth))
	if bad != nil { // never happens: the struct has texts and numbers
		return []byte("{}")
	}
	return text
}

func faultOf(err error, depth int) *fault {
	if err == nil || depth == 0 {
		return nil
	}
	for name, sentinel := range sentinels {
		if err == sentinel {
			return &fault{Type: name}
		}
	}
	if f := typedFault(err, depth); f != nil {
		return f
	}
	f := &fault{Text: err.Error()[:min(len(err.Error()), maxText)]}
	if says, ok := err.(interface{ Timeout() bool }); ok {
		f.Timeout = says.Timeout()
	}
	if says, ok := err.(interface{ Temporary() bool }); ok {
		f.Temporary = says.Temporary()
	}
	switch wrapper := err.(type) {
	case interface{ Unwrap() error }:
		f.wrap(wrapper.Unwrap(), depth)
	case interface{ Unwrap() []error }:
		for _, one := range wrapper.Unwrap() {
			if len(f.Wraps) < maxWraps {
				f.wrap(one, depth)
			}
		}
	}
	return f
}

func (f *fault) wrap(err error, depth int) {
	if inner := faultOf(err, depth-1); inner != nil {
		f.Wraps = append(f.Wraps, inner)
	}
}

// typedFault returns an error of a type that keeps it, or nil.
func typedFault(err error, depth int) *fault {
	f := &fault{}
	switch e := err.(type) {
	case *net.OpError:
		*f = fault{Type: "net.OpError", Op: e.Op, Net: e.Net, Source: addrText(e.Source), Addr: addrText(e.Addr)}
		f.wrap(e.Err, depth)
	case *net.DNSError:
		*f = fault{Type: "net.DNSError", Text: e.Err, Name: e.Name, Server: e.Server, NotFound: e.IsNotFound, Timeout: e.IsTimeout, Temporary: e.IsTemporary}
	case *os.SyscallError:
		*f = fault{Type: "os.SyscallError", Op: e.Syscall}
		f.wrap(e.Err, depth)
	case syscall.Errno:
		for name, number := range numbers {
			if number == e {
				return &fault{Type: name}
			}
		}
		return nil
	case *tls.CertificateVerificationError:
		*f = fault{Type: "tls.CertificateVerificationError", Chain: chainOf(e.UnverifiedCertificates...)}
		f.wrap(e.Err, depth)
	case tls.AlertError:
		*f = fault{Type: "tls.AlertError", Alert: uint8(e)}
	case tls.RecordHeaderError:
		*f = fault{Type: "tls.RecordHeaderError", Text: e.Msg}
	case x509.HostnameError:
		*f = fault{Type: "x509.HostnameError", Name: e.Host, Chain: chainOf(e.Certificate)}
	case x509.UnknownAuthorityError:
		*f = fault{Type: "x509.UnknownAuthorityError", Chain: chainOf(e.Cert)}
	case x509.CertificateInvalidError:
		*f = fault{Type: "x509.CertificateInvalidError", Reason: int(e.Reason), Text: e.Detail, Chain: chainOf(e.Cert)}
	default:
		return nil
	}
	return f
}

func addrText(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

func chainOf(certs ...*x509.Certificate) (chain [][]byte) {
	for _, c := range certs[:min(len(certs), maxChain)] {
		if c != nil {
			chain = append(chain, c.Raw)
		}
	}
	return chain
}

// decodeError reads what encodeError wrote.
func decodeError(text []byte) (error, bool) {
	var f *fault
	if json.Unmarshal(text, &f) != nil || f == nil || f.depth() > maxDepth {
		return nil, false
	}
	err := f.error()
	return err, err != nil
}

func (f *fault) depth() int {
	deepest := 0
	for _, inner := range f.Wraps {
		if inner != nil {
			deepest = max(deepest, inner.depth())
		}
	}
	return deepest + 1
}

// error returns the error, or nil if its type is not known.
func (f *fault) error() error {
	if sentinel := sentinels[f.Type]; sentinel != nil {
		return sentinel
	}
	if number, ok := numbers[f.Type]; ok {
		return number
	}
	switch f.Type {
	case "":
		return f.other()
	case "net.OpError":
		return &net.OpError{Op: f.Op, Net: f.Net, Source: addrOf(f.Net, f.Source), Addr: addrOf(f.Net, f.Addr), Err: f.inner()}
	case "net.DNSError":
		return &net.DNSError{Err: f.Text, Name: f.Name, Server: f.Server, IsNotFound: f.NotFound, IsTimeout: f.Timeout, IsTemporary: f.Temporary}
	case "os.SyscallError":
		return &os.SyscallError{Syscall: f.Op, Err: f.inner()}
	case "tls.CertificateVerificationError":
		return &tls.CertificateVerificationError{UnverifiedCertificates: f.certificates(), Err: f.inner()}
	case "tls.AlertError":
		return tls.AlertError(f.Alert)
	case "tls.RecordHeaderError":
		return tls.RecordHeaderError{Msg: f.Text}
	case "x509.HostnameError":
		return x509.HostnameError{Host: f.Name, Certificate: f.certificate()}
	case "x509.UnknownAuthorityError":
		return x509.UnknownAuthorityError{Cert: f.certificate()}
	case "x509.CertificateInvalidError":
		return x509.CertificateInvalidError{Cert: f.certificate(), Reason: x509.InvalidReason(f.Reason), Detail: f.Text}
	}
	return nil
}

// inner returns the wrapped error of a type whose methods need one.
func (f *fault) inner() error {
	if len(f.Wraps) > 0 && f.Wraps[0] != nil {
		if err := f.Wraps[0].error(); err != nil {
			return err
		}
	}
	return errors.New("an error that was not recorded")
}

func (f *fault) certificates() (certs []*x509.Certificate) {
	for _, raw := range f.Chain {
		if c, err := x509.ParseCertificate(raw); err == nil {
			certs = append(certs, c)
		}
	}
	return certs
}

// certificate returns the first certificate, or an empty one, because the methods of errors need one.
func (f *fault) certificate() *x509.Certificate {
	if certs := f.certificates(); len(certs) > 0 {
		return certs[0]
	}
	return &x509.Certificate{}
}

// other returns an error of a type of ours with the text of the recorded one.
func (f *fault) other() error {
	e := &otherError{text: f.Text, timeout: f.Timeout, temporary: f.Temporary}
	for _, inner := range f.Wraps {
		if inner == nil {
			continue
		}
		if err := inner.error(); err != nil {
			e.wraps = append(e.wraps, err)
		}
	}
	if len(e.wraps) == 1 {
		return &wrapperError{*e}
	}
	return e
}

type otherError struct {
	text               string
	timeout, temporary bool
	wraps              []error
}

func (e *otherError) Error() string   { return e.text }
func (e *otherError) Timeout() bool   { return e.timeout }
func (e *otherError) Temporary() bool { return e.temporary }
func (e *otherError) Unwrap() []error { return e.wraps }

// A wrapperError wraps one error, so that [errors.Unwrap] finds it.
type wrapperError struct{ otherError }

func (e *wrapperError) Unwrap() error { return e.wraps[0] }

// addrOf returns an address with the type that net gives those of its network.
func addrOf(network, text string) net.Addr {
	if text == "" {
		return nil
	}
	if at, err := netip.ParseAddrPort(text); err == nil && (network == "tcp" || network == "tcp4" || network == "tcp6") {
		return net.TCPAddrFromAddrPort(at)
	}
	return namedAddr{network, text}
}

type namedAddr struct{ network, text string }

func (a namedAddr) Network() string { return a.network }
func (a namedAddr) String() string  { return a.text }
