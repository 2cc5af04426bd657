package breakwater

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// A default New() under a client changes nothing that client or server can
// see, for all that is no inference: a real server on loopback, asked through
// the bare transport and through ours.
func TestTransparent_PassThrough(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(serveOddly))
	defer server.Close()
	base := newBase()
	defer base.CloseIdleConnections()
	rt, err := New(WithBase(base))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, method, path string
		body               func() io.Reader
		header             http.Header
	}{
		{"get", "GET", "/models", nil, nil},
		{"head", "HEAD", "/models", nil, nil},
		{"post", "POST", "/files", func() io.Reader { return strings.NewReader("a file") }, nil},
		{"post of unknown length", "POST", "/files", func() io.Reader { return io.MultiReader(strings.NewReader("a "), strings.NewReader("file")) }, nil},
		{"post without a body", "POST", "/files", nil, nil},
		{"post with NoBody", "POST", "/files", func() io.Reader { return http.NoBody }, nil},
		{"expect 100-continue", "POST", "/files", func() io.Reader { return strings.NewReader("a file") }, http.Header{"Expect": {"100-continue"}}},
		{"get of an operation's path", "GET", "/chat/completions", nil, nil},
		{"options of an operation's path", "OPTIONS", "/v1/chat/completions", nil, nil},
		{"another operation", "POST", "/v1/embeddings", func() io.Reader { return strings.NewReader(`{"input":"x"}`) }, nil},
		{"gzip by the transport", "GET", "/gzip", nil, nil},
		{"gzip by the caller", "GET", "/gzip", nil, http.Header{"Accept-Encoding": {"gzip"}}},
		{"trailers", "GET", "/trailers", nil, nil},
		{"early hints", "GET", "/hints", nil, nil},
		{"switching protocols", "GET", "/upgrade", nil, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"echo"}}},
		{"redirect", "GET", "/redirect", nil, http.Header{"Authorization": {"Bearer sk-mine"}}},
		{"redirect of a post", "POST", "/redirect", func() io.Reader { return strings.NewReader("a file") }, nil},
		{"huge headers", "GET", "/huge", nil, http.Header{"X-Huge": {strings.Repeat("x", 64<<10)}}},
		{"no content", "GET", "/204", nil, nil},
		{"not modified", "GET", "/304", nil, nil},
		{"server error", "POST", "/500", nil, nil},
		{"cut", "GET", "/cut", nil, nil},
		{"query and fragment", "GET", "/models?a=b%20c&d#e", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			see := func(rt http.RoundTripper) string {
				var body io.Reader
				if tt.body != nil {
					body = tt.body()
				}
				var hints []string
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
					Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
						hints = append(hints, fmt.Sprint(code, h))
						return nil
					},
				})
				req, err := http.NewRequestWithContext(ctx, tt.method, server.URL+tt.path, body)
				if err != nil {
					t.Fatal(err)
				}
				maps.Copy(req.Header, tt.header)
				resp, err := (&http.Client{Transport: rt}).Do(req)
				return allOf(resp, err) + strings.Join(hints, " ")
			}
			if got, want := see(rt), see(base); got != want {
				t.Errorf("through breakwater:\n%s\nthrough the bare transport:\n%s", got, want)
			}
		})
	}
}

// allOf tells all a caller can see of a response.
func allOf(resp *http.Response, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	defer resp.Body.Close()
	var body string
	if conn, ok := resp.Body.(io.ReadWriter); ok {
		fmt.Fprint(conn, "hello\n")
		body, err = bufio.NewReader(conn).ReadString('\n')
	} else {
		var text []byte
		text, err = io.ReadAll(resp.Body)
		body = string(text)
	}
	delete(resp.Header, "Date")
	return fmt.Sprintf("%s %s length %d %q uncompressed %v chunked %v\nheader %v\ntrailer %v\nbody %q, %v\nurl %s %s %v\n",
		resp.Proto, resp.Status, resp.ContentLength, resp.TransferEncoding, resp.Uncompressed, resp.Close, resp.Header, resp.Trailer, body, err,
		resp.Request.Method, resp.Request.URL, resp.Request.Header)
}

// serveOddly does what servers may do, and says what it was asked.
func serveOddly(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/gzip":
		w.Header().Set("Content-Encoding", "gzip")
		packed := gzip.NewWriter(w)
		fmt.Fprint(packed, "packed")
		packed.Close()
	case "/trailers":
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(w, "body")
		w.Header().Set("X-Sum", "42")
	case "/hints":
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, "body")
	case "/upgrade":
		conn, buffered, _ := w.(http.Hijacker).Hijack()
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := buffered.ReadString('\n')
		fmt.Fprint(conn, line)
	case "/redirect":
		http.Redirect(w, r, "/models", http.StatusTemporaryRedirect)
	case "/204":
		w.WriteHeader(http.StatusNoContent)
	case "/304":
		w.WriteHeader(http.StatusNotModified)
	case "/500":
		http.Error(w, "down", http.StatusInternalServerError)
	case "/cut":
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
		panic(http.ErrAbortHandler)
	default:
		if strings.HasPrefix(r.URL.Path, "/huge") {
			w.Header().Set("X-Huge", r.Header.Get("X-Huge"))
		}
		body, _ := io.ReadAll(r.Body)
		names := slices.Sorted(maps.Keys(r.Header))
		fmt.Fprintln(w, r.Method, r.RequestURI, r.ContentLength, r.TransferEncoding, names, r.Header.Get("Authorization"), string(body))
	}
}

