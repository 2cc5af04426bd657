package breakwater_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater"
)

// The public face, as people build against it: this file must go on compiling
// within a major version. What is new is added to it.
var (
	_ func(...breakwater.Option) (*breakwater.Transport, error)           = breakwater.New
	_ func(...breakwater.Option) (*http.Client, error)                    = breakwater.NewClient
	_ func(http.RoundTripper, ...breakwater.Middleware) http.RoundTripper = breakwater.Chain
	_ func(context.Context, breakwater.Call) context.Context              = breakwater.WithCall
	_ func(context.Context) breakwater.Call                               = breakwater.CallOf
	_ func(*http.Response) []breakwater.Attempt                           = breakwater.TrailOf
	_ func(*http.Response) error                                          = breakwater.ErrorOf
	_ func(*slog.Logger) breakwater.Observer                              = breakwater.Log
	_ breakwater.Middleware                                               = func(next http.RoundTripper) http.RoundTripper { return next }
	_ breakwater.Observer                                                 = func(context.Context, breakwater.Event) {}
	_ http.RoundTripper                                                   = breakwater.RoundTripperFunc(nil)
	_ interface{ Attempts() []breakwater.Attempt }                        = (*breakwater.Trail)(nil)
	_ interface {
		error
		Unwrap() []error
		Timeout() bool
	} = (*breakwater.Error)(nil)
	_ interface {
		http.RoundTripper
		CloseIdleConnections()
		Status() breakwater.Status
		Ready() error
		io.Closer
	} = (*breakwater.Transport)(nil)
	_ interface {
		Named(string) breakwater.Endpoint
		URLOf(string) (string, bool)
		fmt.Stringer
		fmt.GoStringer
		fmt.Formatter
		slog.LogValuer
		MarshalJSON() ([]byte, error)
	} = breakwater.Endpoint{}

	_ = []breakwater.Option{
		breakwater.WithEndpoints(breakwater.Endpoint{}), breakwater.WithBackup(breakwater.Endpoint{}),
		breakwater.WithCache(breakwater.CachePolicy{}), breakwater.WithRateLimit(breakwater.RatePolicy{}), breakwater.WithTenants(breakwater.TenantPolicy{}), breakwater.WithBreaker(breakwater.BreakerPolicy{}),
		breakwater.WithRetry(breakwater.RetryPolicy{}), breakwater.WithStream(breakwater.StreamPolicy{}), breakwater.WithBalance(breakwater.BalancePolicy{}),
		breakwater.WithIdempotency(breakwater.IdempotencyPolicy{}),
		breakwater.WithObserver(nil), breakwater.WithErrors(), breakwater.WithStrict(), breakwater.WithMiddleware(), breakwater.WithAttemptMiddleware(), breakwater.WithBase(nil),
	}
	_ = []breakwater.Endpoint{
		breakwater.DeepSeek(""), breakwater.SiliconFlow(""), breakwater.SiliconFlowCN(""), breakwater.VolcengineArk(""), breakwater.Bailian(""), breakwater.BailianIntl(""),
		breakwater.TencentLKEAP(""), breakwater.TencentTokenHub(""), breakwater.BaiduQianfan(""), breakwater.AzureFoundry("", ""), breakwater.OpenRouter(""),
		breakwater.BailianWorkspace("", "", ""), breakwater.Bedrock("", ""), breakwater.BedrockToken("", nil), breakwater.AzureEntra("", nil), breakwater.Vertex("", "", nil), breakwater.NVIDIA(""), breakwater.Novita(""),
		breakwater.Together(""), breakwater.Fireworks(""), breakwater.Ollama(), breakwater.OllamaCloud(""), breakwater.VLLM("", ""), breakwater.SGLang("", ""),
	}
	_ = breakwater.Endpoint{
		Name: "", URL: "", APIKey: "", Account: "", Host: breakwater.HostDeepSeek, Models: map[string]string{}, Limits: map[string]breakwater.RatePolicy{},
		Price: map[string]breakwater.Price{"": {
			Input: 1, CachedInput: breakwater.Off, Output: 1, Currency: "USD", Peak: "Mon-Fri 01:00-04:00 UTC", PeakFactor: 2, Holidays: []string{"2026-10-01"}, Source: "", Checked: "",
		}},
		Header: http.Header{}, Rewrite: func(*http.Request) error { return nil }, Keyless: false, AllowPlainHTTP: false, KeyFunc: breakwater.KeyFile(""), Tags: []string{}, Region: "", Weight: 0.05, Can: []breakwater.Feature{
			breakwater.FeatureImages, breakwater.FeatureTools, breakwater.FeatureJSON, breakwater.FeatureJSONSchema, breakwater.FeaturePrefix, breakwater.FeaturePrefill,
			breakwater.FeatureReview, breakwater.FeatureServerTools, breakwater.FeatureGrammar, breakwater.FeatureFiles, breakwater.FeatureContext, breakwater.FeatureStored, breakwater.FeatureUsage,
		},
	}
	_ = breakwater.RetryPolicy{Attempts: breakwater.Off, MinDelay: time.Second, MaxDelay: time.Second, Patience: 0, MaxRetryAfter: 0, Budget: 0.2, SendOnce: true, MaxReplay: 1}
	_ = breakwater.BreakerPolicy{FailureRate: 0.5, MinRequests: 20, Window: time.Minute, Consecutive: 5, OpenFor: 0, MaxOpenFor: 0, Probes: 1, MaxWait: breakwater.Off}
	_ = breakwater.RatePolicy{PerSecond: 0.5, Burst: 1, TokensPerMinute: 1, InFlight: 1, Adaptive: true, MaxWait: time.Second, Spill: true, Fixed: true}
	_ = breakwater.SpendPolicy{PerDay: 1, PerAccount: map[string]float64{}, Zone: time.UTC, Cheaper: map[string]string{}, CheaperFrom: 0.5}
	_ = breakwater.SpendError{Account: "", Spent: 1, Max: 1, Currency: "USD", RetryAfter: 0}
	_ = []any{breakwater.WithSpend, breakwater.ErrSpent, breakwater.ClassSpent, breakwater.KindCheaper}
	_ = breakwater.TenantPolicy{
		Of: func(*http.Request) (string, breakwater.Priority) { return "", 0 }, Zone: time.UTC,
		Default: breakwater.TenantLimits{RequestsPerMinute: 1, TokensPerMinute: 1, InFlight: 1, TokensPerDay: 1, CostPerDay: 1.5, MaxWait: time.Second},
		Limits:  map[string]breakwater.TenantLimits{},
	}
	_ = []breakwater.TenantStatus{{Name: "", InFlight: 1, Waiting: 1, Calls: 1, Refused: 1, Tokens: 1, Cost: breakwater.Cost{}}}
	_ = breakwater.BalancePolicy{Affinity: 1, Overload: 1.5, Ramp: time.Second, Cheapest: true, Shift: 0.9}
	_ = breakwater.CachePolicy{
		TTL: 0, StaleIfError: 0, StaleWhileRevalidate: 0, MaxEntries: 1, MaxBytes: 1, MaxEntryBytes: 1, Deterministic: true,
		Scope: func(*http.Request) string { return "" }, Store: breakwater.Store(nil),
	}
	_ = breakwater.IdempotencyPolicy{
		TTL: 0, Linger: breakwater.Off, MaxBytes: 1, MaxEntryBytes: 1, Scope: func(*http.Request) string { return "" }, Store: breakwater.Store(nil),
	}
	_ = breakwater.StreamPolicy{
		FirstToken: 0, Thinking: 0, Queued: 0, Stall: 0, Hedge: 0, HedgeBackup: true, Rescue: breakwater.RescueContinue, ErrorFrames: true, KeepComments: true, MaxBuffer: 1,
		Repetition: 0, RequireAnswer: true, RequireFormat: true, Schema: func(schema, text []byte) error { return nil }, KeepFlawed: true,
	}
	_ = []breakwater.Rescue{breakwater.RescueContinue, breakwater.RescueRestart, breakwater.RescueOff}
	_ = breakwater.Call{NoCache: true, NoShare: true, CacheControl: "", Scope: "", IdempotencyKey: "", Endpoint: "", Attempts: 1, Trail: &breakwater.Trail{}, Tenant: "", Priority: breakwater.PriorityDefault, Endpoints: []string{}}
	_ = []breakwater.Priority{breakwater.PriorityBatch, breakwater.PriorityDefault, breakwater.PriorityInteractive}
	_ = breakwater.Attempt{
		N: 1, Endpoint: "", Model: "", Start: time.Time{}, Wait: 0, FirstToken: 0, Elapsed: 0, Status: 200, Class: breakwater.ClassOK, Verdict: breakwater.VerdictAccept,
		Bytes: 1, Usage: breakwater.Usage{PromptTokens: 1, CompletionTokens: 1, TotalTokens: 2, CachedTokens: 0, ReasoningTokens: 0}, Cost: breakwater.Cost{Amount: 1, Known: true, Estimated: true}, MayBeBilled: false, Denied: false,
		Served: "", Fingerprint: "", RequestID: "", PassedOver: breakwater.ReasonEndpoint, Unrescued: breakwater.ReasonHost, Flaw: nil, Err: nil,
	}
	_ = []breakwater.Reason{breakwater.ReasonEndpoint, breakwater.ReasonBody, breakwater.ReasonOperation, breakwater.ReasonModel, breakwater.ReasonCircuit, breakwater.ReasonPaused,
		breakwater.ReasonQuarantine, breakwater.ReasonLimit, breakwater.ReasonAccount, breakwater.ReasonSpill, breakwater.ReasonShift, breakwater.ReasonUnsuited, breakwater.Reason(breakwater.FeatureReview)}
	_ = []breakwater.Reason{
		breakwater.ReasonOff, breakwater.ReasonSendOnce, breakwater.ReasonAPI, breakwater.ReasonRequest, breakwater.ReasonHost, breakwater.ReasonContent, breakwater.ReasonThought, breakwater.ReasonRefused, breakwater.ReasonReview,
		breakwater.ReasonLength, breakwater.ReasonFlawed, breakwater.ReasonCaller, breakwater.ReasonBudget, breakwater.ReasonUnavailable, breakwater.ReasonFailed, breakwater.ReasonMismatch, breakwater.ReasonTries,
	}
	_ = []breakwater.Outcome{
		breakwater.OutcomeOK, breakwater.OutcomeRetry, breakwater.OutcomeFailover, breakwater.OutcomeHedge, breakwater.OutcomeRescued,
		breakwater.OutcomeHit, breakwater.OutcomeStale, breakwater.OutcomeCollapsed, breakwater.Outcome(breakwater.ClassUnavailable),
	}
	_ = []string{breakwater.Cost{}.Currency(), breakwater.Cost{}.String()}
	_ = []breakwater.Fault{breakwater.FaultCaller, breakwater.FaultHost, breakwater.FaultNetwork, breakwater.FaultLocal}
	_ = breakwater.Error{Attempts: nil, Class: breakwater.ClassUnavailable, Call: "", RetryAfter: 0}
	_ = breakwater.LimitError{Account: "", Model: "", Tenant: "", Limit: "in flight", InUse: 1, Max: 1, Waiting: 0, RetryAfter: 0}
	_ = breakwater.Status{Cost: breakwater.CostStatus{Amount: 1, Estimated: 0.5, Unknown: 1, Currency: "USD"}, Outcomes: map[breakwater.Outcome]int64{}, Endpoints: []breakwater.EndpointStatus{{Name: "", URL: "", Tags: []string{}, Region: "", Tier: 1}}}
	_ = []breakwater.Kind{breakwater.KindEnd, breakwater.KindPassed, breakwater.KindDrift, breakwater.KindBreak, breakwater.KindPassedOver, breakwater.KindHealth, breakwater.KindBalance}
	_ = breakwater.Event{
		Kind: breakwater.KindAttempt, Time: time.Time{}, Endpoint: "", Model: "", Attempt: 1, Status: 200, Class: breakwater.ClassOK, Verdict: breakwater.VerdictStop,
		Wait: 0, Elapsed: 0, Bytes: 0, Usage: breakwater.Usage{}, Cost: breakwater.Cost{}, Reason: breakwater.ReasonHost, From: "", To: "", Err: nil,
		Call: "", Operation: "", Stream: false, Outcome: breakwater.OutcomeOK, Fault: breakwater.FaultHost, FirstToken: 0,
		Served: "", Fingerprint: "", RequestID: "", Flaw: nil,
	}
)

// The sentinels are what errors.Is is asked for, each apart from the others.
func TestError_SentinelsDiffer(t *testing.T) {
	all := []error{breakwater.ErrCircuitOpen, breakwater.ErrRateLimited, breakwater.ErrSpent, breakwater.ErrNoFirstToken, breakwater.ErrStalled, breakwater.ErrTruncated, breakwater.ErrBadResponse, breakwater.ErrNoKey, breakwater.ErrKeyFunc, breakwater.ErrRepetition, breakwater.ErrNoAnswer, breakwater.ErrFormat}
	for i, a := range all {
		for j, b := range all {
			if got := errors.Is(a, b); got != (i == j) {
				t.Errorf("errors.Is(%v, %v) = %v", a, b, got)
			}
		}
	}
	for _, err := range []error{breakwater.ErrRepetition, breakwater.ErrNoAnswer, breakwater.ErrFormat} {
		if !errors.Is(err, breakwater.ErrFlawed) {
			t.Errorf("%v is no ErrFlawed", err)
		}
	}
	if !errors.Is(breakwater.ErrTruncated, io.ErrUnexpectedEOF) {
		t.Error("ErrTruncated is no io.ErrUnexpectedEOF")
	}
}
