package breakwater

import (
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
)

// What hosts and gateways send that is hard to tell from what is right.

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
		{"two indices where one choice is asked for", ask(""), says("0", "a") + says("1", "b") + says("0", "c") + end("1"), true, true},
		{"two indices where one choice is asked for, with a terminator", ask(""), says("0", "a") + says("1", "b") + says("0", "c") + end("1") + doneEvent, true, true},
		{"two choices from 1", ask(`"n":2,`), says("1", "a") + says("2", "b") + end("1") + end("2") + doneEvent, true, true},
		{"two choices from 1, one cut", ask(`"n":2,`), says("1", "a") + says("2", "b") + end("2"), false, false},
		{"two choices from 1, the other cut", ask(`"n":2,`), says("1", "a") + says("2", "b") + end("1"), false, false},
		{"three choices, two cut behind a chunk each", ask(`"n":3,`), says("0", "a") + says("1", "b") + end("2") + doneEvent, false, false},
		{"FIM of one prompt, two indices", `{"model":"m","stream":true,"prompt":"a"}`, fim("0", "null") + fim("1", "null") + fim("0", "null") + fim("1", `"stop"`) + doneEvent, true, true},
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

// A clock that runs out in the very moment in which its attempt ends by itself
// finds the call in order (run with -race: the clock has a goroutine of its own).
func TestStream_ClockRunsOutAsTheAttemptEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			base := newHosts(func(req *http.Request) (*http.Response, error) {
				elapse(quick.FirstToken)
				return failing503(req)
			})
			base.Set("c", gives(200, asStream, wholeStream))
			rt := over(t, base, once, WithEndpoints(at("a", "b")...), WithBackup(at("c")...), WithStream(quick))
			start := time.Now()
			if got := asks(t.Context(), rt, chatStream); got.body != wholeStream || time.Since(start) != 2*quick.FirstToken {
				t.Fatalf("%v after %v, want the backup's answer after both clocks", got, time.Since(start))
			}
		}
	})
}

// A throttle behind a part of an answer pauses the model as one before it does.
func TestStream_ThrottledBehindText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttled := goodEvent + "data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n"
		base := newHosts(gives(200, asStream, throttled))
		base.Set("b", gives(200, asStream, wholeStream))
		rt := over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...), WithStream(StreamPolicy{Rescue: RescueOff}), WithRetry(RetryPolicy{Patience: Off}))
		if got := asks(t.Context(), rt, chatStream); !errors.Is(got.err, ErrBadResponse) {
			t.Errorf("got %v, want the host's error", got)
		}
		if got := asks(t.Context(), rt, chatStream); got.body != wholeStream || base.Count("a") != 1 {
			t.Errorf("then got %v after %d requests, want the backup's answer while the first rests", got, base.Count("a"))
		}
	})
}
