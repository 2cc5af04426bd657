package diagnose

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/header"
)

// An observation is what one request showed on the wire, below breakwater: its own attempts and
// net/http's.
type observation struct {
	start      time.Time
	sent       bool // the request got to the base
	connected  bool // a connection was there
	written    bool // the request was written to it
	reused     bool // it was written to a connection that had been kept
	reuseBroke bool // a connection that had been kept was of no use
	tries      int  // how often net/http took a connection
	headers    time.Duration
	status     int
	proto      string
	header     http.Header
	tls        *tls.ConnectionState
	err        error // in place of a response

	keepAlives    int           // parts of the body that are blank or comments, before anything else
	lastKeepAlive time.Duration // since start
	inComment     bool
	payload       int64  // bytes of the body that are neither
	text          []byte // its beginning, without keep-alives
	end           error  // of the body: io.EOF, or how it broke; nil: it has not ended
}

// An observer makes an observation.
type observer struct {
	mu sync.Mutex // guards observation
	observation
}

// keptText is how many bytes of a body an observation keeps.
const keptText = 64 << 10

// watch returns a base that fills in o with what goes through base.
func (d *diagnosis) watch(o *observer, base http.RoundTripper) http.RoundTripper {
	o.start = time.Now()
	return breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		for _, name := range header.Credentials {
			for _, v := range req.Header[name] {
				d.noteSecret(v)
			}
		}
		o.mu.Lock()
		o.sent = true
		o.mu.Unlock()
		kept := false
		trace := &httptrace.ClientTrace{
			GotConn: func(info httptrace.GotConnInfo) {
				o.mu.Lock()
				defer o.mu.Unlock()
				o.reuseBroke = o.reuseBroke || kept && !info.Reused // another connection is taken in its place
				o.tries++
				o.connected, o.reused, kept = true, o.reused || info.Reused, info.Reused
			},
			WroteRequest: func(info httptrace.WroteRequestInfo) {
				o.mu.Lock()
				defer o.mu.Unlock()
				o.written = o.written || info.Err == nil
			},
		}
		resp, err := base.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
		o.mu.Lock()
		defer o.mu.Unlock()
		o.err = err
		if err != nil || resp == nil {
			return resp, err
		}
		o.headers, o.status, o.proto, o.header, o.tls = time.Since(o.start), resp.StatusCode, resp.Proto, resp.Header.Clone(), resp.TLS
		resp.Body = &watchedBody{resp.Body, o}
		return resp, nil
	})
}

// A watchedBody tells its observation what is read.
type watchedBody struct {
	io.ReadCloser
	o *observer
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	o := b.o
	o.mu.Lock()
	defer o.mu.Unlock()
	if n > 0 {
		o.take(p[:n])
	}
	if err != nil && o.end == nil {
		o.end = err
	}
	return n, err
}

// take notes a part of the body. Before the answer, blank lines and comments are keep-alives. So
// is a ping of the Messages API.
func (o *observation) take(part []byte) {
	rest := string(part)
	if o.payload == 0 {
		for rest != "" {
			if !o.inComment {
				rest = strings.TrimLeft(rest, " \t\r\n")
				o.inComment = strings.HasPrefix(rest, ":")
			}
			if !o.inComment {
				break
			}
			_, after, ends := strings.Cut(rest, "\n")
			rest, o.inComment = after, !ends // a comment may be read in parts
		}
		if rest == "" || strings.HasPrefix(rest, "event: ping") {
			o.keepAlives++
			o.lastKeepAlive = time.Since(o.start)
			return
		}
	}
	o.payload += int64(len(rest))
	o.text = append(o.text, rest[:min(len(rest), keptText-len(o.text))]...)
}

// view returns a copy that does not change.
func (o *observer) view() observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.observation
}

// errPanicked is in place of a panic of user code.
var errPanicked = errors.New("diagnose: middleware, Rewrite or a dialer panicked")

// client returns a Transport with the endpoint, which makes one attempt and whose circuit stays
// closed. Each request has one of its own, so that a refusal pauses no other.
func (d *diagnosis) client(e breakwater.Endpoint, o *observer, base http.RoundTripper) (*breakwater.Transport, error) {
	return breakwater.New(
		breakwater.WithEndpoints(e),
		breakwater.WithBase(d.watch(o, base)),
		breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 1, MinDelay: breakwater.Off, Patience: breakwater.Off, MaxRetryAfter: breakwater.Off}),
		breakwater.WithStream(breakwater.StreamPolicy{Rescue: breakwater.RescueOff, Stall: breakwater.Off, MaxBuffer: maxAnswer}),
	)
}

// maxAnswer is how much of an answer is read.
const maxAnswer = 4 << 20

// A got is the answer to a request that is no inference.
type got struct {
	observation
	status int
	body   []byte
	err    error // of the request, or of reading the body
}

