package breakwater

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// What servers may tell a caller who addressed another one, and whose their
// redirects are to follow.

// A redirect within the origin that the caller addressed is the caller's to
// follow, at once, and no failure of the host: twenty of twenty are answered,
// beside a backup that nobody asks.
func TestRedirect_WithinTheOriginIsTheCallers(t *testing.T) {
	for _, op := range []request.Operation{request.Chat, request.Completions, request.Responses, request.Messages, request.Embeddings} {
		path := "/v1" + string(op)
		for _, location := range []string{"https://a/moved/v1" + string(op), "/moved/v1" + string(op), "https://A:443/moved/v1" + string(op), "../moved/v1" + string(op)} {
			for _, status := range []int{307, 308} {
				for _, backed := range []bool{false, true} {
					synctest.Test(t, func(t *testing.T) {
						base := newHosts(gives(200, asJSON, goodJSON))
						answers := gives(200, asJSON, goodJSON)
						switch op {
						case request.Messages, request.Responses:
							answers = func(*http.Request) (*http.Response, error) { return wellOn(op, false)() }
						case request.Embeddings:
							answers = gives(200, asJSON, `{"data":[{"index":0,"embedding":[1]}]}`)
						}
						base.Set("a", fakehost.Redirects(status, location, answers))
						base.Set("A:443", answers)
						var opts []Option
						if backed {
							opts = append(opts, WithEndpoints(Endpoint{Name: "a", URL: "https://a/v1", APIKey: "sk-a"}), WithEndpoints(Endpoint{Name: "moved", URL: "https://a/moved/v1", APIKey: "sk-a"}), WithBackup(at("b")...))
						}
						rt := over(t, base, opts...)
						for n := range 20 {
							if got := posts(t, rt, "https://a"+path, chatJSON); got.status() != 200 || got.err != nil {
								t.Fatalf("%s to %s, backed %v: call %d got %v, want an answer", path, location, backed, n, got)
							}
						}
						if asked := base.Count("b"); asked != 0 {
							t.Errorf("%s to %s: the backup was asked %d times", path, location, asked)
						}
					})
				}
			}
		}
	}
}

// To another origin, somebody else is asked first: a misplaced host must not
// draw prompts to a stranger. Alone, the redirect is handed over as it came. It
// is no failure of the host that the caller addressed.
func TestRedirect_ToAnotherOrigin(t *testing.T) {
	for _, location := range []string{"https://stranger.example/v1/chat/completions", "//stranger.example/x", "http://a/chat/completions", "https://a:8443/chat/completions", "https://\u00e4/", "%zz", ""} {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			base.Set("a", fakehost.Redirects(307, location, nil))
			backed := over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...))
			for range 20 {
				if got := asks(t.Context(), backed, chatJSON); got.status() != 200 || got.header(headerEndpoint) != "b" {
					t.Fatalf("to %q: with a backup, the caller got %v", location, got)
				}
			}
			alone := over(t, base, WithEndpoints(at("a")...))
			for range 20 {
				got := asks(t.Context(), alone, chatJSON)
				if got.status() != 307 || got.header("Location") != location || got.body != "<a>moved</a>" {
					t.Fatalf("to %q: alone, the caller got %v, want what came", location, got)
				}
			}
			if asked := base.Count("a"); asked != 40 {
				t.Errorf("to %q: the host was asked %d times for 40 calls: its circuit learnt from redirects, or it was asked twice", location, asked)
			}
		})
	}
}

// A backup's redirect never reaches the caller's client, which would follow it
// with the caller's headers, or act on the primary by a relative one.
func TestRedirect_OfABackupStaysOut(t *testing.T) {
	down := map[string]handler{"down": refusing, "unavailable": failing503, "resting": gives(429, asJSON, "{}", "Retry-After", "100")}
	for _, location := range []string{"https://stranger.example/v1/chat/completions", "/chat/completions", "https://a/chat/completions", "https://b/other", "//stranger.example", ""} {
		for name, primary := range down {
			for _, status := range []int{300, 301, 302, 303, 304, 305, 307, 308} {
				synctest.Test(t, func(t *testing.T) {
					base := newHosts(gives(200, asJSON, goodJSON))
					base.Set("a", primary)
					base.Set("b", fakehost.Redirects(status, location, nil))
					rt := over(t, base, impatient, WithEndpoints(at("a")...), WithBackup(at("b")...))
					for range 3 { // the third finds pauses and circuits in place
						before := base.Count("a") + base.Count("b")
						got := posts(t, rt, "https://a/chat/completions?key=secret", chatStream)
						if got.err != nil || got.status() < 400 || got.header("Location") != "" {
							t.Errorf("%d to %q while the primary is %s: the caller got %v, %v", status, location, name, got, got.resp)
						}
						if asked := base.Count("") - before; asked > 2 || base.Count("stranger.example") > 0 {
							t.Errorf("%d to %q while the primary is %s: %d requests for one call", status, location, name, asked)
						}
					}
				})
			}
		}
	}
}

