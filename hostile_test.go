package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/progress"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
	"github.com/breakwater-go/breakwater/internal/test/growth"
)

// What hosts, gateways and callers do that is hard to tell from what is right.

// Streams and JSON that are no whole answer, however they are dressed.
func TestStream_NoSuccessInDisguise(t *testing.T) {
	const two = `{"model":"m","stream":true,"n":2,"messages":[]}`
	for _, tt := range []struct {
		name, ask, contentType, text string
		header                       []string
	}{
		{"an error event", chatStream, asStream, goodEvent + "event: error\ndata: {\"message\":\"overloaded\"}\n\n" + doneEvent, nil},
		{"a flat error", chatStream, asStream, goodEvent + "data: {\"code\":500,\"msg\":\"x\"}\n\n" + doneEvent, nil},
		{"one choice of two has ended", two, asStream, goodEvent + strings.Replace(goodEvent, `"index":0`, `"index":1`, 1) + endEvent + doneEvent, nil},
		{"a cut stream with a coding that is none", chatStream, asStream, goodEvent, []string{"Content-Encoding", "none"}},
		{"a cut stream with a charset for a coding", chatStream, asStream, goodEvent, []string{"Content-Encoding", "utf-8"}},
		{"a cut stream, identity in capitals", chatStream, asStream, goodEvent, []string{"Content-Encoding", "Identity"}},
		{"an error with a coding that is none", chatJSON, asJSON, `{"error":{"message":"x","code":500}}`, []string{"Content-Encoding", "none"}},
		{"a list without choices", chatJSON, asJSON, `{"choices":[]}`, nil},
		{"a flat error of other words", chatJSON, asJSON, `{"code":500,"msg":"system error"}`, nil},
		{"brackets without end", chatJSON, asJSON, strings.Repeat("[", 7<<20), nil},
		{"brackets without end in a stream", chatStream, asStream, goodEvent + "data: " + strings.Repeat("[", 12<<20) + "\n\n", nil},
		{"a refusal of brackets", chatJSON, asJSON, `{"error":` + strings.Repeat("[", 1<<20), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := asks(t.Context(), over(t, newHosts(gives(200, tt.contentType, tt.text, tt.header...)), once), tt.ask)
			if got.err == nil && got.status() == 200 {
				t.Errorf("it came as a clean 200 of %d bytes", len(got.body))
			}
		})
	}
}

// A body that could not be looked into may ask for any number of choices: one
// reason is no end.
func TestStream_UnknownChoices(t *testing.T) {
	small := WithRetry(RetryPolicy{MaxReplay: 10, Attempts: 1})
	for text, whole := range map[string]bool{
		goodEvent + endEvent + doneEvent: true,
		goodEvent + endEvent:             true, // all that began have ended
		goodEvent + endEvent + "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"}}]}\n\n": false,
	} {
		got := asks(t.Context(), over(t, newHosts(gives(200, asStream, text)), small), `{"model":"m","stream":true,"n":2,"messages":[]}`)
		if (got.err == nil) != whole {
			t.Errorf("%q ended in %v, want a clean end: %v", text, got.err, whole)
		}
	}
}

