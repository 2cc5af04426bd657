package exchange

import (
	"io"
	"net/http"
)

// A Kind says what is known of a body.
type Kind int

const (
	KindOther  Kind = iota // another's body, or one that did not say what it is
	KindMemory             // all of it is in memory, and nobody looked into it: a refusal, or an answer of breakwater's own
	KindWhole              // an answer in one piece, checked before anybody got it; it is in memory
	KindStream             // an answer as a stream, checked event by event as it is read
	KindOpaque             // passed on as it comes, for nobody can look into it
)

// A Body is the body of a response that says what it is.
type Body interface {
	io.ReadCloser
	Kind() Kind
	// Observe has c follow the answer, from its first byte on. It must be called
	// before the first Read. Only whole answers and streams have anything to say.
	Observe(c Completion)
}

// KindOf says what is known of a body.
func KindOf(body io.Reader) Kind {
	if b, ok := body.(Body); ok {
		return b.Kind()
	}
	return KindOther
}

// ReadAll reads a body that is in memory. That of a whole answer is not copied:
// nobody may change it.
func ReadAll(body io.Reader) ([]byte, error) {
	if KindOf(body) == KindWhole {
		return body.(interface{ Bytes() []byte }).Bytes(), nil
	}
	return io.ReadAll(body)
}

// A Completion learns whether an answer comes to its end. It is told what goes
// to the reader, in that order, and may be told from any goroutine.
type Completion interface {
	// Pass notes n more bytes; payload: they carry a part of the answer.
	Pass(n int, payload bool)
	// Continue notes the headers of another response that the answer goes on with.
	Continue(h http.Header)
	// Private notes that what follows was said to this reader alone.
	Private()
	// Break notes the host's own event that says why the answer broke off.
	Break(event []byte)
	// Complete notes that nothing is missing of the answer, and which endpoint gave
	// its end. keepable: it may stand for other answers to the same question.
	// usage: it says how many tokens it took.
	Complete(endpoint string, keepable, usage bool)
}
