package header

import (
	"crypto/sha256"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestHeader_First(t *testing.T) {
	h := http.Header{"A": {"1", "2"}, "B": {}, "c": {"3"}}
	for name, want := range map[string]string{"A": "1", "B": "", "C": "", "c": "3"} {
		if got := First(h, name); got != want {
			t.Errorf("First(%s) = %q, want %q", name, got, want)
		}
	}
	if got := First(nil, "A"); got != "" {
		t.Errorf("First of nothing = %q", got)
	}
}

func TestHeader_Canonical(t *testing.T) {
	h := http.Header{"x-api-key": {"1"}, "X-Api-Key": {"2"}, "B": {"3", "4"}}
	c := Canonical(h)
	slices.Sort(c["X-Api-Key"])
	if want := (http.Header{"X-Api-Key": {"1", "2"}, "B": {"3", "4"}}); !reflect.DeepEqual(c, want) {
		t.Errorf("Canonical = %v, want %v", c, want)
	}
	c["B"][0] = "changed"
	if h["B"][0] != "3" {
		t.Error("the copy shares values with its original")
	}
}

// What is set in a copy does not reach the original, nor does a value that is appended to
// a copy for another origin.
func TestHeader_Copies(t *testing.T) {
	values := make([]string, 1, 4)
	values[0] = "1"
	h := http.Header{"Accept": values}
	for name, c := range map[string]http.Header{"ShallowCopy": ShallowCopy(h), "ForAnotherOrigin": ForAnotherOrigin(h, 2)} {
		c.Set("B", "2")
		c.Set("Accept", "another")
		if len(h) != 1 || len(h["Accept"]) != 1 || h["Accept"][0] != "1" {
			t.Errorf("%s: the original is %v", name, h)
		}
	}
	if ForAnotherOrigin(h, 2).Add("Accept", "appended"); values[:2][1] != "" {
		t.Errorf("ForAnotherOrigin: the original has %q", values[:2])
	}
	if c := ShallowCopy(nil); c == nil {
		t.Error("ShallowCopy(nil) is nil, want a header that can be set")
	}
}

func TestHeader_MediaType(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "",
		"application/json":                  "application/json",
		" Text/Event-Stream ;charset=utf-8": "text/event-stream",
		";":                                 "",
	} {
		if got := MediaType(http.Header{"Content-Type": {in}}); got != want {
			t.Errorf("MediaType of %q = %q, want %q", in, got, want)
		}
	}
}

func TestHeader_IsEncoded(t *testing.T) {
	for in, want := range map[string]bool{
		"": false, "identity": false, "utf-8": false, "gzip": true, "GZIP": true, "x-gzip": true, "identity, br": true, "br ,identity": true,
		"zstd": true, "deflate": true, "compress": true, "dcb": true, "dcz": true, "aws-chunked": false,
	} {
		if got := IsEncoded(http.Header{"Content-Encoding": {in}}); got != want {
			t.Errorf("IsEncoded of %q = %v, want %v", in, got, want)
		}
	}
}

// What a server writes for a number is one, or nothing: never negative, never NaN.
func TestHeader_Number(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want float64
		ok   bool
	}{
		{"0", 0, true}, {" 1.5 ", 1.5, true}, {"007", 7, true}, {strings.Repeat("9", 400), math.Inf(1), true},
		{"1e3", 0, false}, {"Inf", 0, false}, {"+5", 0, false}, {"0x10", 0, false}, {"1_000", 0, false}, {"4,999", 0, false}, {"1.", 0, false}, {".5", 0, false}, {"1.5.2", 0, false},
		{"unlimited", 0, false}, {"\uff15", 0, false}, {"", 0, false}, {"-1", 0, false}, {"NaN", 0, false}, {"-Inf", 0, false}, {"1s", 0, false}, {"1e999", 0, false},
	} {
		if got, ok := Number(tt.in); got != tt.want || ok != tt.ok {
			t.Errorf("Number(%q) = %v, %v, want %v, %v", tt.in, got, ok, tt.want, tt.ok)
		}
	}
}

func TestHeader_Digits(t *testing.T) {
	for in, want := range map[string]float64{"0": 0, " 12 ": 12, "007": 7, "0.5": -1, "1.": -1, "": -1, "+5": -1, "5s": -1} {
		if got, ok := Digits(in); ok != (want >= 0) || got != max(want, 0) {
			t.Errorf("Digits(%q) = %v, %v, want %v", in, got, ok, want)
		}
	}
}

func FuzzNumber(f *testing.F) {
	for _, in := range []string{"", "1", "-1", "NaN", "1e308", "0x1p-2", "1_000"} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if n, ok := Number(in); math.IsNaN(n) || n < 0 || !ok && n != 0 {
			t.Errorf("Number(%q) = %v, %v", in, n, ok)
		}
	})
}

