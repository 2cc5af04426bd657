package breakwater

import (
	"context"
	"io"
	"net/http"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
)

// dropForeign removes what a server may not tell a caller who addressed another
// origin: the trailers, and all headers that are not safelisted. A transport adds
// trailers to its own response at the end of the body, so for a body that is
// still to be read (read is false) it returns a copy of the response.
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

// redirected decides whose a redirect is to follow. What the endpoint says that
// the caller addressed is the caller's: at once within its origin, and if nobody
// else answers to another one, for a misplaced host must not draw prompts to a
// stranger; nor to the very URL asked, which leads nowhere. What another
// endpoint says of a redirect never reaches the caller: it would be followed
// from where that endpoint is not.
func (a *attempt) redirected(t *exchange.Failure) {
	if a.endpoint.URL != a.call.target.URL {
		t.Resp = nil
		return
	}
	t.Blameless = true
	if location := header.First(t.Resp.Header, "Location"); location != "" {
		asked := a.endpoint.urlFor(a.call)
		u, err := asked.Parse(location)
		t.AsCame = err == nil && a.endpoint.origin.Has(u) && u.String() != asked.String()
	}
}

// switched hands over an answer in another protocol, at once, if the caller
// asked for one. Nobody can judge what follows: it may be silent for good.
func (a *attempt) switched(resp *http.Response) (*http.Response, *exchange.Failure) {
	if a.call.goesTo(a.endpoint) && len(a.call.req.Header["Upgrade"]) > 0 {
		connection := resp.Body
		resp, f := a.PassOn(resp)
		if w, ok := connection.(io.Writer); ok && f == nil {
			// No transport cancels such a connection: its reads and writes end with it.
			stop := context.AfterFunc(a.call, func() { connection.Close() })
			resp.Body = &switchedBody{resp.Body, w, stop}
		}
		return resp, f
	}
	resp.Body.Close()
	resp.Body = http.NoBody
	return nil, &exchange.Failure{Class: ClassRedirected, Status: resp.StatusCode, Resp: resp, Refused: true, Err: ErrBadResponse}
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
