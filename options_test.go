package breakwater

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestNewRefusesNonsense(t *testing.T) {
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
func TestOddEndpoints(t *testing.T) {
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
			{URL: "https://a", Account: "x", Limits: map[string]RatePolicy{"": {InFlight: 1}}}, {URL: "https://b", Account: "x", Limits: map[string]RatePolicy{"": {InFlight: 1}}},
		}, ""},
	} {
		rt, err := New(WithEndpoints(tt.endpoints...))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: New = %v, want %q", tt.name, err, tt.want)
		}
		if err == nil && rt.tiers[0][0].base.Hostname() == "" {
			t.Errorf("%s: the endpoint has no base", tt.name)
		}
	}
	if _, err := New(WithBreaker(BreakerPolicy{Consecutive: longestRow + 1})); err == nil {
		t.Error("New took a row that no circuit can count")
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
func TestOffMeansNone(t *testing.T) {
	rt, err := New(
		WithRetry(RetryPolicy{Attempts: Off, MinDelay: Off, MaxDelay: Off, Patience: Off, MaxRetryAfter: Off, Budget: Off, MaxReplay: Off}),
		WithStream(StreamPolicy{FirstToken: Off, Thinking: Off, Queued: Off, Stall: Off, Hedge: Off, Rescue: RescueOff, MaxBuffer: Off}),
		WithCache(CachePolicy{TTL: Off, StaleWhileRevalidate: Off, MaxEntries: Off, MaxBytes: Off, MaxEntryBytes: Off}),
		WithBreaker(BreakerPolicy{FailureRate: Off, MinRequests: Off, Consecutive: Off, Window: Off, OpenFor: Off, MaxOpenFor: Off}),
		WithRateLimit(RatePolicy{PerSecond: Off, TokensPerMinute: Off, InFlight: Off, MaxWait: Off}),
		WithBalance(BalancePolicy{Affinity: Off, Ramp: Off}),
	)
	if err != nil {
		t.Fatal(err)
	}
	c := rt.config
	for _, tt := range []struct{ got, want any }{
		{c.retry, RetryPolicy{Attempts: 1}},
		{c.stream, StreamPolicy{Rescue: RescueOff}},
		{*c.cache, CachePolicy{StaleIfError: time.Hour}}, // with that Off too, nothing would ever be served
		{c.breaker, BreakerPolicy{Probes: 1}},
		{c.rate, RatePolicy{Burst: 1}},
		{c.balance, BalancePolicy{Overload: 1.25}},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("Off resolved to %+v, want %+v", tt.got, tt.want)
		}
	}
	if !c.breaker.off() || !c.rate.off() {
		t.Errorf("breaker.off() = %v, rate.off() = %v, want both", c.breaker.off(), c.rate.off())
	}
}

// Policies and endpoints are copied: what the caller does to its own later
// changes nothing.
func TestOptionsAreCopied(t *testing.T) {
	models := map[string]string{"a": "b"}
	header := http.Header{"X-Team": {"1"}}
	rt, err := New(WithEndpoints(Endpoint{Name: "e", URL: "https://x", Models: models, Header: header}))
	if err != nil {
		t.Fatal(err)
	}
	models["a"] = "c"
	header.Set("X-Team", "2")
	e := rt.tiers[0][0]
	if e.Models["a"] != "b" || e.Header.Get("X-Team") != "1" {
		t.Errorf("endpoint changed with its caller's maps: %v, %v", e.Models, e.Header)
	}
}

func TestNoPrintableFormShowsAKey(t *testing.T) {
	e := Endpoint{Name: "e", URL: "https://user:secret@x.example/v1?key=secret", APIKey: "secret", Header: http.Header{"X-Key": {"secret"}}}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "endpoint", e, "pointer", &e)
	dump, err := json.Marshal(map[string]any{"e": e, "p": &e})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(e), fmt.Sprint(&e), fmt.Sprintf("%v %+v %#v %s %q %x %d", e, e, e, e, e, e, e),
		fmt.Sprintf("%+v %#v", []Endpoint{e}, struct{ E Endpoint }{e}), e.String(), e.GoString(), log.String(), string(dump),
	} {
		if strings.Contains(text, "secret") || strings.Contains(text, fmt.Sprintf("%x", "secret")) {
			t.Errorf("a key shows in %q", text)
		}
	}
}