// TestForeign_Headers: of what another origin says in its headers, only what
// describes this answer passes; from the caller's own origin, all does.
func TestForeign_Headers(t *testing.T) {
	acted := []string{ // by http.Client, browsers, SDKs, proxies
		"Set-Cookie", "Set-Cookie2", "Location", "Content-Location", "Refresh", "Link", "Alt-Svc", "Www-Authenticate", "Proxy-Authenticate", "Authentication-Info",
		"Proxy-Authentication-Info", "Strict-Transport-Security", "Public-Key-Pins", "Clear-Site-Data", "Content-Security-Policy", "Report-To", "Nel", "Reporting-Endpoints",
		"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Service-Worker-Allowed", "Sourcemap", "X-Accel-Redirect", "X-Sendfile", "Operation-Location",
		"Azure-Asyncoperation", "Content-Disposition", "Age", "Etag", "Vary", "Connection", "Keep-Alive", "Upgrade", "Trailer", "Accept-Ch", "Speculation-Rules", "Cache-Status",
		"X-Should-Retry", "Breakwater-Error", "X-Ratelimit-Remaining-Requests", "Anthropic-Organization-Id", "Openai-Organization", "X-Of-The-Future", "set-cookie", "LOCATION",
	}
	pass := []string{"Content-Type", "Date", "Retry-After", "X-Request-Id", "Request-Id", "X-Amzn-Requestid", "X-Ds-Trace-Id", "Cache-Control"}
	header := make([]string, 0, 2*len(acted)+2*len(pass))
	for _, name := range append(acted, pass[1:]...) {
		header = append(header, name, "theirs")
	}
	large := fmt.Sprintf(`{"choices":[{"index":0,"message":{"content":%q},"finish_reason":"stop"}]}`, strings.Repeat("x", 4096))
	for name, tt := range map[string]struct {
		body, ask string
		status    int
		kind      string
		coding    string
	}{
		"JSON":         {goodJSON, chatJSON, 200, asJSON, ""},
		"stream":       {wholeStream, chatStream, 200, asStream, ""},
		"large JSON":   {large, chatJSON, 200, asJSON, ""},
		"packed":       {"\x1f\x8b", chatJSON, 200, asJSON, "br"},
		"created":      {goodJSON, chatJSON, 201, asJSON, ""},
		"refusal":      {`{"error":{"message":"no"}}`, chatJSON, 400, asJSON, ""},
		"unauthorized": {`{"error":{"message":"no"}}`, chatJSON, 401, asJSON, ""},
		"unavailable":  {`{"error":{"message":"no"}}`, chatJSON, 503, asJSON, ""},
		"error inside": {`{"error":{"message":"no"}}`, chatJSON, 200, asJSON, ""},
		"cut stream":   {strings.TrimSuffix(goodEvent, "\n"), chatStream, 200, asStream, ""},
	} {
		answers := func(req *http.Request) (*http.Response, error) {
			resp, err := gives(tt.status, tt.kind, "", header...)(req)
			for _, odd := range []string{"set-cookie", "LOCATION"} { // a base need not spell them as net/http does
				resp.Header[odd] = []string{"theirs"}
			}
			if tt.coding != "" {
				resp.Header.Set("Content-Encoding", tt.coding)
			}
			resp.Body = &trailing{Reader: strings.NewReader(tt.body), resp: resp}
			return resp, err
		}
		for _, own := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				base := newHosts(answers)
				if !own {
					base.Set("a", refusing)
				}
				rt := over(t, base, impatient, WithEndpoints(at("a")...), WithBackup(at("b")...), WithStream(StreamPolicy{MaxBuffer: 1024}))
				got := asks(t.Context(), rt, tt.ask)
				if got.resp == nil {
					t.Fatalf("%s: %v", name, got.err)
				}
				shown := got.header(headerEndpoint) == "b" || own // else the answer is breakwater's own
				for _, h := range acted {
					_, there := got.resp.Header[h]
					theirs := strings.Contains(fmt.Sprint(got.resp.Header[h]), "theirs")
					switch {
					case (!own || h == headerError) && theirs:
						t.Errorf("%s: %s of another origin reached the caller", name, h)
					case own && !there && h != "X-Should-Retry" && h != headerError:
						t.Errorf("%s: %s of the caller's own origin is missing", name, h)
					}
				}
				for _, h := range pass {
					if shown && got.header(h) == "" {
						t.Errorf("%s: %s is missing", name, h)
					}
				}
				if _, there := got.resp.Trailer["X-Sum"]; there != (own && shown) {
					t.Errorf("%s: trailers %v, from the caller's own origin: %v", name, got.resp.Trailer, own)
				}
			})
		}
	}
}

