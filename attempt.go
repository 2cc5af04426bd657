package breakwater

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/price"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/served"
	"github.com/breakwater-go/breakwater/internal/tenant"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// An attempt is one try of a call at one endpoint. It is the context of the request that
// it sends, so that the layers below the loop can find it.
type attempt struct {
	exchange.Exchange // its context, its deadline and its answer

	fleet        *fleet
	call         *call
	endpoint     *upstream
	model        string // the endpoint's name for the call's model
	key          string // of the endpoint's KeyFunc; empty: there is none, or it was not asked yet
	n            int32
	place        int32         // its index in the trail
	queued       time.Duration // how long it waited for its rate limit
	permit       circuit.Permit
	body         reqbody.Reader // the request's body, unless that is an upload or lent
	loan         *tracedLoan    // lends the request's body to net/http; nil: it is not lent
	transmission transmission   // how the base sends the request, unless user middleware sends it

	forced    bool                  // it may pass an open circuit, because no other endpoint could serve
	throttled bool                  // a host has refused an earlier one of the call because of a limit
	asksUsage bool                  // it asks its host for the usage of a stream, which its caller did not
	blameless bool                  // its end does not count as a failure of the host, whatever its class
	signed    atomic.Bool           // the host has refused a key that is not the caller's: see noteSigned
	sent      atomic.Bool           // the base began to read the request's body
	departure atomic.Int32          // whether the base got its request: see depart
	failed    atomic.Pointer[error] // the error of the caller's body

	billed atomic.Int64 // when it was sent, in Unix nanoseconds; 0: it was not, or the endpoint has no prices

	drift atomic.Pointer[served.Drift] // what the answer says that earlier ones did not; nil: nothing, or it was reported

	mu          sync.Mutex   // guards what follows
	resends     *resend      // what middleware has sent, the latest first
	replacement *trackedBody // the latest body that the base got in place of the first
	replayed    bool         // a body that the base had read was sent a second time
	ended       bool
	counted     bool            // it counts as sent in the endpoint's load
	permitted   bool            // its circuit waits for its report
	status      int32           // of a refusal; for an error inside a 200, the status that the error stands for
	statedLimit int32           // the number that a refusal may state for the account's limit; 0: none
	rest        int32           // the pause that a refusal asks for, in milliseconds; 0: none
	rested      int32           // how long the call has waited for pauses and backoffs before, in milliseconds
	prompt      atomic.Int32    // estimated tokens of the prompt, if it is billed; -1: nobody could read it
	buffer      *reqbody.Buffer // holds the request's body while the attempt is sent; nil: there is none
	lease       *attemptLease   // of its rate limit; nil: none
	class       Class           // what it ended in
}

type attemptKey struct{}

// Value returns the attempt itself under its key.
func (a *attempt) Value(key any) any {
	if key == (attemptKey{}) {
		return a
	}
	return a.Exchange.Value(key)
}

func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// BodyRead notes that the base reads the request's body. From the first read on, the host
// may see the request, and bill it.
func (a *attempt) BodyRead() {
	if a.sent.Load() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sent.CompareAndSwap(false, true) && !a.ended {
		a.counted = true
		a.endpoint.Load.Send()
	}
}

// BodyFailed notes the error of the caller's own body.
func (a *attempt) BodyFailed(err error) { a.failed.Store(&err) }

// isToRest reports whether a host has asked for a pause that concerns the attempt, while the
// attempt waited for a limit.
func (a *attempt) isToRest(now time.Time) bool {
	if !a.fleet.pauses.Any() {
		return false
	}
	for _, key := range a.call.pauseKeys(a.endpoint, a.model) {
		if p, lasts := a.fleet.pauses.Get(key, now); lasts && p.Asked.After(now) {
			return true
		}
	}
	return false
}

