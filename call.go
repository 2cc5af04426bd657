package breakwater

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/balance"
	"github.com/breakwater-go/breakwater/internal/bounded"
	"github.com/breakwater-go/breakwater/internal/coalesce"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/idempotency"
	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/price"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/resume"
	"github.com/breakwater-go/breakwater/internal/store"
	"github.com/breakwater-go/breakwater/internal/tenant"
	"github.com/breakwater-go/breakwater/internal/wire"
	"github.com/breakwater-go/breakwater/internal/within"
)

// Call has options for the calls made with one context. Set it with [WithCall]. Its zero
// value changes nothing.
//
// For a call that must get a new answer from one endpoint, such as a health check:
//
//	breakwater.Call{Endpoint: "deepseek", NoCache: true, Attempts: 1}
type Call struct {
	NoCache      bool   // the call gets no answer from the cache, and its answer is not kept; its idempotency key has its effect all the same
	NoShare      bool   // the call does not share an attempt with other calls
	CacheControl string // directives for the cache, such as "max-age=60"; they override those of the request's Cache-Control
	Scope        string // name of the group that may share the answer, instead of CachePolicy.Scope; empty: as there
	Endpoint     string // Name of the only endpoint to use; empty: any. If there is no such endpoint, the call fails with ClassUnserved
	Attempts     int    // attempts per account, instead of RetryPolicy.Attempts; 0: as there; Off: 1
	Trail        *Trail // records the attempts of the call; nil: none

	// Endpoints are the only endpoints that a request made with the context may go to: those
	// whose Name, Region or one of whose Tags is among these words, which are compared
	// exactly. Default nil: any. An empty list that is not nil allows none.
	//
	//	breakwater.Call{Endpoints: []string{"on-premises"}}
	//
	// Nothing sends the request to another place: no failover, hedge, rescue, backup or
	// renewal of a kept answer, and no request of another call that it would share. If its
	// URL is that of another endpoint, an inference call goes to one of these. Any other
	// request fails instead, and so does one to an origin that is no endpoint, as when
	// http.Client follows a redirect.
	//
	// What outer options do not allow, inner ones cannot allow: the lists of several
	// WithCalls all hold, and so does Endpoint. If no endpoint is left, if a word is the
	// Name, Region and tag of none, or if New was given no endpoints, nothing is sent. The
	// error, an [*Error] of ClassUnserved, says why.
	Endpoints []string

	// IdempotencyKey takes the place of the request's Idempotency-Key, for SDKs that let you
	// set no header: see WithIdempotency. No host gets it. Set it for one call: calls
	// with one key and different requests are refused.
	IdempotencyKey string

	// Tenant says for whom the call is made, such as a customer of yours. While a limit of
	// RatePolicy or a learned one is short, calls of the tenant that has used less of it
	// lately go first. [WithTenants] limits what it may ask for. Default empty: what
	// TenantPolicy.Of says, or a tenant like others, of all calls that name none. No host,
	// event or log gets the name; an [Observer] finds it by CallOf of its context.
	Tenant string

	// Priority says how urgent the call is while a limit is short. Default: what
	// TenantPolicy.Of says, or PriorityDefault.
	Priority Priority

	bounds within.Bounds // Endpoints, and those of outer options
}

type callOptionsKey struct{}

// WithCall returns a copy of ctx with the options c. They apply to all calls made with it.
// Fields of c that are zero keep the values of an earlier WithCall, so that a Trail around
// a function still records if the function sets something else. It works through SDKs,
// because these pass the context on.
func WithCall(ctx context.Context, c Call) context.Context {
	outer := callOptions(ctx)
	c.NoCache = c.NoCache || outer.NoCache
	c.NoShare = c.NoShare || outer.NoShare
	c.CacheControl = cmp.Or(c.CacheControl, outer.CacheControl)
	c.Scope = cmp.Or(c.Scope, outer.Scope)
	c.IdempotencyKey = cmp.Or(c.IdempotencyKey, outer.IdempotencyKey)
	c.Endpoint = cmp.Or(c.Endpoint, outer.Endpoint)
	c.Attempts = cmp.Or(c.Attempts, outer.Attempts)
	c.Trail = cmp.Or(c.Trail, outer.Trail)
	c.Tenant = cmp.Or(c.Tenant, outer.Tenant)
	c.Priority = cmp.Or(c.Priority, outer.Priority)
	c.bounds = outer.bounds.And(c.bounds)
	if c.Endpoints != nil {
		c.bounds = c.bounds.AndOneOf(c.Endpoints)
	} else {
		c.Endpoints = outer.Endpoints
	}
	c.Endpoints = slices.Clone(c.Endpoints)
	return context.WithValue(ctx, callOptionsKey{}, &c)
}

