package breakwater

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/coalesce"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/idempotency"
	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/store"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A cacheLayer answers calls with cached answers, and lets calls with the same key share
// one attempt: the key of what they ask, or their idempotency key. It passes on to next what
// it cannot answer.
type cacheLayer struct {
	keeper
	keyed     *idempotency.Answers // nil: idempotency keys have no effect
	repeating *coalesce.Group      // the calls under way that have one
	repeats   IdempotencyPolicy
	asErrors  bool
	next      http.RoundTripper
	retry     RetryPolicy  // its number of attempts decides which calls may share one
	stream    StreamPolicy // its timeouts bound how long a shared call may show nothing
	exchanges exchange.Policy
	spawn     func(task func(context.Context)) bool // runs a task in the background
	shared    *coalesce.Group                       // the calls under way
	renewals  *renewals
	update    int // so many layers were there before
}

// newCacheLayer returns the layer above next. spawn runs its renewals and its writes to the
// Store, and emit tells of what happens to these.
func newCacheLayer(c *config, next http.RoundTripper, spawn func(func(context.Context)) bool, emit func(context.Context, Event)) *cacheLayer {
	guardOf := func(s Store) *store.Guard {
		return store.NewGuard(s, store.Hooks{
			Go:      spawn,
			OnError: func(ctx context.Context, err error) { emit(ctx, Event{Kind: KindCacheError, Err: err}) },
		})
	}
	var guard *store.Guard
	if c.cache != nil {
		guard = guardOf(c.cache.Store)
	}
	l := &cacheLayer{
		keeper: newKeeper(c.cache, c.observers, guard), asErrors: c.asErrors,
		next: next, retry: c.retry, stream: c.stream, exchanges: c.stream.exchanges(), spawn: spawn,
		shared: new(coalesce.Group), renewals: new(renewals),
	}
	if c.repeats != nil {
		if c.cache == nil || !isSame(c.repeats.Store, c.cache.Store) {
			guard = guardOf(c.repeats.Store)
		}
		l.repeats, l.repeating = *c.repeats, new(coalesce.Group)
		l.keyed = idempotency.New(l.repeats.TTL, l.repeats.MaxBytes, guard)
	}
	return l
}

// keep takes over the answers and the calls under way of the layer before, unless their Scope
// is another one: the same words may stand for others then.
func (l *cacheLayer) keep(before *cacheLayer) {
	l.update = before.update + 1
	if l.keeper.keep(&before.keeper) {
		l.shared, l.renewals = before.shared, before.renewals
	}
	if l.keyed != nil && before.keyed != nil && isSameFunc(l.repeats.Scope, before.repeats.Scope) {
		l.repeating = before.repeating
		l.keyed.Keep(before.keyed, isSame(l.repeats.Store, before.repeats.Store))
	}
}

// setBounds has the bounds of the layer's policies hold for what the layer before had kept.
func (l *cacheLayer) setBounds() {
	l.kept.SetBounds(l.policy.MaxEntries, l.policy.MaxBytes)
	if l.keyed != nil {
		l.keyed.SetBounds(l.repeats.MaxBytes)
	}
}

// RoundTrip answers a call from the cache, from another call under way, or from next.
func (l *cacheLayer) RoundTrip(req *http.Request) (*http.Response, error) {
	c := callOf(req.Context())
	keyed, err := l.keyedCallOf(c)
	switch {
	case err != nil:
		return nil, l.refuseKey(c, ClassIdempotencyInvalid, err)
	case !l.caches && keyed == nil:
		return l.next.RoundTrip(req)
	}
	control := store.ParseControl(req.Header, c.CacheControl, c.format() != store.JSON)
	covered := !control.NoStore && l.covers(c)
	switch {
	case keyed != nil:
		c.lookup.noStore = control.NoStore
		if !covered {
			c.lookup.key = key.Key{}
		}
	case !covered && control.OnlyIfCached:
		return l.refuse(c), nil
	case !covered:
		resp, err := l.next.RoundTrip(req)
		return noteResult(resp, err, "fwd=bypass")
	}
	for {
		resp, err := l.repeat(c)
		if resp != nil || err != nil {
			return resp, err
		}
		var e *store.Entry
		if covered {
			e = l.find(c)
		}
		if resp := l.answerAtOnce(c, e, control); resp != nil {
			return resp, nil
		}
		if control.OnlyIfCached {
			return l.refuse(c), nil
		}
		if resp, err, ok := l.forward(c, e, control); ok {
			return resp, err
		}
	}
}

