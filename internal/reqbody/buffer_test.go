package reqbody

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A callers is a caller's body that nobody knows to be in memory. It counts how
// often it is closed.
type callers struct {
	io.Reader
	closed int
	err    error // of Close
}

func (c *callers) Close() error {
	c.closed++
	return c.err
}

// A function is a reader.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A blocking is a body that blocks for good. Close ends its reads, unless that
// blocks as well; release ends both.
type blocking struct {
	release, closed chan struct{}
	heedsClose      bool
}

func newBlocking(heedsClose bool) *blocking {
	return &blocking{release: make(chan struct{}), closed: make(chan struct{}), heedsClose: heedsClose}
}

func (b *blocking) Read([]byte) (int, error) {
	select {
	case <-b.release:
	case <-b.closed:
	}
	return 0, io.ErrClosedPipe
}

func (b *blocking) Close() error {
	if !b.heedsClose {
		<-b.release
		return nil
	}
	close(b.closed) // panics if it is closed twice
	return nil
}

func TestBuffer_Fill(t *testing.T) {
	failure := errors.New("failure")
	const text = "0123456789"
	for _, tt := range []struct {
		name        string
		src         io.Reader
		closeErr    error
		size, limit int64
		want        string
		err         error
		open        bool // the body is left open
	}{
		{"nothing", strings.NewReader(""), nil, 0, 10, "", nil, false},
		{"as long as it is said", strings.NewReader(text), nil, 10, 10, text, nil, false},
		{"of unknown length", strings.NewReader(text), nil, -1, 10, text, nil, false},
		{"longer than it is said", strings.NewReader(text), nil, 2, 10, text, nil, false},
		{"shorter than it is said", strings.NewReader(text), nil, 1 << 40, 10, text, nil, false},
		{"byte by byte", iotest.OneByteReader(strings.NewReader(text)), nil, 10, 10, text, nil, false},
		{"an end with its last bytes", iotest.DataErrReader(strings.NewReader(text)), nil, 10, 10, text, nil, false},
		{"longer than the limit", strings.NewReader(text + "x"), nil, -1, 10, text + "x", errTooLarge, true},
		{"a failure", io.MultiReader(strings.NewReader("01"), iotest.ErrReader(failure)), nil, 10, 10, "01", failure, false},
		{"a failure of Close", strings.NewReader(text), failure, 10, 10, text, failure, false},
		{"no progress", readerFunc(func([]byte) (int, error) { return 0, nil }), nil, 10, 10, "", io.ErrNoProgress, false},
	} {
		for _, ends := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			if !ends {
				ctx = context.WithoutCancel(ctx)
			}
			body := &callers{Reader: tt.src, err: tt.closeErr}
			if s, ok := tt.src.(*strings.Reader); ok {
				s.Seek(0, io.SeekStart)
			} else if ends {
				cancel()
				continue // its source is read
			}
			b := Get(tt.size)
			err := b.fill(ctx, body, tt.size, tt.limit)
			if !errors.Is(err, tt.err) || string(b.Bytes()) != tt.want {
				t.Errorf("%s: fill = %v, and the body is %q, want %v and %q", tt.name, err, b.Bytes(), tt.err, tt.want)
			}
			if want := 1; tt.open && body.closed != 0 || !tt.open && body.closed != want {
				t.Errorf("%s: the body was closed %d times", tt.name, body.closed)
			}
			b.Release()
			cancel()
		}
	}
}

// What is read from memory never blocks: it is read on the caller's goroutine.
func TestBuffer_FillFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails where a goroutine is left
		b := Get(2)
		if err := b.fill(t.Context(), io.NopCloser(strings.NewReader("hi")), 2, 10); err != nil || string(b.Bytes()) != "hi" {
			t.Errorf("fill = %v, body %q", err, b.Bytes())
		}
	})
}

// A body that blocks ends with the context, whether it heeds Close or not.
func TestBuffer_FillEndsWithItsContext(t *testing.T) {
	for _, heedsClose := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			cause := errors.New("the caller's cause")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(cause) })
			body := newBlocking(heedsClose)
			b, start := Get(-1), time.Now()
			b.Set(append(b.Bytes(), "what was there before"...))
			if err := b.fill(ctx, body, -1, 10); err != cause || time.Since(start) != time.Second {
				t.Errorf("fill = %v after %v, want the context's cause after 1s", err, time.Since(start))
			}
			if len(b.Bytes()) != 0 {
				t.Errorf("the buffer has %q, want what the reader still reads into to be its own", b.Bytes())
			}
			b.Release()
			close(body.release)
		})
	}
}

// A body is the caller's code: its panic is the caller's, who can recover.
func TestBuffer_FillPassesPanicsOn(t *testing.T) {
	for name, ctx := range map[string]context.Context{"a context that ends": t.Context(), "one that does not": context.Background()} {
		func() {
			defer func() {
				if got := recover(); got != "mine" {
					t.Errorf("%s: recovered %v, want the body's own panic", name, got)
				}
			}()
			Get(0).fill(ctx, &callers{Reader: readerFunc(func([]byte) (int, error) { panic("mine") })}, -1, 10)
			t.Errorf("%s: fill returned", name)
		}()
	}
}

