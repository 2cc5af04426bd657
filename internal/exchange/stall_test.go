package exchange_test

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// stream commits an exchange to a stream that begins with GoodEvent.
func (s *sender) stream(t *testing.T) (*fakehost.Faucet, io.ReadCloser) {
	t.Helper()
	host := s.faucet(fakehost.GoodEvent)
	resp, f := s.Judge(host.Answer(), wantStream)
	if f != nil {
		t.Fatalf("Judge: %v", f)
	}
	return host, resp.Body
}

// What a host sends after the first event, one part each other second, and when
// the reader, who waits for it all the time, is told that the stream is stalled.
func TestStall_WhileTheReaderWaits(t *testing.T) {
	const comment, alive = ": keep-alive\n\n", "data: {\"choices\":[]}\n\n"
	for _, tt := range []struct {
		name      string
		sends     string
		times     int
		elsewhere bool
		ends      time.Duration
	}{
		{"nothing", "", 0, true, 10 * time.Second},
		{"nothing, and nobody else serves", "", 0, false, 10 * time.Second},
		{"payload, for a while", fakehost.GoodEvent, 8, true, 26 * time.Second},
		{"comments", comment, 100, true, 10 * time.Second},
		{"a comment before payload", comment + fakehost.GoodEvent, 1, false, 12 * time.Second},
		{"comments, and nobody else serves", comment, 100, false, 50 * time.Second},
		{"a comment, and nobody else serves", comment, 1, false, 50 * time.Second},
		{"events without payload", alive, 100, false, 10 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := send(t.Context(), policy)
			defer s.leave()
			s.serves(tt.elsewhere)
			host, body := s.stream(t)
			go func() {
				for range tt.times {
					time.Sleep(2 * time.Second)
					host.Send(tt.sends)
				}
			}()
			_, err := read(body)
			if !errors.Is(err, outcome.ErrStalled) || time.Since(s.Start) != tt.ends || s.ended().class != outcome.Stalled {
				t.Errorf("%s: the stream ended in %v (%s) after %v, want ErrStalled after %v", tt.name, err, s.ended().class, time.Since(s.Start), tt.ends)
			}
			asked := s.timesAsked()
			time.Sleep(time.Hour)
			if s.timesAsked() != asked {
				t.Errorf("%s: the clock goes on behind the end", tt.name)
			}
		})
	}
}

// A clock that runs out as the stream ends is done with it.
func TestStall_EndsWhileItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := send(t.Context(), policy)
		host, body := s.stream(t)
		host.Send(": keep-alive\n\n")
		s.onAsk = func() { s.leave(); synctest.Wait() }
		if _, err := read(body); s.ended().class != outcome.Canceled {
			t.Errorf("the stream ended in %v (%s), want %s", err, s.ended().class, outcome.Canceled)
		}
		time.Sleep(time.Hour)
		if s.timesAsked() != 1 {
			t.Errorf("it was looked for another endpoint %d times, want once", s.timesAsked())
		}
	})
}

// The reader's own time does not count, however long it is.
func TestStall_WhileTheReaderIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := send(t.Context(), policy)
		defer s.leave()
		host, body := s.stream(t)
		buf := make([]byte, 1<<10)
		for i := range 5 {
			if n, err := body.Read(buf); string(buf[:n]) != fakehost.GoodEvent || err != nil {
				t.Fatalf("read %d: %q, %v, want an event", i, buf[:n], err)
			}
			time.Sleep([]time.Duration{time.Second, 9 * time.Second, 10 * time.Second, time.Hour, 25 * time.Second}[i])
			time.AfterFunc(9*time.Second, func() { host.Send(fakehost.GoodEvent) })
		}
		if n, err := body.Read(buf); n == 0 || err != nil {
			t.Fatalf("read %d bytes, %v, want the last event", n, err)
		}
		start := time.Now()
		if _, err := body.Read(buf); !errors.Is(err, outcome.ErrStalled) || time.Since(start) != 10*time.Second {
			t.Errorf("the stream ended in %v after %v, want ErrStalled after 10s", err, time.Since(start))
		}
		body.Close()
	})
}

// Several waits without payload add up, whatever the reader does between them.
func TestStall_WaitsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := send(t.Context(), policy)
		defer s.leave()
		s.serves(true)
		host, body := s.stream(t)
		buf := make([]byte, 1<<10)
		body.Read(buf)
		var waited time.Duration
		for waited < time.Minute {
			time.AfterFunc(4*time.Second, func() { host.Send("data: {\"choices\":[]}\n\n") })
			start := time.Now()
			_, err := body.Read(buf)
			if waited += time.Since(start); err != nil {
				break
			}
			time.Sleep(30 * time.Second)
		}
		if waited != 10*time.Second || s.ended().class != outcome.Stalled {
			t.Errorf("the reader waited for %v, ended %s, want 10s and %s", waited, s.ended().class, outcome.Stalled)
		}
		body.Close()
		time.Sleep(time.Minute)
	})
}

// A clock that is off ends nothing.
func TestStall_Off(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := send(t.Context(), exchange.Policy{MaxBuffer: 1 << 20})
		defer s.leave()
		s.serves(true)
		host, body := s.stream(t)
		go func() {
			time.Sleep(24 * time.Hour)
			host.Send(": keep-alive\n\n")
			host.Send(fakehost.EndEvent + fakehost.DoneEvent)
			host.End()
		}()
		if text, err := read(body); text != fakehost.WholeStream || err != nil {
			t.Errorf("read %q, %v, want all of it", text, err)
		}
	})
}

// Once nothing is missing but the terminator, signs of life buy no time, and the
// end of the time is a clean end.
func TestStall_BehindTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := send(t.Context(), policy)
		defer s.leave()
		host, body := s.stream(t)
		host.Send(fakehost.EndEvent)
		go func() {
			for range 100 {
				time.Sleep(time.Second)
				host.Send(": keep-alive\n\n")
			}
		}()
		text, err := read(body)
		if text != fakehost.GoodEvent+fakehost.EndEvent || err != nil || time.Since(s.Start) != 10*time.Second || s.ended().class != outcome.OK {
			t.Errorf("read %q, %v (%s) after %v, want a clean end after 10s", text, err, s.ended().class, time.Since(s.Start))
		}
		time.Sleep(2 * time.Minute)
	})
}
