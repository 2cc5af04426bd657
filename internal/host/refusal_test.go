package host

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// saturday is when tests read headers.
var saturday = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// What the refusals of each host mean, in the words that it really uses.
func TestClassify(t *testing.T) {
	nested := func(message, kind, code string) string {
		return fmt.Sprintf(`{"error":{"message":%q,"type":%q,"param":null,"code":%q}}`, message, kind, code)
	}
	tooLong := "This model's maximum context length is 131072 tokens. However, you requested 131134 tokens"
	for _, tt := range []struct {
		name   string
		host   string
		status int
		body   string
		header string // Name: value
		class  outcome.Class
	}{
		// DeepSeek: quick_start/error_codes, and bodies as seen.
		{"DeepSeek 400", "deepseek", 400, nested("Failed to deserialize the JSON body into the target type", "invalid_request_error", "invalid_request_error"), "", outcome.Refused},
		{"DeepSeek 401", "deepseek", 401, nested("Authentication Fails, Your api key: ****xxxx is invalid", "authentication_error", "invalid_request_error"), "", outcome.KeyRejected},
		{"DeepSeek 401 in plain text", "deepseek", 401, "Authentication Fails (governor)", "", outcome.KeyRejected},
		{"DeepSeek 402", "deepseek", 402, nested("Insufficient Balance", "unknown_error", "invalid_request_error"), "", outcome.NoFunds},
		{"DeepSeek 422", "deepseek", 422, nested("Invalid parameters", "invalid_request_error", "invalid_request_error"), "", outcome.Refused},
		{"DeepSeek 429 that speaks of the balance", "deepseek", 429, nested("Your current concurrency is 40, which exceeds your concurrency limit of 39 based on your remaining balance. Please top up your balance to restore your concurrency.", "rate_limit_error", "rate_limit_error"), "", outcome.RateLimited},
		{"DeepSeek 500", "deepseek", 500, nested("Server error", "server_error", "server_error"), "", outcome.Unavailable},
		{"DeepSeek 503", "deepseek", 503, nested("Service is too busy.", "service_unavailable_error", "service_unavailable_error"), "", outcome.Unavailable},
		{"DeepSeek retired model", "deepseek", 400, nested("The supported API model names are deepseek-v4-pro or deepseek-v4-flash, but you passed deepseek-chat.", "invalid_request_error", "invalid_request_error"), "", outcome.NoModel},
		{"DeepSeek unknown model", "deepseek", 400, nested("Model Not Exist", "invalid_request_error", "invalid_request_error"), "", outcome.NoModel},
		{"DeepSeek context length", "deepseek", 400, nested(tooLong, "invalid_request_error", "invalid_request_error"), "", outcome.Unsuited},
		{"DeepSeek misses the reasoning", "deepseek", 400, nested("The `reasoning_content` in the thinking mode must be passed back to the API.", "invalid_request_error", "invalid_request_error"), "", outcome.Unsuited},
		{"DeepSeek content filter", "deepseek", 400, nested("Content Exists Risk", "invalid_request_error", "invalid_request_error"), "", outcome.Filtered},

		{"Ark 401", "volcengine", 401, nested("The API key format is incorrect", "Unauthorized", "AuthenticationError"), "", outcome.KeyRejected},
		{"Ark no money", "volcengine", 403, nested("The request failed because your account has an overdue balance", "Forbidden", "AccountOverdueError"), "", outcome.NoFunds},
		{"Ark unknown model", "volcengine", 404, nested("The model or endpoint x does not exist", "NotFound", "InvalidEndpointOrModel.NotFound"), "", outcome.NoModel},
		{"Ark model not open", "volcengine", 404, nested("Your account has not activated the model x", "NotFound", "ModelNotOpen"), "", outcome.NoModel},
		{"Ark rate limit", "volcengine", 429, nested("rate limit", "TooManyRequests", "RateLimitExceeded.EndpointTPMExceeded"), "", outcome.RateLimited},
		{"Ark overloaded", "volcengine", 429, nested("The service is overloaded", "TooManyRequests", "ServerOverloaded"), "", outcome.RateLimited},
		{"Ark content filter", "volcengine", 400, nested("sensitive", "BadRequest", "SensitiveContentDetected.SevereViolation"), "", outcome.Filtered},

		{"SiliconFlow busy", "siliconflow", 503, `{"code":50603,"message":"System is really busy. Please try again later.","data":null}`, "", outcome.Unavailable},
		{"SiliconFlow TPM", "siliconflow", 429, `{"message":"Request was rejected due to rate limiting. Details: TPM limit reached.","data":null}`, "", outcome.RateLimited},
		{"SiliconFlow no money", "siliconflow", 403, `{"code":30001,"message":"Sorry, your account balance is insufficient","data":null}`, "", outcome.NoFunds},
		{"SiliconFlow unknown model", "siliconflow", 400, `{"code":20012,"message":"Model does not exist. Please check it carefully.","data":null}`, "", outcome.NoModel},
		{"SiliconFlow key as text", "siliconflow", 401, `"Invalid token"`, "", outcome.KeyRejected},

		{"Bailian requests", "bailian", 429, nested("You exceeded your current requests list.", "limit_requests", "limit_requests"), "", outcome.RateLimited},
		{"Bailian burst", "bailian", 429, nested("Request rate increased too quickly.", "limit_burst_rate", "limit_burst_rate"), "", outcome.RateLimited},
		{"Bailian's quota is a throttle", "bailian", 429, nested("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota", "insufficient_quota"), "", outcome.RateLimited},
		{"Bailian arrears", "bailian", 400, `{"error":{"code":"Arrearage","param":null,"message":"Access denied, please make sure your account is in good standing.","type":"Arrearage"},"id":"x","request_id":"x"}`, "", outcome.NoFunds},
		{"Bailian content filter", "bailian", 400, nested("Input data may contain inappropriate content.", "data_inspection_failed", "data_inspection_failed"), "", outcome.Filtered},
		{"Bailian context length", "bailian", 400, nested("Range of input length should be [1, 98304]", "invalid_parameter_error", "invalid_parameter_error"), "", outcome.Unsuited},
		{"Bailian unknown model", "bailian", 404, nested("The model `x` does not exist or you do not have access to it.", "invalid_request_error", "model_not_found"), "", outcome.NoModel},

		{"Tencent 429", "tencent", 429, nested("slow down", "x", "x"), "", outcome.RateLimited},
		{"Tencent 401", "tencent", 401, nested("no", "x", "x"), "", outcome.KeyRejected},

		{"Qianfan token", "qianfan", 401, `{"error":{"code":"invalid_iam_token","message":"IAM Certification failed","type":"invalid_request_error"},"id":"as-x"}`, "", outcome.KeyRejected},
		{"Qianfan unknown model", "qianfan", 401, `{"error":{"code":"invalid_model","message":"No permission to use the model","type":"invalid_request_error"},"id":"as-x"}`, "", outcome.NoModel},
		{"Qianfan no money", "qianfan", 403, `{"error":{"code":"account_overdue","message":"Account is overdue","type":"access_denied"},"id":"as-x"}`, "", outcome.NoFunds},
		{"Qianfan requests", "qianfan", 429, `{"error":{"code":"rpm_rate_limit_exceeded","message":"Rate limit reached for RPM","type":"rate_limit_exceeded"},"id":"as-x"}`, "", outcome.RateLimited},
		{"Qianfan cluster", "qianfan", 429, `{"error":{"code":"cluster_rpm_rate_limit_exceeded","message":"m","type":"rate_limit_exceeded"},"id":"as-x"}`, "", outcome.RateLimited},
		{"Qianfan 500", "qianfan", 500, `{"error":{"code":"Internal_error","message":"Internal error","type":"internal_error"},"id":"as-x"}`, "", outcome.Unavailable},

		{"Azure content filter", "azure", 400, `{"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{}}}`, "", outcome.Filtered},
		{"Azure deployment", "azure", 404, `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}`, "", outcome.NoModel},
		{"Azure rate limit in milliseconds", "azure", 429, `{"error":{"code":"429","message":"Requests have exceeded call rate limit"}}`, "Retry-After-Ms: 700", outcome.RateLimited},
		{"Azure key", "azure", 401, `{"error":{"code":"401","message":"Access denied due to invalid subscription key"}}`, "", outcome.KeyRejected},

		{"OpenRouter key", "openrouter", 401, `{"error":{"code":401,"message":"No auth credentials found"}}`, "", outcome.KeyRejected},
		{"OpenRouter no credits", "openrouter", 402, `{"error":{"code":402,"message":"Insufficient credits"}}`, "", outcome.NoFunds},
		{"OpenRouter 402 to come back to", "openrouter", 402, `{"error":{"code":402,"message":"in flight","metadata":{"limit_source":"openrouter_in_flight_budget"}}}`, "Retry-After: 30", outcome.RateLimited},
		{"OpenRouter moderation", "openrouter", 403, `{"error":{"code":403,"message":"Your input was flagged","metadata":{"reasons":["x"],"flagged_input":"x"}}}`, "", outcome.Filtered},
		{"OpenRouter 408", "openrouter", 408, `{"error":{"code":408,"message":"timed out"}}`, "", outcome.Unavailable},
		{"OpenRouter 502", "openrouter", 502, `{"error":{"code":502,"message":"Provider returned error"}}`, "", outcome.Unavailable},
		{"OpenRouter unknown model", "openrouter", 400, `{"error":{"message":"x is not a valid model ID","code":400},"user_id":"u"}`, "", outcome.NoModel},
		{"OpenRouter has nobody for it", "openrouter", 404, `{"error":{"message":"No endpoints found for x.","code":404}}`, "", outcome.NoModel},

		{"Together without a key", "together", 401, "Missing API key", "", outcome.KeyRejected},
		{"Together says when the limit ends", "together", 429, nested("rate limit", "x", "x"), "X-Ratelimit-Reset: 90", outcome.RateLimited},
		{"Fireworks 429", "fireworks", 429, nested("slow down", "x", "x"), "Retry-After: 30", outcome.RateLimited},

		{"Fireworks unknown model", "fireworks", 404, `{"error":{"message":"Model not found, inaccessible, and/or not deployed","param":"model","code":"NOT_FOUND","type":"error"}}`, "", outcome.NoModel},
		{"Fireworks suspended", "fireworks", 412, `{"error":{"message":"Account x is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices."}}`, "", outcome.NoFunds},
		{"Ollama busy", "ollama", 503, `{"error":"server busy, please try again. maximum pending requests exceeded"}`, "", outcome.Unavailable},
		{"Ollama unknown model", "ollama", 404, `{"error":{"message":"model 'x' not found","type":"not_found_error","param":null,"code":null}}`, "", outcome.NoModel},
		{"Ollama's own unknown model", "ollama", 404, `{"error":"model \"x\" not found, try pulling it first"}`, "", outcome.NoModel},
		{"vLLM unknown model", "vllm", 404, `{"error":{"message":"The model x does not exist.","type":"NotFoundError","param":null,"code":404}}`, "", outcome.NoModel},
		{"vLLM of old, unknown model", "vllm", 404, `{"object":"error","message":"The model x does not exist.","type":"NotFoundError","param":null,"code":404}`, "", outcome.NoModel},
		{"vLLM context length", "vllm", 400, `{"object":"error","message":"` + tooLong + `","type":"BadRequestError","param":null,"code":400}`, "", outcome.Unsuited},
		{"SGLang context length", "sglang", 400, `{"object":"error","message":"The input (9 tokens) is longer than the model's context length (8 tokens).","type":"BadRequest","param":null,"code":400}`, "", outcome.Unsuited},
		{"OpenAI context length", "openai", 400, nested("too long", "invalid_request_error", "context_length_exceeded"), "", outcome.Unsuited},
		{"OpenAI content filter", "openai", 400, nested("filtered", "invalid_request_error", "content_filter"), "", outcome.Filtered},
		{"OpenAI unknown model", "openai", 404, nested("no such model", "invalid_request_error", "model_not_found"), "", outcome.NoModel},

		// Any host.
		{"words decide nothing", "openai", 400, nested("insufficient balance, quota exceeded, model does not exist", "x", "x"), "", outcome.Refused},
		{"404", "openai", 404, nested("no such page", "x", "x"), "", outcome.Refused},
		{"413", "openai", 413, "too large", "", outcome.Unsuited},
		{"424", "openai", 424, nested("model not ready", "x", "x"), "", outcome.Unavailable},
		{"504 in HTML", "openai", 504, "<html>504</html>", "", outcome.Unavailable},
		{"529", "openai", 529, "", "", outcome.Unavailable},
		{"503 that asks for a rest", "openai", 503, "", "Retry-After: 30", outcome.Unavailable},
		{"429 that asks for little", "openai", 429, "", "Retry-After: 1", outcome.RateLimited},
		{"429 that asks for much", "openai", 429, "", "Retry-After: 1e9", outcome.RateLimited},
		{"429 with a date", "openai", 429, "", "Retry-After: Sat, 01 Jan 2000 00:05:00 GMT", outcome.RateLimited},
		{"302", "openai", 302, "", "Location: https://stranger.example/", outcome.Redirected},
		{"307", "openai", 307, "", "Location: https://stranger.example/", outcome.Redirected},
		{"403", "openai", 403, nested("no", "x", "x"), "", outcome.KeyRejected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			profile := Lookup(tt.host)
			if profile.Name != tt.host {
				t.Fatalf("there is no profile of %s", tt.host)
			}
			h := make(http.Header)
			if name, value, ok := strings.Cut(tt.header, ": "); ok {
				h.Set(name, value)
			}
			_, asked := profile.RetryAfter(tt.status, h, saturday)
			if got := profile.Classify(tt.status, []byte(tt.body), asked); got != tt.class {
				t.Errorf("class %s, want %s", got, tt.class)
			}
		})
	}
}

