package breakwater

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/flaw"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/pause"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/store"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A gate is the innermost layer of an attempt. It turns the caller's request into the
// endpoint's, sends it, and returns the response once it is known to carry an answer.
type gate struct {
	next      http.RoundTripper
	attempts  *atomic.Int64 // how many were sent
	pauses    *pause.Table[pauseKey, refusal]
	observers observers
}

// newGate returns the layer. It adds the attempts that it sends to attempts.
func newGate(attempts *atomic.Int64, pauses *pause.Table[pauseKey, refusal], os observers) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		return &gate{next, attempts, pauses, os}
	}
}

// RoundTrip sends the attempt. Its error is an *exchange.Failure.
func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	a := attemptOf(req.Context())
	if f := a.takeKey(); f != nil {
		return nil, f
	}
	a.noteBill()
	if err := a.shape(req); err != nil {
		return nil, &exchange.Failure{Class: ClassRewrite, Err: outcome.Quiet(err)}
	}
	a.startClock()
	if !a.depart() {
		return nil, outcome.ErrOutrun
	}
	g.attempts.Add(1)
	if l := a.call.lookup; l != nil && l.sent != nil {
		l.sent.Store(true)
	}
	resp, err := g.next.RoundTrip(req)
	switch {
	case err != nil:
		if resp != nil && resp.Body != nil {
			resp.Body.Close()
		}
		return nil, a.unanswered(req, err)
	case resp == nil:
		return nil, a.failureOf(errNoResponse, ClassUnreachable)
	case resp.Body == nil:
		resp.Body = http.NoBody
	}
	a.sentUntraced()
	a.noteRequestID(resp.Header)
	status, body := resp.StatusCode, resp.Body
	judged := false
	defer func() {
		if !judged { // an Observer panicked, or the body did
			body.Close()
		}
	}()
	resp, f := g.judge(a, resp)
	judged = true
	if f == nil {
		return resp, nil
	}
	if outcome.Of(f.Class).Fault == outcome.FaultKey {
		a.noteSigned(req)
		f.CallersKey = a.sendsCallersKey()
	}
	if own := a.failed.Load(); own != nil { // the host got only a part of the request
		f = a.bodyFailed(*own)
	}
	a.update(func(t *Attempt) { t.Status = status })
	return nil, f
}

// takeKey asks the endpoint's KeyFunc for the attempt's key, if there is one and the attempt
// has no key yet.
func (a *attempt) takeKey() *exchange.Failure {
	keys := a.endpoint.keys
	if keys == nil || a.key != "" {
		return nil
	}
	key, err := keys.Get(a, a.sentAt(), "")
	if err != nil {
		f := a.failureOf(err, ClassNoKey)
		if f.Class == ClassNoKey {
			f.Err = err
		}
		return f
	}
	a.key = key
	return nil
}

// noteRequestID records the host's id of the request, unless it quotes a key.
func (a *attempt) noteRequestID(h http.Header) {
	id := header.RequestID(h)
	if id == "" || a.quotesKey(id) {
		return
	}
	a.update(func(t *Attempt) { t.RequestID = id })
}

// judge has the exchange judge the response, and does what needs knowledge of the
// endpoint: it pauses the account if the response says that its limit is spent, finds the
// class of the host's error, and removes what the caller must not see.
func (g *gate) judge(a *attempt, resp *http.Response) (*http.Response, *exchange.Failure) {
	resp.Request = a.call.req
	header.RemoveOwn(resp.Header)
	if a.call.isSafe() {
		return a.judgeStatus(resp)
	}
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		g.heedLimits(a, resp.Header)
	}
	var f *exchange.Failure
	if resp.StatusCode == http.StatusSwitchingProtocols {
		resp, f = a.switched(resp)
	} else {
		resp, f = a.Judge(resp, a.want())
	}
	if f != nil {
		a.explain(f)
		return nil, f
	}
	return a.dropForeign(resp, exchange.KindOf(resp.Body) == exchange.KindWhole), nil
}

// judgeStatus judges the answer to a request that is no inference, by its status and headers
// alone: its body may be anything.
func (a *attempt) judgeStatus(resp *http.Response) (*http.Response, *exchange.Failure) {
	class := classOfStatus(resp.StatusCode)
	should, said := host.ShouldRetry(resp.Header)
	switch {
	case class != ClassOK:
	case resp.StatusCode == http.StatusUnauthorized && a.askAgain():
		class = ClassKeyRejected
	case said && should && resp.StatusCode >= 400:
		class = ClassUnavailable
	}
	if class == ClassOK {
		a.endpoint.reached.Store(time.Now().UnixNano())
		return a.PassOn(resp)
	}
	f := a.Decline(resp)
	if f.Open {
		f.Class, f.NoRetry = class, said && !should
		f.RetryAfter, f.Asked = a.endpoint.profile.RetryAfter(f.Status, resp.Header, time.Now())
	}
	return nil, f
}

