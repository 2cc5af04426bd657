package host

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/request"
)

// The table's rows must make sense, also one that is added one day.
func TestTable_RowsAreConsistent(t *testing.T) {
	names := make(map[string]bool)
	for p := range All() {
		if names[p.Name] || p.Name == "" {
			t.Errorf("the name %q is used twice, or empty", p.Name)
		}
		names[p.Name] = true
		if p.Generic != (p == generic()) {
			t.Errorf("%s: Generic is %v; the last row alone is generic", p.Name, p.Generic)
		}
		t.Run(p.Name, func(t *testing.T) {
			checkDomains(t, p)
			checkOperations(t, p)
			checkModels(t, p)
			checkRefusals(t, p)
		})
	}
}

// Hosts change. A row that nobody has compared with its host for half a year is a warning
// to whoever reads the log of the tests, and breaks nothing.
func TestTable_RowsGrowOld(t *testing.T) {
	for p := range All() {
		checked, err := time.Parse(time.DateOnly, p.Checked)
		if err != nil {
			t.Errorf("%s: Checked is %q, want a day like 2006-01-02", p.Name, p.Checked)
		} else if age := time.Since(checked); age > 180*24*time.Hour {
			t.Logf("%s was last checked on %s: compare the row with %s", p.Name, p.Checked, p.Source)
		}
		if u, err := url.Parse(p.Source); err != nil || u.Scheme != "https" || u.Host == "" {
			t.Errorf("%s: Source is %q, want the address of a page", p.Name, p.Source)
		}
	}
}

func TestTable_ShortestContext(t *testing.T) {
	for p := range All() {
		for _, m := range p.Known {
			if m.Context != 0 && m.Context < ShortestContext {
				t.Errorf("%s: %q takes %d tokens, and ShortestContext is %d", p.Name, m.Part, m.Context, ShortestContext)
			}
		}
	}
}

func checkDomains(t *testing.T, p *Profile) {
	under := func(a, b string) bool { return a == b || strings.HasSuffix(a, "."+b) }
	for _, d := range p.Domains {
		for other := range All() {
			for _, theirs := range other.Domains {
				if other != p && (under(d, theirs) || under(theirs, d)) {
					t.Errorf("it has the domain %s, and %s has %s", d, other.Name, theirs)
				}
			}
		}
	}
}

func checkOperations(t *testing.T, p *Profile) {
	for op, roots := range p.Operations {
		if len(roots) == 0 {
			t.Errorf("it serves %s under no root", op)
		}
		for _, root := range roots {
			if !slices.ContainsFunc(p.Roots, func(r string) bool { return under(root+string(op), r) }) {
				t.Errorf("it serves %s under %q, which is below none of its Roots", op, root)
			}
		}
	}
}

func checkModels(t *testing.T, p *Profile) {
	for from, to := range p.Models {
		if from == "" || to == "" || strings.ToLower(from) != from {
			t.Errorf("it maps the model %q to %q", from, to)
		}
	}
	for from, to := range p.Renamed {
		if p.CurrentName(to) != to {
			t.Errorf("it renames %q to %q, which is renamed, too", from, to)
		}
	}
	for _, part := range p.ReasoningModels {
		if part == "" || strings.ToLower(part) != part {
			t.Errorf("the part %q of a model's name is compared in lower case", part)
		}
	}
}

func checkRefusals(t *testing.T, p *Profile) {
	for _, r := range p.Errors {
		switch {
		case r.Status < 300:
			t.Errorf("the rule %+v is for no refusal", r)
		case strings.ToLower(r.Message) != r.Message:
			t.Errorf("the message of the rule %+v is compared in lower case", r)
		case outcome.Of(r.Class) == (outcome.Traits{}) && r.Class != outcome.Unsuited:
			t.Errorf("the rule %+v has a class without traits", r)
		case r.Code == "" && r.Message == "" && !r.RetryAfter:
			t.Errorf("the rule %+v is for every refusal with that status", r)
		}
	}
	for _, l := range p.Limits {
		if l.Remaining == "" || l.Reset == "" {
			t.Errorf("it has limit headers without a name: %+v", l)
		}
	}
}

