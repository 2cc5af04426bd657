package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

func presets() []Endpoint {
	token := func(context.Context) (string, error) { return "k", nil }
	return []Endpoint{
		DeepSeek("k"), VolcengineArk("k"), SiliconFlow("k"), SiliconFlowCN("k"), Bailian("k"), BailianIntl("k"), BailianWorkspace("ws-1", "cn-beijing", "k"), TencentLKEAP("k"), TencentTokenHub("k"),
		BaiduQianfan("k"), AzureFoundry("res", "k"), OpenRouter("k"), Together("k"), Fireworks("k"), Bedrock("us-east-1", "k"), NVIDIA("k"), Novita("k"), OllamaCloud("k"), Ollama(),
		VLLM("http://localhost:8000/v1", "k"), SGLang("http://localhost:30000/v1", "k"),
		AzureEntra("res", token), BedrockToken("us-east-1", token), Vertex("project-1", "us-central1", token), Vertex("project-1", "global", token),
	}
}

// Every preset is valid, is told from its URL where its servers are known, and
// sends the operations of its profile below its base path or a root of its own.
func TestHost_Presets(t *testing.T) {
	seen := make(map[Host]bool)
	for _, e := range presets() {
		rt, err := New(WithEndpoints(e))
		if err != nil {
			t.Errorf("%v: %v", e, err)
			continue
		}
		seen[e.Host] = true
		at := rt.now().tiers[0][0]
		if known := hostOf(at.base.Hostname()); known != e.Host && !origin.IsLoopback(at.base.Hostname()) {
			t.Errorf("%v is told to be %q from its URL, want %q", e, known, e.Host)
		}
		for op, roots := range at.profile.Operations {
			for _, root := range roots {
				if !at.paths.Cover(root + string(op)) {
					t.Errorf("%v does not take %s%s for its own", e, root, op)
				}
			}
		}
		if root, ok := at.paths.RootOf(request.Chat); !ok || root != at.base.Path {
			t.Errorf("%v serves chat completions below %q, want its base path", e, root)
		}
		for from, to := range e.Models {
			if from == "" || to == "" {
				t.Errorf("%v maps %q to %q", e, from, to)
			}
		}
	}
	for p := range host.All() {
		if !seen[Host(p.Name)] && !p.Generic {
			t.Errorf("%s has no preset, or presets does not list it", p.Name)
		}
	}
}

// The hosts that users see are those of the table, each with a constant.
func TestHost_ConstantsAreThoseOfTheTable(t *testing.T) {
	text, err := os.ReadFile("endpoint.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := make(map[string]bool)
	for _, c := range regexp.MustCompile(`(?m)^\tHost\w+ +Host = "(\w+)"`).FindAllStringSubmatch(string(text), -1) {
		constants[c[1]] = true
		if host.Lookup(c[1]).Name != c[1] {
			t.Errorf("endpoint.go names the host %q, and the table has no such row", c[1])
		}
	}
	for p := range host.All() {
		if !constants[p.Name] {
			t.Errorf("the table has a row of %q, and endpoint.go no constant for it", p.Name)
		}
	}
	if generic := Host("").profile(); Host(generic.Name) != HostOpenAI || !generic.Generic {
		t.Errorf("a host that is not known is taken for %q, want %q", generic.Name, HostOpenAI)
	}
}

// Presets are copies: what a user changes in one changes no other.
func TestHost_PresetsAreCopies(t *testing.T) {
	VolcengineArk("k").Models["deepseek-flash"] = "ep-mine"
	if got := VolcengineArk("k").Models["deepseek-flash"]; got == "ep-mine" {
		t.Error("one preset's Models are another's")
	}
}

// routed is where a call ended up.
type routed struct{ url, body, header string }

// route makes one call meant for the first endpoint, which is down, and returns
// what the second was sent.
func route(t *testing.T, from, to Endpoint, url, body string, edit ...func(*http.Request)) routed {
	t.Helper()
	var got routed
	down, _ := origin.Of(mustURL(t, from.URL))
	rt, err := New(steady(), once, noBreaker, WithEndpoints(from), WithBackup(to), WithBase(RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		text, _ := io.ReadAll(req.Body)
		if down.Has(req.URL) && from.URL != to.URL {
			return answer(503, asJSON, "{}"), nil
		}
		got.url, got.body = req.URL.String(), string(text)
		for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "Anthropic-Version"} {
			if v := req.Header.Get(name); v != "" {
				got.header += name + "=" + v + " "
			}
		}
		return answer(200, asJSON, goodJSON), nil
	})))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edit {
		e(req)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return got
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Each operation lands where the next host has it, if it has it.
func TestHost_OperationsFindTheirRoot(t *testing.T) {
	deepseek := DeepSeek("sk-ds")
	azure := Endpoint{Name: "azure", URL: "https://res.openai.azure.com/openai/deployments/ds?api-version=2024-10-21", APIKey: "sk-az"}
	generic := Endpoint{Name: "g", URL: "https://g.example/api/v9", APIKey: "sk-g"}
	const chat, fim = `{"model":"deepseek-v4-pro","messages":[]}`, `{"model":"deepseek-v4-pro","prompt":"a"}`
	own := Endpoint{Name: "own", URL: "https://own.example/v1", APIKey: "sk-own"}
	for _, tt := range []struct {
		name, url, body string
		from, to        Endpoint
		want            string
	}{
		{"chat to Ark", "https://api.deepseek.com/chat/completions", chat, deepseek, VolcengineArk("k"), "https://ark.cn-beijing.volces.com/api/v3/chat/completions"},
		{"chat from /v1 to Bailian", "https://api.deepseek.com/v1/chat/completions?key=x", chat, deepseek, Bailian("k"), "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions"},
		{"chat to Azure's deployments", "https://api.deepseek.com/chat/completions", chat, deepseek, azure, "https://res.openai.azure.com/openai/deployments/ds/chat/completions?api-version=2024-10-21"},
		{"FIM to DeepSeek", "https://own.example/v1/completions", fim, own, deepseek, "https://api.deepseek.com/beta/completions"},
		{"FIM to a host without it", "https://api.deepseek.com/beta/completions", fim, deepseek, Bailian("k"), ""},
		{"responses to a host without it", "https://api.deepseek.com/responses", `{"model":"deepseek-v4-pro","input":"a"}`, deepseek, SiliconFlow("k"), ""},
		{"responses that go on from others", "https://own.example/v1/responses", `{"model":"deepseek-v4-pro","input":"a","previous_response_id":"r"}`, own, deepseek, ""},
		{"messages to DeepSeek", "https://own.example/v1/messages", chat, own, deepseek, "https://api.deepseek.com/anthropic/v1/messages"},
		{"a begun answer to a host that goes on", "https://api.deepseek.com/beta/chat/completions", `{"model":"deepseek-v4-pro","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","prefix":true}]}`, deepseek, generic, ""},
		{"beta without a begun answer", "https://api.deepseek.com/beta/chat/completions", `{"model":"deepseek-v4-pro","messages":[{"role":"assistant","content":"b","prefix":true},{"role":"user","content":"a"}]}`, deepseek, generic, "https://g.example/api/v9/chat/completions"},
		{"embeddings to who does not name the model", "https://own.example/v1/embeddings", `{"model":"m","input":"a"}`, own, generic, ""},
		{"embeddings to who names the model", "https://own.example/v1/embeddings", `{"model":"m","input":"a"}`, own, Endpoint{Name: "g", URL: "https://g.example/v1", Keyless: true, Models: map[string]string{"m": "m"}}, "https://g.example/v1/embeddings"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := route(t, tt.from, tt.to, tt.url, tt.body); got.url != tt.want {
				t.Errorf("the call went to %q, want %q", got.url, tt.want)
			}
		})
	}
}

