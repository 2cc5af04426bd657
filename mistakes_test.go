package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A mistake is a configuration that New refuses. Its error says where the mistake is, what
// the value is unless it may be a secret, and what to write instead.
type mistaken struct {
	name string
	opts []Option
	want []string // parts of the error
}

// secretKey is no part of any error.
const secretKey = "sk-5ec4e7"

// backup returns a configuration whose backup is e, beside an endpoint that is right.
func backup(e Endpoint) []Option {
	return []Option{WithEndpoints(DeepSeek("sk-right")), WithBackup(e)}
}

// keyed returns a configuration with a key that is wrong.
func keyed(key string) []Option { return backup(SiliconFlow(key)) }

// urled returns a configuration with a URL that is wrong.
func urled(url string) []Option { return backup(Endpoint{Name: "b", URL: url, APIKey: secretKey}) }

func pricedAt(model string, p Price) []Option {
	return backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Price: map[string]Price{model: p}})
}

func headed(name, value string) []Option {
	return backup(Endpoint{Name: "b", URL: "https://b.example/v1", Header: http.Header{name: {value}}})
}

func tagged(tags ...string) Endpoint {
	return Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Tags: tags}
}

var endpointMistakes = []mistaken{
	{"no key", keyed(""), []string{`WithBackup: endpoint "siliconflow" has no APIKey`, "Keyless"}},
	{"a blank key", keyed("  "), []string{`WithBackup: endpoint "siliconflow": APIKey is blank`}},
	{"a key with quotes", keyed(`"` + secretKey + `"`), []string{`"siliconflow"`, "APIKey has quotes around it"}},
	{"a key with single quotes", keyed("'" + secretKey + "'"), []string{"APIKey has quotes around it"}},
	{"a key with curly quotes", keyed("\u201c" + secretKey + "\u201d"), []string{"APIKey has quotes around it"}},
	{"a key with half of its quotes", keyed(secretKey + `"`), []string{"APIKey has quotes around it"}},
	{"a key of a file", keyed(secretKey + "\n"), []string{"APIKey has a line break", "strings.TrimSpace"}},
	{"a key of a file of Windows", keyed(secretKey + "\r\n"), []string{"APIKey has a line break", "strings.TrimSpace"}},
	{"a key with a blank behind it", keyed(secretKey + " "), []string{"APIKey has blanks around it", "strings.TrimSpace"}},
	{"a key with a tab before it", keyed("\t" + secretKey), []string{"APIKey has blanks around it", "strings.TrimSpace"}},
	{"a key with a blank in it", keyed("sk-5ec4 e7"), []string{"APIKey has a blank in it"}},
	{"a key with a control character", keyed("sk-\x00" + secretKey), []string{"control character"}},
	{"a key that is not ASCII", keyed(secretKey + "\u0435"), []string{"APIKey has a character that is not ASCII"}},
	{"a key with an invisible character", keyed("\ufeff" + secretKey), []string{"APIKey has a character that is not ASCII"}},
	{"a key with its scheme", keyed("Bearer " + secretKey), []string{`APIKey begins with "Bearer "`, "the key alone"}},
	{"a key with its scheme in lower case", keyed("bearer " + secretKey), []string{`APIKey begins with "Bearer "`}},
	{"a scheme and no key", keyed("Bearer "), []string{"APIKey"}},
	{"a key with its header", keyed("Authorization: Bearer " + secretKey), []string{"begins with the name of a header"}},
	{"a key with its variable", keyed("SILICONFLOW_API_KEY=" + secretKey), []string{"the name of a variable"}},
	{"a variable that is not expanded", keyed("$SILICONFLOW_API_KEY"), []string{"APIKey is a placeholder"}},
	{"a template that is not expanded", keyed("${SILICONFLOW_API_KEY}"), []string{"APIKey is a placeholder"}},
	{"another template", keyed("{{ .Values.key }}"), []string{"APIKey is a placeholder"}},
	{"a placeholder", keyed("<your-api-key>"), []string{"APIKey is a placeholder"}},
	{"another placeholder", keyed("YOUR_API_KEY"), []string{"APIKey is a placeholder"}},
	{"a URL as the key", backup(VLLM(secretKey, "https://b.example/v1")), []string{"APIKey is a URL", "exchanged", "URL has no scheme"}},
	{"two schemes in a header", headed("Authorization", "Bearer Bearer "+secretKey), []string{`endpoint "b": the key in Header's Authorization begins with "Bearer "`}},
	{"quotes in a header", headed("Authorization", `Bearer "`+secretKey+`"`), []string{"Header's Authorization has quotes around it"}},
	{"a blank in a header", headed("X-Api-Key", secretKey+" "), []string{"Header's X-Api-Key has blanks around it"}},
	{"a header without a key", headed("Authorization", "Bearer "), []string{"Header has Authorization, and no key in it"}},
	{"a key and none", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Keyless: true}), []string{`"b": Keyless is set, and so is a key`}},

	{"no URL", urled(""), []string{`endpoint "b": URL is empty`, "variable"}},
	{"a blank URL", urled(" "), []string{`endpoint "b": URL is empty`}},
	{"a URL with a blank behind it", urled("https://b.example/v1 "), []string{`"b": URL has blanks around it`, "strings.TrimSpace"}},
	{"a URL with a blank before it", urled(" https://b.example/v1"), []string{`"b": URL has blanks around it`}},
	{"a URL with a line end", urled("https://b.example/v1\n"), []string{`"b": URL has blanks around it`}},
	{"a URL with quotes", urled(`"https://b.example/v1"`), []string{`"b": URL has quotes around it`}},
	{"a URL without a scheme", urled("b.example/v1"), []string{`"b": URL is "b.example/v1", without a scheme`, `did you mean "https://b.example/v1"?`}},
	{"a URL of this machine without a scheme", urled("localhost:8000/v1"), []string{`did you mean "http://localhost:8000/v1"?`}},
	{"an address without a scheme", urled("10.0.0.7:8000/v1"), []string{`did you mean "http://10.0.0.7:8000/v1"?`}},
	{"a name in a cluster without a scheme", urled("vllm:8000"), []string{`"vllm:8000", without a scheme`}},
	{"a scheme without its slashes", urled("https:b.example/v1"), []string{"has no :// behind https"}},
	{"a scheme with one slash", urled("https:/b.example/v1"), []string{"has no :// behind https"}},
	{"a scheme without its colon", urled("https//b.example/v1"), []string{"has no :// behind https"}},
	{"another scheme", urled("wss://b.example/v1"), []string{`"b": URL has scheme "wss"`, "http or https"}},
	{"no host", urled("https:///v1"), []string{`"b": URL has no host`}},
	{"a path alone", urled("/v1/chat/completions"), []string{`"b": URL has no scheme`}},
	{"a key in the query", urled("https://b.example/v1?key=" + secretKey), []string{`"b": URL has a user, a fragment, or a query`, "APIKey"}},
	{"a key as user", urled("https://" + secretKey + "@b.example/v1"), []string{`"b": URL has a user, a fragment, or a query`}},
	{"a URL of chats", urled("https://b.example/v1/chat/completions"), []string{`"b": URL ends in /chat/completions`, "did you mean https://b.example/v1?"}},
	{"a URL of chats with a slash", urled("https://b.example/v1/chat/completions/"), []string{"did you mean https://b.example/v1?"}},
	{"a URL of a part of chats", urled("https://b.example/v1/chat"), []string{"ends in /v1/chat", "did you mean https://b.example/v1?"}},
	{"a URL of FIM", urled("https://api.deepseek.com/beta/completions"), []string{"ends in /completions", "did you mean https://api.deepseek.com/beta?"}},
	{"a URL of Responses", urled("https://b.example/v1/responses"), []string{"ends in /responses", "did you mean https://b.example/v1?"}},
	{"a URL of Messages", urled("https://api.deepseek.com/anthropic/v1/messages"), []string{"ends in /anthropic/v1/messages", "did you mean https://api.deepseek.com/anthropic?"}},
	{"a URL of embeddings", urled("https://b.example/v1/embeddings"), []string{"ends in /embeddings", "did you mean https://b.example/v1?"}},
	{"a URL of models", urled("https://b.example/v1/models"), []string{"ends in /v1/models", "did you mean https://b.example/v1?"}},
	{"a version twice", urled("https://b.example/v1/v1"), []string{"ends in /v1/v1", "did you mean https://b.example/v1?"}},
	{"no money", []Option{WithEndpoints(DeepSeek("sk-right")), WithSpend(SpendPolicy{})}, []string{"WithSpend: neither PerDay nor PerAccount is set"}},
	{"negative money", []Option{WithEndpoints(DeepSeek("sk-right")), WithSpend(SpendPolicy{PerDay: -3})}, []string{"WithSpend: PerDay is -3"}},
	{"endless money", []Option{WithEndpoints(DeepSeek("sk-right")), WithSpend(SpendPolicy{PerDay: math.Inf(1)})}, []string{"WithSpend: PerDay is +Inf", "Off"}},
	{"money that is no number", []Option{WithEndpoints(DeepSeek("sk-right")), WithSpend(SpendPolicy{PerAccount: map[string]float64{"deepseek": math.NaN()}})}, []string{`WithSpend: PerAccount["deepseek"] is NaN`}},
	{"money of nobody", []Option{WithEndpoints(DeepSeek("sk-right")), WithSpend(SpendPolicy{PerAccount: map[string]float64{"deepsek": 3}})}, []string{`WithSpend: PerAccount has "deepsek"`, "Name of an endpoint"}},
	{"money without prices", []Option{WithEndpoints(SiliconFlow("sk-right")), WithSpend(SpendPolicy{PerDay: 3})}, []string{"WithSpend: no endpoint has a Price"}},
	{"cheaper without money", []Option{WithEndpoints(DeepSeek("sk-right")), WithSpend(SpendPolicy{PerAccount: map[string]float64{"deepseek": 3}, Cheaper: map[string]string{"a": "b"}})}, []string{"WithSpend: Cheaper is set, and PerDay is not"}},
	{"cheaper too late", []Option{WithEndpoints(DeepSeek("sk-right")), WithSpend(SpendPolicy{PerDay: 3, Cheaper: map[string]string{"a": "b"}, CheaperFrom: 4})}, []string{"CheaperFrom is 4, and PerDay 3"}},
	{"cheaper in a chain", []Option{WithEndpoints(DeepSeek("sk-right")), WithSpend(SpendPolicy{PerDay: 3, Cheaper: map[string]string{"a": "b", "b": "c"}})}, []string{`Cheaper maps "a" to "b"`, "the last one for both"}},
	{"cheaper by itself", []Option{WithEndpoints(DeepSeek("sk-right")), WithSpend(SpendPolicy{PerDay: 3, Cheaper: map[string]string{"a": "a"}})}, []string{`Cheaper maps "a" to "a"`}},
	{"when, and not what", []Option{WithEndpoints(DeepSeek("sk-right")), WithSpend(SpendPolicy{PerDay: 3, CheaperFrom: 1})}, []string{"CheaperFrom is set, and Cheaper is not"}},
	{"fewer than no calls", []Option{WithTenants(TenantPolicy{Default: TenantLimits{InFlight: -3}})}, []string{"WithTenants: Default: InFlight is -3"}},
	{"a wait without a unit", []Option{WithTenants(TenantPolicy{Default: TenantLimits{InFlight: 3, MaxWait: 5}})}, []string{"WithTenants", "MaxWait is 5ns"}},
	{"a tenant's money that is no number", []Option{WithEndpoints(DeepSeek("sk-right")), WithTenants(TenantPolicy{Limits: map[string]TenantLimits{"aurora": {CostPerDay: math.NaN()}}})}, []string{`WithTenants: Limits["aurora"]: CostPerDay is NaN`}},
	{"a tenant's money without prices", []Option{WithEndpoints(SiliconFlow("sk-right")), WithTenants(TenantPolicy{Default: TenantLimits{CostPerDay: 3}})}, []string{"WithTenants", "CostPerDay", "Price"}},
	{"a tenant with blanks", []Option{WithTenants(TenantPolicy{Limits: map[string]TenantLimits{" aurora": {InFlight: 3}}})}, []string{`Limits has " aurora"`, "without blanks"}},
	{"tenants twice", []Option{WithTenants(TenantPolicy{Default: TenantLimits{InFlight: 3}}), WithTenants(TenantPolicy{Default: TenantLimits{InFlight: 3}})}, []string{"WithTenants: the option is given twice"}},
	{"money twice", []Option{WithEndpoints(DeepSeek("sk-right")), WithSpend(SpendPolicy{PerDay: 3}), WithSpend(SpendPolicy{PerDay: 3})}, []string{"WithSpend: the option is given twice"}},
	{"the cheapest of one", []Option{WithEndpoints(DeepSeek("sk-right")), WithBalance(BalancePolicy{Cheapest: true})}, []string{"WithBalance: Cheapest is set, and no tier has two endpoints"}},
	{"the cheapest without prices", []Option{WithEndpoints(SiliconFlow("sk-right"), Novita("sk-right")), WithBalance(BalancePolicy{Cheapest: true})}, []string{"WithBalance: Cheapest is set", "set Price"}},
	{"a price of a token", pricedAt("m", Price{Input: 0.00000015, Output: 1}), []string{`endpoint "b": Price["m"]: Input is 1.5e-07 per million tokens`, "did you mean 0.15?"}},
	{"a weight with a sign", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Weight: -0.5}), []string{`endpoint "b": Weight is -0.5`, "such as 0.05"}},
	{"a weight that is Off", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Weight: Off}), []string{`endpoint "b": Weight is -1`, "leave the endpoint out"}},
	{"a weight that is not a number", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Weight: math.NaN()}), []string{`Weight is NaN`}},
	{"a weight without end", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Weight: math.Inf(1)}), []string{`Weight is +Inf`}},
	{"half a price", pricedAt("m", Price{Input: 1}), []string{`Price["m"]: Output is missing`, "Off"}},
	{"a price that is not a number", pricedAt("", Price{Input: math.NaN(), Output: 1}), []string{`Price[""]: Input is NaN`}},
	{"a price with a sign", pricedAt("m", Price{Input: 1, Output: 1, Currency: "$"}), []string{`Currency is "$"`, "ISO 4217"}},
	{"a peak without hours", pricedAt("m", Price{Input: 1, Output: 1, Peak: "Mon-Fri", PeakFactor: 2}), []string{`Peak is "Mon-Fri": it has no hours`}},
	{"prices in two currencies", pricedAt("m", Price{Input: 1, Output: 1, Currency: "CNY"}), []string{`endpoint "b": Price is in CNY, and that of "deepseek" in USD`, "one currency"}},
	{"a price of the caller's name", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Models: map[string]string{"m": "own"}, Price: map[string]Price{"m": {Input: 1, Output: 1}}}), []string{`Price has "m", which is the caller's name of the model: want the endpoint's, "own"`}},
	{"a variable in a URL", urled("https://${HOST}/v1"), []string{`"b": URL`}},
	{"a key over plain http", urled("http://b.example/v1"), []string{`"b": a key would go over plain http to "b.example"`, "https", "AllowPlainHTTP"}},
	{"a key of a header over plain http", backup(Endpoint{Name: "b", URL: "http://b.example/v1", Header: http.Header{"X-Api-Key": {secretKey}}}), []string{"plain http"}},
	{"a URL as Azure's resource", backup(AzureFoundry("https://res.services.ai.azure.com", secretKey)), []string{`endpoint "azure": URL has a URL within the URL`, "AzureFoundry", "resource alone"}},
	{"a host as Azure's resource", backup(AzureFoundry("res.services.ai.azure.com", secretKey)), []string{`"azure": URL has host "res.services.ai.azure.com.services.ai.azure.com"`, "twice"}},
	{"no resource of Azure's", backup(AzureFoundry("", secretKey)), []string{`"azure": URL has host ".services.ai.azure.com", with an empty part`, "variable"}},
	{"Azure's resource with a blank", backup(AzureFoundry("res ", secretKey)), []string{`"azure": URL cannot be parsed`}},
	{"no region of Bedrock's", backup(Bedrock("", secretKey)), []string{`"bedrock": URL has host "bedrock-runtime..amazonaws.com", with an empty part`}},
	{"Bedrock's arguments exchanged", backup(Bedrock(secretKey, "us-east-1")), []string{`"bedrock": URL has no region`, "exchanged"}},
	{"Bedrock's arguments exchanged, with a key of its form", backup(Bedrock("ABSK5ec4e7", "us-east-1")), []string{`"bedrock": URL has no region`}},
	{"Azure's arguments exchanged", backup(AzureFoundry(secretKey+strings.Repeat("x", 70), "res")), []string{`"azure": URL has a host with a part of more than 63 characters`, "exchanged"}},
	{"a key as Bailian's region", backup(BailianWorkspace("ws-1", secretKey, "cn-beijing")), []string{`endpoint "bailian": URL has no region`, "exchanged"}},
	{"a key as Bailian's workspace", backup(BailianWorkspace(secretKey, "cn-beijing", "ws-1")), []string{`URL has a key in the place of the workspace`, "exchanged"}},
	{"a Host in a header", headed("Host", "b.example"), []string{`endpoint "b": Header has Host`, "Rewrite"}},
	{"a length in a header", headed("Content-Length", "1"), []string{`endpoint "b": Header has Content-Length`}},
	{"no workspace of Bailian's", backup(BailianWorkspace("", "cn-beijing", secretKey)), []string{"with an empty part"}},
	{"the URL of vLLM without a scheme", backup(VLLM("gpu-1:8000/v1", "")), []string{`"gpu-1:8000/v1", without a scheme`}},

	{"two keys of one host", []Option{WithEndpoints(DeepSeek("sk-one"), DeepSeek("sk-two"))}, []string{`endpoint "deepseek": the name is given twice`, `.Named("deepseek-2")`}},
	{"a host as its own backup", []Option{WithEndpoints(DeepSeek("sk-one")), WithBackup(DeepSeek("sk-two"))}, []string{`endpoint "deepseek": the name is given twice`, `.Named(`}},
	{"a name that is no header", backup(SiliconFlow("sk-b").Named("\u540d")), []string{"is not printable ASCII"}},
	{"a name with blanks", backup(SiliconFlow("sk-b").Named("b ")), []string{`Name "b " has blanks around it`}},
	{"a host that is not known", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Host: "chatgpt"}), []string{`"b": Host "chatgpt" is not known`, "HostOpenAI"}},
	{"a model without a name", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Models: map[string]string{"deepseek-flash": ""}}), []string{`"b": Models maps "deepseek-flash" to ""`}},
	{"a model with a blank", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Models: map[string]string{"deepseek-flash": "ep-1 "}}), []string{`"ep-1 "`, "blanks around it"}},
	{"a limit of the caller's name", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Models: map[string]string{"deepseek-flash": "ep-1"},
		Limits: map[string]RatePolicy{"deepseek-flash": {InFlight: 5}}}), []string{`"b": Limits has "deepseek-flash"`, `want the endpoint's, "ep-1"`}},
	{"a limit of the caller's name at a preset", backup(func() Endpoint {
		e := SiliconFlow(secretKey)
		e.Limits = map[string]RatePolicy{"deepseek-v4-pro": {InFlight: 5}}
		return e
	}()), []string{`"siliconflow": Limits has "deepseek-v4-pro"`}},
	{"a negative limit", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Limits: map[string]RatePolicy{"": {InFlight: -5}}}), []string{`"b": Limits[""]: InFlight is -5`, "Off"}},
	{"a feature that is none", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Can: []Feature{"vision"}}), []string{`"b": Can has "vision"`}},
	{"no word for a tag", backup(tagged("gpu", "")), []string{`endpoint "b": Tags[1] is empty`, "variable"}},
	{"a blank tag", backup(tagged(" ")), []string{`"b": Tags[0] is empty`}},
	{"a tag with a blank behind it", backup(tagged("eu ")), []string{`"b": Tags[0] has blanks around it`}},
	{"a tag with a line end", backup(tagged("eu\n")), []string{`"b": Tags[0] has a line break`}},
	{"a tag that cannot be seen", backup(tagged("eu\u200b")), []string{`"b": Tags[0] has a line break or another character that cannot be printed`}},
	{"a tag that is no text", backup(tagged("e\xffu")), []string{`"b": Tags[0] has`}},
	{"a tag with quotes", backup(tagged(`"eu"`)), []string{`"b": Tags[0] has quotes around it`}},
	{"several tags in one", backup(tagged("eu,gpu")), []string{`"b": Tags[0] has several words in it`, "by itself"}},
	{"a tag of a template", backup(tagged("${ZONE}")), []string{`"b": Tags[0] is a placeholder`}},
	{"a key for a tag", backup(tagged(secretKey)), []string{`"b": Tags[0] is a key`}},
	{"a long tag", backup(tagged(strings.Repeat("x", 65))), []string{`"b": Tags[0] has 65 bytes: want a word of at most 64`}},
	{"a region with a blank", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Region: " eu"}), []string{`"b": Region has blanks around it`}},
	{"a region for which there is only a URL", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Region: "https://eu"}), []string{`"b": Region is a URL`}},
	{"the name of another endpoint as a tag", backup(tagged("deepseek")), []string{`endpoint "b": its tag or region "deepseek" is the name of another endpoint`}},
	{"the name of a later endpoint as a region", []Option{WithEndpoints(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Region: "eu"}), WithBackup(SiliconFlow("sk-b").Named("eu"))},
		[]string{`endpoint "b": its tag or region "eu" is the name of another endpoint`}},

	{"two mistakes", []Option{WithEndpoints(DeepSeek("'k'")), WithBackup(Endpoint{Name: "b", URL: "b.example/v1", APIKey: secretKey + "\n"}), WithBackup(SiliconFlow(""))},
		[]string{`WithEndpoints: endpoint "deepseek": APIKey has quotes`, `"b": URL is "b.example/v1"`, `"b": APIKey has a line break`, `"siliconflow" has no APIKey`}},
}