// classOfStatus returns the class of an answer to a request that is no inference: ClassOK,
// unless it is worth another try.
func classOfStatus(status int) Class {
	switch status {
	case http.StatusTooManyRequests:
		return ClassRateLimited
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable,
		http.StatusGatewayTimeout, 529: // 529: overloaded, as Anthropic's API says it
		return ClassUnavailable
	}
	return ClassOK
}

// heedLimits pauses the account's rate limit if the headers of a good answer say that the
// limit is spent.
func (g *gate) heedLimits(a *attempt, h http.Header) {
	if len(a.endpoint.profile.Limits) == 0 {
		return
	}
	wait := a.endpoint.profile.Spent(h, time.Now())
	if wait <= 0 {
		return
	}
	keys := a.call.pauseKeys(a.endpoint, a.model)
	g.pauses.Ask(keys.of(outcome.ScopeLimit), time.Now(), wait, nil)
	g.observers.emit(a.call, Event{Kind: KindPause, Endpoint: a.endpoint.Name, Model: a.model, Class: ClassRateLimited, Wait: wait})
}

// startClock starts the deadline for the attempt's first payload, unless nothing else
// could ever serve the call.
func (a *attempt) startClock() {
	c := a.call
	if len(c.candidates) > 1 || c.resumption != nil || c.fallback {
		a.FirstPayload.Start(&a.Exchange, a.firstPayloadWithin(), c.fallback)
	}
}

// want returns what the caller expects of the response.
func (a *attempt) want() exchange.Want {
	c := a.call
	w := exchange.Want{
		Wire: c.op.Wire(), Choices: c.choices(), Stream: c.params.Stream, Usage: c.params.IncludeUsage,
		Review:    c.params.Needs&request.Review != 0,
		AsItComes: c.encoded || c.upload != nil || c.format() == store.Unclear, Continues: c.resumption != nil,
	}
	if w.Wire == wire.Embeddings && c.buffer != nil && !c.encoded {
		w.Choices = request.Inputs(c.body())
	}
	if c.transcribe != nil {
		w.Transcript = c.transcribe
	}
	w.Flaws, w.KeepFlawed = a.flaws(), a.fleet.stream.KeepFlawed
	w.Count, w.TrimUsage = a.endpoint.rates != nil || a.fleet.countsTokens, a.asksUsage
	return w
}

// maxSchema bounds the schema that is kept until the answer has come, in bytes.
const maxSchema = 256 << 10

// flaws returns what makes the attempt's answer flawed; nil: nothing does.
func (a *attempt) flaws() *flaw.Rules {
	c, p := a.call, &a.fleet.stream
	if p.Repetition == 0 && !p.RequireAnswer && !p.RequireFormat || c.op == request.Embeddings || c.choices() != 1 {
		return nil
	}
	rules := &flaw.Rules{Repetition: p.Repetition}
	if c.continues() { // what comes is only the rest of an answer
		return rules
	}
	rules.Answer = p.RequireAnswer && c.op != request.Completions // there may be nothing to fill in
	switch needs := c.params.Needs; {
	case !p.RequireFormat:
	case needs&request.JSONMode != 0:
		rules.Format = flaw.Object
	case needs&request.JSONSchema != 0:
		rules.Format = flaw.JSON
	}
	if rules.Format != flaw.Any {
		rules.Tools = c.params.Needs&(request.Tools|request.OwnTools|request.DeepSeekTools) != 0
		if schema := request.Schema(c.body()); p.Schema != nil && len(schema) <= maxSchema {
			rules.Schema, rules.Check = bytes.Clone(schema), p.Schema
		}
	}
	return rules
}

// explain completes a failure with what is known of the endpoint: its class, its
// Retry-After, and a response without anything that the caller must not see.
func (a *attempt) explain(f *exchange.Failure) {
	f.Blameless = f.Early && !a.hadTime()
	if f.Class == "" { // the host's answer tells the class
		if f.Refused {
			f.RetryAfter, f.Asked = a.endpoint.profile.RetryAfter(f.Status, f.Resp.Header, time.Now())
		}
		f.Class = a.classify(f)
		if f.Refused {
			heedShouldRetry(f)
		}
		a.refused(f.Status, a.endpoint.profile.StatedLimit(f.Body), f.RetryAfter)
		switch {
		case !f.Refused:
			f.Body = nil // only the body of a refusal is given to the calls that a pause keeps away
		case f.Class == ClassRedirected:
			a.redirected(f)
		}
	}
	if f.Resp != nil {
		f.Resp = a.dropForeign(f.Resp, true)
	}
}

