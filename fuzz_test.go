package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/recast"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A fuzzedHost is a host that the fuzzer drives: any status, any headers, any
// bytes in any chunks, with any pauses between them, and any end.
type fuzzedHost struct {
	script []byte
	sent   []string // the body of each attempt, as far as it was read
}

// pieces stand for the high bytes of a script, so that the fuzzer need not
// find a whole event byte by byte.
var pieces = []string{
	goodEvent, endEvent, doneEvent, ": keep-alive\n\n", "\n", "\r\n", "data: ", goodJSON, `{"error":{"code":429,"message":"m"}}`, "data: {\"error\":\"x\"}\n\n",
	`{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`, `{"choices":[{"index":0,"finish_reason":"insufficient_system_resource"}]}`,
	"event: ping\ndata: {\"type\":\"ping\"}\n\n",
	"data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1}}}\n\n",
	"data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n",
	"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":1}}\n\n",
	"data: {\"type\":\"message_stop\"}\n\n",
	"data: {\"type\":\"response.created\",\"response\":{\"status\":\"in_progress\"}}\n\n",
	"data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n",
	"data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"output\":[]}}\n\n",
	"data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\"}}}\n\n",
	`{"type":"message","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn"}`,
	`{"object":"response","status":"completed","output":[]}`, "data: {\"choices\":[{\"index\":0,\"text\":\"a\"}]}\n\n",
}

// next takes one byte off the script.
func (h *fuzzedHost) next() byte {
	if len(h.script) == 0 {
		return 0
	}
	b := h.script[0]
	h.script = h.script[1:]
	return b
}

func (h *fuzzedHost) answers(req *http.Request) (*http.Response, error) {
	status := []int{200, 200, 200, 200, 200, 201, 204, 302, 307, 400, 401, 402, 403, 404, 408, 422, 429, 500, 502, 503, 529, 999, 100}[h.next()%23]
	resp := answer(status, []string{asStream, asJSON, "", "text/html", "text/event-stream; charset=utf-8", "application/octet-stream"}[h.next()%6], "")
	if names := []string{"Retry-After", "Retry-After-Ms", "Content-Encoding", "Content-Length", "X-Should-Retry", headerError, "X-Ratelimit-Reset"}; h.next() > 127 {
		resp.Header.Set(names[h.next()%7], []string{"1", "-1", "1e300", "gzip", "identity", "999999999999999999999", "NaN"}[h.next()%7])
	}
	how, n := h.next(), int(h.next())
	var text []byte
	for range min(n, len(h.script)) {
		if b := h.next(); b >= 0xE0 {
			text = append(text, pieces[int(b-0xE0)%len(pieces)]...)
		} else {
			text = append(text, b)
		}
	}
	body := &fuzzedBody{ctx: req.Context(), host: h, attempt: len(h.sent), text: text, how: how}
	h.sent = append(h.sent, "")
	resp.Body = body
	if how&0xF0 == 0xF0 {
		return nil, errors.New("reset")
	}
	return resp, nil
}

// A fuzzedBody gives out its text in chunks, with pauses, and ends as it likes.
type fuzzedBody struct {
	ctx     context.Context
	host    *fuzzedHost
	attempt int
	text    []byte
	how     byte
	read    int
	closed  atomic.Bool // by a clock's goroutine, too
}

func (b *fuzzedBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	b.read++
	pause := []time.Duration{0, 0, 100 * time.Millisecond, 3 * time.Second}[b.how>>2&3]
	if pause > 0 && b.read%3 == 0 {
		if err := sleep(b.ctx, pause); err != nil {
			return 0, err
		}
	}
	if len(b.text) == 0 {
		switch b.how & 3 {
		case 1:
			return 0, errors.New("reset")
		case 2:
			<-b.ctx.Done()
			return 0, b.ctx.Err()
		case 3: // keep-alives for ever
			if err := sleep(b.ctx, time.Second); err != nil {
				return 0, err
			}
			b.host.sent[b.attempt] += ": keep-alive\n\n"
			return copy(p, ": keep-alive\n\n"), nil
		}
		return 0, io.EOF
	}
	chunk := len(b.text)
	if b.how&0x40 != 0 {
		chunk = 1 + (b.read*7)%13
	}
	n := copy(p, b.text[:min(chunk, len(b.text))])
	b.host.sent[b.attempt] += string(b.text[:n])
	b.text = b.text[n:]
	return n, nil
}

