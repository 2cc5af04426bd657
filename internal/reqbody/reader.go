package reqbody

import (
	"io"
	"net/http"
	"sync"
)

// A Reader reads a Buffer, as a request's body. The zero Reader is closed.
type Reader struct {
	mu     sync.Mutex // guards what follows, because a transport may close a body that it still reads
	buffer *Buffer    // nil: closed
	at     int
}

// NewReader returns a Reader of b.
func (b *Buffer) NewReader() *Reader {
	r := &Reader{}
	r.Open(b)
	return r
}

// Open makes a closed Reader read b from its beginning. The Reader is a user of b until it
// is closed. Only a user of b may call it.
func (r *Reader) Open(b *Buffer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buffer, r.at = b.Retain(), 0
}

// Read implements io.Reader. After Close it returns http.ErrBodyReadAfterClose, because
// the buffer may hold another call's body by then.
func (r *Reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.buffer == nil:
		return 0, http.ErrBodyReadAfterClose
	case r.at == len(r.buffer.text):
		return 0, io.EOF
	}
	n := copy(p, r.buffer.text[r.at:])
	r.at += n
	return n, nil
}

// Close releases the buffer. It may be called more than once.
func (r *Reader) Close() error {
	r.mu.Lock()
	b := r.buffer
	r.buffer = nil
	r.mu.Unlock()
	b.Release()
	return nil
}
