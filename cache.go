package breakwater

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/shelf"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// CachePolicy says what is kept for how long. Only complete answers are kept,
// and only in the scope of who asked.
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

	// Scope says who may share answers. Default: the caller's credential.
	Scope func(*http.Request) string

	// Store holds entries beyond the memory of this process, behind it. Default: none.
	Store Store
}

func (p CachePolicy) resolve() (CachePolicy, error) {
	f := fields{option: "WithCache"}
	resolveField(&f, "TTL", &p.TTL, 5*time.Minute)
	resolveField(&f, "StaleIfError", &p.StaleIfError, time.Hour)
	resolveField(&f, "StaleWhileRevalidate", &p.StaleWhileRevalidate, 0)
	f.check(p.keep() > 0, "TTL, StaleIfError and StaleWhileRevalidate are all Off: nothing would ever be served")
	resolveField(&f, "MaxEntries", &p.MaxEntries, 1000)
	resolveField(&f, "MaxBytes", &p.MaxBytes, 64<<20)
	resolveField(&f, "MaxEntryBytes", &p.MaxEntryBytes, 1<<20)
	return p, f.err()
}

// A cache is the middleware that answers from what is kept, and has calls for
// the same share one attempt.
type cache struct {
	t      *Transport
	policy CachePolicy
	kept   *shelf.Shelf[key.Key, *entry, *look]
	store  *stockroom
	counts struct{ hits, misses, stale, shared, stores atomic.Int64 }

	mu       sync.Mutex // guards what follows
	flights  map[flightKey]*flight
	renewals int           // under way
	probing  *flight       // the latest renewal that looks whether an endpoint is back
	probed   time.Time     // when it began
	look     time.Duration // after which another may look, if that one hangs
}

type flightKey struct {
	key  key.Key
	form form
}

func newCache(t *Transport, p CachePolicy) *cache {
	return &cache{
		t: t, policy: p, store: newStockroom(t, p.Store), flights: make(map[flightKey]*flight),
		kept: shelf.New[key.Key, *entry, *look](p.MaxEntries, p.MaxBytes),
	}
}

