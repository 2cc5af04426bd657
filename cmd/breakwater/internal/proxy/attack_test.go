package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// raw sends bytes to the proxy and returns all that it answers until it closes the connection.
func (w *world) raw(request string) string {
	w.t.Helper()
	c, err := net.Dial("tcp", w.server.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second)) // for a proxy that hangs
	io.WriteString(c, request)
	answer, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		w.t.Errorf("the connection stays open after %q", answer)
	}
	return string(answer)
}

// statuses returns the statuses of the answers in what a connection brought.
func statuses(answer string) (all []int) {
	r := bufio.NewReader(strings.NewReader(answer))
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return all
		}
		io.Copy(io.Discard, resp.Body)
		all = append(all, resp.StatusCode)
	}
}

const chatBody = `{"model":"deepseek-flash","messages":[{"role":"user","content":"hello"}]}`

// authed is what a request of a client of attackWorld has.
var authed = "Authorization: Bearer " + clientToken + "\r\n"

// attackWorld has two clients, one of which may see /status.
func attackWorld(t *testing.T) *world {
	return newWorld(t, func(c *Config) {
		c.Clients = []Client{{Name: "alice", Digests: digests(clientToken)}, {Name: "bob", Digests: digests(otherToken), Admin: true}}
		c.Limits = Limits{Header: 16 << 10, Body: 64 << 10, Bodies: 256 << 10, HeaderTime: 300 * time.Millisecond, BodyTime: 300 * time.Millisecond}
	})
}

