package breakwatertest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
	bt "github.com/breakwater-go/breakwater/breakwatertest"
)

// seen is all that a bare client can tell of an exchange, without what differs between two
// processes.
type seen struct {
	Headers, End  time.Duration
	Status        string
	Proto         string
	Length        int64
	Header        http.Header
	Reads         []string // with their times
	Err           string
	Types         []string
	Reset, EOF    bool
	Refused, Late bool
}

// look makes a request and reads all of its answer.
func look(t *testing.T, base http.RoundTripper, w bt.Wire, url, prompt string, stream bool) (s seen) {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	req, err := w.Request(ctx, url, key, model, prompt, stream)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := base.RoundTrip(req)
	if err == nil {
		s.Headers, s.Status, s.Proto, s.Length, s.Header = time.Since(start), resp.Status, resp.Proto, resp.ContentLength, resp.Header.Clone()
		b := make([]byte, 32<<10)
		for err == nil {
			var n int
			n, err = resp.Body.Read(b)
			if n > 0 {
				s.Reads = append(s.Reads, fmt.Sprintf("%v %q", time.Since(start), b[:n]))
			}
		}
		resp.Body.Close()
	}
	s.End = time.Since(start)
	s.Err = err.Error()
	for e := err; e != nil; e = errors.Unwrap(e) {
		switch e.(type) { // those that a program can ask for
		case *net.OpError, *net.DNSError, *os.SyscallError, syscall.Errno, *tls.CertificateVerificationError, x509.HostnameError:
			s.Types = append(s.Types, reflect.TypeOf(e).String())
		}
	}
	var late net.Error
	s.Late = errors.As(err, &late) && late.Timeout()
	s.Reset, s.Refused = errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNREFUSED)
	s.EOF = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	return s
}

// record returns a Recorder above the client's transport, and where it writes.
func (c *client) record() (*bt.Recorder, *bytes.Buffer) {
	c.t.Helper()
	var b bytes.Buffer
	r, err := bt.Record(c.transport, bt.RecordOptions{Writer: &b})
	if err != nil {
		c.t.Fatal(err)
	}
	return r, &b
}

func replay(t *testing.T, text string, o bt.ReplayOptions) *bt.Replayer {
	t.Helper()
	r, err := bt.ReplayFrom(strings.NewReader(text), o)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return r
}

// A replay shows a bare client what the host has shown it, of every fault: statuses, bytes,
// times and errors with their types.
func TestReplay_ShowsWhatWasSeen(t *testing.T) {
	eachFault(t, func(t *testing.T, w bt.Wire, fault bt.Fault, stream bool, _ outcome) {
		kinds := []bt.Host{bt.DeepSeek("primary")}
		switch fault.Name() {
		case "BadCertificate", "GoAway", "RefusedStream", "GoAwayMidway", "CutStream", "Reset":
			secret, two := bt.DeepSeek("primary"), bt.DeepSeek("primary")
			secret.TLS, two.HTTP2 = true, true
			kinds = append(kinds, secret, two)
		}
		for _, host := range kinds {
			inBubble(t, func(t *testing.T, c *client) {
				s := c.fleet.Server("primary")
				rec, text := c.record()
				var want, got []seen
				ask := func(base http.RoundTripper) (all []seen) {
					for _, prompt := range []string{"before", "during", "after"} {
						if base == rec {
							s.Heal()
							if prompt == "during" {
								s.Break(fault)
							}
							synctest.Wait()
						}
						all = append(all, look(t, base, w, s.WireURL(w), prompt, stream))
					}
					return all
				}
				want = ask(rec)
				if err := rec.Close(); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(text.String(), key) {
					t.Error("the key was written")
				}
				got = ask(replay(t, text.String(), bt.ReplayOptions{Once: true}))
				for i := range want {
					if !reflect.DeepEqual(got[i], want[i]) {
						t.Errorf("request %d: replayed\n%.3000s\nwas\n%.3000s", i, fmt.Sprintf("%+v", got[i]), fmt.Sprintf("%+v", want[i]))
					}
				}
			}, host)
		}
	})
}