// CallOf returns the options that ctx carries, of every WithCall. It returns the zero Call
// if there are none. If several of them have Endpoints, the Call shows the innermost list, and
// given to WithCall again, it still keeps within all.
func CallOf(ctx context.Context) Call {
	c := *callOptions(ctx)
	c.Endpoints = slices.Clone(c.Endpoints)
	return c
}

// callOptions returns the options that ctx carries. They must not be changed.
func callOptions(ctx context.Context) *Call {
	if c, ok := ctx.Value(callOptionsKey{}).(*Call); ok {
		return c
	}
	return &noOptions
}

var noOptions Call

// withoutTrail returns the options for an internal call made on c's behalf. Only the
// caller's own call fills the Trail.
func (c *call) withoutTrail() *Call {
	if c.Trail == nil {
		return c.Call
	}
	options := *c.Call
	options.Trail = nil
	return &options
}

// A call is one request of the caller. It is the context of everything that is
// done for it, so that every layer finds it, and so does TrailOf by the response.
type call struct {
	context.Context // the caller's
	*Call

	req          *http.Request // the caller's, its context being this call
	op           request.Operation
	target       *upstream   // the endpoint that the call is meant for
	candidates   []*upstream // the endpoints to consider, highest tier first
	params       request.Params
	buffer       *reqbody.Buffer // the body; nil: there is none, or it is in upload
	upload       *reqbody.Upload // a body that is too large to be kept: sent once
	start        time.Time
	caller       atomic.Pointer[header.Credential] // computed when it is first needed; nil until then
	lookup       *lookup                           // nil: the cache does not cover the call
	conversation uint64                            // its key; 0: Affinity does not apply

	encoded  bool         // the body has a Content-Encoding, so it cannot be parsed
	nested   bool         // made with the context of another call, as by an Observer
	fallback bool         // a kept answer could replace a failure
	flawed   bool         // its answer is a flawed one: no attempt brought a better one
	queued   atomic.Int32 // how long it has waited for limits, in milliseconds
	renewal  *renewal     // nil: a caller waits for the call

	open     bool          // the answer's body is still to be read: its end ends the call
	hadTime  bool          // the caller's deadline ended an attempt whose host had had enough time
	byOwn    bool          // the caller's own key was rejected, or the host sends it elsewhere
	how      ending        // how the call was answered, or how it failed, if its attempts do not tell; 0: they do, or it is not known yet
	state    atomic.Uint32 // hasReturned, isOver
	counters *counters     // counts the call; nil: it is made on behalf of others, which are counted
	info     *callInfo     // nil: there are no observers

	resumption *resumption    // set if the call is a rescue
	unrescued  Reason         // why a stream that breaks is not continued; empty: the rescue layer tries to
	transcribe *resume.Limits // set by the rescue layer: a stream keeps its transcript within them

	failure atomic.Pointer[Error] // if no endpoint answered

	log *attemptLog // ownLog, or that of the call or Trail for which it is made

	// The following are parts of the call only so that one allocation makes them all.
	ownReq    http.Request
	ownLog    attemptLog
	excluded  exclusions
	signature [3]string          // the values of the answer's headers: which endpoint gave it, after how many attempts, and how
	targets   [4]*balance.Target // space for the choice of an endpoint
}

// The exclusions of a call are what it must not use, or not use again. The clocks of its
// attempts look at them, too.
type exclusions struct {
	mu       sync.Mutex      // guards what follows
	accounts []string        // those that were tried
	rare     *rarelyExcluded // nil: nothing
}

// rarelyExcluded are exclusions, and what else few calls have.
type rarelyExcluded struct {
	misfits []misfit
	racing  [2]*upstream // the endpoints of two hedged attempts, if there are two: see StreamPolicy.Hedge
	asked   string       // the model that the call asks for, if it gets a cheaper one: see SpendPolicy.Cheaper
	hold    *tenant.Hold // what the call holds of its tenant's limits; nil: nothing
	broken  string       // a rescue must not use this account, whose stream broke; empty: it may use all
	newKeys *newKeys     // shared with the call's rescues
}

