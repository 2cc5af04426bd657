package breakwater

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/shelf"
	"github.com/breakwater-go/breakwater/internal/store"
)

// CachePolicy says what is kept for how long. Only complete answers are kept,
// and only in the scope of who asked.
//
// An answer whose own Cache-Control says no-store is neither kept, in memory or
// in the Store, nor given to others who wait for the same (RFC 9111, 5.2.2.5);
// one that is private is kept and shared where the scope is one credential,
// and in a scope by name given to callers of that credential only while it is
// under way. Its other directives do not count: hosts say no-cache, max-age=0
// and must-revalidate with every stream by habit, and an answer to a POST cannot
// be revalidated; the application says here for how long answers are good.
// DeepSeek, OpenAI and Bailian were not seen to send no-store. Gateways and
// self-made servers do whose framework adds it to every response: behind such a
// one the cache does nothing, unless [WithAttemptMiddleware] takes the header
// out of responses that the application knows it may keep.
type CachePolicy struct {
	// TTL is how long an answer is fresh. Default 5min; Off: never, so that it
	// serves for StaleIfError only.
	TTL time.Duration

	// StaleIfError is how long past its TTL an answer is given when no endpoint
	// could give another. Default 1h.
	StaleIfError time.Duration

	// StaleWhileRevalidate is how long past its TTL an answer is given at once,
	// while it is renewed behind the caller's back. Default 0: never.
	StaleWhileRevalidate time.Duration

	// MaxEntries and MaxBytes bound what is kept in memory, and MaxEntryBytes
	// one answer. Defaults 1000, 64 MiB, 1 MiB.
	MaxEntries    int
	MaxBytes      int64
	MaxEntryBytes int64

	// Deterministic keeps only the answers of calls with temperature 0.
	Deterministic bool

	// Scope says who may share answers. They see of an answer's headers those that
	// describe it and the ids to ask its host by; where Scope is not set, all but
	// those that speak of the first call. What has an empty scope is neither kept
	// nor answered from what is. Default: the caller's credential.
	Scope func(*http.Request) string

	// Store holds entries beyond the memory of this process, behind it. Default: none.
	Store Store
}

func (p CachePolicy) resolve() (CachePolicy, error) {
	f := fields{option: "WithCache"}
	resolveField(&f, "TTL", &p.TTL, 5*time.Minute)
	resolveField(&f, "StaleIfError", &p.StaleIfError, time.Hour)
	resolveField(&f, "StaleWhileRevalidate", &p.StaleWhileRevalidate, 0)
	f.check(p.lifetime().Total() > 0, "TTL, StaleIfError and StaleWhileRevalidate are all Off: nothing would ever be served")
	resolveField(&f, "MaxEntries", &p.MaxEntries, 1000)
	resolveField(&f, "MaxBytes", &p.MaxBytes, 64<<20)
	resolveField(&f, "MaxEntryBytes", &p.MaxEntryBytes, 1<<20)
	return p, f.err()
}

// lifetime is how long answers are good for what.
func (p CachePolicy) lifetime() store.Lifetime {
	return store.Lifetime{TTL: p.TTL, StaleIfError: p.StaleIfError, StaleWhileRevalidate: p.StaleWhileRevalidate}
}

// A cache is the middleware that answers from what is kept, and has calls for
// the same share one attempt.
type cache struct {
	t        *Transport
	policy   CachePolicy
	lifetime store.Lifetime
	kept     *shelf.Shelf[key.Key, *store.Entry, *request.Params]
	store    *store.Guard
	counts   struct{ hits, misses, stale, shared, stores atomic.Int64 }

	mu       sync.Mutex // guards what follows
	flights  map[key.Key]*underWay
	renewals int           // under way
	probing  *flight       // the latest renewal that looks whether an endpoint is back
	probed   time.Time     // when it began
	lookIn   time.Duration // another may look, if that one hangs
}

func newCache(t *Transport, p CachePolicy) *cache {
	return &cache{
		t: t, policy: p, lifetime: p.lifetime(), store: store.NewGuard(p.Store, store.Hooks{
			Go: t.background.Go,
			OnError: func(ctx context.Context, err error) {
				t.config.observers.emit(ctx, Event{Kind: KindCacheError, Err: err})
			},
		}), flights: make(map[key.Key]*underWay),
		kept: shelf.New[key.Key, *store.Entry, *request.Params](p.MaxEntries, p.MaxBytes),
	}
}

// middleware answers from the cache what it can, and has others share the rest.
func (k *cache) middleware(next http.RoundTripper) http.RoundTripper {
	return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		c := callOf(req.Context())
		w := store.ParseControl(req.Header, c.CacheControl, c.format() != store.JSON)
		if w.NoStore || !k.covers(c) {
			if w.OnlyIfCached {
				return k.refuse(c), nil
			}
			resp, err := next.RoundTrip(req)
			return noteCache(resp, "fwd=bypass"), err
		}
		for {
			e := k.lookUp(c)
			if resp := k.atOnce(c, e, w, next); resp != nil {
				return resp, nil
			}
			if w.OnlyIfCached {
				return k.refuse(c), nil
			}
			if resp, err, ok := k.forward(c, e, w, next); ok {
				return resp, err
			}
		}
	})
}

// refuse answers a call that wants a kept answer only.
func (k *cache) refuse(c *call) *http.Response {
	if c.upload != nil {
		c.upload.Close()
	}
	c.fails(&Error{})
	return noteCache(c.ownAnswer(ClassNotCached, "nothing is kept that would answer this call", 0), "detail=only-if-cached")
}

