package breakwater

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/balance"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/reqcancel"
	"github.com/breakwater-go/breakwater/internal/request"
)

// A Transport is an http.RoundTripper that keeps inference calls answered. It
// is made by New and safe for concurrent use.
type Transport struct {
	config *config
	upstreams

	outer http.RoundTripper // the user's middleware, then serve
	calls http.RoundTripper // cache, failover
	below http.RoundTripper // the user's attempt middleware, then the base

	cache    *cacheLayer // nil: none
	names    *request.Names
	failover *failover
	limits   *limit.Table
	counts   counts

	background background.Group
}

// New returns a Transport set up by opts. It validates them all and joins
// their errors, each naming its option.
//
// Without endpoints it protects the inference calls to whatever origin each
// request names, with the caller's own credential. With endpoints, calls meant
// for one of them are served by whichever can.
func New(opts ...Option) (*Transport, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	if c.base == nil {
		c.base = newBase()
	}
	t := &Transport{
		config:   c,
		names:    request.NewNames(),
		limits:   limit.NewTable(),
		failover: &failover{newFleet(c)},
	}
	t.below = c.base
	if len(c.perAttempt) > 0 {
		t.below = Chain(RoundTripperFunc(t.markBase), c.perAttempt...)
	}
	t.upstreams.make = t.newUpstream
	if err := t.upstreams.add(c.tiers); err != nil {
		return nil, err
	}
	t.calls = Chain(t.failover, newRescuer(c))
	if c.cache != nil {
		t.cache = newCacheLayer(c, t.calls, t.background.Go)
		t.calls = t.cache
	}
	t.outer = Chain(RoundTripperFunc(t.serve), c.perCall...)
	return t, nil
}

// NewClient returns an http.Client on a Transport of its own.
func NewClient(opts ...Option) (*http.Client, error) {
	t, err := New(opts...)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: t}, nil
}

// butForLoopback is a choice of proxies that spares this machine by all of its
// names: keys go there over plain http. Go's own spares it by some.
func butForLoopback(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(req *http.Request) (*url.URL, error) {
		if origin.IsLoopback(req.URL.Hostname()) {
			return nil, nil
		}
		return proxy(req)
	}
}

// newBase is the transport used where none is given.
func newBase() *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 butForLoopback(http.ProxyFromEnvironment),
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          1024,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		// A server's headers are as hostile as its bodies; the standard bound is 10 MiB.
		MaxResponseHeaderBytes: 1 << 20,
		// Queued streams are silent for long: pings tell a dead connection from a slow host.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// newUpstream puts an endpoint to work: its circuits, its limits, its pipeline.
func (t *Transport) newUpstream(e Endpoint, base *url.URL, tier int) *upstream {
	at, _ := origin.Of(base)
	circuits := newCircuits(t.config, e.Name, t.config.observers.emit)
	profile := e.Host.profile()
	limits := newLimits(t.limits, e, t.config.rate)
	return &upstream{
		Endpoint: e,
		Target:   balance.Target{Seed: balance.SeedOf(e.Account + "\x00" + e.URL)},
		tier:     tier,
		base:     base,
		origin:   at,
		profile:  profile,
		paths:    host.PathsOf(profile, base),
		names:    host.NamesOf(profile, e.Models),
		keyed:    e.APIKey != "" || header.HasCredential(e.Header),
		circuits: circuits,
		limits:   limits,
		pipeline: Chain(t.below, newRateLimiter(limits), newBreaker(circuits), newGate(&t.counts.attempts, t.failover.pauses, t.config.observers)),
	}
}

// RoundTrip answers one call. Inference is judged, tried again and failed
// over; all else goes through once, as it is.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	//lint:ignore SA1019 see reqcancel
	if req.Cancel == nil {
		return t.outer.RoundTrip(req)
	}
	req, done := reqcancel.Bridge(req)
	returned := false
	defer func() {
		if !returned { // the user's code panics
			done()
		}
	}()
	resp, err := t.outer.RoundTrip(req)
	if returned = true; resp == nil || resp.Body == nil || isInMemory(resp.Body) {
		done()
	} else {
		reqcancel.AtEnd(resp, done)
	}
	return resp, err
}

// isInMemory reports whether a body is all there, so that it need not be read to
// its end, nor closed.
func isInMemory(body io.Reader) bool {
	kind := exchange.KindOf(body)
	return kind == exchange.KindWhole || kind == exchange.KindMemory || reqbody.InMemory(body)
}

// serve tells inference from the rest.
func (t *Transport) serve(req *http.Request) (*http.Response, error) {
	req = withASCIIHost(req)
	op, inference := request.OperationOf(req)
	meant := t.targetOf(req.URL, inference)
	if !inference || meant == nil {
		return t.passThrough(req, meant)
	}
	c, err := t.newCall(req, op, meant)
	if err != nil {
		return nil, err
	}
	if !t.isInference(c) {
		return t.passThrough(c.restored(req), meant)
	}
	t.counts.calls.Add(1)
	if c.upload != nil {
		sends := false
		defer func() {
			if !sends { // an Observer panics
				c.upload.Close()
			}
		}()
		t.config.observers.emit(c, Event{Kind: KindUnbuffered, Endpoint: meant.Name, Bytes: max(req.ContentLength, 0)})
		sends = true
	}
	resp, err := t.calls.RoundTrip(c.req)
	x := asExhausted(err)
	if x != nil {
		resp, err = x.result()
	}
	if x != nil && resp == nil || ErrorOf(resp) != nil {
		if ended := exchange.EndOf(c); ended != nil { // too late for an answer of our own
			resp, err, x = nil, ended, nil
		}
	}
	told := false
	defer func() {
		if !told && resp != nil { // an Observer panics: nothing may be held for good
			resp.Body.Close()
		}
	}()
	t.finished(c, resp, err, x != nil)
	told = true
	if resp != nil {
		c.settles(resp.Body, t.cache != nil)
	}
	return resp, err
}

