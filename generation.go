package breakwater

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/balance"
	"github.com/breakwater-go/breakwater/internal/budget"
	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/keysource"
	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/pause"
	"github.com/breakwater-go/breakwater/internal/price"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/served"
	"github.com/breakwater-go/breakwater/internal/shift"
	"github.com/breakwater-go/breakwater/internal/tenant"
	"github.com/breakwater-go/breakwater/internal/within"
)

// A generation is what the options of New, or of one Update, made: policies, endpoints and
// layers. A call ends with the generation that it began with.
type generation struct {
	*lasting
	config  *config
	ownBase bool // the base is none of the user's
	upstreams

	outer http.RoundTripper // the user's middleware, then serve
	calls http.RoundTripper // cache, failover
	below http.RoundTripper // the user's attempt middleware, then the base

	cache    *cacheLayer // nil: none
	failover *failover
	counters counters
	replaced chan struct{} // closed when another generation takes its place
}

// lasting is what all generations of a Transport share.
type lasting struct {
	names      *request.Names
	limits     *limit.Table
	pauses     *pause.Table[pauseKey, refusal]
	tenants    *tenant.Table
	counts     counts
	strays     strays
	background background.Group
	keyFuncs   *keysource.Closer
	emit       func(context.Context, Event) // tells the observers of the current generation

	mu      sync.Mutex   // guards what follows
	retired []idleCloser // connections of endpoints that were removed: calls may have them yet
}

// An idleCloser has connections that may be idle.
type idleCloser interface{ CloseIdleConnections() }

func newLasting() lasting {
	return lasting{
		names: request.NewNames(), limits: limit.NewTable(), pauses: pause.New[pauseKey]((*refusal).size),
		keyFuncs: keysource.NewCloser(), tenants: tenant.NewTable(),
	}
}

// newGeneration returns a generation by the options in c, without endpoints and layers yet:
// see build. It calls the user's middlewares.
func newGeneration(l *lasting, c *config) *generation {
	g := &generation{lasting: l, config: c, ownBase: c.base == nil, counters: counters{&l.counts, c.currency, c.observers}, replaced: make(chan struct{})}
	g.below = RoundTripperFunc(func(req *http.Request) (*http.Response, error) { return g.config.base.RoundTrip(req) })
	if len(c.perAttempt) > 0 {
		g.below = Chain(RoundTripperFunc(g.markBase), c.perAttempt...)
	}
	g.outer = Chain(RoundTripperFunc(g.serve), c.perCall...)
	return g
}

// build makes the endpoints and the layers. What is the same as in the generation before
// keeps its state; nil: there is none before. It changes nothing that the generation before
// uses.
func (g *generation) build(before *generation) error {
	c := g.config
	switch {
	case !g.ownBase:
	case before != nil && before.ownBase:
		c.base = before.config.base
	default:
		c.base = newBase()
	}
	if len(c.perAttempt) == 0 {
		g.below = c.base
	}
	g.failover = &failover{newFleet(c, g.pauses)}
	if before != nil {
		g.failover.keep(before.failover.fleet, c)
		g.failover.spending = newSpending(c, before.failover.spending)
	} else {
		g.failover.spending = newSpending(c, nil)
	}
	payers := payersOf(c.tiers)
	g.upstreams.make = func(e Endpoint, base *url.URL, tier int) *upstream {
		return g.newUpstream(e, base, tier, payers[e.Account], g.inherit(before, e))
	}
	if err := g.upstreams.add(c.tiers); err != nil {
		return err
	}
	if before != nil {
		g.upstreams.addOrigins(&before.upstreams)
		g.upstreams.noteFormer(&before.upstreams)
	}
	g.upstreams.make = func(e Endpoint, base *url.URL, tier int) *upstream {
		return g.newUpstream(e, base, tier, "", inherited{})
	}
	g.calls = Chain(g.failover, newRescuer(c), newTenants(c, g.tenants))
	if c.cache != nil || c.repeats != nil {
		g.cache = newCacheLayer(c, g.calls, g.background.Go, g.emit)
		if before != nil && before.cache != nil {
			g.cache.keep(before.cache)
		}
		g.calls = g.cache
	}
	return nil
}