// Whole answers with other choices than were asked for, or with an index that
// counts chunks, end cleanly and are no failures; one with a choice cut short is
// one. What the cache keeps of them is one whole answer, in either form.
func TestStream_ChoicesOfHosts(t *testing.T) {
	chunk := func(index, member, reason string) string {
		return `data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":` + index + `,` + member + `,"finish_reason":` + reason + "}]}\n\n"
	}
	says := func(index, text string) string { return chunk(index, `"delta":{"content":"`+text+`"}`, "null") }
	end := func(index string) string { return chunk(index, `"delta":{}`, `"stop"`) }
	fim := func(index, reason string) string { return chunk(index, `"text":"a"`, reason) }
	choice := func(index string) string {
		return `{"index":` + index + `,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}`
	}
	document := func(choices ...string) string { return `{"id":"x","choices":[` + strings.Join(choices, ",") + `]}` }
	ask := func(members string) string {
		return `{"model":"m","stream":true,` + members + `"messages":[{"role":"user","content":"q"}]}`
	}
	counted := says("0", "a") + says("1", "b") + says("2", "c") + end("3")
	one, two := says("0", "a")+end("0"), says("0", "a")+says("1", "b")+end("0")+end("1")
	prompts := `{"model":"m","stream":true,"prompt":["a","b"]}`
	for _, tt := range []struct {
		name, ask, text string
		whole, kept     bool
	}{
		{"chunks are counted", ask(""), counted + doneEvent, true, true},
		{"chunks are counted, without a terminator", ask(""), counted, true, true},
		{"two chunks are counted", ask(""), says("0", "a") + end("1") + doneEvent, true, true},
		{"chunks are counted from 1", ask(""), says("1", "a") + says("2", "b") + end("3") + doneEvent, true, true},
		{"chunks are counted, more than there can be choices", ask(""), says("0", "a") + says("128", "b") + end("1e9") + doneEvent, true, true},
		{"chunks are counted, two choices asked for", ask(`"n":2,`), counted + doneEvent, true, false},
		{"chunks are counted, cut", ask(""), says("0", "a") + says("1", "b"), false, false},
		{"chunks are counted, usage behind", ask(""), counted + usageEvent + doneEvent, true, true},
		{"two choices where one is asked for, one cut", ask(""), says("0", "a") + says("1", "b") + says("0", "c") + end("1"), false, false},
		{"two choices where one is asked for, one cut, with a terminator", ask(""), says("0", "a") + says("1", "b") + says("0", "c") + end("1") + doneEvent, false, false},
		{"two choices from 1", ask(`"n":2,`), says("1", "a") + says("2", "b") + end("1") + end("2") + doneEvent, true, true},
		{"two choices from 1, one cut", ask(`"n":2,`), says("1", "a") + says("2", "b") + end("2"), false, false},
		{"two choices from 1, the other cut", ask(`"n":2,`), says("1", "a") + says("2", "b") + end("1"), false, false},
		{"three choices, two cut behind a chunk each", ask(`"n":3,`), says("0", "a") + says("1", "b") + end("2") + doneEvent, false, false},
		{"FIM of one prompt, two choices, one cut", `{"model":"m","stream":true,"prompt":"a"}`, fim("0", "null") + fim("1", "null") + fim("0", "null") + fim("1", `"stop"`) + doneEvent, false, false},
		{"no index", ask(""), strings.ReplaceAll(one, `"index":0,`, "") + doneEvent, true, true},
		{"index null", ask(""), strings.ReplaceAll(one, `"index":0`, `"index":null`) + doneEvent, true, true},
		{"index below 0", ask(""), strings.ReplaceAll(one, `"index":0`, `"index":-1`) + doneEvent, true, true},
		{"index as a text", ask(`"n":2,`), says(`"0"`, "a") + says(`"1"`, "b") + end(`"0"`) + end(`"1"`) + doneEvent, true, true},
		{"index as a text, one choice cut", ask(`"n":2,`), says(`"0"`, "a") + says(`"1"`, "b") + end(`"0"`) + doneEvent, false, false},
		{"one of three choices", ask(`"n":3,`), one + doneEvent, true, false},
		{"one of three choices, without a terminator", ask(`"n":3,`), one, true, false},
		{"one of three choices, by a text", ask(`"n":"3",`), one + doneEvent, true, false},
		{"two of three choices", ask(`"n":3,`), two + doneEvent, true, false},
		{"two of three choices, one cut", ask(`"n":3,`), says("0", "a") + says("1", "b") + end("0") + doneEvent, false, false},
		{"two choices", ask(`"n":2,`), two + doneEvent, true, true},
		{"two choices, one cut", ask(`"n":2,`), says("0", "a") + says("1", "b") + end("0") + doneEvent, false, false},
		{"two choices, one cut, without a terminator", ask(`"n":2,`), says("0", "a") + says("1", "b") + end("1"), false, false},
		{"FIM of two prompts, one answered", prompts, fim("0", "null") + fim("0", `"stop"`) + doneEvent, true, false},
		{"FIM of two prompts, one cut", prompts, fim("0", "null") + fim("1", "null") + fim("0", `"stop"`) + doneEvent, false, false},
		{"FIM whose chunks are counted", `{"model":"m","stream":true,"prompt":"a"}`, fim("0", "null") + fim("1", "null") + fim("2", `"stop"`) + doneEvent, true, true},
		{"JSON with one of three choices", chatJSON[:len(chatJSON)-1] + `,"n":3}`, document(choice("0")), true, false},
		{"JSON whose choice is not the first", chatJSON, document(choice("7")), true, true},
		{"JSON with more choices than asked for, one cut", chatJSON, document(`{"index":0,"message":{"content":"a"}}`, choice("1")), true, false},
	} {
		edit := func(*http.Request) {}
		if strings.Contains(tt.ask, `"prompt"`) {
			edit = func(req *http.Request) { req.URL.Path = "/completions" }
		}
		contentType := asJSON
		if strings.HasPrefix(tt.text, "data:") {
			contentType = asStream
		}
		for setup, opts := range map[string][]Option{"alone": nil, "backed": {WithEndpoints(at("a")...), WithBackup(at("b")...)}} {
			base := newHosts(gives(200, contentType, tt.text))
			rt := over(t, base, append(opts, WithBreaker(BreakerPolicy{Consecutive: 1}))...)
			got := asks(t.Context(), rt, tt.ask, edit)
			if got.body != tt.text || (got.err == nil) != tt.whole || !tt.whole && !errors.Is(got.err, ErrTruncated) {
				t.Errorf("%s, %s: the caller read %q, %v, want all of it, whole: %v", tt.name, setup, got.body, got.err, tt.whole)
			}
			class, state := ClassTruncated, "open"
			if tt.whole {
				class, state = ClassOK, "closed"
			}
			trail := TrailOf(got.resp)
			if now := rt.Status().Endpoints[0].Circuits[0].State; len(trail) != 1 || trail[0].Class != class || now != state || base.Count("") != 1 {
				t.Errorf("%s, %s: the trail is %+v and the circuit %s, want one attempt of class %s and it %s", tt.name, setup, trail, now, class, state)
			}
		}
		// Kept or not, and what is made of it for who wants JSON.
		base := newHosts(gives(200, contentType, tt.text))
		rt := over(t, base, WithCache(CachePolicy{}), once, noBreaker)
		asks(t.Context(), rt, tt.ask, edit)
		if again := asks(t.Context(), rt, tt.ask, edit); strings.Contains(again.header("Cache-Status"), "hit") != tt.kept || again.body != tt.text {
			t.Errorf("%s: asked again, the caller got %v, want a hit: %v", tt.name, again, tt.kept)
		}
		base.Set("a", failing503)
		other := asks(t.Context(), rt, strings.Replace(tt.ask, `"stream":true,`, "", 1), edit, with("Cache-Control", "stale-if-error=60"))
		if choices := gjson.Get(other.body, "choices.#").Int(); contentType == asStream && other.status() == 200 && (choices == 0 || choices > 2 || !tt.kept) {
			t.Errorf("%s: as JSON, the caller got %v", tt.name, other)
		}
	}
}