// Each row is one connection of an attacker. want are the statuses that he may get; sent is how many requests
// reach a host. None of the rows may bring a key, or more answers than requests.
func TestAttack_Connections(t *testing.T) {
	w := attackWorld(t)
	chat := "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + authed
	length := "Content-Length: " + strconv.Itoa(len(chatBody)) + "\r\n"
	last := "Connection: close\r\n"
	hidden := "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n" // what an attacker would smuggle
	chunked := "Transfer-Encoding: chunked\r\n"
	chunks := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(chatBody), chatBody)
	for _, tt := range []struct {
		name, request string
		want          []int
		sent          int
	}{
		{"as it should be", chat + length + last + "\r\n" + chatBody, []int{200}, 1},
		{"chunked", chat + chunked + last + "\r\n" + chunks, []int{200}, 1},

		// Smuggling: two readers of the connection must not disagree where a request ends.
		{"both lengths", chat + "Content-Length: 4\r\n" + chunked + "\r\n" + chunks + hidden, []int{200}, 1},
		{"two lengths", chat + length + "Content-Length: 4\r\n\r\n" + chatBody, []int{400}, 0},
		{"two lengths in one", chat + "Content-Length: 4, 73\r\n\r\n" + chatBody, []int{400}, 0},
		{"length with a sign", chat + "Content-Length: +73\r\n\r\n" + chatBody, []int{400}, 0},
		{"negative length", chat + "Content-Length: -1\r\n\r\n" + chatBody, []int{400}, 0},
		{"length in hexadecimal", chat + "Content-Length: 0x49\r\n\r\n" + chatBody, []int{400}, 0},
		{"two codings", chat + "Transfer-Encoding: chunked, identity\r\n\r\n" + chunks, []int{501}, 0},
		{"coding twice", chat + chunked + chunked + "\r\n" + chunks, []int{400, 501}, 0},
		{"coding with a tail", chat + "Transfer-Encoding: xchunked\r\n\r\n" + chunks, []int{501}, 0},
		{"coding with a tab", chat + "Transfer-Encoding:\tchunked\r\n" + length + "\r\n" + chunks + hidden, []int{200}, 1},
		{"blank before the colon", chat + "Content-Length : 4\r\n\r\n" + chatBody, []int{400}, 0},
		{"blank in a name", chat + "Content Length: 4\r\n\r\n" + chatBody, []int{400}, 0},
		{"folded line", chat + "X-A: b\r\n c\r\n" + length + last + "\r\n" + chatBody, []int{200, 400}, 1},
		{"NUL in a value", chat + "X-A: b\x00c\r\n" + length + "\r\n" + chatBody, []int{400}, 0},
		{"bare CR in a value", chat + "X-A: b\rContent-Length: 4\r\n" + length + "\r\n" + chatBody, []int{400}, 0},
		{"bare LF", strings.ReplaceAll(chat+length+last+"\r\n", "\r\n", "\n") + chatBody, []int{200, 400}, 1},
		{"chunk with an extension", chat + chunked + last + "\r\n" + fmt.Sprintf("%x;a=b\r\n%s\r\n0\r\n\r\n", len(chatBody), chatBody), []int{200, 400}, 1},
		{"chunk with a bare LF", chat + chunked + "\r\n" + fmt.Sprintf("%x\n%s\r\n0\r\n\r\n", len(chatBody), chatBody), []int{400}, 0},
		{"chunk with a huge size", chat + chunked + "\r\nffffffffffffffffff\r\n" + chatBody, []int{400}, 0},
		{"chunk without an end", chat + chunked + "\r\n" + fmt.Sprintf("%x\r\n%sxx", len(chatBody), chatBody), []int{400, 408}, 0},
		{"trailers", chat + chunked + "Trailer: Authorization\r\n" + last + "\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\nAuthorization: Bearer %s\r\n\r\n", len(chatBody), chatBody, otherToken), []int{200, 400}, 1},
		{"a body on a GET", "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + authed + "Content-Length: " + strconv.Itoa(len(hidden)) + "\r\n" + last + "\r\n" + hidden, []int{200}, 1},

		// Not an open relay, and no other host.
		{"URL of a stranger", "POST http://evil.example/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + authed + length + last + "\r\n" + chatBody, []int{421}, 0},
		{"URL of the host", "POST https://api.deepseek.com/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + authed + length + last + "\r\n" + chatBody, []int{421}, 0},
		{"URL of this machine", "POST http://127.0.0.1/v1/chat/completions HTTP/1.1\r\nHost: evil.example\r\n" + authed + length + last + "\r\n" + chatBody, []int{200}, 1},
		{"URL with a user", "POST http://localhost@evil.example/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + authed + length + last + "\r\n" + chatBody, []int{421}, 0},
		{"CONNECT", "CONNECT api.deepseek.com:443 HTTP/1.1\r\nHost: api.deepseek.com:443\r\n" + last + "\r\n", []int{405}, 0},
		{"CONNECT to itself", "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n" + last + "\r\n", []int{405}, 0},
		{"TRACE", "TRACE /v1/models HTTP/1.1\r\nHost: localhost\r\n" + authed + last + "\r\n", []int{405}, 0},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n" + authed + last + "\r\n", []int{200, 404, 405}, 0},
		{"another host's name", strings.Replace(chat, "localhost", "evil.example", 1) + length + last + "\r\n" + chatBody, []int{421}, 0},
		{"name that begins well", strings.Replace(chat, "localhost", "localhost.evil.example", 1) + length + last + "\r\n" + chatBody, []int{421}, 0},
		{"address that begins well", strings.Replace(chat, "localhost", "127.0.0.1.evil.example", 1) + length + last + "\r\n" + chatBody, []int{421}, 0},
		{"no Host", "POST /v1/chat/completions HTTP/1.1\r\n" + authed + length + last + "\r\n" + chatBody, []int{400}, 0},
		{"two Hosts", strings.Replace(chat, "localhost\r\n", "localhost\r\nHost: evil.example\r\n", 1) + length + last + "\r\n" + chatBody, []int{400}, 0},
		{"Host with a path", strings.Replace(chat, "localhost", "localhost/evil", 1) + length + last + "\r\n" + chatBody, []int{400, 421}, 0},
		{"empty Host", strings.Replace(chat, "localhost", "", 1) + length + last + "\r\n" + chatBody, []int{400}, 0},

		// Other protocols.
		{"HTTP/0.9", "GET /v1/models\r\n", []int{400}, 0},
		{"HTTP/1.0", "POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\n" + authed + length + "\r\n" + chatBody, []int{200}, 1},
		{"HTTP/3.7", "GET /v1/models HTTP/3.7\r\nHost: localhost\r\n\r\n", []int{400, 505}, 0},
		{"WebSocket", chat + length + "Upgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n" + chatBody, []int{200}, 1},
		{"upgrade to h2c", chat + length + "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings, close\r\n\r\n" + chatBody, []int{200}, 1},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", []int{400}, 0},
		{"noise", "\xff\xfe\x00\x01\r\n\r\n", []int{400}, 0},

		// Bombs.
		{"header of 1 MiB", chat + "X-A: " + strings.Repeat("a", 1<<20) + "\r\n" + length + "\r\n" + chatBody, []int{431}, 0},
		{"30,000 headers", chat + strings.Repeat("X-A: b\r\n", 30_000) + length + "\r\n" + chatBody, []int{431}, 0},
		{"URL of 1 MiB", "GET /v1/models?" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: localhost\r\n" + authed + last + "\r\n", []int{431, 414}, 0},
		{"body that says it is huge", chat + "Content-Length: 99999999999\r\n\r\n" + chatBody, []int{413}, 0},
		{"body that is too large", chat + chunked + "\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 65<<10, strings.Repeat(" ", 65<<10)), []int{413}, 0},
		{"compressed body", chat + "Content-Encoding: gzip\r\nContent-Length: " + strconv.Itoa(len(bomb())) + "\r\n" + last + "\r\n" + bomb(), []int{415}, 0},
		{"compressed twice", chat + "Content-Encoding: identity, gzip\r\n" + length + last + "\r\n" + chatBody, []int{415}, 0},
		{"expects what never comes", chat + length + "Expect: 200-ok\r\n" + last + "\r\n" + chatBody, []int{417}, 0},

		// Slow ones: they are cut after the time for a header or a body.
		{"half a line", "POST /v1/chat", []int{400}, 0},
		{"half a header", "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-", []int{400}, 0},
		{"half a body", chat + length + "\r\n" + chatBody[:10], []int{408}, 0},
		{"no body", chat + chunked + "\r\n", []int{408}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.t = t
			w.primary.Forget()
			answer := w.raw(tt.request)
			got := statuses(answer)
			fits := len(got) == 0 && len(tt.want) == 0
			for _, status := range tt.want {
				fits = fits || len(got) == 1 && got[0] == status
			}
			if !fits {
				t.Errorf("answered %v, want one of %v: %.300q", got, tt.want, answer)
			}
			if n := len(w.primary.Requests()); n > tt.sent {
				t.Errorf("%d requests reached the host, want %d", n, tt.sent)
			}
			harmless(t, w, answer)
		})
	}
	w.t = t
}

// harmless reports what no attack may bring about.
func harmless(t *testing.T, w *world, answer string) {
	t.Helper()
	for _, key := range []string{primaryKey, backupKey, clientToken, otherToken} {
		if strings.Contains(answer, key) {
			t.Errorf("the answer has a key: %q", answer)
		}
	}
	for _, host := range []*kit.Server{w.primary, w.backup} {
		for _, r := range host.Requests() {
			if r.Key != primaryKey && r.Key != backupKey || r.Method == http.MethodPost && string(r.Body) != chatBody {
				t.Errorf("%s got %s %s with the key %q: %q", host.Name(), r.Method, r.Path, r.Key, r.Body)
			}
			for name := range r.Header {
				switch name {
				case "Accept", "Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "User-Agent", "X-Api-Key":
				default:
					t.Errorf("%s got the header %s", host.Name(), name)
				}
			}
			if r.RawQuery != "" || strings.Contains(r.Path, "..") {
				t.Errorf("%s got %s?%s", host.Name(), r.Path, r.RawQuery)
			}
		}
	}
}

// bomb is a small body that would be large.
func bomb() string {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(make([]byte, 16<<20))
	z.Close()
	return packed.String()
}

// A path is served if it is written as the proxy has it, and refused otherwise: nothing decodes, cleans or
// completes it.
func TestAttack_Paths(t *testing.T) {
	w := attackWorld(t)
	for _, path := range []string{
		"/v1/../v1/chat/completions", "/v1/%2e%2e/v1/chat/completions", "/v1/.%2e/user/balance", "/v1/chat/completions/../../../user/balance", "//v1/chat/completions", "/v1//chat/completions",
		"/v1/chat/completions/", "/v1/chat/completions;a=b", "/v1;/chat/completions", "/v1/chat%2fcompletions", "/v1%2Fchat/completions", "/v1/%63hat/completions",
		`/v1\chat\completions`, `/v1/chat/completions/..\..\user`, "/v1/chat/completions%00", "/v1/chat/completions%0d%0aX-A:b", "/V1/chat/completions", "/v1/chat/completions%20", "/v1/chat/completions.",
		"/anthropic/v1/messages/../../user/balance", "/anthropic/v1/messages/count_tokens", "/user/balance", "/v1/files", "/v1/user/balance", "/beta/../user/balance", "/v1/models/../user/balance", "/v1/models/..%2fuser%2fbalance",
		"/anthropic//v1/messages", "/http://evil.example/v1/chat/completions", "/@evil.example/v1/chat/completions", "/v1/chat/completions%3fa=b", "/v1/chat/completions/%2e", "/debug/pprof/", "/", "/favicon.ico", "/v1",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
			w.primary.Forget()
			answer := w.raw(method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + authed + "Connection: close\r\nContent-Length: 0\r\n\r\n")
			got := statuses(answer)
			if len(got) != 1 || got[0] != 400 && got[0] != 404 && got[0] != 405 {
				t.Errorf("%s %s: %v", method, path, got)
			}
			for _, r := range w.primary.Requests() {
				if r.Path != "/models" {
					t.Errorf("%s %s brought %s %s to the host", method, path, r.Method, r.Path)
				}
			}
		}
	}
	for path, methods := range map[string][]string{
		"/v1/chat/completions": {"GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"}, "/v1/models": {"POST", "DELETE", "PUT"},
	} {
		for _, method := range methods {
			answer := w.raw(method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + authed + "Connection: close\r\nContent-Length: 0\r\n\r\n")
			if !strings.HasPrefix(answer, "HTTP/1.1 405 ") || !strings.Contains(answer, "\r\nAllow: ") {
				t.Errorf("%s %s: %.100q", method, path, answer)
			}
		}
	}
}

// Only a whole token opens, in one of the headers of API keys.
func TestAttack_Tokens(t *testing.T) {
	w := attackWorld(t)
	for _, tt := range []struct {
		name    string
		headers []string // name, value, …
		query   string
		want    int
	}{
		{"bearer", []string{"Authorization", "Bearer " + clientToken}, "", 200},
		{"bearer in small letters", []string{"Authorization", "bearer " + clientToken}, "", 200},
		{"Anthropic's header", []string{"X-Api-Key", clientToken}, "", 200},
		{"Azure's header", []string{"Api-Key", clientToken}, "", 200},
		{"twice the same", []string{"X-Api-Key", clientToken, "Authorization", "Bearer " + clientToken}, "", 200},
		{"none", nil, "", 401},
		{"empty", []string{"Authorization", ""}, "", 401},
		{"scheme alone", []string{"Authorization", "Bearer"}, "", 401},
		{"scheme and a blank", []string{"Authorization", "Bearer "}, "", 401},
		{"wrong", []string{"Authorization", "Bearer " + strings.Repeat("x", len(clientToken))}, "", 401},
		{"beginning", []string{"Authorization", "Bearer " + clientToken[:len(clientToken)-1]}, "", 401},
		{"more", []string{"Authorization", "Bearer " + clientToken + "x"}, "", 401},
		{"in capitals", []string{"Authorization", "Bearer " + strings.ToUpper(clientToken)}, "", 401},
		{"without a scheme", []string{"Authorization", clientToken}, "", 401},
		{"another scheme", []string{"Authorization", "Basic " + clientToken}, "", 401},
		{"two", []string{"Authorization", "Bearer x", "Authorization", "Bearer " + clientToken}, "", 401},
		{"two in one", []string{"Authorization", "Bearer x, Bearer " + clientToken}, "", 401},
		{"of two clients", []string{"X-Api-Key", otherToken, "Authorization", "Bearer " + clientToken}, "", 401},
		{"one of two wrong", []string{"X-Api-Key", "x", "Authorization", "Bearer " + clientToken}, "", 401},
		{"in the query", nil, "?api_key=" + clientToken + "&key=" + clientToken, 401},
		{"in a cookie", []string{"Cookie", "token=" + clientToken}, "", 401},
		{"for a proxy", []string{"Proxy-Authorization", "Bearer " + clientToken}, "", 401},
		{"the host's own key", []string{"Authorization", "Bearer " + primaryKey}, "", 401},
		{"the digest", []string{"Authorization", fmt.Sprintf("Bearer %x", digests(clientToken)[0])}, "", 401},
		{"named as about the connection", []string{"Authorization", "Bearer " + clientToken, "Connection", "Authorization"}, "", 200},
	} {
		w.primary.Forget()
		head := "POST /v1/chat/completions" + tt.query + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
		for i := 0; i < len(tt.headers); i += 2 {
			head += tt.headers[i] + ": " + tt.headers[i+1] + "\r\n"
		}
		answer := w.raw(head + "Content-Length: " + strconv.Itoa(len(chatBody)) + "\r\n\r\n" + chatBody)
		if got := statuses(answer); len(got) != 1 || got[0] != tt.want {
			t.Errorf("%s: %v, want %d", tt.name, got, tt.want)
		}
		if n := len(w.primary.Requests()); n != 0 && tt.want != 200 {
			t.Errorf("%s: %d requests reached the host", tt.name, n)
		}
		if tt.want == 401 && !strings.Contains(answer, "invalid_api_key") {
			t.Errorf("%s: %s", tt.name, answer)
		}
		harmless(t, w, answer)
	}
	for path, want := range map[string][3]int{"/status": {401, 403, 200}, "/metrics": {401, 403, 200}, "/livez": {200, 200, 200}, "/readyz": {200, 200, 200}, "/nowhere": {401, 404, 404}} {
		for i, token := range []string{"wrong", clientToken, otherToken} {
			answer := w.raw("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer " + token + "\r\n\r\n")
			if got := statuses(answer); len(got) != 1 || got[0] != want[i] {
				t.Errorf("%s with token %d: %v, want %d", path, i, got, want[i])
			}
		}
	}
}

// What a client says of itself and of its connection reaches no host, and changes nothing.
func TestAttack_Headers(t *testing.T) {
	w := attackWorld(t)
	for _, lines := range []string{
		"Connection: close, Authorization, X-Api-Key, Content-Type\r\n", "Proxy-Connection: keep-alive\r\n", "TE: trailers\r\n", "Keep-Alive: timeout=1000\r\n",
		"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nForwarded: for=127.0.0.1\r\n", "X-Real-IP: 127.0.0.1\r\nX-Original-URL: /status\r\nX-Rewrite-URL: /status\r\nX-HTTP-Method-Override: GET\r\n",
		"Api-Key:" + clientToken + "\r\nX-Goog-Api-Key: abc\r\nCookie: a=b\r\nX-Auth-Token: abc\r\nOpenai-Organization: org-1\r\nOpenai-Project: p\r\n",
		"Breakwater-Endpoint: evil\r\nBreakwater-Outcome: ok\r\n", "X-Request-Id: a\"b\r\n", "X-Request-Id: " + strings.Repeat("a", 129) + "\r\n", "X-Stainless-Timeout: 1e400\r\n", "X-Stainless-Timeout: -1\r\n", "X-Stainless-Timeout: NaN\r\n",
		"Range: bytes=0-1\r\nIf-None-Match: *\r\n", "Accept-Encoding: gzip, br\r\n", "Proxy-Authenticate: x\r\nTrailer: Authorization\r\nSec-Fetch-Site: none\r\n",
	} {
		w.primary.Forget()
		answer := w.raw("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + authed + lines + "Connection: close\r\nContent-Length: " + strconv.Itoa(len(chatBody)) + "\r\n\r\n" + chatBody)
		if got := statuses(answer); len(got) != 1 || got[0] != 200 {
			t.Errorf("%q: %v %.300q", lines, got, answer)
		}
		if strings.Contains(answer, "evil") || strings.Contains(answer, `a"b`) || strings.Contains(answer, strings.Repeat("a", 129)) {
			t.Errorf("%q is in the answer: %s", lines, answer)
		}
		harmless(t, w, answer)
	}
}

// A web page must not spend the money of who has a proxy on his machine. Its requests have an Origin, and
// those of a name that leads to the machine another Host.
func TestAttack_WebPages(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Origins = []string{"https://chat.example.com"} })
	host := w.server.Addr().String()
	for _, tt := range []struct {
		head string
		want int
		cors bool
	}{
		{"Origin: https://evil.example\r\nContent-Type: text/plain\r\n", 403, false},
		{"Origin: null\r\n", 403, false},
		{"Origin: http://localhost:3000\r\n", 403, false},
		{"Sec-Fetch-Site: cross-site\r\n", 403, false},
		{"Sec-Fetch-Site: same-site\r\n", 403, false},
		{"Origin: https://chat.example.com.evil.example\r\n", 403, false},
		{"Origin: https://chat.example.com\r\nOrigin: https://evil.example\r\n", 403, false},
		{"Origin: https://chat.example.com\r\nSec-Fetch-Site: cross-site\r\n", 200, true},
		{"Origin: http://" + host + "\r\nSec-Fetch-Site: same-origin\r\n", 200, false},
		{"", 200, false},
	} {
		w.primary.Forget()
		answer := w.raw("POST /v1/chat/completions HTTP/1.1\r\nHost: " + host + "\r\n" + tt.head + "Connection: close\r\nContent-Length: " + strconv.Itoa(len(chatBody)) + "\r\n\r\n" + chatBody)
		if got := statuses(answer); len(got) != 1 || got[0] != tt.want {
			t.Errorf("%q: %v, want %d", tt.head, got, tt.want)
		}
		if cors := strings.Contains(answer, "Access-Control-Allow-Origin: https://chat.example.com\r\n"); cors != tt.cors || strings.Contains(answer, "Allow-Origin: *") {
			t.Errorf("%q: %s", tt.head, answer)
		}
		if n := len(w.primary.Requests()); n != 0 && tt.want != 200 {
			t.Errorf("%q: %d requests reached the host", tt.head, n)
		}
	}
	for origin, want := range map[string]int{"https://evil.example": 403, "https://chat.example.com": 204} {
		answer := w.raw("OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: " + host + "\r\nOrigin: " + origin + "\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,content-type\r\nConnection: close\r\n\r\n")
		if got := statuses(answer); len(got) != 1 || got[0] != want {
			t.Errorf("a preflight of %s: %v, want %d", origin, got, want)
		}
	}
}

// A client that takes nothing of its answer is cut, and the call ends at the host. One whose model is slow is
// not.
func TestAttack_SlowReader(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Limits.WriteTime = 300 * time.Millisecond
		c.Stream.MaxBuffer = breakwater.Off
	})
	w.primary.Break(kit.Huge(64 << 20))
	c, err := net.Dial("tcp", w.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	body := strings.Replace(chatBody, "{", `{"stream":true,`, 1)
	io.WriteString(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body)
	w.await("end=cut")
	w.primary.Break(kit.Fault{})
	w.primary.SetPace(kit.Pace{PerToken: 400 * time.Millisecond, Tokens: 3})
	req, _ := kit.ChatRequest(t.Context(), w.url, "k", "deepseek-flash", "hello", true)
	if reply, err := kit.ReadAnswer(w.do(req)); err != nil || !reply.Done {
		t.Errorf("a slow model: %+v, %v", reply, err)
	}
}

