package breakwater

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	kit "github.com/breakwater-go/breakwater/breakwatertest"

	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/request"
)

func presets() []Endpoint {
	return []Endpoint{
		DeepSeek("k"), VolcengineArk("k"), SiliconFlow("k"), SiliconFlowCN("k"), Bailian("k"), BailianIntl("k"), TencentLKEAP("k"), TencentTokenHub("k"),
		BaiduQianfan("k"), AzureFoundry("res", "k"), OpenRouter("k"), Together("k"), Fireworks("k"), OllamaCloud("k"), Ollama(),
		VLLM("http://localhost:8000/v1", "k"), SGLang("http://localhost:30000/v1", "k"),
	}
}

// Every preset is valid, is told from its URL where its servers are known, and
// sends the operations of its row below its base path or a root of its own.
func TestPresets(t *testing.T) {
	seen := make(map[Host]bool)
	for _, e := range presets() {
		rt, err := New(WithEndpoints(e))
		if err != nil {
			t.Errorf("%v: %v", e, err)
			continue
		}
		seen[e.Host] = true
		at := rt.tiers[0][0]
		if known := hostOf(at.base.Hostname()); known != e.Host && !origin.IsLoopback(at.base.Hostname()) {
			t.Errorf("%v is told to be %q from its URL, want %q", e, known, e.Host)
		}
		for op, roots := range at.row.operations {
			for _, root := range roots {
				if !at.covers(root + string(op)) {
					t.Errorf("%v does not take %s%s for its own", e, root, op)
				}
			}
		}
		if root, ok := at.rootOf(request.Chat); !ok || root != at.base.Path {
			t.Errorf("%v serves chat completions below %q, want its base path", e, root)
		}
		for from, to := range e.Models {
			if from == "" || to == "" {
				t.Errorf("%v maps %q to %q", e, from, to)
			}
		}
	}
	for _, row := range hostTable {
		if !seen[row.host] && row.host != HostOpenAI {
			t.Errorf("%s has no preset", row.host)
		}
	}
}