// keyedCallOf returns the call's idempotency key in its scope, with the fingerprint of its
// request. It returns nil if the call has no key, or if a repetition could not be told from
// another request.
//
// What the cache looks at besides the body is a part of the key, and not of the fingerprint:
// a call that differs there is another call, not a mistake.
func (l *cacheLayer) keyedCallOf(c *call) (*idempotency.Call, error) {
	if l.keyed == nil {
		return nil, nil
	}
	id, err := c.IdempotencyKey, error(nil)
	if id != "" {
		err = idempotency.Check(id)
	} else {
		id, err = idempotency.KeyOf(c.req.Header)
	}
	if err != nil || id == "" || c.nested || !c.isReadable() { // a nested call could be waiting for itself
		return nil, err
	}
	scope := c.scopeOf(l.repeats.Scope)
	var buf [512]byte
	about := c.appendVary(buf[:0])
	keyed := &idempotency.Call{}
	var ok bool
	if keyed.ID, ok = scope.Key(key.Given, about, []byte(id)); !ok {
		return nil, nil
	}
	form := key.Canonical
	text := canonicals.Get().(*[]byte)
	defer canonicals.Put(text)
	if *text, ok = wire.Canonical((*text)[:0], c.body()); !ok {
		form, *text = key.Exact, append((*text)[:0], c.body()...)
	}
	about = about[:0]
	if acceptsEvents(c.req.Header) {
		about = key.Append(about, "text/event-stream")
	}
	keyed.Print, _ = scope.Key(form, about, *text)
	if c.lookup == nil {
		c.lookup = &lookup{}
	}
	c.lookup.keyed, c.lookup.shared, c.lookup.sent = keyed, scope.Shared(), new(atomic.Bool)
	return keyed, nil
}

// repeat answers a call with the answer of its idempotency key. It returns nil if there is
// none yet.
func (l *cacheLayer) repeat(c *call) (*http.Response, error) {
	if c.lookup.keyed == nil {
		return nil, nil
	}
	e, err := l.keyed.Get(c, *c.lookup.keyed)
	switch {
	case err != nil:
		return nil, l.refuseKey(c, ClassIdempotencyReused, err)
	case e == nil:
		return nil, nil
	}
	ttl := int64(l.keyed.TTL(e) / time.Second)
	resp := c.replay(e, e.Age(time.Now()), "breakwater; hit; ttl="+strconv.FormatInt(ttl, 10)+"; detail=idempotency-key", false)
	if resp != nil {
		l.counts.hits.Add(1)
		l.answered(c, e, OutcomeHit, KindCacheHit, "idempotency-key")
		c.releaseBody()
	}
	return resp, nil
}

// status adds what is kept for idempotency keys.
func (l *cacheLayer) status() CacheStatus {
	s := l.keeper.status()
	if l.keyed != nil {
		entries, bytes, evicted := l.keyed.Stats()
		s.Entries, s.Bytes, s.Evictions = s.Entries+entries, s.Bytes+bytes, s.Evictions+evicted
	}
	return s
}

// refuseKey returns the error of a call whose idempotency key cannot be accepted.
func (l *cacheLayer) refuseKey(c *call, class Class, why error) error {
	if c.upload != nil {
		c.upload.Close()
	}
	x := &exhausted{failure: c.newError(class)}
	x.failure.why = outcome.LogText(why)
	c.setFailure(x.failure)
	if !l.asErrors {
		x.resp = c.ownAnswer(x.failure)
	}
	return x
}

// refuse answers a call that accepts only a cached answer (only-if-cached), if there is
// none.
func (l *cacheLayer) refuse(c *call) *http.Response {
	if c.upload != nil {
		c.upload.Close()
	}
	failure := c.newError(ClassNotCached)
	failure.why = "nothing is kept that would answer this call"
	c.setFailure(failure)
	return noteCache(c.ownAnswer(failure), "detail=only-if-cached")
}

