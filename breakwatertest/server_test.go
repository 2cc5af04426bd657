package breakwatertest_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	bt "github.com/breakwater-go/breakwater/breakwatertest"
)

func TestRefusedClosesWhatIsUnderWay(t *testing.T) {
	inBubble(t, func(t *testing.T, c *client) {
		s := c.fleet.Server("primary")
		s.SetPace(bt.Pace{Queue: time.Hour})
		broken := make(chan error)
		go func() {
			_, err := c.ask(s, "under way", true, 2*time.Hour)
			broken <- err
		}()
		elapse(time.Minute)
		s.Break(bt.Refused())
		if err := <-broken; err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("what was under way ended in %v, want a broken connection", err)
		}
		synctest.Wait()
		for range 2 {
			if _, err := c.ask(s, "refused", true, time.Minute); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("got %v, want connection refused", err)
			}
		}
		s.Heal()
		s.SetPace(bt.Pace{})
		c.mustAnswer(s, "healed", true)
	}, bt.DeepSeek("primary"))
}

// Heal takes the same port back, as often as it is asked to.
func TestRefusedAndHealedOnTCP(t *testing.T) {
	c := tcp(t, bt.DeepSeek("primary"))
	s := c.fleet.Server("primary")
	for range 3 {
		c.mustAnswer(s, "before", false)
		s.Break(bt.Refused())
		s.Break(bt.Refused())
		c.transport.CloseIdleConnections() // or the error may be about these, just closed
		if _, err := c.ask(s, "refused", false, ages); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want connection refused", err)
		}
		s.Heal()
		s.Heal()
	}
	c.mustAnswer(s, "after", false)
}

func TestBreakNext(t *testing.T) {
	inBubble(t, func(t *testing.T, c *client) {
		s := c.fleet.Server("primary")
		s.Break(bt.ServerError())
		s.BreakNext(1, bt.Busy())
		s.BreakNext(2, bt.Refused())
		status := func(err error) int {
			var e *bt.StatusError
			if errors.As(err, &e) {
				return e.Code
			}
			return 0
		}
		if code, _, _ := c.get(s, "/models", key); code != 500 {
			t.Errorf("GET /models: %d, want 500: what is next is for chat requests", code)
		}
		for i, want := range []struct {
			status int
			is     error
		}{{503, nil}, {0, syscall.ECONNRESET}, {0, syscall.ECONNRESET}, {500, nil}} {
			if _, err := c.ask(s, "hello", false, time.Minute); status(err) != want.status || want.is != nil && !errors.Is(err, want.is) {
				t.Errorf("request %d: %v, want %+v", i+1, err, want)
			}
		}
		s.BreakNext(9, bt.Busy())
		s.Heal()
		c.mustAnswer(s, "healed", false)
	}, bt.DeepSeek("primary"))
}

func TestRequestLog(t *testing.T) {
	c := tcp(t, bt.DeepSeek("primary"))
	s := c.fleet.Server("primary")
	s.BreakNext(1, bt.Busy())
	for _, stream := range []bool{true, false} {
		req, err := bt.ChatRequest(t.Context(), s.URL()+"/", key, model, "hello", stream)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.RawQuery = "a=b"
		req.Header.Set("X-Mine", "1")
		_, _ = c.do(req) // the first is refused
	}
	log := s.Requests()
	if len(log) != 2 || s.Connections() < 1 {
		t.Fatalf("%d requests, %d connections", len(log), s.Connections())
	}
	for i, r := range log {
		if r.Method != http.MethodPost || r.Path != "/chat/completions" || r.RawQuery != "a=b" || r.Key != key || r.Model != model ||
			r.Stream != (i == 0) || r.Fault != []string{"Busy", ""}[i] || r.Header.Get("X-Mine") != "1" ||
			!bytes.Contains(r.Body, []byte(`"content":"hello"`)) || time.Since(r.Time) > time.Hour {
			t.Errorf("request %d is kept as %+v", i+1, r)
		}
	}
	log[0].Key = "changed"
	if s.Requests()[0].Key != key {
		t.Error("the log can be changed from outside")
	}
	s.Forget()
	if len(s.Requests()) != 0 || s.Connections() != 0 {
		t.Error("Forget leaves something behind")
	}
}

// A client that leaves ends its request at the host.
func TestLeavingClient(t *testing.T) {
	for _, fault := range []bt.Fault{bt.BlackHole(), bt.SlowHeaders(time.Hour), bt.QueueForever(), bt.Silence(), bt.StallStream(3), bt.StallKeepAlive(3)} {
		t.Run(fault.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *client) {
				s := c.fleet.Server("primary")
				s.Break(fault)
				ctx, leave := context.WithCancel(t.Context())
				req, err := bt.ChatRequest(ctx, s.URL(), key, model, "hello", true)
				if err != nil {
					t.Fatal(err)
				}
				gone := make(chan struct{})
				go func() {
					_, _ = c.do(req)
					close(gone)
				}()
				synctest.Wait()
				if n := s.InFlight(); n != 1 {
					t.Errorf("%d in flight, want 1", n)
				}
				leave()
				<-gone
				elapse(2 * time.Second) // a keep-alive finds the client gone
				if n := s.InFlight(); n != 0 {
					t.Errorf("%d in flight behind the client, want 0", n)
				}
			}, bt.DeepSeek("primary"))
		})
	}
}

func TestFleet(t *testing.T) {
	inBubble(t, func(t *testing.T, c *client) {
		f := c.fleet
		var names []string
		for _, s := range f.Servers() {
			names = append(names, s.Name())
		}
		if !slices.Equal(names, []string{"b", "a"}) || f.Server("c") != nil {
			t.Errorf("the fleet has %q", names)
		}
		if got, want := f.Server("b").URL(), "http://b.localhost/v1"; got != want {
			t.Errorf("URL is %s, want %s", got, want)
		}
		req, err := bt.ChatRequest(t.Context(), "http://c.localhost", key, model, "hello", false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.do(req); err == nil {
			t.Error("a host that is not there answered")
		}
		f.Close()
		f.Close()
		if _, err := c.ask(f.Server("a"), "closed", false, time.Minute); err == nil {
			t.Error("a closed fleet answered")
		}
	}, bt.OpenAI("b"), bt.DeepSeek("a"))
}
