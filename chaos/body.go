package chaos

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// A piece is a part of a response's body: an event of a stream, or some bytes.
type piece struct {
	text    []byte
	data    []byte // of an event
	payload bool   // it carries a part of the answer
	last    bool   // it says that the answer has ended
}

// A source gives a body piece by piece. A piece is valid until the next one. With an error
// there is no piece.
type source func() (piece, error)

// A body is a response's body that comes from a source. One goroutine may Read, while another
// may Close.
type body struct {
	source source
	life   life
	rest   []byte // of the last piece
	err    error  // what the source ended in

	close  sync.Once
	closed chan struct{}
	under  io.Closer // the body of the response below; nil: there is none
	failed error     // to close it
}

func newBody(req *http.Request, under io.Closer) *body {
	b := &body{closed: make(chan struct{}), under: under, life: lifeOf(req)}
	b.life.closed = b.closed
	return b
}

// bodyOf returns the body of a response that no host gave.
func bodyOf(req *http.Request, text string) *body {
	b := newBody(req, nil)
	b.source = bytesOf(strings.NewReader(text))
	return b
}

// Read reads from the source.
func (b *body) Read(p []byte) (int, error) {
	select {
	case <-b.closed:
		return 0, http.ErrBodyReadAfterClose
	default:
	}
	for len(b.rest) == 0 && len(p) > 0 {
		if b.err != nil {
			return 0, b.err
		}
		var next piece
		next, b.err = b.source()
		b.rest = next.text
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Close closes the body below, once.
func (b *body) Close() error {
	b.close.Do(func() {
		close(b.closed)
		b.failed = b.release()
	})
	return b.failed
}

// release closes the body below.
func (b *body) release() error {
	if b.under == nil {
		return nil
	}
	return b.under.Close()
}

// onceCloser closes a body once, so that a fault can let go of the host before the caller
// closes.
type onceCloser struct {
	io.Reader
	close func() error
}

func (c onceCloser) Close() error { return c.close() }

func closeOnce(b io.ReadCloser) io.ReadCloser { return onceCloser{b, sync.OnceValue(b.Close)} }

// The sources.

// bytesOf reads a body as it comes.
func bytesOf(r io.Reader) source {
	buf := make([]byte, 16<<10)
	var ended error
	return func() (piece, error) {
		for ended == nil {
			var n int
			n, ended = r.Read(buf)
			if n > 0 {
				return piece{text: buf[:n]}, nil
			}
		}
		return piece{}, ended
	}
}

// maxWhole bounds what is held of a body: a JSON answer, or one event.
const maxWhole = 32 << 20

// wholeOf reads all of a body as one piece. What is behind maxWhole comes as more pieces.
func wholeOf(r io.Reader) source {
	more := bytesOf(r)
	first := true
	return func() (piece, error) {
		if !first {
			return more()
		}
		first = false
		text, err := io.ReadAll(io.LimitReader(r, maxWhole))
		if len(text) == 0 && err == nil {
			err = io.EOF
		}
		if err != nil && len(text) > 0 {
			more = failing(err)
			err = nil
		}
		return piece{text: text, payload: true}, err
	}
}

func failing(err error) source { return func() (piece, error) { return piece{}, err } }

// eventsOf splits a stream into events, without changing a byte.
func eventsOf(r io.Reader, w wire.Wire, choices int) source {
	answer := wire.Answer{Wire: w, Choices: choices}
	var buf []byte
	used := 0 // of buf, by the last piece
	var ended error
	return func() (piece, error) {
		buf = append(buf[:0], buf[used:]...)
		used = 0
		searched := 0
		for {
			if n := eventEnd(buf, searched); n > 0 || ended != nil && len(buf) > 0 || len(buf) >= maxWhole {
				used = n
				if n == 0 {
					used = len(buf)
				}
				return eventOf(buf[:used], &answer), nil
			}
			if ended != nil {
				return piece{}, ended
			}
			searched = max(0, len(buf)-3)
			buf = append(buf, make([]byte, 4<<10)...)
			var n int
			n, ended = r.Read(buf[len(buf)-4<<10:])
			buf = buf[:len(buf)-4<<10+n]
		}
	}
}

// eventEnd returns how long the first event is, with the blank line that ends it, or 0 if it has
// not ended. It looks from an offset on.
func eventEnd(buf []byte, from int) int {
	for i := from; i < len(buf); i++ {
		if buf[i] != '\n' {
			continue
		}
		switch rest := buf[i+1:]; {
		case i == 0:
			return 1 // a blank line on its own
		case bytes.HasPrefix(rest, []byte("\n")):
			return i + 2
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return i + 3
		}
	}
	return 0
}

// eventOf reads what an event says.
func eventOf(text []byte, answer *wire.Answer) piece {
	p := piece{text: text}
	for line := range bytes.Lines(text) {
		value, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("data:"))
		if ok {
			p.data = append(p.data, bytes.TrimPrefix(value, []byte(" "))...)
		}
	}
	if len(p.data) == 0 {
		return p
	}
	switch signal := answer.Event(p.data); {
	case signal == wire.Payload:
		p.payload = true
	case signal == wire.Done, answer.Finished():
		p.last = true
	}
	return p
}

// limited gives a body's bytes at a speed.
func (l life) limited(from source, perSecond int) source {
	const slices = 20 // a second
	var p piece
	return func() (piece, error) {
		for len(p.text) == 0 {
			var err error
			if p, err = from(); err != nil {
				return piece{}, err
			}
		}
		part := piece{text: p.text[:min(max(1, perSecond/slices), len(p.text))]}
		p.text = p.text[len(part.text):]
		if err := l.wait(time.Duration(float64(len(part.text)) / float64(perSecond) * float64(time.Second))); err != nil {
			return piece{}, err
		}
		return part, nil
	}
}

// slowed gives a body with more waits: a queue, a first token and tokens.
func (l life) slowed(from source, r *rule, keepAlive func(int) []byte) source {
	beat, sent := orDefault(r.KeepAlive, time.Second), 0
	queue, begun := r.Queue, false
	var owed time.Duration
	return func() (piece, error) {
		if queue > 0 {
			if sent > 0 {
				step := min(beat, queue)
				if err := l.wait(step); err != nil {
					return piece{}, err
				}
				queue -= step
			}
			if queue > 0 {
				sent++
				return piece{text: keepAlive(sent - 1)}, nil
			}
		}
		if err := l.wait(owed); err != nil {
			return piece{}, err
		}
		owed = 0
		p, err := from()
		if err != nil || !p.payload {
			return p, err
		}
		owed = r.PerToken
		if begun {
			return p, nil
		}
		begun = true
		if err := l.wait(r.FirstToken); err != nil {
			return piece{}, err
		}
		return p, nil
	}
}

// decoded undoes gzip, when the body is read.
type decoded struct {
	from io.Reader
	zip  *gzip.Reader
	err  error
}

func (d *decoded) Read(p []byte) (int, error) {
	if d.zip == nil && d.err == nil {
		d.zip, d.err = gzip.NewReader(d.from)
		if errors.Is(d.err, io.EOF) {
			d.err = io.EOF // an empty body, as of a HEAD
		}
	}
	if d.err != nil {
		return 0, d.err
	}
	return d.zip.Read(p)
}