// breakwater makes of records what it makes of the hosts.
func TestReplay_BelowBreakwater(t *testing.T) {
	eachFault(t, func(t *testing.T, w bt.Wire, fault bt.Fault, stream bool, _ outcome) {
		if fault.Name() == "SlowHeaders" {
			fault = bt.SlowHeaders(50 * time.Second) // not the very moment at which breakwater stops waiting
		}
		inBubble(t, func(t *testing.T, c *client) {
			primary, backup := c.fleet.Server("primary"), c.fleet.Server("backup")
			primary.Break(fault)
			rec, text := c.record()
			ask := func(base http.RoundTripper) string {
				endpoint := func(s *bt.Server) breakwater.Endpoint {
					return breakwater.Endpoint{Name: s.Name(), URL: s.URL(), APIKey: key, Host: breakwater.HostDeepSeek}
				}
				tr, err := breakwater.New(breakwater.WithBase(base), breakwater.WithEndpoints(endpoint(primary)), breakwater.WithBackup(endpoint(backup)))
				if err != nil {
					t.Fatal(err)
				}
				defer tr.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
				defer cancel()
				req, err := w.Request(ctx, primary.WireURL(w), "", model, "during", stream)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := tr.RoundTrip(req)
				if err != nil {
					return err.Error()
				}
				reply, err := bt.ReadAnswer(resp)
				var trail []string
				for _, a := range breakwater.TrailOf(resp) {
					trail = append(trail, fmt.Sprint(a.Endpoint, " ", a.Class, " ", a.Status))
				}
				return fmt.Sprintf("%d %+v %v %v", resp.StatusCode, reply, err, trail)
			}
			want := ask(rec)
			if err := rec.Close(); err != nil {
				t.Fatal(err)
			}
			if got := ask(replay(t, text.String(), bt.ReplayOptions{})); got != want {
				t.Errorf("replayed\n%s\nwas\n%s", got, want)
			}
		}, bt.DeepSeek("primary"), bt.DeepSeek("backup"))
	})
}

// base is a base that answers by a function.
type base func(*http.Request) (*http.Response, error)

