package breakwater

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"golang.org/x/net/http/httpproxy"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// Invariant 8: a key reaches its own endpoint's origin only, whatever the
// fault that sends the call elsewhere, and nothing of the caller's but what
// inference needs goes to an origin it did not mean.
func TestSecurity_KeysReachTheirOriginOnly(t *testing.T) {
	for _, fault := range kit.Faults() {
		if fault.BehindCommit() || fault.Harmless() {
			continue
		}
		t.Run(fault.Name(), func(t *testing.T) {
			inWorld(t, "primary backup", []Option{WithStream(quick)}, func(w *world) {
				w.fleet.Server("primary").Break(fault)
				for _, stream := range []bool{false, true} {
					w.callWith(context.Background(), "q", stream, func(req *http.Request) {
						for _, name := range []string{"X-Api-Key", "Api-Key", "Cookie", "Proxy-Authorization", "OpenAI-Organization", "X-Secret"} {
							req.Header.Set(name, "sk-caller-"+name)
						}
						req.URL.RawQuery = "key=sk-caller-query"
					})
				}
				for _, server := range w.fleet.Servers() {
					for _, got := range server.Requests() {
						text := fmt.Sprint(got.Header, got.RawQuery, got.Path)
						for _, s := range w.fleet.Servers() {
							if s != server && strings.Contains(text, "sk-"+s.Name()) {
								t.Errorf("%s saw the key of %s", server.Name(), s.Name())
							}
						}
						if got.Key != "sk-"+server.Name() {
							t.Errorf("%s was sent the key %q", server.Name(), got.Key)
						}
						if server.Name() == "backup" && strings.Contains(text, "sk-caller") {
							t.Errorf("backup saw something of the caller's: %s", text)
						}
					}
				}
				if len(w.fleet.Server("backup").Requests()) == 0 && !stops[fault.Name()] {
					t.Error("the backup was never asked: nothing was tested")
				}
			})
		})
	}
}

// The caller's own key goes to the origin it was meant for, and to no backup,
// even one without a key.
func TestSecurity_CallersKeyStaysWithItsOrigin(t *testing.T) {
	var seen []string
	rt, err := New(
		WithEndpoints(Endpoint{Name: "own", URL: "https://own.example"}), WithBackup(Endpoint{Name: "keyless", URL: "http://localhost:11434/v1", Keyless: true}),
		WithBase(RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			seen = append(seen, req.URL.Host+" "+req.Header.Get("Authorization"))
			if req.URL.Host == "own.example" {
				return answer(500, asJSON, "{}"), nil
			}
			return answer(200, asJSON, goodJSON), nil
		})), steady(), WithRetry(RetryPolicy{Attempts: 1}))
	if err != nil {
		t.Fatal(err)
	}
	req, _ := post(t.Context(), "https://own.example", chatJSON)
	if resp, err := rt.RoundTrip(req); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	if got, want := strings.Join(seen, ", "), "own.example Bearer sk-caller, localhost:11434 "; got != want {
		t.Errorf("keys went %q, want %q", got, want)
	}
}

