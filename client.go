package breakwater

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/pause"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/reqcancel"
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
	lasting
	current  atomic.Pointer[generation]
	updating sync.Mutex // held by Update
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
	t := &Transport{lasting: newLasting()}
	t.emit = func(ctx context.Context, e Event) { t.now().config.observers.emit(ctx, e) }
	g := newGeneration(&t.lasting, c)
	if err := g.build(nil); err != nil {
		return nil, err
	}
	g.limitTenants()
	t.current.Store(g)
	t.probe(g)
	return t, nil
}

// Update replaces the options of the Transport by opts, which are all of them, as for [New]:
// what is not given has its default again. It checks them as New does. If some are wrong, it
// returns their errors, joined, and changes nothing.
//
// Calls that begin after Update use the new options. Calls under way end with the old ones,
// at the old endpoints, with the old keys. What is the same before and after keeps its state:
//
//   - An endpoint is the same if its Name and URL are. It keeps its connections, load, shares
//     and, unless BreakerPolicy, Ramp or the base changed, its circuits; also in another
//     tier. With the same APIKey and Header it keeps its pauses, too. With another key,
//     nothing that a host has said to the old one, or says yet, concerns it. With a KeyFunc, before
//     and after, it keeps those that its host asked for.
//   - An account is the same if its name is. What it has open and what it has used count on
//     when its limits change, and calls that wait for it go on by the new ones. What hosts have
//     taught by refusals stays as long as the RatePolicy, and the URLs and keys of its endpoints,
//     do, also while no endpoint has the account. The budget of extra attempts stays as long as
//     Budget does.
//   - The cache keeps its answers, under new bounds and lifetimes, as long as Scope is the
//     same function. It keeps the Store as long as that is the same. The answers of
//     idempotency keys are kept likewise. A new call may share the answer of the same call
//     that is under way, but not its failure.
//   - Conversations stay at their endpoints as long as Affinity and Overload do.
//   - Counts of [Transport.Status] go on.
//
// An endpoint that is left out gets no new calls. Calls for its URL are still meant for the
// endpoints, so that the others answer clients that have that URL. Requests to it that are no
// inference pass through, without a key of yours.
//
// A function literal that uses variables around it is another function each time it is evaluated:
// keep a Scope of that kind in a variable. A base or Store that cannot be compared with == is
// another one, too.
//
// Functions are taken from opts: middlewares wrap anew, and observers hear of what happens
// from now on, also at circuits that were there before; those of calls under way are told to
// the old observers.
//
// Update is safe for concurrent use. If several run at once, one of them is the last.
func (t *Transport) Update(opts ...Option) error {
	c, err := newConfig(opts)
	if err != nil {
		return err
	}
	g := newGeneration(&t.lasting, c)
	t.updating.Lock()
	defer t.updating.Unlock()
	before := t.now()
	if err := g.build(before); err != nil {
		return err
	}
	t.current.Store(g)
	g.replace(before)
	t.probe(g)
	return nil
}

// probe begins to probe the endpoints of a generation, until another one takes its place.
func (t *Transport) probe(g *generation) {
	if g.config.probes != nil {
		t.background.Go(newProber(g).run)
	}
}

// now returns what new calls use.
func (t *Transport) now() *generation { return t.current.Load() }

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

// RoundTrip implements [http.RoundTripper]. It protects inference calls. A GET or HEAD that is
// meant for an endpoint, such as one of /models, is tried again there, and never elsewhere.
// Every other request is sent once. Both get the key, Header and Rewrite of the endpoint that
// they are meant for; a request that is meant for none is not changed. The package comment
// says which calls are protected, and what the caller gets if no endpoint answers.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	//lint:ignore SA1019 see reqcancel
	if req.Cancel == nil {
		return t.now().outer.RoundTrip(req)
	}
	req, done := reqcancel.Bridge(req)
	returned := false
	defer func() {
		if !returned { // user code panicked
			done()
		}
	}()
	resp, err := t.now().outer.RoundTrip(req)
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

// CloseIdleConnections closes the idle connections of the base transport, also of one that
// was given by [WithBase]. http.Client.CloseIdleConnections calls it.
func (t *Transport) CloseIdleConnections() {
	t.now().closeIdle()
}

// Close stops background work: it cancels the cache's renewals, waits up to a second for
// writes to a Store, ends what waits for an [Endpoint].KeyFunc, and closes the idle connections of the base, unless the base was given
// by [WithBase]: others may use that. Those of breakwater's own base that an Update has replaced
// are closed in any case. It always returns nil. Call it at the end of the
// program or of a test.
//
// Close does not end calls. Calls that are under way and new calls still work, but they
// start no renewals and write nothing to a Store.
func (t *Transport) Close() error {
	t.keyFuncs.Close()
	t.background.Close()
	if t.now().ownBase {
		t.CloseIdleConnections()
	}
	t.closeRetired()
	return nil
}

// Status returns a snapshot of the Transport: its counts since New, and the state of each
// endpoint and of the cache. It is fast enough for a health page or for metrics that are
// read every few seconds. If no endpoints were given, the snapshot has one for each host
// that was called, up to 256.
func (t *Transport) Status() Status {
	g, n := t.now(), &t.counts
	s := Status{Outcomes: n.outcomes(), Calls: n.calls.Load(), Failed: n.failed.Load(), Passed: n.passed.Load(), Attempts: n.attempts.Load()}
	s.Cost = g.failover.costOf(g.failover.spent)
	now := time.Now()
	pauses := t.pauses.List(now)
	for _, e := range g.all() {
		es := EndpointStatus{Cost: g.failover.costOf(e.spent), Name: e.Name, URL: e.URL, Tags: slices.Clone(e.Tags), Region: e.Region, Tier: e.tier}
		for _, c := range e.circuits.Status(now) {
			es.Circuits = append(es.Circuits, CircuitStatus(c))
		}
		if most := g.config.balance.Shift; most > 0 {
			for _, x := range e.shares.Status(now, 1-most) {
				es.Shares = append(es.Shares, ShareStatus(x))
			}
		}
		for _, l := range e.limits.Status() {
			es.Limits = append(es.Limits, LimitStatus(l))
		}
		for key, p := range pauses {
			if key.concerns(e) {
				es.Pauses = append(es.Pauses, PauseStatus{Model: key.model, Until: p.Until})
			}
		}
		es.Health = g.health(e)
		s.Endpoints = append(s.Endpoints, es)
	}
	if g.config.tenants != nil {
		s.Tenants = g.tenantStatus()
	}
	if g.cache != nil {
		s.Cache = g.cache.status()
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
	g, now := t.now(), time.Now()
	if len(g.tiers) == 0 {
		return nil
	}
	pauses := t.pauses.List(now)
	failure := &Error{Class: ClassUnserved}
	var reasons []string
	var soonest time.Time
	for _, tier := range g.tiers {
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
		case key.credential != (header.Credential{}), !key.concerns(u):
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