// keepLease notes the lease, which the attempt returns at its end. If the attempt has ended
// already, because another one outran it, keepLease returns the lease at once and reports
// false.
func (a *attempt) keepLease(l *attemptLease) bool {
	a.mu.Lock()
	ended, class := a.ended, a.class
	if !ended {
		a.lease = l
	}
	a.mu.Unlock()
	if ended {
		l.finish(a, class, Usage{}) // nothing was sent
	}
	return !ended
}

// keepPermit is keepLease for the attempt's permit.
func (a *attempt) keepPermit() bool {
	a.mu.Lock()
	ended, class := a.ended, a.class
	if !ended {
		a.permitted = true
	}
	a.mu.Unlock()
	if ended {
		a.permit.Report(a.reported(class))
	}
	return !ended
}

// What became of an attempt's departure; 0: it may still depart.
const (
	departed  = 1
	neverSent = 2 // it ended before
)

// depart notes that the base gets the attempt's request, perhaps not for the first time:
// middleware may send it again. It reports false if the attempt has ended without it.
func (a *attempt) depart() bool {
	return a.departure.CompareAndSwap(0, departed) || a.departure.Load() == departed
}

// End ends the exchange. The first caller decides how it ended; later calls do nothing.
func (a *attempt) End(class Class, err error, used wire.Usage, bytes int64) {
	a.mu.Lock()
	if a.ended {
		a.mu.Unlock()
		return
	}
	a.ended, a.class = true, class
	a.mu.Unlock()
	unsent := a.departure.CompareAndSwap(0, neverSent)
	now := time.Now()
	a.FirstPayload.Stop()
	a.giveBack(class, Usage(used), now)
	accepted, tokens, cost := false, 0, Cost{}
	a.update(func(t *Attempt) {
		t.Class, t.Err, t.Usage, t.Bytes = class, err, Usage(used), bytes
		t.Elapsed = now.Sub(a.Start)
		if accepted = t.Verdict == VerdictAccept; unsent && !accepted { // middleware may answer by itself
			t.N = 0
		}
		if a.fleet.priced {
			cost = a.cost(t)
			t.Cost = cost
		}
		if a.fleet.tenants {
			tokens = a.tokens(t)
		}
	})
	if a.fleet.tenants && !a.call.isSafe() {
		a.leaveTenant(class, tokens, cost.Amount)
	}
	if a.fleet.priced {
		a.endpoint.spent.Add(cost.Amount, cost.Estimated, cost.Known)
		a.fleet.spent.Add(cost.Amount, cost.Estimated, cost.Known)
		a.fleet.spending.Add(a.endpoint.Account, cost.Amount, now)
	}
	if accepted {
		if !outcome.Broke(err) || a.call.unrescued != "" { // nothing continues it
			defer a.call.end(class, err, fromLog) // also if an Observer panics
		}
		if outcome.Of(class).EarnsPause { // the host's error came behind a part of the answer
			a.fleet.applyRetryAfter(a.call, a.endpoint, a.model, &exchange.Failure{Class: class}, a.sentAt(), now)
		}
		a.emit(KindAttempt)
		if outcome.Broke(err) && a.call.unrescued != "" { // otherwise the rescue layer reports it
			a.reportBreak(err, a.call.unrescued)
		}
	} // a failed attempt is reported by the loop, once the loop knows what to do next
}

// leaveTenant notes at the attempt's end what it has used of its tenant's limits.
func (a *attempt) leaveTenant(class Class, tokens int, cost float64) {
	if hold := a.call.excluded.held(); hold != nil {
		hold.Leave(tenant.Result{Tokens: tokens, Cost: cost, Answered: tokens > 0 || outcome.Of(class).Answered, Served: class == ClassOK})
	}
}

// tokens returns what the attempt has used of its tenant's tokens. What may be billed and has
// no usage is estimated.
func (a *attempt) tokens(t *Attempt) int {
	u := t.Usage
	switch {
	case t.N == 0:
		return 0
	case u != Usage{} && t.Class != ClassCanceled:
		return max(u.TotalTokens, u.PromptTokens+u.CompletionTokens)
	case t.Verdict != VerdictAccept && !t.MayBeBilled:
		return 0
	}
	return max(int(a.prompt.Load()), 0) + a.Spoken()
}