// replace notes that calls use the generation from now on, instead of the one before.
func (g *generation) replace(before *generation) {
	close(before.replaced)
	accounts := make(map[string]*limit.Limits)
	for _, u := range g.all() {
		accounts[u.Account] = u.limits
		u.SetWeight(u.Weight)
		old := before.find(u.Endpoint)
		if old != nil && old.identity == u.identity && u.keys != nil { // functions cannot be compared: this one may give another key
			g.pauses.Recover(pauseKey{endpoint: u.identity}, time.Now())
		}
	}
	g.limits.Follow(accounts)
	if g.cache != nil {
		g.cache.setBounds()
	}
	g.limitTenants()
	g.retire(before)
}

// maxRetired bounds the connections that are kept in mind after their endpoint was removed.
// Those that are forgotten end by themselves when they are idle for a while.
const maxRetired = 64

// retire notes the connections of what the generation before had and g has not, and closes
// what is idle of all that was noted. What is in use is idle later: then the next Update,
// CloseIdleConnections or Close closes it.
func (g *generation) retire(before *generation) {
	left := before.leftBy(g)
	g.mu.Lock()
	all := slices.Concat(g.retired, left)
	g.retired = slices.Clone(all[max(len(all)-maxRetired, 0):])
	g.mu.Unlock()
	for _, c := range all {
		c.CloseIdleConnections()
	}
}

// leftBy returns the connections of breakwater's own that g has and the next generation does
// not use.
func (g *generation) leftBy(next *generation) (left []idleCloser) {
	if !g.ownBase {
		return nil
	}
	inUse := make(map[*connections]bool)
	for _, u := range next.all() {
		inUse[u.connections] = true
	}
	for _, u := range g.all() {
		if !inUse[u.connections] {
			left = append(left, u.connections)
		}
	}
	if !next.ownBase {
		left = append(left, g.config.base.(*http.Transport))
	}
	return left
}

// closeIdle closes the idle connections of the base, of the endpoints, and of those that
// were removed.
func (g *generation) closeIdle() {
	if base, ok := g.config.base.(idleCloser); ok {
		base.CloseIdleConnections()
	}
	for _, u := range g.all() {
		if u.connections != nil {
			u.connections.CloseIdleConnections()
		}
	}
	g.closeRetired()
}

// closeRetired closes the idle connections of breakwater's own that no generation uses any more.
func (l *lasting) closeRetired() {
	l.mu.Lock()
	retired := l.retired
	l.mu.Unlock()
	for _, c := range retired {
		c.CloseIdleConnections()
	}
}

// connectionsTo returns breakwater's own base towards an origin, or nil if the base is the
// user's. An origin that callers name shares a base with others until it fails: there may be
// many of them. known is what the generation before had; nil: nothing.
func (g *generation) connectionsTo(at origin.Origin, known *connections) *connections {
	if !g.ownBase {
		return nil
	}
	if c := g.connectionsAt(at); c != nil {
		return c
	}
	if known != nil {
		return known
	}
	c := &connections{shared: g.config.base.(*http.Transport)}
	if len(g.config.tiers) > 0 {
		c.renew()
	}
	return c
}

// belowFor returns what an endpoint with these connections sends its attempts through.
func (g *generation) belowFor(c *connections) http.RoundTripper {
	if c == nil || len(g.config.perAttempt) > 0 {
		return g.below
	}
	return c
}

// inherited is what an endpoint keeps from the generation before. What is nil is made anew.
type inherited struct {
	state       *upstreamState
	ofKey       *keyState
	circuits    *circuit.Set
	budget      *budget.Budget
	connections *connections
	spent       *price.Book
}