// A rule says what must match, and everything of it must.
func TestClassify_Rules(t *testing.T) {
	p := &Profile{Errors: []ErrorRule{
		{Status: 402, RetryAfter: true, Class: outcome.RateLimited},
		{Status: 400, Code: "Family.", Class: outcome.Filtered},
		{Status: 400, Code: "both", Message: "words", Class: outcome.Unsuited},
		{Status: 404, Message: "not found", Class: outcome.NoModel},
		{Status: 404, Code: "model_not_found", Class: outcome.Unsuited}, // goes before OpenAI's
	}}
	for _, tt := range []struct {
		name   string
		status int
		body   string
		pause  bool
		want   outcome.Class
	}{
		{"a pause that was asked for", 402, ``, true, outcome.RateLimited},
		{"none", 402, ``, false, outcome.NoFunds},
		{"a family's code", 400, `{"error":{"code":"Family"}}`, false, outcome.Filtered},
		{"one of the family", 400, `{"error":{"code":"Family.Member"}}`, false, outcome.Filtered},
		{"by its type", 400, `{"error":{"type":"Family.Member","code":"x"}}`, false, outcome.Filtered},
		{"no relative", 400, `{"error":{"code":"FamilyMember"}}`, false, outcome.Refused},
		{"with another status", 403, `{"error":{"code":"Family"}}`, false, outcome.KeyRejected},
		{"code and words", 400, `{"error":{"code":"both","message":"these Words, in any case"}}`, false, outcome.Unsuited},
		{"the code alone", 400, `{"error":{"code":"both","message":"others"}}`, false, outcome.Refused},
		{"the words alone", 400, `{"error":{"message":"words"}}`, false, outcome.Refused},
		{"its own before OpenAI's", 404, `{"error":{"code":"model_not_found"}}`, false, outcome.Unsuited},
		{"OpenAI's", 403, `{"error":{"code":"model_not_found"}}`, false, outcome.NoModel},
		{"words that are no message", 404, `{"x":"not found"}`, false, outcome.Refused},
	} {
		if got := p.Classify(tt.status, []byte(tt.body), tt.pause); got != tt.want {
			t.Errorf("%s: class %s, want %s", tt.name, got, tt.want)
		}
	}
}