// Where a host has names for the models of old, it has one for each.
func TestTable_RetiredModels(t *testing.T) {
	for p := range All() {
		for name := range retiredModels {
			for other := range retiredModels {
				if (p.Models[name] == "") != (p.Models[other] == "") || (p.Renamed[name] == "") != (p.Renamed[other] == "") {
					t.Errorf("%s has something for one of %s and %s, and not for the other", p.Name, name, other)
				}
			}
		}
	}
}

func TestLookup(t *testing.T) {
	for p := range All() {
		if got := Lookup(p.Name); got != p {
			t.Errorf("Lookup(%q) = %s", p.Name, got.Name)
		}
	}
	for range All() { // and no further
		break
	}
	for _, unknown := range []string{"", "nobody", "DeepSeek"} {
		if got := Lookup(unknown); !got.Generic {
			t.Errorf("Lookup(%q) = %s, want the generic profile", unknown, got.Name)
		}
	}
}

func TestOfDomain(t *testing.T) {
	for domain, want := range map[string]string{
		"api.deepseek.com": "deepseek", "API.DeepSeek.com": "deepseek", "api\u3002deepseek\uff0ecom": "deepseek", "x.api.deepseek.com": "deepseek",
		"ark.cn-beijing.volces.com": "volcengine", "res.services.ai.azure.com": "azure", "dashscope-intl.aliyuncs.com": "bailian",
		"ws-1.cn-beijing.maas.aliyuncs.com": "bailian", "token-plan.cn-beijing.maas.aliyuncs.com": "bailian", "coding.dashscope.aliyuncs.com": "bailian", "oss.aliyuncs.com": "openai",
		"tokenhub.tencentmaas.com": "tokenhub", "tokenhub-intl.tencentcloudmaas.com": "tokenhub", "tokenhub.tencentcloudmaas.tech": "tokenhub", "api.lkeap.cloud.tencent.com": "tencent",
		"bedrock-runtime.us-east-1.amazonaws.com": "bedrock", "bedrock-mantle.eu-west-1.api.aws": "bedrock", "integrate.api.nvidia.com": "nvidia", "api.novita.ai": "novita",
		"bedrock-runtime.amazonaws.com": "openai", "bedrock-runtime..amazonaws.com": "openai", "bedrock-runtime.x.y.amazonaws.com": "openai", "s3.us-east-1.amazonaws.com": "openai",
		"deepseek.com": "openai", "notapi.deepseek.com": "openai", "api.deepseek.com.evil.example": "openai", "myvolces.com": "openai",
		"api.openai.com": "openai", "localhost": "openai", "": "openai", "\u0378.example": "openai",
	} {
		if got := OfDomain(domain).Name; got != want {
			t.Errorf("OfDomain(%q) = %s, want %s", domain, got, want)
		}
	}
}

func TestThinks(t *testing.T) {
	for _, tt := range []struct {
		host, model string
		want        bool
	}{
		{"deepseek", "deepseek-reasoner", true}, {"deepseek", "DeepSeek-R1", true}, {"deepseek", "deepseek-chat", false}, {"deepseek", "", false},
		{"qianfan", "deepseek-v3.2-think", true}, {"qianfan", "deepseek-v3.2", false}, {"siliconflow", "Qwen3-Thinking", true}, {"openai", "o-think", false},
	} {
		if got := Lookup(tt.host).Thinks(tt.model); got != tt.want {
			t.Errorf("%s: %q thinks unasked: %v, want %v", tt.host, tt.model, got, tt.want)
		}
	}
}

// An endpoint of a host, as far as this package sees one.
type endpoint struct {
	profile *Profile
	paths   Paths
	names   Names
}

// at returns an endpoint with the models of its host's profile, if none are given.
func at(t *testing.T, host, base string, models map[string]string) *endpoint {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	p := Lookup(host)
	if p.Name != host {
		t.Fatalf("there is no profile of %s", host)
	}
	if models == nil {
		models = p.Models
	}
	return &endpoint{p, PathsOf(p, u), NamesOf(p, models)}
}

