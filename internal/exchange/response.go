package exchange

import (
	"io"
	"net/http"
	"strconv"

	"github.com/breakwater-go/breakwater/internal/header"
)

// inOnePiece commits the exchange to an answer that was read to its end. label is its media type
// if the response has another one.
func (e *Exchange) inOnePiece(resp *http.Response, body []byte, label string) (*http.Response, *Failure) {
	if !e.FirstPayload.Stop() {
		return nil, e.Interrupted()
	}
	e.setWhole(resp, body, label)
	return resp, nil
}

// setWhole makes an answer in one piece the body of a response. label is its media type if the
// response has another one.
func (e *Exchange) setWhole(resp *http.Response, body []byte, label string) {
	if label != "" && label != header.MediaType(resp.Header) {
		setType(resp, label)
	}
	e.whole = Whole{x: e, body: body}
	setBody(resp, &e.whole, len(body))
}

// become makes a stream the body of its response.
func (s *Stream) become(resp *http.Response) {
	resp.Body = s
	if s.err == nil { // until then, the goroutine that judges ends the exchange
		s.stop = s.x.endWithCaller(&s.read)
	}
	if len(resp.Header["Content-Length"]) > 0 || resp.ContentLength > 0 {
		clearLength(resp) // comments are dropped
	}
	switch header.MediaType(resp.Header) {
	case "application/json", "application/x-ndjson", "application/jsonl", "text/html": // a client goes by the label
		setType(resp, "text/event-stream")
	}
}

// setType sets the media type of a response.
func setType(resp *http.Response, label string) {
	if resp.Header == nil {
		resp.Header = make(http.Header)
	}
	resp.Header["Content-Type"] = []string{label}
}

// setMemory gives resp a body in memory.
func setMemory(resp *http.Response, body []byte) {
	setBody(resp, InMemory(body, io.EOF), len(body))
}

func setBody(resp *http.Response, body io.ReadCloser, length int) {
	resp.Body = body
	resp.ContentLength = int64(length)
	resp.TransferEncoding = nil
	if header.First(resp.Header, "Content-Length") != "" {
		resp.Header.Set("Content-Length", strconv.Itoa(length))
	}
}

// clearLength removes the length of a response.
func clearLength(resp *http.Response) {
	resp.ContentLength = -1
	delete(resp.Header, "Content-Length")
}