func (b *fuzzedBody) Close() error { b.closed.Store(true); return nil }

// FuzzHost: whatever a host does, the whole Transport does not panic, hang
// beyond its clocks or leak, and never ends a truncated answer cleanly; where
// a backup is well, a call whose trouble shows before commit gets its answer.
func FuzzHost(f *testing.F) {
	whole := "\xE0\xE1\xE2"
	for flags := range 16 {
		for _, body := range []string{whole, "\xE0", "\xE7", "\xE8", "\xEC\xED\xEE\xEF\xF0", "\xF1\xF2\xF3", "\xF5", "\xF6", "\xF7\xE1", "", "<html>", "\xE3\xE4\xE9", whole[:2]} {
			for how := range 8 {
				end, contentType := how%4, byte(how/4) // every end of streams and of JSON
				head := string([]byte{byte(flags), 0, contentType, 0, byte(end | flags<<2), byte(len(body))})
				f.Add([]byte(head + body + head[1:] + body))
			}
		}
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 4<<10 {
			return
		}
		synctest.Test(t, func(t *testing.T) { fuzzHost(t, script) })
	})
}

func fuzzHost(t *testing.T, script []byte) {
	host := &fuzzedHost{script: script}
	flags := host.next()
	op := []request.Operation{request.Chat, request.Completions, request.Responses, request.Messages}[flags&3]
	stream, backup := flags&4 != 0, flags&8 != 0
	base := newHosts(host.answers)
	base.Set("b", func(*http.Request) (*http.Response, error) { return wellOn(op, stream)() })
	opts := []Option{
		steady(), WithStream(quick), WithErrors(), WithRateLimit(RatePolicy{InFlight: 1}), WithCache(CachePolicy{}),
		WithEndpoints(Endpoint{Name: "a", URL: "https://a/v1", APIKey: "sk-a", Account: "acc"}),
		WithBase(base),
	}
	if backup {
		opts = append(opts, WithBackup(Endpoint{Name: "b", URL: "https://b/v1", APIKey: "sk-b"}))
	}
	rt, err := New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://a/v1"+string(op), strings.NewReader(fmt.Sprintf(`{"model":"m","stream":%v}`, stream)))
	resp, err := rt.RoundTrip(req)
	if (resp == nil) == (err == nil) {
		t.Fatalf("RoundTrip = %v, %v, want exactly one", resp, err)
	}
	if resp != nil {
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		judge(t, op, resp, string(got), err, host, backup)
	}
	if d := time.Since(start); d > 10*time.Minute {
		t.Errorf("it took %v, with the caller's deadline after 10m", d)
	}
	synctest.Wait()
	if left := stillHeld(rt); left != "" {
		t.Errorf("got %s left, want nothing", left)
	}
	rt.Close()
}

// wellOn answers an operation rightly.
func wellOn(op request.Operation, stream bool) func() (*http.Response, error) {
	text, contentType := goodJSON, asJSON
	switch {
	case stream && op == request.Messages:
		text = pieces[13] + pieces[14] + pieces[15] + pieces[16]
	case stream && op == request.Responses:
		text = pieces[17] + pieces[18] + pieces[19]
	case stream:
		text = wholeStream
	case op == request.Messages:
		text = pieces[21]
	case op == request.Responses:
		text = pieces[22]
	}
	if stream {
		contentType = asStream
	}
	return func() (*http.Response, error) { return answer(200, contentType, text), nil }
}

