package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// alone leaves the primary as the only endpoint.
func alone(c *Config) {
	c.Endpoints = c.Endpoints[:1]
	c.Options = []breakwater.Option{breakwater.WithEndpoints(c.Endpoints...)}
}

// chat makes a chat and returns its answer.
func (w *world) chat(change func(*http.Request), stream bool) (*http.Response, string) {
	w.t.Helper()
	req, err := kit.ChatRequest(w.t.Context(), w.url, "", "deepseek-flash", "hello", stream)
	if err != nil {
		w.t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp := w.do(req)
	return resp, text(w.t, resp)
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func bearer(token string) func(*http.Request) { return header("Authorization", "Bearer "+token) }

// A client that says how long it waits gets an answer by then: from a backup, or an error of its wire. An
// answer that has begun goes on.
func TestCall_Patience(t *testing.T) {
	w := newWorld(t, nil)
	w.primary.Break(kit.BlackHole())
	for _, name := range timeouts {
		resp, _ := w.chat(header(name, "2"), true)
		if resp.StatusCode != 200 || resp.Header.Get("Breakwater-Endpoint") != "backup" {
			t.Errorf("%s: %s by %q", name, resp.Status, resp.Header.Get("Breakwater-Endpoint"))
		}
	}
	w = newWorld(t, alone)
	w.primary.Break(kit.BlackHole())
	resp, body := w.chat(header("X-Stainless-Timeout", "0.2"), false)
	if resp.StatusCode != 504 || !strings.Contains(body, `"code":"deadline"`) {
		t.Errorf("no answer: %s %s", resp.Status, body)
	}
	w.primary.Break(kit.Fault{})
	w.primary.SetPace(kit.Pace{PerToken: 100 * time.Millisecond, Tokens: 8})
	if resp, body := w.chat(header("X-Stainless-Timeout", "0.4"), true); resp.StatusCode != 200 || !strings.Contains(body, "[DONE]") {
		t.Errorf("an answer that takes longer: %s %s", resp.Status, body)
	}
}

func TestCall_PatienceOf(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"600": 10 * time.Minute, "0.5": 500 * time.Millisecond, "1e2": 100 * time.Second,
		"": 0, "0": 0, "-1": 0, "NaN": 0, "Inf": 0, "1e300": 0, "5s": 0, "None": 0,
	} {
		if got := patienceOf(http.Header{"X-Stainless-Timeout": {in}}); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
	if got := patienceOf(http.Header{"X-Stainless-Timeout": {"1", "2"}, "X-Stainless-Read-Timeout": {"3"}}); got != 3*time.Second {
		t.Errorf("two values: %v", got)
	}
}

// A client that leaves ends the call at the host, before the answer and within it.
func TestCall_ClientLeaves(t *testing.T) {
	for name, protocol := range protocols {
		for _, fault := range []kit.Fault{kit.BlackHole(), kit.StallStream(2)} {
			w := newWorld(t, alone)
			w.primary.Break(fault)
			transport := protocol()
			ctx, cancel := context.WithCancel(t.Context())
			req, _ := kit.ChatRequest(ctx, w.url, "", "deepseek-flash", "hello", true)
			left := make(chan struct{})
			go func() {
				defer close(left)
				if resp, err := transport.RoundTrip(req); err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}()
			for w.primary.InFlight() == 0 {
				time.Sleep(time.Millisecond)
			}
			cancel()
			<-left
			w.await("end=left")
			for end := time.Now().Add(30 * time.Second); w.primary.InFlight() > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%s, %v: the call goes on at the host", name, fault)
				}
			}
			transport.CloseIdleConnections()
		}
	}
}

// What the host says of the proxy's key and money is not the client's, and may quote the key.
func TestCall_OperatorsFault(t *testing.T) {
	w := newWorld(t, alone)
	for _, tt := range []struct {
		fault kit.Fault
		code  string
	}{{kit.Unauthorized(), "key_rejected"}, {kit.PlainUnauthorized(), "key_rejected"}, {kit.InsufficientBalance(), "no_funds"}} {
		w.primary.Break(tt.fault)
		resp, body := w.chat(nil, false)
		if resp.StatusCode != 502 || !strings.Contains(body, tt.code) || resp.Header.Get("X-Should-Retry") != "false" || strings.Contains(body, primaryKey[len(primaryKey)-4:]) {
			t.Errorf("%v: %s %s", tt.fault, resp.Status, body)
		}
	}
}