// heedShouldRetry obeys the host if it says whether to repeat the request. Other accounts
// may still be asked.
func heedShouldRetry(f *exchange.Failure) {
	should, said := host.ShouldRetry(f.Resp.Header)
	switch {
	case said && !should:
		f.NoRetry = true
	case said && f.Class == ClassRefused:
		f.Class = ClassUnavailable
	}
}

// refused notes what a refusal says. It takes the lock, because an attempt that is
// outrun may end on another goroutine meanwhile.
func (a *attempt) refused(status int, statedLimit int32, rest time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status, a.statedLimit, a.rest = int32(status), statedLimit, int32(min(rest.Milliseconds(), math.MaxInt32))
}

// bodyFailed returns the failure of an attempt whose request body, the caller's own,
// failed. If the caller left or its deadline passed, that is the reason, because either
// may close the body.
func (a *attempt) bodyFailed(err error) *exchange.Failure {
	f := a.LeftByCaller()
	if f == nil {
		return &exchange.Failure{Class: ClassCanceled, Err: err}
	}
	a.explain(f)
	return f
}

// classify returns the class of a refusal. A 404 or 405 from an endpoint that the caller
// did not address means that this endpoint lacks the path, and says nothing about the
// call. A 403 from an endpoint whose key has just worked is not about the key, unless it
// says so: firewalls refuse single prompts.
func (a *attempt) classify(f *exchange.Failure) Class {
	e := a.endpoint
	class := e.profile.Classify(f.Status, f.Body, f.Asked)
	elsewhere := e != a.call.target
	switch {
	case elsewhere && class == ClassRefused && (f.Status == http.StatusNotFound || f.Status == http.StatusMethodNotAllowed):
		return ClassNoModel
	case f.Refused && host.Intercepted(f.Status, f.Resp.Header, f.Body):
		return ClassBlocked
	case class == ClassKeyRejected && f.Status == http.StatusForbidden && (e.keyed || e.Keyless) && e.hasJustWorked(time.Now()) && !e.profile.NamesKey(f.Status, f.Body):
		return ClassBlocked
	}
	return class
}

// ClassOf returns the class of an error inside an answer.
func (a *attempt) ClassOf(f *exchange.Failure) Class { return a.classify(f) }

// unanswered returns the failure for an error of the base. If the request itself cannot be
// sent, that is not the endpoint's failure but the caller's or the user code's.
func (a *attempt) unanswered(req *http.Request, err error) *exchange.Failure {
	f := a.failureOf(err, ClassUnreachable)
	if f.Class != ClassUnreachable && f.Class != ClassRewrite {
		return f
	}
	own := request.Unsendable(req, err)
	switch {
	case own == nil:
		f.NoRetry = outcome.Lasting(err)
		a.sentUntraced()
		return f
	case a.reshaped() && request.Unsendable(a.call.req, err) == nil:
		return &exchange.Failure{Class: ClassRewrite, Err: own}
	}
	return &exchange.Failure{Class: ClassCanceled, Err: own}
}

// failureOf returns the failure for an error that came instead of a response. It looks at
// the deadline and at the caller first: what they have cancelled may end in any error.
func (a *attempt) failureOf(err error, class Class) *exchange.Failure {
	if f := a.Interrupted(); f != nil {
		a.explain(f)
		return f
	}
	if own := a.failed.Load(); own != nil {
		return a.bodyFailed(*own)
	}
	if err == errNoResponse {
		return &exchange.Failure{Class: class, Err: err}
	}
	var ofBase *baseError
	if class == ClassUnreachable && a.fleet.middleware && !errors.As(err, &ofBase) {
		class = ClassRewrite // the error came from user middleware
	}
	if !errors.Is(err, ErrBadResponse) && !errors.Is(err, ErrTruncated) {
		err = outcome.Quiet(err)
	}
	return &exchange.Failure{Class: class, Err: err}
}

// reshaped reports whether user code may have changed the request.
func (a *attempt) reshaped() bool {
	return a.endpoint.Rewrite != nil || a.fleet.middleware
}

