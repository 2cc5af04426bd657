package breakwater

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/origin"
)

// An Endpoint is one base URL with one key.
type Endpoint struct {
	// Name stands for the endpoint in events, errors and headers. Default: the
	// URL's host.
	Name string

	// URL is the base URL as an SDK would be given it: what precedes
	// /chat/completions. It may end in ?api-version=…, which Azure's deployments
	// want, and in no other query.
	URL string

	// APIKey is sent as the bearer token. Where it is empty, the caller's own
	// credential is sent, but only to the origin the caller meant. So New refuses
	// an endpoint that has no key, here, in Header or by Rewrite or attempt
	// middleware, unless it is the first, or of a first tier's origin, or Keyless.
	APIKey string

	// Keyless says that the host wants no key, as servers of one's own may.
	Keyless bool

	// Account names the quota and balance the endpoint draws on: endpoints of
	// one account share limits and count as one when a call is tried again.
	// Default: this endpoint alone.
	Account string

	// Host says how the endpoint words its errors. Default: told from the URL,
	// else OpenAI-compatible.
	Host Host

	// Models maps the caller's model names to those this endpoint uses. Where it
	// is given, the endpoint serves these models only (and calls meant for it).
	// Where it is not, names go through as they are; names that DeepSeek has
	// retired go as today's, to DeepSeek and by Models.
	//
	// A caller's name may also be the one that the endpoint it meant uses: where
	// Models of both say the same of a name, the call finds its way.
	Models map[string]string

	// Limits bounds attempts by this endpoint's model name, "" for all others.
	// It goes over WithRateLimit.
	Limits map[string]RatePolicy

	// Header is set on each attempt, over what the caller sent.
	Header http.Header

	// Rewrite has the last word on each attempt's own request. An error ends the
	// attempt before it is sent.
	Rewrite func(*http.Request) error
}

// String names the endpoint and its origin. No printable form of an Endpoint
// shows its key, its headers or its URL's user and query.
func (e Endpoint) String() string {
	u, err := url.Parse(e.URL)
	if err != nil {
		return e.Name
	}
	return fmt.Sprintf("%s (%s://%s%s)", e.Name, u.Scheme, u.Host, u.Path)
}

// GoString is String in Go's clothes.
func (e Endpoint) GoString() string { return fmt.Sprintf("breakwater.Endpoint{%s}", e) }

// Format prints String for every verb but %#v.
func (e Endpoint) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('#') {
		fmt.Fprint(f, e.GoString())
		return
	}
	fmt.Fprint(f, e.String())
}

// LogValue keeps keys out of logs.
func (e Endpoint) LogValue() slog.Value { return slog.StringValue(e.String()) }

// MarshalJSON keeps keys out of dumps.
func (e Endpoint) MarshalJSON() ([]byte, error) { return json.Marshal(e.String()) }

func resolveEndpoints(option string, endpoints []Endpoint) ([]Endpoint, error) {
	var errs []error
	resolved := make([]Endpoint, 0, len(endpoints))
	for i, e := range endpoints {
		e, err := e.resolve(fmt.Sprintf("%s: endpoint %d", option, i+1))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		resolved = append(resolved, e)
	}
	return resolved, errors.Join(errs...)
}

