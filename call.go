package breakwater

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/resume"
	"github.com/breakwater-go/breakwater/internal/store"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// Call overrides, for one call, what the Transport is set to. Put it into the
// request's context with [WithCall].
type Call struct {
	NoCache      bool   // neither take the answer from the cache nor keep it
	NoShare      bool   // do not share an attempt with another call for the same
	CacheControl string // directives for the cache beside those of the request's Cache-Control, and before them: "max-age=60"
	Scope        string // who may share the answer, instead of CachePolicy.Scope
	Endpoint     string // the one endpoint to use, by name; no failover to others
	Attempts     int    // tries per account, instead of RetryPolicy.Attempts; 0: as there
	Trail        *Trail // filled with the call's attempts, for those who never see the response
}

type callOptionsKey struct{}

// WithCall returns a context whose calls follow c.
func WithCall(ctx context.Context, c Call) context.Context {
	return context.WithValue(ctx, callOptionsKey{}, &c)
}

// callOptions are those that ctx carries. Nobody changes them.
func callOptions(ctx context.Context) *Call {
	if c, ok := ctx.Value(callOptionsKey{}).(*Call); ok {
		return c
	}
	return &noOptions
}

var noOptions Call

// untold are the options of a call made in this one's name: its Trail is not
// that one's.
func (c *call) untold() *Call {
	if c.Trail == nil {
		return c.Call
	}
	options := *c.Call
	options.Trail = nil
	return &options
}

// A call is what the caller asked for, once. It is the context of all that is
// done for it, so that every layer can find it, and the caller's responses can.
type call struct {
	context.Context // the caller's
	*Call

	req          *http.Request // the caller's, its context being this call
	op           request.Operation
	target       *upstream   // whose API the caller asked
	candidates   []*upstream // that could serve it, best tier first
	params       request.Params
	buffer       *reqbody.Buffer // its body, whole; nil: it has none, or that is streamed
	upload       *reqbody.Upload // its body, too large to be kept: sent once
	start        time.Time
	caller       atomic.Pointer[header.Credential] // nil: nobody asked yet
	lookup       *lookup                           // nil: nothing is kept of such calls
	conversation uint64                            // its key; 0: none is kept together

	encoded  bool // the body has a coding: nobody can look into it
	nested   bool // made from within another call: by an Observer, say
	fallback bool // an answer is kept that would do instead of a failure

	resumption *resumption    // why it is made; nil: for its caller
	transcribe *resume.Limits // set by the rescue layer: a stream keeps its transcript within them; nil: none

	mu      sync.Mutex // guards what follows
	failure *Error     // behind an answer that breakwater wrote itself

	log    *attemptLog // its trail: its own, or that of the call it is made for
	own    attemptLog
	single [1]*upstream
}

type callKey struct{}

// Value finds the call itself under its key.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// ownRequest is a copy of the caller's request that goes on being what it is
// when the caller, whose exchange may be over, makes another of it. The body was
// read: who keeps the copy is not to hold that.
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

// restored is the caller's request with its body back.
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

// choices is how many the answer is to have.
func (c *call) choices() int {
	if c.upload != nil || c.encoded {
		return wire.Unknown
	}
	return c.params.Choices
}

// thinking reports whether e is expected to think before it answers.
func (c *call) thinking(e *upstream) bool {
	model, _ := e.serves(c.op, c.params.Model, c.target)
	return c.params.Thinking.On || e.profile.Thinks(c.params.Model) || e.profile.Thinks(model)
}

// body is the call's body, whole; nil where there is none, or it is streamed.
func (c *call) body() []byte { return c.buffer.Bytes() }

// settles lets go of what the call was made with, now that its answer is known:
// the call, which a kept response leads to, holds neither the prompt nor what
// endpoints refused. Who may still look into them has a hold of its own: a base
// that reads, a flight, a renewal, a rescuer.
func (c *call) settles(answer io.Reader, shared bool) {
	if !shared && exchange.KindOf(answer) == exchange.KindWhole {
		c.releaseBody()
	}
	c.letGo()
}

