package diagnose_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/diagnose"
)

// A key that cannot be meant is found by its form, and is not sent. What can be tried without it is.
func TestRun_KeyForms(t *testing.T) {
	for _, tt := range []struct {
		name, key, code, reason string
	}{
		{"blank around", " " + key, "key-malformed", "has blanks around it"},
		{"line break", key + "\n", "key-malformed", "has a line break"},
		{"quotes", `"` + key + `"`, "key-malformed", "has quotes around it"},
		{"scheme", "Bearer " + key, "key-malformed", `begins with "Bearer "`},
		{"placeholder", "<your key>", "key-malformed", "is a placeholder"},
		{"variable", "${DEEPSEEK_API_KEY}", "key-malformed", "is a placeholder"},
		{"assignment", "DEEPSEEK_API_KEY=" + key, "key-malformed", "begins with the name of a variable"},
		{"URL", "https://api.deepseek.com", "key-malformed", "is a URL"},
		{"none", "", "key-missing", "has no key"},
		{"OpenRouter's", "sk-or-v1-0123456789abcdef", "key-of-another-host", "openrouter"},
		{"Anthropic's", "sk-ant-api03-0123456789abcdef", "key-of-another-host", "Anthropic"},
		{"NVIDIA's", "nvapi-0123456789abcdef", "key-of-another-host", "nvidia"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			asked := 0
			server := quietServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				asked++
				for name, values := range r.Header {
					if text := fmt.Sprint(values); name == "Authorization" || strings.Contains(text, "0123456789") {
						t.Errorf("the host got %s", name)
					}
				}
				w.WriteHeader(http.StatusUnauthorized)
			}))
			e := at("http", "api.deepseek.com", server.Listener.Addr().String())
			e.APIKey = tt.key
			r := run(t, e, diagnose.WithLookup(lookup("127.0.0.1")), diagnose.WithKeyVariable("DEEPSEEK_API_KEY"), diagnose.WithSpend())
			got := found(r)
			if !slices.Contains(got, "application/"+tt.code) || r.Verdict != diagnose.Down || slices.Contains(got, "application/key-rejected") {
				t.Errorf("it is %s with %v, want %s", r.Verdict, got, tt.code)
			}
			for _, f := range r.Findings {
				if string(f.Code) == tt.code && !strings.Contains(f.Seen+f.Next, tt.reason) {
					t.Errorf("it says %q, want %q", f.Seen, tt.reason)
				}
			}
			if asked == 0 || r.HTTP == nil || r.HTTP.Status != http.StatusUnauthorized {
				t.Error("the host was not asked without the key")
			}
			if text := fmt.Sprintf("%+v", r); strings.Contains(text, "0123456789abcdef") {
				t.Errorf("the report has the key: %s", text)
			}
		})
	}
}

// The endpoint is asked as breakwater would ask it.
func TestRun_AsksAsBreakwater(t *testing.T) {
	var mu sync.Mutex
	var seen []http.Header
	server := quietServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Header.Clone())
		mu.Unlock()
		w.Header().Set("Server", "nginx "+r.Header.Get("X-Signature")) // a host that tells a secret
		w.Header().Set("Cf-Ray", "8f0")
		w.Header().Set("X-Request-Id", "req-1")
		fmt.Fprint(w, models)
	}))
	rotated := "sk-rotated-0123456789"
	e := breakwater.Endpoint{
		Name: "own", URL: server.URL + "/v1", Header: http.Header{"X-Project": {"p1"}},
		KeyFunc: func(context.Context, string) (string, error) { return rotated, nil },
		Rewrite: func(r *http.Request) error { r.Header.Set("X-Signature", rotated); return nil },
	}
	r := run(t, e)
	want(t, r, diagnose.Well)
	for _, h := range seen {
		if h.Get("Authorization") != "Bearer "+rotated || h.Get("X-Project") != "p1" || h.Get("X-Signature") != rotated {
			t.Errorf("the host got %v", h)
		}
	}
	text, err := json.Marshal(r)
	if err != nil || strings.Contains(string(text), rotated) {
		t.Errorf("%v: %s", err, text)
	}
	if r.HTTP.Edge != "Cloudflare" || r.HTTP.RequestID != "req-1" || r.HTTP.Protocol != "HTTP/1.1" {
		t.Errorf("%+v", r.HTTP)
	}
}

