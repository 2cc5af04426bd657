package breakwater

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/limit"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

func TestOptions_NewRefusesNonsense(t *testing.T) {
	good := Endpoint{Name: "good", URL: "https://good.example/v1", APIKey: "sk-1"}
	for _, tt := range []struct {
		name string
		opts []Option
		want []string // parts of the error, all of them
	}{
		{"no URL", []Option{WithEndpoints(Endpoint{})}, []string{"WithEndpoints: endpoint 1: URL is empty"}},
		{"relative URL", []Option{WithEndpoints(good, Endpoint{URL: "/v1"})}, []string{"WithEndpoints: endpoint 2", "absolute"}},
		{"other scheme", []Option{WithEndpoints(Endpoint{URL: "ftp://x"})}, []string{"scheme"}},
		{"key in the URL", []Option{WithEndpoints(Endpoint{URL: "https://user:secret@x/?key=secret"})}, []string{"a query other than api-version"}},
		{"key in a URL that cannot be parsed", []Option{WithEndpoints(Endpoint{URL: "https://secret\x7f"})}, []string{"cannot be parsed"}},
		{"key over plain http", []Option{WithEndpoints(Endpoint{URL: "http://10.0.0.1", APIKey: "secret"})}, []string{"plain http"}},
		{"key with a line break", []Option{WithEndpoints(Endpoint{URL: "https://x", APIKey: "secret\n"})}, []string{"line break"}},
		{"duplicate names", []Option{WithEndpoints(good), WithBackup(good)}, []string{`"good"`, "twice"}},
		{"name unfit for a header", []Option{WithEndpoints(Endpoint{URL: "https://x", Name: "a\nb"})}, []string{"printable"}},
		{"unknown host", []Option{WithEndpoints(Endpoint{URL: "https://x", Host: "nobody"})}, []string{`"nobody"`}},
		{"empty model names", []Option{WithEndpoints(Endpoint{URL: "https://x", Models: map[string]string{"": "x"}})}, []string{"Models"}},
		{"no feature", []Option{WithEndpoints(Endpoint{URL: "https://x", Can: []Feature{FeatureReview, "miracles"}})}, []string{`Can has "miracles"`}},
		{"bad limits", []Option{WithEndpoints(Endpoint{URL: "https://x", Limits: map[string]RatePolicy{"m": {InFlight: -2}}})}, []string{`Limits["m"]`, "InFlight"}},
		{"empty tier", []Option{WithEndpoints()}, []string{"WithEndpoints: no endpoint"}},
		{"empty backup", []Option{WithEndpoints(good), WithBackup()}, []string{"WithBackup: no endpoint"}},
		{"backup of nothing", []Option{WithBackup(good)}, []string{"WithBackup", "WithEndpoints"}},
		{"nil things", []Option{nil, WithBase(nil), WithObserver(nil), WithMiddleware(nil), WithAttemptMiddleware(nil)},
			[]string{"nil Option", "WithBase", "WithObserver", "WithMiddleware", "WithAttemptMiddleware"}},
		{"negatives", []Option{
			WithRetry(RetryPolicy{Attempts: -2, Patience: -5}), WithBreaker(BreakerPolicy{MinRequests: -3}),
			WithStream(StreamPolicy{FirstToken: -7}), WithCache(CachePolicy{MaxEntries: -2}), WithRateLimit(RatePolicy{PerSecond: -0.5}),
		}, []string{"WithRetry: Attempts", "WithRetry: Patience", "WithBreaker: MinRequests", "WithStream: FirstToken", "WithCache: MaxEntries", "WithRateLimit: PerSecond"}},
		{"not numbers", []Option{WithBreaker(BreakerPolicy{FailureRate: math.NaN()}), WithRetry(RetryPolicy{Budget: math.NaN()})}, []string{"FailureRate", "Budget"}},
		{"delays crossed", []Option{WithRetry(RetryPolicy{MinDelay: time.Minute, MaxDelay: time.Second})}, []string{"MinDelay"}},
		{"rate above one", []Option{WithBreaker(BreakerPolicy{FailureRate: 50})}, []string{"FailureRate"}},
		{"no probes", []Option{WithBreaker(BreakerPolicy{Probes: Off})}, []string{"Probes"}},
		{"what is none of the choices", []Option{WithStream(StreamPolicy{Rescue: 7}), WithCache(CachePolicy{StaleWhileRevalidate: -2})},
			[]string{"Rescue", "StaleWhileRevalidate"}},
		{"bad balance", []Option{WithBalance(BalancePolicy{Affinity: -2, Overload: 0.5, Ramp: -2})}, []string{"Affinity", "Overload", "Ramp"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rt, err := New(tt.opts...)
			if err == nil || rt != nil {
				t.Fatalf("New = %v, %v, want an error", rt, err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("New's error lacks %q:\n%v", part, err)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("New's error shows a key: %v", err)
			}
		})
	}
}

// Endpoints whose parts New has to put together anew, or cannot use.
func TestOptions_OddEndpoints(t *testing.T) {
	for _, tt := range []struct {
		name      string
		endpoints []Endpoint
		want      string // part of the error; empty: none
	}{
		{"an address with a zone", []Endpoint{{URL: "http://[fe80::1%25eth0]:8000/v1"}}, ""},
		{"a key with a line break in a header", []Endpoint{{URL: "https://a", Header: http.Header{"Authorization": {"Bearer k\n"}}}}, "line break"},
		{"one account, two limits", []Endpoint{
			{URL: "https://a", Account: "x", Limits: map[string]RatePolicy{"": {InFlight: 1}}}, {URL: "https://b", Account: "x"},
		}, `share account "x"`},
		{"one account, the same limits", []Endpoint{
			{URL: "https://a", Account: "x", Limits: map[string]RatePolicy{"": {InFlight: 1}}}, {URL: "https://b", Account: "x", Keyless: true, Limits: map[string]RatePolicy{"": {InFlight: 1}}},
		}, ""},
	} {
		rt, err := New(WithEndpoints(tt.endpoints...))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: New = %v, want %q", tt.name, err, tt.want)
		}
		if err == nil && rt.now().tiers[0][0].base.Hostname() == "" {
			t.Errorf("%s: the endpoint has no base", tt.name)
		}
	}
	// Requests may name hosts that no URL could.
	base := newHosts(gives(200, asJSON, goodJSON))
	for _, host := range []string{"a b", "h:https", "[fe80::1%eth0]:8000"} {
		got := asks(t.Context(), over(t, base), chatJSON, func(req *http.Request) { req.URL.Host = host })
		if got.body != goodJSON {
			t.Errorf("a call to %q: %v, want what the base said", host, got)
		}
	}
}

