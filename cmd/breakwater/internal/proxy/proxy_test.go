package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// The keys that must never be seen outside the requests to their hosts.
const (
	primaryKey  = "sk-primary-7e41c0a9d2"
	backupKey   = "sk-backup-5b8f63e1aa"
	clientToken = "token-of-alice-9d27c5"
	otherToken  = "token-of-bob-41f0a6e7"
)

func digests(tokens ...string) (all [][sha256.Size]byte) {
	for _, token := range tokens {
		all = append(all, sha256.Sum256([]byte(token)))
	}
	return all
}

// A world is a proxy that runs, and the hosts behind it.
type world struct {
	t       *testing.T
	fleet   *kit.Fleet
	primary *kit.Server
	backup  *kit.Server
	server  *Server
	url     string
	log     *lines
	stop    context.CancelFunc // as SIGTERM
	now     chan struct{}      // as a second one
	ended   chan error
}

// lines is a log that tests read.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// endpoints returns those of the fleet.
func (w *world) endpoints() []breakwater.Endpoint {
	return []breakwater.Endpoint{
		{Name: "primary", URL: w.primary.URL(), APIKey: primaryKey, Host: breakwater.HostDeepSeek},
		{Name: "backup", URL: w.backup.URL(), APIKey: backupKey, Host: breakwater.HostSiliconFlow, Models: map[string]string{"deepseek-flash": "deepseek-ai/DeepSeek-V4-Flash"}},
	}
}

// config returns a configuration with the hosts of the fleet.
func (w *world) config() Config {
	e := w.endpoints()
	return Config{
		Listen: "127.0.0.1:0", Endpoints: e, Options: []breakwater.Option{breakwater.WithEndpoints(e[0]), breakwater.WithBackup(e[1])},
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// newWorld starts a proxy. change may be nil.
func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	backup := kit.SiliconFlow("backup")
	backup.Keys = []string{backupKey}
	primary := kit.DeepSeek("primary")
	primary.Keys = []string{primaryKey}
	fleet, err := kit.NewFleet(primary, backup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Close)
	w := &world{t: t, fleet: fleet, primary: fleet.Server("primary"), backup: fleet.Server("backup"), log: new(lines), now: make(chan struct{}), ended: make(chan error, 1)}
	c := w.config()
	if change != nil {
		change(&c)
	}
	if w.server, err = New(c); err != nil {
		t.Fatal(err)
	}
	if err := w.server.Listen(); err != nil {
		t.Fatal(err)
	}
	w.url = "http://" + w.server.Addr().String()
	if c.CertFile != "" {
		w.url = "https://" + w.server.Addr().String()
	}
	var ctx context.Context
	ctx, w.stop = context.WithCancel(context.Background())
	go func() { w.ended <- w.server.Run(ctx, w.now) }()
	t.Cleanup(func() {
		w.stop()
		if w.ended != nil {
			<-w.ended
		}
		w.server.Close()
		for _, key := range []string{primaryKey, backupKey, clientToken, otherToken} {
			if strings.Contains(w.log.String(), key) {
				t.Errorf("the log has a key: %s", w.log)
			}
		}
	})
	return w
}

// end tells the proxy to stop and returns what Run returned.
func (w *world) end() error {
	w.stop()
	err := <-w.ended
	w.ended = nil
	return err
}

// do sends a request without following anything.
func (w *world) do(req *http.Request) *http.Response {
	w.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func (w *world) get(path string) (*http.Response, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp := w.do(req)
	return resp, text(w.t, resp)
}

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// roots are the base URLs under which clients have each wire, as SDKs would be given them.
var roots = map[kit.Wire][]string{
	kit.Chat: {"", "/v1", "/beta"}, kit.Completions: {"", "/v1", "/beta"}, kit.Responses: {"", "/v1"}, kit.Messages: {"", "/anthropic", "/v1"},
}

// Each wire is answered, as JSON and as a stream, below each of its roots. The hosts get their own
// keys, and nothing of the client's.
func TestProxy_EachWire(t *testing.T) {
	w := newWorld(t, nil)
	for _, broken := range []bool{false, true} {
		if broken {
			w.primary.Break(kit.Busy())
		}
		for wire, all := range roots {
			if broken && wire == kit.Responses {
				continue // the backup has no such API
			}
			for _, root := range all {
				for _, stream := range []bool{false, true} {
					req, err := wire.Request(t.Context(), w.url+root, "my-own-key-1234", "deepseek-flash", "hello", stream)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("X-Secret", "s3cret")
					req.Header.Set("Cookie", "session=s3cret")
					resp := w.do(req)
					reply, err := kit.ReadAnswer(resp)
					if err != nil || reply.Content != kit.Answer("hello") || !reply.Done {
						t.Errorf("%v at %q, stream %v, primary broken %v: %+v, %v", wire, root, stream, broken, reply, err)
					}
					if from := resp.Header.Get("Breakwater-Endpoint"); from != map[bool]string{false: "primary", true: "backup"}[broken] {
						t.Errorf("%v at %q: answered by %q", wire, root, from)
					}
				}
			}
		}
	}
	for server, key := range map[*kit.Server]string{w.primary: primaryKey, w.backup: backupKey} {
		if len(server.Requests()) == 0 {
			t.Errorf("%s got no request", server.Name())
		}
		for _, r := range server.Requests() {
			if r.Key != key || r.Header.Get("X-Secret") != "" || r.Header.Get("Cookie") != "" || r.Header.Get("X-Forwarded-For") != "" || r.RawQuery != "" {
				t.Errorf("%s got %s %s with the key %q and %v", server.Name(), r.Method, r.Path, r.Key, r.Header)
			}
		}
	}
}

// A client gets an event before the host has sent the next one.
func TestProxy_EventsAreNotHeldBack(t *testing.T) {
	w := newWorld(t, nil)
	w.primary.Break(kit.StallStream(3))
	req, _ := kit.ChatRequest(t.Context(), w.url, "k", "deepseek-flash", "hello", true)
	resp := w.do(req)
	got, buf := "", make([]byte, 4096)
	for strings.Count(got, `"content":"`) < 3 { // the host sends nothing more
		n, err := resp.Body.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		got += string(buf[:n])
	}
}

// A stream that breaks at the host ends in an event of its wire and then in an error, on each
// protocol: never in a clean end.
func TestProxy_BrokenStreamsEndInAnError(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Stream.Rescue = breakwater.RescueOff
		c.Endpoints = c.Endpoints[:1]
		c.Options = []breakwater.Option{breakwater.WithEndpoints(c.Endpoints...), breakwater.WithBreaker(breakwater.BreakerPolicy{Consecutive: breakwater.Off})}
	})
	w.primary.Break(kit.CutStream(3))
	for name, protocol := range protocols {
		client := &http.Client{Transport: protocol()}
		for _, wire := range kit.Wires() {
			if wire == kit.Completions {
				continue
			}
			req, err := wire.Request(t.Context(), w.url, "k", "deepseek-flash", "hello", true)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil {
				t.Errorf("%s, %v: the stream ends cleanly: %s", name, wire, got)
			}
			if !strings.Contains(string(got), "truncated") || !strings.Contains(string(got), "error") {
				t.Errorf("%s, %v: no event says what happened: %s", name, wire, got)
			}
		}
		client.CloseIdleConnections()
	}
}