// newKeys are what a call knows of keys that hosts refused, for which it asked a KeyFunc
// again.
type newKeys struct {
	mu  sync.Mutex // guards all
	all []newKey
}

// A newKey is what came in place of a refused key.
type newKey struct {
	place   int32  // of the attempt whose key was refused, in the trail
	account string // that it was at
	key     string // empty: none came
	cut     bool   // the call was over before the function answered
}

// keys returns the new keys of the call and of its rescues.
func (x *exclusions) keys() *newKeys {
	x.mu.Lock()
	defer x.mu.Unlock()
	rare := x.rareLocked()
	if rare.newKeys == nil {
		rare.newKeys = &newKeys{}
	}
	return rare.newKeys
}

// shareKeys makes x have the new keys of the call that broke.
func (x *exclusions) shareKeys(of *exclusions) {
	keys := of.keys()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rareLocked().newKeys = keys
}

// holds notes what the call holds of its tenant's limits. Room for what few calls have comes
// with it.
func (x *exclusions) holds(h *tenantHold) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.rare == nil {
		x.rare = &h.rare
	}
	x.rare.hold = &h.Hold
}

// held returns what the call holds of its tenant's limits; nil: nothing.
func (x *exclusions) held() *tenant.Hold {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.rare == nil {
		return nil
	}
	return x.rare.hold
}

// joinHold notes that another attempt belongs to what the call holds of its tenant's limits.
func (c *call) joinHold() {
	if hold := c.excluded.held(); hold != nil {
		hold.Join()
	}
}

// A tenantHold is a Hold, and in the same allocation where the call keeps it.
type tenantHold struct {
	tenant.Hold
	rare rarelyExcluded
}

// mayAskAgain reports whether the attempt at a place of the trail is the call's first at the
// account whose key was refused.
func (x *exclusions) mayAskAgain(account string, place int32) bool {
	keys := x.keys()
	keys.mu.Lock()
	defer keys.mu.Unlock()
	for _, k := range keys.all {
		if k.account == account {
			return false
		}
	}
	keys.all = append(keys.all, newKey{place: place, account: account})
	return true
}

// noteNewKey notes which key came in place of that of the attempt at a place; empty: the call
// was over before.
func (x *exclusions) noteNewKey(place int32, key string) {
	keys := x.keys()
	keys.mu.Lock()
	defer keys.mu.Unlock()
	for i := range keys.all {
		if k := &keys.all[i]; k.place == place {
			k.key, k.cut = key, key == ""
		}
	}
}

// newKeyOf returns what came in place of the key of the attempt at a place.
func (x *exclusions) newKeyOf(place int32) newKey {
	keys := x.keys()
	keys.mu.Lock()
	defer keys.mu.Unlock()
	for _, k := range keys.all {
		if k.place == place {
			return k
		}
	}
	return newKey{}
}

// rareLocked returns what few calls have, to change it.
func (x *exclusions) rareLocked() *rarelyExcluded {
	if x.rare == nil {
		x.rare = &rarelyExcluded{}
	}
	return x.rare
}

// A misfit is an endpoint that refused the call because the call exceeds the limits of the
// model there (ClassUnsuited).
type misfit struct {
	endpoint *upstream
	model    string
}

func (x *exclusions) tried(account string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.accounts = append(x.accounts, account)
}

func (x *exclusions) unsuited(e *upstream, model string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	rare := x.rareLocked()
	rare.misfits = append(rare.misfits, misfit{e, model})
}

func (x *exclusions) askedFor(model string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rareLocked().asked = model
}

func (x *exclusions) race(first, second *upstream) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rareLocked().racing = [2]*upstream{first, second}
}

func (x *exclusions) broke(account string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rareLocked().broken = account
}

// forgetTried ends the exclusions that hold only while the call makes attempts. A stream
// that breaks later may be continued at any account.
func (x *exclusions) forgetTried() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.accounts = nil
	if x.rare != nil {
		x.rare.misfits = nil
	}
}