func (f base) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// No key gets into a file, wherever it stood.
func TestRecord_WritesNoKeys(t *testing.T) {
	const secret = "Zq7-long_secret/value+9"
	plain := url.QueryEscape(secret)
	dir := t.TempDir()
	answer := func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			_, _ = io.Copy(io.Discard, req.Body)
			req.Body.Close()
		}
		if strings.Contains(req.URL.Path, "fails") {
			return nil, &url.Error{Op: "Post", URL: req.URL.String(), Err: &net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New("http://me:" + secret + "@proxy refused " + secret)}}
		}
		h := http.Header{
			"Set-Cookie": {"session=" + secret + "; Path=/"}, "Openai-Organization": {secret}, "X-Echo": {"you sent " + secret},
			"Location": {"https://elsewhere.invalid/?api_key=" + plain}, "Content-Type": {"application/json"},
		}
		body := io.MultiReader(strings.NewReader(`{"error":"the key `+secret[:10]), strings.NewReader(secret[10:]+` is wrong, and so is sk-0123456789abcdef0123"}`))
		return &http.Response{StatusCode: 401, Status: "401 Unauthorized", Proto: "HTTP/1.1", Header: h, Body: io.NopCloser(body), ContentLength: -1, Trailer: http.Header{"X-Token": {secret}}, Request: req}, nil
	}
	rec, err := bt.Record(base(answer), bt.RecordOptions{Dir: dir, Redact: func(part string, text []byte) {
		if i := bytes.Index(text, []byte("Alice")); i >= 0 {
			copy(text[i:], "Xxxxx")
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "Cookie", "Proxy-Authorization", "X-Goog-Api-Key", "Openai-Organization", "Openai-Project", "X-Custom-Token"} {
		for _, path := range []string{"/chat/completions", "/fails/" + secret} {
			u := "https://user:" + plain + "@host.invalid" + path + "?key=" + plain + "&access_token=" + plain + "&a=1"
			body := `{"messages":[{"role":"user","content":"Alice says ` + secret + `"}],"api_key":"` + secret + `"}`
			req, err := http.NewRequestWithContext(t.Context(), "POST", u, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(name, secret)
			if name == "Authorization" {
				req.Header.Set(name, "Bearer "+secret)
			}
			if name == "Proxy-Authorization" {
				req.SetBasicAuth("someone", secret)
			}
			if resp, err := rec.RoundTrip(req); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 18 {
		t.Fatalf("%d files, error %v, want 18", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{secret, plain, url.PathEscape(secret), secret[:10], "sk-0123456789", "Alice"} {
			if strings.Contains(string(text)+file, word) {
				t.Fatalf("%s holds %q:\n%s", file, word, text)
			}
		}
	}
}

// A record is a whole file or none, is read as it was written, and the numbers of a folder go
// on.
func TestRecord_Files(t *testing.T) {
	dir := t.TempDir()
	c := tcp(t, bt.DeepSeek("primary"))
	s := c.fleet.Server("primary")
	for range 2 {
		rec, err := bt.Record(c.transport, bt.RecordOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() { look(t, rec, bt.Chat, s.URL(), fmt.Sprint("prompt ", i), i%2 == 0) })
		}
		all.Wait()
		if err := rec.Close(); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := os.ReadDir(dir)
	if len(files) != 40 || files[0].Name() != "0001-chat-completions.txt" || files[39].Name() != "0040-chat-completions.txt" {
		t.Fatalf("%d files, %v", len(files), files)
	}
	r, err := bt.Replay(os.DirFS(dir), bt.ReplayOptions{AnyHost: true, Speed: math.Inf(1)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		req, _ := bt.ChatRequest(t.Context(), "http://elsewhere.invalid/v1", "sk-other", model, fmt.Sprint("prompt ", i), i%2 == 0)
		resp, err := r.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if reply, err := bt.ReadAnswer(resp); err != nil || reply.Content != bt.Answer(fmt.Sprint("prompt ", i)) {
			t.Errorf("%q, %v", reply.Content, err)
		}
	}
	if len(r.Unused()) != 20 {
		t.Errorf("unused %d, want 20", len(r.Unused()))
	}
}

// Records that are larger than is kept say so, and never end cleanly.
func TestRecord_IsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, c *client) {
		s := c.fleet.Server("primary")
		s.Break(bt.Huge(1 << 20))
		var text bytes.Buffer
		rec, err := bt.Record(c.transport, bt.RecordOptions{Writer: &text, MaxBody: 4 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if got := look(t, rec, bt.Chat, s.URL(), "q", true); got.Err != "EOF" {
			t.Errorf("recording, the client got %s", got.Err)
		}
		if err := rec.Close(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text.String(), " truncated\n") || text.Len() > 16<<10 {
			t.Errorf("%d bytes", text.Len())
		}
		if got := look(t, replay(t, text.String(), bt.ReplayOptions{}), bt.Chat, s.URL(), "q", true); got.Err != bt.ErrRecordEnds.Error() {
			t.Errorf("the replay ended in %s", got.Err)
		}
	}, bt.DeepSeek("primary"))
}

// A request that no record answers is told which is nearest, and where it differs.
func TestReplay_NoRecord(t *testing.T) {
	inBubble(t, func(t *testing.T, c *client) {
		s := c.fleet.Server("primary")
		rec, text := c.record()
		look(t, rec, bt.Chat, s.URL(), "a secret prompt", false)
		r := replay(t, text.String(), bt.ReplayOptions{Once: true})
		ask := func(method, url, body string) error {
			req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := r.RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
			return err
		}
		const body = `{"stream_options":{}, "messages":[{"content":"a secret prompt","role":"user"}], "thinking":{"type":"disabled"},"model":"deepseek-flash","stream":%s}`
		chat := s.URL() + "/chat/completions"
		for _, tt := range []struct {
			method, url, body string
			differs           string
		}{
			{"POST", chat, fmt.Sprintf(body, "true"), "stream"},
			{"POST", "http://other/chat/completions", fmt.Sprintf(body, "false"), "host"},
			{"POST", chat, strings.Replace(fmt.Sprintf(body, "false"), "a secret", "another", 1), "messages[0].content"},
			{"POST", chat, strings.Replace(fmt.Sprintf(body, "false"), `"model"`, `"max_tokens":1,"model"`, 1), "max_tokens"},
			{"POST", chat, "no JSON", "body"},
			{"GET", s.URL() + "/models", "", ""},
			{"POST", chat, fmt.Sprintf(body, "false"), "none"},
			{"POST", chat, fmt.Sprintf(body, "false"), "used"},
		} {
			err := ask(tt.method, tt.url, tt.body)
			var no *bt.NoRecordError
			switch errors.As(err, &no); {
			case tt.differs == "none":
				if err != nil {
					t.Error(err)
				}
			case no == nil, tt.differs == "used" != no.Used, !no.Used && strings.Join(no.Differs, " ") != tt.differs:
				t.Errorf("%s %s: %v, want %s", tt.method, tt.body, err, tt.differs)
			case strings.Contains(err.Error(), "secret"):
				t.Errorf("the error quotes the prompt: %v", err)
			}
		}
	}, bt.DeepSeek("primary"))
}

// The contract of a RoundTripper: the request's body is closed once, the client's end ends
// each wait, and nothing is left (or the bubble would not end).
func TestReplay_Contract(t *testing.T) {
	const text = `breakwater-record 1
at 2026-11-28T13:00:00Z
GET http://h/slow
body whole
+1h0m0s HTTP/1.1 200 OK
  Content-Type: text/plain
length 4
+2h0m0s
:ab
+3h0m0s
:cd
+3h0m0s EOF

breakwater-record 1
at 2026-11-28T13:00:00Z
GET http://h/silent
body whole
+1s canceled
`
	synctest.Test(t, func(t *testing.T) {
		for _, speed := range []float64{0, 2, math.Inf(1)} {
			r := replay(t, text, bt.ReplayOptions{Speed: speed})
			for _, path := range []string{"slow", "silent"} {
				for _, patience := range []time.Duration{time.Minute, 91 * time.Minute, 150 * time.Minute, 9 * time.Hour} {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					body := &countingBody{Reader: strings.NewReader("x")}
					req, _ := http.NewRequestWithContext(ctx, "GET", "http://h/"+path, body)
					start := time.Now()
					resp, err := r.RoundTrip(req)
					var got []byte
					if err == nil {
						got, err = io.ReadAll(resp.Body)
						resp.Body.Close()
						if _, err := resp.Body.Read(make([]byte, 1)); err == nil || err == io.EOF {
							t.Errorf("a read after Close: %v", err)
						}
					}
					need := 3 * time.Hour
					switch {
					case math.IsInf(speed, 1):
						need = 0
					case speed > 0:
						need = time.Duration(float64(need) / speed)
					}
					whole := path == "slow" && patience >= need
					if took := time.Since(start); whole && (string(got) != "abcd" || err != nil || took != need) || !whole && (!errors.Is(err, context.DeadlineExceeded) || took != patience) {
						t.Errorf("%s, speed %v, patience %v: %q, %v after %v", path, speed, patience, got, err, took)
					}
					if body.closed != 1 {
						t.Errorf("the body was closed %d times", body.closed)
					}
					cancel()
				}
			}
			req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://h/slow", nil)
			resp, err := r.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			var closing sync.WaitGroup
			closing.Go(func() { time.Sleep(time.Second); resp.Body.Close() })
			if _, err := io.ReadAll(resp.Body); speed == 0 && (err == nil || !strings.Contains(err.Error(), "closed")) {
				t.Errorf("Close during a Read: %v", err)
			}
			closing.Wait()
		}
	})
}

type countingBody struct {
	io.Reader
	closed int
}

func (b *countingBody) Close() error { b.closed++; return nil }

// Errors of the network come back with their types.
func TestReplay_Errors(t *testing.T) {
	for _, want := range []error{
		&net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1).To4(), Port: 1}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
		&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "h.invalid", IsNotFound: true}},
		&net.DNSError{Err: "i/o timeout", Name: "h.invalid", Server: "1.1.1.1:53", IsTimeout: true, IsTemporary: true},
		&net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded},
		&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{Cert: &x509.Certificate{}}},
		&net.OpError{Op: "remote error", Err: tls.AlertError(40)},
		io.ErrUnexpectedEOF, net.ErrClosed, http.ErrSchemeMismatch,
	} {
		var text bytes.Buffer
		rec, err := bt.Record(base(func(*http.Request) (*http.Response, error) { return nil, want }), bt.RecordOptions{Writer: &text})
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://h/", nil)
		if _, err := rec.RoundTrip(req); err != want {
			t.Errorf("the recorder returned %v", err)
		}
		_, got := replay(t, text.String(), bt.ReplayOptions{Speed: math.Inf(1)}).RoundTrip(req)
		if got == nil || got.Error() != want.Error() || reflect.TypeOf(got) != reflect.TypeOf(want) {
			t.Errorf("got %T %v, want %T %v", got, got, want, want)
		}
		for a, b := got, want; b != nil; a, b = errors.Unwrap(a), errors.Unwrap(b) {
			if reflect.TypeOf(a) != reflect.TypeOf(b) {
				t.Errorf("in %v: got a %T, want a %T", want, a, b)
			}
		}
	}
}

// What is no record says where.
func TestReplay_BadRecords(t *testing.T) {
	for text, line := range map[string]int{
		"hello\n":                       1,
		"breakwater-record 2\n":         1,
		"breakwater-record 1\nat now\n": 1 + 1,
		"breakwater-record 1\nat 2026-11-28T13:00:00Z\nGET http://h/\nbody whole\n":                                                    4,
		"breakwater-record 1\nat 2026-11-28T13:00:00Z\nGET http://h/\nbody whole\n+1s HTTP/1.1 200 OK\nlength 3\n+1s\n\"ab\n+1s EOF\n": 8,
		"breakwater-record 1\nat 2026-11-28T13:00:00Z\nGET http://h/\nbody whole\n+1s error\n  {\"type\":\"no.Such\"}\n":               6,
	} {
		_, err := bt.Replay(fstest.MapFS{"0001.txt": {Data: []byte(text)}}, bt.ReplayOptions{})
		var bad *bt.RecordError
		if !errors.As(err, &bad) || bad.Line != line || bad.File != "0001.txt" {
			t.Errorf("%q: %v, want an error in line %d", text, err, line)
		}
	}
}