var errNoResponse = errors.New("breakwater: the base returned neither response nor error")

// shape turns req, a copy of the caller's request, into the request for this endpoint:
// with its URL, key and model name.
func (a *attempt) shape(req *http.Request) error {
	c, e := a.call, a.endpoint
	req.URL = c.urlAt(e)
	if c.goesTo(e) {
		req.Header = header.ShallowCopy(c.req.Header)
	} else {
		req.Host = ""
		req.Trailer = nil
		req.Header = header.ForAnotherOrigin(c.req.Header, 2)
	}
	// Only without this header does the base ask for gzip by itself and unpack the answer.
	// It would pass on an answer to the caller's own header packed, and nobody could judge
	// it.
	if !c.isSafe() {
		delete(req.Header, "Accept-Encoding")
	}
	e.authorize(req, c.op, a.key)
	if !c.isSafe() {
		a.warnOfNoKey(req)
		a.setBody(req)
	}
	buffered := req.Body == &a.body
	middleware := a.fleet.middleware
	if e.Rewrite == nil && !middleware { // a base must not change its request, so URL and headers can be shared
		if a.isLent() {
			return nil
		}
		a.transmission.track(a, req, a.Start.Add(a.queued))
		if buffered && !a.fleet.retry.SendOnce {
			req.GetBody = a.transmission.replay
		}
		return nil
	}
	if buffered {
		req.GetBody = a.copyBody
	}
	u := *req.URL
	req.URL, req.Header = &u, req.Header.Clone()
	if e.Rewrite != nil {
		if err := e.Rewrite(req); err != nil {
			return err
		}
	}
	if !middleware { // middleware sends by itself, through trackSend
		a.transmission.track(a, req, time.Now())
	}
	return nil
}

// warnOfNoKey reports, once for each endpoint, that a request carries no key.
func (a *attempt) warnOfNoKey(req *http.Request) {
	c, e := a.call, a.endpoint
	if e.keyed || e.Keyless || !a.fleet.configured || e.Rewrite != nil || a.fleet.middleware || e.warnedNoKey.Load() || carriesKey(req) {
		return
	}
	if e.warnedNoKey.CompareAndSwap(false, true) {
		a.fleet.observers.emit(c, Event{Kind: KindKey, Endpoint: e.Name, Model: a.model, Attempt: int(a.n), Err: ErrNoKey})
	}
}

// carriesKey reports whether a request has anything that may be a key.
func carriesKey(req *http.Request) bool {
	if req.URL.User != nil || !onlyVersion(req.URL) || len(req.Header["Cookie"]) > 0 {
		return true
	}
	for name, values := range req.Header {
		if header.IsCredential(name) && header.HoldsKey(values) {
			return true
		}
	}
	return false
}

func (a *attempt) setBody(req *http.Request) {
	c := a.call
	req.GetBody = nil
	if c.upload != nil {
		req.Body = &reqbody.UploadReader{Upload: c.upload, Sender: a}
		return
	}
	text := a.splice()
	if len(text) == 0 {
		req.Body, req.ContentLength = http.NoBody, 0
		return
	}
	req.ContentLength = int64(len(text))
	req.TransferEncoding = nil
	if a.loan != nil && len(req.Header["Expect"]) == 0 { // the headers of such a request do not mean that the body follows
		a.transmission.lend(a, req)
	} else {
		a.body.Open(a.buffer)
		req.Body = &a.body
	}
	switch {
	case a.fleet.retry.SendOnce:
	case c.resumption != nil, len(req.Header["Idempotency-Key"]) == 0:
		// The caller's key must not identify a rescue, which is another request. An empty
		// list is not sent as a header, but lets net/http replay on a connection that
		// turns out to be closed, which it does not do for a POST otherwise: see
		// http.Transport.
		req.Header["Idempotency-Key"] = nil
	}
}

// splice edits the body for the endpoint, and returns it.
func (a *attempt) splice() []byte {
	edits := host.Edits(&a.call.params, a.call.op, a.call.target.profile, a.endpoint.profile, a.model)
	if a.needsUsage() {
		var edit request.Edit
		if edit, a.asksUsage = request.AskForUsage(&a.call.params, a.buffer.Bytes()); a.asksUsage {
			edits = append(edits, edit)
		}
	}
	if len(edits) > 0 {
		body := a.buffer.Bytes()
		spliced := reqbody.Get(int64(len(body)))
		spliced.Set(request.Splice(spliced.Bytes(), body, edits))
		a.useBuffer(spliced)
	}
	return a.buffer.Bytes()
}