// middleware answers from the cache what it can, and has others share the rest.
func (k *cache) middleware(next http.RoundTripper) http.RoundTripper {
	return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		c := callOf(req.Context())
		w := readWish(req.Header, c.CacheControl)
		if w.noStore || !k.covers(c) {
			if w.onlyIfCached {
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
			if w.onlyIfCached {
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
	c.fails(&Error{})
	return noteCache(c.ownAnswer(ClassNotCached, "nothing is kept that would answer this call", 0), "detail=only-if-cached")
}

// covers reports whether a call's answer may be kept at all, and finds its key.
func (k *cache) covers(c *call) bool {
	if c.NoCache || c.body == nil || c.packed || c.look.stateful || k.policy.Deterministic && !(c.look.hasTemperature && c.look.temperature == 0) {
		return false
	}
	return c.sought.key != key.Key{} || k.canonical(c)
}

// atOnce answers with what is kept, if that will do.
func (k *cache) atOnce(c *call, e *entry, w wish, next http.RoundTripper) *http.Response {
	if e == nil {
		return nil
	}
	age := e.age(time.Now())
	fresh := k.policy.freshness(age, w)
	if fresh < renewing {
		return nil
	}
	resp := k.answer(c, e, age, fresh)
	switch {
	case resp == nil:
	case fresh == renewing:
		k.renew(c, next)
	default:
		c.answered()
	}
	return resp
}

// forward has the call share one that is under way, or makes it. It reports
// false if an answer has come meanwhile.
func (k *cache) forward(c *call, e *entry, w wish, next http.RoundTripper) (*http.Response, error, bool) {
	standIn := func() *http.Response {
		if e != nil {
			if age := e.age(time.Now()); k.policy.freshness(age, w) >= spare {
				return k.answer(c, e, age, spare)
			}
		}
		return nil
	}
	c.spare = e != nil && k.policy.freshness(e.age(time.Now()), w) >= spare && e.can(c)
	how := forwards(e, w, k.policy)
	if c.Err() != nil {
		return nil, context.Cause(c), true
	}
	s, leads := k.board(c, e, c.NoShare || w.noCache || c.nested) // who waits for itself waits for ever
	if s == nil {
		return nil, nil, false
	}
	told := false
	defer func() {
		if !told { // an Observer panics: nobody is to wait for what does not come
			s.Close()
			s.flight.ground()
		}
	}()
	switch {
	case leads:
		k.missed(c)
		go s.flight.fly(next)
	case s.flight.renews && c.spare: // what is renewed is good enough meanwhile
		if resp := standIn(); resp != nil {
			told = true
			s.Close()
			return resp, nil, true
		}
	}
	resp, err, ok := s.await()
	switch {
	case !ok: // what came was others': this one asks by itself
		k.missed(c)
		s = k.newFlight(c, c.until(), false).leader
		go s.flight.fly(next)
		resp, err, _ = s.await()
	case !leads:
		k.counts.shared.Add(1)
		k.t.emit(c, Event{Kind: KindCacheShared, Model: c.look.model})
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
			c.exhausted, told = false, true
			return stale, nil, true
		}
	}
	told = true
	return noteCache(resp, how), err, true
}

// board has the call share a flight for the same, or readies one that it
// leads; a private one, others do not join. It returns nil if an answer has
// come since the call looked.
func (k *cache) board(c *call, seen *entry, private bool) (s *sharer, leads bool) {
	until := c.until() // the caller's own code, which must not run under a lock
	if private {
		return k.newFlight(c, until, false).leader, true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range c.sharedForms() {
		if f := k.flights[flightKey{c.sought.key, f}]; f != nil {
			if s := f.join(c, until); s != nil {
				return s, false
			}
		}
	}
	if e, ok := k.kept.Get(c.sought.key); ok && e != seen {
		return nil, false
	}
	f := k.newFlight(c, until, false)
	k.flights[f.id()] = f
	return f.leader, true
}

// sharedForms are the forms of a call that another may share, that of its own
// first. Who wants JSON has to hear what it took, which not every host's
// streams say unasked.
func (c *call) sharedForms() []form {
	own := c.look.form()
	switch {
	case own != formJSON:
		return []form{own, formJSON}
	case c.op == opChat && c.meant.row.usageInStreams, c.op == opMessages, c.op == opResponses:
		return []form{formJSON, formStreamUsage, formStream}
	}
	return []form{formJSON, formStreamUsage}
}

// forget has nobody join the flight any more.
func (k *cache) forget(f *flight) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flights[f.id()] == f {
		delete(k.flights, f.id())
	}
}

func (f *flight) id() flightKey { return flightKey{f.key, f.form} }

const (
	maxRenewals = 16               // under way at once
	renewWait   = 15 * time.Minute // for one of them: DeepSeek may queue a call for 10

	// A renewal that shows nothing lets another look after so long whether an
	// endpoint is back; and the next one after twice that, up to the most.
	firstLook = probeGrace
	maxLook   = 30 * time.Second
)

// renew asks for the answer anew behind the caller's back, unless that is
// being done already. Close ends it.
func (k *cache) renew(c *call, next http.RoundTripper) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flights[flightKey{c.sought.key, c.look.form()}] == nil && k.renewals < maxRenewals {
		if f := k.renewLocked(c, next); f != nil {
			k.flights[f.id()] = f
		}
	}
}

// probe renews to see whether an endpoint is back. One call does that for all,
// and those who have a kept answer leave it to that one; it is made anew where
// the last one hangs.
func (k *cache) probe(c *call, next http.RoundTripper) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	wait := k.look
	if k.probing == nil || k.probing.isAnswered() {
		wait, k.look = forcedEvery, firstLook
	}
	if now.Sub(k.probed) < wait || k.renewals >= maxRenewals {
		return
	}
	if k.probing != nil && !k.probing.isAnswered() {
		k.look = min(2*k.look, maxLook)
	}
	if f := k.renewLocked(c, next); f != nil {
		k.probing, k.probed = f, now
	}
}