// two returns a configuration with two endpoints, and opts.
func two(opts ...Option) []Option { return append(backup(SiliconFlow("sk-other")), opts...) }

// alone returns a configuration with one endpoint, and opts.
func aloneWith(opts ...Option) []Option {
	return append([]Option{WithEndpoints(DeepSeek("sk-right"))}, opts...)
}

func stream(p StreamPolicy) []Option { return two(WithStream(p)) }
func retry(p RetryPolicy) []Option   { return two(WithRetry(p)) }
func cached(p CachePolicy) []Option  { return two(WithCache(p)) }
func rated(p RatePolicy) []Option    { return two(WithRateLimit(p)) }
func broken(p BreakerPolicy) []Option {
	return two(WithBreaker(p))
}

var policyMistakes = []mistaken{
	{"FirstToken without a unit", stream(StreamPolicy{FirstToken: 30}), []string{"WithStream: FirstToken is 30ns: did you mean 30s?"}},
	{"FirstToken of 1", stream(StreamPolicy{FirstToken: 1}), []string{"FirstToken is 1ns: did you mean 1s?"}},
	{"FirstToken in milliseconds", stream(StreamPolicy{FirstToken: 10_000}), []string{"FirstToken is 10µs: did you mean 10s?"}},
	{"Thinking without a unit", stream(StreamPolicy{Thinking: 300}), []string{"WithStream: Thinking is 300ns: did you mean 5m0s?"}},
	{"Queued without a unit", stream(StreamPolicy{Queued: 60}), []string{"WithStream: Queued is 60ns: did you mean 1m0s?"}},
	{"Stall without a unit", stream(StreamPolicy{Stall: 60}), []string{"WithStream: Stall is 60ns: did you mean 1m0s?"}},
	{"Review without a unit", stream(StreamPolicy{Review: 300}), []string{"WithStream: Review is 300ns: did you mean 5m0s?"}},
	{"ToolWork without a unit", stream(StreamPolicy{ToolWork: 900}), []string{"WithStream: ToolWork is 900ns: did you mean 15m0s?"}},
	{"Hedge without a unit", stream(StreamPolicy{Hedge: 2}), []string{"WithStream: Hedge is 2ns: did you mean 2s?"}},
	{"MinRateWindow without a unit", stream(StreamPolicy{MinRate: 10, MinRateWindow: 30}), []string{"WithStream: MinRateWindow is 30ns: did you mean 30s?"}},
	{"MaxBuffer in MiB", stream(StreamPolicy{MaxBuffer: 8}), []string{"WithStream: MaxBuffer is 8 bytes: did you mean 8 MiB (8 << 20)?"}},
	{"a window of no rate", stream(StreamPolicy{MinRateWindow: time.Minute}), []string{"MinRateWindow is 1m0s, and MinRate is not set"}},
	{"a short repetition", stream(StreamPolicy{Repetition: 16}), []string{"Repetition is 16: want at least"}},
	{"a Schema alone", stream(StreamPolicy{Schema: func(_, _ []byte) error { return nil }}), []string{"Schema is set, but RequireFormat is not"}},
	{"KeepFlawed alone", stream(StreamPolicy{KeepFlawed: true}), []string{"KeepFlawed is set, but nothing makes an answer flawed"}},
	{"a Rescue that is none", stream(StreamPolicy{Rescue: 5}), []string{"Rescue is 5: want RescueContinue"}},
	{"a negative time", stream(StreamPolicy{Stall: -time.Second}), []string{"Stall is -1s: want zero for the default", "Off"}},
	{"hedges with one endpoint", aloneWith(WithStream(StreamPolicy{Hedge: time.Second})), []string{"WithStream: Hedge is 1s, and no hedge can begin: there are 1 accounts", "another endpoint"}},
	{"hedges without endpoints", []Option{WithStream(StreamPolicy{Hedge: time.Second})}, []string{"Hedge is 1s", "there are 0 accounts"}},
	{"hedges within one account", []Option{WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "k", Account: "x"}, Endpoint{Name: "b", URL: "https://b", APIKey: "k", Account: "x"}), WithStream(StreamPolicy{Hedge: time.Second})},
		[]string{"Hedge is 1s", "there are 1 accounts", "Account"}},
	{"hedges at a backup only", stream(StreamPolicy{Hedge: 2 * time.Second}), []string{"WithStream: Hedge is 2s, and no hedge can begin: a hedge stays within its tier", "set HedgeBackup", "another endpoint"}},
	{"hedges at a backup that is none", aloneWith(WithEndpoints(DeepSeek("sk-two").Named("two")), WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true})), []string{"HedgeBackup is set, and there is no backup", "WithBackup"}},
	{"HedgeBackup alone", stream(StreamPolicy{HedgeBackup: true}), []string{"HedgeBackup is set, and Hedge is not", "want both"}},
	{"Spill of no limit", rated(RatePolicy{Spill: true}), []string{"WithRateLimit: Spill is set, and there is no limit", "InFlight"}},
	{"Spill to nobody", aloneWith(WithRateLimit(RatePolicy{InFlight: 8, Spill: true})), []string{"WithRateLimit: Spill is set, and there is no backup", "WithBackup"}},
	{"hedges without a budget", two(WithStream(StreamPolicy{Hedge: time.Second}), WithRetry(RetryPolicy{Budget: Off})), []string{"Hedge is 1s", "Budget Off", "want one of them"}},
	{"hedges, and one attempt", two(WithStream(StreamPolicy{Hedge: time.Second}), WithRetry(RetryPolicy{SendOnce: true})), []string{"Hedge is 1s", "SendOnce"}},
	{"hedges behind all clocks", stream(StreamPolicy{Hedge: 10 * time.Minute}), []string{"Hedge is 10m0s", "at most after 5m0s", "shorter"}},
	{"restarts without a budget", two(WithStream(StreamPolicy{Rescue: RescueRestart}), WithRetry(RetryPolicy{Budget: Off})), []string{"RescueRestart", "Budget Off"}},
	{"restarts, and one attempt", two(WithStream(StreamPolicy{Rescue: RescueRestart}), WithRetry(RetryPolicy{SendOnce: true})), []string{"RescueRestart", "SendOnce"}},

	{"MinDelay in milliseconds", retry(RetryPolicy{MinDelay: 500}), []string{"WithRetry: MinDelay is 500ns: did you mean"}},
	{"MaxDelay without a unit", retry(RetryPolicy{MinDelay: 1, MaxDelay: 8}), []string{"WithRetry: MinDelay is 1ns", "WithRetry: MaxDelay is 8ns: did you mean 8s?"}},
	{"Patience without a unit", retry(RetryPolicy{Patience: 2}), []string{"WithRetry: Patience is 2ns: did you mean 2s?"}},
	{"MaxRetryAfter without a unit", retry(RetryPolicy{MaxRetryAfter: 60}), []string{"WithRetry: MaxRetryAfter is 60ns: did you mean 1m0s?"}},
	{"a Budget in percent", retry(RetryPolicy{Budget: 20}), []string{"WithRetry: Budget is 20, which is 20 extra attempts for each call: did you mean 0.2?"}},
	{"MaxReplay in MiB", retry(RetryPolicy{MaxReplay: 32}), []string{"WithRetry: MaxReplay is 32 bytes: did you mean 32 MiB (32 << 20)?"}},
	{"MinDelay above MaxDelay", retry(RetryPolicy{MinDelay: time.Minute, MaxDelay: time.Second}), []string{"MinDelay 1m0s is above MaxDelay 1s"}},
	{"a negative number", retry(RetryPolicy{Attempts: -2}), []string{"Attempts is -2: want zero for the default"}},
	{"no number", retry(RetryPolicy{Budget: math.NaN()}), []string{"Budget is NaN"}},
	{"an endless number", retry(RetryPolicy{Budget: math.Inf(1)}), []string{"Budget is +Inf"}},

	{"TTL without a unit", cached(CachePolicy{TTL: 300}), []string{"WithCache: TTL is 300ns: did you mean 5m0s?"}},
	{"StaleIfError without a unit", cached(CachePolicy{StaleIfError: 3600}), []string{"WithCache: StaleIfError is 3.6µs: did you mean 1h0m0s?"}},
	{"StaleWhileRevalidate without a unit", cached(CachePolicy{StaleWhileRevalidate: 60}), []string{"StaleWhileRevalidate is 60ns: did you mean 1m0s?"}},
	{"MaxBytes in MiB", cached(CachePolicy{MaxBytes: 256}), []string{"WithCache: MaxBytes is 256 bytes: did you mean 256 MiB (256 << 20)?"}},
	{"MaxEntryBytes in MiB", cached(CachePolicy{MaxEntryBytes: 1}), []string{"WithCache: MaxEntryBytes is 1 bytes: did you mean 1 MiB (1 << 20)?"}},
	{"a key's TTL without a unit", two(WithIdempotency(IdempotencyPolicy{TTL: 3600})), []string{"WithIdempotency: TTL is 3.6µs: did you mean 1h0m0s?"}},
	{"Linger without a unit", two(WithIdempotency(IdempotencyPolicy{Linger: 60})), []string{"WithIdempotency: Linger is 60ns: did you mean 1m0s?"}},
	{"a negative Linger", two(WithIdempotency(IdempotencyPolicy{Linger: -time.Second})), []string{"WithIdempotency: Linger is -1s: want zero for the default, a positive value, or Off"}},
	{"MaxBytes of keys in MiB", two(WithIdempotency(IdempotencyPolicy{MaxBytes: 256})), []string{"WithIdempotency: MaxBytes is 256 bytes: did you mean 256 MiB (256 << 20)?"}},
	{"a Store of keys that is a nil pointer", two(WithIdempotency(IdempotencyPolicy{Store: (*memoryStore)(nil)})), []string{"WithIdempotency: Store is a nil pointer"}},
	{"WithIdempotency twice", two(WithIdempotency(IdempotencyPolicy{}), WithIdempotency(IdempotencyPolicy{})), []string{"WithIdempotency: the option is given twice"}},
	{"a cache of nothing", cached(CachePolicy{TTL: Off, StaleIfError: Off}), []string{"nothing would ever be served"}},
	{"a Store that is a nil pointer", cached(CachePolicy{Store: (*memoryStore)(nil)}), []string{"WithCache: Store is a nil pointer"}},

	{"MaxWait without a unit", rated(RatePolicy{InFlight: 5, MaxWait: 5}), []string{"WithRateLimit: MaxWait is 5ns: did you mean 5s?"}},
	{"a Burst of no rate", rated(RatePolicy{Burst: 5}), []string{"WithRateLimit: Burst is 5, and PerSecond is not set"}},
	{"a wait for no limit", rated(RatePolicy{MaxWait: time.Second, Fixed: true}), []string{"WithRateLimit: MaxWait is 1s, and there is no limit to wait for"}},
	{"no Burst", rated(RatePolicy{PerSecond: 5, Burst: Off}), []string{"Burst is -1"}},
	{"a MaxWait of an endpoint", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Limits: map[string]RatePolicy{"m": {InFlight: 5, MaxWait: 5}}}),
		[]string{`WithBackup: endpoint "b": Limits["m"]: MaxWait is 5ns: did you mean 5s?`}},
	{"a Burst of an endpoint", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Limits: map[string]RatePolicy{"": {Burst: 5}}}),
		[]string{`WithBackup: endpoint "b": Limits[""]: Burst is 5`}},

	{"OpenFor without a unit", broken(BreakerPolicy{OpenFor: 5}), []string{"WithBreaker: OpenFor is 5ns: did you mean 5s?"}},
	{"MaxOpenFor without a unit", broken(BreakerPolicy{OpenFor: 5, MaxOpenFor: 300}), []string{"WithBreaker: MaxOpenFor is 300ns: did you mean 5m0s?"}},
	{"the breaker's MaxWait without a unit", broken(BreakerPolicy{MaxWait: 5}), []string{"WithBreaker: MaxWait is 5ns: did you mean 5s?"}},
	{"a negative MaxWait of the breaker", broken(BreakerPolicy{MaxWait: -2}), []string{"WithBreaker: MaxWait is -2ns: want zero for the default"}},
	{"Window without a unit", broken(BreakerPolicy{Window: 60}), []string{"WithBreaker: Window is 60ns: did you mean 1m0s?"}},
	{"a FailureRate in percent", broken(BreakerPolicy{FailureRate: 50}), []string{"WithBreaker: FailureRate is 50: want a share up to 1: did you mean 0.5?"}},
	{"no probes", broken(BreakerPolicy{Probes: Off}), []string{"Probes is -1: a circuit without probes never closes"}},
	{"OpenFor above MaxOpenFor", broken(BreakerPolicy{OpenFor: time.Hour, MaxOpenFor: time.Minute}), []string{"OpenFor 1h0m0s is above MaxOpenFor 1m0s"}},

	{"Ramp without a unit", two(WithBalance(BalancePolicy{Ramp: 10})), []string{"WithBalance: Ramp is 10ns: did you mean 10s?"}},
	{"Overload in percent", two(WithBalance(BalancePolicy{Overload: 125})), []string{"WithBalance: Overload is 125 times the even share: did you mean 1.25?"}},
	{"Shift in percent", two(WithBalance(BalancePolicy{Shift: 90})), []string{"WithBalance: Shift is 90: want a share below 1: did you mean 0.9?"}},
	{"Shift of all", two(WithBalance(BalancePolicy{Shift: 1})), []string{"WithBalance: Shift is 1: want a share below 1, such as 0.9"}},
	{"Shift without a sign", two(WithBalance(BalancePolicy{Shift: -0.5})), []string{"Shift is -0.5"}},
	{"Shift that is no number", two(WithBalance(BalancePolicy{Shift: math.NaN()})), []string{"Shift is NaN"}},
	{"Shift to nobody", aloneWith(WithBalance(BalancePolicy{Shift: 0.9})), []string{"WithBalance: Shift is set, and there is no backup", "WithBackup"}},
	{"Overload below one", two(WithBalance(BalancePolicy{Overload: 0.25})), []string{"Overload is 0.25: want a multiple of at least 1"}},

	{"WithRetry twice", two(WithRetry(RetryPolicy{Attempts: 5}), WithRetry(RetryPolicy{SendOnce: true})), []string{"WithRetry: the option is given twice: put what you want into one"}},
	{"WithStream twice", two(WithStream(StreamPolicy{}), WithStream(StreamPolicy{})), []string{"WithStream: the option is given twice"}},
	{"WithCache twice", two(WithCache(CachePolicy{}), WithCache(CachePolicy{})), []string{"WithCache: the option is given twice"}},
	{"WithBreaker twice", two(WithBreaker(BreakerPolicy{}), WithBreaker(BreakerPolicy{})), []string{"WithBreaker: the option is given twice"}},
	{"WithRateLimit twice", two(WithRateLimit(RatePolicy{}), WithRateLimit(RatePolicy{})), []string{"WithRateLimit: the option is given twice"}},
	{"WithBalance twice", two(WithBalance(BalancePolicy{}), WithBalance(BalancePolicy{})), []string{"WithBalance: the option is given twice"}},
	{"WithBase twice", two(WithBase(http.DefaultTransport), WithBase(http.DefaultTransport)), []string{"WithBase: the option is given twice"}},
	{"no base", two(WithBase(nil)), []string{"WithBase: nil RoundTripper"}},
	{"a base that is a nil pointer", two(WithBase((*http.Transport)(nil))), []string{"WithBase: nil RoundTripper", "default"}},
	{"a Transport in a Transport", two(WithBase(&Transport{})), []string{"WithBase: the base is a Transport of breakwater", "both would retry"}},
	{"no Option", two(nil), []string{"nil Option"}},
	{"no Observer", two(WithObserver(nil)), []string{"WithObserver: nil Observer"}},
	{"no Middleware", two(WithMiddleware(nil)), []string{"WithMiddleware: nil Middleware"}},
	{"no attempt middleware", two(WithAttemptMiddleware(nil)), []string{"WithAttemptMiddleware: nil Middleware"}},
	{"strict without endpoints", []Option{WithStrict()}, []string{"WithStrict: there are no endpoints", "give WithEndpoints"}},
	{"no endpoints", []Option{WithEndpoints()}, []string{"WithEndpoints: no endpoint given"}},
	{"no backups", aloneWith(WithBackup()), []string{"WithBackup: no endpoint given"}},
	{"a backup of nothing", []Option{WithBackup(DeepSeek("sk-right"))}, []string{"WithBackup: there is no tier above it"}},
	{"many mistakes", two(WithStream(StreamPolicy{FirstToken: 30, MaxBuffer: 8}), WithRetry(RetryPolicy{Budget: 20, Attempts: -3}), WithCache(CachePolicy{TTL: 300})),
		[]string{"FirstToken is 30ns", "MaxBuffer is 8 bytes", "Budget is 20", "Attempts is -3", "TTL is 300ns"}},
}