// The number in a refusal is read where the host is known to give one, and is
// bounded.
func TestLimitSaid(t *testing.T) {
	for _, tt := range []struct {
		host, body string
		want       int32
	}{
		{"deepseek", `{"error":{"message":"Your current concurrency is 40, which exceeds your concurrency limit of 39 based on your remaining balance."}}`, 39},
		{"deepseek", `concurrency limit of 39`, 39},
		{"deepseek", `concurrency limit of 12345678901234567890`, 123456},
		{"deepseek", `concurrency limit of -1`, 0},
		{"deepseek", `concurrency limit of `, 0},
		{"deepseek", `Service is too busy.`, 0},
		{"deepseek", ``, 0},
		{"openai", `concurrency limit of 39`, 0},
	} {
		if got := Lookup(tt.host).StatedLimit([]byte(tt.body)); got != tt.want {
			t.Errorf("%s, %q: %d, want %d", tt.host, tt.body, got, tt.want)
		}
	}
}

// Whatever a host says, it means a failure that is known, and the number is
// bounded.
func FuzzClassify(f *testing.F) {
	for i := range table {
		for _, r := range table[i].Errors {
			f.Add(uint(i), r.Status, []byte(fmt.Sprintf(`{"error":{"code":%q,"message":%q}}`, r.Code, r.Message)), r.RetryAfter)
		}
		f.Add(uint(i), 429, []byte("concurrency limit of 1e9"), false)
		f.Add(uint(i), 503, []byte(`{"error":"text"}`), true)
	}
	f.Fuzz(func(t *testing.T, host uint, status int, body []byte, pause bool) {
		p := &table[host%uint(len(table))]
		class := p.Classify(status, body, pause)
		if class == "" || class == outcome.OK || outcome.Of(class).Local {
			t.Errorf("%s: %d %q is of class %q", p.Name, status, body, class)
		}
		if n := p.StatedLimit(body); n < 0 || n > 999_999 {
			t.Errorf("%s: %q gives a limit of %d", p.Name, body, n)
		}
	})
}