func TestHeader_IsCredential(t *testing.T) {
	for name, want := range map[string]bool{
		"Authorization": true, "authorization": true, "API-KEY": true, "x-api-key": true,
		"": false, "Cookie": false, "X-Api-Keys": false, "Proxy-Authorization": false, "Authorization ": false, "Api\u2010Key": false,
		"Api-\u212Aey": false, // folds to a k, and is none
	} {
		if got := IsCredential(name); got != want {
			t.Errorf("IsCredential(%q) = %v, want %v", name, got, want)
		}
	}
	h := http.Header{"aPI-key": {"1"}, "Authorization": {"2"}, "Cookie": {"3"}}
	if RemoveCredentials(h); len(h) != 1 || h["Cookie"] == nil {
		t.Errorf("RemoveCredentials leaves %v, want the cookie", h)
	}
}

func TestHeader_HasKeys(t *testing.T) {
	for _, tt := range []struct {
		h                    http.Header
		credential, identity bool
	}{
		{nil, false, false},
		{http.Header{"Accept": {"x"}}, false, false},
		{http.Header{"Authorization": {}}, false, false},
		{http.Header{"Authorization": {"Bearer k"}}, true, true},
		{http.Header{"X-Api-Key": {"k"}}, true, true},
		{http.Header{"Api-Key": {"k"}}, true, true},
		{http.Header{"Cookie": {"k"}}, false, true},
		{http.Header{"X-Goog-Api-Key": {"k"}}, false, true},
	} {
		if c, i := HasCredential(tt.h), HasIdentity(tt.h); c != tt.credential || i != tt.identity {
			t.Errorf("%v: credential %v, identity %v, want %v, %v", tt.h, c, i, tt.credential, tt.identity)
		}
	}
	for _, tt := range []struct {
		values []string
		want   bool
	}{
		{nil, false}, {[]string{""}, false}, {[]string{" Bearer "}, false}, {[]string{"basic"}, false},
		{[]string{"Bearer k"}, true}, {[]string{"k"}, true}, {[]string{"", "k"}, true},
	} {
		if got := HoldsKey(tt.values); got != tt.want {
			t.Errorf("HoldsKey(%q) = %v, want %v", tt.values, got, tt.want)
		}
	}
}

// A key is found in a text, with and without its scheme; a word that stands for none is not.
func TestHeader_Quotes(t *testing.T) {
	h := http.Header{"Authorization": {"Bearer sk-123456 "}, "X-Api-Key": {"EMPTY"}, "Cookie": {"sk-abcdefg"}}
	for text, want := range map[string]bool{
		"": false, "id-sk-123456-1": true, "sk-123456": true, "sk-12345": false, "Bearer": false, "EMPTY-EMPTY-EMPTY": false, "id-sk-abcdefg": false,
	} {
		if got := Quotes(text, h); got != want {
			t.Errorf("Quotes(%q) = %v, want %v", text, got, want)
		}
	}
	if Quotes("sk-123456", nil) || !QuotesKey("a-sk-123456", "sk-123456") || QuotesKey("a", "") || QuotesKey("a", " ") {
		t.Error("a key is not found, or found where there is none")
	}
}

// Callers are told apart by all that a host could tell them apart by, and by
// nothing else.
func TestHeader_CredentialOf(t *testing.T) {
	of := func(url string, header ...string) Credential {
		req := httptest.NewRequest(http.MethodPost, url, nil)
		for i := 0; i < len(header); i += 2 {
			req.Header[header[i]] = append(req.Header[header[i]], header[i+1])
		}
		return CredentialOf(req)
	}
	nobody := of("https://a/v1")
	for name, same := range map[string]Credential{
		"another path":   of("https://a/v2"),
		"another host":   of("https://b/v1"),
		"other headers":  of("https://a/v1", "User-Agent", "x", "Accept", "y"),
		"an empty value": of("https://a/v1", "X-Not-A-Key", ""),
	} {
		if same != nobody {
			t.Errorf("%s: is told apart", name)
		}
	}
	seen := map[Credential]string{nobody: "nobody"}
	for _, tt := range []struct {
		name string
		is   Credential
	}{
		{"a key", of("https://a/v1", "Authorization", "Bearer k")},
		{"another key", of("https://a/v1", "Authorization", "Bearer l")},
		{"a key, in another header", of("https://a/v1", "X-Api-Key", "Bearer k")},
		{"two keys", of("https://a/v1", "Authorization", "Bearer k", "Authorization", "Bearer l")},
		{"two keys in one", of("https://a/v1", "Authorization", "Bearer kBearer l")},
		{"a cookie", of("https://a/v1", "Cookie", "s=k")},
		{"a key of a name in lower case", of("https://a/v1", "authorization", "Bearer k")},
		{"two names in lower case", of("https://a/v1", "authorization", "Bearer k", "cookie", "s=k")},
		{"a query", of("https://a/v1?key=k")},
		{"a user", of("https://k:l@a/v1")},
	} {
		if other, ok := seen[tt.is]; ok {
			t.Errorf("%s is taken for %s", tt.name, other)
		}
		seen[tt.is] = tt.name
	}
	for range 20 { // whatever the order of the map
		if of("https://a/v1", "cookie", "s=k", "authorization", "Bearer k") != of("https://a/v1", "authorization", "Bearer k", "cookie", "s=k") {
			t.Fatal("the credential depends on the order of the names")
		}
	}
	if nobody != sha256.Sum256(nil) {
		t.Error("nobody has a credential")
	}
}

