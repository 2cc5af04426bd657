package breakwater

import (
	"errors"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/reqbody"
	"github.com/breakwater-go/breakwater/internal/request"
)

// gate is the middleware that sends and judges: it makes the attempt's own
// request, and holds the response back until it is known to carry an answer.
func gate(next http.RoundTripper) http.RoundTripper {
	return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		a := attemptOf(req.Context())
		if err := a.shape(req); err != nil {
			return nil, &exchange.Failure{Class: ClassRewrite, Err: outcome.Quiet(err)}
		}
		a.watch.begin(a)
		a.call.t.counts.attempts.Add(1)
		resp, err := next.RoundTrip(req)
		switch {
		case err != nil:
			if resp != nil && resp.Body != nil {
				resp.Body.Close()
			}
			tr := a.broken(err, ClassUnreachable)
			if tr.Class == ClassUnreachable || tr.Class == ClassRewrite {
				if own := request.Unsendable(req, err); own != nil {
					tr = &exchange.Failure{Class: ClassCanceled, Err: own}
					if a.reshaped() && request.Unsendable(a.call.req, err) == nil {
						tr.Class = ClassRewrite
					}
				}
			}
			return nil, tr
		case resp == nil:
			return nil, a.broken(errNoResponse, ClassUnreachable)
		case resp.Body == nil:
			resp.Body = http.NoBody
		}
		status, came := resp.StatusCode, resp.Body
		judged := false
		defer func() {
			if !judged { // an Observer panics, or the body does
				came.Close()
			}
		}()
		resp, err = a.judge(resp)
		if judged = true; err != nil {
			if a.failed.Load() != nil { // the host was sent a part of the request
				err = a.endedByCaller()
			}
			a.update(func(t *Attempt) { t.Status = status })
		}
		return resp, err
	})
}

// reshaped reports whether the user's code may have changed the request.
func (a *attempt) reshaped() bool {
	return a.endpoint.Rewrite != nil || len(a.call.t.config.perAttempt) > 0
}

var errNoResponse = errors.New("breakwater: the base returned neither response nor error")

// shape makes req, so far a copy of the caller's request, this endpoint's: its
// URL, key and model name.
func (a *attempt) shape(req *http.Request) error {
	c, e := a.call, a.endpoint
	req.URL = e.urlFor(c)
	if c.goesTo(e) {
		req.Header = header.ShallowCopy(c.req.Header, 2)
	} else {
		req.Host = ""
		req.Trailer = nil
		req.Header = header.ForAnotherOrigin(c.req.Header, 2)
	}
	// The base asks for gzip by itself and undoes it: what it did not ask for
	// it would hand on packed, and nobody could judge it.
	delete(req.Header, "Accept-Encoding")
	e.authorize(req, c.op)
	a.warnOfNoKey(req)
	a.setBody(req)
	buffered := req.Body == &a.body
	middleware := len(c.t.config.perAttempt) > 0
	if e.Rewrite == nil && !middleware { // a base may not change what it is given, so that is shared
		a.sending.begin(a, req, a.start.Add(a.queued))
		if buffered && !a.run.retry.SendOnce {
			req.GetBody = a.sending.replay
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
	if !middleware { // which sends by itself
		a.sending.begin(a, req, time.Now())
	}
	return nil
}

// warnOfNoKey says once of an endpoint that it is asked without any key.
func (a *attempt) warnOfNoKey(req *http.Request) {
	c, e := a.call, a.endpoint
	if e.keyed || e.Keyless || len(c.t.tiers) == 0 || e.Rewrite != nil || len(c.t.config.perAttempt) > 0 || e.unkeyed.Load() || carriesKey(req) {
		return
	}
	if e.unkeyed.CompareAndSwap(false, true) {
		c.t.config.observers.emit(c, Event{Kind: KindKey, Endpoint: e.Name, Model: a.model, Attempt: int(a.n), Err: ErrNoKey})
	}
}

// carriesKey reports whether a request has something that may be a key.
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

// goesTo reports whether e is of the origin that the caller meant.
func (c *call) goesTo(e *upstream) bool { return c.target.origin == e.origin }

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
	a.body.Open(a.buffer)
	req.Body = &a.body
	req.ContentLength = int64(len(text))
	req.TransferEncoding = nil
	switch {
	case a.run.retry.SendOnce:
	case c.resumption != nil, len(req.Header["Idempotency-Key"]) == 0:
		// A rescue is another request than the caller's. An empty list is not sent. It has net/http replay into a connection that
		// turns out closed, which it does not dare by itself: see http.Transport.
		req.Header["Idempotency-Key"] = nil
	}
}

// splice puts the body into the endpoint's words, and returns it.
func (a *attempt) splice() []byte {
	if edits := host.Edits(&a.call.params, a.call.op, a.call.target.profile, a.endpoint.profile, a.model); len(edits) > 0 {
		body := a.buffer.Bytes()
		spliced := reqbody.Get(int64(len(body)))
		spliced.Set(request.Splice(spliced.Bytes(), body, edits))
		a.useBuffer(spliced)
	}
	return a.buffer.Bytes()
}
