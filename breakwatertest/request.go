package breakwatertest

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"time"
)

// Request is one request a [Server] received.
type Request struct {
	Time                   time.Time
	Method, Path, RawQuery string
	Header                 http.Header
	Body                   []byte // the first MiB
	Key, Model             string // the key, from whichever header; the model asked for
	Stream                 bool   // whether a stream was asked for
	Prefix                 string // what a last message with "prefix":true begins the answer with, "" if none
	Fault                  string // name of the fault it met, "" if none
}

const (
	keptBody = 1 << 20  // what Request.Body holds
	maxBody  = 64 << 20 // what is read at all
)

func received(r *http.Request) Request {
	return Request{
		Time: time.Now(), Method: r.Method, Path: r.URL.Path, RawQuery: r.URL.RawQuery,
		Header: r.Header.Clone(), Key: keyOf(r.Header),
	}
}

// read takes in the body and returns the whole of it. A body must be read to
// its end: only then does net/http watch the connection and end the context when
// the client leaves.
func (in *Request) read(body io.Reader) ([]byte, error) {
	var b bytes.Buffer
	_, err := b.ReadFrom(io.LimitReader(body, maxBody))
	in.Body = b.Bytes()[:min(b.Len(), keptBody)]
	return b.Bytes(), err
}

// keyOf is the credential, in OpenAI's header, Anthropic's or Azure's.
func keyOf(h http.Header) string {
	if scheme, key, _ := strings.Cut(h.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(key)
	}
	if key := h.Get("X-Api-Key"); key != "" {
		return key
	}
	return h.Get("Api-Key")
}