// What goes to another origin is on a list; all else stays out.
func TestHeader_ForAnotherOrigin(t *testing.T) {
	got := ForAnotherOrigin(http.Header{
		"Accept": {"a"}, "Content-Type": {"b"}, "User-Agent": nil, "Authorization": {"Bearer k"}, "Cookie": {"s"}, "X-Tenant": {"t"}, "Anthropic-Beta": {"1", "2"},
	}, 2)
	if want := (http.Header{"Accept": {"a"}, "Content-Type": {"b"}, "Anthropic-Beta": {"1", "2"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("ForAnotherOrigin = %v, want %v", got, want)
	}
}

func TestHeader_IsSafelisted(t *testing.T) {
	for name, want := range map[string]bool{
		"Content-Type": true, "content-type": true, "Retry-After": true, "retry-after-ms": true, "X-Request-Id": true, "x-request-id": true,
		"Openai-Request-Id": true, "X-Ds-Trace-Id": true, "Cf-Ray": true, "X-Siliconcloud-Trace-Id": true, "Apim-Requestid": true,
		"Location": false, "Set-Cookie": false, "Www-Authenticate": false, "Clear-Site-Data": false, "Alt-Svc": false, "Link": false,
		"X-Ratelimit-Remaining-Requests": false, "Strict-Transport-Security": false, "X-Anything-Of-Tomorrow": false, "": false,
	} {
		if got := IsSafelisted(name); got != want {
			t.Errorf("IsSafelisted(%q) = %v, want %v", name, got, want)
		}
	}
	h := http.Header{"location": {"x"}, "Set-Cookie": {"x"}, "Content-Type": {"x"}, "x-request-id": {"x"}}
	//lint:ignore SA1008 a header that is not canonical is what is tested
	if RemoveForeign(h); len(h) != 2 || h["Content-Type"] == nil || h["x-request-id"] == nil {
		t.Errorf("RemoveForeign leaves %v", h)
	}
}

func TestHeader_Check(t *testing.T) {
	for _, tt := range []struct {
		name    string
		h       http.Header
		want    string // part of the error
		trailer string // part of CheckTrailer's
	}{
		{"nothing", nil, "", ""},
		{"good", http.Header{"X-Trace": {"1", "\t \u00e4"}}, "", ""},
		{"a name with a blank", http.Header{"X Trace": {"1"}}, `begins with "X"`, `begins with "X"`},
		{"a name with a colon", http.Header{"X-Trace: 1": {"1"}}, `begins with "X-Trace"`, `begins with "X-Trace"`},
		{"an empty name", http.Header{"": {"1"}}, `begins with ""`, `begins with ""`},
		{"a name that is not ASCII", http.Header{"X-Tr\u00e4ce": {"1"}}, `begins with "X-Tr"`, `begins with "X-Tr"`},
		{"a line break", http.Header{"X-Trace": {"secret\n"}}, `"X-Trace"`, `"X-Trace"`},
		{"a NUL", http.Header{"X-Trace": {"1", "secret\x00"}}, `"X-Trace"`, `"X-Trace"`},
		{"no trailer", http.Header{"Transfer-Encoding": {"gzip"}}, "", "cannot be a trailer"},
	} {
		for _, got := range []struct {
			err  error
			want string
		}{{Check(tt.h), tt.want}, {CheckTrailer(tt.h), tt.trailer}} {
			switch {
			case (got.err == nil) != (got.want == ""), got.err != nil && !strings.Contains(got.err.Error(), got.want):
				t.Errorf("%s: got %v, want an error that says %q", tt.name, got.err, got.want)
			case got.err != nil && strings.Contains(got.err.Error(), "secret"):
				t.Errorf("%s: %v quotes the value", tt.name, got.err)
			}
		}
	}
}

// Headers that every request of an agent, a client or a proxy has do not tell questions
// apart. What nobody knows may.
func TestHeader_IsIndifferent(t *testing.T) {
	for agent, names := range map[string]string{
		"W3C":                  "traceparent tracestate baggage Correlation-Context",
		"Zipkin":               "B3 X-B3-TraceId X-B3-SpanId X-B3-ParentSpanId X-B3-Sampled X-B3-Flags",
		"Jaeger":               "uber-trace-id uberctx-user jaeger-debug-id jaeger-baggage",
		"Datadog":              "x-datadog-trace-id x-datadog-parent-id x-datadog-sampling-priority x-datadog-origin x-datadog-tags",
		"Elastic":              "Elastic-Apm-Traceparent",
		"New Relic":            "newrelic X-NewRelic-ID X-NewRelic-Transaction X-NewRelic-Synthetics",
		"Instana":              "X-INSTANA-T X-INSTANA-S X-INSTANA-L X-Instana-Synthetic",
		"SkyWalking":           "sw8 sw8-correlation sw8-x",
		"Amazon":               "X-Amzn-Trace-Id X-Amzn-RequestId amz-sdk-invocation-id amz-sdk-request",
		"Google":               "X-Cloud-Trace-Context grpc-trace-bin grpc-tags-bin x-goog-api-client",
		"Dynatrace":            "X-dynaTrace x-dtpc",
		"AppDynamics":          "singularityheader ADRUM ADRUM_1",
		"Sentry":               "sentry-trace",
		"Honeycomb":            "X-Honeycomb-Trace",
		"Lightstep":            "ot-tracer-traceid ot-tracer-spanid ot-tracer-sampled ot-baggage-x x-ot-span-context",
		"Wavefront":            "wf-ot-traceid wf-ot-spanid",
		"Azure":                "Request-Id Request-Context x-ms-client-request-id x-ms-correlation-request-id",
		"Pinpoint":             "Pinpoint-TraceID Pinpoint-SpanID pinpoint-papptype",
		"EagleEye":             "EagleEye-TraceId eagleeye-rpcid",
		"ByteDance":            "X-Tt-Logid X-Tt-Trace-Id X-Tt-Trace-Tag",
		"SolarWinds":           "X-Trace-Options",
		"LLM gateways":         "x-portkey-trace-id x-litellm-trace-id Helicone-Request-Id",
		"ids of one request":   "Cf-Ray X-Amz-Cf-Id X-Vercel-Id Fly-Request-Id X-Request-Id x-request-id X-Correlation-Id X-CorrelationID request_id X-Client-Request-Id Trace-Id Idempotency-Key",
		"SDKs":                 "X-Stainless-Retry-Count X-Stainless-Timeout x-stainless-lang User-Agent",
		"clients, connections": "Accept Accept-Encoding Content-Length Cache-Control Pragma Origin Referer Sec-Fetch-Mode sec-ch-ua Via Te Priority X-Title HTTP-Referer Date",
	} {
		for name := range strings.FieldsSeq(names) {
			for _, spelling := range []string{name, strings.ToLower(name), http.CanonicalHeaderKey(name)} {
				if !IsIndifferent(spelling) {
					t.Errorf("%s: IsIndifferent(%q) = false", agent, spelling)
				}
			}
		}
	}
	for name := range strings.FieldsSeq("OpenAI-Organization OpenAI-Project OpenAI-Beta Anthropic-Version Anthropic-Beta Cookie X-Tenant X-Tenant-Id X-User-Id Session-Id session_id X-Session-Id " +
		"Helicone-User-Id Helicone-Cache-Enabled X-Portkey-Config x-portkey-virtual-key X-DashScope-WorkSpace X-Amzn-Bedrock-Trace X-Amzn-Bedrock-GuardrailIdentifier cf-aig-metadata " +
		"X-Goog-User-Project X-Forwarded-For Forwarded X-Real-Ip Range If-None-Match Trace Span Id Request X-Model-Id Foo Surrogate-Capability B33 Sw X-Previous-Response-Id") {
		if IsIndifferent(name) || IsIndifferent(http.CanonicalHeaderKey(name)) {
			t.Errorf("IsIndifferent(%q) = true: it may tell callers or answers apart", name)
		}
	}
	if n := testing.AllocsPerRun(100, func() { IsIndifferent("Content-Type"); IsIndifferent("X-Tenant"); IsIndifferent("X-Stainless-Os") }); n > 0 {
		t.Errorf("IsIndifferent allocates %v times", n)
	}
}