func TestRun_UserCodeFails(t *testing.T) {
	server := quietServer(t, hostHandler(t, true))
	e := breakwater.Endpoint{Name: "own", URL: server.URL, APIKey: key}
	broken := errors.New("the vault is sealed: " + key)
	e.Rewrite = func(*http.Request) error { return broken }
	r := run(t, e)
	want(t, r, diagnose.Down, "application/rewrite-failed")
	if !errors.Is(r.Err(), broken) || strings.Contains(r.Err().Error(), key) {
		t.Errorf("Err is %v", r.Err())
	}
	e.Rewrite = func(*http.Request) error { panic(key) }
	want(t, run(t, e), diagnose.Down, "application/rewrite-failed")
	e.Rewrite, e.APIKey, e.KeyFunc = nil, "", func(context.Context, string) (string, error) { return "", broken }
	r = run(t, e)
	want(t, r, diagnose.Down, "application/key-function-failed")
	if !errors.Is(r.Err(), breakwater.ErrKeyFunc) || !errors.Is(r.Err(), broken) {
		t.Errorf("Err is %v", r.Err())
	}
}

// What hosts answer to the request for the models.
func TestRun_Answers(t *testing.T) {
	write := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		verdict diagnose.Verdict
		codes   []string
	}{
		{"a web page", write(200, "text/html", "<html>Welcome to the hotel</html>"), diagnose.Down, []string{"protocol/web-page"}},
		{"another service", write(200, "application/json", `{"status":"up"}`), diagnose.Down, []string{"application/not-an-api"}},
		{"no models", write(200, "application/json", `{"data":[]}`), diagnose.Degraded, []string{"application/no-models"}},
		{"a firewall", write(403, "text/html", "<html>Attention Required!</html>"), diagnose.Down, []string{"protocol/blocked"}},
		{"a challenge", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cf-Mitigated", "challenge")
			write(429, "text/html", "<html>")(w, r)
		}, diagnose.Down, []string{"protocol/blocked"}},
		{"nothing there", write(404, "application/json", `{"error":{"message":"no such route"}}`), diagnose.Down, []string{"application/wrong-path"}},
		{"a body that breaks", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, models)
		}, diagnose.Down, []string{"protocol/body-broken"}},
		{"a clock that is ahead", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
			fmt.Fprint(w, models)
		}, diagnose.Degraded, []string{"protocol/clock-skew"}},
		{"an old answer of a cache", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
			w.Header().Set("Age", "3600")
			fmt.Fprint(w, models)
		}, diagnose.Well, nil},
		{"overloaded", write(529, "application/json", `{"error":{"type":"overloaded_error","message":"Overloaded"}}`), diagnose.Down, []string{"application/overloaded"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := quietServer(t, tt.handler)
			want(t, run(t, breakwater.Endpoint{Name: "own", URL: server.URL, APIKey: key}), tt.verdict, tt.codes...)
		})
	}
	noise := rawServer(t, func(c net.Conn) {
		c.Read(make([]byte, 1))
		io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n")
		io.Copy(io.Discard, c)
	})
	want(t, run(t, breakwater.Endpoint{Name: "own", URL: "http://" + noise, APIKey: key}), diagnose.Down, "protocol/http-malformed")
}

// If the API is at another path of the same origin, the advice names it.
func TestRun_WrongPath(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, models) })
	server := quietServer(t, mux)
	for _, path := range []string{"", "/api", "/v1beta"} {
		r := run(t, breakwater.Endpoint{Name: "own", URL: server.URL + path, APIKey: key})
		want(t, r, diagnose.Down, "application/wrong-path")
		if next := r.Findings[0].Next; !strings.Contains(next, server.URL+"/v1:") {
			t.Errorf("%q: next is %q", path, next)
		}
	}
}