// noteBill notes what the attempt's cost is made of: when it is sent, and an estimate of its
// prompt, whose buffer others may use at its end.
func (a *attempt) noteBill() {
	c := a.call
	if a.endpoint.rates == nil && !a.fleet.countsTokens || c.isSafe() {
		return
	}
	prompt := -1
	if c.upload == nil && !c.encoded {
		prompt = request.EstimatePrompt(a.buffer.Bytes(), &c.params)
	}
	a.prompt.Store(int32(prompt))
	a.billed.Store(time.Now().UnixNano())
}

// cost returns what the attempt cost, once all else of its record is known. The answer is read
// only where its usage is there, because another goroutine may have it otherwise.
func (a *attempt) cost(t *Attempt) Cost {
	accepted, reported := t.Verdict == VerdictAccept, t.Usage != Usage{} && t.Class != ClassCanceled
	panicked := t.Class == ClassRewrite && a.sent.Load()
	if a.call.isSafe() || t.N == 0 || !reported && !accepted && !t.MayBeBilled && !panicked {
		return Cost{Known: true, currency: a.fleet.currency}
	}
	rate := a.endpoint.rateOf(a.call.op, a.model)
	unknown := Cost{currency: a.fleet.currency}
	if rate == nil {
		return unknown
	}
	u, estimated, spoken := t.Usage, !reported, a.Spoken()
	switch {
	case reported && u.PromptTokens == 0 && u.CompletionTokens == 0:
		u.PromptTokens = u.TotalTokens
	case reported && !a.Answer.Ended():
		u.CompletionTokens, estimated = max(u.CompletionTokens, spoken), true
	case reported:
	case a.prompt.Load() < 0, accepted && a.IsOpaque() && a.call.op != request.Embeddings:
		return unknown
	default:
		u = Usage{PromptTokens: int(a.prompt.Load()), CompletionTokens: spoken}
	}
	tokens := price.Tokens{Prompt: u.PromptTokens, Cached: u.CachedTokens, Output: u.CompletionTokens}
	return Cost{Amount: rate.Cost(tokens, time.Unix(0, a.billed.Load())), Known: true, Estimated: estimated, currency: a.fleet.currency}
}

// MayTakeOver reports whether another endpoint may be asked before this one has answered.
// A rescue always may: its caller has half an answer and must not wait for an endpoint
// that may never continue it.
func (a *attempt) MayTakeOver() bool {
	return a.call.resumption != nil || !(a.fleet.retry.SendOnce && a.sent.Load()) && a.Elsewhere()
}

// Elsewhere reports whether another endpoint could serve the call now.
func (a *attempt) Elsewhere() bool { return a.fleet.hasAlternative(a.call, a.endpoint) }

// ServedBy records which model the answer says it is of. An observer hears of a drift later,
// because an answer may be read under a lock.
func (a *attempt) ServedBy(model, fingerprint []byte) {
	id, drift := a.endpoint.served.Note(a.model, model, fingerprint, a.Start, a.isSecret)
	a.update(func(t *Attempt) {
		if id.Model != "" {
			t.Served = id.Model
		}
		if id.Fingerprint != "" {
			t.Fingerprint = id.Fingerprint
		}
	})
	if drift != nil {
		a.drift.CompareAndSwap(nil, drift)
	}
}

// isSecret reports whether a text of the host's has a key in it. Of the caller's key it can
// tell only before the commit, because the caller may use the headers of its request again
// once it has the response.
func (a *attempt) isSecret(text string) bool {
	if a.call.log.at(int(a.place)).Verdict == VerdictAccept {
		return a.quotesOwnKey(text)
	}
	return a.quotesKey(text)
}

// quotesKey reports whether a text has the endpoint's key in it, or the caller's.
func (a *attempt) quotesKey(text string) bool {
	return a.quotesOwnKey(text) || header.Quotes(text, a.call.req.Header)
}

