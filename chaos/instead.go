package chaos

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/breakwater-go/breakwater/internal/dialect"
)

// An act is one request that meets faults.
type act struct {
	injector *Injector
	req      *http.Request
	q        *question
	words    dialect.Dialect
	rule     *rule // nil: none
}

// instead plays a fault in place of the host.
func (a *act) instead() (*http.Response, error) {
	switch fault := a.rule.Fault; {
	case fault == Refused:
		closeBody(a.req)
		return nil, opError("dial", a.req.URL, os.NewSyscallError("connect", syscall.ECONNREFUSED))
	case fault == NoSuchHost:
		closeBody(a.req)
		name := a.req.URL.Hostname()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}}
	case fault == DialTimeout:
		defer closeBody(a.req)
		if err := lifeOf(a.req).wait(orDefault(a.rule.Delay, 5*time.Second)); err != nil {
			return nil, err
		}
		return nil, opError("dial", a.req.URL, os.ErrDeadlineExceeded)
	case fault == BadCertificate && strings.EqualFold(a.req.URL.Scheme, "https"):
		closeBody(a.req)
		return nil, wrongName(a.req.URL.Hostname())
	}
	if err := drain(a.req); err != nil {
		return nil, err
	}
	switch a.rule.Fault {
	case Reset, BadCertificate:
		return nil, resetError(a.req.URL)
	case BlackHole:
		return nil, lifeOf(a.req).hang()
	}
	if a.rule.info.Inside {
		return a.inside(), nil
	}
	return a.refuse(), nil
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// The errors of connections, as package net and crypto/tls make them.

// An address is the host and port of a URL.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

func opError(op string, u *url.URL, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: address(authority(u)), Err: err}
}

func resetError(u *url.URL) error {
	return opError("read", u, os.NewSyscallError("read", syscall.ECONNRESET))
}

func wrongName(host string) error {
	cert := &x509.Certificate{DNSNames: []string{"elsewhere.invalid"}}
	return &tls.CertificateVerificationError{
		UnverifiedCertificates: []*x509.Certificate{cert},
		Err:                    x509.HostnameError{Certificate: cert, Host: host},
	}
}

// refuse returns a refusal, in the words of the host.
func (a *act) refuse() *http.Response {
	r := a.rule
	f := a.failure()
	contentType, body := f.Body(a.words, a.q.operation == "messages")
	switch {
	case r.Fault == HTMLError:
		title := fmt.Sprintf("%d %s", f.Status, http.StatusText(f.Status))
		contentType, body = "text/html", fmt.Sprintf(htmlPage, title)
	case r.Fault == EmptyError, r.Fault == Status && f.Status < 400:
		contentType, body = "", ""
	}
	if r.Body != "" {
		body = r.Body
	}
	if r.ContentType != "" {
		contentType = r.ContentType
	}
	resp := a.respond(f.Status, contentType, int64(len(body)), bodyOf(a.req, body))
	for i := 0; i+1 < len(f.Header); i += 2 {
		resp.Header.Set(f.Header[i], f.Header[i+1])
	}
	if r.RetryAfter > 0 {
		resp.Header.Set("Retry-After", strconv.FormatInt(int64((r.RetryAfter+time.Second-1)/time.Second), 10))
	}
	return resp
}

const htmlPage = "<!DOCTYPE html>\n<html><head><title>%[1]s</title></head>\n<body><center><h1>%[1]s</h1></center><hr><center>openresty</center></body></html>\n"

// refusals are the reasons that hosts have words for.
var refusals = map[Fault]dialect.Refusal{
	TooManyRequests: dialect.RateLimited, ConcurrencyLimit: dialect.TooManyAtOnce, QuotaThrottle: dialect.Throttled,
	ServerError: dialect.Broken, Busy: dialect.TooBusy, Unauthorized: dialect.WrongKey, Overdue: dialect.NoMoney,
	ModelNotFound: dialect.UnknownModel, ContextLength: dialect.TooLong, ContentFilter: dialect.Filtered,
}

// byStatus are the reasons that a status stands for.
var byStatus = map[int]dialect.Refusal{
	401: dialect.WrongKey, 402: dialect.NoMoney, 404: dialect.UnknownModel, 429: dialect.RateLimited,
	500: dialect.Broken, 503: dialect.TooBusy,
}

// failure returns the host's words for the fault.
func (a *act) failure() dialect.Failure {
	var f dialect.Failure
	status := a.rule.Status
	switch reason, ok := refusals[a.rule.Fault]; {
	case ok:
		f = a.words.Words(reason)
	case a.rule.Fault == Overloaded:
		f = dialect.Failure{Status: 529, Kind: "overloaded_error", Message: "Overloaded"}
	case a.rule.Fault == HTMLError, a.rule.Fault == EmptyError:
		f = dialect.Failure{Status: orDefault(status, http.StatusBadGateway)}
	default:
		f = a.ofStatus(status)
	}
	model := a.q.model
	if model == "" {
		model = "unknown"
	}
	limit := orDefault(a.rule.Limit, 1)
	return f.Fill("{model}", model, "{models}", "deepseek-v4-pro or deepseek-v4-flash", "{key}", "xxxx",
		"{n}", strconv.Itoa(limit), "{n+1}", strconv.Itoa(limit+1))
}

// ofStatus returns the host's words for a status.
func (a *act) ofStatus(status int) dialect.Failure {
	if reason, ok := byStatus[status]; ok {
		f := a.words.Words(reason)
		if n, isNumber := f.Code.(int); isNumber && n == f.Status {
			f.Code = status
		}
		f.Status = status
		return f
	}
	f := dialect.Failure{Status: status, Kind: "invalid_request_error", Message: http.StatusText(status)}
	if status >= 500 {
		f.Kind = "server_error"
	}
	if f.Message == "" {
		f.Message = fmt.Sprintf("status %d", status)
	}
	return f
}

// respond makes a response as net/http does. A length below 0 is not known.
func (a *act) respond(status int, contentType string, length int64, body io.ReadCloser) *http.Response {
	resp := &http.Response{
		Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}},
		Body:   body, ContentLength: length, Request: a.req,
	}
	if trace := a.words.Row().Trace; trace != "" {
		resp.Header.Set(trace, fmt.Sprintf("%016x", hash(uint64(time.Now().UnixNano()), a.q.host)))
	}
	if contentType != "" {
		resp.Header.Set("Content-Type", contentType)
	}
	switch {
	case status == http.StatusNoContent || status == http.StatusNotModified:
		resp.Body, resp.ContentLength = http.NoBody, 0
	case length >= 0:
		resp.Header.Set("Content-Length", strconv.FormatInt(length, 10))
	default:
		resp.TransferEncoding = []string{"chunked"}
	}
	if a.q.method == http.MethodHead {
		resp.Body = http.NoBody
	}
	return resp
}