// Who cannot look into a request takes indices that count chunks for what they
// are, and other choices cut short for what they are.
func TestStream_UnknownChoicesCounted(t *testing.T) {
	for text, whole := range map[string]bool{"0 1 2 3.": true, "0 1.": true, "0 1 0 1.": false, "0 1. 2": false, "0 1 2. 1": false} {
		var stream strings.Builder
		for event := range strings.FieldsSeq(text) {
			index, ends := strings.CutSuffix(event, ".")
			reason := map[bool]string{true: `"stop"`, false: "null"}[ends]
			fmt.Fprintf(&stream, "data: {\"choices\":[{\"index\":%s,\"delta\":{\"content\":\"a\"},\"finish_reason\":%s}]}\n\n", index, reason)
		}
		for name, opts := range map[string][]Option{"streamed": {WithRetry(RetryPolicy{MaxReplay: 10, Attempts: 1})}, "packed": {once}} {
			got := asks(t.Context(), over(t, newHosts(gives(200, asStream, stream.String()+doneEvent)), opts...), chatStream, func(req *http.Request) {
				if name == "packed" {
					req.Header.Set("Content-Encoding", "gzip")
				}
			})
			if (got.err == nil) != whole || got.status() != 200 {
				t.Errorf("%s, %s: %v, want a clean end: %v", text, name, got, whole)
			}
		}
	}
}

// An empty event is some gateways' keep-alive.
func TestStream_EmptyEventsAreKeepAlives(t *testing.T) {
	got := asks(t.Context(), over(t, newHosts(gives(200, asStream, "data:\n\n"+goodEvent+"data:\n\n"+endEvent+doneEvent)), once), chatStream)
	if got.err != nil || !strings.HasSuffix(got.body, doneEvent) {
		t.Errorf("the caller got %v, want the whole stream", got)
	}
}

// Time is linear in the lines of an event: a tenth of a second for two million,
// where the square of them would take minutes.
func TestStream_ManyLinesOfData(t *testing.T) {
	growth.Linear(t, 1<<15, func(lines int) {
		got := asks(t.Context(), over(t, newHosts(gives(200, asStream, strings.Repeat("data:\n", lines)+"\n")), once), chatStream)
		if trail := TrailOf(got.resp); len(trail) != 1 || trail[0].Class != ClassBadResponse {
			t.Errorf("%d lines: attempts %+v, want one that ended %s", lines, trail, ClassBadResponse)
		}
	})
}

// A host that keeps the connection open behind the terminator keeps nobody.
func TestStream_ReadEndsBehindTheTerminator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr, pw := io.Pipe()
		rt := over(t, newHosts(func(*http.Request) (*http.Response, error) {
			resp := answer(200, asStream, "")
			resp.Body = pr
			return resp, nil
		}), once)
		go io.WriteString(pw, wholeStream)
		req, _ := post(t.Context(), "https://a", chatStream)
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		got, err := io.ReadAll(resp.Body)
		if string(got) != wholeStream || err != nil || time.Since(start) > drainWait {
			t.Errorf("read %q, %v after %v, want the stream and a clean end at once", got, err, time.Since(start))
		}
		resp.Body.Close()
		pw.Close()
	})
}

