package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/breakwater-go/breakwater"
)

// Headers that go on from a client to the first endpoint. Nothing else does: another header may
// hold a key of the client's, or of a gateway between. The Transport adds the endpoint's key.
var toHost = []string{
	"Accept", "Content-Type", "User-Agent", "Anthropic-Version", "Anthropic-Beta", "Openai-Beta", "Idempotency-Key", "Cache-Control",
	"Http-Referer", "X-Title", // OpenRouter's, for its lists of applications
}

// Headers of an answer that reach the client: those about the body, those that say when to come
// again, and the host's id of the request. Cookies, redirects and the limits of the operator's
// account do not.
var toClient = []string{
	"Content-Type", "Content-Length", "Content-Encoding", "Content-Language", "Cache-Control", "Date", "Expires", "Pragma", "Age", "Cache-Status",
	"Retry-After", "Retry-After-Ms", "X-Should-Retry", "Openai-Processing-Ms", "Openai-Version", "Request-Id", "X-Ds-Trace-Id", "Cf-Ray", "Eo-Log-Uuid",
	"Breakwater-Endpoint", "Breakwater-Attempts", "Breakwater-Outcome", "Breakwater-Error",
}

type exchangeKey struct{}

// exchangeOf returns the exchange that a request of the ReverseProxy belongs to.
func exchangeOf(r *http.Request) *exchange { return r.Context().Value(exchangeKey{}).(*exchange) }

// A forwarder sends calls on to the Transport, and their answers back.
type forwarder struct {
	reverse *httputil.ReverseProxy
	ending  context.Context // ends when calls have no more time
}

// newForwarder returns a forwarder over a transport.
func newForwarder(transport http.RoundTripper, ending context.Context) *forwarder {
	f := &forwarder{ending: ending}
	f.reverse = &httputil.ReverseProxy{
		Transport:      inner{transport},
		Rewrite:        rewrite,
		ModifyResponse: answered,
		ErrorHandler:   failed,
		BufferPool:     new(buffers),
		ErrorLog:       log.New(io.Discard, "", 0), // the access log says how each call ended
	}
	return f
}

// inner stands between the ReverseProxy and the Transport. It keeps from the client what a host sends
// beside an answer: informational responses, which the ReverseProxy would pass on by a trace in the context,
// and trailers.
type inner struct{ next http.RoundTripper }

// RoundTrip sends the request.
func (t inner) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req.WithContext(exchangeOf(req).ctx))
	if resp == nil {
		return nil, err
	}
	out := *resp // trailers come into resp, at the end of its body
	out.Request = req
	return &out, err
}

// forward sends a call to a URL at which the Transport takes it for one of its endpoints. It panics with
// http.ErrAbortHandler if the answer breaks off, so that net/http ends it uncleanly.
func (f *forwarder) forward(x *exchange, to string, body []byte) {
	u, err := url.Parse(to)
	if err != nil { // it came from a URL that the Transport has taken
		x.refuse(refusal{http.StatusInternalServerError, "internal", "the URL of an endpoint cannot be read", 0})
		return
	}
	x.to, x.body = u, body
	ctx := withPatience(x.r.Context(), patienceOf(x.r.Header))
	defer ctx.end()
	stop := context.AfterFunc(f.ending, func() { ctx.cancel(errShutdown) })
	defer stop()
	x.until = ctx
	c := x.client
	options := breakwater.Call{Tenant: c.tenant(), Priority: c.Priority, Endpoints: c.Endpoints}
	if c.Scope != "" {
		options.Scope = "clients of " + c.Scope
	}
	x.ctx = breakwater.WithCall(context.WithValue(ctx, exchangeKey{}, x), options)
	f.reverse.ServeHTTP(x.w, x.r.WithContext(x.ctx))
}

// rewrite makes a request of the proxy's own, which has nothing of the client's but its body and
// what is in toHost.
func rewrite(r *httputil.ProxyRequest) {
	x := exchangeOf(r.In)
	out := r.Out // without the headers that Connection names
	u := *x.to
	h := make(http.Header, len(toHost)+2)
	for _, names := range [][]string{toHost, x.settings.config.ForwardHeaders} {
		for _, name := range names {
			name = http.CanonicalHeaderKey(name)
			if v := out.Header[name]; len(v) > 0 {
				h[name] = v
			}
		}
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = nil // net/http shall add none
	}
	out.URL, out.Host, out.Header, out.Trailer, out.Method = &u, "", h, nil, http.MethodPost
	out.Body, out.ContentLength, out.TransferEncoding, out.GetBody = http.NoBody, int64(len(x.body)), nil, nil
	if len(x.body) > 0 {
		out.Body = &once{text: x.body}
	}
	x.body = nil
}

// once is a body in memory that is read once. The Transport keeps a copy, so this one is let go as soon as
// it was read, and not when a stream has ended.
type once struct{ text []byte }

