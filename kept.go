package breakwater

import (
	"bytes"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/breakwater-go/breakwater/internal/coalesce"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/lru"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/store"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A keeper holds the cached answers, in memory and in a Store.
type keeper struct {
	caches      bool // otherwise only answers with idempotency keys are kept
	policy      CachePolicy
	observers   observers
	lifetime    store.Lifetime
	kept        *lru.Cache[key.Key, *store.Entry, *wording]
	maxWordings int64        // the most bytes of the wordings that are kept
	store       *store.Guard // nil: none
	counts      *cacheCounts
}

// cacheCounts are what the cache has done.
type cacheCounts struct{ hits, misses, stale, shared, stores atomic.Int64 }

// newKeeper returns a keeper with the policy p; nil: it keeps nothing.
func newKeeper(p *CachePolicy, o observers, guard *store.Guard) keeper {
	caches := p != nil
	if !caches {
		p = &CachePolicy{}
	}
	return keeper{
		caches: caches, policy: *p, observers: o, lifetime: p.lifetime(), store: guard, counts: new(cacheCounts),
		kept: lru.New[key.Key, *store.Entry, *wording](p.MaxEntries, p.MaxBytes), maxWordings: maxWordings(p.MaxBytes),
	}
}

// keep takes over the counts of the keeper before, its answers and, if that is the same, its
// Store. It reports false if the answers are for other scopes: these stay.
func (k *keeper) keep(before *keeper) bool {
	k.counts = before.counts
	if k.caches != before.caches || !isSameFunc(k.policy.Scope, before.policy.Scope) {
		return false
	}
	k.kept = before.kept
	if isSame(k.policy.Store, before.policy.Store) {
		k.store = before.store
	}
	return true
}

// isSameFunc reports whether two functions are the same one, or both nil. A function literal
// with variables of its surroundings is another one each time it is evaluated: it may do
// something else with others. What reflect and %p show is the same for all of them.
func isSameFunc[Func any](a, b Func) bool {
	return *(*unsafe.Pointer)(unsafe.Pointer(&a)) == *(*unsafe.Pointer)(unsafe.Pointer(&b))
}

// isSame reports whether two values are one, as far as that can be told.
func isSame(a, b any) bool { return a != nil && reflect.ValueOf(a).Comparable() && a == b }

// A wording is one way to ask what an entry answers: the exact bytes of a call.
type wording struct {
	params request.Params

	// The following are kept once the entry has answered a call with this wording.
	scope key.Scope
	vary  []byte
	body  []byte // nil: not kept
}

// is reports whether a call has the wording.
func (w *wording) is(scope key.Scope, vary, body []byte) bool {
	return w.scope == scope && bytes.Equal(w.vary, vary) && bytes.Equal(w.body, body)
}

// maxWordings returns how many bytes of wordings are kept beside the entries of a cache of
// so many bytes; 0: unlimited. They are a part of these bytes.
func maxWordings(maxBytes int64) int64 {
	if maxBytes == 0 {
		return 16 << 20
	}
	return maxBytes / 4
}

// covers reports whether the call may use the cache at all. If so, it finds the call's
// key.
func (k *keeper) covers(c *call) bool {
	if !k.caches || c.NoCache || !c.isReadable() || c.params.Needs&request.Stored != 0 {
		return false
	}
	if k.policy.Deterministic && !c.params.ZeroTemperature {
		return false
	}
	return c.lookup.key != key.Key{} || c.findKey()
}

// isReadable reports whether the call's body is known, and its answer an ordinary one.
func (c *call) isReadable() bool {
	return c.body() != nil && !c.encoded && len(c.req.Header["Upgrade"]) == 0
}

// answer answers with an entry, or returns nil if the entry cannot be put into the
// caller's format.
func (k *keeper) answer(c *call, e *store.Entry, age time.Duration, fresh store.Freshness) *http.Response {
	lifetime := k.lifetime.Of(e).TTL
	ttl := int64((lifetime - age) / time.Second)
	how, kind, from, count := "breakwater; hit; ttl="+strconv.FormatInt(ttl, 10), KindCacheHit, "", &k.counts.hits
	served := OutcomeStale
	switch {
	case fresh == store.Fresh && age >= lifetime:
		kind, from, count = KindCacheStale, "max-stale", &k.counts.stale
	case fresh == store.StaleWhileRevalidate:
		kind, from, count = KindCacheStale, "revalidate", &k.counts.stale
		how += "; detail=stale-while-revalidate"
	case fresh == store.StaleIfError:
		kind, from, count = KindCacheStale, "error", &k.counts.stale
		how += "; detail=stale-if-error"
	default:
		served = OutcomeHit
	}
	resp := c.replay(e, age, how, fresh < store.Fresh)
	if resp != nil {
		count.Add(1)
		k.answered(c, e, served, kind, from)
	}
	return resp
}

// answered notes that the call got an entry.
func (k *keeper) answered(c *call, e *store.Entry, served Outcome, kind Kind, from string) {
	c.setFailure(nil)
	c.how = endingOf(served)
	k.observers.emit(c, Event{Kind: kind, Endpoint: e.Endpoint, Model: c.params.Model, Bytes: int64(len(e.Body)), From: from})
}

// A replayed is a response from memory. It is one allocation with all its parts.
type replayed struct {
	resp   http.Response
	body   exchange.Memory
	values [16]string // enough for most headers
}

// replay returns an entry as a response to the call, or nil if the entry cannot be put
// into the caller's format. how is the value of Cache-Status; standsIn says that the entry
// replaces a failure.
func (c *call) replay(e *store.Entry, age time.Duration, how string, standsIn bool) *http.Response {
	body, ok := e.As(c.format(), c.op.Wire(), standsIn)
	if !ok {
		return nil
	}
	r := &replayed{}
	h, values := make(http.Header, len(e.Header)+3), r.values[:0] // and Breakwater-Outcome
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

// inMemory returns the entry in memory that is for the call, or nil.
func (k *keeper) inMemory(c *call) *store.Entry {
	e, ok := k.kept.Get(c.lookup.key)
	if !ok || !e.Has(c.req.Header) {
		return nil
	}
	return e
}

// find looks for the call's entry in memory, then in the Store.
func (k *keeper) find(c *call) *store.Entry {
	e := c.lookup.entry
	c.lookup.entry = nil
	switch {
	case e == nil:
		if e = k.inMemory(c); e != nil {
			k.addAlias(c)
		}
	case !e.Has(c.req.Header):
		e = nil
	}
	if k.store == nil || e != nil && e.Age(time.Now()) < k.lifetime.Of(e).TTL {
		return e
	}
	other := k.store.Get(c, c.lookup.key.String())
	if other == nil || !other.Has(c.req.Header) {
		return e
	}
	// Another process may have stored an entry that is missing here, or a newer one. Another
	// call may have found it, too.
	if now := k.inMemory(c); now != nil && now != e {
		k.addAlias(c)
		e = now
	}
	if e != nil && !other.Stored.After(e.Stored) {
		return e
	}
	// The other process may run an older version that ignored some of the headers that
	// forbid caching, so check these again.
	shared := c.lookup.scope.Shared()
	if reachOf(other.Header, shared) != coalesce.Everyone {
		return e
	}
	found := *other
	found.Header = store.KeptHeader(other.Header, shared)
	k.kept.Put(c.lookup.key, &found, found.Size())
	k.addAlias(c)
	return &found
}

// put stores e in memory and in the Store.
func (k *keeper) put(c *call, e *store.Entry) {
	k.kept.Put(c.lookup.key, e, e.Size())
	k.addAlias(c)
	k.noteStored(c, e)
	k.store.Set(c, c.lookup.key.String(), e, k.lifetime.Of(e).Total())
}

// noteStored notes that e was kept.
func (k *keeper) noteStored(c *call, e *store.Entry) {
	k.counts.stores.Add(1)
	k.observers.emit(c, Event{Kind: KindCacheStore, Endpoint: e.Endpoint, Model: c.params.Model, Bytes: int64(len(e.Body))})
}

func (k *keeper) status() CacheStatus {
	n := k.counts
	s := CacheStatus{Hits: n.hits.Load(), Misses: n.misses.Load(), Stale: n.stale.Load(), Shared: n.shared.Load(), Stores: n.stores.Load()}
	s.Entries, s.Bytes, s.Evictions = k.kept.Stats()
	return s
}

// noteCache appends to the response's Cache-Status what the cache did, in the terms of RFC
// 9211.
func noteCache(resp *http.Response, how string) *http.Response {
	if resp != nil {
		if resp.Header == nil {
			resp.Header = make(http.Header)
		}
		resp.Header["Cache-Status"] = append(resp.Header["Cache-Status"], "breakwater; "+how)
	}
	return resp
}

// noteResult does the same for the result of a call, which may be a response inside an
// error.
func noteResult(resp *http.Response, err error, how string) (*http.Response, error) {
	if x := asExhausted(err); x != nil {
		noteCache(x.resp, how)
	}
	return noteCache(resp, how), err
}

// findExact looks for an entry by the exact bytes of the call's body, which saves parsing
// the body. It reports whether there is one.
func (k *keeper) findExact(c *call) bool {
	if !k.caches || c.NoCache || c.body() == nil || c.encoded {
		return false
	}
	s := &lookup{scope: c.scopeOf(k.policy.Scope)}
	c.lookup = s
	var buf [512]byte
	vary := c.appendVary(buf[:0])
	if acceptsEvents(c.req.Header) { // Accept tells the format of the answer if the body does not
		vary = key.Append(key.Append(vary, "accept"), "text/event-stream")
	}
	// Most of a hit would be the SHA-256 of the body. A wording that was answered before is
	// compared instead.
	print := s.scope.Fingerprint(vary, c.body())
	if exact, found, e, w, ok := k.kept.GetByPrint(print); ok && w.is(s.scope, vary, c.body()) {
		s.exact, s.key, s.entry, c.params = exact, found, e, w.params
		return true
	}
	var ok bool
	if s.exact, ok = s.scope.Key(key.Exact, vary, c.body()); !ok {
		return false
	}
	found, e, w, ok := k.kept.GetByAlias(s.exact)
	if ok {
		s.key, s.entry, c.params = found, e, w.params
		k.keepWording(s, print, vary, c.body(), w.params)
	}
	return ok
}

// scopeOf returns who may share the call's answer, where named is the policy's Scope.
func (c *call) scopeOf(named func(*http.Request) string) key.Scope {
	switch {
	case c.Scope != "":
		return key.OfName(c.Scope)
	case named != nil:
		return key.OfName(named(c.req))
	}
	return key.OfCredential(c.credential())
}

// keepWording keeps the wording of a call that an entry answers, so that the next call with
// it finds the entry without a SHA-256. It leaves with the entry.
func (k *keeper) keepWording(s *lookup, print uint64, vary, body []byte, params request.Params) {
	size := int64(len(vary) + len(body) + wordingSize)
	if size > k.maxWordings/8 || !k.kept.MayPrint(s.exact, print, size, k.maxWordings) {
		return // before anything is copied
	}
	w := &wording{params: params, scope: s.scope, vary: bytes.Clone(vary), body: bytes.Clone(body)}
	k.kept.SetPrint(s.exact, print, w, size, k.maxWordings)
}

// wordingSize is about how many bytes of memory a kept wording takes besides its texts.
const wordingSize = 128

// findKey finds the key of what the call asks, without the format of the answer. A call
// whose format is unclear has the key of its exact bytes.
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

// aliasSize is about how many bytes of memory an alias takes.
const aliasSize = 448

// addAlias lets the exact bytes of c's body find the entry from now on. Each entry has one
// alias for JSON and one for streams.
func (k *keeper) addAlias(c *call) {
	w := &wording{params: c.params}
	number := 0
	if w.params.Stream {
		number = 1
	}
	k.kept.AddAlias(c.lookup.key, number, c.lookup.exact, w, aliasSize)
}

// appendVary appends what distinguishes calls besides scope and body: the operation, the
// URL, the endpoints that the caller chose, and the headers, because a gateway may depend
// on any of them that is not known to be indifferent. Credentials are left out, because they
// are part of the scope.
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
	if len(c.bounds) > 0 {
		text = c.appendPlaces(text)
	}
	var buf [16]string
	names := buf[:0]
	for name, values := range c.req.Header {
		if !header.IsCredential(name) && !(header.IsIndifferent(name) && isOrdinary(name, values)) {
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

// appendPlaces appends where the call may go, if Call.Endpoints says that. Calls that may not
// go to the same places must not share an attempt, which would take the prompt of one to the
// places of the other. Nor do they share answers, so that a call gets none from elsewhere. All
// processes with the same endpoints have the same key.
func (c *call) appendPlaces(text []byte) []byte {
	var buf [8]*upstream
	places := append(buf[:0], c.candidates...)
	slices.SortFunc(places, func(a, b *upstream) int { return strings.Compare(a.Name, b.Name) })
	text = key.Append(text, ":endpoints") // no header has this name
	for _, e := range places {
		text = key.Append(key.Append(text, e.Name), e.URL)
	}
	return text
}

// isOrdinary reports whether all calls for inference may have these values of a header that
// says which formats the client speaks. Others may change the answer, or have it refused.
func isOrdinary(name string, values []string) bool {
	if name != "Accept" && name != "Content-Type" {
		return true
	}
	for _, value := range values {
		if value == "application/json" { // nearly always
			continue
		}
		for format := range strings.SplitSeq(value, ",") {
			format, _, _ = strings.Cut(format, ";")
			switch format = strings.ToLower(strings.TrimSpace(format)); {
			case format == "application/json":
			case name == "Accept" && (format == "*/*" || format == "application/*" || format == "text/event-stream" || format == "text/plain" || format == "text/*"):
			default:
				return false
			}
		}
	}
	return true
}

// format returns the format that the call wants its answer in, by its body and its Accept
// header.
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

// acceptsEvents reports whether the Accept header names event streams. Some hosts decide
// by it.
func acceptsEvents(h http.Header) bool {
	for _, accepted := range h["Accept"] {
		if strings.Contains(strings.ToLower(accepted), "text/event-stream") {
			return true
		}
	}
	return false
}

// reachOf returns who may share an answer with these headers. shared says that several
// credentials share the scope.
func reachOf(h http.Header, shared bool) coalesce.Reach {
	switch r := store.RestrictionOf(h, shared); {
	case r.NoStore:
		return coalesce.LeaderOnly
	case r.Private:
		return coalesce.SameCredential
	}
	return coalesce.Everyone
}
