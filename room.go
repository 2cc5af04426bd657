package breakwater

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/breakwater-go/breakwater/internal/progress"
)

// A room is what a request's body is kept in. Its users are counted: the call,
// each attempt while it is sent, and each body that a base has not closed yet.
// The last to leave makes it over to another call.
type room struct {
	text  []byte
	users atomic.Int32
}

var rooms sync.Pool // of *room

const maxRoom = 256 << 10 // of those made over

// roomFor returns a room for a body of about that size, its first user being
// who asks.
func roomFor(size int64) *room {
	r, _ := rooms.Get().(*room)
	if r != nil && int64(cap(r.text)) > 4*max(size, 1<<10) { // too good for it: who knows how long the call takes
		rooms.Put(r)
		r = nil
	}
	if r == nil {
		r = &room{}
	}
	r.users.Store(1)
	return r
}

// share takes in one more user. Only who is one may call it.
func (r *room) share() *room {
	if r != nil {
		r.users.Add(1)
	}
	return r
}

// leave is for a user who looks into it no more.
func (r *room) leave() {
	if r != nil && r.users.Add(-1) == 0 && cap(r.text) <= maxRoom {
		r.text = r.text[:0]
		rooms.Put(r)
	}
}

var errTooLarge = errors.New("larger than the limit")

// fill reads src to its end. Where that is beyond limit it stops there and
// returns errTooLarge. size is what src is said to hold, negative if unknown.
func (r *room) fill(src io.Reader, size, limit int64) error {
	if size++; size <= 0 { // one byte more, so that its end is seen
		size = bytes.MinRead
	}
	body := r.text[:0]
	if size = min(size, 1<<20); int64(cap(body)) < size {
		body = make([]byte, 0, size)
	}
	in := progress.Reader{Reader: src}
	for {
		n, err := in.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		r.text = body
		switch {
		case int64(len(body)) > limit:
			return errTooLarge
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case len(body) == cap(body):
			body = append(body, 0)[:len(body)]
		}
	}
}

// A roomBody is a request's body as it stands in its room.
type roomBody struct {
	mu   sync.Mutex // guards what follows: a base may close what it still reads
	room *room      // nil: closed
	at   int
}

func (b *roomBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.room == nil:
		return 0, http.ErrBodyReadAfterClose
	case b.at == len(b.room.text):
		return 0, io.EOF
	}
	n := copy(p, b.room.text[b.at:])
	b.at += n
	return n, nil
}

func (b *roomBody) Close() error {
	b.mu.Lock()
	r := b.room
	b.room = nil
	b.mu.Unlock()
	r.leave()
	return nil
}

// A sentBody is a request's body as the base reads it. Where it begins to, the
// host may have seen, and billed, the request.
type sentBody struct {
	io.ReadCloser
	of *sending

	read, closed atomic.Bool
}

func (b *sentBody) Read(p []byte) (int, error) {
	if !b.read.Load() {
		b.read.Store(true)
		b.of.sent.Store(true)
		b.of.attempt.begunToSend()
	}
	return b.ReadCloser.Read(p)
}

func (b *sentBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}
