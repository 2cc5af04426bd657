package breakwater

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/resume"
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

	t            *Transport
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

// newCall reads the request's body, whole if it may be kept, and looks into it.
func (t *Transport) newCall(req *http.Request, op request.Operation, meant *upstream) (*call, error) {
	if ctx := req.Context(); ctx.Err() != nil { // it is over before it has begun
		if req.Body != nil {
			reqbody.Close(ctx, req.Body)
		}
		return nil, context.Cause(ctx)
	}
	c := &call{Context: req.Context(), Call: callOptions(req.Context()), t: t, op: op, target: meant, start: time.Now()}
	c.log = &c.own
	if c.Trail != nil { // which outlives the call
		c.log = c.Trail.begin()
	}
	c.candidates = t.candidates(c.single[:0], meant)
	c.nested = callOf(req.Context()) != nil
	c.req = req.WithContext(c)
	if t.keyless { // clocks look at pauses, which are by caller there
		c.credential()
	}
	var err error
	if c.buffer, c.upload, err = reqbody.Take(c, req, t.config.retry.MaxReplay); err != nil {
		return nil, err
	}
	c.encoded = len(req.Header["Content-Encoding"]) > 0
	if t.cache.findExact(c) {
		return c, nil
	}
	c.params = request.Parse(c.body())
	c.params.Model = t.names.Intern(c.params.Model)
	if meant.profile.PrefixRoot != "" && strings.HasPrefix(req.URL.Path, meant.profile.PrefixRoot+"/") {
		c.params.PrefixCompletion = request.PrefixCompletion(c.body())
	}
	return c, nil
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

// isInference reports whether the call is one for sure. Its path says so where
// the endpoint was given or its host is known; elsewhere, paths like these may
// belong to anybody, and the body has to name a model.
func (c *call) isInference() bool {
	return c.op == request.Chat || len(c.t.tiers) > 0 || !c.target.profile.Generic || c.params.Model != ""
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
	model, _ := e.serves(c)
	return c.params.Thinking.On || e.profile.Thinks(c.params.Model) || e.profile.Thinks(model)
}

// body is the call's body, whole; nil where there is none, or it is streamed.
func (c *call) body() []byte { return c.buffer.Bytes() }

// settles lets go of what the call was made with, now that its answer is known:
// the call, which a kept response leads to, holds neither the prompt nor what
// endpoints refused. Who may still look into them has a hold of its own: a base
// that reads, a flight, a renewal, a rescuer.
func (c *call) settles(answer io.Reader) {
	if exchange.KindOf(answer) == exchange.KindWhole && c.t.cache == nil {
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