// Off means none of whatever can be done without.
func TestOptions_OffMeansNone(t *testing.T) {
	rt, err := New(
		WithRetry(RetryPolicy{Attempts: Off, MinDelay: Off, MaxDelay: Off, Patience: Off, MaxRetryAfter: Off, Budget: Off, MaxReplay: Off}),
		WithStream(StreamPolicy{FirstToken: Off, Thinking: Off, Queued: Off, Stall: Off, Review: Off, ToolWork: Off, MinRate: Off, Hedge: Off, Rescue: RescueOff, MaxBuffer: Off, Repetition: Off}),
		WithCache(CachePolicy{TTL: Off, StaleWhileRevalidate: Off, MaxEntries: Off, MaxBytes: Off, MaxEntryBytes: Off}),
		WithIdempotency(IdempotencyPolicy{TTL: Off, Linger: Off, MaxBytes: Off, MaxEntryBytes: Off}),
		WithBreaker(BreakerPolicy{FailureRate: Off, MinRequests: Off, Consecutive: Off, Window: Off, OpenFor: Off, MaxOpenFor: Off, MaxWait: Off}),
		WithRateLimit(RatePolicy{PerSecond: Off, TokensPerMinute: Off, InFlight: Off, MaxWait: Off}),
		WithBalance(BalancePolicy{Affinity: Off, Ramp: Off}),
	)
	if err != nil {
		t.Fatal(err)
	}
	c := rt.now().config
	for _, tt := range []struct{ got, want any }{
		{c.retry, RetryPolicy{Attempts: 1}},
		{c.stream, StreamPolicy{MinRateWindow: 30 * time.Second, Rescue: RescueOff}},
		{*c.cache, CachePolicy{StaleIfError: time.Hour}}, // with that Off too, nothing would ever be served
		{*c.repeats, IdempotencyPolicy{}},
		{c.breaker, BreakerPolicy{Probes: 1}},
		{c.rate, RatePolicy{Burst: 1}},
		{c.balance, BalancePolicy{Overload: 1.25}},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("Off resolved to %+v, want %+v", tt.got, tt.want)
		}
	}
	if !circuit.Policy(c.breaker).Off() || !limit.Policy(c.rate).Off() {
		t.Errorf("the breaker %+v and the limit %+v, want both off", c.breaker, c.rate)
	}
}