// quotesOwnKey reports whether a text has the endpoint's key in it.
func (a *attempt) quotesOwnKey(text string) bool {
	return header.QuotesKey(text, a.endpoint.APIKey) || header.QuotesKey(text, a.key) || header.Quotes(text, a.endpoint.Header)
}

// askAgain asks the endpoint's KeyFunc once more, because the host has refused its key. It
// reports whether another key came. A call does so once for each account: what it is given
// then is its last try there.
func (a *attempt) askAgain() bool {
	keys := a.endpoint.keys
	if keys == nil || a.key == "" {
		return false
	}
	keys.Refused(a.key)
	if !a.call.excluded.mayAskAgain(a.endpoint.Account, a.place) {
		return false
	}
	key, err := keys.Get(a, time.Now(), a.key)
	switch {
	case err == nil && key != a.key:
		a.call.excluded.noteNewKey(a.place, key)
		return true
	case err != nil && !errors.Is(err, ErrKeyFunc): // the call is over, so nothing is known of the key
		a.call.excluded.noteNewKey(a.place, "")
	}
	return false
}

// newKey returns what came in place of the attempt's key, which the host has refused.
func (a *attempt) newKey() newKey {
	if a.key == "" {
		return newKey{}
	}
	return a.call.excluded.newKeyOf(a.place)
}

// Flawed notes that the caller gets the answer although it is flawed.
func (a *attempt) Flawed(err error) { a.update(func(t *Attempt) { t.Flaw = err }) }

// EndpointName returns the name of the endpoint that answers.
func (a *attempt) EndpointName() string { return a.endpoint.Name }

// sentAt returns when the attempt was sent, after it had waited for its rate limit.
func (a *attempt) sentAt() time.Time { return a.Start.Add(a.queued) }

// endNow ends the exchange, and cancels the attempt's context with cause.
func (a *attempt) endNow(class Class, err error, used wire.Usage, cause error) {
	defer a.Cancel(cause) // deferred, because an Observer may panic
	a.End(class, err, used, 0)
}

// giveBack releases what the attempt holds: an upload that was sent, its permit, its lease
// and its part of the endpoint's load. It releases all of it, even if user code panics.
func (a *attempt) giveBack(class Class, used Usage, now time.Time) {
	defer a.endpoint.finish(a, class, used, now)
	if a.lease != nil {
		defer a.lease.finish(a, class, used)
	} else if a.endpoint.limits.Learns() {
		defer a.learn(class)
	}
	if a.permitted {
		defer a.permit.ReportAt(a.reported(class), now)
	}
	if a.call.upload != nil && !outcome.Of(class).Local { // an upload that was not sent can still go to another endpoint
		a.call.upload.Close()
	}
}

// outcome returns how an end in class counts for the circuit and for the endpoint's load.
func (a *attempt) outcome(class Class) outcome.Outcome {
	if a.blameless {
		return outcome.Neutral
	}
	return outcome.Of(class).Outcome
}

// reported returns the outcome that an end in class has for the attempt's circuit.
func (a *attempt) reported(class Class) circuit.Outcome {
	switch {
	case a.blameless && class != ClassRedirected:
		return circuit.Inconclusive
	case a.blameless && a.permit.Probing(): // a redirect shows that the host is up, which is all that a probe asks
		return circuit.Success
	}
	switch a.outcome(class) {
	case outcome.Success:
		return circuit.Success
	case outcome.Failure:
		return circuit.Failure
	}
	return circuit.Neutral
}

// An attemptLease is the lease of an attempt. It is not a part of the attempt, because
// most users set no limits and it would make every attempt larger.
type attemptLease struct{ limit.Lease }

