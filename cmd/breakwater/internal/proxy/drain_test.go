package proxy

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// Streams that are under way when the proxy is told to stop go on to their end. Meanwhile it is not ready,
// and takes no connection.
func TestDrain_StreamsEnd(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Admin = "127.0.0.1:0" })
	w.primary.SetPace(kit.Pace{PerToken: 30 * time.Millisecond, Tokens: 20})
	type result struct {
		reply kit.Reply
		err   error
	}
	results := make(chan result, 20)
	for range cap(results) {
		req, _ := kit.ChatRequest(t.Context(), w.url, "k", "deepseek-flash", "hello", true)
		resp := w.do(req)
		go func() {
			reply, err := kit.ReadAnswer(resp)
			results <- result{reply, err}
		}()
	}
	if err := w.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
	for range cap(results) {
		if r := <-results; r.err != nil || !r.reply.Done || r.reply.Content != kit.Answer("hello") {
			t.Errorf("%+v, %v", r.reply, r.err)
		}
	}
	if err := w.server.Ready(); err == nil {
		t.Error("the proxy is ready after it has stopped")
	}
	if _, err := http.Get(w.url + "/livez"); err == nil {
		t.Error("the proxy takes connections after it has stopped")
	}
}

// Streams whose time is over end in an event of their wire and in an error, on each protocol.
func TestDrain_StreamsAreCut(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.Drain = 50 * time.Millisecond })
			w.primary.Break(kit.StallStream(2))
			client := &http.Client{Transport: protocol()}
			defer client.CloseIdleConnections()
			streams := make(map[kit.Wire]*http.Response)
			for _, wire := range []kit.Wire{kit.Chat, kit.Responses, kit.Messages} {
				req, err := wire.Request(t.Context(), w.url, "k", "deepseek-flash", "hello", true)
				if err != nil {
					t.Fatal(err)
				}
				if streams[wire], err = client.Do(req); err != nil {
					t.Fatal(err)
				}
			}
			w.primary.Break(kit.BlackHole())
			req, _ := kit.ChatRequest(t.Context(), w.url, "k", "deepseek-flash", "hello", false)
			silent := make(chan *http.Response, 1)
			go func() {
				resp, err := client.Do(req)
				if err != nil {
					t.Errorf("a call without an answer: %v", err)
				}
				silent <- resp
			}()
			for w.primary.InFlight() < 4 {
				time.Sleep(time.Millisecond)
			}
			err := w.end()
			var cut *CutError
			if !errors.As(err, &cut) || cut.Calls != 4 {
				t.Errorf("Run: %v, want that three streams and a call were cut", err)
			}
			for wire, resp := range streams {
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err == nil || !strings.Contains(string(got), "shutting down") || !strings.HasSuffix(string(got), "\n\n") {
					t.Errorf("%v: %v after %q", wire, err, got)
				}
			}
			if resp := <-silent; resp != nil {
				if got := text(t, resp); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || !strings.Contains(got, "shutting_down") {
					t.Errorf("a call without an answer: %d %s", resp.StatusCode, got)
				}
				resp.Body.Close()
			}
		})
	}
}

// During the grace the proxy says that it is not ready, and takes calls all the same. It asks clients
// to leave their connections.
func TestDrain_Grace(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Grace, c.Admin = time.Hour, "127.0.0.1:0" })
	w.stop()
	w.await("calls are taken for a while")
	for name, protocol := range protocols {
		transport := protocol()
		defer transport.CloseIdleConnections()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/readyz", nil)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, resp); resp.StatusCode != 503 || got != "shutting down\n" {
			t.Errorf("%s: /readyz: %s %q", name, resp.Status, got)
		}
		resp.Body.Close()
		req, _ = kit.ChatRequest(t.Context(), w.url, "k", "deepseek-flash", "hello", true)
		if resp, err = transport.RoundTrip(req); err != nil {
			t.Fatal(err)
		}
		if reply, err := kit.ReadAnswer(resp); err != nil || !reply.Done || resp.ProtoMajor == 1 && !resp.Close {
			t.Errorf("%s: %+v, %v, closes %v", name, reply, err, resp.Close)
		}
	}
	close(w.now) // a second signal ends the grace
	if err := w.end(); err != nil {
		t.Errorf("Run: %v", err)
	}
}
