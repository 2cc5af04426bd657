package breakwater

import (
	"net/http"
	"strconv"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/store"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// aliasSize is about how many bytes of memory one more alias of a question takes.
const aliasSize = 448

// can reports whether the call can have a kept answer, if that stands in for a
// failure.
func (c *call) can(e *store.Entry) bool {
	_, ok := e.As(c.format(), c.op.Wire(), true)
	return ok
}

// inputs is how many vectors a call for embeddings asks for.
func (c *call) inputs() int {
	if c.op.Wire() != wire.Embeddings {
		return 0
	}
	return request.Inputs(c.body())
}

// A replayed is a response from memory, in one allocation with what belongs to it.
type replayed struct {
	resp   http.Response
	body   exchange.Memory
	values [16]string // most headers need no more
}

// replay answers a call from an entry. It returns nil where the call cannot have
// the answer in the format that it wants.
func (c *call) replay(e *store.Entry, age time.Duration, how string, standsIn bool) *http.Response {
	body, ok := e.As(c.format(), c.op.Wire(), standsIn)
	if !ok {
		return nil
	}
	r := &replayed{}
	h, values := make(http.Header, len(e.Header)+2), r.values[:0]
	set := func(name string, list ...string) {
		at := len(values)
		values = append(values, list...)
		h[name] = values[at:len(values):len(values)]
	}
	for name, list := range e.Header {
		set(name, list...)
	}
	if stream := c.format().IsStream(e.Streamed); stream != e.Streamed {
		store.SetFormat(h, stream)
	}
	set("Age", strconv.FormatInt(int64(age/time.Second), 10))
	set("Cache-Status", how)
	r.body.Reset(body)
	r.resp = http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: &r.body, ContentLength: int64(len(body)), Request: c.req,
	}
	return &r.resp
}