// finish returns the lease.
func (l *attemptLease) finish(a *attempt, class Class, used Usage) {
	a.mu.Lock()
	status, said := int(a.status), int(a.statedLimit)
	a.mu.Unlock()
	throttled := outcome.Of(class).EarnsPause
	var t limit.Throttle
	if throttled {
		t = a.throttle()
	}
	l.End(limit.Result{
		Served:    class == ClassOK,
		Late:      class != ClassOK && isOverdue(a.call),
		Refused:   outcome.Overloaded(class, status),
		Throttled: throttled,
		Throttle:  t,
		Begun:     a.Start,
		Stated:    said,
		Answered:  outcome.Of(class).Answered,
		Tokens:    used.TotalTokens,
	})
}

// throttle returns what a refusal says of the host's limits.
func (a *attempt) throttle() limit.Throttle {
	a.mu.Lock()
	rest, said := time.Duration(a.rest)*time.Millisecond, int(a.statedLimit)
	a.mu.Unlock()
	now, e := time.Now(), a.endpoint
	if !e.keyed && e.limits.Told(a.model) {
		rest = 0 // it was asked of one caller's credential, and the limiter is for those of all
	}
	return limit.Throttle{
		Rest: rest, Stated: said, Open: int(e.Load.Open()), Demand: e.budget.PerSecond(now), Serving: e.isServing(now),
	}
}

// learn notes the end of an attempt that no limiter admitted, because none was there.
func (a *attempt) learn(class Class) {
	e, throttled := a.endpoint, outcome.Of(class).EarnsPause
	if !throttled {
		a.call.limiter(e, a.model).Uncounted()
		return
	}
	var asker header.Credential
	if !e.keyed {
		asker = a.call.credential()
	}
	t := a.throttle()
	t.Sent = a.sentAt()
	e.limits.Learn(a.model, asker, t)
}

// isOverdue reports whether the deadline of a context has passed.
func isOverdue(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && !time.Now().Before(deadline)
}

// reportBreak tells observers, and the trail, that nothing continues the attempt's stream,
// which broke after its commit. cause is the error that the caller gets.
func (a *attempt) reportBreak(cause error, why Reason) {
	a.update(func(t *Attempt) { t.Unrescued = why })
	if len(a.fleet.observers) == 0 {
		return
	}
	e := a.call.log.at(int(a.place)).event(KindBreak)
	e.Reason, e.Class, e.Err = why, outcome.BreakOf(cause), cause
	a.fleet.observers.emit(a.call, e)
}

// update changes the attempt's record in the trail.
func (a *attempt) update(change func(*Attempt)) { a.call.log.update(int(a.place), change) }

// emit passes the attempt's record to the observers.
func (a *attempt) emit(kind Kind) {
	os := a.fleet.observers
	if len(os) == 0 {
		return
	}
	record := a.call.log.at(int(a.place))
	if d := a.drift.Load(); d != nil && a.drift.CompareAndSwap(d, nil) {
		os.emit(a.call, Event{
			Kind: KindDrift, Endpoint: record.Endpoint, Model: record.Model, Attempt: record.N,
			Served: record.Served, Fingerprint: record.Fingerprint, RequestID: record.RequestID, From: d.From, To: d.To,
		})
	}
	e := record.event(kind)
	if kind == KindAttempt {
		e.Fault = a.fault(e.Class)
	}
	os.emit(a.call, e)
}

// sendsCallersKey reports whether the key that the host gets is the caller's own. If it is
// refused, that is between the two of them: a key of ours must not open what the caller's
// does not.
func (a *attempt) sendsCallersKey() bool {
	e := a.endpoint
	return !e.keyed && !e.Keyless && a.call.goesTo(e) && !a.signed.Load()
}

// noteSigned notes whether a request that the host refused had another credential than the
// caller's: user code, or a header of the endpoint, has set it.
func (a *attempt) noteSigned(req *http.Request) {
	if sent := (&http.Request{Header: req.Header, URL: a.call.req.URL}); header.CredentialOf(sent) != a.call.credential() {
		a.signed.Store(true)
	}
}