// await waits until the log has some words.
func (w *world) await(words string) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(w.log.String(), words); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("the log has no %q: %s", words, w.log)
		}
	}
}

// HTTP/2 has the name of the host in a field of its own, and another way to begin a tunnel.
func TestAttack_HTTP2(t *testing.T) {
	w := attackWorld(t)
	transport := protocols["h2c"]()
	defer transport.CloseIdleConnections()
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		want   int // 0: an error
	}{
		{"as it should be", func(*http.Request) {}, 200},
		{"another host's name", func(r *http.Request) { r.Host = "evil.example" }, 421},
		{"name with a path", func(r *http.Request) { r.Host = "localhost/evil" }, 0},
		{"two names", func(r *http.Request) { r.Header["Host"] = []string{"evil.example"} }, 200},
		{"about the connection", func(r *http.Request) { r.Header["Connection"] = []string{"close"} }, 200},
		{"a coding", func(r *http.Request) { r.Header["Transfer-Encoding"] = []string{"gzip"} }, 0},
		{"another length", func(r *http.Request) { r.ContentLength += 5 }, 0},
		{"CONNECT", func(r *http.Request) { r.Method = http.MethodConnect }, 405},
		{"TRACE", func(r *http.Request) { r.Method = http.MethodTrace }, 405},
		{"no token", func(r *http.Request) { r.Header.Del("Authorization") }, 401},
		{"large header", func(r *http.Request) { r.Header.Set("X-A", strings.Repeat("a", 1<<20)) }, 0},
		{"large body", func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat(" ", 65<<10))), -1
		}, 413},
		{"compressed", func(r *http.Request) { r.Header.Set("Content-Encoding", "br") }, 415},
	} {
		w.primary.Forget()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/v1/chat/completions", strings.NewReader(chatBody))
		req.GetBody = nil
		req.Header.Set("Authorization", "Bearer "+clientToken)
		tt.change(req)
		resp, err := transport.RoundTrip(req)
		got := 0
		if err == nil {
			got = resp.StatusCode
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				got = 0
			}
			resp.Body.Close()
		}
		if got != tt.want && !(tt.want == 0 && got >= 400) {
			t.Errorf("%s: %d, %v, want %d", tt.name, got, err, tt.want)
		}
		if n := len(w.primary.Requests()); n > 0 && tt.want != 200 {
			t.Errorf("%s: %d requests reached the host", tt.name, n)
		}
		harmless(t, w, "")
	}
}

// A connection of HTTP/2 that brings no request is closed when it was idle for long enough.
func TestAttack_SlowHTTP2(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Limits.IdleTime, c.Limits.HeaderTime = 300*time.Millisecond, 300*time.Millisecond })
	const preface, settings = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for name, sent := range map[string]string{
		"half a preface":         preface[:10],
		"preface":                preface,
		"settings":               preface + settings,
		"half a frame":           preface + settings + "\x00\x00\x20\x01\x04\x00\x00",
		"header without its end": preface + settings + "\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82", // no END_HEADERS
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.raw(sent)
		})
	}
	w.t = t
}