// Keys go in the header that the host reads.
func TestHost_KeyHeaders(t *testing.T) {
	own := Endpoint{Name: "own", URL: "https://own.example/v1", APIKey: "sk-own"}
	version := func(req *http.Request) { req.Header.Set("Anthropic-Version", "2023-06-01") }
	const body = `{"model":"deepseek-v4-pro","messages":[]}`
	for _, tt := range []struct {
		name, url string
		to        Endpoint
		want      string
	}{
		{"bearer", "https://own.example/v1/chat/completions", DeepSeek("sk-ds"), "Authorization=Bearer sk-ds Anthropic-Version=2023-06-01 "},
		{"Azure", "https://own.example/v1/chat/completions", AzureFoundry("res", "sk-az"), "Api-Key=sk-az Anthropic-Version=2023-06-01 "},
		{"messages", "https://own.example/v1/messages", DeepSeek("sk-ds"), "Authorization=Bearer sk-ds X-Api-Key=sk-ds Anthropic-Version=2023-06-01 "},
	} {
		if got := route(t, own, tt.to, tt.url, body, version); got.header != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got.header, tt.want)
		}
	}
}

// What a body says about model, thinking and user is said to the next host in
// its own fields, and nothing else of it changes.
func TestHost_BodiesAreTranslated(t *testing.T) {
	deepseek, chat := DeepSeek("k"), "https://api.deepseek.com/chat/completions"
	const rest = `"messages":[{"role":"user","content":"\u00e9 \"model\":1"}], "seed": 1.50}`
	for _, tt := range []struct {
		name     string
		from, to Endpoint
		url      string
		body     string
		want     string
	}{
		{"model", deepseek, VolcengineArk("k"), chat, `{"model" : "deepseek-flash",` + rest, `{"model" : "deepseek-v4-flash-ga-260731",` + rest},
		{"thinking as DeepSeek has it to Bailian", deepseek, Bailian("k"), chat, `{"thinking": {"type" : "disabled"},"model":"deepseek-v4-pro",` + rest, `{"enable_thinking":false,"model":"deepseek-v4-pro",` + rest},
		{"Bailian's to DeepSeek", Bailian("k"), deepseek, "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions", `{"model":"deepseek-v4-pro","enable_thinking":true,"user":"u",` + rest, `{"model":"deepseek-v4-pro","thinking":{"type":"enabled"},"user_id":"u",` + rest},
		{"a retired name by its stand-in's", deepseek, Endpoint{Name: "own", URL: "https://own.example", APIKey: "k", Models: map[string]string{"deepseek-flash": "v4"}}, chat, `{"model":"deepseek-chat",` + rest, `{"model":"v4",` + rest},
		{"a retired name on Messages", deepseek, Bailian("k"), "https://api.deepseek.com/anthropic/v1/messages", `{"model":"deepseek-chat",` + rest, `{"model":"deepseek-v4-flash","thinking":{"type":"disabled"},` + rest},
		{"the meant host's own name", VolcengineArk("k"), OpenRouter("k"), "https://ark.cn-beijing.volces.com/api/v3/chat/completions", `{"model":"deepseek-v4-pro-ga-260813",` + rest, `{"model":"deepseek/deepseek-v4-pro",` + rest},
		{"the meant host's own name to DeepSeek", VolcengineArk("k"), deepseek, "https://ark.cn-beijing.volces.com/api/v3/chat/completions", `{"model":"deepseek-v4-pro-ga-260813",` + rest, `{"model":"deepseek-v4-pro",` + rest},
		{"a name that nobody else has", deepseek, OpenRouter("k"), chat, `{"model":"deepseek-v5",` + rest, ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := route(t, tt.from, tt.to, tt.url, tt.body); got.body != tt.want {
				t.Errorf("the next host got\n%s, want\n%s", got.body, tt.want)
			}
		})
	}
}