// answerAtOnce answers with the entry e if that is fresh enough, or stale and renewed
// meanwhile. It returns nil if e is not enough.
func (l *cacheLayer) answerAtOnce(c *call, e *store.Entry, control store.Control) *http.Response {
	if e == nil {
		return nil
	}
	age := e.Age(time.Now())
	fresh := l.lifetime.Of(e).Freshness(age, control)
	if fresh < store.StaleWhileRevalidate {
		return nil
	}
	resp := l.answer(c, e, age, fresh)
	if keyed := c.lookup.keyed; resp != nil && keyed != nil {
		l.keyed.Put(c, *keyed, e)
	}
	switch {
	case resp == nil:
	case fresh == store.StaleWhileRevalidate:
		l.renew(c)
	default:
		c.releaseBody()
	}
	return resp
}

// forward shares a call under way, or makes the call. e is the entry found so far; nil:
// none. It reports false if another answer was cached since then.
func (l *cacheLayer) forward(c *call, e *store.Entry, control store.Control) (*http.Response, error, bool) {
	c.fallback = l.isFallback(e, control) && c.canUse(e)
	how := l.whyForwarded(e, control)
	if c.Err() != nil {
		return nil, context.Cause(c), true
	}
	var got callResult
	group := l.shared
	if c.lookup.keyed != nil {
		group = l.repeating
	}
	w := group.Wait(c.Context, l.askToShare(c, e, control, &got))
	defer w.Leave()
	for result := coalesce.NoAnswer; result == coalesce.NoAnswer; {
		if !w.Join() {
			if w.Conflicts() {
				return nil, l.refuseKey(c, ClassIdempotencyReused, idempotency.ErrReused), true
			}
			return nil, nil, false
		}
		if c.fallback && w.InRenewal() { // a stale answer is allowed, so do not wait for its renewal
			if stale := l.fallBack(c, e, control); stale != nil {
				return stale, nil, true
			}
		}
		var cause error
		switch result, cause = w.Await(); result {
		case coalesce.Stored:
			return nil, nil, false
		case coalesce.CallerLeft:
			got.err = cause
		}
	}
	if w.Shares() {
		if !w.HasLed() {
			l.counts.shared.Add(1)
			l.observers.emit(c, Event{Kind: KindCacheShared, Model: c.params.Model, From: got.by})
		}
		how += "; collapsed"
	}
	if x := asExhausted(got.err); x != nil {
		if stale := l.fallBack(c, e, control); stale != nil {
			if x.resp != nil {
				x.resp.Body.Close()
			}
			if x.unprobed {
				l.probe(c)
			}
			w.HandOver()
			return stale, nil, true
		}
	}
	w.HandOver()
	resp, err := noteResult(got.resp, got.err, how)
	return resp, err, true
}

// A callResult is the response, or the error, that a call gets.
type callResult struct {
	resp *http.Response
	err  error
	by   string // the id of the call that made the attempt, if it is known
}

// askToShare returns what the call wants of the calls under way. The answer that it gets
// goes to got.
func (l *cacheLayer) askToShare(c *call, e *store.Entry, control store.Control, got *callResult) coalesce.Ask {
	ask := l.askFor(c)
	ask.Private = c.NoShare || control.NoCache || c.nested // a nested call could be waiting for itself
	ask.OnLead = func() {
		l.counts.misses.Add(1)
		l.observers.emit(c, Event{Kind: KindCacheMiss, Model: c.params.Model})
	}
	ask.Changed = func() bool {
		now := l.inMemory(c)
		return now != nil && now != e
	}
	ask.Stored = func() bool {
		now := l.inMemory(c)
		if now == nil || now == e || l.lifetime.Of(now).Freshness(now.Age(time.Now()), control) != store.Fresh {
			return false
		}
		_, ok := now.As(c.format(), c.op.Wire(), false)
		return ok
	}
	ask.Take = func(f *coalesce.Follower) (taken bool) {
		s := f.Call().(*sharedCall)
		if s.call.info != nil {
			got.by = s.call.info.id
		}
		got.resp, got.err, taken = s.answer(c, f)
		return taken
	}
	if keyed := c.lookup.keyed; keyed != nil {
		l.askByKey(&ask, c, *keyed)
	}
	return ask
}

// askByKey makes ask that of a call with an idempotency key, which shares with the calls of
// the same key, and with no others.
func (l *cacheLayer) askByKey(ask *coalesce.Ask, c *call, keyed idempotency.Call) {
	ask.Key, ask.Print, ask.Private = keyed.ID, keyed.Print, false
	own := heldBytes(l.repeats.MaxEntryBytes)
	if !l.caches || own > ask.Limits.Held {
		ask.Limits.Held = own
	}
	ask.Background = l.spawn
	if !c.lookup.noStore {
		ask.Limits.Linger = l.repeats.Linger
	}
	ask.Changed = func() bool { return l.keyed.Has(keyed) }
	ask.Stored = ask.Changed
}

