package breakwatertest_test

import (
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bt "github.com/breakwater-go/breakwater/breakwatertest"
)

func http2Host(name string) bt.Host {
	host := bt.DeepSeek(name)
	host.HTTP2 = true
	return host
}

func tlsHost(name string) bt.Host {
	host := bt.DeepSeek(name)
	host.TLS = true
	return host
}

// bothNetworks runs f in a bubble and on TCP.
func bothNetworks(t *testing.T, f func(t *testing.T, c *client, settle func()), hosts ...bt.Host) {
	t.Helper()
	t.Run("bubble", func(t *testing.T) {
		inBubble(t, func(t *testing.T, c *client) { f(t, c, synctest.Wait) }, hosts...)
	})
	t.Run("TCP", func(t *testing.T) {
		c := tcp(t, hosts...)
		// On TCP the client does not notice closed connections at once.
		f(t, c, c.transport.CloseIdleConnections)
	})
}

func TestTLSAndHTTP2(t *testing.T) {
	bothNetworks(t, func(t *testing.T, c *client, _ func()) {
		for _, s := range c.fleet.Servers() {
			if !strings.HasPrefix(s.URL(), "https://") {
				t.Errorf("%s is at %s", s.Name(), s.URL())
			}
			for _, w := range bt.Wires() {
				c.mustAnswerOn(w, s, "hello", false)
				c.mustAnswerOn(w, s, "hello", true)
			}
			if n := s.Connections(); n != 1 {
				t.Errorf("%s: %d connections, want 1", s.Name(), n)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/models", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+key)
			resp, err := c.transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if want := map[string]string{"two": "HTTP/2.0", "one": "HTTP/1.1"}[s.Name()]; resp.Proto != want {
				t.Errorf("%s speaks %s, want %s", s.Name(), resp.Proto, want)
			}
		}
	}, http2Host("two"), tlsHost("one"))
}

// Every fault on HTTP/2 shows as much of the answer as on HTTP/1.1; what the
// errors say differs.
func TestFaultsOnHTTP2(t *testing.T) {
	for _, fault := range bt.Faults() {
		for i, stream := range []bool{false, true} {
			t.Run(fault.Name()+"/"+kindOf(stream), func(t *testing.T) {
				want := outcomes[fault.Name()][i]
				if want.status == 0 && want.text != inside.text && want.text != noJSON.text {
					want.text = ""
					if want.is != nil {
						want.is = errAny
					}
				}
				switch fault.Name() {
				case "BadCertificate", "HeaderBomb", "NoSuchHost":
					want.is = errAny
				case "GoAway", "RefusedStream":
					want.is = errAny
				}
				inBubble(t, func(t *testing.T, c *client) {
					s := c.fleet.Server("primary")
					c.mustAnswer(s, "before", stream)
					s.Break(fault)
					synctest.Wait()
					got, err := c.ask(s, "during", stream, 20*time.Minute)
					want.check(t, "during", got, err)
					s.Heal()
					synctest.Wait()
					c.mustAnswer(s, "after", stream)
				}, http2Host("primary"))
			})
		}
	}
}

func TestHTTP2Faults(t *testing.T) {
	bothNetworks(t, func(t *testing.T, c *client, settle func()) {
		s := c.fleet.Server("primary")
		ask := func(fault bt.Fault, stream bool) (bt.Reply, error) {
			t.Helper()
			s.Heal()
			c.mustAnswer(s, "before", stream)
			s.Break(fault)
			settle()
			s.Forget()
			got, err := c.ask(s, "during", stream, time.Minute)
			if len(s.Requests()) == 0 && fault.Name() != "BadCertificate" || len(s.Requests()) > 0 && s.Requests()[0].Fault != fault.Name() {
				t.Errorf("%s: the requests are kept as %+v", fault, s.Requests())
			}
			return got, err
		}
		var name x509.HostnameError
		if _, err := ask(bt.BadCertificate(), false); !errors.As(err, &name) {
			t.Errorf("BadCertificate: %v", err)
		}
		if _, err := ask(bt.GoAway(), false); err == nil || !strings.Contains(err.Error(), "GOAWAY") {
			t.Errorf("GoAway: %v", err)
		}
		got, err := ask(bt.GoAwayMidway(3), true)
		if err == nil || !strings.Contains(err.Error(), "GOAWAY") || !strings.HasPrefix(bt.Answer("during"), got.Content) || got.Content == "" {
			t.Errorf("GoAwayMidway: %+v, %v", got, err)
		}
		if _, err := ask(bt.GoAwayMidway(3), false); err == nil || !strings.Contains(err.Error(), "GOAWAY") {
			t.Errorf("GoAwayMidway, JSON: %v", err)
		}
		// Under BreakNext net/http's transport comes back by itself.
		for _, fault := range []bt.Fault{bt.GoAway(), bt.RefusedStream()} {
			s.Heal()
			c.mustAnswer(s, "before", false)
			s.BreakNext(1, fault)
			c.mustAnswer(s, "again", true)
		}
	}, http2Host("primary"))
}

// net/http's transport comes back to a host that refuses streams, several
// times for about a minute.
func TestRefusedStream(t *testing.T) {
	inBubble(t, func(t *testing.T, c *client) {
		s := c.fleet.Server("primary")
		s.Break(bt.RefusedStream())
		if _, err := c.ask(s, "during", false, time.Hour); err == nil || !strings.Contains(err.Error(), "REFUSED_STREAM") {
			t.Errorf("got %v", err)
		}
		if n := len(s.Requests()); n < 2 || s.Connections() != 1 {
			t.Errorf("%d requests on %d connections, want several on one", n, s.Connections())
		}
		s.Heal() // but leave the connection
		c.mustAnswer(s, "after", false)
	}, http2Host("primary"))
}

// A client that expects "100 Continue" and never sees it is answered once it has
// sent the body.
func TestNoContinue(t *testing.T) {
	for _, host := range []bt.Host{bt.DeepSeek("primary"), tlsHost("primary")} {
		inBubble(t, func(t *testing.T, c *client) {
			s := c.fleet.Server("primary")
			c.transport.ExpectContinueTimeout = 10 * time.Second
			for _, wait := range []time.Duration{0, 10 * time.Second} {
				for _, stream := range []bool{false, true} {
					req, err := bt.ChatRequest(t.Context(), s.URL(), key, model, "hello", stream)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Expect", "100-continue")
					start := time.Now()
					got, err := c.do(req)
					if err != nil || got.Content != bt.Answer("hello") || time.Since(start) != wait {
						t.Errorf("after %v, want %v: %+v, %v", time.Since(start), wait, got, err)
					}
				}
				s.Break(bt.NoContinue())
			}
		}, host)
	}
}

// How a right answer comes in odd ways.
func TestTransfers(t *testing.T) {
	c := tcp(t, bt.DeepSeek("primary"))
	s := c.fleet.Server("primary")
	body := func(fault bt.Fault, stream bool, header ...string) (string, http.Header) {
		t.Helper()
		s.Break(fault)
		req, err := bt.ChatRequest(t.Context(), s.URL(), key, model, "hello", stream)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := c.transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text), resp.Header
	}
	if text, _ := body(bt.CRLF(), true); strings.Count(text, "\r\n\r\n") != 15 || strings.Count(text, "\n") != strings.Count(text, "\r\n") {
		t.Errorf("CRLF: %q", text)
	}
	if text, _ := body(bt.NoSpace(), true); strings.Contains(text, "data: ") || strings.Count(text, "\ndata:{") != 13 {
		t.Errorf("NoSpace: %s", text)
	}
	if text, header := body(bt.Gzip(), true, "Accept-Encoding", "gzip"); header.Get("Content-Encoding") != "gzip" || !strings.HasPrefix(text, "\x1f\x8b") {
		t.Errorf("Gzip: %v", header)
	}
	if text, header := body(bt.Gzip(), false, "Accept-Encoding", "identity"); header.Get("Content-Encoding") != "" || !strings.HasPrefix(text, "{") {
		t.Errorf("Gzip, not accepted: %v %s", header, text)
	}
	if text, _ := body(bt.GzipBomb(5<<20), false, "Accept-Encoding", "gzip"); len(text) > 1<<20 {
		t.Errorf("GzipBomb: %d bytes went over the wire", len(text))
	}
	for _, stream := range []bool{false, true} {
		if text, _ := body(bt.Huge(5<<20), stream); len(text) < 5<<20 || len(text) > 6<<20 {
			t.Errorf("Huge, stream %v: %d bytes", stream, len(text))
		}
	}
	if bt.Huge(5<<20).Harmless() || bt.HugeEvent(3, 5<<20).Harmless() || !bt.GzipBomb(4<<20).Harmless() {
		t.Error("what is harmless is not a matter of size")
	}
	if _, header := body(bt.TooManyRequestsMS("1500"), false); header.Get("Retry-After-Ms") != "1500" || header.Get("Retry-After") != "" {
		t.Errorf("TooManyRequestsMS: %v", header)
	}
	if _, header := body(bt.Redirect("http://elsewhere.invalid/x"), false); header.Get("Location") != "http://elsewhere.invalid/x" {
		t.Errorf("Redirect: %v", header)
	}
	if _, header := body(bt.PlainUnauthorized(), false); len(header["Content-Type"]) != 0 {
		t.Errorf("PlainUnauthorized: %v", header)
	}
}