// inherit returns what an endpoint keeps, which is the same if its name and URL are.
func (g *generation) inherit(before *generation, e Endpoint) (k inherited) {
	if before == nil {
		return k
	}
	old := before.find(e)
	if g.ownBase && before.ownBase {
		if old != nil {
			k.connections = old.connections
		} else if base, err := url.Parse(e.URL); err == nil {
			at, _ := origin.Of(base)
			k.connections = before.connectionsAt(at)
		}
	}
	if old == nil {
		return k
	}
	k.state = old.upstreamState
	if old.identity == identityOf(e) {
		k.ofKey = old.keyState
	}
	if g.config.currency == before.config.currency {
		k.spent = old.spent
	}
	if g.config.retry.Budget == before.config.retry.Budget {
		k.budget = old.budget
	}
	sameBase := g.ownBase && before.ownBase || !g.ownBase && isSameBase(g.config.base, before.config.base)
	// Circuits renew the connections that they were made for.
	if sameBase && k.connections == old.connections && g.config.breaker == before.config.breaker && g.config.balance.Ramp == before.config.balance.Ramp {
		k.circuits = old.circuits
	}
	return k
}

// isSameBase reports whether two bases are one, as far as that can be told.
func isSameBase(a, b http.RoundTripper) bool {
	f, isFunc := a.(RoundTripperFunc)
	other, bothFuncs := b.(RoundTripperFunc)
	return isFunc && bothFuncs && isSameFunc(f, other) || isSame(a, b)
}

// newUpstream returns an upstream for e, with its circuits, limits and layers. The payer
// stands for its account.
func (g *generation) newUpstream(e Endpoint, base *url.URL, tier int, payer string, k inherited) *upstream {
	at, _ := origin.Of(base)
	conns := g.connectionsTo(at, k.connections)
	if k.state == nil {
		k.state = &upstreamState{Target: balance.Target{Seed: balance.SeedOf(e.Account + "\x00" + e.URL)}, served: served.NewTable(), shares: shift.NewSet()}
		k.state.SetWeight(e.Weight)
	}
	if k.ofKey == nil {
		k.ofKey = new(keyState)
	}
	if k.spent == nil {
		k.spent = new(price.Book)
	}
	if k.circuits == nil {
		k.circuits = newCircuits(g.config, e.Name, conns, g.emit)
	}
	if k.budget == nil || len(g.config.tiers) > 0 {
		k.budget = g.failover.budgetOf(e.Account)
	}
	payer = cmp.Or(payer, e.Account)
	profile := e.Host.profile()
	limits := newLimits(g.limits, e, payer, g.config.rate)
	u := &upstream{
		Endpoint:      e,
		upstreamState: k.state,
		keyState:      k.ofKey,
		identity:      identityOf(e),
		payer:         payer,
		tier:          tier,
		base:          base,
		origin:        at,
		profile:       profile,
		paths:         host.PathsOf(profile, base),
		names:         host.NamesOf(profile, e.Models),
		place:         within.Place{Name: e.Name, Region: e.Region, Tags: e.Tags},
		can:           profile.Offers,
		keyed:         e.hasKey() || header.HasCredential(e.Header),
		circuits:      k.circuits,
		rates:         ratesOf(e),
		spent:         k.spent,
		limits:        limits,
		budget:        k.budget,
		connections:   conns,
		pipeline:      Chain(g.belowFor(conns), newSpendLimiter(g.failover.spending), newRateLimiter(limits), newBreaker(k.circuits), newGate(&g.counts.attempts, g.pauses, g.config.observers)),
	}
	for _, f := range e.Can {
		u.can |= needsOf(f)
	}
	if e.KeyFunc != nil {
		u.keys = g.keyFuncs.New(e.KeyFunc)
	}
	if e.Models == nil {
		u.names = host.NamesByURL(profile, base.Hostname())
	}
	u.alone = [1]*upstream{u}
	return u
}