// Read reads the body.
func (o *once) Read(p []byte) (int, error) {
	if len(o.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, o.text)
	if o.text = o.text[n:]; len(o.text) == 0 {
		o.text = nil
		return n, io.EOF
	}
	return n, nil
}

// Close lets the body go. Nobody reads it any more.
func (o *once) Close() error { return nil }

// answered prepares an answer for the client.
func answered(resp *http.Response) error {
	x := exchangeOf(resp.Request)
	x.until.lift()
	x.endpoint, x.outcome = resp.Header.Get("Breakwater-Endpoint"), resp.Header.Get("Breakwater-Outcome")
	if no := ownersFault(resp); no != nil {
		resp.Body.Close()
		body := x.route.wire.errorBody(*no)
		resp.StatusCode, resp.Body, resp.ContentLength, resp.Trailer = no.status, io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
		resp.Header = http.Header{
			"Content-Type": {"application/json"}, "Content-Length": {strconv.Itoa(len(body))}, "X-Should-Retry": {"false"},
			"Breakwater-Error": {no.code}, "Breakwater-Endpoint": {x.endpoint}, "Breakwater-Outcome": {x.outcome},
		}
	}
	if resp.StatusCode >= http.StatusBadRequest {
		resp.Body = x.settings.masked(resp.Body)
	}
	h := make(http.Header, len(toClient)+2)
	for _, name := range toClient {
		if v := resp.Header[name]; len(v) > 0 {
			h[name] = v
		}
	}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	if isEvents(h) {
		h["X-Accel-Buffering"] = []string{"no"}          // an nginx in front of the proxy shall not collect events
		resp.Body = &events{ReadCloser: resp.Body, x: x} // the ReverseProxy flushes each event
	} else {
		resp.ContentLength = 0 // with -1 it would flush each piece of JSON, too, and net/http could not count a short one
	}
	resp.Header, resp.Trailer = h, nil
	return nil
}

// ownersFault returns what to say in place of an answer that is about the operator's key or money
// and not about the client: it would send the client to look at its own token, and may quote a
// part of the key.
func ownersFault(resp *http.Response) *refusal {
	switch breakwater.Class(resp.Header.Get("Breakwater-Outcome")) {
	case breakwater.ClassKeyRejected:
		return &refusal{http.StatusBadGateway, "key_rejected", "the host has rejected the key of this proxy: whoever runs it has to mend that", 0}
	case breakwater.ClassNoFunds:
		return &refusal{http.StatusBadGateway, "no_funds", "the host says that the account of this proxy has no money: whoever runs it has to mend that", 0}
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return &refusal{http.StatusBadGateway, "key_rejected", "the host wants another key of this proxy: whoever runs it has to mend that", 0}
	}
	return nil
}

func isEvents(h http.Header) bool {
	return len(h["Content-Type"]) > 0 && strings.HasPrefix(strings.ToLower(h["Content-Type"][0]), "text/event-stream")
}

// failed answers a call without a response.
func failed(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r)
	switch cause := context.Cause(x.until); {
	case cause == errShutdown:
		x.refuse(refusal{http.StatusServiceUnavailable, "shutting_down", "the proxy is shutting down", 1})
	case x.r.Context().Err() != nil:
		x.left = true
		panic(http.ErrAbortHandler) // nobody is there to read an answer
	case errors.Is(err, context.DeadlineExceeded):
		x.refuse(refusal{http.StatusGatewayTimeout, "deadline", "no answer began within the time that the client waits", 0})
	default:
		x.refuse(refusal{http.StatusBadGateway, "unreachable", "no answer came", 0})
	}
}

// events is the body of a stream. If the proxy ends it, the client gets an event that says so
// before the error.
type events struct {
	io.ReadCloser
	x    *exchange
	tail [2]byte // the last bytes that were read
	last []byte  // what is left of the last event
	err  error   // comes behind it
}

// Read reads the stream.
func (e *events) Read(p []byte) (int, error) {
	if e.err == nil {
		n, err := e.ReadCloser.Read(p)
		for _, b := range p[max(0, n-2):n] {
			e.tail[0], e.tail[1] = e.tail[1], b
		}
		if err == nil || err == io.EOF || context.Cause(e.x.until) != errShutdown {
			return n, err
		}
		e.err, e.last = errShutdown, e.x.route.wire.errorEvent("shutting_down", "the proxy is shutting down")
		if e.tail != [2]byte{'\n', '\n'} { // it ends within an event
			e.last = append([]byte("\n\n"), e.last...)
		}
		return n, nil
	}
	if len(e.last) > 0 {
		n := copy(p, e.last)
		e.last = e.last[n:]
		return n, nil
	}
	return 0, e.err
}

// buffers is an httputil.BufferPool.
type buffers struct{ pool sync.Pool }

// Get returns a buffer of 8 KiB: events are small, and each open stream holds one.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 8<<10)
}

// Put takes it back.
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
