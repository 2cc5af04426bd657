package breakwater

import (
	"maps"
	"strings"

	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/request"
)

// This file is what is known of the hosts. It is data: the only file to edit
// when the world changes. What a row does not say follows the generic rules
// of dialect.go, and what is marked [unknown] is left to them on purpose.
//
// Facts are as of November 2026.

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

// A hostRow is what is known of one host.
type hostRow struct {
	host    Host
	domains []string // of its servers, subdomains included
	// roots are what may precede an operation's path on its servers, beside the
	// endpoint's base path.
	roots []string
	// operations are the roots under which it serves an operation, the one to
	// prefer first. An operation that is not listed is not served. No list at
	// all: everything, under the endpoint's base path.
	operations map[request.Operation][]string
	keyHeader  string // that takes the key; empty: Authorization, as a bearer token

	models   map[string]string // DeepSeek's names to this host's; the presets' Models
	renamed  map[string]string // names no longer served to those that took their place
	thinkers []string          // parts of names of models that think without being asked to

	thinking request.ThinkingField // how a call says whether to think
	user     string                // the field that names the caller's own user: user, if empty
	prefix   string                // the root under which the last message may be the beginning of the answer; empty: none known

	// queuesInside: it answers 200 first and queues then, so that a lack of
	// headers means something other than thinking.
	queuesInside bool
	// usageInStreams: its streams say what they took, whether or not that is asked for.
	usageInStreams bool
	limits         []limitHeaders
	limitWords     string     // in a refusal, what the number of a limit follows
	words          []wordRule // its own words for a refusal, before the status decides
}

// limitHeaders are the headers that say what is left of a limit, and when it is
// whole again: in seconds, or as Go writes durations.
type limitHeaders struct{ remaining, reset string }

// A wordRule reads one refusal: all that is not empty must match.
type wordRule struct {
	status  int
	code    string // error.code or error.type; up to its first dot if it ends in one
	message string // part of the message, in lower case
	asked   bool   // it came with a Retry-After
	class   Class
}

// contextLength are words that hosts have in common, because they run the same software.
var contextLength = wordRule{status: 400, message: "maximum context length", class: ClassUnsuited}

// openAICodes are OpenAI's own codes, which hold at every host that has no
// other words: https://platform.openai.com/docs/guides/error-codes. That of
// OpenAI's own want of money, 429 insufficient_quota, is a throttle elsewhere.
var openAICodes = []wordRule{
	{status: 400, code: "context_length_exceeded", class: ClassUnsuited},
	{status: 400, code: "content_filter", class: ClassFiltered},
	{status: 404, code: "model_not_found", class: ClassNoModel},
	{status: 403, code: "model_not_found", class: ClassNoModel}, // of a project without access to it
}

// deepSeekNames are the names that DeepSeek's own API serves.
const (
	flash   = "deepseek-flash"
	v4Flash = "deepseek-v4-flash"
	v4Pro   = "deepseek-v4-pro"
)

// retired are DeepSeek's names of old, refused since 2026-07-24, and whether
// they meant to think. Each host's row says what serves for them.
var retired = map[string]bool{"deepseek-chat": false, "deepseek-reasoner": true}

// withRetired adds to a host's models what serves for DeepSeek's names of old.
func withRetired(chat, reasoner string, models map[string]string) map[string]string {
	models = maps.Clone(models)
	if models == nil {
		models = make(map[string]string, 2)
	}
	models["deepseek-chat"], models["deepseek-reasoner"] = chat, reasoner
	return models
}