// Presets are copies: what a user changes in one changes no other.
func TestPresetsAreCopies(t *testing.T) {
	VolcengineArk("k").Models[flash] = "ep-mine"
	if got := VolcengineArk("k").Models[flash]; got == "ep-mine" {
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
func TestOperationsFindTheirRoot(t *testing.T) {
	deepseek := DeepSeek("sk-ds")
	anthropic := Endpoint{Name: "anthropic", URL: "https://api.deepseek.com/anthropic", APIKey: "sk-2"}
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
		{"chat to an endpoint of another wire", "https://own.example/v1/chat/completions", chat, own, anthropic, "https://api.deepseek.com/chat/completions"},
		{"chat to a base path of the day", "https://own.example/v1/chat/completions", chat, own, Endpoint{Name: "s", URL: "https://api.deepseek.com/v3.2_speciale_expires_on_20251215", Keyless: true}, "https://api.deepseek.com/v3.2_speciale_expires_on_20251215/chat/completions"},
		{"FIM to DeepSeek", "https://own.example/v1/completions", fim, own, deepseek, "https://api.deepseek.com/beta/completions"},
		{"FIM to a host without it", "https://api.deepseek.com/beta/completions", fim, deepseek, Bailian("k"), ""},
		{"FIM to a generic host", "https://api.deepseek.com/beta/completions", fim, deepseek, generic, "https://g.example/api/v9/completions"},
		{"responses to DeepSeek", "https://own.example/v1/responses", `{"model":"deepseek-v4-pro","input":"a"}`, own, deepseek, "https://api.deepseek.com/responses"},
		{"responses to a host without it", "https://api.deepseek.com/responses", `{"model":"deepseek-v4-pro","input":"a"}`, deepseek, SiliconFlow("k"), ""},
		{"responses that go on from others", "https://own.example/v1/responses", `{"model":"deepseek-v4-pro","input":"a","previous_response_id":"r"}`, own, deepseek, ""},
		{"messages to Bailian", "https://api.deepseek.com/anthropic/v1/messages", chat, deepseek, Bailian("k"), "https://dashscope.aliyuncs.com/apps/anthropic/v1/messages"},
		{"messages to DeepSeek", "https://own.example/v1/messages", chat, own, deepseek, "https://api.deepseek.com/anthropic/v1/messages"},
		{"messages to DeepSeek by its wire's base", "https://own.example/v1/messages", chat, own, anthropic, "https://api.deepseek.com/anthropic/v1/messages"},
		{"messages to a generic host", "https://api.deepseek.com/anthropic/v1/messages", chat, deepseek, Endpoint{Name: "g", URL: "https://g.example/anthropic", Keyless: true}, "https://g.example/anthropic/v1/messages"},
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
func TestKeyHeaders(t *testing.T) {
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
func TestBodiesAreTranslated(t *testing.T) {
	generic := Endpoint{Name: "g", URL: "https://g.example/v1", Keyless: true}
	deepseek, chat := DeepSeek("k"), "https://api.deepseek.com/chat/completions"
	const rest = `"messages":[{"role":"user","content":"\u00e9 \"model\":1"}], "seed": 1.50}`
	for _, tt := range []struct {
		name     string
		from, to Endpoint
		url      string
		body     string
		want     string
	}{
		{"nothing to say", deepseek, generic, chat, `{"model":"x",` + rest, `{"model":"x",` + rest},
		{"model", deepseek, VolcengineArk("k"), chat, `{"model" : "deepseek-flash",` + rest, `{"model" : "deepseek-v4-flash-ga-260731",` + rest},
		{"thinking as DeepSeek has it to Bailian", deepseek, Bailian("k"), chat, `{"thinking": {"type" : "disabled"},"model":"deepseek-v4-pro",` + rest, `{"enable_thinking":false,"model":"deepseek-v4-pro",` + rest},
		{"thinking as DeepSeek has it to OpenRouter", deepseek, OpenRouter("k"), chat, `{"model":"deepseek-v4-pro","thinking":{"type":"enabled"},` + rest, `{"model":"deepseek/deepseek-v4-pro","reasoning":{"enabled":true},` + rest},
		{"thinking as DeepSeek has it to Ark", deepseek, VolcengineArk("k"), chat, `{"model":"deepseek-v4-pro","thinking":{"type":"enabled"},` + rest, `{"model":"deepseek-v4-pro-ga-260813","thinking":{"type":"enabled"},` + rest},
		{"thinking where no field is known", deepseek, generic, chat, `{"model":"x","thinking":{"type":"enabled"},` + rest, `{"model":"x","thinking":{"type":"enabled"},` + rest},
		{"thinking said twice", deepseek, Bailian("k"), chat, `{"model":"deepseek-v4-pro","thinking":{"type":"enabled"},"enable_thinking":true,` + rest, `{"model":"deepseek-v4-pro","thinking":{"type":"enabled"},"enable_thinking":true,` + rest},
		{"Bailian's to DeepSeek", Bailian("k"), deepseek, "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions", `{"model":"deepseek-v4-pro","enable_thinking":true,"user":"u",` + rest, `{"model":"deepseek-v4-pro","thinking":{"type":"enabled"},"user_id":"u",` + rest},
		{"user_id", deepseek, generic, chat, `{"user_id" : "u","model":"x",` + rest, `{"user" : "u","model":"x",` + rest},
		{"both users", deepseek, generic, chat, `{"user_id":"u","user":"v","model":"x",` + rest, `{"user_id":"u","user":"v","model":"x",` + rest},
		{"a retired name did not think", deepseek, Bailian("k"), chat, `{"model":"deepseek-chat",` + rest, `{"model":"deepseek-v4-flash","enable_thinking":false,` + rest},
		{"a retired name by its stand-in's", deepseek, Endpoint{Name: "own", URL: "https://own.example", APIKey: "k", Models: map[string]string{flash: "v4"}}, chat, `{"model":"deepseek-chat",` + rest, `{"model":"v4",` + rest},
		{"a retired name that thought", deepseek, VolcengineArk("k"), chat, `{"model":"deepseek-reasoner",` + rest, `{"model":"deepseek-v4-flash-ga-260731","thinking":{"type":"enabled"},` + rest},
		{"a retired name whose stand-in thinks by itself", deepseek, BaiduQianfan("k"), chat, `{"model":"deepseek-reasoner",` + rest, `{"model":"deepseek-v3.2-think",` + rest},
		{"a retired name with its own mode", deepseek, VolcengineArk("k"), chat, `{"model":"deepseek-chat","thinking":{"type":"enabled"},` + rest, `{"model":"deepseek-v4-flash-ga-260731","thinking":{"type":"enabled"},` + rest},
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
func TestRetiredNamesWork(t *testing.T) {
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
func TestStrangersCallsAreNoInference(t *testing.T) {
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

// The kit's personas say in each host's words what our table reads there: the
// two were written apart.
func TestPersonasAreUnderstood(t *testing.T) {
	hosts := map[kit.Dialect]Host{
		kit.DialectDeepSeek: HostDeepSeek, kit.DialectOpenAI: HostOpenAI, kit.DialectSiliconFlow: HostSiliconFlow, kit.DialectArk: HostVolcengine,
		kit.DialectBailian: HostBailian, kit.DialectTokenHub: HostTencent, kit.DialectQianfan: HostQianfan, kit.DialectAzure: HostAzure,
		kit.DialectOpenRouter: HostOpenRouter, kit.DialectTogether: HostTogether, kit.DialectFireworks: HostFireworks, kit.DialectOllama: HostOllama,
		kit.DialectVLLM: HostVLLM, kit.DialectSGLang: HostSGLang,
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
		"siliconflow/ContextLength": ClassRefused, "siliconflow/ContentFilter": ClassRefused, "sglang/ModelNotFound": ClassRefused,
		"ollama/ContextLength": ClassRefused, "ollama/ContentFilter": ClassRefused,
		"openrouter/ContentFilter": ClassRefused, "vllm/ContentFilter": ClassRefused, "sglang/ContentFilter": ClassRefused,
	}
	for _, persona := range kit.Personas() {
		host, ok := hosts[persona.Dialect]
		if !ok {
			t.Errorf("no row reads the dialect %s", persona.Dialect)
		}
		for class, fault := range says {
			name := persona.Name + "/" + fault.Name()
			if guess, ok := generic[name]; ok {
				class = guess
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fleet, err := kit.NewPipeFleet(persona)
					if err != nil {
						t.Fatal(err)
					}
					base := fleet.Transport()
					server := fleet.Servers()[0]
					server.Break(fault)
					rt := over(t, base, once, WithEndpoints(Endpoint{URL: server.URL(), APIKey: "sk", Host: host}))
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

// A gateway's path stands before a host's roots, too: what lies beside it is
// another's, and no key goes there.
func TestGatewaysKeepTheirOtherPaths(t *testing.T) {
	for _, tt := range []struct {
		host  Host
		url   string
		yes   []string
		never []string
	}{
		{HostAzure, "https://gw.example/azure/openai/v1", []string{"/azure/openai/v1/chat/completions", "/azure/models"}, []string{"/openai/v1/chat/completions", "/models", "/azure"}},
		{HostOllama, "https://gw.example/ollama/v1", []string{"/ollama/v1/models", "/ollama/api/tags"}, []string{"/v1/models", "/api/tags"}},
		{HostOllama, "https://gw.example/v1/proxy/ollama/v1", []string{"/v1/proxy/ollama/v1/models", "/v1/proxy/ollama/api/tags"}, []string{"/v1/other/chat/completions", "/api/tags"}},
		{HostOllama, "https://gw.example/v1/proxy/ollama", []string{"/v1/proxy/ollama/chat/completions"}, []string{"/v1/other/chat/completions", "/api/tags"}},
		{HostAzure, "https://gw.example/openai/azure/openai/deployments/x", []string{"/openai/azure/openai/deployments/x/chat/completions"}, []string{"/openai/other/chat/completions"}},
		{HostOllama, "https://gw.example/else", []string{"/else/chat/completions"}, []string{"/v1/models", "/api/tags"}},
		{HostDeepSeek, "https://gw.example/ds/v1", []string{"/ds/beta/completions", "/ds/user/balance"}, []string{"/v1/models", "/user/balance"}},
		{HostAzure, "https://x.services.ai.azure.com/openai/v1", []string{"/openai/v1/chat/completions", "/models"}, nil},
	} {
		rt := over(t, newHosts(refusing), WithEndpoints(Endpoint{URL: tt.url, APIKey: "sk", Host: tt.host}))
		e := rt.tiers[0][0]
		for _, path := range tt.yes {
			if !e.covers(path) {
				t.Errorf("%s does not take %s for its own", tt.url, path)
			}
		}
		for _, path := range tt.never {
			if e.covers(path) {
				t.Errorf("%s takes %s for its own", tt.url, path)
			}
		}
	}
}