// New names every mistake of a configuration.
func TestMistakes_Named(t *testing.T) {
	for _, tt := range slices.Concat(endpointMistakes, policyMistakes) {
		t.Run(tt.name, func(t *testing.T) {
			rt, err := New(tt.opts...)
			if err == nil || rt != nil {
				t.Fatalf("New = %v, %v, want an error with %q", rt, err, tt.want)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("New's error lacks %q:\n%v", part, err)
				}
			}
			if strings.Contains(err.Error(), "5ec4e7") {
				t.Errorf("New's error shows a key: %v", err)
			}
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "breakwater: ") {
					t.Errorf("a line does not say whose it is: %q", line)
				}
			}
		})
	}
}

// New takes every configuration that may be meant.
func TestMistakes_GoodOnesAreTaken(t *testing.T) {
	primary := WithEndpoints(DeepSeek("sk-right"))
	for _, tt := range []struct {
		name string
		opts []Option
	}{
		{"nothing", nil},
		{"the caller's key", []Option{WithEndpoints(DeepSeek(""))}},
		{"the caller's key, at a URL", []Option{WithEndpoints(Endpoint{URL: "https://b.example/v1"})}},
		{"a backup", backup(SiliconFlow("sk-other"))},
		{"tags", backup(tagged("on-premises", "eu", "eu", "b", "\u673a\u623f 1", strings.Repeat("x", 64)))},
		{"a region that is a tag of another", []Option{WithEndpoints(tagged("eu")), WithBackup(Endpoint{Name: "c", URL: "https://c.example/v1", APIKey: secretKey, Region: "eu"})}},
		{"a word for a key", backup(VLLM("https://b.example/v1", "EMPTY"))},
		{"a short key", keyed("k")},
		{"a key with dots", keyed("5ec4e7f0a1b2.aBcDeFgHiJkLmNoP")},
		{"a key with all that base64 has", keyed("ab+/cd==")},
		{"a key of parts", keyed("bce-v3/ALTAK-abc/5ec4e7")},
		{"a web token", keyed("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.5ec4-e7_x")},
		{"a key with an equals sign", keyed("abc=def")},
		{"a key in capitals", keyed("ABSKQmVkcm9ja0FQSUtleS1h=")},
		{"a key in a header", headed("X-Api-Key", secretKey)},
		{"a key in a header, with its scheme", headed("Authorization", "Bearer "+secretKey)},
		{"a key in a header, without one", headed("Authorization", secretKey)},
		{"another header", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Header: http.Header{"X-Title": {"b"}}})},
		{"a region of finance", backup(BailianWorkspace("llm-1", "cn-shanghai-finance-1", secretKey))},
		{"another scheme", headed("Authorization", "Basic dXNlcjpwYXNz")},
		{"a signature", headed("Authorization", `Digest username="a b", realm="c"`)},
		{"a slash at the end", urled("https://b.example/v1/")},
		{"no path", urled("https://b.example")},
		{"a port", urled("https://b.example:8443/v1")},
		{"a long path", urled("https://b.example/llm/gateway/v1")},
		{"Anthropic's", urled("https://api.deepseek.com/anthropic")},
		{"the beta", urled("https://api.deepseek.com/beta")},
		{"a path of models", urled("https://res.services.ai.azure.com/models")},
		{"a path of chat", urled("https://gateway.example/chat")},
		{"a path that only resembles an operation", urled("https://gateway.example/chat-completions")},
		{"a version of the API", urled("https://res.openai.azure.com/openai/deployments/d?api-version=2024-10-21")},
		{"an address", urled("https://10.0.0.7/v1")},
		{"an address of IPv6", urled("https://[2001:db8::1]:8443/v1")},
		{"this machine", urled("http://localhost:11434/v1")},
		{"this machine's address", urled("http://127.0.0.1:8000/v1")},
		{"a name that is not ASCII", urled("https://b\u00fccher.example/v1")},
		{"escapes in the path", urled("https://b.example/a%2Fb/v1")},
		{"a name with a dot at its end", urled("https://b.example./v1")},
		{"a name of repeated parts", urled("https://api.api.example/v1")},
		{"plain http without a key", backup(VLLM("http://vllm.default.svc:8000/v1", ""))},
		{"plain http with a key, allowed", backup(Endpoint{Name: "b", URL: "http://vllm.default.svc:8000/v1", APIKey: secretKey, AllowPlainHTTP: true})},
		{"plain http allowed, and not needed", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, AllowPlainHTTP: true})},
		{"a key of Rewrite's", backup(Endpoint{Name: "b", URL: "http://b.example/v1", Rewrite: func(*http.Request) error { return nil }})},
		{"Azure", backup(AzureFoundry("my-resource", secretKey))},
		{"Bedrock", backup(Bedrock("us-east-1", secretKey))},
		{"Bedrock in a government's region", backup(Bedrock("us-gov-west-1", secretKey))},
		{"Bedrock elsewhere", backup(Bedrock("ap-southeast-2", secretKey))},
		{"a workspace of Bailian's", backup(BailianWorkspace("ws-1", "cn-beijing", secretKey))},
		{"Ollama", backup(Ollama())},
		{"two keys of one host", []Option{WithEndpoints(DeepSeek("sk-one"), DeepSeek("sk-two").Named("deepseek-2"))}},
		{"a host in both tiers", []Option{primary, WithBackup(DeepSeek("sk-two").Named("reserve"))}},
		{"three tiers", []Option{primary, WithBackup(SiliconFlow("sk-b")), WithBackup(VLLM("http://10.0.0.7:8000/v1", ""))}},
		{"all defaults", two(WithStream(StreamPolicy{}), WithRetry(RetryPolicy{}), WithCache(CachePolicy{}), WithIdempotency(IdempotencyPolicy{}), WithRateLimit(RatePolicy{}), WithBreaker(BreakerPolicy{}), WithBalance(BalancePolicy{}), WithErrors())},
		{"short clocks", stream(StreamPolicy{FirstToken: time.Millisecond, Thinking: 20 * time.Millisecond, Queued: time.Second, Stall: 5 * time.Millisecond})},
		{"the longest clocks", stream(StreamPolicy{FirstToken: math.MaxInt64, Thinking: math.MaxInt64, Stall: math.MaxInt64})},
		{"a batch", retry(RetryPolicy{Attempts: 60, MaxDelay: 10 * time.Minute, MaxRetryAfter: time.Hour, Budget: 10})},
		{"a large budget of many attempts", retry(RetryPolicy{Attempts: 60, Budget: 20})},
		{"small bodies", two(WithStream(StreamPolicy{MaxBuffer: 1 << 10}), WithRetry(RetryPolicy{MaxReplay: 1 << 10}), WithCache(CachePolicy{MaxBytes: 10_000, MaxEntryBytes: 2_000}))},
		{"hedges", stream(StreamPolicy{Hedge: 2 * time.Second, HedgeBackup: true})},
		{"a limit that spills", rated(RatePolicy{InFlight: 8, Spill: true})},
		{"hedges within a tier", []Option{WithEndpoints(DeepSeek("sk-one"), DeepSeek("sk-two").Named("two")), WithStream(StreamPolicy{Hedge: time.Second})}},
		{"hedges behind FirstToken, for models that think", stream(StreamPolicy{Hedge: time.Minute, HedgeBackup: true})},
		{"hedges without clocks", stream(StreamPolicy{Hedge: time.Hour, Thinking: Off, HedgeBackup: true})},
		{"restarts", stream(StreamPolicy{Rescue: RescueRestart})},
		{"no rescues", two(WithStream(StreamPolicy{Rescue: RescueOff}), WithRetry(RetryPolicy{Budget: Off}))},
		{"sent once", retry(RetryPolicy{SendOnce: true})},
		{"an unlimited rate with a Burst", rated(RatePolicy{PerSecond: Off, Burst: 5, MaxWait: time.Second})},
		{"a slow rate", rated(RatePolicy{PerSecond: 0.01, Burst: 1})},
		{"a small share", aloneWith(WithBalance(BalancePolicy{Affinity: 1, Overload: 2}))},
		{"no bound of a share", two(WithBalance(BalancePolicy{Overload: 1e9}))},
		{"strict", aloneWith(WithStrict())},
		{"stale at once", cached(CachePolicy{TTL: Off, StaleWhileRevalidate: time.Hour})},
		{"kept for a year", cached(CachePolicy{TTL: 365 * 24 * time.Hour})},
		{"options that add", append(two(WithEndpoints(Together("sk-t")), WithBackup(OpenRouter("sk-o"))), WithObserver(func(context.Context, Event) {}), WithObserver(func(context.Context, Event) {}))},
		{"a limit of the endpoint's name", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Models: map[string]string{"deepseek-flash": "ep-1"},
			Limits: map[string]RatePolicy{"ep-1": {InFlight: 5}, "": {InFlight: 1}}})},
		{"a limit where names stay", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Limits: map[string]RatePolicy{"deepseek-flash": {InFlight: 5}}})},
		{"a limit of a name that is both", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Models: map[string]string{"a": "b", "b": "c"},
			Limits: map[string]RatePolicy{"b": {InFlight: 5}}})},
		{"a limit of a name outside Models", backup(Endpoint{Name: "b", URL: "https://b.example/v1", APIKey: secretKey, Models: map[string]string{"a": "b"},
			Limits: map[string]RatePolicy{"z": {InFlight: 5}}})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rt, err := New(tt.opts...)
			if err != nil {
				t.Fatalf("New refuses it: %v", err)
			}
			rt.Close()
		})
	}
}