// What another origin says to the caller's: no cookies, nothing in our name.
func TestSecurity_ForeignHeadersStayOut(t *testing.T) {
	rt, err := New(
		WithEndpoints(Endpoint{Name: "own", URL: "https://own.example"}), WithBackup(Endpoint{Name: "backup", URL: "https://backup.example", Keyless: true}),
		WithBase(RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			if req.URL.Host == "own.example" {
				return nil, fmt.Errorf("refused")
			}
			resp := answer(200, asJSON, goodJSON)
			for _, name := range []string{"Set-Cookie", "Breakwater-Error", "Breakwater-Endpoint", "X-Should-Retry"} {
				resp.Header.Set(name, "theirs")
			}
			return resp, nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	req, _ := post(t.Context(), "https://own.example", chatJSON)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(resp.Header); strings.Contains(text, "theirs") || resp.Header.Get("Breakwater-Endpoint") != "backup" {
		t.Errorf("headers from another origin: %v", resp.Header)
	}
	if ErrorOf(resp) != nil {
		t.Error("ErrorOf takes another origin's answer for our own")
	}
}

// Redirects are not followed by us, and a stranger gets no key of ours.
func TestSecurity_StrangersPassUntouched(t *testing.T) {
	var seen []string
	rt, err := New(WithEndpoints(DeepSeek("sk-deepseek")), WithBase(RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		seen = append(seen, req.URL.String()+" "+req.Header.Get("Authorization"))
		if req.URL.Host == "api.deepseek.com" {
			resp := answer(307, "", "")
			resp.Header.Set("Location", "https://stranger.example/chat/completions")
			return resp, nil
		}
		return answer(200, asJSON, goodJSON), nil
	})))
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest(http.MethodPost, "https://api.deepseek.com/chat/completions", strings.NewReader(chatJSON))
	resp, err := (&http.Client{Transport: rt}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	want := "https://api.deepseek.com/chat/completions Bearer sk-deepseek, https://stranger.example/chat/completions "
	if got := strings.Join(seen, ", "); got != want {
		t.Errorf("requests went %q, want %q", got, want)
	}
}

// Errors, events and their logs quote neither keys nor questions nor answers.
func TestSecurity_ErrorsAndEventsAreSilentAboutContent(t *testing.T) {
	var log, errs strings.Builder // events may come after the call
	logged := WithObserver(Log(debugLogger(&log)))
	for _, fault := range kit.Faults() {
		inWorld(t, "primary", []Option{logged, WithStream(quick), WithRetry(RetryPolicy{Attempts: 1}), WithErrors()}, func(w *world) {
			w.fleet.Server("primary").Break(fault)
			for _, stream := range []bool{false, true} {
				ctx, cancel := context.WithTimeout(context.Background(), quick.Stall*10)
				_, err := w.callWith(ctx, "secret-question", stream, nil)
				cancel()
				if err != nil {
					errs.WriteString(ownText(err))
				}
			}
		})
	}
	for _, secret := range []string{"sk-", "secret-question", kit.Answer("secret-question")[:12], "Authentication Fails"} {
		if strings.Contains(log.String()+errs.String(), secret) {
			t.Errorf("%q shows in logs or errors", secret)
		}
	}
	if !strings.Contains(log.String(), "unreachable") {
		t.Error("nothing was logged: nothing was tested")
	}
}

// Errors of the network may quote what they were about, keys included; ours do
// not, in any of the places where they show, and still tell what they are.
func TestSecurity_NetworkErrorsAreNotQuoted(t *testing.T) {
	reset := errors.New("dial https://user:secret@proxy: https://a/?key=secret: refused")
	for name, base := range map[string]handler{
		"round trip": func(*http.Request) (*http.Response, error) { return nil, reset },
		"JSON": func(*http.Request) (*http.Response, error) {
			return answerFrom(200, asJSON, iotest.ErrReader(reset)), nil
		},
		"stream": func(*http.Request) (*http.Response, error) {
			return answerFrom(200, asStream, fakehost.Cut(goodEvent, reset)), nil
		},
		"stream before payload": func(*http.Request) (*http.Response, error) {
			return answerFrom(200, asStream, iotest.ErrReader(reset)), nil
		},
		"packed": func(*http.Request) (*http.Response, error) {
			resp := answerFrom(200, asStream, iotest.ErrReader(reset))
			resp.Header.Set("Content-Encoding", "br")
			return resp, nil
		},
		"refusal": func(*http.Request) (*http.Response, error) {
			return answerFrom(503, asJSON, iotest.ErrReader(reset)), nil
		},
	} {
		for _, asErrors := range []bool{false, true} {
			var log strings.Builder
			var trail Trail
			opts := []Option{once, WithObserver(Log(debugLogger(&log))), WithObserver(func(_ context.Context, e Event) { fmt.Fprintln(&log, e, e.Err) })}
			if asErrors {
				opts = append(opts, WithErrors())
			}
			got := asks(WithCall(t.Context(), Call{Trail: &trail}), over(t, newHosts(base), opts...), chatStream)
			text := fmt.Sprintf("%s %v %s %+v", log.String(), got, got.err, trail.Attempts())
			for _, a := range trail.Attempts() {
				text += fmt.Sprint(a.Err)
			}
			if strings.Contains(text, "secret") {
				t.Errorf("%s: the secret shows in %s", name, text)
			}
			if name == "round trip" && !errors.Is(trail.Attempts()[0].Err, reset) {
				t.Errorf("%v hides what it is", trail.Attempts()[0].Err)
			}
		}
	}
}

// A key that is let over plain http, because its host is this machine, does not
// go to a proxy.
func TestSecurity_LoopbackNamesPassTheProxyBy(t *testing.T) {
	for _, host := range []string{"localhost", "127.0.0.1", "localhost.", "ollama.localhost"} {
		t.Run(host, func(t *testing.T) {
			var key string
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				key = r.Header.Get("Authorization")
				io.WriteString(w, goodJSON)
			}))
			defer proxy.Close()
			find := (&httpproxy.Config{HTTPProxy: proxy.URL}).ProxyFunc() // as http.ProxyFromEnvironment
			base := &http.Transport{Proxy: butForLoopback(func(req *http.Request) (*url.URL, error) { return find(req.URL) })}
			rt, err := New(WithBase(base), once, WithEndpoints(Endpoint{Name: "a", URL: "http://" + host + ":9/v1", APIKey: "sk-own"}))
			if err != nil {
				t.Fatal(err)
			}
			defer rt.Close()
			req, _ := post(t.Context(), "http://"+host+":9/v1", chatJSON)
			if resp, err := rt.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
			if key != "" {
				t.Errorf("the proxy saw the key %q in plain text", key)
			}
		})
	}
}