// A body that ends its goroutine, as testing's FailNow does, ends the call.
func TestBuffer_FillByOneThatExits(t *testing.T) {
	body := &callers{Reader: readerFunc(func([]byte) (int, error) { runtime.Goexit(); return 0, nil })}
	if err := Get(0).fill(t.Context(), body, -1, 10); err != outcome.ErrPanic {
		t.Errorf("fill = %v, want %v", err, outcome.ErrPanic)
	}
}

// A body is kept if it is not too large for that, whether it says so or not.
func TestTake(t *testing.T) {
	const text = "0123456789"
	for _, tt := range []struct {
		name         string
		size, limit  int64
		kept, closed bool
	}{
		{"small", 10, 10, true, true},
		{"of unknown length", -1, 10, true, true},
		{"too large, as it says", 10, 9, false, false},
		{"too large, as it turns out", -1, 9, false, false},
		{"larger than it says, and too large", 5, 9, false, false},
	} {
		body := &callers{Reader: strings.NewReader(text)}
		b, u, err := Take(t.Context(), &http.Request{Body: body, ContentLength: tt.size}, tt.limit)
		if err != nil || (b != nil) != tt.kept || (u != nil) == tt.kept || (body.closed > 0) != tt.closed {
			t.Errorf("%s: buffer %v, upload %v, error %v, closed %d times", tt.name, b != nil, u != nil, err, body.closed)
			continue
		}
		got := b.Bytes()
		if u != nil {
			got, err = io.ReadAll(u)
			u.Close()
		}
		if string(got) != text || err != nil || body.closed != 1 {
			t.Errorf("%s: got %q, %v, closed %d times, want all of it, closed once", tt.name, got, err, body.closed)
		}
	}
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		if b, u, err := Take(t.Context(), &http.Request{Body: body}, 10); b != nil || u != nil || err != nil {
			t.Errorf("no body: got %v, %v, %v, want nothing", b, u, err)
		}
	}
	if b, u, err := Take(t.Context(), &http.Request{Body: io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)), ContentLength: 4}, 10); b != nil || u != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body that fails: got %v, %v, %v, want its error", b, u, err)
	}
}

// Memory goes from buffer to buffer, but not that of a giant to a dwarf.
func TestBuffer_IsReused(t *testing.T) {
	giant := Get(0)
	giant.Set(make([]byte, maxPooled))
	giant.Release()
	if b := Get(10); cap(b.Bytes()) > 4<<10 {
		t.Errorf("a body of 10 bytes got a buffer of %d", cap(b.Bytes()))
	}
	tooLarge := Get(0)
	tooLarge.Set(make([]byte, maxPooled+1))
	tooLarge.Release()
	for range 10 {
		if b := Get(1 << 40); cap(b.Bytes()) > maxPooled {
			t.Errorf("a buffer of %d bytes was kept", cap(b.Bytes()))
		}
	}
	for range 100 { // the pool drops some at random under the race detector
		b := Get(1000)
		if len(b.Bytes()) != 0 {
			t.Fatalf("a new buffer has %q", b.Bytes())
		}
		if cap(b.Bytes()) == 1000 {
			return
		}
		b.Set(make([]byte, 1000))
		b.Release()
	}
	t.Error("no buffer is ever used again")
}

func TestBuffer_None(t *testing.T) {
	var b *Buffer
	b.Retain().Release()
	if b.Bytes() != nil {
		t.Errorf("no buffer has %q", b.Bytes())
	}
}

func TestReader(t *testing.T) {
	b := Get(0)
	b.Set([]byte("0123456789"))
	if err := iotest.TestReader(b.NewReader(), b.Bytes()); err != nil {
		t.Error(err)
	}
	var r Reader
	read := func() (string, error) {
		text, err := io.ReadAll(&r)
		return string(text), err
	}
	if _, err := read(); err != http.ErrBodyReadAfterClose {
		t.Errorf("reading none = %v, want that it is closed", err)
	}
	for range 2 {
		r.Open(b)
		if text, err := read(); text != "0123456789" || err != nil {
			t.Errorf("read %q, %v", text, err)
		}
		r.Close()
		r.Close()
		if text, err := read(); text != "" || err != http.ErrBodyReadAfterClose {
			t.Errorf("behind Close, read %q, %v", text, err)
		}
	}
	if n := b.users.Load(); n != 2 {
		t.Errorf("the buffer has %d users, want the one who got it and the reader that is open", n)
	}
}

// Buffers go from user to user. Whoever reads one while, or after, it is closed
// gets its own body or nothing: prompts would reach strangers.
func TestBuffer_IsNeverMixedUp(t *testing.T) {
	var users sync.WaitGroup
	for worker := range 8 {
		users.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			for i := range 500 {
				name := fmt.Sprintf("user-%d-%d ", worker, i)
				b := Get(1000)
				b.Set(append(b.Bytes(), bytes.Repeat([]byte(name), 1+random.IntN(100))...))
				want := string(b.Bytes())
				var readers sync.WaitGroup
				for range random.IntN(4) {
					r := b.NewReader()
					readers.Go(func() {
						if text, err := io.ReadAll(iotest.OneByteReader(r)); !strings.HasPrefix(want, string(text)) || err == nil && string(text) != want {
							t.Errorf("%sread %q", name, text)
						}
					})
					if random.IntN(2) == 0 {
						readers.Go(func() { r.Close() })
					} else {
						defer r.Close()
					}
				}
				b.Release()
				if random.IntN(2) == 0 {
					readers.Wait()
				} else {
					defer readers.Wait()
				}
			}
		})
	}
	users.Wait()
}
