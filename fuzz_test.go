package breakwater

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

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