// protocols make transports that speak one protocol without TLS.
var protocols = map[string]func() *http.Transport{
	"HTTP/1.1": func() *http.Transport { return &http.Transport{} },
	"h2c": func() *http.Transport {
		var p http.Protocols
		p.SetUnencryptedHTTP2(true)
		return &http.Transport{Protocols: &p}
	},
}

func TestProxy_Models(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{"/v1/models", "/models", "/beta/models"} {
		resp, body := w.get(path)
		var list struct {
			Object string
			Data   []struct{ ID, Object string }
		}
		if err := json.Unmarshal([]byte(body), &list); err != nil || resp.StatusCode != 200 || list.Object != "list" || len(list.Data) == 0 || list.Data[0].Object != "model" {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
		if !strings.Contains(body, `"deepseek-flash"`) || strings.Contains(body, "DeepSeek-V4-Flash") {
			t.Errorf("%s: %s", path, body)
		}
	}
	resp, body := w.get("/anthropic/v1/models")
	if resp.StatusCode != 200 || !strings.Contains(body, `"type":"model"`) || !strings.Contains(body, `"has_more":false`) {
		t.Errorf("/anthropic/v1/models: %d %s", resp.StatusCode, body)
	}
	if resp, body := w.get("/v1/models/deepseek-flash"); resp.StatusCode != 200 || !strings.Contains(body, `"id":"deepseek-flash"`) {
		t.Errorf("one model: %d %s", resp.StatusCode, body)
	}
	if resp, body := w.get("/v1/models/a%2Fb"); resp.StatusCode != 404 || !strings.Contains(body, "model_not_found") {
		t.Errorf("another model: %d %s", resp.StatusCode, body)
	}
}

func TestProxy_Probes(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Admin = "127.0.0.1:0" })
	for path, want := range map[string]string{"/livez": "ok", "/readyz": "ok", "/metrics": "breakwater_proxy_calls", "/status": "breakwater"} {
		for _, at := range []string{w.url, "http://" + w.server.AdminAddr().String()} {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, at+path, nil)
			resp := w.do(req)
			if body := text(t, resp); resp.StatusCode != 200 || !strings.Contains(body, want) {
				t.Errorf("%s: %d %.200s", path, resp.StatusCode, body)
			}
		}
	}
	req, _ := kit.ChatRequest(t.Context(), "http://"+w.server.AdminAddr().String(), "k", "deepseek-flash", "hello", false)
	if resp := w.do(req); resp.StatusCode != 404 {
		t.Errorf("a call at the address for monitoring: %d", resp.StatusCode)
	}
}