// Code pinned to DeepSeek's names of old works again, without endpoints too;
// and a name that the user maps is the user's.
func TestHost_RetiredNamesWork(t *testing.T) {
	const ask = `{"model":"deepseek-chat","messages":[]}`
	for _, tt := range []struct {
		name string
		opts []Option
		want string
	}{
		{"no endpoints", nil, `{"model":"deepseek-flash","thinking":{"type":"disabled"},"messages":[]}`},
		{"the preset", []Option{WithEndpoints(DeepSeek("k"))}, `{"model":"deepseek-flash","thinking":{"type":"disabled"},"messages":[]}`},
		{"mapped to itself", []Option{WithEndpoints(Endpoint{URL: "https://api.deepseek.com", Models: map[string]string{"deepseek-chat": "deepseek-chat"}})}, ask},
	} {
		var got string
		rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			text, _ := io.ReadAll(req.Body)
			got = string(text)
			return answer(200, asJSON, goodJSON), nil
		}), tt.opts...)
		req, _ := post(t.Context(), "https://api.deepseek.com", ask)
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got != tt.want {
			t.Errorf("%s: DeepSeek got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// Without endpoints, a path alone makes no inference of a stranger's call:
// it goes through once, whatever becomes of it.
func TestHost_StrangersCallsAreNoInference(t *testing.T) {
	for _, tt := range []struct {
		url, body string
		want      int // attempts at a host that is down
	}{
		{"https://forms.example/v1/responses", `{"answers":[1,2]}`, 1},
		{"https://forms.example/v1/responses", `a=b`, 1},
		{"https://api.openai.com/v1/threads/x/messages", `{"role":"user","content":"a","model":"m"}`, 1},
		{"https://llm.example/v1/responses", `{"model":"m","input":"a"}`, 3},
		{"https://llm.example/v1/messages", `{"model":"m","messages":[]}`, 3},
		{"https://llm.example/v1/chat/completions", `{"messages":[]}`, 3},
		{"https://api.deepseek.com/responses", `{}`, 3},
	} {
		var bodies []string
		rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			text, _ := io.ReadAll(req.Body)
			bodies = append(bodies, string(text))
			return answer(503, asJSON, "{}"), nil
		}), WithRetry(RetryPolicy{MinDelay: Off}), noBreaker)
		req, err := http.NewRequest(http.MethodPost, tt.url, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if len(bodies) != tt.want || bodies[0] != tt.body || resp.StatusCode != 503 {
			t.Errorf("%s %s: %d attempts with %q, want %d", tt.url, tt.body, len(bodies), bodies, tt.want)
		}
	}
}