// A key goes over plain http where the endpoint allows it, and New's error says how.
func TestMistakes_PlainHTTPAllowed(t *testing.T) {
	base := newHosts(gives(200, asJSON, goodJSON))
	e := Endpoint{Name: "a", URL: "http://vllm.default.svc:8000/v1", APIKey: "sk-own", AllowPlainHTTP: true}
	var got string
	rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		got = req.URL.Host + " " + req.Header.Get("Authorization")
		return base.RoundTrip(req)
	}), WithEndpoints(e))
	asks(t.Context(), rt, chatJSON, func(req *http.Request) { req.URL = mustURL(t, e.URL+"/chat/completions") })
	if got != "vllm.default.svc:8000 Bearer sk-own" {
		t.Errorf("sent %q, want the endpoint's key", got)
	}
}

// A request that is meant for no endpoint is told of once for each origin if it looks like
// inference, with the endpoint that it came near to. With WithStrict it is an error.
func TestStrict(t *testing.T) {
	endpoints := []Option{
		WithEndpoints(Endpoint{Name: "flow", URL: "https://api.siliconflow.com/v1", APIKey: secretKey}, Endpoint{Name: "own", URL: "http://127.0.0.1:8000/v1", Keyless: true}),
		WithBackup(Endpoint{Name: "plain", URL: "https://llm.corp.example/v1", APIKey: secretKey}),
	}
	for _, tt := range []struct {
		name, method, url string
		warns             bool   // it looks like inference
		want              string // part of the error; empty: it is meant for an endpoint
	}{
		{"without /v1", "POST", "https://api.siliconflow.com/chat/completions?key=" + secretKey, true, `near endpoint "flow" at https://api.siliconflow.com/v1, but its path`},
		{"another version", "POST", "https://api.siliconflow.com/v2/" + secretKey + "/chat/completions", true, `near endpoint "flow"`},
		{"another scheme", "POST", "http://api.siliconflow.com/v1/chat/completions", true, `near endpoint "flow" at https://api.siliconflow.com/v1, but its scheme is http`},
		{"another port", "POST", "https://llm.corp.example:8443/v1/chat/completions", true, `near endpoint "plain" at https://llm.corp.example/v1, but its port is 8443`},
		{"another name of this machine", "POST", "http://localhost:8000/v1/chat/completions", true, `near endpoint "own" at http://127.0.0.1:8000/v1, but its host has another name, localhost`},
		{"another domain of the host", "POST", "https://api.siliconflow.cn/v1/chat/completions", true, `near endpoint "flow" at https://api.siliconflow.com/v1, but its host is api.siliconflow.cn`},
		{"another host of the domain", "POST", "https://chat.corp.example/v1/chat/completions", true, `near endpoint "plain"`},
		{"a misspelt path", "POST", "https://api.siliconflow.com/v3/chat/completion", true, `near endpoint "flow"`},
		{"another server", "POST", "https://other.test/v1/chat/completions", true, `no endpoint is at https://other.test; endpoint "flow" is at https://api.siliconflow.com/v1`},
		{"another API", "POST", "https://other.test/v1/jobs", false, `no endpoint is at https://other.test`},
		{"a list", "GET", "https://api.siliconflow.com/models", false, `near endpoint "flow"`},
		{"an endpoint's list", "GET", "https://api.siliconflow.com/v1/models", false, ""},
		{"a call", "POST", "https://api.siliconflow.com/v1/chat/completions", false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var warnings, passed int
			var told error
			var log strings.Builder
			opts := append(endpoints, WithObserver(Log(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})))), WithObserver(func(_ context.Context, e Event) {
				if e.Kind == KindPassed {
					passed++
					if e.Err != nil {
						warnings++
						told = e.Err
					}
				}
			}))
			to := func(req *http.Request) {
				req.URL, req.Method = mustURL(t, tt.url), tt.method
			}
			base := newHosts(gives(200, asJSON, goodJSON))
			rt := over(t, base, opts...)
			for range 3 {
				if got := asks(t.Context(), rt, chatJSON, to); got.status() != 200 {
					t.Fatalf("the caller got %v, want the answer", got)
				}
			}
			wantPassed, wantWarnings := 3, 0
			if tt.want == "" && tt.method == "POST" {
				wantPassed = 0
			}
			if tt.warns {
				wantWarnings = 1
			}
			if passed != wantPassed || rt.Status().Passed != int64(wantPassed) || warnings != wantWarnings || strings.Count(log.String(), "level=WARN msg=\"breakwater: passed\"") != wantWarnings {
				t.Errorf("%d events, %d in Status, %d warnings, log %q, want %d and %d", passed, rt.Status().Passed, warnings, log.String(), wantPassed, wantWarnings)
			}
			if tt.warns && (!errors.Is(told, ErrUnprotected) || !strings.Contains(told.Error(), tt.want) || !strings.Contains(log.String(), "near endpoint") && strings.Contains(tt.want, "near endpoint")) {
				t.Errorf("told %v, log %q, want %q", told, log.String(), tt.want)
			}
			asked := base.Count("")
			strict := over(t, base, append(opts, WithStrict())...)
			got := asks(t.Context(), strict, chatJSON, to)
			switch {
			case tt.want == "":
				if got.status() != 200 {
					t.Errorf("WithStrict gave %v, want the answer", got)
				}
			case got.resp != nil || !errors.Is(got.err, ErrUnprotected) || !strings.Contains(got.err.Error(), tt.want) || base.Count("") != asked:
				t.Errorf("WithStrict gave %v after %d requests, want an error with %q and none", got, base.Count("")-asked, tt.want)
			}
			if all := log.String() + errText(told) + errText(got.err); strings.Contains(all, "5ec4e7") {
				t.Errorf("a key is shown: %s", all)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A refused request's body is closed, also if an Observer panics.
func TestStrict_BodyIsClosed(t *testing.T) {
	for name, opt := range map[string]Option{
		"refused": WithStrict(),
		"a panic": WithObserver(func(context.Context, Event) { panic("observer") }),
	} {
		t.Run(name, func(t *testing.T) {
			rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithEndpoints(at("a")...), opt)
			closed := 0
			req := &http.Request{Method: "POST", URL: mustURL(t, "https://b/chat/completions"), Body: closeCounter{strings.NewReader(chatJSON), &closed}}
			func() {
				defer func() { _ = recover() }()
				if resp, err := rt.RoundTrip(req); err == nil {
					t.Errorf("the caller got %v", resp)
				}
			}()
			if closed != 1 {
				t.Errorf("the body was closed %d times", closed)
			}
		})
	}
}

