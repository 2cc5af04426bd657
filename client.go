package breakwater

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/balance"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/pause"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/reqcancel"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/served"
	"github.com/breakwater-go/breakwater/internal/within"
)

// A Transport is an http.RoundTripper that keeps inference calls answered. Make one with
// [New] and use it for all calls of the program: circuits, pauses, limits and the cache
// are its state. It is safe for concurrent use.
//
// A Transport keeps the contract of [http.RoundTripper]: it does not change the caller's
// request, it closes the request's body on every path, and it returns either a response
// or an error. The caller must close the bodies of responses. A base transport must keep
// the contract, too. It may get headers and URLs that are shared with other requests, so
// it must not change them.
type Transport struct {
	config  *config
	ownBase bool // the base is none of the user's
	upstreams

	outer http.RoundTripper // the user's middleware, then serve
	calls http.RoundTripper // cache, failover
	below http.RoundTripper // the user's attempt middleware, then the base

	cache    *cacheLayer // nil: none
	names    *request.Names
	failover *failover
	limits   *limit.Table
	counters counters
	strays   strays

	background background.Group
}

// New returns a Transport with the options opts, applied in order. If some of them are
// wrong, it returns their errors, joined. Each error names its option, and none shows a
// key.
//
// Without endpoints, the Transport protects inference calls to any host, with the key of
// each request. Use it so if each call has a key of its own, such as the key of a tenant.
// With endpoints, it protects the calls that are meant for one of them, and any endpoint
// may answer these. The package comment says which calls are meant for an endpoint.
//
// Do not set Timeout of the http.Client that uses the Transport: it also ends answers that
// are arriving. Give the context of a call a deadline instead.
func New(opts ...Option) (*Transport, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	own := c.base == nil
	if own {
		c.base = newBase()
	}
	t := &Transport{
		ownBase:  own,
		config:   c,
		names:    request.NewNames(),
		limits:   limit.NewTable(),
		failover: &failover{newFleet(c)},
	}
	t.counters.observers, t.counters.currency = c.observers, c.currency
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

// NewClient returns an http.Client whose Transport is a new [*Transport], made by [New]
// with opts. It has no Timeout. To reach the methods Status and Close, use
//
//	transport := client.Transport.(*breakwater.Transport)
func NewClient(opts ...Option) (*http.Client, error) {
	t, err := New(opts...)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: t}, nil
}

// butForLoopback returns proxy without a proxy for this machine, under any of its
// names: keys may go there over plain http. Go itself exempts only some names.
func butForLoopback(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(req *http.Request) (*url.URL, error) {
		if origin.IsLoopback(req.URL.Hostname()) {
			return nil, nil
		}
		return proxy(req)
	}
}

// newBase returns the default base transport.
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
		// A queued stream may be silent for minutes. Pings detect a dead connection.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// connectionsTo returns breakwater's own base towards an origin, or nil if the base is the
// user's. An origin that callers name shares a base with others until it fails: there may be
// many of them.
func (t *Transport) connectionsTo(at origin.Origin) *connections {
	if !t.ownBase {
		return nil
	}
	for _, tier := range t.tiers {
		for _, u := range tier {
			if u.origin == at {
				return u.connections
			}
		}
	}
	c := &connections{shared: t.config.base.(*http.Transport)}
	if len(t.config.tiers) > 0 {
		c.renew()
	}
	return c
}

// belowFor returns what an endpoint with these connections sends its attempts through.
func (t *Transport) belowFor(c *connections) http.RoundTripper {
	if c == nil || len(t.config.perAttempt) > 0 {
		return t.below
	}
	return c
}

// newUpstream returns an upstream for e, with its circuits, limits and layers.
func (t *Transport) newUpstream(e Endpoint, base *url.URL, tier int) *upstream {
	at, _ := origin.Of(base)
	conns := t.connectionsTo(at)
	circuits := newCircuits(t.config, e.Name, conns, t.config.observers.emit)
	profile := e.Host.profile()
	limits := newLimits(t.limits, e, t.config.rate)
	u := &upstream{
		Endpoint:    e,
		Target:      balance.Target{Seed: balance.SeedOf(e.Account + "\x00" + e.URL)},
		tier:        tier,
		base:        base,
		origin:      at,
		profile:     profile,
		paths:       host.PathsOf(profile, base),
		names:       host.NamesOf(profile, e.Models),
		place:       within.Place{Name: e.Name, Region: e.Region, Tags: e.Tags},
		can:         profile.Offers,
		keyed:       e.APIKey != "" || header.HasCredential(e.Header),
		circuits:    circuits,
		limits:      limits,
		budget:      t.failover.budgetOf(e.Account),
		served:      served.NewTable(),
		rates:       ratesOf(e),
		connections: conns,
		pipeline:    Chain(t.belowFor(conns), newRateLimiter(limits), newBreaker(circuits), newGate(&t.counters.attempts, t.failover.pauses, t.config.observers)),
	}
	for _, f := range e.Can {
		u.can |= needsOf(f)
	}
	if e.Models == nil {
		u.names = host.NamesByURL(profile, base.Hostname())
	}
	u.alone = [1]*upstream{u}
	return u
}