// The kit's personas say in each host's words what its profile reads there: the
// two were written apart.
func TestHost_PersonasAreUnderstood(t *testing.T) {
	hosts := map[kit.Dialect][]Host{
		kit.DialectDeepSeek: {HostDeepSeek}, kit.DialectSiliconFlow: {HostSiliconFlow}, kit.DialectArk: {HostVolcengine},
		kit.DialectBailian: {HostBailian}, kit.DialectTokenHub: {HostTokenHub, HostTencent}, kit.DialectQianfan: {HostQianfan}, kit.DialectAzure: {HostAzure},
		kit.DialectOpenRouter: {HostOpenRouter}, kit.DialectTogether: {HostTogether}, kit.DialectFireworks: {HostFireworks}, kit.DialectOllama: {HostOllama},
		kit.DialectVLLM: {HostVLLM}, kit.DialectSGLang: {HostSGLang},
		kit.DialectOpenAI: {HostOpenAI, HostBedrock, HostVertex, HostNVIDIA, HostNovita}, // the words of the others are not known
	}
	says := map[Class]kit.Fault{
		ClassKeyRejected: kit.Unauthorized(), ClassNoFunds: kit.Overdue(), ClassRateLimited: kit.TooManyRequests("1"), ClassUnavailable: kit.Busy(),
		ClassNoModel: kit.ModelNotFound(), ClassUnsuited: kit.ContextLength(), ClassFiltered: kit.ContentFilter(),
	}
	// Where the kit has to guess a host's words, or OpenAI's stand for them, the
	// generic rules hold.
	generic := map[string]Class{
		"openai/Overdue": ClassRateLimited, "tokenhub/Overdue": ClassRateLimited, "azure/Overdue": ClassRateLimited, "ollama/Overdue": ClassRateLimited,
		"vllm/Overdue": ClassRateLimited, "sglang/Overdue": ClassRateLimited, "ark/Busy": ClassRateLimited,
		"siliconflow/ContentFilter": ClassRefused, "sglang/ModelNotFound": ClassRefused,
		"ollama/ContextLength": ClassRefused, "ollama/ContentFilter": ClassRefused,
		"openrouter/ContentFilter": ClassRefused, "vllm/ContentFilter": ClassRefused, "sglang/ContentFilter": ClassRefused,
	}
	spoken := make(map[Host]bool)
	for _, persona := range kit.Personas() {
		if len(hosts[persona.Dialect]) == 0 {
			t.Errorf("%s speaks the dialect %s: this test does not say of which host", persona.Name, persona.Dialect)
		}
		for _, of := range hosts[persona.Dialect] {
			spoken[of] = true
			for class, fault := range says {
				name := persona.Name + "/" + fault.Name()
				if guess, ok := generic[name]; ok {
					class = guess
				}
				t.Run(name+"/"+string(of), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						fleet, err := kit.NewPipeFleet(persona)
						if err != nil {
							t.Fatal(err)
						}
						base := fleet.Transport()
						server := fleet.Servers()[0]
						server.Break(fault)
						rt := over(t, base, once, WithEndpoints(Endpoint{URL: server.URL(), APIKey: "sk", Host: of}))
						trail := &Trail{}
						req, err := kit.ChatRequest(WithCall(t.Context(), Call{Trail: trail}), server.URL(), "sk", testModel, "q", false)
						if err != nil {
							t.Fatal(err)
						}
						if resp, err := rt.RoundTrip(req); err == nil {
							resp.Body.Close()
						}
						if got := trail.Attempts(); len(got) != 1 || got[0].Class != class {
							t.Errorf("attempts %+v, want one of class %s", got, class)
						}
						base.CloseIdleConnections()
						fleet.Close()
					})
				})
			}
		}
	}
	for p := range host.All() {
		if !spoken[Host(p.Name)] {
			t.Errorf("no persona speaks as %s", p.Name)
		}
	}
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
		if meant := rt.now().targetOf(req.URL, true); meant == nil || meant.Name != tt.key {
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

// Between endpoints of one host, or of hosts that nobody knows, what stands below the base
// URL stays as the caller wrote it. Between kinds it is built anew.
func TestHost_PathsBelowTheBaseStay(t *testing.T) {
	const none, ark, deepseek, azure, vllm = "", HostVolcengine, HostDeepSeek, HostAzure, HostVLLM
	for _, tt := range []struct {
		from, to     Host
		base, other  string
		asked, wants string // below the origins https://a and https://b
	}{
		{none, none, "", "", "/anthropic/v1/messages", "/anthropic/v1/messages"},
		{none, none, "", "", "/openai/v1/chat/completions", "/openai/v1/chat/completions"},
		{none, none, "", "", "/x/responses", "/x/responses"},
		{none, none, "", "", "/x/completions", "/x/completions"},
		{none, none, "", "", "/x/embeddings", "/x/embeddings"},
		{none, none, "", "/proxy", "/anthropic/v1/messages", "/proxy/anthropic/v1/messages"},
		{none, none, "/proxy", "", "/proxy/anthropic/v1/messages", "/anthropic/v1/messages"},
		{none, none, "/v1", "/api/v3", "/v1/chat/completions", "/api/v3/chat/completions"},
		{none, none, "", "/v1", "/v1/chat/completions", "/v1/chat/completions"},
		{none, none, "", "/v1", "/v1/messages", "/v1/messages"},
		{none, none, "/v1", "", "/v1/messages", "/v1/messages"},
		{none, none, "", "/anthropic", "/anthropic/v1/messages", "/anthropic/v1/messages"},
		{none, none, "", "/v1", "/team/v1/chat/completions", "/v1/team/v1/chat/completions"},
		{none, none, "", "/acct%2Fteam", "/v1/chat/completions", "/acct%2Fteam/v1/chat/completions"},
		{none, none, "", "", "/a%2Fb/v1/chat/completions", "/a/b/v1/chat/completions"},
		{none, none, "/team1", "/team2", "/team1/../team3/chat/completions", "/team2/chat/completions"},
		{none, none, "/team1", "/team2", "/team1/x/%2e%2e/%2e./team3/chat/completions", "/team2/chat/completions"},
		{none, none, "/team1", "/team2", "/team1/..%5cteam3/chat/completions", "/team2/chat/completions"},
		{none, none, "/team1", "/team2", "/team1/..x/chat/completions", "/team2/..x/chat/completions"},
		{vllm, vllm, "", "", "/anthropic/v1/messages", "/anthropic/v1/messages"},
		{deepseek, deepseek, "", "", "/beta/chat/completions", "/beta/chat/completions"},
		{deepseek, deepseek, "", "/gw", "/beta/chat/completions", "/gw/beta/chat/completions"},
		{deepseek, deepseek, "/gw/v1", "/other/v1", "/gw/v1/chat/completions", "/other/v1/chat/completions"},
		{deepseek, deepseek, "", "/v1", "/anthropic/v1/messages", "/anthropic/v1/messages"},
		{azure, azure, "/openai", "/openai", "/openai/deployments/d/chat/completions?api-version=2024-10-21", "/openai/deployments/d/chat/completions?api-version=2024-10-21"},
		{azure, azure, "/openai/v1", "/openai/v1", "/openai/deployments/d/chat/completions", "/openai/deployments/d/chat/completions"},
		{azure, azure, "/openai/v1", "/openai/v1", "/openai/v1/chat/completions?api-version=preview", "/openai/v1/chat/completions?api-version=preview"},
		{azure, azure, "/openai/v1", "/openai/v1", "/openai/v1/chat/completions?key=secret", "/openai/v1/chat/completions"},

		{none, deepseek, "", "", "/x/v1/chat/completions", "/chat/completions"},
		{deepseek, none, "", "/v1", "/beta/completions", "/v1/completions"},
		{none, ark, "", "/api/v3", "/v1/chat/completions", "/api/v3/chat/completions"},
		{vllm, none, "", "", "/anthropic/v1/messages", "/v1/messages"},
		{azure, none, "/openai/v1", "/v1", "/openai/v1/chat/completions?api-version=preview", "/v1/chat/completions"},
	} {
		base := Endpoint{Name: "a", URL: "https://a" + tt.base, APIKey: "k", Host: tt.from}
		other := Endpoint{Name: "b", URL: "https://b" + tt.other, APIKey: "k", Host: tt.to, Models: map[string]string{"m": "m"}}
		if got := route(t, base, other, "https://a"+tt.asked, `{"model":"m","prompt":"a"}`); got.url != "https://b"+tt.wants {
			t.Errorf("from %q%s to %q%s, %s went to %q, want %q", tt.from, tt.base, tt.to, tt.other, tt.asked, got.url, tt.wants)
		}
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

// A call goes only where what it asks for can be honoured. If nobody else can, the caller
// gets the answer of the host that it addressed, as it is.
func TestHost_CallsGoWhereTheyCanBeHonoured(t *testing.T) {
	type fleet struct{ first, second Endpoint }
	named := func(name string, e Endpoint) Endpoint { e.Name, e.URL = name, "https://"+name+"/v1"; return e }
	host := func(name string, h Host) Endpoint { return named(name, Endpoint{Host: h, APIKey: "k"}) }
	can := func(e Endpoint, can ...Feature) Endpoint { e.Can = can; return e }
	deepseek, second, generic := host("a", HostDeepSeek), host("b", HostDeepSeek), host("b", HostOpenAI)
	const review, search = `"safety_check":{"level":"high"}`, `"tools":[{"type":"deepseek_web_search"}]`
	const image = `"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.example/i.png"}}]}]`
	for _, tt := range []struct {
		name  string
		fleet fleet
		path  string // after the base; empty: chat completions
		body  string // members of it
		down  string // the endpoint that answers 503
		want  string // who answers, with 200 or 503
		why   Reason // why the other one was passed over
	}{
		{"nothing special", fleet{deepseek, generic}, "", `"n":1`, "a", "b 200", ""},
		{"a review at a host that has none", fleet{deepseek, generic}, "", review, "a", "a 503", Reason(FeatureReview)},
		{"a review by Messages", fleet{deepseek, generic}, "/messages", review, "a", "a 503", Reason(FeatureReview)},
		{"a review by Responses", fleet{deepseek, generic}, "/responses", review, "a", "a 503", Reason(FeatureReview)},
		{"a review of the lowest level is none", fleet{deepseek, generic}, "", `"safety_check":{"level":"low"}`, "a", "b 200", ""},
		{"a review at the same host", fleet{deepseek, second}, "", review, "a", "b 200", ""},
		{"a review where the user says so", fleet{deepseek, can(generic, FeatureReview)}, "", review, "a", "b 200", ""},
		{"another feature is not the one needed", fleet{deepseek, can(generic, FeatureServerTools)}, "", review, "a", "a 503", Reason(FeatureReview)},
		{"a review, addressed to a host that has none", fleet{host("a", HostVLLM), second}, "", review, "", "b 200", Reason(FeatureReview)},
		{"a review, addressed to a host that has none, alone", fleet{host("a", HostVLLM), generic}, "", review, "", "a 200", Reason(FeatureReview)},
		{"a review, addressed to a gateway", fleet{host("a", HostOpenAI), second}, "", review, "", "a 200", ""},
		{"a review, addressed to a gateway that is down", fleet{host("a", HostOpenAI), second}, "", review, "a", "b 200", ""},

		{"DeepSeek's search", fleet{deepseek, generic}, "", search, "a", "a 503", Reason(FeatureServerTools)},
		{"DeepSeek's search by Messages", fleet{deepseek, generic}, "/messages", search, "a", "a 503", Reason(FeatureServerTools)},
		{"DeepSeek's search by Responses", fleet{deepseek, generic}, "/responses", search, "a", "a 503", Reason(FeatureServerTools)},
		{"DeepSeek's search at another account", fleet{deepseek, second}, "", search, "a", "b 200", ""},
		{"DeepSeek's search where the user says so", fleet{deepseek, can(generic, FeatureServerTools)}, "", search, "a", "b 200", ""},
		{"a search by Responses", fleet{deepseek, generic}, "/responses", `"tools":[{"type":"web_search"}]`, "a", "a 503", Reason(FeatureServerTools)},
		{"a search by Messages", fleet{deepseek, generic}, "/messages", `"tools":[{"type":"web_search_20250305","name":"web_search"}]`, "a", "a 503", Reason(FeatureServerTools)},
		{"a search at two unknown hosts", fleet{host("a", HostOpenAI), generic}, "", `"enable_search":true`, "a", "a 503", Reason(FeatureServerTools)},
		{"functions", fleet{deepseek, generic}, "", `"tools":[{"type":"function","function":{"name":"f"}}]`, "a", "b 200", ""},

		{"a file by its id", fleet{deepseek, generic}, "", `"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-api-1"}}]}]`, "a", "a 503", Reason(FeatureStored)},
		{"a file by its id at another account", fleet{deepseek, second}, "", `"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-api-1"}}]}]`, "a", "a 503", Reason(FeatureStored)},
		{"a file in the request", fleet{deepseek, generic}, "/responses", `"input":[{"role":"user","content":[{"type":"input_file","file_data":"JVBE"}]}]`, "a", "a 503", Reason(FeatureFiles)},
		{"a file in the request at another account", fleet{deepseek, second}, "/responses", `"input":[{"role":"user","content":[{"type":"input_file","file_data":"JVBE"}]}]`, "a", "b 200", ""},
		{"an earlier response", fleet{deepseek, second}, "/responses", `"previous_response_id":"resp_1"`, "a", "a 503", Reason(FeatureStored)},
		{"an earlier response where the user says so", fleet{deepseek, can(second, FeatureStored)}, "/responses", `"previous_response_id":"resp_1"`, "a", "b 200", ""},
		{"a prefix", fleet{deepseek, generic}, "", `"messages":[{"role":"assistant","content":"x","prefix":true}]`, "a", "a 503", Reason(FeaturePrefix)},
		{"a prefix where the user says so", fleet{deepseek, can(generic, FeaturePrefix)}, "", `"messages":[{"role":"assistant","content":"x","prefix":true}]`, "a", "b 200", ""},
		{"a prefix, addressed to a host that may know it", fleet{named("a", SiliconFlow("k")), second}, "", `"messages":[{"role":"assistant","content":"x","prefix":true}]`, "", "a 200", ""},
		{"a grammar", fleet{host("a", HostVLLM), generic}, "", `"guided_regex":"a+"`, "a", "a 503", Reason(FeatureGrammar)},
		{"a grammar at the same software", fleet{host("a", HostVLLM), host("b", HostVLLM)}, "", `"guided_regex":"a+"`, "a", "b 200", ""},

		{"an image", fleet{deepseek, generic}, "", image, "a", "b 200", ""},
		{"an image where no model sees it", fleet{deepseek, named("b", SiliconFlow("k"))}, "", image, "a", "a 503", Reason(FeatureImages)},
		{"an image where the user says so", fleet{deepseek, can(named("b", SiliconFlow("k")), FeatureImages)}, "", image, "a", "b 200", ""},
		{"an image, addressed to a model that does not see it", fleet{named("a", SiliconFlow("k")), named("b", OpenRouter("k"))}, "", image, "", "b 200", Reason(FeatureImages)},
		{"an image, addressed to a model that does not see it, alone", fleet{named("a", SiliconFlow("k")), named("b", Bailian("k"))}, "", image, "", "a 200", Reason(FeatureImages)},
		{"JSON", fleet{deepseek, generic}, "", `"response_format":{"type":"json_object"}`, "a", "b 200", ""},
	} {
		if tt.path == "" {
			tt.path = string(request.Chat)
		}
		for _, stream := range []bool{false, true} {
			if stream && tt.path != string(request.Chat) {
				continue
			}
			bubble(t, fmt.Sprintf("%s, stream %v", tt.name, stream), func(t *testing.T) {
				base := newHosts(answersOnAllWires)
				if tt.down != "" {
					base.Set(tt.down, gives(503, asJSON, `{"error":{"message":"down"}}`))
				}
				var trail Trail
				rt := over(t, base, noBreaker, once, WithEndpoints(tt.fleet.first), WithBackup(tt.fleet.second))
				body := fmt.Sprintf(`{%s,"stream":%v,"model":"deepseek-flash"}`, tt.body, stream)
				req, err := http.NewRequestWithContext(WithCall(t.Context(), Call{Trail: &trail}), http.MethodPost, "https://a/v1"+tt.path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				who, why := resp.Header.Get("Breakwater-Endpoint"), Reason("")
				if got := fmt.Sprintf("%s %d", who, resp.StatusCode); got != tt.want {
					t.Errorf("the answer is of %s, want %s: %s", got, tt.want, text)
				}
				for _, a := range trail.Attempts() {
					if a.PassedOver == "" {
						continue
					}
					if why = a.PassedOver; a.N != 0 || a.Endpoint == who || a.Class != ClassUnserved {
						t.Errorf("passed over: %+v", a)
					}
				}
				if why != tt.why {
					t.Errorf("passed over for %q, want %q", why, tt.why)
				}
			})
		}
	}
}

// A call that only one host can honour waits for that host: no clock ends its attempt, no
// hedge and no rescue goes elsewhere.
func TestHost_BoundCallsStayWithTheirHost(t *testing.T) {
	const bound = `"safety_check":{"level":"high"},"messages":[{"role":"user","content":"q"}],"model":"deepseek-flash"`
	policy := StreamPolicy{FirstToken: 5 * time.Second, Thinking: 5 * time.Second, Queued: 5 * time.Second, Hedge: 2 * time.Second, HedgeBackup: true, Rescue: RescueRestart}
	for name, tt := range map[string]struct {
		body string
		a    handler
		err  error
	}{
		"slow JSON":       {`{` + bound + `}`, fakehost.After(45*time.Second, gives(200, asJSON, goodJSON)), nil},
		"a slow stream":   {`{"stream":true,` + bound + `}`, fakehost.After(45*time.Second, gives(200, asStream, wholeStream)), nil},
		"a broken stream": {`{"stream":true,` + bound + `}`, breaks(asStream, goodEvent), ErrTruncated},
	} {
		bubble(t, name, func(t *testing.T) {
			base := newHosts(gives(200, asStream, wholeStream))
			base.Set("a", tt.a)
			rt := over(t, base, noBreaker, once, WithStream(policy), WithEndpoints(deepSeekAt("a")), WithBackup(at("b")...))
			got := asks(t.Context(), rt, tt.body)
			if got.status() != 200 || !errors.Is(got.err, tt.err) || base.Count("b") != 0 {
				t.Errorf("got %v and %d requests to b, want a 200, %v and none", got, base.Count("b"), tt.err)
			}
		})
	}
}

// A prompt that certainly does not fit goes where it may. One that may fit goes anywhere.
func TestHost_LongPrompts(t *testing.T) {
	short := Endpoint{Name: "b", URL: "https://qianfan.baidubce.com/v2", APIKey: "k", Models: map[string]string{"m": "deepseek-v3.2"}}
	long, unknown, able := short, short, short
	long.Models = map[string]string{"m": "deepseek-v4-pro"}
	unknown.Models = map[string]string{"m": "a-model-of-mine"}
	able.Can = []Feature{FeatureContext}
	chat := func(text string) string { return `{"model":"m","messages":[{"role":"user","content":"` + text + `"}]}` }
	words := func(n int) string { return strings.Repeat("word ", n) }
	const limit = 160 << 10
	for _, tt := range []struct {
		name, path, body string
		second           Endpoint
		fits             bool
	}{
		{"that fits", "", chat(words(limit)), short, true},
		{"that may fit", "", chat(words(limit + limit/9)), short, true},
		{"that does not", "", chat(words(limit + limit/7)), short, false},
		{"that does not, in parts", "", `{"model":"m","messages":[{"content":[{"type":"text","text":"` + words(limit) + `"}]},{"content":"` + words(limit/7) + `"}]}`, short, false},
		{"that does not, as a system prompt", "", `{"messages":[{"role":"system","content":"` + words(limit+limit/7) + `"}],"model":"m"}`, short, false},
		{"for a model that takes more", "", chat(words(limit + limit/7)), long, true},
		{"for a model that nobody knows", "", chat(words(limit + limit/7)), unknown, true},
		{"where the user says so", "", chat(words(limit + limit/7)), able, true},
		{"of few long words", "", chat(strings.Repeat("Wortungeheuer ", limit/3)), short, true},
		{"of blanks", "", chat(strings.Repeat(" ", 5*limit)), short, true},
		{"in Chinese", "", chat(strings.Repeat("\u4f60\u597d", 2*limit)), short, true},
		{"in Chinese that does not fit", "", chat(strings.Repeat("\u4f60\u597d", 3*limit)), short, false},
		{"with a picture", "", `{"model":"m","messages":[{"content":[{"type":"x","image_url":{"url":"data:image/png;base64,` + strings.Repeat("ab+/", limit) + `"}}]}]}`, able, true},
		{"with reasoning that hosts do not read again", "", `{"model":"m","messages":[{"role":"assistant","reasoning_content":"` + words(2*limit) + `","content":"hi"}]}`, short, true},
		{"that the host may shorten", "", `{"truncation":"auto",` + chat(words(2 * limit))[1:], short, true},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			var asked int
			base := newHosts(func(req *http.Request) (*http.Response, error) {
				if req.URL.Host == "a" {
					return answer(503, asJSON, "{}"), nil
				}
				asked++
				return answer(200, asJSON, goodJSON), nil
			})
			if tt.name == "with a picture" {
				tt.second.Can = append(tt.second.Can, FeatureFiles)
			}
			rt := over(t, base, noBreaker, WithRetry(RetryPolicy{Attempts: 1, MaxReplay: 32 << 20}), WithEndpoints(deepSeekAt("a")), WithBackup(tt.second))
			var trail Trail
			req, _ := post(WithCall(t.Context(), Call{Trail: &trail}), "https://a", tt.body)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if fits := asked == 1; fits != tt.fits {
				t.Errorf("the second endpoint was asked %d times: %+v", asked, trail.Attempts())
			}
			if first := trail.Attempts()[0]; !tt.fits && first.PassedOver != Reason(FeatureContext) {
				t.Errorf("the trail begins with %+v", first)
			}
		})
	}
}

// A call that nobody answered says of each endpoint why it did not help.
func TestHost_FailedCallsSayWhomTheyPassedOver(t *testing.T) {
	b := func(e Endpoint) Endpoint { e.Name, e.URL, e.APIKey = "b", "https://b/v1", "k"; return e }
	for _, tt := range []struct {
		name, path string
		second     Endpoint
		edit       func(*http.Request)
		want       Reason
	}{
		{"the model", "/chat/completions", b(Endpoint{Models: map[string]string{"x": "y"}}), nil, ReasonModel},
		{"the operation", "/completions", b(Endpoint{Host: HostVolcengine, Models: map[string]string{"m": "m"}}), nil, ReasonOperation},
		{"a packed body", "/chat/completions", b(Endpoint{}), with("Content-Encoding", "gzip"), ReasonBody},
		{"a large body", "/chat/completions", b(Endpoint{}), func(req *http.Request) {
			req.Body = io.NopCloser(strings.NewReader(strings.Repeat(" ", 2000)))
			req.ContentLength = 2000
		}, ReasonBody},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(gives(503, asJSON, "{}"))
			rt := over(t, base, noBreaker, WithRetry(RetryPolicy{Attempts: 1, MaxReplay: 1000}), WithEndpoints(Endpoint{Name: "a", URL: "https://a/v1", APIKey: "k"}), WithBackup(tt.second))
			var trail Trail
			req, _ := http.NewRequestWithContext(WithCall(t.Context(), Call{Trail: &trail}), http.MethodPost, "https://a/v1"+tt.path, strings.NewReader(`{"model":"m"}`))
			if tt.edit != nil {
				tt.edit(req)
			}
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			got := trail.Attempts()
			if len(got) != 2 || got[0].Status != 503 || got[1].Endpoint != "b" || got[1].PassedOver != tt.want || got[1].N != 0 || base.Count("b") != 0 {
				t.Errorf("the trail is %+v, want a 503 of a, and b passed over for %s", got, tt.want)
			}
		})
	}
}

