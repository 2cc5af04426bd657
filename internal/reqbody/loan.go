package reqbody

import (
	"bytes"
	"io"
	"sync/atomic"
)

// A Loan is a Buffer that is lent to net/http's own transport, as a body that this
// transport knows to be in memory. Only such a body does it send together with the headers,
// in one write. Nothing tells when that body is closed, so the owner of the Loan has to say
// when the transport has read it: see Return.
//
// The zero Loan is closed. Open must be called once at most.
type Loan struct {
	reader  bytes.Reader
	buffer  *Buffer // never changes after Open
	settled atomic.Bool
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

// Return releases the buffer, because the transport has read the body and will not look at
// it again. After Forfeit it does nothing, and nor does it for a closed Loan.
func (l *Loan) Return() {
	if l.settled.CompareAndSwap(false, true) {
		l.buffer.Release()
	}
}

// Forfeit leaves the buffer to the garbage collector, because the transport may look at
// the body at any later time. After Return it does nothing.
func (l *Loan) Forfeit() { l.settled.Store(true) }