// withASCIIHost returns a request for the server that net/http would dial for
// req, by a name in ASCII: whatever is compared from here on is what is dialed.
// It returns req itself if the name is in ASCII, or has no such form: then it is
// no endpoint's.
func withASCIIHost(req *http.Request) *http.Request {
	if req.URL == nil {
		return req
	}
	u := origin.InASCII(req.URL)
	if u == req.URL {
		return req
	}
	req = req.WithContext(req.Context())
	req.URL = u
	return req
}

// markBase marks errors of the base transport, so that errors of user middleware
// are not taken for network failures.
func (t *Transport) markBase(req *http.Request) (*http.Response, error) {
	a := attemptOf(req.Context())
	if a == nil {
		return t.config.base.RoundTrip(req)
	}
	sending, req, err := a.goesDown(req)
	if err != nil {
		return nil, err
	}
	resp, err := t.config.base.RoundTrip(req)
	sending.ended(resp)
	if err != nil {
		err = &wireError{err}
	}
	return resp, err
}

// isInference reports whether the call is one for sure. Its path says so where
// the endpoint was given or its host is known; elsewhere, paths like these may
// belong to anybody, and the body has to name a model.
func (t *Transport) isInference(c *call) bool {
	return c.op == request.Chat || len(t.tiers) > 0 || !c.target.profile.Generic || c.params.Model != ""
}

// finished tells of a call that returns to its caller.
func (t *Transport) finished(c *call, resp *http.Response, err error, exhausted bool) {
	if exhausted || err != nil && exchange.EndOf(c) == nil {
		t.counts.failed.Add(1)
	}
	if len(t.config.observers) == 0 {
		return
	}
	sent, class := c.log.sum()
	e := Event{Kind: KindCall, Attempt: sent, Class: class, Elapsed: time.Since(c.start), Err: err}
	if resp != nil {
		e.Status, e.Endpoint = resp.StatusCode, header.First(resp.Header, header.Endpoint)
	}
	t.config.observers.emit(c, e)
}

// passThrough sends what is no inference once: to the endpoint it was meant
// for, with that endpoint's key, or, if it is none's, untouched.
func (t *Transport) passThrough(req *http.Request, meant *upstream) (*http.Response, error) {
	if meant == nil || !meant.keyed && len(meant.Header) == 0 && meant.Rewrite == nil {
		return t.below.RoundTrip(req)
	}
	req = req.Clone(req.Context())
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	meant.authorize(req, "")
	if meant.Rewrite != nil {
		if err := meant.Rewrite(req); err != nil {
			if req.Body != nil {
				req.Body.Close()
			}
			return nil, err
		}
	}
	return t.below.RoundTrip(req)
}

// CloseIdleConnections closes the base's idle connections, as
// http.Client.CloseIdleConnections asks.
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.config.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// Close ends what the Transport does by itself, waits up to a second until what
// is being written to a Store is written, and closes idle connections. Calls
// under way go on.
func (t *Transport) Close() error {
	t.background.Close()
	t.CloseIdleConnections()
	return nil
}

// Status returns a snapshot.
func (t *Transport) Status() Status {
	s := Status{Calls: t.counts.calls.Load(), Failed: t.counts.failed.Load(), Attempts: t.counts.attempts.Load()}
	now := time.Now()
	pauses := t.failover.pauses.List(now)
	for _, e := range t.upstreams.all() {
		es := EndpointStatus{Name: e.Name, URL: e.URL, Tier: e.tier}
		for _, c := range e.circuits.Status(now) {
			es.Circuits = append(es.Circuits, CircuitStatus(c))
		}
		for _, l := range e.limits.Status() {
			es.Limits = append(es.Limits, LimitStatus(l))
		}
		for key, p := range pauses {
			if key.endpoint == e.Name || key.account == e.Account {
				es.Pauses = append(es.Pauses, PauseStatus{Model: key.model, Until: p.Until})
			}
		}
		s.Endpoints = append(s.Endpoints, es)
	}
	if t.cache != nil {
		s.Cache = t.cache.status()
	}
	return s
}

// newCall reads the request's body, whole if it may be kept, and looks into it.
func (t *Transport) newCall(req *http.Request, op request.Operation, meant *upstream) (*call, error) {
	if ctx := req.Context(); ctx.Err() != nil { // it is over before it has begun
		if req.Body != nil {
			reqbody.Close(ctx, req.Body)
		}
		return nil, context.Cause(ctx)
	}
	c := &call{Context: req.Context(), Call: callOptions(req.Context()), op: op, target: meant, start: time.Now()}
	c.log = &c.own
	if c.Trail != nil { // which outlives the call
		c.log = c.Trail.begin()
	}
	c.candidates = t.candidatesFor(c.single[:0], meant)
	c.nested = callOf(req.Context()) != nil
	c.req = req.WithContext(c)
	if t.keyless { // clocks look at pauses, which are by caller there
		c.credential()
	}
	var err error
	if c.buffer, c.upload, err = reqbody.Take(c, req, t.config.retry.MaxReplay); err != nil {
		return nil, err
	}
	c.encoded = len(req.Header["Content-Encoding"]) > 0
	if t.cache != nil && t.cache.findExact(c) {
		return c, nil
	}
	c.params = request.Parse(c.body())
	c.params.Model = t.names.Intern(c.params.Model)
	if meant.profile.PrefixRoot != "" && strings.HasPrefix(req.URL.Path, meant.profile.PrefixRoot+"/") {
		c.params.PrefixCompletion = request.PrefixCompletion(c.body())
	}
	return c, nil
}