// A trailing body has a trailer at its end, as net/http adds it: to the
// response that the transport has.
type trailing struct {
	io.Reader
	resp *http.Response
}

func (b *trailing) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.resp.Trailer = http.Header{"X-Sum": {"42"}}
	}
	return n, err
}

func (b *trailing) Close() error { return nil }

// A pipes is a server of in-memory connections, which a synctest bubble can hold.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

// servePipes starts a server in the bubble. Its result is a base transport that dials it,
// whatever the address is.
func servePipes(t *testing.T, h http.HandlerFunc) http.RoundTripper {
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	var handlers sync.WaitGroup
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Done()
		h(w, r)
	})}
	go server.Serve(p)
	base := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		near, far := net.Pipe()
		p.conns <- far
		return near, nil
	}}
	t.Cleanup(func() {
		base.CloseIdleConnections()
		server.Close()
		synctest.Wait() // every handler has begun
		handlers.Wait()
	})
	return base
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A 101 is handed over at once: what follows it need not end, and heeds no
// context (http.Response.Body).
func TestForeign_SwitchingProtocols(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "backup.localhost" {
			io.WriteString(w, goodJSON)
			return
		}
		io.Copy(io.Discard, r.Body)
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := buffered.ReadString('\n')
		fmt.Fprint(conn, line)
		io.Copy(io.Discard, conn) // silent until the other side leaves
		time.Sleep(time.Second)   // what the other side reads is its own end, not this one's
	}
	ask := func(ctx context.Context, rt http.RoundTripper, upgrade bool) (*http.Response, error) {
		req, _ := post(ctx, "http://host.localhost", chatStream)
		if upgrade {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "echo")
		}
		return rt.RoundTrip(req)
	}
	nothingHeld := func(t *testing.T, rt *Transport) {
		t.Helper()
		synctest.Wait() // permits are given back on a goroutine of their own
		if left := stillHeld(rt); left != "" {
			t.Errorf("%s still held", left)
		}
	}
	for _, opts := range [][]Option{nil, {WithCache(CachePolicy{})}} {
		opts = append(opts, WithRateLimit(RatePolicy{InFlight: 1}), WithRetry(RetryPolicy{MaxDelay: time.Hour, MinDelay: time.Hour}))
		bubble(t, fmt.Sprintf("asked for, %d options", len(opts)), func(t *testing.T) {
			rt := over(t, servePipes(t, echo), opts...)
			resp, err := ask(t.Context(), rt, true)
			if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "echo" {
				t.Fatalf("got %v, %v, want what came", resp, err)
			}
			fmt.Fprintln(resp.Body.(io.Writer), "hello")
			if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "hello\n" {
				t.Errorf("the connection said %q, %v", line, err)
			}
			resp.Body.Close()
			nothingHeld(t, rt)
		})
		bubble(t, fmt.Sprintf("asked for, and left, %d options", len(opts)), func(t *testing.T) {
			rt := over(t, servePipes(t, echo), opts...)
			ctx, leave := context.WithCancel(t.Context())
			resp, err := ask(ctx, rt, true)
			if err != nil {
				t.Fatal(err)
			}
			leave()
			if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
				t.Errorf("after the caller's cancel, Read returned %v", err)
			}
			resp.Body.Close()
			nothingHeld(t, rt)
		})
		bubble(t, fmt.Sprintf("not asked for, %d options", len(opts)), func(t *testing.T) {
			rt := over(t, servePipes(t, echo), opts...)
			resp, err := ask(t.Context(), rt, false)
			if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("got %v, %v, want what came", resp, err)
			}
			if text, err := io.ReadAll(resp.Body); len(text) > 0 || err != nil {
				t.Errorf("its body is %q, %v", text, err)
			}
			nothingHeld(t, rt)
		})
	}
	bubble(t, "not asked for, backed", func(t *testing.T) {
		rt := over(t, servePipes(t, echo), WithEndpoints(Endpoint{Name: "a", URL: "http://host.localhost", APIKey: "sk-a"}), WithBackup(Endpoint{Name: "b", URL: "http://backup.localhost", APIKey: "sk-b"}))
		req, _ := post(t.Context(), "http://host.localhost", chatJSON)
		resp, err := rt.RoundTrip(req)
		if err != nil || resp.Header.Get(headerEndpoint) != "b" {
			t.Fatalf("got %v, %v, want the backup's answer", resp, err)
		}
		resp.Body.Close()
	})
}