// A host that quotes the key in an error shows it to no client.
func TestCall_HostQuotesTheKey(t *testing.T) {
	w := newWorld(t, alone)
	for _, stream := range []bool{false, true} {
		for _, status := range []int{400, 403, 422} {
			quote := `{"error":{"message":"bad header Authorization: Bearer ` + primaryKey + `"}}`
			w.primary.Break(kit.Status(status, "application/json", quote))
			resp, body := w.chat(nil, stream)
			if resp.StatusCode < 400 || strings.Contains(body, primaryKey) || status == 422 && len(body) != len(quote) {
				t.Errorf("%d: %s %s", status, resp.Status, body)
			}
		}
	}
}

// What the host says of the request comes through, with nothing that is between the host and the operator.
func TestCall_HostsRefusal(t *testing.T) {
	w := newWorld(t, alone)
	w.primary.Break(kit.Status(422, "application/json", `{"error":{"message":"no such field"}}`,
		"Set-Cookie", "a=b", "X-Ratelimit-Remaining-Requests", "3", "Access-Control-Allow-Origin", "*", "Server", "openresty", "Alt-Svc", `h3=":443"`, "Location", "http://evil.example", "Breakwater-Outcome", "ok"))
	resp, body := w.chat(nil, false)
	if resp.StatusCode != 422 || !strings.Contains(body, "no such field") {
		t.Errorf("%s %s", resp.Status, body)
	}
	for _, name := range []string{"Set-Cookie", "X-Ratelimit-Remaining-Requests", "Access-Control-Allow-Origin", "Server", "Alt-Svc", "Location"} {
		if v := resp.Header.Get(name); v != "" {
			t.Errorf("the client got %s: %s", name, v)
		}
	}
}

// A request gets an id, or keeps a good one of its own, and the log has it.
func TestCall_RequestID(t *testing.T) {
	w := newWorld(t, nil)
	for own, keeps := range map[string]bool{"trace-1.a_b:c": true, "": false, "a b": false, "a\tb": false, "日": false, strings.Repeat("a", 128): true, strings.Repeat("a", 129): false} {
		resp, _ := w.chat(func(r *http.Request) {
			if own != "" {
				r.Header["X-Request-Id"] = []string{own}
			}
		}, false)
		id := resp.Header.Get("X-Request-Id")
		if (id == own) != keeps || id == "" {
			t.Errorf("%q became %q", own, id)
		}
		w.await("id=" + id)
	}
}

// The client that may ask for some models asks for no other, however it writes that.
func TestCall_ClientsModels(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Clients = []Client{{Name: "alice", Digests: digests(clientToken), Models: []string{"deepseek-flash"}}}
	})
	ask := func(body string) (*http.Response, string) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/v1/chat/completions", strings.NewReader(body))
		bearer(clientToken)(req)
		resp := w.do(req)
		return resp, text(t, resp)
	}
	messages := `"messages":[{"role":"user","content":"hello"}]}`
	if resp, body := ask(`{"model":"deepseek-flash",` + messages); resp.StatusCode != 200 {
		t.Errorf("%s %s", resp.Status, body)
	}
	w.primary.Forget()
	for body, want := range map[string]int{
		`{"model":"deepseek-v4-pro",` + messages: 403, `{` + messages: 400, `{"model":7,` + messages: 400, `{"model":null,` + messages: 400, ``: 400, `[]`: 400, `{"model":"deepseek-flash"`: 400,
		`{"model":"deepseek-flash","model":"deepseek-v4-pro",` + messages: 400, `{"model":"deepseek-flash","mod\u0065l":"deepseek-v4-pro",` + messages: 400,
		`{"model":"deepseek-flash","Model":"deepseek-v4-pro",` + messages: 400, `{"model":"deepseek-flash"}{"model":"deepseek-v4-pro"}`: 400, "\ufeff" + `{"model":"deepseek-flash",` + messages: 400,
		`{"model":"deepseek-flash","models":["deepseek-v4-pro"],` + messages: 400, `{"model":"deepseek-flash","a":` + strings.Repeat("[", 31<<20): 400,
	} {
		if resp, got := ask(body); resp.StatusCode != want {
			t.Errorf("%.200s: %s %s, want %d", body, resp.Status, got, want)
		}
	}
	if n := len(w.primary.Requests()); n > 0 {
		t.Errorf("%d requests reached the host", n)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/v1/models", nil)
	bearer(clientToken)(req)
	if got := text(t, w.do(req)); !strings.Contains(got, "deepseek-flash") || strings.Contains(got, "deepseek-v4-pro") {
		t.Errorf("models: %s", got)
	}
}