// A stuck body brings a text, and then neither bytes nor an error, for ever: it
// says so if somebody spins on it.
type stuck struct {
	text strings.Reader
	spun atomic.Int32
}

func newStuck(text string) *stuck {
	s := &stuck{}
	s.text.Reset(text)
	return s
}

func (s *stuck) Read(p []byte) (int, error) {
	if s.text.Len() > 0 {
		return s.text.Read(p)
	}
	if s.spun.Add(1) > 10*progress.MaxEmptyReads {
		return 0, errors.New("spun")
	}
	return 0, nil
}

func (*stuck) Close() error { return nil }

// What a host sends ends in io.ErrNoProgress where it brings neither bytes nor
// an error, wherever that is; nobody spins on it, and it is a failure like another.
func TestStream_NoProgress(t *testing.T) {
	role := strings.Replace(goodEvent, `"content":"hi"`, `"role":"assistant"`, 1)
	const chatPath = "/chat/completions"
	for _, tt := range []struct {
		name, path, ask     string
		status              int
		contentType, coding string
		text                string
		sees                int
		clean               bool // all that was asked for had come
	}{
		{"a refusal", chatPath, chatJSON, 400, asJSON, "", `{"error":`, 400, false},
		{"an empty refusal", chatPath, chatJSON, 503, asJSON, "", "", 503, false},
		{"JSON", chatPath, chatJSON, 200, asJSON, "", goodJSON[:20], 502, false},
		{"JSON, blank so far", chatPath, chatJSON, 200, asJSON, "", "\n\n", 502, false},
		{"JSON beyond MaxBuffer", chatPath, chatJSON, 200, asJSON, "", `{"a":"` + strings.Repeat("a", 4<<10), 200, false},
		{"a body that is packed", chatPath, chatJSON, 200, asJSON, "br", "abc", 200, false},
		{"a stream that says nothing", chatPath, chatStream, 200, asStream, "", "", 502, false},
		{"a stream of a role", chatPath, chatStream, 200, asStream, "", role, 200, false},
		{"a stream of text", chatPath, chatStream, 200, asStream, "", goodEvent, 200, false},
		{"a stream of text, cut in an event", chatPath, chatStream, 200, asStream, "", goodEvent + "data: {", 200, false},
		{"a message", "/v1/messages", chatStream, 200, asStream, "", pieces[13] + pieces[14], 200, false},
		{"a stream behind its terminator", chatPath, chatStream, 200, asStream, "", wholeStream, 200, true},
	} {
		for setup, opts := range map[string][]Option{
			"alone": nil, "shared": {WithCache(CachePolicy{})}, "backed": {WithEndpoints(at("a")...), WithBackup(at("b")...)}, "rescued": {WithEndpoints(deepSeekAt("a"))},
		} {
			for _, leaves := range []bool{false, true} {
				name := fmt.Sprintf("%s, %s, leaves %v", tt.name, setup, leaves)
				var bodies []*stuck
				rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					io.Copy(io.Discard, req.Body)
					req.Body.Close()
					bodies = append(bodies, newStuck(tt.text))
					resp := answerFrom(tt.status, tt.contentType, bodies[len(bodies)-1])
					resp.Header.Set("Content-Encoding", tt.coding)
					return resp, nil
				}), append(opts, once, WithStream(StreamPolicy{MaxBuffer: 1 << 10}))...)
				req, _ := post(t.Context(), "https://a", tt.ask)
				req.URL.Path = tt.path
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if leaves {
					_, err = resp.Body.Read(make([]byte, len(wholeStream)))
				} else {
					_, err = io.Copy(io.Discard, resp.Body)
				}
				resp.Body.Close()
				if ends := tt.clean || resp.StatusCode == 502; resp.StatusCode != tt.sees || !leaves && (err == nil) != ends || err != nil && err != io.EOF && !errors.Is(err, ErrTruncated) {
					t.Errorf("%s: the caller saw %d and %v, want %d and a typed error, or a clean end: %v", name, resp.StatusCode, err, tt.sees, ends)
				}
				for _, body := range bodies {
					if n := body.spun.Load(); n > progress.MaxEmptyReads+1 {
						t.Errorf("%s: %d reads brought nothing", name, n)
					}
				}
				if tt.status != 200 && !leaves && !errors.Is(err, io.ErrNoProgress) {
					t.Errorf("%s: the body ended in %v, want io.ErrNoProgress", name, err)
				}
				if first := TrailOf(resp)[0]; !leaves && tt.status == 200 && !tt.clean && !errors.Is(first.Err, io.ErrNoProgress) {
					t.Errorf("%s: the attempt ended in %v (%s), want io.ErrNoProgress", name, first.Err, first.Class)
				}
			}
		}
	}
}