// judge says whether the caller may have seen this of the host.
func judge(t *testing.T, op request.Operation, resp *http.Response, got string, err error, host *fuzzedHost, backup bool) {
	last := Attempt{}
	for _, a := range TrailOf(resp) {
		last = a
	}
	stream := strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
	packed := resp.Header.Get("Content-Encoding") != "" && resp.Header.Get("Content-Encoding") != "identity"
	switch {
	case err != nil:
		if !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrBadResponse) && !errors.Is(err, ErrStalled) && !errors.Is(err, resp.Request.Context().Err()) {
			t.Errorf("the body ended in %v, want a typed error", err)
		}
	case resp.StatusCode < 200 || resp.StatusCode > 299, packed, last.Endpoint == "b":
	case stream || last.Class == "":
		if !fakehost.IsComplete(got) {
			t.Errorf("%q ended cleanly, and is not complete", got)
		}
	case fakehost.IsClean(got), fakehost.IsComplete(got):
	default:
		t.Errorf("%q came as an answer", got)
	}
	if resp.StatusCode == 200 && last.Endpoint == "a" && !fromOne(got, host.sent) {
		t.Errorf("%q came, which no attempt sent: %q", got, host.sent)
	}
	if backup && err == nil && outcome.Of(last.Class).Passing {
		t.Errorf("the caller got %d in the end, and the backup was well", resp.StatusCode)
	}
}

// fromOne reports whether got is what one attempt sent, comments and blank
// lines between events aside. Of a host that pings more may be missing: such
// events are dropped before the commit, whatever stands in their block.
func fromOne(got string, sent []string) bool {
	return slices.ContainsFunc(sent, func(s string) bool {
		for w := wire.Chat; w < wire.Embeddings; w++ { // in the form that was asked for
			whole := s[:strings.LastIndex(s, "\n\n")+1] // without half an event behind it
			asJSON, _ := recast.ToJSON(w, []byte(strings.TrimLeft(whole, " \t\r\n")))
			asStream, _ := recast.ToStream(w, wire.First([]byte(strings.TrimLeft(s, " \t\r\n")))) // without what follows it
			if got != "" && (got == string(asJSON) || got == string(asStream)) {
				return true
			}
		}
		return fakehost.Begins(s, got) || strings.Contains(s, "ping") && subsequence(got, s)
	})
}

// subsequence reports whether got can be made of all by leaving out bytes.
func subsequence(got, all string) bool {
	for i := range len(got) {
		at := strings.IndexByte(all, got[i])
		if at < 0 {
			return false
		}
		all = all[at+1:]
	}
	return true
}

// Whatever path is asked, a key goes to its own origin only, and an operation
// lands under the base path.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/chat/completions", "/v1/chat/completions", "/beta/chat/completions", "//chat/completions", "/api/v3/../chat/completions", "/%2e%2e/chat/completions", "/v1x/chat/completions", "/completions", "/beta/completions", "/responses", "/anthropic/v1/messages", "/embeddings", "?x=/chat/completions", "/models"} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, path string, failover bool) {
		ops := []string{"/chat/completions", "/completions", "/responses", "/v1/messages"}
		u, err := url.Parse("https://api.deepseek.com" + path)
		if err != nil || u.Host != "api.deepseek.com" {
			return
		}
		rt, err := New(steady(), WithRetry(RetryPolicy{Attempts: 1}),
			WithEndpoints(DeepSeek("sk-deepseek")), WithBackup(Endpoint{Name: "backup", URL: "https://backup.example/api/v3", APIKey: "sk-backup"}),
			WithBase(RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				key := req.Header.Get("Authorization")
				switch req.URL.Host {
				case "api.deepseek.com":
					if key != "Bearer sk-deepseek" && key != "Bearer sk-caller" {
						t.Errorf("%q got %q", req.URL, key)
					}
					if failover {
						return nil, errors.New("refused")
					}
				case "backup.example":
					if op, ok := strings.CutPrefix(req.URL.String(), "https://backup.example/api/v3"); key != "Bearer sk-backup" || !ok || !slices.Contains(ops, op) {
						t.Errorf("%q got %q", req.URL, key)
					}
				default:
					t.Errorf("a request went to %q", req.URL)
				}
				return answer(200, asJSON, goodJSON), nil
			})))
		if err != nil {
			t.Fatal(err)
		}
		req, _ := post(t.Context(), "https://api.deepseek.com", chatJSON)
		req.URL = u
		if resp, err := rt.RoundTrip(req); err == nil {
			resp.Body.Close()
		}
	})
}
