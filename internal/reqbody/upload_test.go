package reqbody

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A sender notes what it is told.
type sender struct {
	read   atomic.Bool
	failed atomic.Pointer[error]
}

func (s *sender) BodyRead()            { s.read.Store(true) }
func (s *sender) BodyFailed(err error) { s.failed.Store(&err) }

// failure is what it was told last.
func (s *sender) failure() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func TestUpload_Length(t *testing.T) {
	failure := errors.New("failure")
	const text = "0123456789"
	for _, tt := range []struct {
		name  string
		begun string
		rest  io.Reader
		size  int64
		want  error // of the body, as the sender is told
	}{
		{"as long as it is said", "", strings.NewReader(text), 10, nil},
		{"of which some was read before", "01234", strings.NewReader("56789"), 10, nil},
		{"of unknown length", "", strings.NewReader(text), -1, nil},
		{"too long", "", strings.NewReader(text), 9, ErrLength},
		{"too short", "0123", strings.NewReader("56789"), 10, ErrLength},
		{"of one that fails", "0123", iotest.ErrReader(failure), 10, failure},
		{"of one that brings nothing", "", readerFunc(func([]byte) (int, error) { return 0, nil }), 10, io.ErrNoProgress},
		{"of one that panics", "", readerFunc(func([]byte) (int, error) { panic("mine") }), 10, outcome.ErrPanic},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := &callers{Reader: tt.rest}
				var begun []byte
				if tt.begun != "" {
					begun = []byte(tt.begun)
				}
				s := &sender{}
				r := &UploadReader{Upload: newUpload(t.Context(), begun, body, tt.size), Sender: s}
				if s.read.Load() {
					t.Error("the sender was told of a read before there was any")
				}
				got, err := io.ReadAll(r)
				if !s.read.Load() || s.failure() != tt.want {
					t.Errorf("the sender was told: read %v, failed with %v, want %v", s.read.Load(), s.failure(), tt.want)
				}
				if tt.want == nil && string(got) != text || tt.want != nil && tt.want != ErrLength && err != tt.want {
					t.Errorf("read %q, %v", got, err)
				}
				r.Close()
				r.Close()
				if body.closed != 1 {
					t.Errorf("the body was closed %d times, want once", body.closed)
				}
			})
		})
	}
}

// A transport that closes the body before its end wants no more of it: what it
// still reads says nothing about the body.
func TestUpload_ClosedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sender{}
		r := &UploadReader{Upload: newUpload(t.Context(), nil, &callers{Reader: strings.NewReader("0123")}, 10), Sender: s}
		r.Read(make([]byte, 2))
		r.Close()
		if _, err := io.ReadAll(r); err == nil {
			t.Error("a closed upload is read to its end")
		}
		if err := s.failure(); err != nil {
			t.Errorf("the sender was told that the body failed with %v, want nothing", err)
		}
	})
}

// A body that blocks ends with the context, and its Close keeps nobody waiting
// for long.
func TestUpload_EndsWithItsContext(t *testing.T) {
	for _, heedsClose := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			cause := errors.New("the caller's cause")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(cause) })
			body, start := newBlocking(heedsClose), time.Now()
			u := newUpload(ctx, []byte("begun"), body, -1)
			text, err := io.ReadAll(u)
			if string(text) != "begun" || err != cause || time.Since(start) != time.Second {
				t.Errorf("read %q, %v after %v, want the context's cause after 1s", text, err, time.Since(start))
			}
			u.Close()
			if time.Since(start) != time.Second {
				t.Errorf("Close took %v behind a read that blocks", time.Since(start)-time.Second)
			}
			close(body.release)
		})
	}
}

// Where no read is under way, Close waits for the body's own, until the context
// is over and a moment longer.
func TestClose_IsWaitedFor(t *testing.T) {
	failure := errors.New("failure")
	for _, tt := range []struct {
		name       string
		takes      time.Duration
		wait, want time.Duration
		err        error
	}{
		{"at once", 0, time.Second, 0, failure},
		{"within the context", time.Second, 2 * time.Second, time.Second, failure},
		{"a moment later", time.Second + closeGrace/2, time.Second, time.Second + closeGrace/2, failure},
		{"never", time.Hour, time.Second, time.Second + closeGrace, context.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), tt.wait)
			defer cancel()
			start := time.Now()
			err := Close(ctx, closeFunc(func() error { time.Sleep(tt.takes); return failure }))
			if err != tt.err || time.Since(start) != tt.want {
				t.Errorf("%s: Close = %v after %v, want %v after %v", tt.name, err, time.Since(start), tt.err, tt.want)
			}
			start = time.Now()
			u := newUpload(ctx, nil, closeFunc(func() error { time.Sleep(tt.takes); return nil }), -1)
			if u.Close(); time.Since(start) > max(tt.takes, closeGrace) {
				t.Errorf("%s: the upload's Close took %v", tt.name, time.Since(start))
			}
			time.Sleep(tt.takes) // until both are closed
		})
	}
}

// A closeFunc is a body that is closed so.
type closeFunc func() error

func (closeFunc) Read([]byte) (int, error) { return 0, io.EOF }
func (f closeFunc) Close() error           { return f() }

// A panic on a goroutine that has no caller crashes nothing.
func TestClose_Panics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		body := closeFunc(func() error { panic("mine") })
		if err := Close(ctx, body); err != context.DeadlineExceeded {
			t.Errorf("Close = %v, want the context's end", err)
		}
		closeLater(body)
		synctest.Wait()
	})
}

// What is in memory is closed by the caller itself.
func TestClose_InMemory(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Close(ctx, io.NopCloser(strings.NewReader(""))); err != nil {
		t.Errorf("Close = %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		u := newUpload(t.Context(), nil, io.NopCloser(bytes.NewBufferString("0123")), 4)
		if text, err := io.ReadAll(u); string(text) != "0123" || err != nil || u.Close() != nil {
			t.Errorf("read %q, %v", text, err)
		}
		if u.pump != nil {
			t.Error("what is in memory is read on a goroutine of its own")
		}
	})
}

func TestInMemory(t *testing.T) {
	for _, tt := range []struct {
		name string
		body io.Reader
		want bool
	}{
		{"bytes", bytes.NewReader(nil), true},
		{"a buffer", &bytes.Buffer{}, true},
		{"a string", strings.NewReader(""), true},
		{"a string behind NopCloser", io.NopCloser(strings.NewReader("")), true},
		{"a buffer behind two", io.NopCloser(io.NopCloser(&bytes.Buffer{})), true},
		{"a pipe behind NopCloser", io.NopCloser(readerFunc(nil)), false},
		{"nothing behind NopCloser", io.NopCloser(nil), false},
		{"a file", &os.File{}, false},
		{"what embeds a string", struct{ *strings.Reader }{strings.NewReader("")}, false},
		{"nothing", nil, false},
	} {
		if got := InMemory(tt.body); got != tt.want {
			t.Errorf("InMemory(%s) = %v, want %v", tt.name, got, tt.want)
		}
	}
}