// answersOnAllWires answers calls on all wires.
func answersOnAllWires(req *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(req.Body)
	switch {
	case strings.Contains(string(body), `"stream":true`):
		return answer(200, asStream, wholeStream), nil
	case strings.HasSuffix(req.URL.Path, string(request.Messages)):
		return answer(200, asJSON, `{"type":"message","role":"assistant","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn"}`), nil
	case strings.HasSuffix(req.URL.Path, string(request.Responses)):
		return answer(200, asJSON, `{"object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}]}`), nil
	}
	return answer(200, asJSON, goodJSON), nil
}

// An endpoint of which only the URL is given has its host's names for DeepSeek's models.
// Whoever wants names to stay says so, and without endpoints they always do.
func TestHost_NamesByURL(t *testing.T) {
	const url, ds = "https://api.siliconflow.cn/v1", "https://api.deepseek.com"
	asked := func(model string) string { return `{"model":"` + model + `"}` }
	bare, asIs := Endpoint{URL: url, APIKey: "k"}, Endpoint{URL: url, APIKey: "k", Models: map[string]string{}}
	gateway := Endpoint{URL: "https://gw.example/v1", APIKey: "k", Host: HostSiliconFlow}
	for _, tt := range []struct {
		name           string
		from, to       Endpoint
		url, body, got string
	}{
		{"a model that the host names otherwise", DeepSeek("k"), bare, ds + "/chat/completions", asked("deepseek-v4-pro"), asked("deepseek-ai/DeepSeek-V4-Pro")},
		{"one of its own", DeepSeek("k"), bare, ds + "/chat/completions", asked("Qwen/Qwen4"), asked("Qwen/Qwen4")},
		{"one of Anthropic's", DeepSeek("k"), bare, ds + "/anthropic/v1/messages", asked("claude-opus-4-7"), asked("deepseek-ai/DeepSeek-V4-Pro")},
		{"names that stay", DeepSeek("k"), asIs, ds + "/chat/completions", asked("deepseek-v4-pro"), asked("deepseek-v4-pro")},
		{"a gateway, whose names are its own", DeepSeek("k"), gateway, ds + "/chat/completions", asked("deepseek-v4-pro"), asked("deepseek-v4-pro")},
		{"a host that is not known", DeepSeek("k"), Endpoint{URL: "https://llm.example/v1", APIKey: "k"}, ds + "/chat/completions", asked("deepseek-v4-pro"), asked("deepseek-v4-pro")},
		{"the host's name, to DeepSeek", bare, DeepSeek("k"), url + "/chat/completions", asked("deepseek-ai/DeepSeek-V4-Pro"), asked("deepseek-v4-pro")},
	} {
		if got := route(t, tt.from, tt.to, tt.url, tt.body); got.body != tt.got {
			t.Errorf("%s: %s is asked for %s, want %s", tt.name, got.url, got.body, tt.got)
		}
	}
	var sent string
	rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		text, _ := io.ReadAll(req.Body)
		sent = string(text)
		return answer(200, asJSON, goodJSON), nil
	}))
	req, _ := post(t.Context(), url, asked("deepseek-v4-pro"))
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); sent != asked("deepseek-v4-pro") {
		t.Errorf("without endpoints, %s is sent", sent)
	}
}