// Policies and endpoints are copied: what the caller does to its own later
// changes nothing.
func TestOptions_AreCopied(t *testing.T) {
	models := map[string]string{"a": "b"}
	header := http.Header{"X-Team": {"1"}}
	rt, err := New(WithEndpoints(Endpoint{Name: "e", URL: "https://x", Models: models, Header: header}))
	if err != nil {
		t.Fatal(err)
	}
	models["a"] = "c"
	header.Set("X-Team", "2")
	e := rt.now().tiers[0][0]
	if e.Models["a"] != "b" || e.Header.Get("X-Team") != "1" {
		t.Errorf("endpoint changed with its caller's maps: %v, %v", e.Models, e.Header)
	}
}

// A key that is missing is told by New, of every endpoint that could only be
// asked without one. The caller's own is meant where he asks.
func TestKeyless_New(t *testing.T) {
	primary := Endpoint{Name: "own", URL: "https://own.example/v1"}
	bearer := func(value string) http.Header { return http.Header{"Authorization": {value}} }
	other := func(edit func(*Endpoint)) Endpoint {
		e := Endpoint{Name: "other", URL: "https://other.example/v1"}
		edit(&e)
		return e
	}
	unset := other(func(*Endpoint) {})
	missing := `WithBackup: endpoint "other" has no APIKey, and nobody else's key may go there: set APIKey, KeyFunc or Header, or Keyless for a host that wants none`
	for _, tt := range []struct {
		name  string
		opts  []Option
		wants []string // of the error; none: there is none
	}{
		{"a primary without one", []Option{WithEndpoints(primary)}, nil},
		{"a preset as primary without one", []Option{WithEndpoints(DeepSeek(""))}, nil},
		{"a backup without one", []Option{WithEndpoints(primary), WithBackup(unset)}, []string{missing}},
		{"a backup beside a primary with one", []Option{WithEndpoints(DeepSeek("sk")), WithBackup(SiliconFlow(""))}, []string{`WithBackup: endpoint "siliconflow" has no APIKey`}},
		{"every preset", []Option{
			WithEndpoints(DeepSeek("sk")), WithBackup(SiliconFlowCN(""), VolcengineArk(""), Bailian(""), BailianIntl(""), TencentLKEAP(""), TencentTokenHub(""),
				BaiduQianfan(""), AzureFoundry("r", ""), OpenRouter(""), Together(""), Fireworks(""), OllamaCloud("")),
		}, []string{`"siliconflow-cn"`, `"ark"`, `"bailian"`, `"bailian-intl"`, `"lkeap"`, `"tokenhub"`, `"qianfan"`, `"azure"`, `"openrouter"`, `"together"`, `"fireworks"`, `"ollama-cloud"`}},
		{"presets of hosts that want none", []Option{WithEndpoints(DeepSeek("sk")), WithBackup(Ollama(), VLLM("http://10.0.0.1:8000/v1", ""), SGLang("http://10.0.0.2:8000/v1", ""))}, nil},
		{"their own servers with one", []Option{WithEndpoints(DeepSeek("sk")), WithBackup(VLLM("https://v.example/v1", "sk"), SGLang("https://s.example/v1", "sk"))}, nil},
		{"a second one of the first tier", []Option{WithEndpoints(DeepSeek("sk"), unset)}, []string{`WithEndpoints: endpoint "other" has no APIKey`}},
		{"the same, in two options", []Option{WithEndpoints(primary), WithEndpoints(unset)}, []string{`WithEndpoints: endpoint "other" has no APIKey`}},
		{"a third tier", []Option{WithEndpoints(primary), WithBackup(DeepSeek("sk")), WithBackup(unset)}, []string{missing}},
		{"a backup at the primary's origin", []Option{WithEndpoints(primary), WithBackup(Endpoint{Name: "b", URL: "https://OWN.example:443/v2"})}, nil},
		{"a second one at the primary's origin", []Option{WithEndpoints(primary, Endpoint{Name: "b", URL: "https://own.example/v2"})}, nil},
		{"a backup at another backup's origin", []Option{WithEndpoints(primary), WithBackup(OpenRouter("sk"), Endpoint{Name: "b", URL: "https://openrouter.ai/api/v1"})}, []string{`"b"`}},
		{"a backup at another port", []Option{WithEndpoints(primary), WithBackup(Endpoint{Name: "b", URL: "https://own.example:8443/v1"})}, []string{`"b"`}},
		{"a backup on this machine", []Option{WithEndpoints(primary), WithBackup(Endpoint{Name: "b", URL: "http://localhost:8000/v1"})}, []string{`"b"`}},
		{"one on this machine that says so", []Option{WithEndpoints(primary), WithBackup(Endpoint{Name: "b", URL: "http://localhost:8000/v1", Keyless: true})}, nil},
		{"one that says so", []Option{WithEndpoints(primary), WithBackup(other(func(e *Endpoint) { e.Keyless = true }))}, nil},
		{"a key in a header", []Option{WithEndpoints(primary), WithBackup(other(func(e *Endpoint) { e.Header = http.Header{"x-api-key": {"sk"}} }))}, nil},
		{"another header", []Option{WithEndpoints(primary), WithBackup(other(func(e *Endpoint) { e.Header = http.Header{"X-Title": {"t"}} }))}, []string{missing}},
		{"a Rewrite, which may sign", []Option{WithEndpoints(primary), WithBackup(other(func(e *Endpoint) { e.Rewrite = func(*http.Request) error { return nil } }))}, nil},
		{"attempt middleware, which may", []Option{WithEndpoints(primary), WithBackup(unset), WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper { return next })}, nil},
		{"middleware, which sees no attempt", []Option{WithEndpoints(primary), WithBackup(unset), WithMiddleware(func(next http.RoundTripper) http.RoundTripper { return next })}, []string{missing}},
		{"a scheme without a key", []Option{WithEndpoints(other(func(e *Endpoint) { e.Header = bearer("Bearer ") }))}, []string{"Header has Authorization, and no key in it"}},
		{"an empty header", []Option{WithEndpoints(other(func(e *Endpoint) { e.Header = http.Header{"Api-Key": {""}} }))}, []string{"Header has Api-Key, and no key in it"}},
		{"a blank key", []Option{WithEndpoints(primary), WithBackup(other(func(e *Endpoint) { e.APIKey = "  " }))}, []string{"APIKey is blank"}},
		{"both", []Option{WithEndpoints(other(func(e *Endpoint) { e.Keyless, e.APIKey = true, "sk" }))}, []string{"Keyless is set, and so is a key"}},
		{"both, in a header", []Option{WithEndpoints(other(func(e *Endpoint) { e.Keyless, e.Header = true, bearer("Bearer sk") }))}, []string{"Keyless is set, and so is a key"}},
		{"beside another mistake", []Option{WithEndpoints(primary), WithBackup(unset), WithRetry(RetryPolicy{Attempts: -2})}, []string{missing, "Attempts"}},
		{"two without one", []Option{WithEndpoints(primary), WithBackup(unset, SiliconFlow(""))}, []string{missing, `"siliconflow"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.opts...)
			if (err == nil) != (len(tt.wants) == 0) {
				t.Fatalf("New = %v, want an error that says %q", err, tt.wants)
			}
			for _, want := range tt.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("New = %v, want it to say %q", err, want)
				}
			}
			if err != nil && strings.Contains(err.Error(), "sk") {
				t.Errorf("New = %v quotes a key", err)
			}
		})
	}
}

// A call without a key to an endpoint without one is told of once, as a warning,
// and goes its way; a key of whatever kind is one.
func TestKeyless_Warning(t *testing.T) {
	none := func(req *http.Request) { req.Header.Del("Authorization") }
	own := Endpoint{Name: "own", URL: "https://a"}
	keyless := own
	keyless.Keyless = true
	signed := own
	signed.Rewrite = func(*http.Request) error { return nil }
	for _, tt := range []struct {
		name string
		e    Endpoint
		edit func(*http.Request)
		opts []Option
		want int
	}{
		{"no key", own, none, nil, 1},
		{"an empty one", own, with("Authorization", "Bearer "), nil, 1},
		{"the caller's", own, func(*http.Request) {}, nil, 0},
		{"the caller's, in another header", own, func(req *http.Request) { none(req); req.Header["api-key"] = []string{"sk"} }, nil, 0},
		{"the caller's, in the URL", own, func(req *http.Request) { none(req); req.URL.RawQuery = "key=sk" }, nil, 0},
		{"the caller's cookie", own, func(req *http.Request) { none(req); req.Header.Set("Cookie", "session=1") }, nil, 0},
		{"the endpoint's", at("a")[0], none, nil, 0},
		{"none is wanted", keyless, none, nil, 0},
		{"a Rewrite", signed, none, nil, 0},
		{"attempt middleware", own, none, []Option{WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper { return next })}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			told := 0
			rt := over(t, newHosts(gives(401, asJSON, "{}")), append(tt.opts, WithEndpoints(tt.e), WithObserver(Log(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})))),
				WithObserver(func(_ context.Context, e Event) {
					if e.Kind == KindKey && errors.Is(e.Err, ErrNoKey) {
						told++
					}
				}))...)
			for range 3 {
				if got := asks(t.Context(), rt, chatJSON, tt.edit); got.status() != 401 {
					t.Errorf("the caller got %v, want the host's own word", got)
				}
			}
			if told != tt.want || strings.Count(log.String(), "has a key") != tt.want || tt.want > 0 && !strings.Contains(log.String(), `level=WARN msg="breakwater: key" endpoint=own`) {
				t.Errorf("told %d times, logged %q, want %d", told, log.String(), tt.want)
			}
		})
	}
	// Without endpoints nobody has said what the host wants.
	rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithObserver(func(_ context.Context, e Event) {
		if e.Kind == KindKey {
			t.Errorf("told %+v, want nothing", e)
		}
	}))
	asks(t.Context(), rt, chatJSON, none)
}

// A backup that takes no key, and says that it wants one, rests and is told of
// loudly: no key of the caller's was refused there.
func TestKeyless_RefusedIsLoud(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		base := newHosts(failing503)
		base.Set("b", gives(401, asJSON, "{}"))
		base.Set("c", gives(200, asJSON, goodJSON))
		backup := Endpoint{Name: "b", URL: "https://b", Keyless: true}
		rt := over(t, base, once, WithEndpoints(Endpoint{Name: "a", URL: "https://a"}), WithBackup(backup), WithBackup(at("c")...), WithObserver(func(_ context.Context, e Event) {
			if e.Kind == KindKey && e.Endpoint == "b" && e.Class == ClassKeyRejected {
				told++
			}
		}))
		for range 3 {
			if got := asks(t.Context(), rt, chatJSON); got.body != goodJSON {
				t.Errorf("the caller got %v, want the answer of c", got)
			}
		}
		if told != 1 || base.Count("b") != 1 {
			t.Errorf("told %d times after %d requests, want once", told, base.Count("b"))
		}
	})
}

// Where the refused key is not the caller's, the call goes on to another endpoint and the
// first one rests, as with a key of its own; where it is the caller's, it gets the refusal.
func TestKeyless_RefusedAtItsOrigin(t *testing.T) {
	signs := func(req *http.Request) error {
		req.Header.Set("Authorization", "Signature of "+req.URL.Path)
		return nil
	}
	nothing := func(*http.Request) error { return nil }
	signing := WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper {
		return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			req = req.Clone(req.Context())
			req.Header.Set("X-Api-Key", "sk-of-the-middleware")
			return next.RoundTrip(req)
		})
	})
	idle := WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper { return next })
	for _, tt := range []struct {
		name    string
		e       Endpoint
		opts    []Option
		callers bool // the key is the caller's
	}{
		{"a key of its own", Endpoint{APIKey: "sk-a"}, nil, false},
		{"keyless", Endpoint{Keyless: true}, nil, false},
		{"another header", Endpoint{Header: http.Header{"X-Goog-Api-Key": {"sk-a"}}}, nil, false},
		{"a Rewrite that signs", Endpoint{Rewrite: signs}, nil, false},
		{"a Rewrite that does not", Endpoint{Rewrite: nothing}, nil, true},
		{"middleware that signs", Endpoint{}, []Option{signing}, false},
		{"middleware that does not", Endpoint{}, []Option{idle}, true},
		{"the caller's", Endpoint{}, nil, true},
	} {
		for _, refusal := range []struct {
			name string
			do   handler
		}{
			{"401", gives(401, asJSON, `{"error":{"message":"who are you"}}`)}, {"402", gives(402, asJSON, "{}")}, {"403", gives(403, asJSON, "{}")},
			{"hedged late", fakehost.After(3*time.Second, gives(401, asJSON, "{}"))},
		} {
			for _, ask := range []string{chatJSON, chatStream} {
				bubble(t, tt.name+"/"+refusal.name, func(t *testing.T) {
					e := tt.e
					e.Name, e.URL = "a", "https://a"
					told := 0
					base := newHosts(refusal.do)
					base.Set("b", fakehost.After(2*time.Second, well))
					opts := append(tt.opts, once, WithEndpoints(e), WithBackup(at("b")...), WithObserver(func(_ context.Context, e Event) {
						if e.Kind == KindKey && e.Err == nil {
							told++
						}
					}))
					if refusal.name == "hedged late" {
						opts = append(opts, WithStream(StreamPolicy{Hedge: 2 * time.Second, HedgeBackup: true}))
					}
					rt := over(t, base, opts...)
					first := asks(t.Context(), rt, ask)
					again := asks(t.Context(), rt, ask)
					if tt.callers {
						if refusal.name != "hedged late" && (first.status()/100 != 4 || base.Count("b") != 0 || base.Count("a") != 2) || told != 0 {
							t.Errorf("got %v and %v, told %d times, want the refusals, and no other key tried", first, again, told)
						}
						return
					}
					if first.status() != 200 || first.header(headerEndpoint) != "b" || again.header(headerEndpoint) != "b" || base.Count("a") != 1 || told != 1 {
						t.Errorf("got %v and %v after %d requests to a, told %d times, want b's answers, and a at rest", first, again, base.Count("a"), told)
					}
					base.Set("a", well)
					elapse(11 * time.Minute)
					if got := asks(t.Context(), rt, ask); got.header(headerEndpoint) != "a" {
						t.Errorf("later, got %v, want a's answer", got)
					}
				})
			}
		}
	}
}

// A host without keys that refuses one caller's key, and has just worked for another one,
// does not rest; alone, its refusal comes as it came.
func TestKeyless_OneCallersKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(func(req *http.Request) (*http.Response, error) {
			if strings.Contains(req.Header.Get("Authorization"), "wrong") {
				return answer(401, asJSON, "wrong"), nil
			}
			return answer(200, asJSON, goodJSON), nil
		})
		keyless := Endpoint{Name: "a", URL: "https://a", Keyless: true}
		rt := over(t, base, WithEndpoints(keyless), WithBackup(at("b")...))
		wrong := with("Authorization", "Bearer wrong")
		for range 3 {
			if got := asks(t.Context(), rt, chatJSON); got.header(headerEndpoint) != "a" {
				t.Errorf("got %v, want a's answer", got)
			}
			if got := asks(t.Context(), rt, chatJSON, wrong); got.header(headerEndpoint) != "b" || got.body != goodJSON {
				t.Errorf("got %v, want b's answer", got)
			}
		}
		rt = over(t, base, WithEndpoints(keyless))
		for range 3 {
			if got := asks(t.Context(), rt, chatJSON, wrong); got.status() != 401 || got.body != "wrong" {
				t.Errorf("alone, got %v, want the refusal", got)
			}
		}
	})
}

// A key in a header of another name is a key.
func TestKeyless_KeyInAnotherHeader(t *testing.T) {
	for _, name := range []string{"X-Goog-Api-Key", "Ocp-Apim-Subscription-Key", "Cookie", "X-Auth-Token"} {
		if _, err := New(WithEndpoints(at("a")...), WithBackup(Endpoint{Name: "b", URL: "https://b", Header: http.Header{name: {"sk-b"}}})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := New(WithEndpoints(Endpoint{Name: "b", URL: "http://b", Header: http.Header{name: {"sk-b"}}})); err == nil {
			t.Errorf("%s: it may go over plain http", name)
		}
	}
}

// What Call overrides for one call, and for that one only.
func TestOptions_WithCall(t *testing.T) {
	t.Run("NoCache", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			rt := over(t, base, WithCache(CachePolicy{}))
			none := WithCall(t.Context(), Call{NoCache: true})
			for i, tt := range []struct {
				ctx   context.Context
				asked int
				said  string
			}{
				{none, 1, "breakwater; fwd=bypass"}, {t.Context(), 2, "breakwater; fwd=uri-miss"},
				{none, 3, "breakwater; fwd=bypass"}, {t.Context(), 3, "breakwater; hit; ttl=300"},
			} {
				got := asks(tt.ctx, rt, chatJSON)
				if said := got.header("Cache-Status"); base.Count("") != tt.asked || said != tt.said {
					t.Errorf("call %d: %d attempts so far, Cache-Status %q, want %d and %q", i+1, base.Count(""), said, tt.asked, tt.said)
				}
			}
		})
	})
	t.Run("NoCache is not answered from the cache when all fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			rt := over(t, base, once, WithCache(CachePolicy{TTL: time.Minute}))
			asks(t.Context(), rt, chatJSON)
			base.Set("a", failing503)
			if got := asks(WithCall(t.Context(), Call{NoCache: true}), rt, chatJSON); got.status() != 503 {
				t.Errorf("the call gave %v, want the host's 503", got)
			}
		})
	})
	t.Run("Endpoint", func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, once, WithEndpoints(at("a", "b")...), WithBackup(at("c")...))
		for _, name := range []string{"c", "b", "a", "b"} {
			if got := asks(WithCall(t.Context(), Call{Endpoint: name}), rt, chatJSON); got.header(headerEndpoint) != name {
				t.Errorf("Endpoint %s: %v", name, got)
			}
		}
		base.Set("b", failing503)
		before := base.Count("")
		if got := asks(WithCall(t.Context(), Call{Endpoint: "b"}), rt, chatJSON); got.status() != 503 || base.Count("")-before != 1 {
			t.Errorf("Endpoint b, failing: %v after %d attempts, want its 503 after one", got, base.Count("")-before)
		}
		for range 4 {
			if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
				t.Errorf("the next call: %v, want an answer", got)
			}
		}
	})
	t.Run("Scope", func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithCache(CachePolicy{}))
		for i, tt := range []struct {
			scope string
			asked int
		}{{"team", 1}, {"team", 1}, {"other", 2}, {"", 3}, {"team", 3}, {"", 3}} {
			asks(WithCall(t.Context(), Call{Scope: tt.scope}), rt, chatJSON)
			if n := base.Count(""); n != tt.asked {
				t.Errorf("call %d, scope %q: %d attempts so far, want %d", i+1, tt.scope, n, tt.asked)
			}
		}
	})
	t.Run("the inner one holds", func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithEndpoints(at("a", "b")...))
		ctx := WithCall(WithCall(t.Context(), Call{Endpoint: "a"}), Call{Endpoint: "b"})
		for range 2 {
			if got := asks(ctx, rt, chatJSON); got.header(headerEndpoint) != "b" {
				t.Errorf("answered by %s, want b", got.header(headerEndpoint))
			}
		}
	})
}

// Whatever length a time of a policy has, New refuses it, or calls are answered as ever: no
// sum and no product of it overflows.
func TestOptions_LargestDurations(t *testing.T) {
	const largest = time.Duration(math.MaxInt64)
	option := func(policy any) Option {
		switch p := policy.(type) {
		case RetryPolicy:
			return WithRetry(p)
		case StreamPolicy:
			return WithStream(p)
		case BreakerPolicy:
			return WithBreaker(p)
		case RatePolicy:
			return WithRateLimit(p)
		case CachePolicy:
			return WithCache(p)
		}
		return WithBalance(policy.(BalancePolicy))
	}
	for _, policy := range []any{RetryPolicy{}, StreamPolicy{}, BreakerPolicy{}, RatePolicy{InFlight: 1}, CachePolicy{TTL: time.Minute}, BalancePolicy{}} {
		kind := reflect.TypeOf(policy)
		for i := range kind.NumField() {
			if kind.Field(i).Type != reflect.TypeFor[time.Duration]() {
				continue
			}
			for _, d := range []time.Duration{largest, largest - 1, largest/2 + 1, largest / 2, 1, 12} {
				bubble(t, fmt.Sprint(kind.Name(), ".", kind.Field(i).Name, " ", d), func(t *testing.T) {
					changed := reflect.New(kind).Elem()
					changed.Set(reflect.ValueOf(policy))
					changed.Field(i).SetInt(int64(d))
					base := newHosts(gives(200, asJSON, goodJSON))
					rt, err := New(steady(), WithBase(base), WithEndpoints(at("a")...), WithBackup(at("b")...), option(changed.Interface()))
					if err != nil {
						return
					}
					defer rt.Close()
					for n, do := range []handler{gives(200, asJSON, goodJSON), gives(429, asJSON, "{}"), failing503, refusing, refusing, refusing, refusing, refusing, refusing} {
						base.Set("a", do)
						if got := asks(t.Context(), rt, question(n)); got.body != goodJSON {
							t.Errorf("call %d got %v", n, got)
						}
					}
				})
			}
		}
	}
}
