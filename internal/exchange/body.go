package exchange

import (
	"io"
	"net/http"
)

// A Kind says what is known of a body.
type Kind int

const (
	KindOther  Kind = iota // unknown: the body is no Body
	KindMemory             // in memory and not checked: a refusal, a cached answer, or one of breakwater's own
	KindWhole              // a checked answer in one piece, in memory
	KindStream             // an answer in events, checked as they are read
	KindOpaque             // passed on unchecked
)

// A Body is the body of a response that says what it is.
type Body interface {
	io.ReadCloser
	Kind() Kind
	// Observe reports the answer to c from its first byte on. It must be called
	// before the first Read. Only KindWhole and KindStream report anything.
	Observe(c Completion)
}

// KindOf returns what is known of a body.
func KindOf(body io.Reader) Kind {
	if b, ok := body.(Body); ok {
		return b.Kind()
	}
	return KindOther
}

// ReadAll reads a body that is in memory. It does not copy a whole answer, so
// nobody may change what it returns.
func ReadAll(body io.Reader) ([]byte, error) {
	if w, ok := body.(*Whole); ok {
		return w.body, nil
	}
	return io.ReadAll(body)
}

// A Completion learns what goes to the reader of an answer, and whether the answer
// is complete in the end. Its methods may be called from any goroutine, one at a
// time.
type Completion interface {
	// Pass reports n more bytes. payload: they carry a part of the answer.
	Pass(n int, payload bool)
	// Continue reports the headers of another response that continues the answer.
	Continue(h http.Header)
	// Private reports that the bytes that follow concern this reader alone.
	Private()
	// Break reports the host's own event that says why the answer broke off.
	Break(event []byte)
	// Complete reports that the answer is complete, and which endpoint gave its end.
	// finished: it is all that the host has to say, although perhaps cut at the token
	// limit. keepable: it may also be given to others who ask the same. usage: it says how
	// many tokens were used.
	Complete(endpoint string, finished, keepable, usage bool)
}