// fault returns who is at fault for an attempt that ended in class.
func (a *attempt) fault(class Class) Fault {
	switch {
	case class == ClassDeadline && !a.blameless: // the host had had enough time
		return FaultHost
	case outcome.Of(class).Fault == outcome.FaultKey && a.sendsCallersKey():
		return FaultCaller
	}
	return Outcome(class).fault()
}

// A sendResult is what sending an attempt returned.
type sendResult struct {
	a     *attempt
	resp  *http.Response
	err   error
	panic any // a panic in user code below
}

// discard closes a response that cannot be handed over, because an Observer panicked, and
// ends its attempt.
func (s sendResult) discard() {
	if s.resp != nil {
		defer s.resp.Body.Close()
	}
	s.a.endNow(ClassRewrite, outcome.ErrPanic, wire.Usage{}, outcome.ErrPanic)
}

// orClose calls do, which may run an Observer, and closes the response if do panics.
func orClose(resp *http.Response, do func()) {
	done := false
	defer func() {
		if !done {
			resp.Body.Close()
		}
	}()
	do()
	done = true
}

// send sends the attempt through its endpoint's layers.
func (a *attempt) send() sendResult {
	returned := false
	defer func() {
		if !returned { // a panic below: release everything
			a.useBuffer(nil)
			a.endNow(ClassRewrite, outcome.ErrPanic, wire.Usage{}, outcome.ErrPanic)
		}
	}()
	resp, err := a.endpoint.pipeline.RoundTrip(a.call.req.WithContext(a))
	a.useBuffer(nil)
	if failure, ok := err.(*exchange.Failure); ok && failure.Class == ClassKeyRejected && a.key != "" {
		a.End(failure.Class, failure.Err, a.Answer.Usage, 0) // others may have its permits while the function is asked
		a.askAgain()
	}
	returned = true
	return sendResult{a: a, resp: resp, err: err}
}

// useBuffer replaces the buffer that the attempt sends, and releases the old one; nil: it
// sends none.
func (a *attempt) useBuffer(other *reqbody.Buffer) {
	a.mu.Lock()
	last := a.buffer
	a.buffer = other
	a.mu.Unlock()
	last.Release()
}

// finish tells the endpoint's load, and the conversation's endpoint, how an attempt ended.
func (u *upstream) finish(a *attempt, class Class, used Usage, now time.Time) {
	if a.call.isSafe() {
		return
	}
	u.Load.End(a.counted)
	switch {
	case class == ClassOK:
		u.noteAnswer(now)
		if u.keys != nil {
			u.keys.Worked(a.key)
		}
		if a.call.conversation != 0 {
			a.fleet.affinity.Remember(now, a.call.conversation, &u.Target, used.PromptTokens, used.CachedTokens)
		}
	case a.outcome(class) == outcome.Failure:
		u.Load.Fail(now.Sub(a.Start), now)
		a.noteTrouble(true, now)
	case outcome.Of(class).EarnsPause && !a.sendsCallersKey(), // a limit of the caller's own concerns no others
		class == ClassOutrun && now.Sub(a.Start) >= a.fleet.stream.Hedge: // it was late, and not only second
		a.noteTrouble(true, now)
	}
}

// noteTrouble tells the endpoint's share whether the attempt was late or refused.
func (a *attempt) noteTrouble(trouble bool, now time.Time) {
	if most := a.fleet.policy.Shift; most > 0 && !a.call.isSafe() {
		a.endpoint.shares.Get(a.model).Note(trouble, now, 1-most)
	}
}

// A transmission is one sending of a request through the base. Above the base, middleware
// may read a body as often as it likes, for example to sign the request. Below, what is
// read is sent, and each second sending is counted. An attempt is one transmission, unless
// user middleware sends several times.
type transmission struct {
	attempt *attempt
	start   time.Duration // since the attempt's start
	body    trackedBody
	again   func() (io.ReadCloser, error) // the request's own GetBody; nil: use the attempt's copyBody

	sent    atomic.Bool // the base began to read the body, or a copy of it
	ended   atomic.Bool
	refused atomic.Bool // by a status that is not billed
}