// resolve copies e with its defaults filled in. Its errors never quote the
// URL: it may hold a key.
func (e Endpoint) resolve(where string) (Endpoint, error) {
	f := fields{option: where}
	u, err := url.Parse(e.URL)
	switch {
	case e.URL == "":
		f.check(false, "URL is empty")
		return e, f.err()
	case err != nil:
		f.check(false, "URL cannot be parsed")
		return e, f.err()
	}
	f.check(u.Scheme == "http" || u.Scheme == "https", "URL has scheme %q: want an absolute http or https URL", u.Scheme)
	name, ok := origin.ASCIIHost(u.Hostname())
	f.check(ok, "URL has host %q, which has no ASCII form (RFC 5891)", u.Hostname())
	f.check(name != "" || !ok, "URL has no host: want an absolute http or https URL")
	u = origin.InASCII(u) // what is dialed is what is compared
	f.check(u.User == nil && onlyVersion(u) && u.Fragment == "", "URL has a user, a fragment, or a query other than api-version: give keys as APIKey or Header")
	e.Header = header.Canonical(e.Header)
	e.checkKeys(&f, u)
	if err := header.Check(e.Header); err != nil {
		f.errs = append(f.errs, fmt.Errorf("%w, at %s", err, where))
	}
	if e.Name == "" {
		e.Name = u.Host
	}
	f.check(!strings.ContainsFunc(e.Name, func(r rune) bool { return r < ' ' || r > '~' }), "Name %q is not printable ASCII, which it must be as part of a header", e.Name)
	if e.Account == "" {
		e.Account = "endpoint " + e.Name // so that it is nobody else's
	}
	if e.Host == "" {
		e.Host = hostOf(u.Hostname())
	}
	f.check(e.Host.profile().Name == string(e.Host), "Host %q is not known", e.Host)
	for from, to := range e.Models {
		f.check(from != "" && to != "", "Models maps %q to %q: want two names", from, to)
	}
	query := u.RawQuery
	u.RawQuery, u.ForceQuery = "", false
	e.URL = strings.TrimRight(u.String(), "/")
	if query != "" {
		e.URL += "?" + query
	}
	e.Models = maps.Clone(e.Models)
	limits := make(map[string]RatePolicy, len(e.Limits))
	for model, p := range e.Limits {
		p, err := p.resolve(fmt.Sprintf("%s: Limits[%q]", where, model))
		if err != nil {
			f.errs = append(f.errs, err)
		}
		limits[model] = p
	}
	e.Limits = limits
	return e, f.err()
}

// checkKeys checks where keys would go, and that what is given as a key is one.
func (e Endpoint) checkKeys(f *fields, u *url.URL) {
	f.check(e.APIKey == "" && !header.HasIdentity(e.Header) || u.Scheme != "http" || origin.IsLoopback(u.Hostname()), "a key would go over plain http to %q", u.Hostname())
	f.check(httpguts.ValidHeaderFieldValue(e.APIKey), "APIKey has a line break or control character in it")
	f.check(e.APIKey == "" || strings.TrimSpace(e.APIKey) != "", "APIKey is blank")
	for _, name := range header.Credentials {
		f.check(len(e.Header[name]) == 0 || header.HoldsKey(e.Header[name]), "Header has %s, and no key in it", name)
	}
	f.check(!e.Keyless || e.APIKey == "" && !header.HasCredential(e.Header), "Keyless is set, and so is a key: want one of them")
}

// onlyVersion reports whether u's query, if it has one, says nothing but the
// version of the API.
func onlyVersion(u *url.URL) bool {
	query, err := url.ParseQuery(u.RawQuery)
	return err == nil && (len(query) == 0 || len(query) == 1 && len(query["api-version"]) == 1)
}

// A Host says whose servers an endpoint's are: how they word their errors and
// what they can do. The zero value has it told from the endpoint's URL.
type Host string

const (
	HostDeepSeek    Host = "deepseek"
	HostVolcengine  Host = "volcengine" // Ark, ByteDance's
	HostSiliconFlow Host = "siliconflow"
	HostBailian     Host = "bailian" // Model Studio, Alibaba's
	HostTencent     Host = "tencent" // LKEAP and TokenHub
	HostQianfan     Host = "qianfan" // Baidu's
	HostAzure       Host = "azure"   // AI Foundry, Microsoft's
	HostOpenRouter  Host = "openrouter"
	HostTogether    Host = "together"
	HostFireworks   Host = "fireworks"
	HostOllama      Host = "ollama"
	HostVLLM        Host = "vllm"
	HostSGLang      Host = "sglang"
	HostOpenAI      Host = "openai" // any OpenAI-compatible host: the generic rules
)

// profile returns what is known of the host; the generic profile if h is not known.
func (h Host) profile() *host.Profile { return host.Lookup(string(h)) }

// hostOf returns the host that a server of that name belongs to; HostOpenAI if it
// is none that is known.
func hostOf(domain string) Host { return Host(host.OfDomain(domain).Name) }

// preset returns an endpoint of a known host, with a copy of the Models that its
// profile has. An empty key stays empty: see Endpoint.APIKey.
func preset(name, url, apiKey string, h Host) Endpoint {
	return Endpoint{Name: name, URL: url, APIKey: apiKey, Host: h, Models: maps.Clone(h.profile().Models)}
}

// DeepSeek is the endpoint of DeepSeek's own API. Models go by their names
// there; those retired in 2026 are sent as today's, thinking or not as they did.
func DeepSeek(apiKey string) Endpoint {
	return preset("deepseek", "https://api.deepseek.com", apiKey, HostDeepSeek)
}

