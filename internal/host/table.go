package host

import (
	"maps"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/request"
)

// This file holds the facts about each host, as data. When a host changes, only
// this file of the package needs an edit. Where a row says nothing, the generic
// rules apply. A comment marks a fact that we looked for and did not find as
// [unknown].
//
// Source is the page that most facts of a row come from, and Checked is the day on
// which somebody last compared the row with what the host says. A test lists the
// rows that nobody has looked at for half a year.

// contextLength is a rule that many hosts share, because they run the same
// software.
var contextLength = ErrorRule{Status: 400, Message: "maximum context length", Class: outcome.Unsuited}

// openAIErrors are OpenAI's own error codes:
// https://platform.openai.com/docs/guides/error-codes. They apply to every host
// that has no rule of its own for an error. OpenAI's code for an account without
// money, 429 insufficient_quota, is not among them, because other hosts use it for
// a rate limit.
var openAIErrors = []ErrorRule{
	{Status: 400, Code: "context_length_exceeded", Class: outcome.Unsuited},
	{Status: 400, Code: "content_filter", Class: outcome.Filtered},
	{Status: 404, Code: "model_not_found", Class: outcome.NoModel},
	{Status: 403, Code: "model_not_found", Class: outcome.NoModel}, // the project has no access to the model
	{Status: 400, Code: "rate_limit_exceeded", Class: outcome.RateLimited},
	{Status: 403, Code: "rate_limit_exceeded", Class: outcome.RateLimited},
	{Status: 403, Code: "rate_limit_error", Class: outcome.RateLimited},
	{Status: 403, Code: "insufficient_quota", Class: outcome.NoFunds},
	{Status: 403, Code: "insufficient_user_quota", Class: outcome.NoFunds}, // of the gateway new-api
	{Status: 403, Code: "insufficient_balance", Class: outcome.NoFunds},
}

// The model names that DeepSeek's own API serves.
const (
	flash   = "deepseek-flash"
	v4Flash = "deepseek-v4-flash"
	v4Pro   = "deepseek-v4-pro"
)

// retiredModels are DeepSeek's former model names, which it has refused since
// 2026-07-24. The value tells whether the model used to think. Each host's row says
// which model replaces them.
var retiredModels = map[string]bool{"deepseek-chat": false, "deepseek-reasoner": true}

// withRetired adds to a host's models those that replace DeepSeek's former names.
func withRetired(chat, reasoner string, models map[string]string) map[string]string {
	models = maps.Clone(models)
	if models == nil {
		models = make(map[string]string, 2)
	}
	models["deepseek-chat"], models["deepseek-reasoner"] = chat, reasoner
	return models
}

// openWeights are facts about DeepSeek's open models that hold wherever they are served
// under names like their own. V4.1-Flash sees images; those before it and V4-Pro do not:
// https://huggingface.co/deepseek-ai. Hosts may take shorter prompts than the models do,
// but none takes longer ones.
var openWeights = []ModelFacts{
	{Part: "vision"}, // deepseek-v4-flash-vision-exp
	{Part: "deepseek-v4-flash", Lacks: request.Images, Context: 1 << 20},
	{Part: "deepseek-v4-pro", Lacks: request.Images, Context: 1 << 20},
	{Part: "deepseek-v4", Context: 1 << 20},
	{Part: "deepseek-v3", Lacks: request.Images, Context: 160 << 10},
	{Part: "deepseek-r1", Lacks: request.Images, Context: 160 << 10},
}

// ShortestContext is the shortest context of a model in the table, in tokens.
const ShortestContext = 160 << 10