// Each operation is where the host has it, if it has it.
func TestPaths_RootOf(t *testing.T) {
	const none = "none"
	for _, tt := range []struct {
		name, host, base string
		op               request.Operation
		want             string
	}{
		{"chat on Ark", "volcengine", "https://ark.cn-beijing.volces.com/api/v3", request.Chat, "/api/v3"},
		{"chat on Bailian", "bailian", "https://dashscope.aliyuncs.com/compatible-mode/v1", request.Chat, "/compatible-mode/v1"},
		{"chat on Azure's deployments", "azure", "https://res.openai.azure.com/openai/deployments/ds", request.Chat, "/openai/deployments/ds"},
		{"chat by the base of another wire", "deepseek", "https://api.deepseek.com/anthropic", request.Chat, ""},
		{"chat by a base of the day", "deepseek", "https://api.deepseek.com/v3.2_speciale_expires_on_20251215", request.Chat, "/v3.2_speciale_expires_on_20251215"},
		{"chat by /v1", "deepseek", "https://api.deepseek.com/v1", request.Chat, "/v1"},
		{"FIM on DeepSeek", "deepseek", "https://api.deepseek.com", request.Completions, "/beta"},
		{"FIM by the beta", "deepseek", "https://api.deepseek.com/beta", request.Completions, "/beta"},
		{"FIM on a host without it", "bailian", "https://dashscope.aliyuncs.com/compatible-mode/v1", request.Completions, none},
		{"FIM on a generic host", "openai", "https://g.example/api/v9", request.Completions, "/api/v9"},
		{"responses on DeepSeek", "deepseek", "https://api.deepseek.com", request.Responses, ""},
		{"responses on a host without it", "siliconflow", "https://api.siliconflow.cn/v1", request.Responses, none},
		{"messages on Bailian", "bailian", "https://dashscope.aliyuncs.com/compatible-mode/v1", request.Messages, "/apps/anthropic/v1"},
		{"messages on DeepSeek", "deepseek", "https://api.deepseek.com", request.Messages, "/anthropic/v1"},
		{"messages by their own base", "deepseek", "https://api.deepseek.com/anthropic", request.Messages, "/anthropic/v1"},
		{"messages on a generic host", "openai", "https://g.example/anthropic", request.Messages, "/anthropic/v1"},
		{"messages on a generic host's v1", "openai", "https://g.example/v1", request.Messages, "/v1"},
		{"messages behind a gateway", "bailian", "https://gw.example/ali/compatible-mode/v1", request.Messages, "/ali/apps/anthropic/v1"},
		{"FIM behind a gateway", "deepseek", "https://gw.example/ds/v1", request.Completions, "/ds/beta"},
	} {
		e := at(t, tt.host, tt.base, nil)
		root, ok := e.paths.RootOf(tt.op)
		if !ok {
			root = none
		}
		if root != tt.want {
			t.Errorf("%s: the root is %q, want %q", tt.name, root, tt.want)
		}
	}
	for base, want := range map[string]string{"https://api.deepseek.com/v1": "/beta", "https://gw.example/ds": "/ds/beta"} {
		e := at(t, "deepseek", base, nil)
		if got := e.paths.PrefixRoot(); got != want {
			t.Errorf("%s: answers are gone on from under %q, want %q", base, got, want)
		}
	}
}

