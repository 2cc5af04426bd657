package breakwatertest

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"time"
)

// A Request is one request that a [Server] received.
type Request struct {
	Time                   time.Time // when it came
	Method, Path, RawQuery string
	Header                 http.Header
	Body                   []byte // the first MiB
	Key, Model             string // the API key, from any of its headers; the requested model
	Stream                 bool   // it asked for a stream
	Prefix                 string // text of a last message with "prefix":true; empty: none
	Fault                  string // name of the fault it met; empty: none
}

const (
	keptBody = 1 << 20  // the largest Request.Body; the rest is dropped
	maxBody  = 64 << 20 // how many bytes of a body are read at most
)

func received(r *http.Request) Request {
	return Request{
		Time: time.Now(), Method: r.Method, Path: r.URL.Path, RawQuery: r.URL.RawQuery,
		Header: r.Header.Clone(), Key: keyOf(r.Header),
	}
}

// read reads the body to its end and returns it. Only after that does net/http
// watch the connection and cancel the context when the client leaves.
func (r *Request) read(body io.Reader) ([]byte, error) {
	var b bytes.Buffer
	_, err := b.ReadFrom(io.LimitReader(body, maxBody))
	r.Body = b.Bytes()[:min(b.Len(), keptBody)]
	return b.Bytes(), err
}

// keyOf returns the API key from the header of OpenAI, Anthropic or Azure.
func keyOf(h http.Header) string {
	if scheme, key, _ := strings.Cut(h.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(key)
	}
	if key := h.Get("X-Api-Key"); key != "" {
		return key
	}
	return h.Get("Api-Key")
}