// covers reports whether a call's answer may be kept at all, and finds its key.
func (k *cache) covers(c *call) bool {
	if c.NoCache || c.body() == nil || c.encoded || c.params.Stateful || len(c.req.Header["Upgrade"]) > 0 || k.policy.Deterministic && !c.params.ZeroTemperature {
		return false
	}
	return c.sought.key != key.Key{} || k.canonical(c)
}

// atOnce answers with what is kept, if that will do.
func (k *cache) atOnce(c *call, e *store.Entry, w store.Control, next http.RoundTripper) *http.Response {
	if e == nil {
		return nil
	}
	age := e.Age(time.Now())
	fresh := k.lifetime.Freshness(age, w)
	if fresh < store.StaleWhileRevalidate {
		return nil
	}
	resp := k.answer(c, e, age, fresh)
	switch {
	case resp == nil:
	case fresh == store.StaleWhileRevalidate:
		k.renew(c, next)
	default:
		c.releaseBody()
	}
	return resp
}

// forward has the call share one that is under way, or makes it. It reports
// false if an answer has come meanwhile.
func (k *cache) forward(c *call, e *store.Entry, w store.Control, next http.RoundTripper) (*http.Response, error, bool) {
	standIn := func() *http.Response {
		if e != nil {
			if age := e.Age(time.Now()); k.lifetime.Freshness(age, w) >= store.StaleIfError {
				return k.answer(c, e, age, store.StaleIfError)
			}
		}
		return nil
	}
	c.fallback = e != nil && k.lifetime.Freshness(e.Age(time.Now()), w) >= store.StaleIfError && c.can(e)
	how := forwards(e, w, k.policy)
	if c.Err() != nil {
		return nil, context.Cause(c), true
	}
	p := &passage{cache: k, call: c, wish: w, seen: e, next: next}
	defer p.leave()
	p.alone = c.NoShare || w.NoCache || c.nested // who waits for itself waits for ever
	var resp *http.Response
	var err error
	for ok := false; !ok; {
		if !p.board() {
			return nil, nil, false
		}
		if p.in[0].flight.renews && c.fallback { // what is renewed is good enough meanwhile
			if resp := standIn(); resp != nil {
				return resp, nil, true
			}
		}
		if resp, err, ok = p.await(); !ok && p.kept {
			return nil, nil, false
		}
	}
	if p.shares() {
		if !p.asked {
			k.counts.shared.Add(1)
			k.t.config.observers.emit(c, Event{Kind: KindCacheShared, Model: c.params.Model})
		}
		how += "; collapsed"
	}
	if c.exhausted {
		if stale := standIn(); stale != nil {
			if resp != nil {
				resp.Body.Close()
			}
			if c.unprobed {
				k.probe(c, next)
			}
			c.exhausted = false
			p.done = true
			return stale, nil, true
		}
	}
	p.done = true
	return noteCache(resp, how), err, true
}

// lookUp looks into the memory, then into the Store.
func (k *cache) lookUp(c *call) *store.Entry {
	e := c.sought.entry
	c.sought.entry = nil
	if e == nil {
		e, _ = k.kept.Get(c.sought.key)
		if e != nil {
			k.spell(c)
		}
	}
	if k.store == nil || e != nil && e.Age(time.Now()) < k.policy.TTL {
		return e
	}
	// Another process may have what is not here, or a newer one.
	// What it keeps may be an older version's, which heeded less of what an answer
	// says against being kept.
	other, shared := k.store.Get(c, c.sought.key.String()), c.sought.scope.Shared()
	if other != nil && reachOf(other.Header, shared) == everywhere && (e == nil || other.Stored.After(e.Stored)) {
		other.Header = store.KeptHeader(other.Header, shared)
		e = other
		k.kept.Put(c.sought.key, e, e.Size())
		k.spell(c)
	}
	return e
}

// put keeps e in memory and in the Store.
func (k *cache) put(c *call, e *store.Entry) {
	k.kept.Put(c.sought.key, e, e.Size())
	k.spell(c)
	k.counts.stores.Add(1)
	k.t.config.observers.emit(c, Event{Kind: KindCacheStore, Endpoint: e.Endpoint, Model: c.params.Model, Bytes: int64(len(e.Body))})
	k.store.Set(c, c.sought.key.String(), e, k.lifetime.Total())
}

// answer answers with what is kept, nil if that cannot be had as the call wants it.
func (k *cache) answer(c *call, e *store.Entry, age time.Duration, fresh store.Freshness) *http.Response {
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
		k.t.config.observers.emit(c, Event{Kind: kind, Endpoint: e.Endpoint, Model: c.params.Model, Bytes: int64(len(e.Body)), From: from})
	}
	return resp
}

func (k *cache) missed(c *call) {
	k.counts.misses.Add(1)
	k.t.config.observers.emit(c, Event{Kind: KindCacheMiss, Model: c.params.Model})
}

func (k *cache) status() CacheStatus {
	n := &k.counts
	s := CacheStatus{Hits: n.hits.Load(), Misses: n.misses.Load(), Stale: n.stale.Load(), Shared: n.shared.Load(), Stores: n.stores.Load()}
	s.Entries, s.Bytes, s.Evictions = k.kept.Bounds()
	return s
}

// forwards says why a call goes on to the endpoints, as RFC 9211 has it.
func forwards(e *store.Entry, w store.Control, p CachePolicy) string {
	switch {
	case e == nil:
		return "fwd=uri-miss"
	case w.NoCache, e.Age(time.Now()) < p.TTL:
		return "fwd=request"
	}
	return "fwd=stale"
}

// noteCache says what the cache did, as RFC 9211 has it.
func noteCache(resp *http.Response, how string) *http.Response {
	if resp != nil {
		if resp.Header == nil {
			resp.Header = make(http.Header)
		}
		resp.Header["Cache-Status"] = append(resp.Header["Cache-Status"], "breakwater; "+how)
	}
	return resp
}