// So does what a caller sends: the call ends in io.ErrNoProgress, whether the
// body is kept or streamed on, and no host is blamed.
func TestUpload_NoProgress(t *testing.T) {
	for name, length := range map[string]int64{"kept": 1000, "of a length unknown": -1, "streamed": 2 << 20, "streamed, of a length unknown": -2} {
		text := chatJSON[:20]
		if length == -2 {
			text, length = strings.Repeat(" ", 2<<20), -1
		}
		for setup, opts := range map[string][]Option{"alone": nil, "cached": {WithCache(CachePolicy{})}, "backed": {WithEndpoints(at("a")...), WithBackup(at("b")...)}} {
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				_, err := io.Copy(io.Discard, req.Body)
				req.Body.Close()
				if err == nil {
					err = errors.New("it came whole")
				}
				return nil, err
			}), append(opts, WithRetry(RetryPolicy{MaxReplay: 1 << 20}), WithBreaker(BreakerPolicy{Consecutive: 1}))...)
			body := newStuck(text)
			req, _ := post(t.Context(), "https://a", "")
			req.Body, req.ContentLength = body, length
			resp, err := rt.RoundTrip(req)
			if resp != nil || !errors.Is(err, io.ErrNoProgress) || body.spun.Load() > progress.MaxEmptyReads+1 {
				t.Errorf("%s, %s: %v after %d reads, want io.ErrNoProgress", name, setup, err, body.spun.Load())
			}
			for _, e := range rt.Status().Endpoints {
				for _, c := range e.Circuits {
					if c.State != "closed" {
						t.Errorf("%s, %s: the circuit of %s is %s", name, setup, e.Name, c.State)
					}
				}
			}
		}
	}
}

// Close ends a Read that waits, even if the base's body heeds no context.
func TestStream_CloseEndsARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr, pw := io.Pipe()
		rt := over(t, newHosts(func(*http.Request) (*http.Response, error) {
			resp := answer(200, asStream, "")
			resp.Body = pr
			return resp, nil
		}), once)
		go io.WriteString(pw, goodEvent)
		req, _ := post(t.Context(), "https://a", chatStream)
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() { _, err := io.ReadAll(resp.Body); ended <- err }()
		synctest.Wait()
		resp.Body.Close()
		if err := <-ended; !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("the read ended in %v, want %v", err, http.ErrBodyReadAfterClose)
		}
	})
}

// Of endpoints of one origin, the one whose base a path lies under is meant,
// with its key and its names, before one that covers it by a root of its host.
func TestHost_ClosestEndpointIsMeant(t *testing.T) {
	gw := func(path, key string, host Host, models map[string]string) Endpoint {
		return Endpoint{Name: key, URL: "https://gw.corp" + path, APIKey: key, Host: host, Models: models}
	}
	for _, tt := range []struct {
		path      string
		endpoints []Endpoint
		key, body string
	}{
		{"/ark/chat/completions", []Endpoint{gw("/deepseek", "k1", HostDeepSeek, nil), gw("/ark", "k2", HostVolcengine, map[string]string{"m": "ep-1"})}, "k2", `"ep-1"`},
		{"/models/chat/completions", []Endpoint{gw("/openai/v1", "k1", HostAzure, nil), gw("/models", "k2", HostAzure, nil)}, "k2", `"m"`},
		{"/apps/anthropic/v1/messages", []Endpoint{gw("/compatible-mode/v1", "k1", HostBailian, nil), gw("/apps/anthropic", "k2", HostBailian, nil)}, "k2", `"m"`},
		{"/deepseek/v1/chat/completions", []Endpoint{gw("/deepseek", "k1", HostDeepSeek, nil), gw("/deepseek/v1", "k2", HostDeepSeek, nil)}, "k2", `"m"`},
	} {
		var key, body string
		rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			text, _ := io.ReadAll(req.Body)
			key, body = strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")+req.Header.Get("Api-Key"), string(text)
			return answer(200, asJSON, goodJSON), nil
		}), WithEndpoints(tt.endpoints[0]), WithBackup(tt.endpoints[1]))
		req, err := http.NewRequestWithContext(WithCall(t.Context(), Call{Endpoint: tt.key}), http.MethodPost, "https://gw.corp"+tt.path, strings.NewReader(`{"model":"m","messages":[]}`))
		if err != nil {
			t.Fatal(err)
		}
		if meant := rt.targetOf(req.URL, true); meant == nil || meant.Name != tt.key {
			t.Errorf("%s is meant for %v, want %s", tt.path, meant, tt.key)
		}
		if resp, err := rt.RoundTrip(req); err != nil {
			t.Error(err)
		} else {
			resp.Body.Close()
		}
		if key != tt.key || !strings.Contains(body, tt.body) {
			t.Errorf("%s went with %q and %s", tt.path, key, body)
		}
	}
}