// Answers that are kept are a client's own, unless it shares them.
func TestCall_KeptAnswers(t *testing.T) {
	const third, fourth = "token-of-carol-77e2b1", "token-of-dave-03c9f8"
	w := newWorld(t, func(c *Config) {
		c.Clients = []Client{{Name: "alice", Digests: digests(clientToken)}, {Name: "bob", Digests: digests(otherToken), Scope: "team"}, {Name: "carol", Digests: digests(third), Scope: "team"}, {Name: "dave", Digests: digests(fourth)}}
		c.Options = append(c.Options, breakwater.WithCache(breakwater.CachePolicy{Scope: ClientScope}), breakwater.WithIdempotency(breakwater.IdempotencyPolicy{Scope: ClientScope}))
	})
	for _, tt := range []struct {
		token string
		sent  int // requests at the host, in all
	}{{clientToken, 1}, {clientToken, 1}, {otherToken, 2}, {third, 2}, {clientToken, 2}, {fourth, 3}, {fourth, 3}} {
		if resp, body := w.chat(bearer(tt.token), false); resp.StatusCode != 200 {
			t.Errorf("%s %s", resp.Status, body)
		}
		if n := len(w.primary.Requests()); n != tt.sent {
			t.Errorf("after a call with %s: %d requests at the host, want %d", tt.token, n, tt.sent)
		}
	}
}

// Each client has its own limits, and those of one say nothing to another.
func TestCall_TenantsLimits(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Clients = []Client{{Name: "alice", Digests: digests(clientToken), Limits: &breakwater.TenantLimits{RequestsPerMinute: 2}}, {Name: "bob", Digests: digests(otherToken)}}
	})
	var got []int
	for range 4 {
		resp, _ := w.chat(bearer(clientToken), false)
		got = append(got, resp.StatusCode)
	}
	if !slices.Contains(got, 429) || got[0] != 200 {
		t.Errorf("alice: %v", got)
	}
	if resp, body := w.chat(bearer(otherToken), false); resp.StatusCode != 200 {
		t.Errorf("bob: %s %s", resp.Status, body)
	}
}

// A call goes where its model is, if endpoints have different ones.
func TestCall_ByModel(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Endpoints[0].Models = map[string]string{"big": "deepseek-v4-pro"}
		c.Endpoints[1].Models = map[string]string{"small": "deepseek-ai/DeepSeek-V4-Flash"}
		c.Options = []breakwater.Option{breakwater.WithEndpoints(c.Endpoints...)}
	})
	for model, want := range map[string]string{"big": "primary", "small": "backup"} {
		req, _ := kit.ChatRequest(t.Context(), w.url, "", model, "hello", false)
		resp := w.do(req)
		if resp.StatusCode != 200 || resp.Header.Get("Breakwater-Endpoint") != want || resp.Header.Get("Breakwater-Attempts") != "1" {
			t.Errorf("%s: %s by %s, %s attempts", model, resp.Status, resp.Header.Get("Breakwater-Endpoint"), resp.Header.Get("Breakwater-Attempts"))
		}
	}
	if _, body := w.get("/v1/models"); !strings.Contains(body, `"big"`) || !strings.Contains(body, `"small"`) || strings.Contains(body, "deepseek") {
		t.Errorf("models: %s", body)
	}
}

// What is under way is bounded: calls, and the bytes of their bodies.
func TestCall_Bounds(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		alone(c)
		c.Limits = Limits{Calls: 2, Body: 8 << 10, Bodies: 12 << 10}
	})
	w.primary.Break(kit.BlackHole())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hold := func(size int) {
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/v1/chat/completions", strings.NewReader(strings.Replace(chatBody, "{", "{"+strings.Repeat(" ", size), 1)))
		go func() {
			if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		}()
		for before := w.primary.InFlight(); w.primary.InFlight() == before; {
			time.Sleep(time.Millisecond)
		}
	}
	hold(7 << 10)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/v1/chat/completions", strings.NewReader(strings.Repeat(" ", 7<<10)))
	if resp := w.do(req); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("bodies that are too many: %s", resp.Status)
	}
	hold(0)
	if resp, body := w.chat(nil, false); resp.StatusCode != 503 || !strings.Contains(body, "overloaded") {
		t.Errorf("a third call: %s %s", resp.Status, body)
	}
	cancel()
	for end := time.Now().Add(30 * time.Second); w.server.calls.Load() > 0 || w.server.bodies.held.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d calls and %d bytes are held by nobody", w.server.calls.Load(), w.server.bodies.held.Load())
		}
	}
}