// table has a row for each host. The last row is the generic host.
var table = []Profile{
	{
		// Its pages quick_start/error_codes, rate_limit, faq, guides/thinking_mode,
		// chat_prefix_completion, anthropic_api, safety, web_tools, api/create-chat-completion and create-message. It sends neither Retry-After nor headers about its limits.
		Name:   "deepseek",
		Source: "https://api-docs.deepseek.com", Checked: "2026-11-27",
		Domains: []string{"api.deepseek.com"},
		Roots:   []string{""}, // the whole origin is its API
		Operations: map[request.Operation][]string{
			request.Chat:        {"", "/v1", "/beta"},
			request.Completions: {"/beta"},
			request.Responses:   {"", "/v1"},
			request.Messages:    {"/anthropic/v1"},
		},
		Renamed:        withRetired(flash, flash, nil),
		CanonicalNames: true,
		// On Messages it takes Anthropic's names for its own models.
		Families:           []Family{{request.Messages, "claude-opus", v4Pro}, {request.Messages, "claude", flash}},
		ReasoningModels:    []string{"reasoner", "-r1"},
		ThinkingField:      request.ThinkingObject,
		UserField:          "user_id",
		PrefixRoot:         "/beta",
		PrefixReasoning:    true,
		Offers:             request.Prefix | request.Review | request.DeepSeekTools,
		Known:              []ModelFacts{{Part: "v4-pro", Lacks: request.Images, Context: 1 << 20}, {Context: 1 << 20}},
		QueuesAfterHeaders: true,
		ModelsPath:         "/models", ModelsNeedKey: true,
		BalancePath: "/user/balance", // https://api-docs.deepseek.com/api/get-user-balance
		// The first resets connections from some clouds; the second has the same ids.
		StatusPages: []string{"https://status.deepseek.com/api/v2/summary.json", "https://deepseek.statuspage.io/api/v2/summary.json"},
		// We saw usage on the finish chunk without stream_options.
		UsageInStreams: true,
		LimitPhrase:    "concurrency limit of ",
		Errors: []ErrorRule{
			{Status: 400, Message: "supported api model names are", Class: outcome.NoModel},
			{Status: 400, Message: "model not exist", Class: outcome.NoModel},
			contextLength,
			{Status: 400, Message: "reasoning_content", Class: outcome.Unsuited},
			{Status: 400, Message: "content exists risk", Class: outcome.Filtered},
		},
	},
	{
		// Every 429 is a rate limit, whatever its code. Retry-After: [unknown].
		// V4.1-Flash: [unknown]. Whether the GA flash heeds response_format: [unknown];
		// one report says that it does not. Its page says that a stream has its usage, in
		// a chunk without choices, only if stream_options ask for it; so do those of
		// Bailian, which has "usage":null in all other chunks, and of Ollama, the code of
		// vLLM and issues of SGLang.
		Name:   "volcengine",
		Source: "https://www.volcengine.com/docs/82379/1299023", Checked: "2026-11-22",
		Domains:    []string{"volces.com", "bytepluses.com"},
		Roots:      []string{"/api/v3"},
		Operations: map[request.Operation][]string{request.Chat: {"/api/v3"}, request.Responses: {"/api/v3"}, request.Embeddings: {"/api/v3"}},
		Models: withRetired("deepseek-v4-flash-ga-260731", "deepseek-v4-flash-ga-260731", map[string]string{
			flash: "deepseek-v4-flash-ga-260731", v4Flash: "deepseek-v4-flash-ga-260731", v4Pro: "deepseek-v4-pro-ga-260813",
		}),
		Offers:          request.Usage,
		Known:           openWeights,
		ReasoningModels: []string{"-r1"},
		ThinkingField:   request.ThinkingObject,
		Errors: []ErrorRule{
			{Status: 403, Code: "AccountOverdueError", Class: outcome.NoFunds},
			{Status: 404, Code: "InvalidEndpointOrModel.", Class: outcome.NoModel},
			{Status: 404, Code: "ModelNotOpen", Class: outcome.NoModel},
			{Status: 400, Code: "SensitiveContentDetected.", Class: outcome.Filtered},
			{Status: 400, Code: "InputTextSensitiveContentDetected", Class: outcome.Filtered},
			contextLength,
		},
	},
	{
		// Its errors are flat:
		// {"code":50603,"message":"System is really busy…","data":null}
		Name:   "siliconflow",
		Source: "https://docs.siliconflow.cn", Checked: "2026-11-22",
		Domains:    []string{"api.siliconflow.cn", "api.siliconflow.com"},
		Roots:      []string{"/v1"},
		Operations: map[request.Operation][]string{request.Chat: {"/v1"}, request.Completions: {"/v1"}, request.Embeddings: {"/v1"}, request.Messages: {"/v1"}},
		Models: withRetired("deepseek-ai/DeepSeek-V4-Flash", "deepseek-ai/DeepSeek-V4-Flash", map[string]string{
			flash: "deepseek-ai/DeepSeek-V4-Flash", v4Flash: "deepseek-ai/DeepSeek-V4-Flash", v4Pro: "deepseek-ai/DeepSeek-V4-Pro",
		}),
		Known:           openWeights,
		ReasoningModels: []string{"-r1", "thinking"},
		ThinkingField:   request.EnableThinking,
		Errors: []ErrorRule{
			{Status: 400, Message: "model does not exist", Class: outcome.NoModel},
			{Status: 403, Message: "balance is insufficient", Class: outcome.NoFunds},
			contextLength,
		},
	},
	{
		// https://help.aliyun.com/zh/model-studio/error-code. Each 429, including
		// insufficient_quota, is a rate limit that ends within a minute. Since 2026,
		// each workspace has a server of its own below maas.aliyuncs.com, for each
		// region. The coding plan has a path of its own. V3 and R1 were withdrawn on
		// 2026-10-10.
		Name:   "bailian",
		Source: "https://www.alibabacloud.com/help/model-studio/deepseek-api", Checked: "2026-11-27",
		Domains: []string{"dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com", "maas.aliyuncs.com"},
		Roots:   []string{"/compatible-mode/v1", "/apps/anthropic"},
		Operations: map[request.Operation][]string{
			request.Chat: {"/compatible-mode/v1"}, request.Responses: {"/compatible-mode/v1"},
			request.Embeddings: {"/compatible-mode/v1"}, request.Messages: {"/apps/anthropic/v1"},
		},
		Models:          withRetired(v4Flash, v4Flash, map[string]string{flash: v4Flash, v4Flash: v4Flash, v4Pro: v4Pro}),
		Offers:          request.Usage,
		Known:           openWeights,
		ReasoningModels: []string{"-r1"},
		ThinkingField:   request.EnableThinking,
		Errors: []ErrorRule{
			{Status: 400, Code: "Arrearage", Class: outcome.NoFunds},
			{Status: 403, Code: "Arrearage", Class: outcome.NoFunds},
			{Status: 400, Code: "DataInspectionFailed", Class: outcome.Filtered},
			{Status: 400, Code: "data_inspection_failed", Class: outcome.Filtered},
			{Status: 400, Message: "range of input length", Class: outcome.Unsuited},
		},
	},
	{
		// LKEAP, which moved to TokenHub in April 2026. It has none of the current
		// models under DeepSeek's names. Its error codes: [unknown].
		Name:   "tencent",
		Source: "https://cloud.tencent.com/document/product/1772", Checked: "2026-11-22",
		Domains: []string{"api.lkeap.cloud.tencent.com"},
		Roots:   []string{"/v1", "/anthropic"},
		Operations: map[request.Operation][]string{
			request.Chat: {"/v1"}, request.Messages: {"/anthropic/v1"},
		},
		Models:          withRetired("deepseek-v3.2", "deepseek-r1-0528", nil),
		Known:           openWeights,
		ReasoningModels: []string{"-r1"},
		Errors:          []ErrorRule{contextLength},
	},
	{
		// deepseek/deepseek-flash is V4.1-Flash, served by DeepSeek itself:
		// https://cloud.tencent.com/developer/article/2785682. Its error codes:
		// [unknown].
		Name:   "tokenhub",
		Source: "https://www.tencentcloud.com/document/product/1300/78941", Checked: "2026-11-27",
		Domains: []string{"tencentmaas.com", "tencentcloudmaas.com", "tencentcloudmaas.tech"},
		Roots:   []string{"/v1"},
		Operations: map[request.Operation][]string{
			request.Chat: {"/v1"}, request.Messages: {"/v1"},
		},
		Models: withRetired("deepseek/deepseek-flash", "deepseek/deepseek-flash", map[string]string{
			flash: "deepseek/deepseek-flash", v4Flash: "deepseek-v4-flash", v4Pro: "deepseek-v4-pro",
		}),
		Known:           openWeights,
		ReasoningModels: []string{"-r1"},
		ThinkingField:   request.ThinkingObject,
		Errors:          []ErrorRule{contextLength},
	},
	{
		// To turn thinking on, one asks for another model. Whether a field does it as
		// well: [unknown]. Its names for V4 are from https://docs.openclaw.ai/providers;
		// Baidu's own page with them we did not see.
		Name:   "qianfan",
		Source: "https://cloud.baidu.com/doc/qianfan-api/s/Mm8r1mejk", Checked: "2026-11-28",
		Domains:         []string{"qianfan.baidubce.com"},
		KeyPrefixes:     []string{"bce-v3/"},
		Roots:           []string{"/v2"},
		Operations:      map[request.Operation][]string{request.Chat: {"/v2"}, request.Embeddings: {"/v2"}},
		Models:          withRetired("deepseek-v3.2", "deepseek-v3.2-think", map[string]string{flash: v4Flash, v4Flash: v4Flash, v4Pro: v4Pro}),
		Known:           openWeights,
		ReasoningModels: []string{"-r1", "-think"},
		Errors: []ErrorRule{
			{Status: 401, Code: "invalid_model", Class: outcome.NoModel},
			{Status: 403, Code: "account_overdue", Class: outcome.NoFunds},
			contextLength,
		},
	},
	{
		// A model's name is the name of its deployment, by default the one in the
		// catalog. V4.1-Flash is not in it.
		Name:   "azure",
		Source: "https://learn.microsoft.com/azure/ai-foundry/openai/reference", Checked: "2026-11-27",
		Domains:   []string{"services.ai.azure.com", "openai.azure.com", "cognitiveservices.azure.com"},
		Roots:     []string{"/openai", "/openai/v1", "/models"},
		KeyHeader: "Api-Key",
		Models: withRetired("DeepSeek-V3.2", "DeepSeek-R1-0528", map[string]string{
			flash: "DeepSeek-V4-Flash", v4Flash: "DeepSeek-V4-Flash", v4Pro: "DeepSeek-V4-Pro",
		}),
		Known:           openWeights,
		ReasoningModels: []string{"-r1"},
		Errors: []ErrorRule{
			{Status: 404, Code: "DeploymentNotFound", Class: outcome.NoModel},
			contextLength,
		},
	},
	{
		// After an answer
		// has begun, errors come inside the 200. A 402 with Retry-After means that the
		// credit left does not cover all calls in flight. A 402 without it means that
		// there is no credit left.
		Name:   "openrouter",
		Source: "https://openrouter.ai/docs/api/reference/errors-and-debugging", Checked: "2026-11-22",
		Domains:     []string{"openrouter.ai"},
		KeyPrefixes: []string{"sk-or-"},
		Roots:       []string{"/api/v1"},
		Operations: map[request.Operation][]string{
			request.Chat: {"/api/v1"}, request.Completions: {"/api/v1"}, request.Responses: {"/api/v1"}, request.Messages: {"/api/v1"}, request.Embeddings: {"/api/v1"},
		},
		Models: withRetired("deepseek/deepseek-v4.1-flash", "deepseek/deepseek-v4.1-flash", map[string]string{
			flash: "deepseek/deepseek-v4.1-flash", v4Flash: "deepseek/deepseek-v4-flash", v4Pro: "deepseek/deepseek-v4-pro",
		}),
		Known:           openWeights,
		ReasoningModels: []string{"-r1"},
		ThinkingField:   request.ReasoningObject,
		Errors: []ErrorRule{
			{Status: 402, RetryAfter: true, Class: outcome.RateLimited},
			{Status: 403, Message: "moderation", Class: outcome.Filtered},
			{Status: 403, Message: "flagged", Class: outcome.Filtered},
			{Status: 400, Message: "is not a valid model id", Class: outcome.NoModel},
			{Status: 404, Message: "no endpoints found", Class: outcome.NoModel},
			contextLength,
		},
	},
	{
		// It refuses a call without a key in plain text. Its other error codes:
		// [unknown]. Its names are those of Hugging Face.
		Name:   "together",
		Source: "https://docs.together.ai/docs/rate-limits", Checked: "2026-11-28",
		Domains:     []string{"api.together.ai", "api.together.xyz"},
		KeyPrefixes: []string{"tgp_"},
		Roots:       []string{"/v1"},
		Operations:  map[request.Operation][]string{request.Chat: {"/v1"}, request.Completions: {"/v1"}, request.Embeddings: {"/v1"}},
		Models: withRetired("deepseek-ai/DeepSeek-V4.1-Flash", "deepseek-ai/DeepSeek-V4.1-Flash", map[string]string{
			flash: "deepseek-ai/DeepSeek-V4.1-Flash", v4Flash: "deepseek-ai/DeepSeek-V4.1-Flash", v4Pro: "deepseek-ai/DeepSeek-V4-Pro",
		}),
		Known:           openWeights,
		ReasoningModels: []string{"-r1"},
		Limits:          []LimitHeaders{{"X-Ratelimit-Remaining", "X-Ratelimit-Reset"}},
		Errors:          []ErrorRule{contextLength},
	},
	{
		// It sends Retry-After. With x-ratelimit-over-limit: yes it still answers, at a low
		// priority. Many users report that it answers 412 to an account in debt.
		Name:   "fireworks",
		Source: "https://docs.fireworks.ai/guides/quotas_usage/rate-limits", Checked: "2026-11-27",
		Domains:     []string{"api.fireworks.ai"},
		KeyPrefixes: []string{"fw_"},
		Roots:       []string{"/inference/v1"},
		Operations:  map[request.Operation][]string{request.Chat: {"/inference/v1"}, request.Completions: {"/inference/v1"}, request.Embeddings: {"/inference/v1"}, request.Responses: {"/inference/v1"}},
		Models: withRetired("accounts/fireworks/models/deepseek-v4p1-flash", "accounts/fireworks/models/deepseek-v4p1-flash", map[string]string{
			flash: "accounts/fireworks/models/deepseek-v4p1-flash", v4Flash: "accounts/fireworks/models/deepseek-v4-flash", v4Pro: "accounts/fireworks/models/deepseek-v4-pro",
		}),
		Known:           openWeights,
		ReasoningModels: []string{"-r1"},
		Errors: []ErrorRule{
			{Status: 404, Code: "NOT_FOUND", Class: outcome.NoModel},
			{Status: 412, Message: "is suspended", Class: outcome.NoFunds},
			contextLength,
		},
	},
	{
		// https://docs.aws.amazon.com/bedrock/latest/userguide/model-cards.html: of
		// DeepSeek it has V3.2, not before 2026-12-01 without. Keys are Bedrock API
		// keys. Its error codes: [unknown].
		Name:   "bedrock",
		Source: "https://docs.aws.amazon.com/bedrock/latest/userguide/inference-responses-api.html", Checked: "2026-11-27",
		Domains:         []string{"bedrock-runtime.*.amazonaws.com", "bedrock-mantle.*.api.aws"},
		KeyPrefixes:     []string{"ABSK", "bedrock-api-key-"},
		Roots:           []string{"/openai/v1", "/v1"},
		Operations:      map[request.Operation][]string{request.Chat: {"/openai/v1", "/v1"}, request.Responses: {"/openai/v1", "/v1"}},
		Models:          withRetired("deepseek.v3.2", "deepseek.v3.2", nil),
		Known:           []ModelFacts{{Part: "deepseek.v3", Lacks: request.Images, Context: 160 << 10}, {Part: "deepseek.r1", Lacks: request.Images, Context: 160 << 10}},
		ReasoningModels: []string{".r1"},
		Errors: []ErrorRule{
			{Status: 400, Message: "isn't supported on this route", Class: outcome.NoModel},
			{Status: 403, Message: "token has expired", Class: outcome.KeyRejected},
			{Status: 403, Message: "api key is valid", Class: outcome.KeyRejected}, // Authentication failed: Please make sure your …
			contextLength,
		},
	},
	{
		// The base path names the project and the location, and the key is an OAuth token.
		// A refusal is an object in an array. V4-Flash and V4-Pro: [unknown].
		Name:   "vertex",
		Source: "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/maas/deepseek", Checked: "2026-11-28",
		Domains:         []string{"aiplatform.googleapis.com", "*-aiplatform.googleapis.com"},
		Roots:           []string{"/endpoints/openapi"},
		Operations:      map[request.Operation][]string{request.Chat: {"/endpoints/openapi"}},
		Models:          withRetired("deepseek-ai/deepseek-v4.1-flash-maas", "deepseek-ai/deepseek-v4.1-flash-maas", map[string]string{flash: "deepseek-ai/deepseek-v4.1-flash-maas"}),
		Known:           openWeights,
		ReasoningModels: []string{"-r1"},
		Errors:          []ErrorRule{contextLength},
	},
	{
		// https://docs.api.nvidia.com/nim/reference/llm-apis. Its endpoint of V4-Pro is
		// deprecated. Its error codes: [unknown].
		Name:   "nvidia",
		Source: "https://build.nvidia.com/deepseek-ai/deepseek-v4.1-flash", Checked: "2026-11-27",
		Domains:     []string{"integrate.api.nvidia.com"},
		KeyPrefixes: []string{"nvapi-"},
		Roots:       []string{"/v1"},
		Operations:  map[request.Operation][]string{request.Chat: {"/v1"}, request.Embeddings: {"/v1"}},
		Models: withRetired("deepseek-ai/deepseek-v4.1-flash", "deepseek-ai/deepseek-v4.1-flash", map[string]string{
			flash: "deepseek-ai/deepseek-v4.1-flash", v4Flash: "deepseek-ai/deepseek-v4.1-flash",
		}),
		Known:           openWeights,
		ReasoningModels: []string{"-r1"},
		Errors:          []ErrorRule{contextLength},
	},
	{
		// Its error codes: [unknown].
		Name:   "novita",
		Source: "https://novita.ai/models/model-detail/deepseek-deepseek-v4.1-flash", Checked: "2026-11-27",
		Domains:    []string{"api.novita.ai"},
		ModelsPath: "/openai/v1/models", BalancePath: "/openapi/v1/billing/balance/detail", // https://novita.ai/docs/api-reference/basic-get-user-balance
		Roots: []string{"/openai", "/anthropic", "/v3/openai"},
		Operations: map[request.Operation][]string{
			request.Chat: {"/openai", "/openai/v1", "/v3/openai"}, request.Completions: {"/openai", "/openai/v1", "/v3/openai"},
			request.Responses: {"/openai", "/openai/v1"}, request.Messages: {"/anthropic/v1"}, request.Embeddings: {"/openai", "/openai/v1", "/v3/openai"},
		},
		Models: withRetired("deepseek/deepseek-v4.1-flash", "deepseek/deepseek-v4.1-flash", map[string]string{
			flash: "deepseek/deepseek-v4.1-flash", v4Flash: "deepseek/deepseek-v4-flash", v4Pro: "deepseek/deepseek-v4-pro",
		}),
		Known:           openWeights,
		ReasoningModels: []string{"-r1"},
		Errors:          []ErrorRule{contextLength},
	},
	{
		// Native errors: {"error":"text"}. On their own machine, users choose the model
		// names.
		Name:   "ollama",
		Source: "https://docs.ollama.com/openai", Checked: "2026-11-22",
		Domains:         []string{"ollama.com"},
		Roots:           []string{"/v1", "/api"},
		Offers:          request.Usage,
		Models:          withRetired(v4Flash, v4Flash, map[string]string{flash: v4Flash, v4Flash: v4Flash}), // in Ollama's cloud
		ReasoningModels: []string{"-r1"},
		Errors: []ErrorRule{
			{Status: 404, Message: "not found", Class: outcome.NoModel},
			{Status: 400, Message: "exceeds the context length", Class: outcome.Unsuited},
		},
	},
	{
		// error.code is a number. Older versions send flat errors.
		Name:   "vllm",
		Source: "https://docs.vllm.ai/en/latest/serving/openai_compatible_server", Checked: "2026-11-22",
		Offers:          request.Usage,
		ReasoningModels: []string{"-r1"},
		Errors: []ErrorRule{
			contextLength,
			{Status: 404, Message: "does not exist", Class: outcome.NoModel},
		},
	},
	{
		// Its error codes: [unknown].
		Name:   "sglang",
		Source: "https://docs.sglang.ai", Checked: "2026-11-22",
		Offers:          request.Usage,
		ReasoningModels: []string{"-r1"},
		Errors: []ErrorRule{
			contextLength,
			{Status: 400, Message: "longer than the model's context length", Class: outcome.Unsuited},
		},
	},
	{
		// Of hosts that are not known, the facts that OpenAI's API made common.
		Name:   "openai",
		Source: "https://platform.openai.com/docs/guides/rate-limits", Checked: "2026-11-22",
		Generic:         true,
		ReasoningModels: []string{"reasoner", "-r1"},
		Limits: []LimitHeaders{
			{"X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"},
			{"X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"},
		},
	},
}