// get asks for what is free, with the endpoint's own key.
func (d *diagnosis) get(ctx context.Context, at *url.URL, limit time.Duration) got {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	e := d.endpoint
	base := *at
	base.Path = at.Path[:strings.LastIndexByte(at.Path, '/')] // what is asked for is the endpoint's, wherever it is
	e.URL = base.String()
	o := new(observer)
	answer := within(ctx, d.timeout/graceShare, got{err: context.DeadlineExceeded}, func() (g got) {
		var client http.RoundTripper = d.watch(o, d.base) // for an endpoint that breakwater refuses, without its key
		if t, err := d.client(e, o, d.base); err == nil {
			defer t.Close()
			client = t
		} else if !d.withheld {
			return got{err: err}
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
		if err != nil {
			return got{err: err}
		}
		req.Header.Set("Accept", "application/json")
		defer func() {
			if r := recover(); r != nil {
				g.err = fmt.Errorf("%w: %T", errPanicked, r)
			}
		}()
		resp, err := client.RoundTrip(req)
		if err != nil {
			return got{err: err}
		}
		defer resp.Body.Close()
		g.status = resp.StatusCode
		g.body, g.err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		return g
	})
	answer.observation = o.view()
	return answer
}

// graceShare is the part of the whole time that user code gets to leave when its time is over.
const graceShare = 50

// within returns what f returns, or late if ctx has ended a while ago: user code that does not heed
// its context is left alone.
func within[T any](ctx context.Context, grace time.Duration, late T, f func() T) T {
	came := make(chan T, 1)
	go func() { came <- f() }()
	select {
	case v := <-came:
		return v
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case v := <-came:
		return v
	case <-timer.C:
		return late
	}
}

// A cause is what a failure most likely comes from.
type cause struct {
	code Code
	args args
	err  error
}

// speaksHTTP2 reports whether the host agreed on HTTP/2.
func (d *diagnosis) speaksHTTP2() bool { return d.report.TLS != nil && d.report.TLS.Protocol == "h2" }

// connectionCause returns the cause of a request that got no response. waiting is the code if it
// was sent and nothing came in time.
func (d *diagnosis) connectionCause(ctx context.Context, o observation, err error, limit time.Duration, waiting Code) cause {
	if o.err != nil {
		err = o.err // what breakwater makes of it says less
	}
	c := cause{err: err, args: args{"limit": limit, "reason": "net/http", "name": d.target.Hostname(), "port": portOf(d.target), "addresses": []string{d.target.Host}}}
	var dns *net.DNSError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.Is(err, breakwater.ErrKeyFunc):
		c.code, c.args["reason"] = KeyFunctionFailed, term("failed")
	case !o.sent && ctx.Err() != nil && d.endpoint.KeyFunc != nil && d.endpoint.Rewrite == nil:
		c.code, c.args["reason"] = KeyFunctionFailed, term("timeout")
	case !o.sent && err != nil, errors.Is(err, errPanicked): // nothing else is above the base
		c.code = RewriteFailed
	case errors.As(err, &dns):
		c.code = codeOfDNS(dns)
		c.args["resolvers"] = phrase{"resolver says", args{"resolver": term("system"), "what": term(kindOfLookup(ctx, dns))}}
	case errors.As(err, &verification):
		code, more, _ := d.verify(d.tlsConfig(), tls.ConnectionState{PeerCertificates: verification.UnverifiedCertificates})
		c.code = cmp.Or(code, TLSUntrusted)
		maps.Copy(c.args, more)
	default:
		c.code = d.codeOfConnection(ctx, o, err, waiting)
	}
	if c.code == HeadersTooLarge {
		c.args["limit"] = "1 MiB"
	}
	if o.reused && d.report.HTTP != nil && (c.code == ConnectionReset || c.code == ConnectionClosed) {
		c.code = ReuseBroken
	}
	return c
}

// codeOfConnection returns the code of a connection that could not be made, or broke, or of a
// request that nothing came for.
func (d *diagnosis) codeOfConnection(ctx context.Context, o observation, err error, waiting Code) Code {
	var op *net.OpError
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case codeOfProtocol(text) != "":
		return codeOfProtocol(text)
	case isReset(err) && o.connected:
		return ConnectionReset
	case errors.As(err, &op) && op.Op == "dial":
		return tcpCodes[kindOfDial(err)]
	case ctx.Err() != nil || isTimeout(err):
		return d.codeOfSilence(o, waiting)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), saysAny(text, "EOF", "server closed"):
		return ConnectionClosed
	case o.tries > 1 && d.speaksHTTP2():
		return HTTP2RefusedStream
	}
	return ConnectionFailed
}

func codeOfDNS(err *net.DNSError) Code {
	switch {
	case err.IsNotFound:
		return DNSNoSuchHost
	case err.IsTimeout:
		return DNSSilent
	}
	return DNSFailed
}

// codeOfSilence returns the code of a request that nothing came for. waiting is the one if it was
// sent.
func (d *diagnosis) codeOfSilence(o observation, waiting Code) Code {
	switch {
	case !o.connected:
		return TCPSilent
	case o.tries > 1 && d.speaksHTTP2(): // net/http tries again what the host refuses so
		return HTTP2RefusedStream
	}
	return waiting
}

// protocolErrors are parts of the texts of net/http's errors, which have no types.
var protocolErrors = [...]struct {
	part string
	code Code
}{
	{"GOAWAY", HTTP2GoAway}, {"REFUSED_STREAM", HTTP2RefusedStream},
	{"response headers exceeded", HeadersTooLarge}, {"header list", HeadersTooLarge}, {"headers too large", HeadersTooLarge},
	{"malformed HTTP", HTTPMalformed}, {"HTTP response to HTTPS client", HTTPMalformed}, {"unsupported protocol version", HTTPMalformed},
	{"connection error: ", HTTP2Error}, {"stream error: ", HTTP2Error},
}

func codeOfProtocol(text string) Code {
	for _, p := range protocolErrors {
		if strings.Contains(text, p.part) {
			return p.code
		}
	}
	return ""
}