// A gateway's path stays before the roots of the host behind it.
func TestHost_GatewayPathsStay(t *testing.T) {
	own := Endpoint{Name: "own", URL: "https://own.example/v1", APIKey: "k"}
	gateway := Endpoint{Name: "gw", URL: "https://gw.corp/deepseek", APIKey: "k", Host: HostDeepSeek}
	for url, want := range map[string]string{
		"https://own.example/v1/chat/completions": "https://gw.corp/deepseek/chat/completions",
		"https://own.example/v1/completions":      "https://gw.corp/deepseek/beta/completions",
		"https://own.example/v1/messages":         "https://gw.corp/deepseek/anthropic/v1/messages",
	} {
		if got := route(t, own, gateway, url, `{"model":"m","prompt":"a"}`); got.url != want {
			t.Errorf("%s went to %q, want %q", url, got.url, want)
		}
	}
	escaped := Endpoint{Name: "e", URL: "https://x.example/acct%2Fteam/v1", APIKey: "k"}
	if got := route(t, own, escaped, "https://own.example/v1/chat/completions", `{}`); got.url != "https://x.example/acct%2Fteam/v1/chat/completions" {
		t.Errorf("an escaped base became %q", got.url)
	}
}

// What is the caller's own doing hurts no endpoint: the caller sees it, at once.
func TestUnsendable_CallersFaultsAreTheCallers(t *testing.T) {
	own := errors.New("own")
	dead, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	for _, tt := range []struct {
		name string
		opts []Option
		ctx  context.Context
		edit func(*http.Request)
		sent int
		want func(seen) bool
	}{
		{"a key with its line break", nil, t.Context(), with("Authorization", "Bearer sk-from-a-file\n"), 0, func(s seen) bool { return s.err != nil && !strings.Contains(s.err.Error(), "sk-") }},
		{"a deadline that has passed", nil, dead, func(*http.Request) {}, 0, func(s seen) bool { return errors.Is(s.err, context.DeadlineExceeded) }},
		{"a large body that fails", []Option{WithRetry(RetryPolicy{MaxReplay: 1})}, t.Context(), func(req *http.Request) {
			req.Body, req.ContentLength = io.NopCloser(fakehost.Cut(chatJSON, own)), -1
		}, 1, func(s seen) bool { return errors.Is(s.err, own) }},
		{"middleware that refuses", []Option{WithAttemptMiddleware(func(http.RoundTripper) http.RoundTripper {
			return RoundTripperFunc(func(*http.Request) (*http.Response, error) { return nil, own })
		})}, t.Context(), func(*http.Request) {}, 0, func(s seen) bool { return s.header(headerError) == string(ClassRewrite) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sent := 0
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				if strings.Contains(req.Header.Get("Authorization"), "\n") { // as net/http does
					req.Body.Close()
					return nil, errors.New("net/http: invalid header field value")
				}
				sent++
				if _, err := io.Copy(io.Discard, req.Body); err != nil {
					return nil, fmt.Errorf("sending: %w", err)
				}
				return answer(200, asJSON, goodJSON), nil
			}), tt.opts...)
			for range 6 {
				sent = 0
				if got := asks(tt.ctx, rt, chatJSON, tt.edit); sent != tt.sent || !tt.want(got) {
					t.Errorf("%d requests, the caller got %v", sent, got)
				}
			}
			if s := rt.Status(); len(s.Endpoints) > 0 && len(s.Endpoints[0].Circuits) > 0 && s.Endpoints[0].Circuits[0].State != "closed" {
				t.Errorf("the circuit is %+v", s.Endpoints[0].Circuits[0])
			}
		})
	}
}

// A header that no transport sends is the caller's fault only where it was to be
// sent: a host that was not given it fails by itself.
func TestUnsendable_ForeignFailuresAreNotTheCallers(t *testing.T) {
	for name, fails := range map[string]handler{"refuses": refusing, "cuts": breaks(asJSON, goodJSON[:30])} {
		base := newHosts(gives(200, asJSON, goodJSON))
		base.Set("b", fails)
		rt := over(t, base, WithEndpoints(at("b")...), WithBackup(at("c")...), WithBackup(at("a")...))
		if got := asks(t.Context(), rt, chatJSON, with("X-Note", "a\x01b")); got.header("Breakwater-Endpoint") != "c" {
			t.Errorf("%s: %v, want the answer of c", name, got)
		}
	}
}

// What the base replays draws on the budget, and is said to be perhaps billed.
func TestResend_DrawsOnTheBudget(t *testing.T) {
	wire := 0
	rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		io.Copy(io.Discard, req.Body)
		wire++
		body, err := req.GetBody() // as net/http does into a connection that turned out closed
		if err != nil {
			return nil, err
		}
		body.Close()
		wire++
		return answer(200, asJSON, goodJSON), nil
	}), once, noBreaker)
	for range 100 {
		got := asks(t.Context(), rt, chatJSON)
		if trail := TrailOf(got.resp); len(trail) > 0 && !trail[0].MayBeBilled {
			t.Fatal("the trail does not say that the request may have been billed")
		}
	}
	if wire > 100+100/5+budgetFloor {
		t.Errorf("100 calls were %d requests, want at most %d", wire, 100+100/5+budgetFloor)
	}
}