var hostTable = []hostRow{
	{
		// https://api-docs.deepseek.com: quick_start/error_codes, rate_limit,
		// faq, guides/thinking_mode, chat_prefix_completion, anthropic_api.
		// It sends neither Retry-After nor headers about its limits.
		host:    HostDeepSeek,
		domains: []string{"api.deepseek.com"},
		roots:   []string{""}, // the whole origin is its API
		operations: map[request.Operation][]string{
			request.Chat:        {"", "/v1", "/beta"},
			request.Completions: {"/beta"},
			request.Responses:   {"", "/v1"},
			request.Messages:    {"/anthropic/v1"},
		},
		renamed:      withRetired(flash, flash, nil),
		thinkers:     []string{"reasoner", "-r1"},
		thinking:     request.ThinkingObject,
		user:         "user_id",
		prefix:       "/beta",
		queuesInside: true,
		// Seen on the finish chunk without stream_options.
		usageInStreams: true,
		limitWords:     "concurrency limit of ",
		words: []wordRule{
			{status: 400, message: "supported api model names are", class: ClassNoModel},
			{status: 400, message: "model not exist", class: ClassNoModel},
			contextLength,
			{status: 400, message: "reasoning_content", class: ClassUnsuited},
			{status: 400, message: "content exists risk", class: ClassFiltered},
		},
	},
	{
		// https://www.volcengine.com/docs/82379/1299023 (error codes), /1494384
		// (chat). 429 in all its words is a rate limit. Retry-After: [unknown].
		host:       HostVolcengine,
		domains:    []string{"volces.com", "bytepluses.com"},
		roots:      []string{"/api/v3"},
		operations: map[request.Operation][]string{request.Chat: {"/api/v3"}, request.Responses: {"/api/v3"}, request.Embeddings: {"/api/v3"}},
		models: withRetired("deepseek-v4-flash-ga-260731", "deepseek-v4-flash-ga-260731", map[string]string{
			flash: "deepseek-v4-flash-ga-260731", v4Flash: "deepseek-v4-flash-ga-260731", v4Pro: "deepseek-v4-pro-ga-260813",
		}),
		thinkers: []string{"-r1"},
		thinking: request.ThinkingObject,
		words: []wordRule{
			{status: 403, code: "AccountOverdueError", class: ClassNoFunds},
			{status: 404, code: "InvalidEndpointOrModel.", class: ClassNoModel},
			{status: 404, code: "ModelNotOpen", class: ClassNoModel},
			{status: 400, code: "SensitiveContentDetected.", class: ClassFiltered},
			{status: 400, code: "InputTextSensitiveContentDetected", class: ClassFiltered},
			contextLength,
		},
	},
	{
		// https://docs.siliconflow.cn. Flat errors:
		// {"code":50603,"message":"System is really busy…","data":null}
		host:       HostSiliconFlow,
		domains:    []string{"api.siliconflow.cn", "api.siliconflow.com"},
		roots:      []string{"/v1"},
		operations: map[request.Operation][]string{request.Chat: {"/v1"}, request.Completions: {"/v1"}, request.Embeddings: {"/v1"}, request.Messages: {"/v1"}},
		models: withRetired("deepseek-ai/DeepSeek-V4-Flash", "deepseek-ai/DeepSeek-V4-Flash", map[string]string{
			flash: "deepseek-ai/DeepSeek-V4-Flash", v4Flash: "deepseek-ai/DeepSeek-V4-Flash", v4Pro: "deepseek-ai/DeepSeek-V4-Pro",
		}),
		thinkers: []string{"-r1", "thinking"},
		thinking: request.EnableThinking,
		words: []wordRule{
			{status: 400, message: "model does not exist", class: ClassNoModel},
			{status: 403, message: "balance is insufficient", class: ClassNoFunds},
			contextLength,
		},
	},
	{
		// https://help.aliyun.com/zh/model-studio/error-code. Its 429
		// insufficient_quota is a throttle that clears in a minute, as all of its 429s.
		host:    HostBailian,
		domains: []string{"dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com"},
		roots:   []string{"/compatible-mode/v1", "/apps/anthropic"},
		operations: map[request.Operation][]string{
			request.Chat: {"/compatible-mode/v1"}, request.Embeddings: {"/compatible-mode/v1"}, request.Messages: {"/apps/anthropic/v1"},
		},
		models:   withRetired(v4Flash, v4Flash, map[string]string{flash: v4Flash, v4Flash: v4Flash, v4Pro: v4Pro}),
		thinkers: []string{"-r1"},
		thinking: request.EnableThinking,
		words: []wordRule{
			{status: 400, code: "Arrearage", class: ClassNoFunds},
			{status: 403, code: "Arrearage", class: ClassNoFunds},
			{status: 400, code: "DataInspectionFailed", class: ClassFiltered},
			{status: 400, code: "data_inspection_failed", class: ClassFiltered},
			{status: 400, message: "range of input length", class: ClassUnsuited},
		},
	},
	{
		// https://cloud.tencent.com/document/product/1772: LKEAP, which moved to
		// TokenHub in April 2026. Its error codes: [unknown].
		host:    HostTencent,
		domains: []string{"api.lkeap.cloud.tencent.com", "tencentmaas.com"},
		roots:   []string{"/v1", "/anthropic"},
		operations: map[request.Operation][]string{
			request.Chat: {"/v1"}, request.Messages: {"/anthropic/v1"},
		},
		// Of today's models it has none by DeepSeek's name: [unknown] for TokenHub.
		models:   withRetired("deepseek-v3.2", "deepseek-r1-0528", nil),
		thinkers: []string{"-r1"},
		words:    []wordRule{contextLength},
	},
	{
		// https://cloud.baidu.com/doc/qianfan-api/s/Mm8r1mejk. A model of its own
		// thinks, instead of a field; whether there is a field, too: [unknown].
		host:       HostQianfan,
		domains:    []string{"qianfan.baidubce.com"},
		roots:      []string{"/v2"},
		operations: map[request.Operation][]string{request.Chat: {"/v2"}, request.Embeddings: {"/v2"}},
		models:     withRetired("deepseek-v3.2", "deepseek-v3.2-think", nil),
		thinkers:   []string{"-r1", "-think"},
		words: []wordRule{
			{status: 401, code: "invalid_model", class: ClassNoModel},
			{status: 403, code: "account_overdue", class: ClassNoFunds},
			contextLength,
		},
	},
	{
		// https://learn.microsoft.com/azure/ai-foundry/openai/reference. Models go
		// by the names of deployments: by default that of the catalog.
		host:      HostAzure,
		domains:   []string{"services.ai.azure.com", "openai.azure.com", "cognitiveservices.azure.com"},
		roots:     []string{"/openai", "/openai/v1", "/models"},
		keyHeader: "Api-Key",
		models:    withRetired("DeepSeek-V3.2", "DeepSeek-R1-0528", map[string]string{v4Pro: "DeepSeek-V4-Pro"}),
		thinkers:  []string{"-r1"},
		words: []wordRule{
			{status: 404, code: "DeploymentNotFound", class: ClassNoModel},
			contextLength,
		},
	},
	{
		// https://openrouter.ai/docs/api/reference/errors-and-debugging. Once it has
		// begun, errors come inside a 200. A 402 with Retry-After is one of too many
		// calls in flight for the credit left; without it, there is none.
		host:    HostOpenRouter,
		domains: []string{"openrouter.ai"},
		roots:   []string{"/api/v1"},
		operations: map[request.Operation][]string{
			request.Chat: {"/api/v1"}, request.Completions: {"/api/v1"}, request.Responses: {"/api/v1"}, request.Messages: {"/api/v1"}, request.Embeddings: {"/api/v1"},
		},
		models: withRetired("deepseek/deepseek-v4.1-flash", "deepseek/deepseek-v4.1-flash", map[string]string{
			flash: "deepseek/deepseek-v4.1-flash", v4Flash: "deepseek/deepseek-v4-flash", v4Pro: "deepseek/deepseek-v4-pro",
		}),
		thinkers: []string{"-r1"},
		thinking: request.ReasoningObject,
		words: []wordRule{
			{status: 402, asked: true, class: ClassRateLimited},
			{status: 403, message: "moderation", class: ClassFiltered},
			{status: 403, message: "flagged", class: ClassFiltered},
			{status: 400, message: "is not a valid model id", class: ClassNoModel},
			{status: 404, message: "no endpoints found", class: ClassNoModel},
			contextLength,
		},
	},
	{
		// https://docs.together.ai/docs/rate-limits. A call without a key is refused
		// in plain text. Its other error codes: [unknown].
		host:       HostTogether,
		domains:    []string{"api.together.ai", "api.together.xyz"},
		roots:      []string{"/v1"},
		operations: map[request.Operation][]string{request.Chat: {"/v1"}, request.Completions: {"/v1"}, request.Embeddings: {"/v1"}},
		models:     map[string]string{v4Pro: "deepseek-ai/DeepSeek-V4-Pro"},
		thinkers:   []string{"-r1"},
		limits:     []limitHeaders{{"X-Ratelimit-Remaining", "X-Ratelimit-Reset"}},
		words:      []wordRule{contextLength},
	},
	{
		// https://docs.fireworks.ai/guides/quotas_usage/rate-limits. It sends
		// Retry-After. x-ratelimit-over-limit: yes is served, at low priority. An
		// account in debt is suspended, with 412, as many have reported.
		host:       HostFireworks,
		domains:    []string{"api.fireworks.ai"},
		roots:      []string{"/inference/v1"},
		operations: map[request.Operation][]string{request.Chat: {"/inference/v1"}, request.Completions: {"/inference/v1"}, request.Embeddings: {"/inference/v1"}, request.Responses: {"/inference/v1"}},
		models: withRetired("accounts/fireworks/models/deepseek-v4-flash", "accounts/fireworks/models/deepseek-v4-flash", map[string]string{
			flash: "accounts/fireworks/models/deepseek-v4-flash", v4Flash: "accounts/fireworks/models/deepseek-v4-flash", v4Pro: "accounts/fireworks/models/deepseek-v4-pro",
		}),
		thinkers: []string{"-r1"},
		words: []wordRule{
			{status: 404, code: "NOT_FOUND", class: ClassNoModel},
			{status: 412, message: "is suspended", class: ClassNoFunds},
			contextLength,
		},
	},
	{
		// https://docs.ollama.com/openai. Native errors: {"error":"text"}.
		// A machine of one's own: its names are its own, too.
		host:     HostOllama,
		domains:  []string{"ollama.com"},
		roots:    []string{"/v1", "/api"},
		models:   withRetired(v4Flash, v4Flash, map[string]string{flash: v4Flash, v4Flash: v4Flash}), // of its cloud
		thinkers: []string{"-r1"},
		words: []wordRule{
			{status: 404, message: "not found", class: ClassNoModel},
			{status: 400, message: "exceeds the context length", class: ClassUnsuited},
		},
	},
	{
		// https://docs.vllm.ai/en/latest/serving/openai_compatible_server.
		// error.code is a number; older versions have it flat.
		host:     HostVLLM,
		thinkers: []string{"-r1"},
		words: []wordRule{
			contextLength,
			{status: 404, message: "does not exist", class: ClassNoModel},
		},
	},
	{
		// https://docs.sglang.ai. Its error codes: [unknown].
		host:     HostSGLang,
		thinkers: []string{"-r1"},
		words: []wordRule{
			contextLength,
			{status: 400, message: "longer than the model's context length", class: ClassUnsuited},
		},
	},
	{
		// https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
		host:     HostOpenAI,
		thinkers: []string{"reasoner", "-r1"},
		limits: []limitHeaders{
			{"X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"},
			{"X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"},
		},
	},
}

// preset is an endpoint of a known host with what its row says of models. An
// empty key stays one: see Endpoint.APIKey.
func preset(name, url, apiKey string, host Host) Endpoint {
	return Endpoint{Name: name, URL: url, APIKey: apiKey, Host: host, Models: maps.Clone(host.row().models)}
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

// ownServer is an endpoint of software that asks for a key only if it is told to.
func ownServer(url, apiKey string, host Host) Endpoint {
	e := preset("", url, apiKey, host)
	e.Keyless = apiKey == ""
	return e
}

// row returns the table's row for h; the generic one for what it does not know.
func (h Host) row() *hostRow {
	for i := range hostTable {
		if hostTable[i].host == h {
			return &hostTable[i]
		}
	}
	return &hostTable[len(hostTable)-1]
}

// hostOf returns the host that a server of that name belongs to; HostOpenAI if it
// is none that is known.
func hostOf(domain string) Host {
	domain, ok := origin.ASCIIHost(domain)
	if !ok {
		return HostOpenAI
	}
	for _, row := range hostTable {
		for _, d := range row.domains {
			if domain == d || strings.HasSuffix(domain, "."+d) {
				return row.host
			}
		}
	}
	return HostOpenAI
}