func (c *call) letGo() { c.buffer = nil }

// releaseBody ends the call's own use of its body: it does not look at it any
// more.
func (c *call) releaseBody() {
	c.buffer.Release()
	c.buffer = nil
}

// credential returns who the caller of c is.
func (c *call) credential() header.Credential {
	if known := c.caller.Load(); known != nil {
		return *known
	}
	known := header.CredentialOf(c.req)
	c.caller.Store(&known)
	return known
}

// TrailOf returns the attempts behind a response, in order; nil where
// breakwater did not make them, as for an answer from the cache.
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

// ErrorOf returns the *Error behind an answer that breakwater wrote itself, be
// it an empty 502 where a 200 brought nothing; else nil.
func ErrorOf(resp *http.Response) error {
	if resp == nil || resp.Request == nil || resp.Header.Get(header.Error) == "" {
		return nil
	}
	c := callOf(resp.Request.Context())
	if c == nil {
		return nil
	}
	if failure := c.failed(); failure != nil {
		return failure
	}
	return nil // a nil *Error in an error would not be nil
}

// fails keeps the error behind an answer of our own, for [ErrorOf].
func (c *call) fails(failure *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = failure
}

// failed returns the error behind an answer of our own, nil if it is none.
func (c *call) failed() *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// ownAnswer returns the response that breakwater writes where no host gave one.
func (c *call) ownAnswer(class Class, message string, wait time.Duration) *http.Response {
	status, code := http.StatusServiceUnavailable, string(class)
	switch class {
	case ClassLimited:
		status, code = http.StatusTooManyRequests, "rate_limited"
	case ClassNotCached:
		status = http.StatusGatewayTimeout
	}
	resp := c.response(status, c.op.Wire().ErrorBody(status, code, "breakwater: "+message))
	resp.Header.Set("Content-Type", "application/json")
	resp.Header.Set(header.Error, code)
	resp.Header.Set(header.ShouldRetry, "false")
	if wait > 0 {
		resp.Header.Set("Retry-After", seconds(wait))
	}
	return resp
}

// seconds returns a wait in the format of Retry-After, rounded up.
func seconds(d time.Duration) string {
	n := int64(max(d, 0) / time.Second)
	if d > 0 && d%time.Second > 0 {
		n++
	}
	return strconv.FormatInt(n, 10)
}

// response returns a response to this call with a body from memory.
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

// A resumption is why a call is made: another call's stream broke.
type resumption struct {
	how     rescueKind
	account string // where the stream broke
	place   int    // of the attempt that broke, in the trail
}

// A rescueKind is the way a stream goes on.
type rescueKind uint8

const (
	notRescued rescueKind = iota
	rescueContinues
	rescueRestarts
)

func (k rescueKind) String() string { return [...]string{"", "continue", "restart"}[k] }

// continues reports whether the call has a host continue a text.
func (c *call) continues() bool {
	return c.resumption != nil && c.resumption.how == rescueContinues
}

// A lookup is a call's keys in the cache.
type lookup struct {
	scope key.Scope
	exact key.Key      // of the body as it came
	key   key.Key      // of what it says; zero: not known yet
	entry *store.Entry // found by the exact key
}

// firstClock is that of an attempt of the call's at e, by a policy.
func (c *call) firstClock(e *upstream, p StreamPolicy) time.Duration {
	switch {
	case !c.params.Stream && e.profile.QueuesAfterHeaders:
		return p.Queued
	case !c.params.Stream, c.thinking(e):
		return p.Thinking
	}
	return p.FirstToken
}

// goesTo reports whether e is of the origin that the caller meant.
func (c *call) goesTo(e *upstream) bool { return c.target.origin == e.origin }

// urlAt returns where e serves the call. What was meant for the same base
// goes to the very path it asked for: /beta stays /beta. Elsewhere the
// operation moves to e's own root, and the query, which may hold another
// host's key, stays behind.
func (c *call) urlAt(e *upstream) *url.URL {
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