// The URL of an operation is meant for the endpoint, and is where its host serves it.
func TestHost_URLOf(t *testing.T) {
	for _, e := range presets() {
		rt, err := New(WithEndpoints(e))
		if err != nil {
			t.Fatal(err)
		}
		at := rt.now().tiers[0][0]
		for _, op := range []request.Operation{request.Chat, request.Completions, request.Responses, request.Messages, request.Embeddings} {
			text, ok := e.URLOf(string(op)[1:])
			if _, serves := at.paths.RootOf(op); ok != serves {
				t.Errorf("%v: URLOf(%s) = %q, %v", e, op, text, ok)
			}
			if !ok {
				continue
			}
			req, err := http.NewRequest(http.MethodPost, text, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, target, protected := rt.now().meantFor(req); got != op || target != at || !protected {
				t.Errorf("%v: a request for %s at %s is meant for %v as %q", e, op, text, target, got)
			}
		}
	}
	own := func(u string, h Host) Endpoint { return Endpoint{URL: u, Host: h} }
	for _, tt := range []struct {
		e        Endpoint
		op, want string // empty: not served
	}{
		{DeepSeek("k"), "chat/completions", "https://api.deepseek.com/chat/completions"},
		{DeepSeek("k"), "beta/chat/completions", "https://api.deepseek.com/beta/chat/completions"},
		{DeepSeek("k"), "completions", "https://api.deepseek.com/beta/completions"},
		{DeepSeek("k"), "messages", "https://api.deepseek.com/anthropic/v1/messages"},
		{DeepSeek("k"), "embeddings", ""},
		{DeepSeek("k"), "beta/messages", ""},
		{DeepSeek("k"), "/chat/completions", ""},
		{DeepSeek("k"), "models", ""},
		{DeepSeek("k"), "", ""},
		{own("https://api.deepseek.com/v1/", ""), "chat/completions", "https://api.deepseek.com/v1/chat/completions"},
		{own("http://127.0.0.1:9000/gate", HostDeepSeek), "beta/chat/completions", "http://127.0.0.1:9000/gate/beta/chat/completions"},
		{own("https://g.example", ""), "messages", "https://g.example/v1/messages"},
		{own("https://g.example/a%2Fb/v1", ""), "beta/chat/completions", "https://g.example/a%2Fb/v1/chat/completions"},
		{own("https://g.example/openai?api-version=2024-10-21", ""), "responses", "https://g.example/openai/responses?api-version=2024-10-21"},
		{VolcengineArk("k"), "messages", ""},
		{own("::", ""), "chat/completions", ""},
	} {
		if got, ok := tt.e.URLOf(tt.op); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%v: URLOf(%q) = %q, %v, want %q", tt.e, tt.op, got, ok, tt.want)
		}
	}
}