// A gateway's path stands before a host's roots, too: what lies beside it is
// another's, and no key goes there.
func TestPaths_Cover(t *testing.T) {
	for _, tt := range []struct {
		host, base string
		yes, never []string
	}{
		{"azure", "https://gw.example/azure/openai/v1", []string{"/azure/openai/v1/chat/completions", "/azure/models"}, []string{"/openai/v1/chat/completions", "/models", "/azure"}},
		{"ollama", "https://gw.example/ollama/v1", []string{"/ollama/v1/models", "/ollama/api/tags"}, []string{"/v1/models", "/api/tags"}},
		{"ollama", "https://gw.example/v1/proxy/ollama/v1", []string{"/v1/proxy/ollama/v1/models", "/v1/proxy/ollama/api/tags"}, []string{"/v1/other/chat/completions", "/api/tags"}},
		{"ollama", "https://gw.example/v1/proxy/ollama", []string{"/v1/proxy/ollama/chat/completions"}, []string{"/v1/other/chat/completions", "/api/tags"}},
		{"azure", "https://gw.example/openai/azure/openai/deployments/x", []string{"/openai/azure/openai/deployments/x/chat/completions"}, []string{"/openai/other/chat/completions"}},
		{"ollama", "https://gw.example/else", []string{"/else/chat/completions"}, []string{"/v1/models", "/api/tags"}},
		{"deepseek", "https://gw.example/ds/v1", []string{"/ds/beta/completions", "/ds/user/balance"}, []string{"/v1/models", "/user/balance"}},
		{"deepseek", "https://api.deepseek.com/v1", []string{"/user/balance", "/", "/v1"}, []string{"v1"}},
		{"azure", "https://x.services.ai.azure.com/openai/v1", []string{"/openai/v1/chat/completions", "/models"}, []string{"/openai2"}},
	} {
		e := at(t, tt.host, tt.base, nil)
		for _, path := range tt.yes {
			if !e.paths.Cover(path) {
				t.Errorf("%s does not take %s for its own", tt.base, path)
			}
		}
		for _, path := range tt.never {
			if e.paths.Cover(path) {
				t.Errorf("%s takes %s for its own", tt.base, path)
			}
		}
	}
}

func TestPaths_Closer(t *testing.T) {
	for _, tt := range []struct {
		base, other, path string
		want              bool
	}{
		{"https://gw.example/a/b", "https://gw.example/a", "/a/b/chat", true},
		{"https://gw.example/a", "https://gw.example/a/b", "/a/b/chat", false},
		{"https://gw.example/a", "https://gw.example/a/b", "/a/c", true},
		{"https://gw.example/a", "https://gw.example/b", "/b/c", false},
		{"https://gw.example/a", "https://gw.example/a", "/a/c", false}, // the first one that covers it has it
	} {
		e, other := at(t, "openai", tt.base, nil), at(t, "openai", tt.other, nil)
		if got := e.paths.Closer(&other.paths, tt.path); got != tt.want {
			t.Errorf("%s lies closer to %s than to %s: %v, want %v", tt.path, tt.base, tt.other, got, tt.want)
		}
	}
}

// Wherever an operation is served, the endpoint takes the path for its own, and
// it lies under the base path or a root of the host behind the gateway's.
func FuzzPaths(f *testing.F) {
	for i := range table {
		for _, base := range []string{"", "/v1", "/api/v3", "/gw/v1", "/anthropic", "/beta/v1/x", "/openai/deployments/x", "//", "/v1/v1"} {
			f.Add(uint(i), "gw.example", base)
			if len(table[i].Domains) > 0 {
				f.Add(uint(i), table[i].Domains[0], base)
			}
		}
	}
	f.Fuzz(func(t *testing.T, host uint, domain, base string) {
		base = strings.TrimRight(base, "/") // as New has it
		if base != "" && base[0] != '/' {
			return
		}
		p := &table[host%uint(len(table))]
		paths := PathsOf(p, &url.URL{Scheme: "https", Host: domain, Path: base})
		if !strings.HasPrefix(base, paths.gateway) {
			t.Fatalf("%s: the gateway's path %q is no part of the base %q", p.Name, paths.gateway, base)
		}
		for _, op := range []request.Operation{request.Chat, request.Completions, request.Responses, request.Messages, request.Embeddings} {
			root, ok := paths.RootOf(op)
			if !ok {
				if p.Operations[op] != nil || p.Operations == nil {
					t.Errorf("%s: %s is not served at %q", p.Name, op, base)
				}
				continue
			}
			if !paths.Cover(root + string(op)) {
				t.Errorf("%s: %s is served under %q, which is not taken for part of %q", p.Name, op, root, base)
			}
			if !strings.HasPrefix(root, paths.gateway) {
				t.Errorf("%s: %s is served under %q, outside the gateway's path %q", p.Name, op, root, paths.gateway)
			}
		}
	})
}