// VolcengineArk is the endpoint of ByteDance's Ark in Beijing. Its Models are
// those of Ark's list; add your own endpoint ids, ep-….
func VolcengineArk(apiKey string) Endpoint {
	return preset("ark", "https://ark.cn-beijing.volces.com/api/v3", apiKey, HostVolcengine)
}

// SiliconFlow is the endpoint of SiliconFlow's international API.
func SiliconFlow(apiKey string) Endpoint {
	return preset("siliconflow", "https://api.siliconflow.com/v1", apiKey, HostSiliconFlow)
}

// SiliconFlowCN is the endpoint of SiliconFlow's API in China.
func SiliconFlowCN(apiKey string) Endpoint {
	return preset("siliconflow-cn", "https://api.siliconflow.cn/v1", apiKey, HostSiliconFlow)
}

// Bailian is the endpoint of Alibaba's Model Studio in China.
func Bailian(apiKey string) Endpoint {
	return preset("bailian", "https://dashscope.aliyuncs.com/compatible-mode/v1", apiKey, HostBailian)
}

// BailianIntl is the endpoint of Alibaba's Model Studio in Singapore.
func BailianIntl(apiKey string) Endpoint {
	return preset("bailian-intl", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", apiKey, HostBailian)
}

// TencentLKEAP is the endpoint of Tencent's LKEAP. It serves DeepSeek's names
// of old; map today's in Models to what you have there.
func TencentLKEAP(apiKey string) Endpoint {
	return preset("lkeap", "https://api.lkeap.cloud.tencent.com/v1", apiKey, HostTencent)
}

// TencentTokenHub is the endpoint of Tencent's TokenHub, LKEAP's successor.
// Models: as [TencentLKEAP].
func TencentTokenHub(apiKey string) Endpoint {
	return preset("tokenhub", "https://tokenhub.tencentmaas.com/v1", apiKey, HostTencent)
}

// BaiduQianfan is the endpoint of Baidu's Qianfan. It serves DeepSeek's names
// of old; map today's in Models to what you have there.
func BaiduQianfan(apiKey string) Endpoint {
	return preset("qianfan", "https://qianfan.baidubce.com/v2", apiKey, HostQianfan)
}

// AzureFoundry is the endpoint of a resource of Microsoft's AI Foundry. Models
// maps to the names of the catalog; where your deployments have others, say so there.
func AzureFoundry(resource, apiKey string) Endpoint {
	return preset("azure", "https://"+resource+".services.ai.azure.com/openai/v1", apiKey, HostAzure)
}

// OpenRouter is the endpoint of OpenRouter.
func OpenRouter(apiKey string) Endpoint {
	return preset("openrouter", "https://openrouter.ai/api/v1", apiKey, HostOpenRouter)
}

// Together is the endpoint of Together AI.
func Together(apiKey string) Endpoint {
	return preset("together", "https://api.together.ai/v1", apiKey, HostTogether)
}

// Fireworks is the endpoint of Fireworks AI.
func Fireworks(apiKey string) Endpoint {
	return preset("fireworks", "https://api.fireworks.ai/inference/v1", apiKey, HostFireworks)
}

// OllamaCloud is the endpoint of Ollama's cloud.
func OllamaCloud(apiKey string) Endpoint {
	return preset("ollama-cloud", "https://ollama.com/v1", apiKey, HostOllama)
}

// Ollama is the endpoint of an Ollama on this machine, which wants no key. Map
// in Models what yours has: "deepseek-flash": "deepseek-r1:8b".
func Ollama() Endpoint {
	return Endpoint{Name: "ollama", URL: "http://localhost:11434/v1", Host: HostOllama, Keyless: true}
}

// VLLM is the endpoint of a vLLM server at url, its /v1 included. Without
// Models it serves any name, without a key it is Keyless.
func VLLM(url, apiKey string) Endpoint { return ownServer(url, apiKey, HostVLLM) }

// SGLang is the endpoint of an SGLang server at url, its /v1 included. Without
// Models it serves any name, without a key it is Keyless.
func SGLang(url, apiKey string) Endpoint { return ownServer(url, apiKey, HostSGLang) }

// ownServer returns an endpoint of software that asks for a key only if it is
// told to.
func ownServer(url, apiKey string, h Host) Endpoint {
	e := preset("", url, apiKey, h)
	e.Keyless = apiKey == ""
	return e
}
