package breakwater

import (
	"context"
	"io"
	"net/http"
	"net/textproto"
	"strings"
)

// This file is about what a server may tell a caller who addressed another
// one. http.Client, SDKs and browsers act on many headers, and would act on the
// origin that was addressed: they would follow a Location with the caller's own
// headers, or keep a cookie for that origin.

// dropForeign takes out of a response of another origin than the caller's its
// trailers and what does not pass. A transport adds trailers to its own response
// at the body's end; so what is returned for a body still to be read is a copy.
func (a *attempt) dropForeign(resp *http.Response, read bool) *http.Response {
	if a.call.goesTo(a.endpoint) {
		return resp
	}
	if !read {
		own := *resp
		resp = &own
	}
	for name := range resp.Header {
		if !passes(textproto.CanonicalMIMEHeaderKey(name)) {
			delete(resp.Header, name)
		}
	}
	resp.Trailer = nil
	return resp
}

// passes reports whether a response header passes from another origin: what
// describes the body, when it was made, how long to wait, and by what id to ask
// the host about it. All others stay out, those that nobody has thought of
// included. What is left of a limit is left of another account than the
// caller's.
func passes(name string) bool {
	switch name {
	case "Content-Type", "Content-Length", "Content-Encoding", "Content-Language",
		"Cache-Control", "Date", "Expires", "Pragma",
		"Retry-After", "Retry-After-Ms",
		"Cf-Ray", "Openai-Processing-Ms", "X-Tt-Logid":
		return true
	}
	return strings.HasSuffix(name, "Request-Id") || strings.HasSuffix(name, "Requestid") || strings.HasSuffix(name, "Trace-Id")
}

// redirected decides whose a redirect is to follow. What the endpoint says that
// the caller addressed is the caller's: at once within its origin, and if nobody
// else answers to another one, for a misplaced host must not draw prompts to a
// stranger; nor to the very URL asked, which leads nowhere. What another
// endpoint says of a redirect never reaches the caller: it would be followed
// from where that endpoint is not.
func (a *attempt) redirected(t *trouble) {
	if a.endpoint.URL != a.call.target.URL {
		t.resp = nil
		return
	}
	t.blameless = true
	if location := first(t.resp.Header, "Location"); location != "" {
		asked := a.endpoint.urlFor(a.call)
		u, err := asked.Parse(location)
		t.asCame = err == nil && a.endpoint.origin.Has(u) && u.String() != asked.String()
	}
}

// switched hands over an answer in another protocol, at once, if the caller
// asked for one. Nobody can judge what follows: it may be silent for good.
func (a *attempt) switched(resp *http.Response) (*http.Response, error) {
	if a.call.goesTo(a.endpoint) && len(a.call.req.Header["Upgrade"]) > 0 {
		connection := resp.Body
		resp, err := a.unjudged(resp, nil, false)
		if w, ok := connection.(io.Writer); ok && err == nil {
			// No transport cancels such a connection: its reads and writes end with it.
			stop := context.AfterFunc(a.call, func() { connection.Close() })
			resp.Body = &switchedBody{resp.Body, w, stop}
		}
		return resp, err
	}
	resp.Body.Close()
	resp = a.dropForeign(resp, true)
	resp.Body = http.NoBody
	return nil, &trouble{class: ClassRedirected, status: resp.StatusCode, resp: resp, refused: true, err: ErrBadResponse}
}

// A switchedBody is the connection of an answer in another protocol, as
// http.Response.Body has it: the caller may write to it, too.
type switchedBody struct {
	io.ReadCloser
	io.Writer
	stop func() bool // stops watching for the caller's end
}

func (b *switchedBody) Close() error {
	b.stop()
	return b.ReadCloser.Close()
}