// A trackedBody is a request's body as the base reads it. From the first read on, the host
// may see the request, and bill it.
type trackedBody struct {
	io.ReadCloser
	of *transmission

	read, closed atomic.Bool
}

func (t *trackedBody) Read(p []byte) (int, error) {
	if !t.read.Load() {
		t.read.Store(true)
		t.of.sent.Store(true)
		t.of.attempt.BodyRead()
	}
	return t.ReadCloser.Read(p)
}

func (t *trackedBody) Close() error {
	t.closed.Store(true)
	return t.ReadCloser.Close()
}

// A tracedLoan lends the attempt's body to net/http's own transport, which sends a body
// together with the headers only if it knows the body's type. So no code of ours sees the
// body's reads, but the transport's trace tells the same: when the headers were written, the
// host may see the request, and when the request was written, nobody reads its body any
// more.
type tracedLoan struct {
	attempt *attempt
	body    reqbody.Loan
	trace   httptrace.ClientTrace
	routed  atomic.Bool // net/http looked for a connection
}

// lend prepares the attempt for a loan, and returns a context that traces its sending.
func (a *attempt) lend(ctx context.Context) context.Context {
	l := &tracedLoan{attempt: a}
	l.trace = httptrace.ClientTrace{GetConn: l.getConn, WroteHeaders: l.wroteHeaders, WroteRequest: l.wroteRequest}
	a.loan = l
	return httptrace.WithClientTrace(ctx, &l.trace)
}

// isLent reports whether the request's body is lent to the base.
func (a *attempt) isLent() bool { return a.loan != nil && a.loan.body.IsOpen() }

func (l *tracedLoan) getConn(string) { l.routed.Store(true) }

func (l *tracedLoan) wroteHeaders() {
	if l.body.IsOpen() {
		l.body.Begin()
		l.attempt.transmission.body.read.Store(true)
		l.attempt.BodyRead()
	}
}

func (l *tracedLoan) wroteRequest(info httptrace.WroteRequestInfo) {
	if info.Err != nil {
		l.body.Forfeit()
	} else {
		l.body.Return()
	}
}

// sentUntraced notes that the host may have seen a lent body although no trace says so:
// net/http passed the request to a protocol that was registered with it.
func (a *attempt) sentUntraced() {
	if a.isLent() && !a.loan.routed.Load() {
		a.BodyRead()
	}
}

// A resend is a transmission that user middleware makes.
type resend struct {
	transmission
	path     string
	previous *resend
}

// lend makes the base read the attempt's buffer, lent as req's body.
func (t *transmission) lend(a *attempt, req *http.Request) {
	t.attempt, t.start = a, a.queued
	req.Body, req.GetBody = a.loan.body.Open(a.buffer), t.replay
}

// track makes the base read req's body, if it has one, through the transmission.
func (t *transmission) track(a *attempt, req *http.Request, now time.Time) {
	if req.Body == nil || req.Body == http.NoBody {
		return
	}
	t.attempt, t.start, t.again = a, now.Sub(a.Start), req.GetBody
	t.body.ReadCloser, t.body.of = req.Body, t
	req.Body = &t.body
	switch {
	case a.fleet.retry.SendOnce:
		req.GetBody = nil
	case req.GetBody != nil:
		req.GetBody = t.replay
	}
}

// finish notes how the transmission ended.
func (t *transmission) finish(resp *http.Response) {
	if resp != nil && (resp.StatusCode < 200 || resp.StatusCode > 299) && !afterWork(resp.StatusCode) {
		t.refused.Store(true)
	}
	t.ended.Store(true)
}

// copyBody returns a new reader of the attempt's body.
func (a *attempt) copyBody() (io.ReadCloser, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.buffer == nil {
		return nil, outcome.ErrClosed
	}
	return a.buffer.NewReader(), nil
}