// Names that were retired, with and without breakwater's knowledge of the host.
func TestRun_RetiredNames(t *testing.T) {
	r := inBubble(t, breakwatertest.DeepSeek("primary"), breakwatertest.Fault{}, nil, diagnose.WithModel("deepseek-chat"), diagnose.WithSpend())
	if r.Verdict != diagnose.Well || !r.Has(diagnose.ModelRenamed) || r.Models.Renamed["deepseek-chat"] != "deepseek-flash" || r.Models.Asked != "deepseek-flash" {
		t.Errorf("%s: %+v %+v", r.Verdict, r.Findings, r.Models)
	}
	host := breakwatertest.DeepSeek("primary")
	host.Models = []string{"deepseek-v4-pro", "deepseek-v4-flash"}
	unknown := func(e *breakwater.Endpoint) { e.Host, e.Models = breakwater.HostOpenAI, map[string]string{} }
	r = inBubble(t, host, breakwatertest.Fault{}, unknown, diagnose.WithModel("deepseek-chat"), diagnose.WithSpend())
	if !slices.Contains(found(r), "application/model-retired") {
		t.Errorf("%v", found(r))
	}
	r = inBubble(t, host, breakwatertest.Fault{}, nil, diagnose.WithModel("deepseek-v5"))
	if got := found(r); !slices.Equal(got, []string{"application/model-not-listed"}) || !slices.Equal(r.Models.Missing, []string{"deepseek-v5"}) {
		t.Errorf("%v %+v", got, r.Models)
	}
}

// Money: what is left, little, none.
func TestRun_Balance(t *testing.T) {
	for _, tt := range []struct {
		body    string
		verdict diagnose.Verdict
		codes   []string
	}{
		{`{"is_available":true,"balance_infos":[{"currency":"CNY","total_balance":"110.00"}]}`, diagnose.Well, nil},
		{`{"is_available":true,"balance_infos":[{"currency":"CNY","total_balance":"0.40"}]}`, diagnose.Degraded, []string{"application/balance-low"}},
		{`{"is_available":false,"balance_infos":[{"currency":"CNY","total_balance":"-0.02"}]}`, diagnose.Down, []string{"application/no-funds"}},
		{`<html>`, diagnose.Well, nil},
	} {
		server := quietServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/user/balance" {
				fmt.Fprint(w, tt.body)
			} else {
				fmt.Fprint(w, models)
			}
		}))
		r := run(t, breakwater.Endpoint{Name: "own", URL: server.URL + "/v1", APIKey: key, Host: breakwater.HostDeepSeek})
		want(t, r, tt.verdict, tt.codes...)
	}
}

// All personas of the kit are well, each in its own dialect.
func TestRun_Personas(t *testing.T) {
	for _, host := range breakwatertest.Personas() {
		kind := map[string]breakwater.Host{"ark": breakwater.HostVolcengine}[host.Name]
		if kind == "" {
			kind = breakwater.Host(host.Name)
		}
		r := inBubble(t, host, breakwatertest.Fault{}, func(e *breakwater.Endpoint) {
			e.Host, e.Models = kind, map[string]string{"deepseek-flash": "deepseek-flash"}
			if host.NoKey {
				e.APIKey, e.Keyless = "", true
			}
		}, diagnose.WithSpend())
		if r.Verdict != diagnose.Well || len(r.Answers) != 2 {
			t.Errorf("%s: %s %v %s", host.Name, r.Verdict, found(r), r.Summary)
		}
		for _, fault := range []breakwatertest.Fault{breakwatertest.Overdue(), breakwatertest.Unauthorized(), breakwatertest.Busy()} {
			r := inBubble(t, host, fault, func(e *breakwater.Endpoint) { e.Host = kind })
			code := map[string]diagnose.Code{"Overdue": diagnose.NoFunds, "Unauthorized": diagnose.KeyRejected, "Busy": diagnose.Overloaded}[fault.Name()]
			limited := fault.Name() == "Overdue" && r.Has(diagnose.RateLimited) // insufficient_quota, which some hosts say of a limit
			if !r.Has(code) && !limited {
				t.Errorf("%s: %s is %v, want %s", host.Name, fault, found(r), code)
			}
		}
	}
}

// Only one answer fails: calls of that kind do.
func TestRun_PaceOfAnswers(t *testing.T) {
	host := breakwatertest.DeepSeek("primary")
	host.Pace = breakwatertest.Pace{Queue: 3 * time.Second, KeepAlive: time.Second, FirstToken: time.Second, PerToken: 250 * time.Millisecond, Tokens: 12}
	r := inBubble(t, host, breakwatertest.Fault{}, nil, diagnose.WithSpend())
	if r.Verdict != diagnose.Degraded || !r.Has(diagnose.TokensSlow) {
		t.Errorf("%s: %v", r.Verdict, found(r))
	}
	for _, a := range r.Answers {
		if a.Stream && (a.Queue.Duration() != 3*time.Second || a.KeepAlives != 3 || a.FirstToken.Duration() != 4*time.Second || a.PerSecond < 3.6 || a.PerSecond > 3.7) {
			t.Errorf("%+v", a)
		}
	}
}