// forbids returns why the call must not use e for a model, or "" if it may. An endpoint of the
// same host with the same model has the same limits as one that refused the call for them.
func (x *exclusions) forbids(e *upstream, model string) Reason {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.rare == nil {
		return ""
	}
	if x.rare.broken != "" && x.rare.broken == e.Account {
		return ReasonAccount
	}
	for _, m := range x.rare.misfits {
		if m.endpoint != e && m.model == model && m.endpoint.profile == e.profile && (!e.profile.Generic || m.endpoint.origin == e.origin) {
			return ReasonUnsuited
		}
	}
	return ""
}

// inUse reports whether the account was tried, or one of two hedged attempts is at it.
func (x *exclusions) inUse(account string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Contains(x.accounts, account) || x.rare != nil && x.rare.races(account)
}

// races reports whether one of two hedged attempts is at the account.
func (r *rarelyExcluded) races(account string) bool {
	return r.racing[0] != nil && (r.racing[0].Account == account || r.racing[1].Account == account)
}

// otherRequests is the name under which an endpoint's requests that are no inference have
// their circuit and their pauses, where a call has the name of its model.
const otherRequests = "GET"

// isSafe reports whether the call is no inference, but a GET or HEAD. Such a call goes to its
// target only, its answers are judged by their status, and they are passed on as they come.
func (c *call) isSafe() bool { return c.op == request.None }

// circuitOf returns the name of the circuit of the call's attempts for a model.
func (c *call) circuitOf(model string) string {
	if c.isSafe() {
		return otherRequests
	}
	return model
}

type callKey struct{}

// Value returns the call itself for its key, and what its events have in common.
func (c *call) Value(key any) any {
	switch key.(type) {
	case callKey:
		return c
	case callInfoKey:
		return c.info
	case callOptionsKey:
		return c.Call
	}
	return c.Context.Value(key)
}

// The states of a call that is counted. With both, its end is reported.
const (
	hasReturned = 1 << iota // RoundTrip has returned, or is about to
	isOver                  // nothing more comes
)

// conclude notes with what RoundTrip returns: it signs the response, counts the call and
// emits its event. exhausted: no endpoint answered.
func (c *call) conclude(resp *http.Response, err error, exhausted bool) {
	if c.how == 0 || resp == nil {
		c.how = endingOf(c.outcome(resp, err))
	}
	o := endings[c.how]
	if resp != nil {
		if resp.Header == nil {
			resp.Header = make(http.Header, 1)
		}
		c.signature[2] = string(o)
		resp.Header[header.Outcome] = c.signature[2:]
	}
	if exhausted || err != nil && exchange.EndOf(c) == nil {
		c.counters.failed.Add(1)
	}
	if c.info == nil {
		c.handOver(resp, err)
		return
	}
	defer c.handOver(resp, err) // also if an Observer panics
	e := Event{Kind: KindCall, Outcome: o, Err: err, Elapsed: time.Since(c.start), Model: cmp.Or(c.log.total().model, c.params.Model)}
	e.Attempt, e.Class = c.log.sum()
	if resp != nil {
		e.Status, e.Endpoint = resp.StatusCode, header.First(resp.Header, header.Endpoint)
	}
	if !o.isAnswer() {
		e.Fault = c.faultOf(o)
		if failure := c.ownFailure(); failure != nil && err == nil {
			e.Err = failure
		}
	}
	c.info.returned = e
	c.counters.observers.emit(c, e)
}

// handOver notes that RoundTrip returns. If nothing is left to read, that ends the call.
func (c *call) handOver(resp *http.Response, err error) {
	old := c.state.Or(hasReturned)
	switch {
	case !c.open && resp != nil:
		c.report(ClassOK, err, max(resp.ContentLength, exchange.SizeInMemory(resp.Body))) // a refusal may come without its length
	case !c.open:
		c.report(ClassOK, err, 0)
	case old&isOver != 0: // the body has ended already
		_, class := c.log.sum()
		c.report(class, err, fromLog)
	}
}

// outcome returns how the call was answered, or how it failed.
func (c *call) outcome(resp *http.Response, err error) Outcome {
	if resp != nil {
		return c.log.answered()
	}
	_, class := c.log.sum()
	switch failure := c.ownFailure(); {
	case failure != nil && err == error(failure):
		return Outcome(failure.Class)
	case outcome.Of(class).Fault == outcome.FaultCaller:
		return Outcome(class)
	case errors.Is(c.Err(), context.Canceled):
		return Outcome(ClassCanceled)
	case exchange.EndOf(c) != nil:
		return Outcome(ClassDeadline)
	case c.how != 0:
		return endings[c.how]
	}
	return Outcome(class)
}