// replay returns the transmission's body once more, as the request's GetBody. The base may
// resend once, at once, what no host has read: on a connection that was idle and has just
// closed, or a stream that was refused (HTTP/2's REFUSED_STREAM and GOAWAY). Without this
// bound, net/http resends for up to a minute; a later retry is the loop's decision. Until
// the base reads or closes the first body, nothing is sent: the base may need copies to
// sign the request, and gets as many as it asks for.
func (t *transmission) replay() (io.ReadCloser, error) {
	again := t.again
	if again == nil {
		again = t.attempt.copyBody
	}
	body, err := again()
	if err != nil {
		return nil, err
	}
	b := &trackedBody{ReadCloser: body, of: t}
	lent := t.attempt.isLent()
	if lent { // a sending that failed may still read the body, while another one ends well
		t.attempt.loan.body.Forfeit()
	}
	if (lent || t.body.read.Load() || t.body.closed.Load()) && !t.attempt.mayReplay(b) {
		body.Close()
		return nil, errNotTaken
	}
	return b, nil
}

// mayReplay reports whether the base may send b in place of the body that it had.
func (a *attempt) mayReplay(b *trackedBody) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	last := &b.of.body
	if a.replacement != nil && a.replacement.of == b.of {
		last = a.replacement
	}
	switch {
	case !last.read.Load(): // it was not read, so not sent: after GOAWAY, net/http asks for two bodies and sends one
	case a.replayed, now.Sub(a.Start)-b.of.start > replayWithin, !a.endpoint.budget.Take(now):
		return false
	default:
		a.replayed = true
		a.update(func(t *Attempt) { t.MayBeBilled = true })
	}
	a.replacement = b
	return true
}

const (
	// replayWithin is how long after its start a transmission may be replayed. An idle
	// connection turns out to be closed sooner; later, the host may have worked on the
	// request.
	replayWithin = time.Second

	// errNotTaken ends an attempt that the host refused twice without reading it.
	errNotTaken = outcome.Error("the host did not take the request in")
	// errSentAgain is returned to middleware that sends again what must not be sent again.
	errSentAgain = outcome.Error("sent before, and RetryPolicy does not let it be sent again")
)

// trackSend returns a request that middleware sends in the form that the base gets: a
// copy, because the request belongs to the middleware. A second request to the same path
// is an extra attempt and takes from the budget, as those of the loop do. A request to
// another path is not: it may fetch a token.
func (a *attempt) trackSend(req *http.Request) (*transmission, *http.Request, error) {
	s := &resend{}
	req = req.WithContext(req.Context())
	s.track(a, req, time.Now())
	if s.attempt == nil { // without a body, nothing is billed
		return &s.transmission, req, nil
	}
	if req.URL != nil {
		s.path = req.URL.Path
	}
	if !a.maySend(s) {
		req.Body.Close()
		return nil, nil, errSentAgain
	}
	return &s.transmission, req, nil
}

// maySend reports whether middleware may send s, given what it has sent before.
func (a *attempt) maySend(s *resend) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	again, billed := false, false
	for other := a.resends; other != nil; other = other.previous {
		if other.path == s.path && (other.sent.Load() || !other.ended.Load()) {
			again, billed = true, billed || !other.refused.Load()
		}
	}
	switch {
	case !again:
	case a.fleet.retry.SendOnce && billed:
		return false
	case !a.endpoint.budget.Take(a.Start.Add(s.start)):
		a.update(func(t *Attempt) { t.Denied = true })
		return false
	case billed:
		a.update(func(t *Attempt) { t.MayBeBilled = true })
	}
	s.previous, a.resends = a.resends, s
	return true
}

// mayBeBilled reports whether the host may bill an attempt that failed, if the request was
// sent. A refusal is not billed, but a gateway may refuse after the host behind it has
// worked.
func mayBeBilled(f *exchange.Failure, sent bool) bool {
	return sent && (!f.Refused || afterWork(f.Status))
}

// afterWork reports whether a host may have worked before this status came.
func afterWork(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusBadGateway || status == http.StatusGatewayTimeout
}