// isFallback reports whether e may be used if the call fails (stale-if-error).
func (l *cacheLayer) isFallback(e *store.Entry, control store.Control) bool {
	return e != nil && l.lifetime.Of(e).Freshness(e.Age(time.Now()), control) >= store.StaleIfError
}

// fallBack answers with e in place of a failure, or returns nil if e may not be used.
func (l *cacheLayer) fallBack(c *call, e *store.Entry, control store.Control) *http.Response {
	if !l.isFallback(e, control) {
		return nil
	}
	return l.answer(c, e, e.Age(time.Now()), store.StaleIfError)
}

// whyForwarded returns why a call goes on to the endpoints, in the terms of RFC 9211.
func (l *cacheLayer) whyForwarded(e *store.Entry, control store.Control) string {
	switch {
	case e == nil:
		return "fwd=uri-miss"
	case control.NoCache, e.Age(time.Now()) < l.lifetime.Of(e).TTL:
		return "fwd=request"
	}
	return "fwd=stale"
}

// canUse reports whether e can be given to the call in place of a failure.
func (c *call) canUse(e *store.Entry) bool {
	_, ok := e.As(c.format(), c.op.Wire(), true)
	return ok
}

// askFor returns what a call with c's key needs of the calls under way, for callers and
// for renewals.
func (l *cacheLayer) askFor(c *call) coalesce.Ask {
	ask := coalesce.Ask{
		Key:   c.lookup.key,
		Terms: coalesce.Terms{Form: int(c.format()), Credential: c.credential(), Attempts: c.attempts(l.retry.Attempts), Fallback: c.fallback, Urgency: int(c.turns().Priority), Tenant: c.Tenant, Update: l.update},
		Limits: coalesce.Limits{
			First: cmp.Or(c.firstClock(c.target, l.stream), c.firstClock(c.target, defaultClocks)),
			Stall: cmp.Or(l.stream.Stall, defaultClocks.Stall),
			Held:  heldBytes(l.policy.MaxEntryBytes),
		},
		Make: func(f *coalesce.Flight) coalesce.Call {
			return &sharedCall{layer: l, call: c.detach(f.Context()), completion: completion{&f.Completion, c.lookup.isShared()}}
		},
	}
	for _, f := range c.sharedFormats() {
		ask.Forms = append(ask.Forms, int(f))
	}
	return ask
}

// defaultClocks are the timeouts of shared calls for which the user has switched timeouts
// off: a follower must not wait for ever.
var defaultClocks, _ = StreamPolicy{}.resolve() // the zero policy is valid

const (
	minShared = 64 << 10 // the least number of bytes of a shared answer that are held, even if entries are smaller
	maxShared = 16 << 20 // that number if the size of entries has no limit
)

// heldBytes returns how many bytes of one answer are held for its followers and for the
// cache. maxEntry is the policy's MaxEntryBytes.
func heldBytes(maxEntry int64) int64 {
	if maxEntry > 0 {
		return max(maxEntry, minShared)
	}
	return maxShared
}

// sharedFormats returns the formats of calls that this call may share, its own first. A
// call for JSON needs the usage in the answer, which the streams of some hosts contain
// only on request. A call whose format is unclear shares only with calls for exactly the
// same.
func (c *call) sharedFormats() []store.Format {
	own := c.format()
	switch {
	case own == store.Unclear:
		return []store.Format{own}
	case own != store.JSON:
		return []store.Format{own, store.JSON}
	case c.op == request.Chat && c.target.profile.UsageInStreams, c.op == request.Messages, c.op == request.Responses:
		return []store.Format{store.JSON, store.StreamWithUsage, store.Stream}
	}
	return []store.Format{store.JSON, store.StreamWithUsage}
}

// detach returns a copy of c that outlives c's context and records into c's trail. Its
// context is ctx.
func (c *call) detach(ctx context.Context) *call {
	other := &call{
		Context: ctx, Call: c.withoutTrail(), op: c.op, target: c.target, candidates: c.candidates, params: c.params, buffer: c.buffer.Retain(),
		start: c.start, fallback: c.fallback, log: c.log, info: c.info,
	}
	lookup, caller := *c.lookup, c.credential()
	other.lookup = &lookup
	other.caller.Store(&caller)
	other.req = ownRequest(c.req, other) // the copy may go on when c's caller has its request back
	//lint:ignore SA1019 http.Client sets it still, for this caller alone, beside its context
	other.req.Cancel = nil
	return other
}