// The same for inference while all is well: status, headers but our own, and
// body are those of the host; the host sees what the caller sent. Only the
// length of a JSON answer is known now, where the host sent it in chunks.
func TestTransparent_InferenceWhileAllIsWell(t *testing.T) {
	fleet, err := kit.NewFleet(kit.DeepSeek("host"))
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	host := fleet.Server("host")
	base := newBase()
	defer base.CloseIdleConnections()
	rt, err := New(WithBase(base))
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []bool{false, true} {
		see := func(rt http.RoundTripper) (caller, server string) {
			host.Forget()
			req, err := kit.ChatRequest(t.Context(), host.URL(), "sk-mine", testModel, "q", stream)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Mine", "kept")
			resp, err := (&http.Client{Transport: rt}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			for _, other := range []string{headerEndpoint, headerAttempts, headerOutcome, "Date", "X-Ds-Trace-Id"} { // ours, and what is another each time
				resp.Header.Del(other)
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			id := regexp.MustCompile(`"(id|created)":("[^"]*"|\d+)`)
			got := host.Requests()[0]
			return fmt.Sprintln(resp.Proto, resp.Status, resp.Header, err) + id.ReplaceAllString(string(text), `"$1":0`),
				fmt.Sprint(got.Method, got.Path, got.RawQuery, got.Header, string(got.Body))
		}
		caller, server := see(rt)
		wantCaller, wantServer := see(base)
		if caller != wantCaller {
			t.Errorf("stream %v: the caller sees\n%s\nand through the bare transport\n%s", stream, caller, wantCaller)
		}
		if server != wantServer {
			t.Errorf("stream %v: the host sees\n%s\nand through the bare transport\n%s", stream, server, wantServer)
		}
	}
}

// A request that breakwater cannot even look at goes to the base, which says
// what is wrong with it, and its body is closed.
func TestTransparent_RequestsWithoutURL(t *testing.T) {
	rt, err := New()
	if err != nil {
		t.Fatal(err)
	}
	body := &fakehost.Body{Reader: strings.NewReader("x")}
	resp, err := rt.RoundTrip(&http.Request{Method: http.MethodPost, Header: http.Header{}, Body: body})
	if resp != nil || err == nil || body.Closed() != 1 {
		t.Errorf("RoundTrip = %v, %v, body closed %d times, want an error and once", resp, err, body.Closed())
	}
}

// Many callers at once through one Transport, streams and JSON, on loopback:
// everyone gets its own answer.
func TestTransparent_ManyCallersAtOnce(t *testing.T) {
	fleet, err := kit.NewFleet(kit.DeepSeek("a"), kit.DeepSeek("b"))
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	client, err := NewClient(
		WithEndpoints(Endpoint{Name: "a", URL: fleet.Server("a").URL(), APIKey: "sk-a"}, Endpoint{Name: "b", URL: fleet.Server("b").URL(), APIKey: "sk-b"}),
		WithCache(CachePolicy{}), WithRateLimit(RatePolicy{InFlight: 8}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for caller := range 16 {
		wg.Go(func() {
			for i := range 25 {
				prompt := fmt.Sprint("caller ", caller, " question ", i%20)
				req, err := kit.ChatRequest(context.Background(), fleet.Server("a").URL(), "", testModel, prompt, i%2 == 0)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				if reply, err := kit.ReadAnswer(resp); err != nil || reply.Content != kit.Answer(prompt) {
					t.Errorf("%q was answered %q, %v", prompt, reply.Content, err)
				}
			}
		})
	}
	wg.Wait()
}

type slowError struct{}

func (slowError) Error() string { return "slow" }

func (slowError) Timeout() bool { return true }

// What is no inference fails as it would without breakwater, under the user's
// attempt middleware, too: url.Error asks its error itself whether time ran out.
func TestTransparent_ErrorsOfOthersAreTheBases(t *testing.T) {
	rt := over(t, newHosts(func(*http.Request) (*http.Response, error) { return nil, slowError{} }),
		WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper { return next }))
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://a/models", nil)
	if _, err := rt.RoundTrip(req); err != (slowError{}) {
		t.Errorf("RoundTrip = %#v, want the base's error", err)
	}
}

// A request without headers, which http.Client never makes, is one like others.
func TestTransparent_RequestsWithoutHeaders(t *testing.T) {
	rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithEndpoints(at("a")...))
	for _, path := range []string{"/models", "/chat/completions"} {
		req := &http.Request{Method: http.MethodGet, URL: mustURL(t, "https://a"+path)}
		if path != "/models" {
			req.Method, req.Body = http.MethodPost, io.NopCloser(strings.NewReader(chatJSON))
		}
		resp, err := rt.RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: %v, %v", path, resp, err)
			continue
		}
		resp.Body.Close()
		if req.Header != nil {
			t.Errorf("%s: the caller's request was changed", path)
		}
	}
}

// An answer comes in a form that can be judged, whatever the caller would unpack.
func TestTransparent_InferenceAsksForNothingPacked(t *testing.T) {
	var asked []string
	base := newHosts(func(req *http.Request) (*http.Response, error) {
		asked = req.Header.Values("Accept-Encoding")
		return answer(200, asJSON, goodJSON), nil
	})
	got := asks(t.Context(), over(t, base), chatJSON, func(req *http.Request) { req.Header.Set("Accept-Encoding", "br") })
	if got.body != goodJSON || len(asked) != 0 {
		t.Errorf("%v came, and the host was asked for the codings %q, want none", got, asked)
	}
}
