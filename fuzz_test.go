package breakwater

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/breakwater-go/breakwater/internal/request"
)

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
