package breakwater

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/breakwater-go/breakwater/internal/request"
)

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"2", "0", "-1", "1e309", "NaN", "99999999999999999999", "Tue, 24 Nov 2026 10:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", "", " 3 ", "0x10", "1_000"} {
		f.Add(seed, seed)
	}
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value, ms string) {
		d, ok := retryAfter(http.Header{"Retry-After": {value}, "Retry-After-Ms": {ms}}, now)
		if d < 0 || d > longestPause || !ok && d != 0 {
			t.Errorf("retryAfter(%q, %q) = %v, %v, want a time from 0 to %v", value, ms, d, ok, longestPause)
		}
	})
}

// gateFuzz sends one answer through a Transport with nothing but the gate.
func gateFuzz(t *testing.T, contentType, ask string, body io.Reader) (string, *http.Response, error) {
	rt, err := New(
		WithRetry(RetryPolicy{Attempts: 1}), WithBreaker(BreakerPolicy{FailureRate: Off, Consecutive: Off}),
		WithBase(RoundTripperFunc(func(*http.Request) (*http.Response, error) { return answerFrom(200, contentType, body), nil })))
	if err != nil {
		t.Fatal(err)
	}
	req, _ := post(t.Context(), "http://host.test", ask)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatalf("RoundTrip: %v, want a response", err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return string(got), resp, err
}

// What passes the JSON gate with a 200 is one whole JSON object without an error.
func FuzzJSONGate(f *testing.F) {
	for _, seed := range []string{goodJSON, "\n\n" + goodJSON, goodJSON[:30], `{"error":"x"}`, `{"code":1,"message":"m"}`, `{"error":null}`, "[]", "", "<html>", `{"choices":[{"finish_reason":"insufficient_system_resource"}]}`} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, bytewise bool) {
		var r io.Reader = bytes.NewReader(body)
		if bytewise {
			r = iotest.OneByteReader(r)
		}
		got, resp, err := gateFuzz(t, asJSON, chatJSON, r)
		if err != nil || resp.StatusCode == 200 && !cleanObject(got) {
			t.Errorf("%q came as %d %q, %v", body, resp.StatusCode, got, err)
		}
		if want := bytes.TrimLeft(body, " \t\r\n"); got != string(want) {
			t.Errorf("%q came as %q, want it as it was but for leading blanks", body, got)
		}
	})
}

// cleanObject reports whether text is one whole JSON object without an error.
func cleanObject(text string) bool {
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil {
		return false
	}
	return object["error"] == nil || object["error"] == false
}

// What ends cleanly at the SSE gate is complete; what is passed on is what
// came, none of it missing up to the end, comments aside.
func FuzzSSEGate(f *testing.F) {
	for _, seed := range []string{
		goodEvent + endEvent + doneEvent, goodEvent + goodEvent + endEvent + doneEvent, goodEvent, goodEvent + doneEvent, ": c\n\n" + goodEvent + ": c\n\n" + endEvent, endEvent, doneEvent,
		goodEvent + "data: {\n\n", goodEvent + `data: {"error":"x"}` + "\n\n", strings.ReplaceAll(goodEvent+endEvent, "\n", "\r\n"), "data:{\"choices\"",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, bytewise bool) {
		var r io.Reader = bytes.NewReader(body)
		if bytewise {
			r = iotest.OneByteReader(r)
		}
		got, resp, err := gateFuzz(t, asStream, chatStream, r)
		if resp.StatusCode == 200 && err == nil && !completeStream(request.Chat, got) {
			t.Errorf("%q ended cleanly as %q, which is not complete", body, got)
		}
		if err != nil && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrBadResponse) {
			t.Errorf("%q ended in %v, want a typed error", body, err)
		}
		if !begins(string(body), got) {
			t.Errorf("%q came as %q: not what was sent", body, got)
		}
	})
}

// begins reports whether what was sent begins with got, comments, blank lines
// and blanks before it aside.
func begins(sent, got string) bool {
	return strings.HasPrefix(bare(sent), bare(got))
}

// bare is text without its comments, its blank lines and the blanks before it.
func bare(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line[0] != ':' && line != "\n" && line != "\r\n" {
			b.WriteString(line)
		}
	}
	return strings.TrimLeft(b.String(), " \t\r\n")
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

// A spliced body says the same but for the model, the mode of thinking and the
// name of the user's field, and every other byte stays.
func FuzzEdits(f *testing.F) {
	for _, seed := range []string{
		chatJSON, `{"model":"a\"b","x":{"model":"c"}}`, `{"x":"\"model\":\"y\"","model" : "m" }`, `{"model":1}`, `{"model":"a","model":"b"}`,
		`{"model":"cut`, ``, `[]`, `{"mod\u0065l":"m"}`, `{"model":"deepseek-chat","user_id":"u"}`, `{"model":"deepseek-reasoner","messages":[]}`,
		`{"thinking":{"type":"disabled"},"model":"m","user":"u"}`, `{"enable_thinking" :true,"user_id":"u","user":"v"}`, `{"reasoning":{"enabled":false},"thinking":{"type":"enabled"}}`,
		`{"user":1,"user":2}`, `{"thinking":{"type":"x"`,
	} {
		for i := range hostTable {
			f.Add([]byte(seed), "deepseek-v4", uint(i), uint(i*7+3), false)
			f.Add([]byte(seed), "qu\"ote\\ \x00", uint(i), uint(0), true)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, name string, from, to uint, messages bool) {
		before := bytes.Clone(body)
		row := func(i uint) *upstream { return &upstream{row: &hostTable[i%uint(len(hostTable))]} }
		c := &call{op: request.Chat, target: row(from), params: request.Parse(body)}
		if messages {
			c.op = request.Messages
		}
		got := request.Splice(nil, body, c.editsFor(row(to), name))
		if !bytes.Equal(body, before) {
			t.Fatalf("the body was changed")
		}
		var was, is map[string]any
		if json.Unmarshal(body, &was) != nil || was == nil {
			return // cut: what can be found in it may be replaced, which the host will refuse all the same
		}
		if err := json.Unmarshal(got, &is); err != nil {
			t.Fatalf("%q became %q: %v", body, got, err)
		}
		for _, key := range []string{"model", "thinking", "enable_thinking", "reasoning", "user", "user_id"} {
			delete(was, key)
			delete(is, key)
		}
		if !reflect.DeepEqual(was, is) {
			t.Errorf("%q became %q: more than the names changed", body, got)
		}
	})
}
