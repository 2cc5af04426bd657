package breakwater

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/coalesce"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/lru"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/store"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A keeper has the answers that are kept, in memory and in a Store.
type keeper struct {
	policy    CachePolicy
	observers observers
	lifetime  store.Lifetime
	kept      *lru.Cache[key.Key, *store.Entry, *request.Params]
	store     *store.Guard // nil: none
	counts    struct{ hits, misses, stale, shared, stores atomic.Int64 }
}

func newKeeper(p CachePolicy, o observers, spawn func(func(context.Context)) bool) keeper {
	return keeper{
		policy: p, observers: o, lifetime: p.lifetime(),
		kept: lru.New[key.Key, *store.Entry, *request.Params](p.MaxEntries, p.MaxBytes),
		store: store.NewGuard(p.Store, store.Hooks{
			Go:      spawn,
			OnError: func(ctx context.Context, err error) { o.emit(ctx, Event{Kind: KindCacheError, Err: err}) },
		}),
	}
}

// covers reports whether a call's answer may be kept at all. It finds the call's
// key then.
func (k *keeper) covers(c *call) bool {
	if c.NoCache || c.body() == nil || c.encoded || c.params.Stateful || len(c.req.Header["Upgrade"]) > 0 {
		return false
	}
	if k.policy.Deterministic && !c.params.ZeroTemperature {
		return false
	}
	return c.lookup.key != key.Key{} || c.findKey()
}

// answer answers with what is kept, nil if the call cannot have that as it wants
// it.
func (k *keeper) answer(c *call, e *store.Entry, age time.Duration, fresh store.Freshness) *http.Response {
	ttl := int64((k.policy.TTL - age) / time.Second)
	how, kind, from, count := "breakwater; hit; ttl="+strconv.FormatInt(ttl, 10), KindCacheHit, "", &k.counts.hits
	switch {
	case fresh == store.Fresh && age >= k.policy.TTL:
		kind, from, count = KindCacheStale, "max-stale", &k.counts.stale
	case fresh == store.StaleWhileRevalidate:
		kind, from, count = KindCacheStale, "revalidate", &k.counts.stale
		how += "; detail=stale-while-revalidate"
	case fresh == store.StaleIfError:
		kind, from, count = KindCacheStale, "error", &k.counts.stale
		how += "; detail=stale-if-error"
	}
	resp := c.replay(e, age, how, fresh < store.Fresh)
	if resp != nil {
		count.Add(1)
		k.observers.emit(c, Event{Kind: kind, Endpoint: e.Endpoint, Model: c.params.Model, Bytes: int64(len(e.Body)), From: from})
	}
	return resp
}

// A replayed is a response from memory, in one allocation with what belongs to it.
type replayed struct {
	resp   http.Response
	body   exchange.Memory
	values [16]string // most headers need no more
}

// replay answers a call from an entry, nil if the call cannot have that as it
// wants it.
func (c *call) replay(e *store.Entry, age time.Duration, how string, standsIn bool) *http.Response {
	body, ok := e.As(c.format(), c.op.Wire(), standsIn)
	if !ok {
		return nil
	}
	r := &replayed{}
	h, values := make(http.Header, len(e.Header)+2), r.values[:0]
	set := func(name string, list ...string) {
		at := len(values)
		values = append(values, list...)
		h[name] = values[at:len(values):len(values)]
	}
	for name, list := range e.Header {
		set(name, list...)
	}
	if stream := c.format().IsStream(e.Streamed); stream != e.Streamed {
		store.SetFormat(h, stream)
	}
	set("Age", strconv.FormatInt(int64(age/time.Second), 10))
	set("Cache-Status", how)
	r.body.Reset(body)
	r.resp = http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: &r.body, ContentLength: int64(len(body)), Request: c.req,
	}
	return &r.resp
}

// find looks into the memory, then into the Store.
func (k *keeper) find(c *call) *store.Entry {
	e := c.lookup.entry
	c.lookup.entry = nil
	if e == nil {
		e, _ = k.kept.Get(c.lookup.key)
		if e != nil {
			k.addAlias(c)
		}
	}
	if k.store == nil || e != nil && e.Age(time.Now()) < k.policy.TTL {
		return e
	}
	// Another process may have kept what is not here, or something newer. It may be
	// an older version, which heeded less of what an answer says against being kept.
	other, shared := k.store.Get(c, c.lookup.key.String()), c.lookup.scope.Shared()
	if other != nil && reachOf(other.Header, shared) == coalesce.Everyone && (e == nil || other.Stored.After(e.Stored)) {
		other.Header = store.KeptHeader(other.Header, shared)
		e = other
		k.kept.Put(c.lookup.key, e, e.Size())
		k.addAlias(c)
	}
	return e
}

// put keeps e in memory and in the Store.
func (k *keeper) put(c *call, e *store.Entry) {
	k.kept.Put(c.lookup.key, e, e.Size())
	k.addAlias(c)
	k.counts.stores.Add(1)
	k.observers.emit(c, Event{Kind: KindCacheStore, Endpoint: e.Endpoint, Model: c.params.Model, Bytes: int64(len(e.Body))})
	k.store.Set(c, c.lookup.key.String(), e, k.lifetime.Total())
}

func (k *keeper) status() CacheStatus {
	n := &k.counts
	s := CacheStatus{Hits: n.hits.Load(), Misses: n.misses.Load(), Stale: n.stale.Load(), Shared: n.shared.Load(), Stores: n.stores.Load()}
	s.Entries, s.Bytes, s.Evictions = k.kept.Stats()
	return s
}

// noteCache says in a response what the cache did, as RFC 9211 has it.
func noteCache(resp *http.Response, how string) *http.Response {
	if resp != nil {
		if resp.Header == nil {
			resp.Header = make(http.Header)
		}
		resp.Header["Cache-Status"] = append(resp.Header["Cache-Status"], "breakwater; "+how)
	}
	return resp
}