// renewLocked begins a renewal, if it is not too late for that.
func (k *cache) renewLocked(c *call, next http.RoundTripper) *flight {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context), renewWait)
	again := c.inName(ctx)
	again.book, again.start, again.spare = &again.own, time.Now(), false
	f := k.newFlight(again, again.until(), true)
	begun := k.t.background.Go(func(closed context.Context) {
		defer context.AfterFunc(closed, cancel)()
		defer cancel()
		defer k.renewed(f)
		k.t.emit(again, Event{Kind: KindCacheRenew, Model: c.look.model})
		go f.fly(next)
		if resp, err, _ := f.leader.await(); err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
	if !begun {
		cancel()
		return nil
	}
	k.renewals++
	return f
}

// renewed is the end of a renewal. Who panicked in it is an Observer or a layer
// of the user's, and there is no caller to tell.
func (k *cache) renewed(f *flight) {
	_ = recover()
	f.ground()
	sent, _ := f.call.book.sum()
	k.t.counts.attempts.Add(int64(sent))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.renewals--
}

// lookUp looks into the memory, then into the Store.
func (k *cache) lookUp(c *call) *entry {
	e := c.sought.entry
	c.sought.entry = nil
	if e == nil {
		e, _ = k.kept.Get(c.sought.key)
		if e != nil {
			k.spell(c)
		}
	}
	if k.store == nil || e != nil && e.age(time.Now()) < k.policy.TTL {
		return e
	}
	// Another process may have what is not here, or a newer one.
	if other := k.store.get(c, c.sought.key.String()); other != nil && (e == nil || other.Stored.After(e.Stored)) {
		e = other
		k.kept.Put(c.sought.key, e, e.size())
		k.spell(c)
	}
	return e
}

// put keeps e in memory and in the Store.
func (k *cache) put(c *call, e *entry) {
	k.kept.Put(c.sought.key, e, e.size())
	k.spell(c)
	k.counts.stores.Add(1)
	k.t.emit(c, Event{Kind: KindCacheStore, Endpoint: e.Endpoint, Model: c.look.model, Bytes: int64(len(e.body))})
	k.store.set(c, c.sought.key.String(), e, k.policy.keep())
}

// answer answers with what is kept, nil if that cannot be had as the call wants it.
func (k *cache) answer(c *call, e *entry, age time.Duration, fresh freshness) *http.Response {
	ttl := int64((k.policy.TTL - age) / time.Second)
	how, kind, from, count := "breakwater; hit; ttl="+strconv.FormatInt(ttl, 10), KindCacheHit, "", &k.counts.hits
	switch {
	case fresh == usable && age >= k.policy.TTL:
		kind, from, count = KindCacheStale, "max-stale", &k.counts.stale
	case fresh == renewing:
		kind, from, count = KindCacheStale, "revalidate", &k.counts.stale
		how += "; detail=stale-while-revalidate"
	case fresh == spare:
		kind, from, count = KindCacheStale, "error", &k.counts.stale
		how += "; detail=stale-if-error"
	}
	resp := e.replay(c, age, how, fresh < usable)
	if resp != nil {
		count.Add(1)
		k.t.emit(c, Event{Kind: kind, Endpoint: e.Endpoint, Model: c.look.model, Bytes: int64(len(e.body)), From: from})
	}
	return resp
}

func (k *cache) missed(c *call) {
	k.counts.misses.Add(1)
	k.t.emit(c, Event{Kind: KindCacheMiss, Model: c.look.model})
}

// sharedBytes bounds what is held of one answer, for those who share it or to
// be kept.
func (k *cache) sharedBytes() int64 {
	if k.policy.MaxEntryBytes > 0 {
		return max(k.policy.MaxEntryBytes, minShared)
	}
	return maxShared
}

const (
	minShared = 64 << 10 // that bound, however small entries are
	maxShared = 16 << 20 // and where none is too large
)

func (k *cache) status() CacheStatus {
	n := &k.counts
	s := CacheStatus{Hits: n.hits.Load(), Misses: n.misses.Load(), Stale: n.stale.Load(), Shared: n.shared.Load(), Stores: n.stores.Load()}
	s.Entries, s.Bytes, s.Evictions = k.kept.Bounds()
	return s
}

// forwards says why a call goes on to the endpoints, as RFC 9211 has it.
func forwards(e *entry, w wish, p CachePolicy) string {
	switch {
	case e == nil:
		return "fwd=uri-miss"
	case w.noCache, e.age(time.Now()) < p.TTL:
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

// A sought is what a call looks for in the cache.
type sought struct {
	scope key.Scope
	exact key.Key // of the body as it came
	key   key.Key // of what it says; zero: not known yet
	entry *entry  // found by its exact key
}

// recall finds what is known of a call whose very bytes were seen before, and
// spares it the look into its body. It reports false if nothing is.
func (k *cache) recall(c *call) bool {
	if k == nil || c.NoCache || c.body == nil || c.packed {
		return false
	}
	s := &c.sought
	switch {
	case c.Scope != "":
		s.scope = key.OfName(c.Scope)
	case k.policy.Scope != nil:
		s.scope = key.OfName(k.policy.Scope(c.req))
	default:
		s.scope = key.OfCredential(c.credential)
	}
	var room [512]byte
	var ok bool
	if s.exact, ok = s.scope.Key(key.Exact, c.about(room[:0]), c.body); !ok {
		return false
	}
	known, e, l, ok := k.kept.Find(s.exact)
	if ok {
		s.key, s.entry, c.look = known, e, *l
	}
	return ok
}

// canonical finds the key of what the call says.
func (k *cache) canonical(c *call) bool {
	s := &c.sought
	text := canonicals.Get().(*[]byte)
	defer canonicals.Put(text)
	var ok bool
	if *text, ok = wire.Canonical((*text)[:0], c.body, "stream", "stream_options"); !ok {
		s.key = s.exact
		return s.key != key.Key{}
	}
	var room [512]byte
	s.key, ok = s.scope.Key(key.Canonical, c.about(room[:0]), *text)
	return ok
}

var canonicals = sync.Pool{New: func() any { return new([]byte) }}

// spell has the call's very bytes known from now on.
func (k *cache) spell(c *call) {
	l := c.look
	number := 0
	if l.stream {
		number = 1
	}
	k.kept.Spell(c.sought.key, number, c.sought.exact, &l, spellingSize)
}

// about appends what besides scope and body makes calls differ: the operation,
// the URL, the endpoint asked for, and the headers, for a gateway may go by any
// of them. Those that are a credential belong to the scope.
func (c *call) about(text []byte) []byte {
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
	var room [16]string
	names := room[:0]
	for name := range c.req.Header {
		if !isIndifferent(name) && !isCredential(name) {
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

// isIndifferent reports whether a header neither says who asks nor changes what
// is answered: those of the client, of the connection, of the cache, and of traces.
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