// An Observer that panics keeps nothing from being given back.
func TestPanics_OfObserversLeakNothing(t *testing.T) {
	for _, kind := range []Kind{KindCommit, KindCall, KindAttempt, KindCircuit} {
		t.Run(string(kind), func(t *testing.T) {
			var on atomic.Bool
			base := newHosts(gives(200, asStream, wholeStream))
			if kind == KindCircuit {
				base.Set("a", failing503)
			}
			rt := over(t, base, once, WithRateLimit(RatePolicy{InFlight: 1, MaxWait: Off}), WithBreaker(BreakerPolicy{Consecutive: 1}),
				WithObserver(func(_ context.Context, e Event) {
					if e.Kind == kind && on.CompareAndSwap(true, false) {
						panic("observer")
					}
				}))
			on.Store(true)
			func() {
				defer func() { _ = recover() }()
				asks(t.Context(), rt, chatStream)
			}()
			if on.Load() {
				t.Fatal("the observer was not called: nothing was tested")
			}
			if left := stillHeld(rt); left != "" {
				t.Errorf("got %s left, want nothing", left)
			}
		})
	}
}

// A key in Header is a key: its 401 is no word on the caller's own, it does not
// go over plain http, and it takes the place of the caller's however spelt.
func TestHost_KeysInHeaders(t *testing.T) {
	if _, err := New(WithEndpoints(Endpoint{URL: "http://far.example/v1", Header: http.Header{"api-key": {"sk"}}})); err == nil {
		t.Error("a key in Header may go over plain http to another machine")
	}
	base := newHosts(gives(200, asJSON, goodJSON))
	var sent http.Header
	base.Set("a", func(req *http.Request) (*http.Response, error) {
		sent = req.Header.Clone()
		return answer(401, asJSON, "{}"), nil
	})
	rt := over(t, base, WithEndpoints(Endpoint{Name: "a", URL: "https://a", Header: http.Header{"api-key": {"sk-ours"}}}), WithBackup(at("b")...))
	got := asks(t.Context(), rt, chatJSON, func(req *http.Request) {
		req.Header["authorization"] = []string{"Bearer sk-theirs"}
		req.Header["Api-Key"] = []string{"sk-theirs"}
	})
	if got.body != goodJSON {
		t.Errorf("behind a 401 of a key in Header the caller got %v, want the backup's answer", got)
	}
	if text := fmt.Sprint(sent); strings.Contains(text, "theirs") || strings.Contains(text, "sk-caller") || sent.Get("Api-Key") != "sk-ours" {
		t.Errorf("a was sent %s", text)
	}
}

// Who may share an answer is told from all that says who a caller is.
func TestCache_TellsCallersApart(t *testing.T) {
	for _, edit := range []func(*http.Request, string){
		func(req *http.Request, who string) {
			req.Header["authorization"] = []string{who}
			req.Header.Del("Authorization")
		},
		func(req *http.Request, who string) { req.Header.Set("Cookie", who) },
		func(req *http.Request, who string) { req.Header.Set("OpenAI-Organization", who) },
		func(req *http.Request, who string) { req.Header.Set("Anthropic-Beta", who) },
		func(req *http.Request, who string) {
			*req = *req.WithContext(WithCall(req.Context(), Call{Endpoint: who}))
		},
	} {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithEndpoints(at("a", "b")...), WithCache(CachePolicy{}))
		for _, who := range []string{"a", "b"} {
			asks(t.Context(), rt, chatJSON, func(req *http.Request) { edit(req, who) })
		}
		if n := base.Count(""); n != 2 {
			t.Errorf("two callers made %d requests, want 2: the second got the first one's answer", n)
		}
	}
}

// Names like books are passed on, and not kept.
func TestBounds_LongModelNamesAreNotKept(t *testing.T) {
	base := newHosts(gives(200, asJSON, goodJSON))
	rt := over(t, base)
	const long = 1000 // bytes
	name := strings.Repeat("m", long)
	if got := asks(t.Context(), rt, `{"model":"`+name+`","messages":[]}`); got.body != goodJSON {
		t.Errorf("the caller got %v", got)
	}
	for _, c := range rt.Status().Endpoints[0].Circuits {
		if len(c.Model) >= long {
			t.Errorf("a circuit keeps a name of %d bytes", len(c.Model))
		}
	}
}