// noteResult says so in what comes of a call, a response in an error included.
func noteResult(resp *http.Response, err error, how string) (*http.Response, error) {
	if x := asExhausted(err); x != nil {
		noteCache(x.resp, how)
	}
	return noteCache(resp, how), err
}

// findExact finds what is kept under the exact bytes of a call's body, which
// spares the call a look into the body. It reports false if nothing is.
func (k *keeper) findExact(c *call) bool {
	if c.NoCache || c.body() == nil || c.encoded {
		return false
	}
	s := &lookup{}
	c.lookup = s
	switch {
	case c.Scope != "":
		s.scope = key.OfName(c.Scope)
	case k.policy.Scope != nil:
		s.scope = key.OfName(k.policy.Scope(c.req))
	default:
		s.scope = key.OfCredential(c.credential())
	}
	var buf [512]byte
	vary := c.appendVary(buf[:0])
	if acceptsEvents(c.req.Header) { // this says the format where the body does not
		vary = key.Append(key.Append(vary, "accept"), "text/event-stream")
	}
	var ok bool
	if s.exact, ok = s.scope.Key(key.Exact, vary, c.body()); !ok {
		return false
	}
	found, e, params, ok := k.kept.GetByAlias(s.exact)
	if ok {
		s.key, s.entry, c.params = found, e, *params
	}
	return ok
}

// findKey finds the key of what the call says, whatever format it wants the answer
// in. A call whose format is unclear has the key of its exact bytes.
func (c *call) findKey() bool {
	s := c.lookup
	if c.format() == store.Unclear {
		s.key = s.exact
		return s.key != key.Key{}
	}
	text := canonicals.Get().(*[]byte)
	defer canonicals.Put(text)
	var ok bool
	if *text, ok = wire.Canonical((*text)[:0], c.body(), "stream", "stream_options"); !ok {
		s.key = s.exact
		return s.key != key.Key{}
	}
	var buf [512]byte
	s.key, ok = s.scope.Key(key.Canonical, c.appendVary(buf[:0]), *text)
	return ok
}

var canonicals = sync.Pool{New: func() any { return new([]byte) }}

// aliasSize is about how many bytes of memory an alias of a key takes.
const aliasSize = 448

// addAlias lets the exact bytes of c's body find the entry from now on: one alias
// for each of JSON and streams.
func (k *keeper) addAlias(c *call) {
	params := c.params
	number := 0
	if params.Stream {
		number = 1
	}
	k.kept.AddAlias(c.lookup.key, number, c.lookup.exact, &params, aliasSize)
}

// appendVary appends what makes calls differ besides scope and body: the operation,
// the URL, the endpoint asked for, and the headers, for a gateway may go by any
// of them. Headers that are a credential belong to the scope.
func (c *call) appendVary(text []byte) []byte {
	u := c.req.URL
	text = key.Append(text, u.Opaque)
	text = key.Append(text, string(c.op))
	text = key.Append(text, u.Scheme)
	text = key.Append(text, u.Host)
	text = key.Append(text, u.Path)
	text = key.Append(text, u.RawPath)
	text = key.Append(text, u.RawQuery)
	text = key.Append(text, c.req.Host)
	if u.User != nil {
		text = key.Append(text, u.User.String())
	}
	if c.Endpoint != "" {
		text = key.Append(key.Append(text, "endpoint"), c.Endpoint)
	}
	var buf [16]string
	names := buf[:0]
	for name := range c.req.Header {
		if !isIndifferent(name) && !header.IsCredential(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range c.req.Header[name] {
			text = key.Append(key.Append(text, name), v)
		}
	}
	return text
}

// isIndifferent reports whether a request header neither says who asks nor changes
// what is answered: those of the client, of the connection, of the cache, and of
// traces.
func isIndifferent(name string) bool {
	switch name {
	case "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Cache-Control", "Connection", "Content-Length", "Content-Type", "Date", "Expect",
		"Http-Referer", "Idempotency-Key", "Keep-Alive", "Origin", "Pragma", "Priority", "Referer", "Te", "Transfer-Encoding", "User-Agent", "Via", "X-Title",
		"Traceparent", "Tracestate", "Baggage", "B3", "Sentry-Trace", "Uber-Trace-Id", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context",
		"X-Request-Id", "X-Client-Request-Id", "X-Correlation-Id":
		return true
	}
	return strings.HasPrefix(name, "X-Stainless-") || strings.HasPrefix(name, "X-B3-") || strings.HasPrefix(name, "X-Datadog-")
}

// format is how the call wants its answer, as its body and its Accept say.
func (c *call) format() store.Format {
	switch p := &c.params; {
	case c.op == request.Embeddings: // they are never streamed
		return store.JSON
	case p.Ambiguous, !p.Stream && acceptsEvents(c.req.Header):
		return store.Unclear
	case !p.Stream:
		return store.JSON
	case p.IncludeUsage:
		return store.StreamWithUsage
	}
	return store.Stream
}

// acceptsEvents reports whether a header's Accept names events, which some hosts
// go by.
func acceptsEvents(h http.Header) bool {
	for _, accepted := range h["Accept"] {
		if strings.Contains(strings.ToLower(accepted), "text/event-stream") {
			return true
		}
	}
	return false
}

// reachOf says how far an answer of that header may go in its scope, which is
// shared if it is several credentials'.
func reachOf(h http.Header, shared bool) coalesce.Reach {
	switch r := store.RestrictionOf(h, shared); {
	case r.NoStore:
		return coalesce.LeaderOnly
	case r.Private:
		return coalesce.SameCredential
	}
	return coalesce.Everyone
}