// faultOf returns who is at fault for the call's failure.
func (c *call) faultOf(o Outcome) Fault {
	switch fault := o.fault(); {
	case o == Outcome(ClassDeadline) && c.hadTime:
		return FaultHost
	case fault != "" && c.byOwn:
		return FaultCaller
	default:
		return fault
	}
}

// fromLog stands for the bytes that the attempts of the call brought.
const fromLog = -1

// end notes that the call's answer has ended, in class. bytes is how many its caller got, or
// fromLog. The first end counts. No lock may be held, because observers hear of it.
func (c *call) end(class Class, err error, bytes int64) {
	if c.ends() {
		c.report(class, err, bytes)
	}
}

// ends notes that the call's answer has ended, and reports whether nothing had ended it before.
func (c *call) ends() bool {
	return c.counters != nil && c.state.Or(isOver) == hasReturned
}

// report counts how the call ended, and emits its last event.
func (c *call) report(class Class, err error, bytes int64) {
	how := c.how
	switch {
	case how > lastAnswer:
	case class != ClassOK:
		how = endingOf(Outcome(class))
	case c.open && c.log.isRescued():
		how = endingOf(OutcomeRescued)
	}
	c.counters.ends[how].Add(1)
	if c.info == nil {
		return
	}
	o := endings[how]
	e, all := c.info.returned, c.log.total()
	if e.Kind = KindEnd; e.Outcome.isAnswer() {
		e.FirstToken, e.Class, e.Outcome, e.Fault, e.Err = e.Elapsed, class, o, c.faultOf(o), err
	} else {
		e.Class = Class(o)
	}
	if c.open {
		e.Elapsed, e.Reason = time.Since(c.start), all.unrescued
		if outcome.Broke(err) {
			e.Reason = cmp.Or(e.Reason, c.unrescued) // a caller that shares an attempt has none in its own trail
		}
		e.Attempt, _ = c.log.sum()
		if all.endpoint != "" {
			e.Endpoint, e.Model = all.endpoint, all.model
		}
	}
	e.Usage = all.usage
	if c.counters.currency != (price.Currency{}) {
		e.Cost = all.cost
		e.Cost.currency = c.counters.currency
	}
	if e.Bytes = bytes; bytes == fromLog {
		e.Bytes = all.bytes
	}
	c.counters.observers.emit(c, e)
}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// ownRequest returns a copy of req, without its body, that stays valid when the
// caller reuses req. A caller may do that once its response body is closed.
func ownRequest(req *http.Request, ctx context.Context) *http.Request {
	req = req.WithContext(ctx)
	u := *req.URL
	req.URL, req.Header = &u, req.Header.Clone()
	req.GetBody = nil
	if req.Body != nil {
		req.Body = http.NoBody
	}
	return req
}

// restored returns the caller's request with a body that can be read again.
func (c *call) restored(req *http.Request) *http.Request {
	req = req.WithContext(req.Context())
	switch {
	case c.upload != nil:
		req.Body = c.upload
	case c.body() != nil:
		req.Body = io.NopCloser(bytes.NewReader(c.body()))
	}
	return req
}

// choices returns how many choices the call asks for.
func (c *call) choices() int {
	if c.upload != nil || c.encoded {
		return wire.Unknown
	}
	return int(c.params.Choices)
}

// thinking reports whether e is expected to think before it answers.
func (c *call) thinking(e *upstream) bool {
	model, _ := e.serves(c.op, c.params.Model, c.target)
	return c.params.Thinking.On || e.profile.Thinks(c.params.Model) || e.profile.Thinks(model)
}

// body returns the body, or nil if there is none or it is streamed.
func (c *call) body() []byte { return c.buffer.Bytes() }

// releaseRequest drops the body once the call has its answer, because a response that the
// caller keeps refers to the call. Whatever still needs the body has a reference of
// its own: a base that reads it, a shared attempt, a renewal, the rescue layer.
func (c *call) releaseRequest(answer io.Reader, shared bool) {
	if !shared && exchange.KindOf(answer) == exchange.KindWhole {
		c.releaseBody()
	}
	c.forgetBuffer()
}