// A sharedCall is the call that a flight makes for all its followers.
type sharedCall struct {
	layer      *cacheLayer
	call       *call // detached from the leader's call
	completion completion

	// Start sets the following.
	resp      *http.Response
	exhausted *exhausted  // if no endpoint answered; resp is its response
	header    http.Header // of a good answer, as a cache hit shows it; nil: it is not a good answer
	events    bool        // the answer is a stream
}

// A completion learns from an answer's body how much of the answer has come.
type completion struct {
	*coalesce.Completion
	shared bool // several credentials share the scope
}

// Continue restricts who may share the answer by what the headers of its response say.
func (c completion) Continue(h http.Header) { c.Narrow(reachOf(h, c.shared)) }

// Start makes the call.
func (s *sharedCall) Start() (source coalesce.Source, err error) {
	resp, err := s.layer.next.RoundTrip(s.call.req)
	if x := asExhausted(err); x != nil {
		source.Failed, s.exhausted = true, x
		source.Limited = x.failure.limit != nil || slices.ContainsFunc(x.failure.Attempts, func(a Attempt) bool {
			return a.Class == ClassLimited || s.call.renewal != nil && outcome.Of(a.Class).Local
		})
		if resp = x.resp; resp != nil {
			err = nil
		}
	}
	if resp == nil {
		return source, err
	}
	returned := false
	defer func() {
		if !returned { // user code panicked below
			resp.Body.Close()
		}
	}()
	s.resp, source.Body = resp, resp.Body
	s.events = header.MediaType(resp.Header) == "text/event-stream" // what the response claims, which is true of one in one piece
	s.completion.Continue(resp.Header)
	if resp.StatusCode == http.StatusOK {
		source.Success = true
		s.header = store.KeptHeader(resp.Header, s.completion.shared)
	}
	switch kind := exchange.KindOf(resp.Body); kind {
	case exchange.KindStream, exchange.KindWhole:
		s.events = s.events || kind == exchange.KindStream
		source.Judged = true
		resp.Body.(exchange.Body).Observe(s.completion)
		source.Whole = kind == exchange.KindWhole
	case exchange.KindOpaque:
	default:
		source.Whole = true // in memory
	}
	if source.Whole {
		if source.Data, source.End = exchange.ReadAll(resp.Body); source.End == nil {
			source.End = io.EOF
		}
	}
	wants := s.call.format()
	source.Flawed = s.call.flawed
	source.Events, source.AsAsked = s.events, wants.IsStream(s.events) == s.events
	returned = true
	return source, nil
}

// Keep caches a complete answer, unless it is too large or is not what was asked for. If it
// is not to be given to others, it is kept for its idempotency key only.
func (s *sharedCall) Keep(answer []byte, forOthers bool) bool {
	l, lookup := s.layer, s.call.lookup
	fits := func(limit int64) bool { return limit == 0 || int64(len(answer)) <= limit }
	forKey := lookup.keyed != nil && !lookup.noStore && fits(l.repeats.MaxEntryBytes)
	forOthers = forOthers && lookup.key != key.Key{} && fits(l.policy.MaxEntryBytes)
	if s.header == nil || !forKey && !forOthers || !store.Sound(s.call.op.Wire(), s.call.inputs(), answer, s.events) && !(forKey && store.Accepted(s.call.op.Wire(), answer)) {
		return false
	}
	e := s.entry(bytes.Clone(answer))
	e.Stored, e.Header, e.Endpoint = time.Now().Add(-store.AgeOf(s.resp.Header)), s.header, s.completion.Endpoint()
	host := store.RestrictionOf(s.resp.Header, s.completion.shared)
	e.Selection, e.TTL, e.NoStale = store.SelectionOf(s.resp.Header, s.call.req.Header), host.TTL, host.NoStale
	kept := forKey && l.keyed.Put(s.call, *lookup.keyed, e)
	if forOthers {
		l.put(s.call, e)
	} else if kept {
		l.noteStored(s.call, e)
	}
	return kept || forOthers
}

