package coalesce

import (
	"context"
	"io"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/key"
)

var fingerprint, _ = key.OfName("test").Key(key.Exact, nil, []byte("a request"))

// keyed is for calls with an idempotency key, whose flights linger.
func keyed(tasks *background.Group) func(*Ask) {
	return func(a *Ask) {
		a.Print, a.Limits.Linger, a.Background = fingerprint, time.Minute, tasks.Go
	}
}

// A flight that all have left goes on for its time, and is read to its end. Who comes
// meanwhile reads it from its beginning, at its own pace.
func TestLinger_GoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, tasks := streaming(), new(background.Group)
		first := h.begin(t, keyed(tasks))
		b := h.tap(1)
		b.send(event(1))
		synctest.Wait()
		first.cancel()
		synctest.Wait()
		for n := range 5 {
			b.send(event(2 + n))
		}
		synctest.Wait()
		if !first.done || b.left() != 0 || b.isClosed() {
			t.Fatalf("%d events are not read, closed: %v", b.left(), b.isClosed())
		}
		time.Sleep(50 * time.Second)
		second := h.begin(t, keyed(tasks))
		time.Sleep(5 * time.Minute) // nobody counts any more: there is a caller
		b.finish()
		b.stop(io.EOF)
		synctest.Wait()
		if second.ended != io.EOF || len(second.text) != 6*len(event(1))+len(lastEvent) || h.requests().sent != 1 || len(h.kept) != 1 {
			t.Errorf("the second has %q, %v after %d calls", second.text, second.ended, h.requests().sent)
		}
		h.isEmpty(t)
		tasks.Close()
	})
}

// It ends when its time is up, when the background ends, and with what cannot be kept.
func TestLinger_Ends(t *testing.T) {
	for _, tt := range []struct {
		name string
		then func(*host, *tap, *background.Group)
		ends bool
	}{
		{"a second too early", func(*host, *tap, *background.Group) { time.Sleep(59 * time.Second) }, false},
		{"in time", func(*host, *tap, *background.Group) { time.Sleep(60 * time.Second) }, true},
		{"Close", func(_ *host, _ *tap, tasks *background.Group) { tasks.Close() }, true},
		{"too large to be kept", func(_ *host, b *tap, _ *background.Group) { b.send(longEvent(2 << 20)) }, true},
		{"not to be shared", func(_ *host, b *tap, _ *background.Group) {
			b.add(chunk{text: event(2), then: func(c *Completion) { c.Narrow(LeaderOnly) }})
		}, true},
		{"broken", func(_ *host, b *tap, _ *background.Group) { b.stop(io.ErrUnexpectedEOF) }, true},
		{"whole", func(_ *host, b *tap, _ *background.Group) { b.finish(); b.stop(io.EOF) }, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			h, tasks := streaming(), new(background.Group)
			c := h.begin(t, keyed(tasks))
			b := h.tap(1)
			b.send(event(1))
			synctest.Wait()
			c.cancel()
			synctest.Wait()
			tt.then(h, b, tasks)
			synctest.Wait()
			if h.Len() == 0 != tt.ends || b.isClosed() != tt.ends || int(h.lingering.Load()) == 0 != tt.ends {
				t.Errorf("%s: %d flights, %d lingering, closed: %v, want it ended: %v", tt.name, h.Len(), h.lingering.Load(), b.isClosed(), tt.ends)
			}
			tasks.Close()
			h.isEmpty(t)
		})
	}
}

// It does not go on if that would be in vain: the answer is an error or has cost nothing, the
// background has ended, or too many linger.
func TestLinger_InVain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(*host, *background.Group)
		answer func(n int, f *Flight) (Source, error)
	}{
		{"nothing in the background", func(_ *host, tasks *background.Group) { tasks.Close() }, nil},
		{"nothing was sent", func(h *host, _ *background.Group) { h.unsent = true }, nil},
		{"too many", func(h *host, _ *background.Group) { h.lingering.Store(maxLingering) }, nil},
		{"an error", nil, func(_ int, f *Flight) (Source, error) {
			return Source{Body: &tap{ctx: f.Context(), tell: &f.Completion, more: make(chan struct{}, 1)}}, nil
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			h, tasks := streaming(), new(background.Group)
			if tt.before != nil {
				tt.before(h, tasks)
			}
			if tt.answer != nil {
				h.answer = tt.answer
			}
			c := h.begin(t, keyed(tasks))
			before := h.lingering.Load()
			c.cancel()
			synctest.Wait()
			if h.Len() != 0 || h.lingering.Load() != before {
				t.Errorf("%s: %d flights go on", tt.name, h.Len())
			}
			tasks.Close()
			h.isEmpty(t)
		})
	}
}

// One that is called and never answers ends, too, and its caller's error is its own.
func TestLinger_Unanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, tasks := &host{}, new(background.Group)
		start := time.Now()
		var ended error
		var after time.Duration
		h.answer = func(_ int, f *Flight) (Source, error) {
			<-f.Context().Done()
			ended, after = f.Context().Err(), time.Since(start)
			return Source{}, ended
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		h.beginIn(ctx, keyed(tasks))
		time.Sleep(70 * time.Second)
		synctest.Wait()
		if ended != context.DeadlineExceeded || after != 65*time.Second {
			t.Errorf("it ended in %v after %v, want its caller's deadline, and a minute later", ended, after)
		}
		tasks.Close()
		h.isEmpty(t)
	})
}

// A key with another request conflicts while the first is under way, also without a caller.
func TestWait_Conflicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, tasks := streaming(), new(background.Group)
		other := func(a *Ask) {
			keyed(tasks)(a)
			a.Print, _ = key.OfName("test").Key(key.Exact, nil, []byte("another"))
		}
		conflicts := func() bool {
			w := h.Wait(t.Context(), h.ask(other))
			defer w.Leave()
			return !w.Join() && w.Conflicts()
		}
		first := h.begin(t, keyed(tasks))
		if !conflicts() {
			t.Error("another request does not conflict with the call under way")
		}
		first.cancel()
		synctest.Wait()
		if !conflicts() {
			t.Error("nor with one that its caller has left")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if c := h.begin(t, other); c.wait.Conflicts() || h.requests().sent != 2 {
			t.Error("it conflicts with one that is over")
		} else {
			c.cancel()
		}
		tasks.Close()
		h.isEmpty(t)
	})
}

// Callers with a key wait for as long as the clocks allow, and not for half of their time.
func TestWait_LockAgeOfAKey(t *testing.T) {
	for _, with := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h, tasks := &host{}, new(background.Group)
			h.answer = func(_ int, f *Flight) (Source, error) { return hangs(f) }
			var edits []func(*Ask)
			if with {
				edits = append(edits, keyed(tasks))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			h.beginIn(ctx, edits...)
			h.beginIn(ctx, edits...)
			time.Sleep(15 * time.Second)
			synctest.Wait()
			if got, want := strconv.Itoa(h.requests().sent), map[bool]string{true: "1", false: "2"}[with]; got != want {
				t.Errorf("with a key %v: %s calls, want %s", with, got, want)
			}
			time.Sleep(time.Minute + 20*time.Second)
			tasks.Close()
			h.isEmpty(t)
		})
	}
}