// RoundTrip implements [http.RoundTripper]. It protects inference calls. A GET or HEAD that is
// meant for an endpoint, such as one of /models, is tried again there, and never elsewhere.
// Every other request is sent once. Both get the key, Header and Rewrite of the endpoint that
// they are meant for; a request that is meant for none is not changed. The package comment
// says which calls are protected, and what the caller gets if no endpoint answers.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	//lint:ignore SA1019 see reqcancel
	if req.Cancel == nil {
		return t.outer.RoundTrip(req)
	}
	req, done := reqcancel.Bridge(req)
	returned := false
	defer func() {
		if !returned { // user code panicked
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

// isInMemory reports whether a body is held in memory, so that nothing is left open
// if the caller neither reads nor closes it.
func isInMemory(body io.Reader) bool {
	kind := exchange.KindOf(body)
	return kind == exchange.KindWhole || kind == exchange.KindMemory || reqbody.InMemory(body)
}

// serve sends inference calls through the cache and the failover, safe requests to an
// endpoint through the failover, and every other request once to the base.
func (t *Transport) serve(req *http.Request) (*http.Response, error) {
	req = withASCIIHost(req)
	op, target, protected := t.meantFor(req)
	if !protected {
		return t.passThrough(req, target)
	}
	c, err := t.newCall(req, op, target)
	if err != nil {
		return nil, err
	}
	if !t.isCertain(c) {
		return t.passThrough(c.restored(req), target)
	}
	target.noteRoot(op, req.URL.Path)
	t.counters.calls.Add(1)
	c.counters, c.info = &t.counters, t.counters.observers.newInfo(string(op), c.params.Stream)
	concluded := false
	defer func() {
		if !concluded { // user code panicked
			c.how = endingOf(Outcome(ClassRewrite))
			t.counters.ends[c.how].Add(1)
		}
	}()
	if c.upload != nil {
		sends := false
		defer func() {
			if !sends { // an Observer panicked
				c.upload.Close()
			}
		}()
		t.config.observers.emit(c, Event{Kind: KindUnbuffered, Endpoint: target.Name, Bytes: max(req.ContentLength, 0)})
		sends = true
	}
	resp, err := t.layersOf(c).RoundTrip(c.req)
	x := asExhausted(err)
	if x != nil {
		resp, err = x.result()
	}
	if x != nil && resp == nil || resp != nil && resp.Header[header.Error] != nil {
		if ended := exchange.EndOf(c); ended != nil { // the caller's own end goes before a response of ours
			resp, err, x = nil, ended, nil
		}
	}
	reported := false
	defer func() {
		if !reported && resp != nil { // an Observer panicked: release what the response holds
			resp.Body.Close()
		}
	}()
	concluded = true
	c.conclude(resp, err, x != nil)
	reported = true
	if resp != nil {
		c.releaseRequest(resp.Body, t.cache != nil)
	}
	return resp, err
}

// withASCIIHost returns req with the host of its URL in ASCII, the form that
// net/http dials. So the host that is compared with endpoints is the host that is
// dialed. It returns req itself if the host is in ASCII or has no such form.
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
	base := t.config.base
	if a.endpoint.connections != nil {
		base = a.endpoint.connections
	}
	sent, req, err := a.trackSend(req)
	if err != nil {
		return nil, err
	}
	resp, err := base.RoundTrip(req)
	sent.finish(resp)
	if resp != nil && (resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusPaymentRequired || resp.StatusCode == http.StatusForbidden) {
		a.noteSigned(req)
	}
	if err != nil {
		err = &baseError{err}
	}
	return resp, err
}

// meantFor returns the endpoint that a request is meant for, nil if it is meant for none, and
// whether the request is protected: it is inference, perhaps, or a safe request to an
// endpoint.
func (t *Transport) meantFor(req *http.Request) (op request.Operation, target *upstream, protected bool) {
	op, inference := request.OperationOf(req)
	target = t.targetOf(req.URL, inference)
	safe := !inference && request.IsSafe(req)
	if safe && target == nil {
		target = t.askedBefore(req.URL)
	}
	return op, target, target != nil && (inference || safe)
}

// layersOf returns the layers that the call goes through. Answers to safe requests are
// neither kept nor shared, and nothing continues them. A call that may go nowhere is refused.
func (t *Transport) layersOf(c *call) http.RoundTripper {
	switch {
	case len(c.candidates) == 0:
		return RoundTripperFunc(func(*http.Request) (*http.Response, error) { return t.failover.refuse(c, &t.upstreams) })
	case c.isSafe():
		return t.failover
	}
	return t.calls
}

// isCertain reports whether the call is certainly inference, or a safe request to an
// endpoint. If the endpoint was given or its host is known, the path is enough. Elsewhere
// other APIs may have the same paths, so the body must name a model, too, except for chats.
func (t *Transport) isCertain(c *call) bool {
	return c.isSafe() || c.op == request.Chat || len(t.tiers) > 0 || !c.target.profile.Generic || c.params.Model != ""
}

// passThrough sends a request that is neither inference nor safe once. If it is meant for an
// endpoint, it gets that endpoint's key, Header and Rewrite.
func (t *Transport) passThrough(req *http.Request, target *upstream) (*http.Response, error) {
	sends := false
	defer func() {
		if !sends && req.Body != nil { // it is refused, or an Observer panicked
			reqbody.Close(req.Context(), req.Body)
		}
	}()
	if err := t.notePassed(req, target); err != nil {
		return nil, err
	}
	sends = true
	if target == nil {
		return t.below.RoundTrip(req)
	}
	if target.keyed || len(target.Header) > 0 || target.Rewrite != nil {
		req = req.Clone(req.Context())
		if req.Header == nil {
			req.Header = make(http.Header)
		}
		target.authorize(req, "")
	}
	if target.Rewrite != nil {
		if err := target.Rewrite(req); err != nil {
			if req.Body != nil {
				req.Body.Close()
			}
			return nil, err
		}
	}
	resp, err := t.belowFor(target.connections).RoundTrip(req)
	if err == nil && resp != nil {
		header.RemoveOwn(resp.Header)
	}
	return resp, err
}

// notePassed counts a request that is sent without protection, and emits its event. It
// returns an error if the request must not be sent.
func (t *Transport) notePassed(req *http.Request, target *upstream) error {
	if o := callOptions(req.Context()); !t.upstreams.allows(target, o.bounds) {
		return &Error{Class: ClassUnserved, why: t.upstreams.whyNowhere(request.None, o, target)}
	}
	var stray error
	if target == nil && len(t.tiers) > 0 && req.URL != nil {
		at, _ := origin.Of(req.URL)
		switch {
		case t.config.strict:
			return outcome.Stray(t.upstreams.nearest(at))
		case len(t.config.observers) > 0 && looksLikeInference(req) && t.strays.isNew(at):
			stray = outcome.Stray(t.upstreams.nearest(at))
		}
	}
	t.counters.passed.Add(1)
	e := Event{Kind: KindPassed, Err: stray}
	if target != nil {
		e.Endpoint = target.Name
	}
	t.config.observers.emit(req.Context(), e)
	return nil
}

// looksLikeInference reports whether a request is inference, or a misspelt one.
func looksLikeInference(req *http.Request) bool {
	if _, ok := request.OperationOf(req); ok {
		return true
	}
	if req.Method != http.MethodPost {
		return false
	}
	switch path.Base(req.URL.Path) {
	case "chat", "completion", "completions", "response", "responses", "message", "messages", "embedding", "embeddings":
		return true
	}
	return false
}

// strays are the origins of which was told that requests go there without protection.
type strays struct {
	mu   sync.Mutex // guards told
	told map[origin.Origin]bool
}

// isNew reports whether an origin was not told yet. It remembers up to maxOrigins and tells
// of no more, because callers choose them.
func (s *strays) isNew(at origin.Origin) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told[at] || len(s.told) >= maxOrigins {
		return false
	}
	if s.told == nil {
		s.told = make(map[origin.Origin]bool)
	}
	s.told[at] = true
	return true
}

