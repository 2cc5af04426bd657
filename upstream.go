package breakwater

import (
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/balance"
	"github.com/breakwater-go/breakwater/internal/bounded"
	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/request"
)

// An upstream is an Endpoint at work.
type upstream struct {
	Endpoint
	origins *origins // whose it is, if a call's URL has made it
	balance.Target
	tier     int
	base     *url.URL
	origin   origin.Origin
	profile  *host.Profile
	paths    host.Paths
	names    host.Names
	keyed    bool // it has a credential of its own
	circuits *circuit.Set
	limits   *limit.Limits
	answered atomic.Bool       // a call, ever
	used     atomic.Int64      // see bounded.Map; where no endpoints are given
	resorted atomic.Int64      // when it was last asked though it rests, from the first on
	unkeyed  atomic.Bool       // it was said that neither it nor a call has a key
	pipeline http.RoundTripper // limit, breaker, gate, the user's middleware, the base
}

// resortEvery is how often one call may try such an endpoint; see mayResort.
const resortEvery = time.Second

// mayResort reports whether one call may try an endpoint that only we keep out of
// use, for a rejected key or the like: once in a while, one may find out.
func (e *upstream) mayResort(now time.Time) bool {
	return now.UnixNano()-e.resorted.Load() >= int64(resortEvery)
}

// resort reports whether the call is the one that may.
func (e *upstream) resort(now time.Time) bool {
	last := e.resorted.Load()
	return e.mayResort(now) && e.resorted.CompareAndSwap(last, now.UnixNano())
}

// worth is what would be lost with an endpoint that a call's URL has made.
func (e *upstream) worth() bounded.Worth {
	w := bounded.Worth{Busy: e.Load.Open() > 0, Known: e.answered.Load(), Used: e.used.Load()}
	w.Open = e.circuits.AnyOpen(time.Now())
	return w
}

// finish tells the endpoint's load, and the conversation, how an attempt ended.
func (e *upstream) finish(a *attempt, class Class) {
	e.Load.End(a.counted)
	switch {
	case class == ClassOK:
		e.answered.Store(true)
		a.run.affinity.Remember(time.Now(), a.call.conversation, &e.Target, a.used.PromptTokens, a.used.CachedTokens)
	case a.outcome(class) == outcome.Failure:
		now := time.Now()
		e.Load.Fail(now.Sub(a.Start), now)
	}
}

// serves returns the name under which e serves the call's model, if it does.
func (e *upstream) serves(c *call) (string, bool) {
	return e.names.Serve(c.op, c.params.Model, &c.target.names)
}

// urlFor returns where e serves the call. What was meant for the same base
// goes to the very path it asked for: /beta stays /beta. Elsewhere the
// operation moves to e's own root, and the query, which may hold another
// host's key, stays behind.
func (e *upstream) urlFor(c *call) *url.URL {
	if (e == c.target || e.URL == c.target.URL) && !c.continues() {
		return c.req.URL
	}
	u := *e.base
	root, _ := e.paths.RootOf(c.op)
	if c.params.PrefixCompletion {
		root = e.paths.PrefixRoot()
	}
	switch {
	case root != u.Path:
		u.RawPath = ""
	case u.RawPath != "": // escaped as the base has it
		u.RawPath += string(c.op)
	}
	u.Path = root + string(c.op)
	return &u
}

// authorize puts the endpoint's key, if it has one, in the place of the
// caller's, and its headers over the caller's.
func (e *upstream) authorize(req *http.Request, op request.Operation) {
	if e.keyed {
		anthropic := op == request.Messages || req.Header["X-Api-Key"] != nil
		header.RemoveCredentials(req.Header)
		switch {
		case e.APIKey == "": // it is in Header
		case e.profile.KeyHeader != "":
			req.Header[e.profile.KeyHeader] = []string{e.APIKey}
		case anthropic:
			req.Header["X-Api-Key"] = []string{e.APIKey}
			fallthrough
		default:
			req.Header["Authorization"] = []string{"Bearer " + e.APIKey}
		}
	}
	for name, values := range e.Header {
		req.Header[name] = values[:len(values):len(values)]
	}
}