// A slow body comes a byte at a time.
func TestSlowBody(t *testing.T) {
	inBubble(t, func(t *testing.T, c *client) {
		s := c.fleet.Server("primary")
		s.Break(bt.SlowBody(time.Second))
		start := time.Now()
		resp := c.post(s, `{"model":"m","messages":[{"role":"user","content":"hello"}]}`)
		defer resp.Body.Close()
		n, buf := 0, make([]byte, 99)
		for {
			got, err := resp.Body.Read(buf)
			if n += got; err != nil {
				break
			}
			if got != 1 || time.Since(start) != time.Duration(n)*time.Second {
				t.Fatalf("read %d bytes, %d in all, after %v", got, n, time.Since(start))
			}
		}
		if n < 500 {
			t.Errorf("only %d bytes came", n)
		}
	}, bt.DeepSeek("primary"))
}

// Azure's key header, and Anthropic's, are as good as a bearer token.
func TestKeyHeaders(t *testing.T) {
	c := tcp(t, bt.Azure("azure"))
	s := c.fleet.Server("azure")
	for _, name := range []string{"Api-Key", "X-Api-Key"} {
		req, err := bt.ChatRequest(t.Context(), s.URL(), "", model, "hello", false)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(name, key)
		if _, err := c.do(req); err != nil || s.Requests()[0].Key != key {
			t.Errorf("%s: %v", name, err)
		}
		s.Forget()
	}
}