type closeCounter struct {
	io.Reader
	closed *int
}

func (c closeCounter) Close() error {
	*c.closed++
	return nil
}

// Of many strange origins, a bounded number is remembered.
func TestStrict_OriginsAreBounded(t *testing.T) {
	var warned int
	rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithEndpoints(at("a")...), WithObserver(func(_ context.Context, e Event) {
		if e.Kind == KindPassed && e.Err != nil {
			warned++
		}
	}))
	for i := range 2 * maxOrigins {
		asks(t.Context(), rt, chatJSON, func(req *http.Request) { req.URL.Host = fmt.Sprintf("h%d.example", i) })
	}
	if warned != maxOrigins || len(rt.strays.told) != maxOrigins {
		t.Errorf("told %d times, remembers %d, want %d", warned, len(rt.strays.told), maxOrigins)
	}
}

// Nested options are merged: what the inner ones leave out is that of the outer ones.
func TestWithCall_Merges(t *testing.T) {
	var outer, inner Trail
	ctx := WithCall(t.Context(), Call{NoCache: true, CacheControl: "max-age=1", Scope: "s", Endpoint: "a", Attempts: 2, Trail: &outer})
	for _, tt := range []struct {
		add, want Call
	}{
		{Call{}, Call{NoCache: true, CacheControl: "max-age=1", Scope: "s", Endpoint: "a", Attempts: 2, Trail: &outer}},
		{Call{NoShare: true, Endpoint: "b"}, Call{NoCache: true, NoShare: true, CacheControl: "max-age=1", Scope: "s", Endpoint: "b", Attempts: 2, Trail: &outer}},
		{Call{CacheControl: "no-store", Scope: "t", Attempts: Off, Trail: &inner}, Call{NoCache: true, CacheControl: "no-store", Scope: "t", Endpoint: "a", Attempts: Off, Trail: &inner}},
	} {
		if got := CallOf(WithCall(ctx, tt.add)); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%+v in the outer options is %+v, want %+v", tt.add, got, tt.want)
		}
	}
	if got := CallOf(t.Context()); !reflect.DeepEqual(got, Call{}) {
		t.Errorf("no options are %+v", got)
	}
	if got := CallOf(ctx); got.Endpoint != "a" || got.NoShare {
		t.Errorf("the outer options became %+v", got)
	}
	rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithEndpoints(at("a", "b")...))
	asks(WithCall(ctx, Call{Endpoint: "b"}), rt, chatJSON)
	if got := outer.Attempts(); len(got) != 1 || got[0].Endpoint != "b" {
		t.Errorf("the outer Trail has %+v, want the attempt at b", got)
	}
}
