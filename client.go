package breakwater

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/balance"
	"github.com/breakwater-go/breakwater/internal/bounded"
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
	config    *config
	tiers     [][]*upstream
	endpoints int     // in all tiers
	keyless   bool    // one of several endpoints has no key of its own
	origins   origins // the endpoints, where none are given
	turn      atomic.Uint64

	outer http.RoundTripper // the user's middleware, then serve
	calls http.RoundTripper // cache, failover
	below http.RoundTripper // the user's attempt middleware, then the base

	cache       *cacheLayer // nil: none
	exchanges   exchange.Policy
	names       *request.Names
	failover    *failover
	limits      *limit.Table
	limitedBase bool // the base may keep an attempt waiting for a connection
	counts      counts

	background background
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
		config:    c,
		exchanges: c.stream.exchanges(),
		origins:   origins{bounded.Map[origin.Origin, *upstream]{Max: maxOrigins, WorthOf: (*upstream).worth}},
		names:     request.NewNames(),
		limits:    limit.NewTable(),
		failover:  newFailover(c),
	}
	t.limitedBase = limitsConnections(c.base)
	t.below = c.base
	if len(c.perAttempt) > 0 {
		t.below = Chain(RoundTripperFunc(t.markBase), c.perAttempt...)
	}
	for i, tier := range c.tiers {
		t.tiers = append(t.tiers, nil)
		for _, e := range tier {
			base, err := url.Parse(e.URL)
			if err != nil {
				return nil, fmt.Errorf("breakwater: endpoint %q: URL cannot be parsed", e.Name)
			}
			t.tiers[i] = append(t.tiers[i], t.newEndpoint(e, base, i))
			t.endpoints++
			t.keyless = t.keyless || !t.tiers[i][len(t.tiers[i])-1].keyed
		}
	}
	t.keyless = t.keyless && t.endpoints > 1
	t.calls = Chain(t.failover, newRescuer(c))
	if c.cache != nil {
		t.cache = newCacheLayer(*c.cache, c.retry, c.stream, t.calls, c.observers, t.background.Go)
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

// limitsConnections reports whether a base may have requests wait for a
// connection: what is not net/http's own may do as it likes.
func limitsConnections(base http.RoundTripper) bool {
	t, ok := base.(*http.Transport)
	return !ok || t.MaxConnsPerHost > 0
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

// newEndpoint puts an endpoint to work: its circuits, its limits, its pipeline.
func (t *Transport) newEndpoint(e Endpoint, base *url.URL, tier int) *upstream {
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
	if !c.isInference() {
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
	told := false
	defer func() {
		if !told && resp != nil { // an Observer panics: nothing may be held for good
			resp.Body.Close()
		}
	}()
	t.finished(c, resp, err, x != nil)
	told = true
	if resp != nil {
		c.settles(resp.Body)
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

// A wireError is an error of the base, below an attempt.
type wireError struct{ error }

func (e *wireError) Unwrap() error { return e.error }

// finished tells of a call that returns to its caller.
func (t *Transport) finished(c *call, resp *http.Response, err error, exhausted bool) {
	if exhausted || err != nil && c.Err() == nil {
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

// targetOf returns the endpoint whose API u asks, nil if it is none's. Where no
// endpoints are given, every origin asked for inference is one.
func (t *Transport) targetOf(u *url.URL, inference bool) *upstream {
	if u == nil || len(t.tiers) == 0 && !inference {
		return nil
	}
	asked, ok := origin.Of(u)
	if !ok {
		return nil
	}
	if len(t.tiers) == 0 {
		return t.origins.of(t, asked)
	}
	var best *upstream
	for _, tier := range t.tiers {
		for _, e := range tier {
			if e.origin == asked && e.paths.Cover(u.Path) && (best == nil || e.paths.Closer(&best.paths, u.Path)) {
				best = e
			}
		}
	}
	return best
}

// candidates appends the endpoints to consider for a call, best tier first,
// each tier turned by one from call to call so that its endpoints share the load.
func (t *Transport) candidates(all []*upstream, meant *upstream) []*upstream {
	if len(t.tiers) == 0 {
		return append(all, meant)
	}
	turn := int(t.turn.Add(1) % (1 << 30))
	all = slices.Grow(all, t.endpoints)
	for _, tier := range t.tiers {
		for i := range tier {
			all = append(all, tier[(turn+i)%len(tier)])
		}
	}
	return all
}

// origins are the endpoints of a Transport that was given none, one for each
// origin asked: a bounded number, since callers name them.
type origins struct {
	all bounded.Map[origin.Origin, *upstream]
}

const maxOrigins = 256

func (o *origins) of(t *Transport, at origin.Origin) *upstream {
	return o.all.GetOrAdd(at, func() *upstream {
		base := at.URL()
		name := base.String()
		e := t.newEndpoint(Endpoint{Name: base.Host, URL: name, Account: name, Host: hostOf(at.Host)}, base, 0)
		e.origins = o
		e.touch()
		return e
	})
}

// touch notes that an endpoint that a call's URL has made is in use.
func (e *upstream) touch() {
	if e.origins != nil {
		e.origins.all.Touch(&e.used)
	}
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
	t.background.close()
	t.CloseIdleConnections()
	return nil
}

// background is what a Transport does by itself, until it is closed.
type background struct {
	mu     sync.Mutex // guards what follows
	ended  bool
	ctx    context.Context // ends with it; nil: nothing was done yet
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// Go does a task, unless it is too late for that. The task ends soon after its
// context has.
func (b *background) Go(task func(context.Context)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return false
	}
	if b.ctx == nil {
		b.ctx, b.cancel = context.WithCancel(context.Background())
	}
	ctx := b.ctx
	b.tasks.Go(recovered(func() { task(ctx) }))
	return true
}

// recovered wraps do for a goroutine that has no caller: a panic in user code
// there, an Observer's or a body's, must not crash the process.
func recovered(do func()) func() {
	return func() {
		defer func() { _ = recover() }()
		do()
	}
}

func (b *background) close() {
	b.mu.Lock()
	b.ended = true
	if b.cancel != nil {
		b.cancel()
	}
	b.mu.Unlock()
	done := make(chan struct{})
	go func() {
		b.tasks.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(closeWait): // a task calls Close itself, or does not heed its context
	}
}

// closeWait bounds the wait of Close; a Store may take 250 ms.
const closeWait = time.Second