// An Observer may close the very stream whose event it is told, and nobody
// waits for anybody for ever; what was held is given back, and no host is asked
// any more. Of a stream that breaks, a rescue's events come to its reader, too.
func TestObserve_ObserversMayCloseTheStream(t *testing.T) {
	whole := gives(200, asStream, goodEvent+event("more")+finishEvent+doneEvent)
	broken := breaks(asStream, goodEvent)
	resting := gives(429, asJSON, "{}", "Retry-After", "5")
	cached := WithCache(CachePolicy{})
	for _, tt := range []struct {
		name  string
		kind  Kind
		hosts []handler // by attempt
		opts  []Option
	}{
		{"the end", KindAttempt, []handler{whole}, nil},
		{"the end, cached", KindAttempt, []handler{whole}, []Option{cached}},
		{"the break", KindAttempt, []handler{broken, whole}, nil},
		{"the break, cached", KindAttempt, []handler{broken, whole}, []Option{cached}},
		{"a rescue's commit", KindCommit, []handler{broken, whole}, nil},
		{"a rescue's commit, cached", KindCommit, []handler{broken, whole}, []Option{cached}},
		{"a rescue", KindRescue, []handler{broken, whole}, nil},
		{"a rescue, cached", KindRescue, []handler{broken, whole}, []Option{cached}},
		{"a rescue's wait", KindWait, []handler{resting, broken, failing503, whole}, nil},
		{"a rescue's wait, cached", KindWait, []handler{resting, broken, failing503, whole}, []Option{cached}},
		{"a rescue denied", KindBudget, []handler{broken, whole}, []Option{WithRetry(RetryPolicy{Budget: Off})}},
		{"a rescue denied, cached", KindBudget, []handler{broken, whole}, []Option{WithRetry(RetryPolicy{Budget: Off}), cached}},
		{"kept", KindCacheStore, []handler{whole}, []Option{cached}},
		{"kept behind a rescue", KindCacheStore, []handler{broken, whole}, []Option{cached}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				base := newHosts(func(req *http.Request) (*http.Response, error) {
					asked++
					return tt.hosts[min(asked, len(tt.hosts))-1](req)
				})
				var body io.Closer
				toldAfter := 0 // so many attempts
				rt := over(t, base, append(tt.opts, noBreaker, WithEndpoints(at("a", "b")...), WithRateLimit(RatePolicy{InFlight: 1}), WithStream(StreamPolicy{Rescue: RescueRestart}),
					WithObserver(func(_ context.Context, e Event) {
						if e.Kind == tt.kind && body != nil {
							toldAfter = asked
							body.Close()
						}
					}))...)
				req, _ := post(t.Context(), "https://a", chatStream)
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body = resp.Body
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				synctest.Wait()
				if err == nil && !strings.HasSuffix(string(text), doneEvent) {
					t.Errorf("a clean end behind %q", text)
				}
				if left := stillHeld(rt); left != "" {
					t.Errorf("got %s left, want nothing", left)
				}
				if toldAfter == 0 {
					t.Fatal("no such event: nothing was tested")
				}
				if asked != toldAfter {
					t.Errorf("%d attempts, %d of them before the stream was closed: nobody reads of the others", asked, toldAfter)
				}
			})
		})
	}
}

// A panic of the user's code where no caller waits ends no process, and what
// was held is given back.
func TestPanics_ApartEndNothing(t *testing.T) {
	for _, cached := range []bool{false, true} {
		var opts []Option
		if cached {
			opts = []Option{WithCache(CachePolicy{})}
		}
		free := func(t *testing.T, rt *Transport) {
			t.Helper()
			if left := stillHeld(rt); left != "" {
				t.Errorf("cached: %v, got %s left, want nothing", cached, left)
			}
		}
		// The caller of an idle stream leaves, and an Observer panics at the end.
		synctest.Test(t, func(t *testing.T) {
			base, opened := fakehost.Faucets("")
			rt := over(t, base, append(opts, WithRateLimit(RatePolicy{InFlight: 1}), WithObserver(func(_ context.Context, e Event) {
				if e.Kind == KindAttempt {
					panic("an Observer's")
				}
			}))...)
			ctx, cancel := context.WithCancel(t.Context())
			req, _ := post(ctx, "https://a", chatStream)
			go func() { (<-opened).Send(goodEvent) }()
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			synctest.Wait()
			free(t, rt)
			func() {
				defer func() { _ = recover() }() // who closes may hear of it
				resp.Body.Close()
			}()
		})
		// A host stays open behind the terminator, and its body panics when closed.
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(func(req *http.Request) (*http.Response, error) {
				resp := answer(200, asStream, "")
				resp.Body = panickyBody{fakehost.NewFaucet(req, wholeStream)}
				return resp, nil
			})
			rt := over(t, base, append(opts, WithRateLimit(RatePolicy{InFlight: 1}))...)
			func() {
				defer func() { _ = recover() }()
				asks(t.Context(), rt, chatStream)
			}()
			elapse(time.Second)
			free(t, rt)
		})
	}
}

// A panickyBody panics when it is closed.
type panickyBody struct{ io.Reader }

func (panickyBody) Close() error { panic("the body's Close") }