// needsUsage reports whether the host should be asked for the usage of a stream: it says it only
// then, and a price or a limit of tokens needs it.
func (a *attempt) needsUsage() bool {
	c, e := a.call, a.endpoint
	if e.can&request.Usage == 0 || c.encoded || c.op != request.Chat && c.op != request.Completions {
		return false
	}
	if e.rateOf(c.op, a.model) != nil || a.fleet.countsTokens {
		return true
	}
	limiter := c.limiter(e, a.model)
	return limiter != nil && limiter.CountsTokens()
}

// firstPayloadWithin returns how long the attempt may show no payload while another
// endpoint could serve; 0: for ever.
func (a *attempt) firstPayloadWithin() time.Duration {
	return a.call.firstClock(a.endpoint, a.fleet.stream)
}

// hadTime reports whether the host got the request and had the time that the model usually
// needs there. If not, its silence says nothing about it.
func (a *attempt) hadTime() bool {
	if a.fleet.limitedBase && !a.sent.Load() && a.endpoint.Load.Sent() > 0 {
		return false // the host has received other requests, so this one waited for a connection of the base
	}
	usual := a.firstPayloadWithin()
	if known := a.permit.Latency(latencyKind(&a.call.params)).Usual(); known > 0 {
		usual = known
	}
	return usual > 0 && time.Since(a.Start)-a.queued >= usual
}

// latencyKind returns the index of the model's latencies for calls like this one. JSON
// answers, which come in one piece, differ from streams, and thinking from not thinking.
func latencyKind(p *request.Params) int {
	kind := int(p.Thinking.Mode())
	if p.Stream {
		kind += circuit.Kinds / 2
	}
	return kind
}

// A baseError marks an error of the base, so that it is not taken for one of user
// middleware.
type baseError struct{ error }

func (e *baseError) Unwrap() error { return e.error }

// dropForeign removes what a server may not tell a caller who addressed another origin:
// the trailers, and all headers that are not on the safe list. A transport adds trailers
// to its own response at the end of the body, so if that is still to be read (read is
// false), dropForeign returns a copy of the response.
func (a *attempt) dropForeign(resp *http.Response, read bool) *http.Response {
	if a.call.goesTo(a.endpoint) {
		return resp
	}
	if !read {
		own := *resp
		resp = &own
	}
	header.RemoveForeign(resp.Header)
	resp.Trailer = nil
	return resp
}

// redirected decides whether the caller may follow a redirect. It gets a redirect only
// from the endpoint that it addressed: at once if the redirect leads elsewhere in that
// endpoint's origin, and otherwise only if no other endpoint answers, because a
// misconfigured host must not send prompts to a stranger. The response of any other
// endpoint is dropped: the caller would resolve its Location against the wrong URL.
func (a *attempt) redirected(f *exchange.Failure) {
	if a.endpoint.URL != a.call.target.URL {
		f.Resp = nil
		return
	}
	f.Blameless = true
	if location := header.First(f.Resp.Header, "Location"); location != "" {
		asked := a.call.urlAt(a.endpoint)
		u, err := asked.Parse(location)
		f.PassThrough = err == nil && a.endpoint.origin.Has(u) && u.String() != asked.String()
	}
}

// switched hands over an answer in another protocol at once if the caller asked for an
// upgrade, because nothing that follows can be judged: the connection may stay silent for
// ever.
func (a *attempt) switched(resp *http.Response) (*http.Response, *exchange.Failure) {
	if a.call.goesTo(a.endpoint) && len(a.call.req.Header["Upgrade"]) > 0 {
		connection := resp.Body
		resp, f := a.PassOn(resp)
		if w, ok := connection.(io.Writer); ok && f == nil {
			// No transport cancels a switched connection. Closing it ends its reads and
			// writes.
			stop := context.AfterFunc(a.call, func() { connection.Close() })
			resp.Body = &switchedBody{resp.Body, w, stop}
		}
		return resp, f
	}
	resp.Body.Close()
	resp.Body = http.NoBody
	return nil, &exchange.Failure{Class: ClassRedirected, Status: resp.StatusCode, Resp: resp, Refused: true, Err: ErrBadResponse}
}

// A switchedBody is a switched connection as the body of a response. As http.Response.Body
// documents, the caller can write to it.
type switchedBody struct {
	io.ReadCloser
	io.Writer
	stop func() bool // stops watching for the end of the caller's context
}

func (b *switchedBody) Close() error {
	b.stop()
	return b.ReadCloser.Close()
}