func (c *call) forgetBuffer() { c.buffer = nil }

// releaseBody ends the call's use of its body, so that its buffer can be reused.
func (c *call) releaseBody() {
	c.buffer.Release()
	c.buffer = nil
}

// limiter returns what limits the call's attempts at an endpoint; nil: nothing does. What a
// host says to one credential limits no other.
func (c *call) limiter(e *upstream, model string) *limit.Limiter {
	if !e.limits.Any() {
		return nil
	}
	var asker header.Credential
	if !e.keyed {
		asker = c.credential()
	}
	return e.limits.Get(model, asker)
}

// turns returns what decides when it is the call's turn at a limit.
func (c *call) turns() limit.Caller {
	return limit.Caller{Tenant: bounded.Name(c.Tenant), Priority: limit.Priority(c.Priority)}
}

// isRestricted reports whether the call's options leave it a part of the endpoints.
func (c *call) isRestricted() bool { return c.Endpoint != "" || len(c.bounds) > 0 }

// credential returns the credential of the caller.
func (c *call) credential() header.Credential {
	if known := c.caller.Load(); known != nil {
		return *known
	}
	known := header.CredentialOf(c.req)
	c.caller.Store(&known)
	return known
}

// TrailOf returns the attempts of the call that resp answers, in order. It returns nil if
// the call made none, as for an answer from the cache or one shared with another call, and
// if resp is not from a Transport. While the body is read, the last attempt is under way:
// its Usage, Bytes and Elapsed are known at the end of the body.
func TrailOf(resp *http.Response) []Attempt {
	if resp == nil || resp.Request == nil {
		return nil
	}
	c := callOf(resp.Request.Context())
	if c == nil {
		return nil
	}
	return c.log.list()
}

// ErrorOf returns the [*Error] of a response to a call that no endpoint answered: one that
// breakwater made, or a host's own, such as a 503 after several attempts. With [WithErrors],
// the latter calls return the same [*Error] instead. It returns nil for an answer, and for a
// host's refusal that concerns the request, the content or the caller's own key.
func ErrorOf(resp *http.Response) error {
	if resp == nil || resp.Request == nil {
		return nil
	}
	c := callOf(resp.Request.Context())
	if c == nil {
		return nil
	}
	if failure := c.ownFailure(); failure != nil {
		return failure
	}
	return nil // a nil *Error in an error would not be nil
}

// newError returns the error of the call, which failed in a class.
func (c *call) newError(class Class) *Error {
	e := &Error{Attempts: c.log.list(), Class: class}
	if c.info != nil {
		e.Call = c.info.id
	}
	return e
}

// setFailure sets the error of a call that no endpoint answered, for [ErrorOf]; nil: it has
// got an answer after all.
func (c *call) setFailure(failure *Error) {
	if failure != nil {
		c.how = endingOf(Outcome(failure.Class))
	}
	if failure != c.failure.Load() {
		c.failure.Store(failure)
	}
}

// ownFailure returns the error of a call that no endpoint answered, or nil.
func (c *call) ownFailure() *Error { return c.failure.Load() }

// ownAnswer returns the response that breakwater makes when no host sent one.
func (c *call) ownAnswer(failure *Error) *http.Response {
	status, code := http.StatusServiceUnavailable, string(failure.Class)
	switch failure.Class {
	case ClassLimited:
		status, code = http.StatusTooManyRequests, "rate_limited"
		if failure.limit != nil {
			code = "tenant_limited"
		}
	case ClassSpent:
		status = http.StatusPaymentRequired
	case ClassNotCached:
		status = http.StatusGatewayTimeout
	case ClassIdempotencyInvalid:
		status = http.StatusBadRequest
	case ClassIdempotencyReused:
		status = http.StatusUnprocessableEntity
	}
	resp := c.response(status, c.op.Wire().ErrorBody(status, code, failure.Error()))
	resp.Header.Set("Content-Type", "application/json")
	resp.Header.Set(header.Error, code)
	resp.Header.Set(header.ShouldRetry, "false")
	if failure.RetryAfter > 0 {
		resp.Header.Set("Retry-After", seconds(failure.RetryAfter))
	}
	return resp
}

