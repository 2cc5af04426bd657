package breakwater

import (
	"net/http"
	"strings"
	"testing"
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

func headed(name, value string) []Option {
	return backup(Endpoint{Name: "b", URL: "https://b.example/v1", Header: http.Header{name: {value}}})
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
	{"a variable in a URL", urled("https://${HOST}/v1"), []string{`"b": URL`}},
	{"a key over plain http", urled("http://b.example/v1"), []string{`"b": a key would go over plain http to "b.example"`, "https", "AllowPlainHTTP"}},
	{"a key of a header over plain http", backup(Endpoint{Name: "b", URL: "http://b.example/v1", Header: http.Header{"X-Api-Key": {secretKey}}}), []string{"plain http"}},
	{"a URL as Azure's resource", backup(AzureFoundry("https://res.services.ai.azure.com", secretKey)), []string{`endpoint "azure": URL has a URL within the URL`, "AzureFoundry", "resource alone"}},
	{"a host as Azure's resource", backup(AzureFoundry("res.services.ai.azure.com", secretKey)), []string{`"azure": URL has host "res.services.ai.azure.com.services.ai.azure.com"`, "twice"}},
	{"no resource of Azure's", backup(AzureFoundry("", secretKey)), []string{`"azure": URL has host ".services.ai.azure.com", with an empty part`, "variable"}},
	{"Azure's resource with a blank", backup(AzureFoundry("res ", secretKey)), []string{`"azure": URL cannot be parsed`}},
	{"no region of Bedrock's", backup(Bedrock("", secretKey)), []string{`"bedrock": URL has host "bedrock-runtime..amazonaws.com", with an empty part`}},
	{"Bedrock's arguments exchanged", backup(Bedrock(secretKey, "us-east-1")), []string{`"bedrock": URL has no region`, "exchanged"}},
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
	{"two mistakes", []Option{WithEndpoints(DeepSeek("'k'")), WithBackup(Endpoint{Name: "b", URL: "b.example/v1", APIKey: secretKey + "\n"}), WithBackup(SiliconFlow(""))},
		[]string{`WithEndpoints: endpoint "deepseek": APIKey has quotes`, `"b": URL is "b.example/v1"`, `"b": APIKey has a line break`, `"siliconflow" has no APIKey`}},
}

// New names every mistake of a configuration.
func TestMistakes_Named(t *testing.T) {
	for _, tt := range endpointMistakes {
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