// entry returns an entry with the complete answer, which can be given in any format.
func (s *sharedCall) entry(answer []byte) *store.Entry {
	return &store.Entry{Body: answer, Asked: s.call.format(), Streamed: s.events, Usage: s.completion.Usage()}
}

// inputs returns how many vectors a call for embeddings asks for; 0 for other calls.
func (c *call) inputs() int {
	if c.op.Wire() != wire.Embeddings {
		return 0
	}
	return request.Inputs(c.body())
}

// LastEvent returns the event that ends a follower's stream.
func (s *sharedCall) LastEvent(said []byte, err error, open bool) []byte {
	return s.layer.exchanges.LastEvent(s.call.op.Wire(), said, err, open)
}

// IsSent reports whether a host has got the request.
func (s *sharedCall) IsSent() bool { return s.call.lookup.sent.Load() }

// Release drops the request that the call was made with.
func (s *sharedCall) Release() { s.call.forgetBuffer() }

// answer returns what one of the callers gets of the flight's answer. It reports false if
// that cannot be put into the caller's format.
func (s *sharedCall) answer(c *call, f *coalesce.Follower) (resp *http.Response, err error, ok bool) {
	if s.resp != nil && !f.Leads() && c.lookup.keyed == nil && !store.SelectionOf(s.resp.Header, s.call.req.Header).Has(c.req.Header) {
		return nil, nil, false
	}
	s.tell(c, f)
	switch {
	case f.Err() != nil:
		return nil, f.Err(), true
	case f.WaitsForAll():
		defer f.Close()
		resp = s.recast(c, f)
		return resp, nil, resp != nil
	}
	resp = s.response(c, f)
	if data, end, whole := f.Whole(); whole {
		resp.Body = exchange.InMemory(data, end)
	} else {
		body := &sharedBody{Follower: f, call: c}
		resp.Body, c.open = body, true
		f.Watch(c, background.Recovered(body.left)) // an Observer may panic
	}
	if x := s.exhausted; x != nil {
		return nil, &exhausted{resp, x.failure, x.unprobed}, true
	}
	return resp, nil, true
}

// tell tells a caller's call how the flight's has ended so far.
func (s *sharedCall) tell(c *call, f *coalesce.Follower) {
	c.how = s.call.how
	c.setFailure(s.call.ownFailure())
	c.hadTime, c.byOwn = s.call.hadTime, s.call.byOwn
	switch {
	case c.how > lastAnswer:
	case f.Err() != nil:
		_, class := s.call.log.sum()
		c.how = endingOf(Outcome(class))
	case !f.Leads():
		c.how = endingOf(OutcomeCollapsed)
	}
}

// A sharedBody is a caller's part of a shared answer. Its end ends the caller's call.
type sharedBody struct {
	*coalesce.Follower
	call *call
	read atomic.Int64 // bytes
}

func (b *sharedBody) Read(p []byte) (int, error) {
	n, err := b.Follower.Read(p)
	b.read.Add(int64(n))
	switch {
	case err == io.EOF:
		b.call.end(ClassOK, nil, b.read.Load())
	case outcome.Broke(err):
		b.broke(err)
	case err != nil:
		b.left()
	}
	return n, err
}

func (b *sharedBody) Close() error {
	if err := b.Follower.End(); outcome.Broke(err) { // some callers stop reading at the event that says so
		defer b.broke(err)
	} else {
		defer b.left()
	}
	return b.Follower.Close()
}

// broke notes that the answer broke in err. The caller may read and close at the same time,
// so only who ends the call writes to it.
func (b *sharedBody) broke(err error) {
	if !b.call.ends() {
		return
	}
	made := b.Call().(*sharedCall).call
	b.call.unrescued = made.log.total().unrescued
	_, class := made.log.sum() // a host's error event has the class of what it says
	if class == "" || class == ClassOK {
		class = outcome.BreakOf(err)
	}
	b.call.report(class, err, b.read.Load())
}

// left notes that the caller reads no further.
func (b *sharedBody) left() {
	if b.call.Err() != nil {
		b.call.end(ClassCanceled, context.Cause(b.call), b.read.Load())
	} else {
		b.call.end(ClassOK, nil, b.read.Load())
	}
}