// seconds returns d in the format of Retry-After, rounded up.
func seconds(d time.Duration) string {
	n := int64(max(d, 0) / time.Second)
	if d > 0 && d%time.Second > 0 {
		n++
	}
	return strconv.FormatInt(n, 10)
}

// response returns a response to c with a body from memory.
func (c *call) response(status int, body []byte) *http.Response {
	return &http.Response{
		Status:        strconv.Itoa(status) + " " + http.StatusText(status),
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        make(http.Header),
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       c.req,
	}
}

// A renewal is what the limits see of a call that is made in the background.
type renewal struct {
	flight *coalesce.Flight
	cancel func()
}

// isSpare reports whether no caller waits for the call.
func (r *renewal) isSpare() bool { return r != nil && !r.flight.IsJoined() }

// giveWay ends the call, unless callers wait for it meanwhile.
func (r *renewal) giveWay() bool {
	if !r.isSpare() {
		return false
	}
	r.cancel()
	return true
}

// A resumption says which broken stream a call continues, and how.
type resumption struct {
	how      rescueKind
	reasoned bool      // it is behind reasoning
	endpoint *upstream // whose stream broke
	model    string    // its name for the model
	place    int       // index in the trail of the attempt that broke
}

// A rescueKind is the way in which a stream is rescued.
type rescueKind uint8

const (
	notRescued rescueKind = iota
	rescueContinues
	rescueRestarts
)

func (k rescueKind) String() string { return [...]string{"", "continue", "restart"}[k] }

// continues reports whether the call asks a host to continue a text.
func (c *call) continues() bool {
	return c.resumption != nil && c.resumption.how == rescueContinues
}

// A lookup is a call's keys in the cache.
type lookup struct {
	scope key.Scope
	exact key.Key      // of the bytes of the body
	key   key.Key      // of the meaning of the body; zero: not known yet, or the cache does not cover the call
	entry *store.Entry // found by the exact key

	keyed   *idempotency.Call // the call's idempotency key; nil: it has none
	shared  bool              // callers of several credentials may give the same one
	noStore bool              // the answer is not kept for it either
	sent    *atomic.Bool      // the call was sent; nil: it has no idempotency key
}

// isShared reports whether callers of several credentials may get the answer.
func (l *lookup) isShared() bool { return l.shared || l.scope.Shared() }

// firstClock returns the time of p within which an attempt at e must bring its
// first payload.
func (c *call) firstClock(e *upstream, p StreamPolicy) time.Duration {
	switch {
	case c.isSafe():
		return p.FirstToken
	case !c.params.Stream && e.profile.QueuesAfterHeaders:
		return p.Queued
	case !c.params.Stream, c.thinking(e):
		return p.Thinking
	}
	return p.FirstToken
}

// goesTo reports whether e has the origin of the endpoint that the call is meant
// for.
func (c *call) goesTo(e *upstream) bool { return c.target.origin == e.origin }

// urlAt returns the URL at which e serves the call. An endpoint with the base URL
// that the call is meant for gets the call's own path: /beta stays /beta. For
// another endpoint of the same host, what stood below the base URL stays below
// its own. For any other endpoint, the operation is appended to its own root. The query
// is dropped for both, because it may hold a key of the other host, unless it is only the
// version of the same host's API.
func (c *call) urlAt(e *upstream) *url.URL {
	if (e == c.target || e.URL == c.target.URL) && !c.continues() {
		return c.req.URL
	}
	u := *e.base
	root, asWritten := e.paths.RootAs(&c.target.paths, c.req.URL.Path, c.op)
	if !asWritten {
		root, _ = e.paths.RootOf(c.op)
	}
	if c.req.URL.RawQuery != "" && u.RawQuery == "" && e.profile == c.target.profile && onlyVersion(c.req.URL) {
		u.RawQuery = c.req.URL.RawQuery
	}
	if c.params.PrefixCompletion && e.profile.PrefixRoot != "" {
		root = e.paths.PrefixRoot()
	}
	if below, ok := strings.CutPrefix(root, u.Path); !ok {
		u.RawPath = ""
	} else if u.RawPath != "" { // keep the escapes of the base
		u.RawPath += below + string(c.op)
	}
	u.Path = root + string(c.op)
	return &u
}