// Connections beyond the bound wait, and are served when one of the others is closed.
func TestCall_Connections(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Limits.Connections = 2 })
	var idle []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", w.server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
	}
	for w.server.connections() < 2 {
		time.Sleep(time.Millisecond)
	}
	served := make(chan string, 1)
	go func() {
		c, err := net.Dial("tcp", w.server.Addr().String())
		if err != nil {
			served <- err.Error()
			return
		}
		defer c.Close()
		io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		answer, _ := io.ReadAll(c)
		served <- string(answer)
	}()
	select {
	case answer := <-served:
		t.Errorf("a third connection was served beside two: %s", answer)
	case <-time.After(50 * time.Millisecond): // it proves nothing if it is slow, and never fails
	}
	idle[0].Close()
	if answer := <-served; !strings.HasPrefix(answer, "HTTP/1.1 200") {
		t.Errorf("the third connection: %s", answer)
	}
}

// certificate writes a certificate for 127.0.0.1, and returns who trusts it.
func certificate(t *testing.T, folder string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	cert, _ := x509.ParseCertificate(der)
	pool.AddCert(cert)
	return pool
}

// With a certificate, clients speak HTTP/1.1 and HTTP/2 over TLS. A new one is in use after Update, and a
// broken one changes nothing.
func TestCall_TLS(t *testing.T) {
	folder := t.TempDir()
	pool := certificate(t, folder)
	tlsFiles := func(c *Config) {
		c.CertFile, c.KeyFile = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	}
	w := newWorld(t, tlsFiles)
	ask := func(pool *x509.CertPool, http2 bool) (string, error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: http2}
		defer transport.CloseIdleConnections()
		req, _ := kit.ChatRequest(t.Context(), w.url, "", "deepseek-flash", "hello", true)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return "", err
		}
		reply, err := kit.ReadAnswer(resp)
		if err == nil && !reply.Done {
			err = io.ErrUnexpectedEOF
		}
		return resp.Proto, err
	}
	for http2, want := range map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"} {
		if got, err := ask(pool, http2); err != nil || got != want {
			t.Errorf("%s: %s, %v", want, got, err)
		}
	}
	again := certificate(t, folder)
	c := w.config()
	tlsFiles(&c)
	if unchanged, err := w.server.Update(c); err != nil || len(unchanged) > 0 {
		t.Errorf("Update: %v, %v", unchanged, err)
	}
	if _, err := ask(again, true); err != nil {
		t.Errorf("the new certificate: %v", err)
	}
	os.WriteFile(filepath.Join(folder, "key.pem"), []byte("no key"), 0o600)
	if _, err := w.server.Update(c); err == nil {
		t.Error("Update takes a broken key")
	}
	if _, err := ask(again, false); err != nil {
		t.Errorf("after a broken key: %v", err)
	}
}

// A client that takes nothing is cut on HTTP/2, too, where it does not hold up the other calls on its connection.
func TestCall_SlowReaderOfHTTP2(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Limits.WriteTime = 300 * time.Millisecond })
	transport := protocols["h2c"]()
	defer transport.CloseIdleConnections()
	w.primary.Break(kit.Huge(16 << 20))
	req, _ := kit.ChatRequest(t.Context(), w.url, "", "deepseek-flash", "hello", true)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	w.await("end=cut")
	if got, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the stream ended cleanly after %d bytes", len(got))
	}
	w.primary.Break(kit.Fault{})
	req, _ = kit.ChatRequest(t.Context(), w.url, "", "deepseek-flash", "hello", true)
	if resp, err := transport.RoundTrip(req); err != nil {
		t.Error(err)
	} else if reply, err := kit.ReadAnswer(resp); err != nil || !reply.Done {
		t.Errorf("another call: %+v, %v", reply, err)
	}
}