// CloseIdleConnections closes the idle connections of the base transport, also of one that
// was given by [WithBase]. http.Client.CloseIdleConnections calls it.
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.config.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
	for _, u := range t.upstreams.all() {
		if u.connections != nil {
			u.connections.closeIdle()
		}
	}
}

// Close stops background work: it cancels the cache's renewals, waits up to a second for
// writes to a Store, and closes the idle connections of the base, unless the base was given
// by [WithBase]: others may use that. It always returns nil. Call it at the end of the
// program or of a test.
//
// Close does not end calls. Calls that are under way and new calls still work, but they
// start no renewals and write nothing to a Store.
func (t *Transport) Close() error {
	t.background.Close()
	if t.ownBase {
		t.CloseIdleConnections()
	}
	return nil
}

// Status returns a snapshot of the Transport: its counts since New, and the state of each
// endpoint and of the cache. It is fast enough for a health page or for metrics that are
// read every few seconds. If no endpoints were given, the snapshot has one for each host
// that was called, up to 256.
func (t *Transport) Status() Status {
	n := &t.counters
	s := Status{Outcomes: n.outcomes(), Calls: n.calls.Load(), Failed: n.failed.Load(), Passed: n.passed.Load(), Attempts: n.attempts.Load()}
	now := time.Now()
	pauses := t.failover.pauses.List(now)
	for _, e := range t.upstreams.all() {
		es := EndpointStatus{Name: e.Name, URL: e.URL, Tags: slices.Clone(e.Tags), Region: e.Region, Tier: e.tier}
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

// Ready returns nil if some endpoint could take a call now, of any tier, or when no endpoints
// were given. Otherwise it returns an [*Error] that has, for each endpoint, why it could not,
// and in RetryAfter when the first of them may. It asks no host: it looks at circuits and
// pauses. An endpoint is out of the question while it or its account is paused, or while each
// model that it was called for is paused or has an open circuit. One whose circuit may be
// probed is ready, because only a call can close that. So is one at a limit of RatePolicy,
// because calls wait for that.
//
// Use it for a readiness probe only where other instances could answer instead. If all
// instances use the same hosts, an outage takes all of them out of service, and nobody gets
// stale answers or errors that say what is wrong.
func (t *Transport) Ready() error {
	if len(t.tiers) == 0 {
		return nil
	}
	now := time.Now()
	pauses := t.failover.pauses.List(now)
	failure := &Error{Class: ClassUnserved}
	var reasons []string
	var soonest time.Time
	for _, tier := range t.tiers {
		for _, u := range tier {
			a, until := u.unready(pauses, now)
			if a.PassedOver == "" {
				return nil
			}
			failure.Attempts = append(failure.Attempts, a)
			reasons = append(reasons, fmt.Sprintf("%s: %s", a.Endpoint, a.Class))
			if soonest.IsZero() || until.Before(soonest) {
				soonest, failure.Class = until, a.Class
			}
		}
	}
	failure.RetryAfter = soonest.Sub(now)
	failure.why = "no endpoint is ready: " + strings.Join(reasons, "; ")
	return failure
}

// unready returns why the endpoint could take no call now, and until when. PassedOver is
// empty if it could.
func (u *upstream) unready(pauses map[pauseKey]pause.Pause[refusal], now time.Time) (a Attempt, until time.Time) {
	a = Attempt{Endpoint: u.Name, Start: now, Class: ClassPaused, Verdict: VerdictStop, Err: outcome.ErrPaused}
	models := make(map[string]time.Time) // until when they are paused
	for key, p := range pauses {
		switch {
		case key.credential != (header.Credential{}), key.endpoint != u.Name && key.account != u.Account:
		case key.model != "":
			models[key.model] = p.Until
		case p.Until.After(until):
			until, a.PassedOver = p.Until, ReasonQuarantine
			if p.Asked.After(now) {
				a.PassedOver = ReasonPaused
			}
		}
	}
	if a.PassedOver != "" {
		return a, until
	}
	for _, c := range u.circuits.Status(now) {
		if c.Model == otherRequests {
			continue
		}
		paused := models[c.Model]
		free := c.Until
		if paused.After(free) {
			free = paused
		}
		switch {
		case !free.After(now):
			return Attempt{}, now
		case !until.IsZero() && !free.Before(until):
		case free == paused:
			until, a.PassedOver, a.Class, a.Err = free, ReasonPaused, ClassPaused, outcome.ErrPaused
		default:
			until, a.PassedOver, a.Class, a.Err = free, ReasonCircuit, ClassCircuitOpen, ErrCircuitOpen
		}
	}
	return a, until
}

// newCall reads the request's body, unless it is larger than MaxReplay, and parses
// what breakwater needs of it. A safe request, whose operation is None, has none.
func (t *Transport) newCall(req *http.Request, op request.Operation, target *upstream) (*call, error) {
	if ctx := req.Context(); ctx.Err() != nil {
		if req.Body != nil {
			reqbody.Close(ctx, req.Body)
		}
		return nil, context.Cause(ctx)
	}
	c := &call{Context: req.Context(), Call: callOptions(req.Context()), op: op, target: target, start: time.Now()}
	c.log = &c.ownLog
	if c.Trail != nil { // the Trail outlives the call, so its log is no part of it
		c.log = c.Trail.begin()
	}
	c.nested = callOf(req.Context()) != nil
	c.ownReq = *req.WithContext(c)
	c.req = &c.ownReq
	if t.keyless { // pauses are per caller then, and clocks on other goroutines look at them
		c.credential()
	}
	if op == request.None {
		if t.upstreams.allows(target, c.bounds) {
			c.candidates = target.alone[:]
		}
		return c, nil
	}
	c.candidates = t.candidatesFor(target, c.Endpoint, c.bounds)
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
	c.measure()
	return c, nil
}