func TestSecurity_NoPrintableFormShowsAKey(t *testing.T) {
	e := Endpoint{Name: "e", URL: "https://user:secret@x.example/v1?key=secret", APIKey: "secret", Header: http.Header{"X-Key": {"secret"}}}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "endpoint", e, "pointer", &e)
	dump, err := json.Marshal(map[string]any{"e": e, "p": &e})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(e), fmt.Sprint(&e), fmt.Sprintf("%v %+v %#v %s %q %x %d", e, e, e, e, e, e, e),
		fmt.Sprintf("%+v %#v", []Endpoint{e}, struct{ E Endpoint }{e}), e.String(), e.GoString(), log.String(), string(dump),
	} {
		if strings.Contains(text, "secret") || strings.Contains(text, fmt.Sprintf("%x", "secret")) {
			t.Errorf("a key shows in %q", text)
		}
	}
}

// A lateHost reads request bodies when and as it likes, as bases may until they
// have closed them: before it answers, after that, on another goroutine while
// it closes them, or once more. What it gets must be what its own call sent.
type lateHost struct {
	random  func(int) int
	readers sync.WaitGroup
	wrong   atomic.Int64
	read    atomic.Int64
	closed  atomic.Int64 // reads that met a body closed meanwhile
}

func (h *lateHost) answers(req *http.Request) (*http.Response, error) {
	name := req.Header.Get("User-Agent") // which every endpoint is told
	read := func(body io.ReadCloser) {
		text, err := io.ReadAll(body)
		others := strings.ReplaceAll(string(text), name+" ", "")
		if i := strings.Index(others, "call-"); i >= 0 && (err == nil || !strings.HasPrefix(name, others[i:])) {
			h.wrong.Add(1)
		}
		if err == nil && strings.Count(string(text), name+" ") != mentions {
			h.wrong.Add(1)
		}
		if err != nil {
			h.closed.Add(1)
		} else {
			h.read.Add(1)
		}
	}
	body, again := req.Body, req.GetBody
	switch h.random(5) {
	case 0:
		read(body)
		body.Close()
	case 1: // still at it when the answer is there
		h.readers.Go(func() { read(body); body.Close() })
	case 2: // closed while it is read, and read on when the call is over
		h.readers.Go(func() {
			body.Close()
			<-req.Context().Done()
			read(body)
		})
		h.readers.Go(func() { read(body) })
	case 3: // never read, and once more when all may be over
		body.Close()
		h.readers.Go(func() {
			if once, err := again(); err == nil {
				read(once)
				once.Close()
			}
		})
	case 4: // never closed
		h.readers.Go(func() { read(body) })
	}
	switch h.random(6) {
	case 0:
		return nil, errors.New("reset")
	case 1:
		return answer(503, asJSON, "{}"), nil
	case 2:
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	return answer(200, asJSON, goodJSON), nil
}

// mentions is how often a body names its call: often enough to be read in parts.
const mentions = 100

// The buffers of requests' bodies go from call to call. No base may ever read
// another call's: prompts would reach strangers.
func TestSecurity_BodiesAreNeverMixedUp(t *testing.T) {
	synctest.Test(t, neverMixedUp)
}

func neverMixedUp(t *testing.T) {
	var mu sync.Mutex
	source := rand.New(rand.NewPCG(1, 2))
	host := &lateHost{random: func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return source.IntN(n)
	}}
	rt := over(t, fakehost.NewUnread(host.answers), WithEndpoints(append(at("a", "b"), Endpoint{Name: "c", URL: "https://c", APIKey: "sk-c", Models: map[string]string{"m": "another"}})...),
		WithRetry(RetryPolicy{MinDelay: Off, Budget: 100}), WithBreaker(BreakerPolicy{FailureRate: Off, Consecutive: Off}),
		WithStream(StreamPolicy{Hedge: time.Millisecond, HedgeBackup: true, FirstToken: 5 * time.Millisecond, Thinking: 5 * time.Millisecond}),
		WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper { return next }))
	var callers sync.WaitGroup
	whole := 0
	for worker := range 8 {
		callers.Go(func() {
			for i := range 150 {
				name := fmt.Sprintf("call-%d-%d", worker, i)
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				got := asks(ctx, rt, `{"messages":[{"role":"user","content":"`+strings.Repeat(name+" ", mentions)+`"}],"model":"m"}`, func(req *http.Request) {
					req.Header.Set("User-Agent", name)
				})
				cancel()
				if got.status() == 200 {
					mu.Lock()
					whole++
					mu.Unlock()
				}
			}
		})
	}
	callers.Wait()
	host.readers.Wait()
	if n := host.wrong.Load(); n > 0 {
		t.Errorf("%d bodies were not those of their calls", n)
	}
	if whole == 0 || host.read.Load() == 0 || host.closed.Load() == 0 {
		t.Errorf("%d answers, %d bodies read, %d closed meanwhile: nothing was tested", whole, host.read.Load(), host.closed.Load())
	}
}

// stops are the faults that send no call to another host: the caller's to see,
// or over with the next connection.
var stops = map[string]bool{"ContentFilter": true, "IdleClosed": true}

func debugLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// ownText is the text of breakwater's own error inside err, if there is one.
func ownText(err error) string {
	var own *Error
	if errors.As(err, &own) {
		return own.Error()
	}
	return ""
}