// What is wrong with a configuration is said, with what to do, all of it at once and without a token.
func TestConfig_Mistakes(t *testing.T) {
	good := func() Config {
		e := breakwater.DeepSeek("sk-12345678901234")
		return Config{Endpoints: []breakwater.Endpoint{e}, Options: []breakwater.Option{breakwater.WithEndpoints(e)}}
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"nothing":                {func(*Config) {}, ""},
		"no endpoint":            {func(c *Config) { c.Endpoints = nil }, "DEEPSEEK_API_KEY"},
		"no key":                 {func(c *Config) { c.Endpoints[0].APIKey = "" }, "has no key"},
		"every address":          {func(c *Config) { c.Listen = ":8787" }, "openssl rand"},
		"another machine":        {func(c *Config) { c.Listen = "10.0.0.1:8787" }, "not a loopback"},
		"a name":                 {func(c *Config) { c.Listen = "localhost.example.com:8787" }, "not a loopback"},
		"this machine":           {func(c *Config) { c.Listen = "localhost:8787" }, ""},
		"this machine, IPv6":     {func(c *Config) { c.Listen = "[::1]:8787" }, ""},
		"with clients":           {func(c *Config) { c.Listen, c.Clients = ":8787", []Client{{Name: "a", Digests: digests(clientToken)}} }, ""},
		"client without a name":  {func(c *Config) { c.Clients = []Client{{Digests: digests(clientToken)}} }, "has no name"},
		"client without a token": {func(c *Config) { c.Clients = []Client{{Name: "a"}} }, "has no token"},
		"client twice": {func(c *Config) {
			c.Clients = []Client{{Name: "a", Digests: digests("1")}, {Name: "a", Digests: digests("2")}}
		}, "twice"},
		"token twice": {func(c *Config) {
			c.Clients = []Client{{Name: "a", Digests: digests("1")}, {Name: "b", Digests: digests("1")}}
		}, "same token"},
		"half of TLS":        {func(c *Config) { c.CertFile = "cert.pem" }, "certificate and its key"},
		"host with a port":   {func(c *Config) { c.Hosts = []string{"llm.internal:8787"} }, "without a scheme and a port"},
		"host, IPv6":         {func(c *Config) { c.Hosts = []string{"fd00::1"} }, ""},
		"origin with a path": {func(c *Config) { c.Origins = []string{"https://chat.example.com/"} }, "origin"},
		"any origin":         {func(c *Config) { c.Origins = []string{"*"} }, "origin"},
		"forwards keys":      {func(c *Config) { c.ForwardHeaders = []string{"x-api-key"} }, "cannot be forwarded"},
		"forwards a hop":     {func(c *Config) { c.ForwardHeaders = []string{"te"} }, "cannot be forwarded"},
		"negative":           {func(c *Config) { c.Drain = -1 }, "negative"},
		"negative limit":     {func(c *Config) { c.Limits.Calls = -1 }, "negative"},
		"bodies":             {func(c *Config) { c.Limits.Bodies = 1 }, "all bodies together"},
	} {
		c := good()
		tt.change(&c)
		s, err := New(c)
		if s != nil {
			s.Close()
		}
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// A new configuration that would open the door to everybody is refused, and what only a restart changes
// is told.
func TestConfig_Update(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Clients = []Client{{Name: "alice", Digests: digests(clientToken)}} })
	c := w.config()
	c.Listen, c.Drain, c.Limits.Calls = "127.0.0.1:9", time.Hour, 1
	c.Clients = []Client{{Name: "bob", Digests: digests(otherToken)}}
	unchanged, err := w.server.Update(c)
	if err != nil || !slices.Equal(unchanged, []string{"listen", "limits", "drain"}) {
		t.Errorf("Update: %q, %v", unchanged, err)
	}
	for token, want := range map[string]int{clientToken: 401, otherToken: 200} {
		if resp, body := w.chat(bearer(token), false); resp.StatusCode != want {
			t.Errorf("%s: %s %s", token, resp.Status, body)
		}
	}
	c.Options = append(c.Options, breakwater.WithRetry(breakwater.RetryPolicy{Attempts: -7}))
	if _, err := w.server.Update(c); err == nil {
		t.Error("Update takes a wrong policy")
	}
	if resp, _ := w.chat(bearer(otherToken), false); resp.StatusCode != 200 {
		t.Errorf("after a wrong policy: %s", resp.Status)
	}
	// A file whose end is missing is often a right one.
	c = w.config()
	if _, err := w.server.Update(c); err == nil || !strings.Contains(err.Error(), "no clients") {
		t.Errorf("Update without clients: %v", err)
	}
	if resp, _ := w.chat(nil, false); resp.StatusCode != 401 {
		t.Errorf("without a token: %s", resp.Status)
	}
}

