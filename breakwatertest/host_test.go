package breakwatertest_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bt "github.com/breakwater-go/breakwater/breakwatertest"
)

// get asks for a path of the host, with a key unless it is empty.
func (c *client) get(s *bt.Server, path, key string) (status int, contentType []string, body string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, s.URL()+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header["Content-Type"], string(text)
}

func TestModelsAndBalance(t *testing.T) {
	host := bt.DeepSeek("primary")
	host.Models = []string{"deepseek-flash", "deepseek-v4-pro"}
	c := tcp(t, host)
	s := c.fleet.Server("primary")
	s.Break(bt.CutStream(3)) // a fault inside answers is none of these

	for _, prefix := range []string{"", "/v1", "/beta"} {
		status, _, body := c.get(s, prefix+"/models", key)
		var list struct {
			Object string
			Data   []struct{ ID, Object string }
		}
		if err := json.Unmarshal([]byte(body), &list); err != nil || status != 200 || list.Object != "list" ||
			len(list.Data) != 2 || list.Data[1].ID != "deepseek-v4-pro" || list.Data[1].Object != "model" {
			t.Errorf("GET %s/models: %d %s, %v", prefix, status, body, err)
		}
	}
	status, _, body := c.get(s, "/user/balance", key)
	var account struct {
		IsAvailable  bool `json:"is_available"`
		BalanceInfos []struct {
			Currency     string
			TotalBalance string `json:"total_balance"`
		} `json:"balance_infos"`
	}
	if err := json.Unmarshal([]byte(body), &account); err != nil || status != 200 || !account.IsAvailable ||
		len(account.BalanceInfos) != 1 || account.BalanceInfos[0].TotalBalance == "" {
		t.Errorf("GET /user/balance: %d %s, %v", status, body, err)
	}
	if status, _, _ := c.get(s, "/elsewhere", key); status != 404 {
		t.Errorf("GET /elsewhere: status %d, want 404", status)
	}
}

func TestKeys(t *testing.T) {
	open, picky := bt.OpenAI("open"), bt.DeepSeek("picky")
	open.NoKey = true
	picky.Keys = []string{"sk-right"}
	c := tcp(t, open, picky, bt.DeepSeek("any"))
	for _, tt := range []struct {
		host, key string
		status    int
		says      string
	}{
		{"open", "", 200, "list"},
		{"any", "sk-other", 200, "list"},
		{"any", "", 401, "Authentication Fails (governor)"},
		{"picky", "sk-right", 200, "list"},
		{"picky", "sk-wrong", 401, "****rong is invalid"},
	} {
		status, contentType, body := c.get(c.fleet.Server(tt.host), "/models", tt.key)
		if status != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%s with %q: %d %s, want %d and %q", tt.host, tt.key, status, body, tt.status, tt.says)
		}
		if strings.Contains(body, "sk-wrong") {
			t.Errorf("%s repeats the key: %s", tt.host, body)
		}
		if tt.key == "" && status == 401 && len(contentType) > 0 {
			t.Errorf("without a key the refusal has the type %q, want none", contentType)
		}
	}
}

// What a host does not serve, in the words of its dialect.
func TestRefusalsOfRequests(t *testing.T) {
	c := tcp(t, bt.DeepSeek("deepseek"), bt.OpenAI("openai"), bt.SiliconFlow("flow"))
	for _, tt := range []struct {
		host, body string
		status     int
		code       string
	}{
		{"deepseek", "not JSON", 400, `"code":"invalid_request_error"`},
		{"deepseek", `{"model":"m","messages":[]}`, 400, `"code":"invalid_request_error"`},
		{"flow", "not JSON", 400, `"code":20015`},
	} {
		_, err := c.send(c.fleet.Server(tt.host), tt.body)
		var refused *bt.StatusError
		if !errors.As(err, &refused) || refused.Code != tt.status || !strings.Contains(refused.Body, tt.code) {
			t.Errorf("%s told %q: %v, want %d and %s", tt.host, tt.body, err, tt.status, tt.code)
		}
	}
}

func TestUnknownModel(t *testing.T) {
	for _, tt := range []struct {
		host   bt.Host
		status int
		code   string
	}{
		{bt.DeepSeek("host"), 400, `"type":"invalid_request_error"`},
		{bt.OpenAI("host"), 404, `"code":"model_not_found"`},
		{bt.SiliconFlow("host"), 400, `{"code":20012,"message":"Model does not exist`},
	} {
		t.Run(tt.host.Dialect.String(), func(t *testing.T) {
			tt.host.Models = []string{"another"}
			c := tcp(t, tt.host)
			_, err := c.ask(c.fleet.Server("host"), "hello", false, time.Minute)
			var refused *bt.StatusError
			if !errors.As(err, &refused) || refused.Code != tt.status || !strings.Contains(refused.Body, tt.code) {
				t.Errorf("got %v, want %d and %s", err, tt.status, tt.code)
			}
		})
	}
}

// The limit holds per key and model until the answer has ended, and is told in
// DeepSeek's own words.
func TestConcurrency(t *testing.T) {
	host := bt.DeepSeek("primary")
	host.Concurrency = 2
	host.Pace = bt.Pace{Queue: 10 * time.Second, PerToken: time.Second}
	inBubble(t, func(t *testing.T, c *client) {
		s := c.fleet.Server("primary")
		for n := range 2 {
			go func() {
				if got, err := c.ask(s, "hello", n == 0, time.Minute); err != nil || got.Content != bt.Answer("hello") {
					t.Errorf("within the limit: %+v, %v", got, err)
				}
			}()
		}
		elapse(15 * time.Second) // the stream is under way, the JSON too
		_, err := c.ask(s, "one too many", true, time.Minute)
		var limited *bt.StatusError
		if !errors.As(err, &limited) || limited.Code != 429 || !strings.Contains(limited.Body, "concurrency is 3") ||
			!strings.Contains(limited.Body, "concurrency limit of 2") {
			t.Errorf("above the limit: %v, want DeepSeek's 429", err)
		}
		if n := s.InFlight(); n != 2 {
			t.Errorf("%d in flight, want 2", n)
		}
		elapse(10 * time.Second)
		c.mustAnswer(s, "free again", true)
		if n := s.InFlight(); n != 0 {
			t.Errorf("%d in flight behind the last answer, want 0", n)
		}
	}, host)
}

func TestHostsThatCannotBe(t *testing.T) {
	for name, hosts := range map[string][]bt.Host{
		"no name":            {{}},
		"a name for no host": {bt.DeepSeek("Big_One")},
		"two of a name":      {bt.DeepSeek("one"), bt.OpenAI("one")},
		"a path without /":   {{Name: "one", BasePath: "v1"}},
		"no such dialect":    {{Name: "one", Dialect: 99}},
	} {
		fleet, err := bt.NewFleet(hosts...)
		if err == nil || !strings.HasPrefix(err.Error(), "breakwatertest: ") || fleet != nil {
			t.Errorf("%s: fleet %v, error %v", name, fleet, err)
		}
	}
}

// elapse lets virtual time pass.
func elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