// limitTenants makes the policy for tenants that of the generation. Without one, the tenants
// stay as they are, because another Update may bring a policy again.
func (g *generation) limitTenants() {
	if g.config.tenants != nil {
		g.config.tenants.follow(g.tenants)
	}
}

// maxTenantStatus is how many tenants a Status has at most.
const maxTenantStatus = 20

// tenantStatus returns the tenants that have used most today.
func (g *generation) tenantStatus() []TenantStatus {
	var list []TenantStatus
	for _, s := range g.tenants.Status(maxTenantStatus) {
		list = append(list, TenantStatus{
			Name: s.Name, InFlight: s.Open, Waiting: s.Waiting, Calls: s.Today.Calls, Refused: s.Today.Refused, Tokens: s.Today.Tokens,
			Cost: Cost{Amount: s.Today.Cost, Known: g.config.currency != (price.Currency{}), currency: g.config.currency},
		})
	}
	return list
}

// serve sends inference calls through the cache and the failover, safe requests to an
// endpoint through the failover, and every other request once to the base.
func (g *generation) serve(req *http.Request) (*http.Response, error) {
	req = withASCIIHost(req)
	op, target, protected := g.meantFor(req)
	if !protected {
		return g.passThrough(req, target)
	}
	c, err := g.newCall(req, op, target)
	if err != nil {
		return nil, err
	}
	if !g.isCertain(c) {
		return g.passThrough(c.restored(req), target)
	}
	target.noteRoot(op, req.URL.Path)
	g.counters.calls.Add(1)
	c.counters, c.info = &g.counters, g.counters.observers.newInfo(string(op), c.params.Stream)
	concluded := false
	defer func() {
		if !concluded { // user code panicked
			c.how = endingOf(Outcome(ClassRewrite))
			g.counters.ends[c.how].Add(1)
		}
	}()
	if rare := c.excluded.rare; rare != nil && rare.asked != "" {
		to := g.config.spend.Cheaper[rare.asked]
		g.counters.observers.emit(c, Event{Kind: KindCheaper, Model: to, From: rare.asked, To: to})
	}
	if c.upload != nil {
		sends := false
		defer func() {
			if !sends { // an Observer panicked
				c.upload.Close()
			}
		}()
		g.counters.observers.emit(c, Event{Kind: KindUnbuffered, Endpoint: target.Name, Bytes: max(req.ContentLength, 0)})
		sends = true
	}
	resp, err := g.layersOf(c).RoundTrip(c.req)
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
		c.releaseRequest(resp.Body, c.lookup != nil)
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
func (g *generation) markBase(req *http.Request) (*http.Response, error) {
	a := attemptOf(req.Context())
	if a == nil {
		return g.config.base.RoundTrip(req)
	}
	base := g.config.base
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
func (g *generation) meantFor(req *http.Request) (op request.Operation, target *upstream, protected bool) {
	op, inference := request.OperationOf(req)
	target = g.targetOf(req.URL, inference)
	safe := !inference && request.IsSafe(req)
	if safe && target == nil {
		target = g.askedBefore(req.URL)
	}
	return op, target, target != nil && (inference || safe)
}

// layersOf returns the layers that the call goes through. Answers to safe requests are
// neither kept nor shared, and nothing continues them. A call that may go nowhere is refused.
func (g *generation) layersOf(c *call) http.RoundTripper {
	switch {
	case len(c.candidates) == 0:
		return RoundTripperFunc(func(*http.Request) (*http.Response, error) { return g.failover.refuse(c, &g.upstreams) })
	case c.isSafe():
		return g.failover
	}
	return g.calls
}

// isCertain reports whether the call is certainly inference, or a safe request to an
// endpoint. If the endpoint was given or its host is known, the path is enough. Elsewhere
// other APIs may have the same paths, so the body must name a model, too, except for chats.
func (g *generation) isCertain(c *call) bool {
	return c.isSafe() || c.op == request.Chat || len(g.tiers) > 0 || !c.target.profile.Generic || c.params.Model != ""
}

// passThrough sends a request that is neither inference nor safe once. If it is meant for an
// endpoint, it gets that endpoint's key, Header and Rewrite.
func (g *generation) passThrough(req *http.Request, target *upstream) (*http.Response, error) {
	sends := false
	defer func() {
		if !sends && req.Body != nil { // it is refused, or an Observer panicked
			reqbody.Close(req.Context(), req.Body)
		}
	}()
	if err := g.notePassed(req, target); err != nil {
		return nil, err
	}
	sends = true
	if target == nil {
		return g.below.RoundTrip(req)
	}
	resp, err := target.pass(req, g.belowFor(target.connections))
	if err == nil && resp != nil {
		header.RemoveOwn(resp.Header)
	}
	return resp, err
}

// notePassed counts a request that is sent without protection, and emits its event. It
// returns an error if the request must not be sent.
func (g *generation) notePassed(req *http.Request, target *upstream) error {
	if o := callOptions(req.Context()); !g.upstreams.allows(target, o.bounds) {
		return &Error{Class: ClassUnserved, why: g.upstreams.whyNowhere(request.None, o, target)}
	}
	var stray error
	if target == nil && len(g.tiers) > 0 && req.URL != nil {
		at, _ := origin.Of(req.URL)
		switch {
		case g.config.strict:
			return outcome.Stray(g.upstreams.nearest(at))
		case len(g.config.observers) > 0 && looksLikeInference(req) && g.strays.isNew(at):
			stray = outcome.Stray(g.upstreams.nearest(at))
		}
	}
	g.counters.passed.Add(1)
	e := Event{Kind: KindPassed, Err: stray}
	if target != nil {
		e.Endpoint = target.Name
	}
	g.counters.observers.emit(req.Context(), e)
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

// economize replaces the call's model by the cheaper one that a policy names, if so much is
// spent that it should.
func (g *generation) economize(c *call, p *SpendPolicy) {
	spent, ok := g.failover.spending.Today(c.start)
	if !ok || spent < p.CheaperFrom || c.encoded || c.buffer == nil {
		return
	}
	params := request.Parse(c.body())
	to, ok := p.Cheaper[params.Model]
	if !ok {
		return
	}
	c.excluded.askedFor(strings.Clone(params.Model))
	edit := request.Edit{At: params.ModelAt, Text: string(gjson.AppendJSONString(nil, to))}
	body := reqbody.Get(int64(len(c.body())))
	body.Set(request.Splice(body.Bytes(), c.body(), []request.Edit{edit}))
	c.releaseBody()
	c.buffer = body
}

// newCall reads the request's body, unless it is larger than MaxReplay, and parses
// what breakwater needs of it. A safe request, whose operation is None, has none.
func (g *generation) newCall(req *http.Request, op request.Operation, target *upstream) (*call, error) {
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
	if g.keyless { // pauses are per caller then, and clocks on other goroutines look at them
		c.credential()
	}
	if op == request.None {
		if g.upstreams.allows(target, c.bounds) {
			c.candidates = target.alone[:]
		}
		return c, nil
	}
	c.candidates = g.candidatesFor(target, c.Endpoint, c.bounds)
	var err error
	if c.buffer, c.upload, err = reqbody.Take(c, req, g.config.retry.MaxReplay); err != nil {
		return nil, err
	}
	c.encoded = len(req.Header["Content-Encoding"]) > 0
	if p := g.config.spend; p != nil && len(p.Cheaper) > 0 {
		g.economize(c, p)
	}
	g.config.tenants.nameTenant(c)
	if g.cache != nil && g.cache.findExact(c) {
		return c, nil
	}
	c.params = request.Parse(c.body())
	c.params.Model = g.names.Intern(c.params.Model)
	c.measure()
	return c, nil
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