// Whatever can be in a path or a Host, the proxy has a status for it.
func TestConfig_HostNames(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Hosts = []string{"LLM.internal", "fd00::1"} })
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:8787": 200, "a.localhost": 200, "localhost.": 200, "127.0.0.1": 200, "127.9.9.9:1": 200, "[::1]": 200, "[::1]:8787": 200, "[::ffff:127.0.0.1]": 200,
		"llm.internal": 200, "llm.INTERNAL:443": 200, "[fd00::1]": 200, "llm.internal.": 200,
		"evil.example": 421, "llm.internal.evil.example": 421, "localhost.evil.example": 421, "0.0.0.0": 421, "[::]": 421, "[fd00::2]": 421, "127.1": 421, "2130706433": 421, "0x7f.1": 421, "xlocalhost": 421, "192.168.0.1": 421,
	} {
		answer := w.raw("POST /v1/chat/completions HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\nContent-Length: " + strconv.Itoa(len(chatBody)) + "\r\n\r\n" + chatBody)
		if got := statuses(answer); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v, want %d", host, fmt.Sprint(got), want)
		}
	}
}

// What a host sends beside its answer does not reach the client: informational responses, and trailers.
func TestCall_BesideTheAnswer(t *testing.T) {
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</evil>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Secret")
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}`)
		w.Header().Set("X-Secret", "s3cret")
		w.Header().Set(http.TrailerPrefix+"X-Other", "s3cret")
	}))
	defer host.Close()
	w := newWorld(t, func(c *Config) {
		c.Endpoints = []breakwater.Endpoint{{Name: "own", URL: host.URL, APIKey: primaryKey}}
		c.Options = []breakwater.Option{breakwater.WithEndpoints(c.Endpoints...)}
	})
	answer := w.raw("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\nTE: trailers\r\nConnection: close, TE\r\nContent-Length: " + strconv.Itoa(len(chatBody)) + "\r\n\r\n" + chatBody)
	if !strings.HasPrefix(answer, "HTTP/1.1 200 OK\r\n") || !strings.Contains(answer, `"hello"`) || !strings.Contains(answer, "X-Request-Id: mine\r\n") {
		t.Errorf("the answer: %s", answer)
	}
	for _, word := range []string{"evil", "s3cret", "Trailer"} {
		if strings.Contains(answer, word) {
			t.Errorf("the answer has %s: %s", word, answer)
		}
	}
}

// Who only watches the process learns no names of endpoints where tokens are needed.
func TestCall_ReadinessTellsNoNames(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		alone(c)
		c.Admin = "127.0.0.1:0"
		c.Clients = []Client{{Name: "alice", Digests: digests(clientToken)}}
		c.Options = append(c.Options, breakwater.WithRetry(breakwater.RetryPolicy{MinDelay: breakwater.Off}), breakwater.WithBreaker(breakwater.BreakerPolicy{OpenFor: time.Hour, MaxOpenFor: time.Hour}))
	})
	w.primary.Break(kit.ServerError())
	for range 20 {
		if w.server.Ready() == nil {
			w.chat(bearer(clientToken), false)
		}
	}
	if resp, body := w.get("/readyz"); resp.StatusCode != 503 || body != "no endpoint is ready\n" {
		t.Errorf("at the address for clients: %s %q", resp.Status, body)
	}
	for host, want := range map[string]int{"localhost": 503, "evil.example": 503} { // a probe may have any name
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.server.AdminAddr().String()+"/readyz", nil)
		req.Host = host
		if resp := w.do(req); resp.StatusCode != want || !strings.Contains(text(t, resp), "primary") {
			t.Errorf("at the address for monitoring, as %s: %s", host, resp.Status)
		}
	}
	for host, want := range map[string]int{"localhost": 200, "evil.example": 421} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.server.AdminAddr().String()+"/metrics", nil)
		req.Host = host
		if resp := w.do(req); resp.StatusCode != want {
			t.Errorf("/metrics as %s: %s", host, resp.Status)
		}
	}
}
