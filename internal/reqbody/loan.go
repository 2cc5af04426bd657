package reqbody

import (
	"bytes"
	"io"
	"sync"
)

// A Loan is a Buffer that is lent to net/http's own transport, as a body that this
// transport knows to be in memory. Only such a body does it send together with the headers,
// in one write. Nothing tells when that body is closed, so the owner of the Loan has to say
// what the transport's trace tells: when it begins to read the body, and when it has read
// it.
//
// A trace tells of other requests, too: those that a dialer or a proxy's chooser sends with
// the context that it got. So a Loan gives its buffer back only if one request was begun
// and the body is read to its end. It leaves any other buffer to the garbage collector.
//
// The zero Loan is closed. Open must be called once at most.
type Loan struct {
	reader bytes.Reader
	buffer *Buffer // never changes after Open

	mu      sync.Mutex // guards what follows, and the reader's position until Begin was called
	begun   bool
	settled bool // the buffer was released, or never will be
}

// Open lends b and returns it as a body. The Loan is a user of b from now on. Only a user
// of b may call it.
func (l *Loan) Open(b *Buffer) io.ReadCloser {
	l.buffer = b.Retain()
	l.reader.Reset(b.text)
	return io.NopCloser(&l.reader)
}

// IsOpen reports whether Open was called.
func (l *Loan) IsOpen() bool { return l.buffer != nil }

// Begin says that a request is about to be sent. If that is the lent one, the transport
// reads the body only after Begin. After a second Begin, the reader could be read while
// Return looks at it, so the loan is forfeited.
func (l *Loan) Begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled = l.settled || l.begun
	l.begun = true
}

// Return says that a request was sent. If that is the lent one, Return releases the buffer,
// because the transport will not look at it again. After Forfeit it does nothing, and nor
// does it for a closed Loan.
func (l *Loan) Return() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.settled && l.begun && l.reader.Len() == 0 {
		l.buffer.Release()
	}
	l.settled = true
}

// Forfeit leaves the buffer to the garbage collector, because the transport may look at
// the body at any later time. After Return it does nothing.
func (l *Loan) Forfeit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled = true
}
