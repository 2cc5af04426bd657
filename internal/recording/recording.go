// Package recording knows the form in which breakwatertest keeps HTTP exchanges: what belongs
// to one, how it is written as text and read again, how errors of the network keep their
// types, and what must not be written. It sends nothing and opens no file.
package recording

import (
	"net/http"
	"time"
)

// An Exchange is one request and what came of it.
type Exchange struct {
	At     time.Time // when the request began
	Method string
	URL    string // without keys
	Header http.Header
	Body   []byte
	Sent   Sent // how much of the body is known

	Response *Response // nil: none came
	End      End       // how the exchange ended
	EndAfter time.Duration
	Err      error // of EndError
}

// A Response is what came of the server. Times count from the beginning of the request.
type Response struct {
	After         time.Duration // when the headers were there
	Proto, Status string        // such as HTTP/1.1, and 200 OK
	Header        http.Header
	Length        int64 // as in http.Response.ContentLength
	Uncompressed  bool  // as in http.Response
	Reads         []Read
	Trailer       http.Header
}

// A Read is what one read of the body brought.
type Read struct {
	After time.Duration
	Data  []byte
}

// Sent says how much of a request's body is known.
type Sent string

const (
	SentWhole  Sent = "whole"
	SentNone   Sent = "unread"  // the base did not read it, as when the connection is refused
	SentPart   Sent = "part"    // the base read a part
	SentTooBig Sent = "too-big" // it is larger than the recorder keeps
)

// End says how an exchange ended.
type End string

const (
	EndEOF       End = "EOF"
	EndError     End = "error"
	EndCanceled  End = "canceled"  // the client left while it waited
	EndClosed    End = "closed"    // the client closed the body, and did not wait
	EndTruncated End = "truncated" // the body went on, but it is larger than the recorder keeps
	EndOpen      End = "open"      // the recorder was closed before
	EndUpgraded  End = "upgraded"  // another protocol followed
)

// Body returns all of the response's body.
func (r *Response) Body() []byte {
	var all []byte
	for _, read := range r.Reads {
		all = append(all, read.Data...)
	}
	return all
}