// A host that came back as a redirect answers all who come at once.
func TestRedirect_ClosesAHalfOpenCircuit(t *testing.T) {
	for _, slow := range []time.Duration{0, 100 * time.Millisecond, 2 * time.Second} {
		bubble(t, slow.String(), func(t *testing.T) {
			base := newHosts(refusing)
			rt := over(t, base, once, WithEndpoints(Endpoint{Name: "a", URL: "https://a/v1", APIKey: "sk-a"}))
			ask := func() seen {
				req, _ := post(t.Context(), "https://a/v1", chatJSON)
				resp, err := rt.RoundTrip(req)
				if err != nil {
					return seen{err: err}
				}
				resp.Body.Close()
				return seen{resp: resp}
			}
			for range 6 {
				ask()
			}
			base.Set("a", func(req *http.Request) (*http.Response, error) {
				elapse(slow)
				return gives(307, asJSON, "", "Location", "/v2/chat/completions")(req)
			})
			elapse(time.Minute)
			for round := range 3 {
				var callers sync.WaitGroup
				var good atomic.Int64
				for range 20 {
					callers.Go(func() {
						if ask().status() == 307 {
							good.Add(1)
						}
					})
				}
				callers.Wait()
				if good.Load() != 20 {
					t.Errorf("slow %v, round %d: %d of 20 got the redirect; the circuit is %v", slow, round, good.Load(), rt.Status().Endpoints[0].Circuits[0].State)
				}
			}
		})
	}
}

// A redirect to the very URL that was asked leads nowhere: a backup answers.
func TestRedirect_ToTheVeryURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		base.Set("a", gives(307, asJSON, "", "Location", "https://a/v1/chat/completions"))
		rt := over(t, base, WithEndpoints(Endpoint{Name: "a", URL: "https://a/v1", APIKey: "sk-a"}), WithBackup(at("b")...))
		if got := posts(t, rt, "https://a/v1/chat/completions", chatJSON); got.status() != 200 {
			t.Errorf("got %v after %d requests to the host and %d to the backup", got, base.Count("a"), base.Count("b"))
		}
	})
}

// A rescue goes on elsewhere where the one asked redirects: there is no caller
// to follow it.
func TestRedirect_BesideARescue(t *testing.T) {
	bubble(t, "same origin", func(t *testing.T) {
		var asked []string
		base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			asked = append(asked, req.URL.String())
			switch {
			case req.URL.Host == "b":
				return answer(200, asStream, wholeStream), nil
			case strings.HasPrefix(req.URL.Path, "/two"):
				return gives(307, asJSON, "", "Location", "/three/chat/completions")(req)
			}
			if len(asked) > 1 {
				return refusing(req)
			}
			return answerFrom(200, asStream, fakehost.Cut(goodEvent, io.ErrUnexpectedEOF)), nil
		})
		rt := over(t, base, WithStream(StreamPolicy{Rescue: RescueRestart}),
			WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "sk-a"}),
			WithBackup(Endpoint{Name: "a2", URL: "https://a/two", APIKey: "sk-a2"}), WithBackup(at("b")...))
		got := asks(t.Context(), rt, chatStream)
		if got.err != nil || got.status() != 200 {
			t.Errorf("got %v; asked %v", got, asked)
		}
	})
}

// Who addressed an endpoint that is well is not handed the redirect of another
// that shares its origin.
func TestRedirect_OfAnotherEndpointOnTheOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			asked = append(asked, req.URL.Path+" "+req.Header.Get("Authorization"))
			switch {
			case strings.HasPrefix(req.URL.Path, "/tenant-2"):
				return gives(307, asJSON, "", "Location", "/sign-in")(req)
			case strings.HasPrefix(req.URL.Path, "/tenant-1"):
				return answer(200, asJSON, goodJSON), nil
			}
			return answer(403, asJSON, "{}"), nil
		}), WithEndpoints(Endpoint{Name: "one", URL: "https://a/tenant-1", APIKey: "sk-1"}, Endpoint{Name: "two", URL: "https://a/tenant-2", APIKey: "sk-2"}))
		for range 4 {
			if got := posts(t, rt, "https://a/tenant-1/chat/completions", chatJSON); got.status() != 200 {
				t.Errorf("got %v; asked %q", got, asked)
			}
			asked = nil
		}
	})
}

// posts sends body to a URL with an http.Client on rt, as users do.
func posts(t *testing.T, rt http.RoundTripper, url, body string) seen {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Authorization": "Bearer sk-caller", "X-Api-Key": "sk-caller", "X-Tenant": "secret", "Content-Type": asJSON} {
		req.Header.Set(name, value)
	}
	resp, err := (&http.Client{Transport: rt}).Do(req)
	if err != nil {
		return seen{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return seen{resp, string(text), err}
}