// response returns the flight's response for one of the callers, without a body. Callers
// other than the leader see the headers of a cache hit, or of the failure, because it may
// tell when to retry; callers that share a failure have the same credential.
func (s *sharedCall) response(c *call, f *coalesce.Follower) *http.Response {
	resp := new(http.Response)
	*resp = *s.resp
	resp.Request = c.req
	switch {
	case f.Leads():
		resp.Header = s.resp.Header.Clone()
		return resp
	case s.header != nil:
		resp.Header = s.header.Clone()
	default:
		resp.Header = s.resp.Header.Clone()
		delete(resp.Header, "Set-Cookie") // callers may have sessions of their own
	}
	resp.Trailer = nil
	return resp
}

// recast returns the complete answer in the format that the caller wants, or nil if that
// is not possible.
func (s *sharedCall) recast(c *call, f *coalesce.Follower) *http.Response {
	answer, ok := f.All()
	if !ok {
		return nil
	}
	body, ok := s.entry(answer).As(c.format(), c.op.Wire(), false)
	if !ok {
		return nil
	}
	resp := s.response(c, f)
	if stream := c.format().IsStream(s.events); stream != s.events {
		store.SetFormat(resp.Header, stream)
	}
	resp.Body, resp.ContentLength, resp.TransferEncoding = exchange.InMemory(body, io.EOF), int64(len(body)), nil
	return resp
}

// renewals counts the calls that are made in the background.
type renewals struct {
	mu      sync.Mutex        // guards what follows
	running int               // at most maxRenewals
	probe   *coalesce.Renewal // the latest one that finds out whether an endpoint is available again
	probed  time.Time         // when it began
	probeIn time.Duration     // how long after it another one may begin, if it hangs
}

const (
	maxRenewals = 16               // running at once
	renewWait   = 15 * time.Minute // how long one may take: DeepSeek may queue a call for 10 minutes

	// If such a renewal shows nothing, another one may begin after firstLook, and the next
	// ones after twice the time before, up to maxLook.
	firstLook = circuit.ProbeGrace
	maxLook   = 30 * time.Second
)

// renew requests a new answer in the background, unless another call is doing so. Close
// ends it.
func (l *cacheLayer) renew(c *call) {
	n := l.renewals
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running < maxRenewals {
		l.renewLocked(c, true)
	}
}

// probe renews an entry to find out whether an endpoint is available again. One call does
// that for all, because callers with a fallback leave probes to others. If it hangs,
// another one is made.
func (l *cacheLayer) probe(c *call) {
	n := l.renewals
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	wait, hangs := n.probeIn, n.probe != nil && !n.probe.IsAnswered()
	if !hangs {
		wait, n.probeIn = circuit.ForcedEvery, firstLook
	}
	if now.Sub(n.probed) < wait || n.running >= maxRenewals {
		return
	}
	if hangs {
		n.probeIn = min(2*n.probeIn, maxLook)
	}
	if r := l.renewLocked(c, false); r != nil {
		n.probe, n.probed = r, now
	}
}

// renewLocked begins a renewal, unless the Transport is closed. If join is set, calls may
// join it, and none is made while another call with the same key is under way.
func (l *cacheLayer) renewLocked(c *call, join bool) *coalesce.Renewal {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context), renewWait)
	var own *call
	ask := l.askFor(c)
	ask.Terms.Fallback = false
	ask.Make = func(f *coalesce.Flight) coalesce.Call {
		own = c.detach(f.Context())
		own.log, own.start, own.fallback, own.info = &own.ownLog, time.Now(), false, l.observers.newInfo(string(own.op), own.params.Stream)
		own.renewal = &renewal{f, cancel}
		return &sharedCall{layer: l, call: own, completion: completion{&f.Completion, c.lookup.isShared()}}
	}
	ask.OnLead = func() { l.observers.emit(own, Event{Kind: KindCacheRenew, Model: own.params.Model}) }
	r := l.shared.Renew(ctx, ask, join)
	if r == nil {
		cancel()
		return nil
	}
	begun := l.spawn(func(closed context.Context) {
		defer context.AfterFunc(closed, cancel)()
		defer cancel()
		// A renewal that shows nothing first gives up its place among the renewals, and is
		// canceled later.
		over := sync.OnceFunc(l.renewals.end)
		defer over()
		defer time.AfterFunc(maxLook, over).Stop()
		r.Run()
	})
	if !begun {
		cancel()
		r.Drop()
		return nil
	}
	l.renewals.running++
	return r
}

// end frees a renewal's place.
func (r *renewals) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
}