// Mistakes in options are told, and change nothing else.
func TestRun_Options(t *testing.T) {
	server := quietServer(t, hostHandler(t, false))
	e := breakwater.Endpoint{Name: "own", URL: server.URL, APIKey: key}
	for _, option := range []diagnose.Option{
		diagnose.WithTimeout(-1), diagnose.WithTimeout(5), diagnose.WithLanguage("de"), diagnose.WithModel(" "), diagnose.WithWire("soap"), diagnose.WithTransport(nil),
		diagnose.WithNameservers("dns.example"), diagnose.WithLookup(nil), diagnose.WithEnvironment(nil), diagnose.WithStatusPages("status.example.com"),
	} {
		r := run(t, e, option, nil)
		want(t, r, diagnose.Degraded, "application/option-invalid")
		var mistake *diagnose.OptionError
		if !errors.As(r.Err(), &mistake) || mistake.Option == "" || !errors.As(diagnose.Check(option), &mistake) {
			t.Errorf("Err is %v", r.Err())
		}
	}
	if err := diagnose.Check(diagnose.WithSpend(), diagnose.WithTimeout(time.Minute)); err != nil {
		t.Error(err)
	}
}

// An endpoint that breakwater refuses is diagnosed without its key.
func TestRun_InvalidEndpoints(t *testing.T) {
	server := quietServer(t, hostHandler(t, true))
	for _, url := range []string{"", "api.deepseek.com", "ftp://x", "https://", "http://[::1"} {
		r := run(t, breakwater.Endpoint{Name: "own", URL: url, APIKey: key})
		if !r.Has(diagnose.EndpointInvalid) || r.Verdict != diagnose.Down {
			t.Errorf("%q: %v", url, found(r))
		}
	}
	for _, e := range []breakwater.Endpoint{
		breakwater.Bedrock(key, "us-east-1"), breakwater.Bedrock("ABSK0123456789abcdef", "us-east-1"), breakwater.AzureFoundry(key, "resource"),
		breakwater.BailianWorkspace("cn-beijing", key, "x"), breakwater.VLLM(key, server.URL), {URL: "https://user:" + key + "@127.0.0.1:9/"},
	} {
		r := run(t, e, diagnose.WithLookup(func(_ context.Context, name string) ([]netip.Addr, error) {
			t.Errorf("%s was looked up", name)
			return nil, nil
		}))
		text := fmt.Sprintf("%+v", r)
		if !r.Has(diagnose.EndpointInvalid) && !r.Has(diagnose.KeyMalformed) || strings.Contains(strings.ToLower(text), "0123456789abcdef") {
			t.Errorf("%s", text)
		}
	}
	r := run(t, breakwater.Endpoint{Name: "own", URL: "http://api.example.test:9/v1", APIKey: key}, diagnose.WithLookup(lookup("127.0.0.1")))
	if !r.Has(diagnose.EndpointInvalid) || !strings.Contains(r.Findings[0].Seen, "plain http") {
		t.Errorf("%+v", r.Findings)
	}
	_ = server
}

// A host that gives its list without a key may need none. An answer shows it.
func TestRun_WithoutKey(t *testing.T) {
	bare := func(host breakwater.Host) func(*breakwater.Endpoint) {
		return func(e *breakwater.Endpoint) { e.APIKey, e.Host = "", host }
	}
	spend := diagnose.WithSpend()
	for _, tt := range []struct {
		name    string
		host    breakwatertest.Host
		as      breakwater.Host
		keyless bool
		verdict diagnose.Verdict
		codes   []string
	}{
		{"needs none", breakwatertest.VLLM("vllm"), breakwater.HostVLLM, false, diagnose.Degraded, []string{"application/key-missing"}},
		{"is said to need none", breakwatertest.VLLM("vllm"), breakwater.HostVLLM, true, diagnose.Well, nil},
		{"needs one", breakwatertest.DeepSeek("primary"), breakwater.HostDeepSeek, false, diagnose.Down, []string{"application/key-missing"}},
		{"is wrongly said to need none", breakwatertest.DeepSeek("primary"), breakwater.HostDeepSeek, true, diagnose.Down, []string{"application/key-missing"}},
	} {
		r := inBubble(t, tt.host, breakwatertest.Fault{}, func(e *breakwater.Endpoint) { bare(tt.as)(e); e.Keyless = tt.keyless }, spend)
		if got := found(r); r.Verdict != tt.verdict || !slices.Equal(got, tt.codes) {
			t.Errorf("%s: %s with %v", tt.name, r.Verdict, got)
		}
	}
	public := quietServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // as OpenRouter does
		if r.Method == http.MethodGet {
			fmt.Fprint(w, models)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":{"message":"No auth credentials found","code":401}}`)
	}))
	want(t, run(t, breakwater.Endpoint{Name: "own", URL: public.URL}), diagnose.Degraded, "application/key-missing")
	want(t, run(t, breakwater.Endpoint{Name: "own", URL: public.URL}, spend), diagnose.Down, "application/key-missing")
}

// Progress tells each stage's begin and end, and JSON can be read back.
func TestReport_JSON(t *testing.T) {
	server := quietServer(t, hostHandler(t, false))
	var mu sync.Mutex
	running, ended := make(map[diagnose.StageName]bool), make(map[diagnose.StageName]bool)
	r := run(t, breakwater.Endpoint{Name: "own", URL: server.URL, APIKey: key}, diagnose.WithProgress(func(s diagnose.Stage) {
		mu.Lock()
		defer mu.Unlock()
		if s.State == diagnose.Running {
			running[s.Name] = true
		} else {
			ended[s.Name] = true
		}
	}))
	if len(ended) != len(r.Stages) || len(running) != len(ended) {
		t.Errorf("%d began, %d ended, the report has %d", len(running), len(ended), len(r.Stages))
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back diagnose.Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(text) {
		t.Errorf("%v\n%s\n%s", err, text, again)
	}
	if !reflect.DeepEqual(back.Stages[0].Name, diagnose.StageConfig) {
		t.Errorf("%+v", back.Stages)
	}
}

func TestOverall(t *testing.T) {
	well, degraded, down := diagnose.Report{Verdict: diagnose.Well}, diagnose.Report{Verdict: diagnose.Degraded}, diagnose.Report{Verdict: diagnose.Down}
	for _, tt := range []struct {
		reports []diagnose.Report
		want    diagnose.Verdict
	}{
		{nil, diagnose.Down},
		{[]diagnose.Report{well, well}, diagnose.Well},
		{[]diagnose.Report{well, down}, diagnose.Degraded},
		{[]diagnose.Report{degraded}, diagnose.Degraded},
		{[]diagnose.Report{down, down}, diagnose.Down},
	} {
		if got := diagnose.Overall(tt.reports...); got != tt.want {
			t.Errorf("Overall(%v) = %s, want %s", tt.reports, got, tt.want)
		}
	}
}

// The causes are in the error of a report.
func TestReport_Err(t *testing.T) {
	r := run(t, breakwater.Endpoint{Name: "own", URL: "http://127.0.0.1:9", APIKey: key})
	var unwell *diagnose.UnwellError
	if err := r.Err(); !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &unwell) || unwell.Report.Verdict != diagnose.Down {
		t.Errorf("Err is %v", err)
	}
}

// A status page is advice: it changes no verdict, and gets no key.
func TestRun_StatusPage(t *testing.T) {
	page := quietServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the page got a key")
		}
		fmt.Fprint(w, `{"status":{"indicator":"major","description":"Partial outage"},"incidents":[{"id":"1"},{"id":"2"}]}`)
	}))
	server := quietServer(t, hostHandler(t, false))
	r := run(t, breakwater.Endpoint{Name: "own", URL: server.URL, APIKey: key}, diagnose.WithStatusPages("http://127.0.0.1:9/", page.URL+"/api/v2/summary.json"))
	want(t, r, diagnose.Well)
	if r.Status == nil || !r.Status.Reached || r.Status.Indicator != "major" || r.Status.Incidents != 2 || !r.Has(diagnose.Incident) {
		t.Errorf("%+v", r.Status)
	}
	if r = run(t, breakwater.Endpoint{Name: "own", URL: server.URL, APIKey: key}, diagnose.WithStatusPages("http://127.0.0.1:9/")); r.Status.Reached || r.Verdict != diagnose.Well {
		t.Errorf("%+v", r.Status)
	}
}

// If ctx ends, Run returns.
func TestRun_Canceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := diagnose.Run(ctx, breakwater.Endpoint{Name: "own", URL: "http://127.0.0.1:9", APIKey: key}, diagnose.WithStatusPages())
	if r.Verdict == diagnose.Well {
		t.Errorf("%+v", r)
	}
}
