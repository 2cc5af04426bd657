package prombreakwater

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// ask makes one call and reports whether its caller got a good answer.
func ask(t *testing.T, rt http.RoundTripper, url, prompt string, stream bool) bool {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := kit.ChatRequest(ctx, url, "sk-caller", "deepseek-chat", prompt, stream)
	if err != nil {
		t.Error(err)
		return false
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return false
	}
	reply, err := kit.ReadAnswer(resp)
	return err == nil && resp.StatusCode == http.StatusOK && reply.Content != ""
}

// Callers who name ten thousand models, hosts and endpoints make few series, and nothing is
// lost from the sums.
func TestCollector_NamesAreBounded(t *testing.T) {
	c := New()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	const attack = 10_000
	classes := []breakwater.Class{
		breakwater.ClassOK, breakwater.ClassUnavailable, breakwater.ClassRateLimited, breakwater.ClassTruncated, breakwater.ClassStalled,
		breakwater.ClassCanceled, breakwater.ClassRefused, breakwater.ClassCircuitOpen, breakwater.ClassLimited,
	}
	for n := range attack {
		e := breakwater.Event{Endpoint: fmt.Sprint("host-", n%1000), Model: fmt.Sprint("model-", n), Attempt: 1, Elapsed: time.Second, FirstToken: time.Second,
			Class: classes[n%len(classes)], Usage: breakwater.Usage{PromptTokens: 3}}
		if e.Class != breakwater.ClassOK {
			e.Fault = breakwater.FaultHost
		}
		e.Outcome = breakwater.Outcome(e.Class)
		for _, e.Kind = range []breakwater.Kind{
			breakwater.KindAttempt, breakwater.KindEnd, breakwater.KindWait, breakwater.KindHedge, breakwater.KindRescue, breakwater.KindBreak,
			breakwater.KindPause, breakwater.KindCircuit, breakwater.KindKey, breakwater.KindDrift, breakwater.KindBudget,
		} {
			c.Observe(t.Context(), e)
		}
	}
	for _, p := range problems(t, registry) {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	got := gather(t, registry)
	if n := got.series(); n > 2000 {
		t.Errorf("%d series, want at most 2000", n)
	}
	if n := got.sum("breakwater_attempts_total", ""); n != attack {
		t.Errorf("%v attempts are counted, want %d", n, attack)
	}
	if n := got.sum("breakwater_tokens_total", `type="prompt"`); n != 3*attack {
		t.Errorf("%v tokens are counted, want %d", n, 3*attack)
	}
}

// Names that hosts refuse take no place from those that they serve.
func TestCollector_RefusedNamesTakeNoPlace(t *testing.T) {
	c := New()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	for n := range 1000 {
		c.Observe(t.Context(), breakwater.Event{Kind: breakwater.KindAttempt, Endpoint: "a", Model: fmt.Sprint("typo-", n), Attempt: 1, Class: breakwater.ClassNoModel, Fault: breakwater.FaultCaller})
	}
	c.Observe(t.Context(), breakwater.Event{Kind: breakwater.KindAttempt, Endpoint: "a", Model: "real", Attempt: 1, Class: breakwater.ClassOK})
	if got := gather(t, registry); got.sum("breakwater_attempts_total", `model="real"`) != 1 || got.sum("breakwater_attempts_total", `model="other"`) != 1000 {
		t.Errorf("got %v", got)
	}
}

// A native histogram that has too many buckets gets wider ones. It does not begin anew, which
// would lose counts, also those of the classic one.
func TestCollector_HistogramsKeepTheirCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		registry := prometheus.NewRegistry()
		registry.MustRegister(c)
		wait := time.Microsecond
		for range 300 { // each falls in a bucket of its own
			c.Observe(t.Context(), breakwater.Event{Kind: breakwater.KindWait, Endpoint: "a", Wait: wait})
			wait += wait/10 + 1
			time.Sleep(time.Minute)
		}
		if got := gather(t, registry); got.sum("breakwater_attempt_wait_seconds", "") != 300 {
			t.Errorf("got %v", got)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			h := f.GetMetric()[0].GetHistogram()
			if f.GetName() == "breakwater_attempt_wait_seconds" && (len(h.GetBucket()) == 0 || len(h.GetPositiveSpan()) == 0 || len(h.GetPositiveDelta()) > 150) {
				t.Errorf("%d classic buckets, %d native ones", len(h.GetBucket()), len(h.GetPositiveDelta()))
			}
		}
	})
}

// problems returns what promtool check metrics would say.
func problems(t *testing.T, g prometheus.Gatherer) []promlint.Problem {
	t.Helper()
	problems, err := testutil.GatherAndLint(g)
	if err != nil {
		t.Fatal(err)
	}
	return problems
}

// gathered are samples by their names and labels, as name{a="b",…}.
type gathered map[string]float64

func gather(t *testing.T, g prometheus.Gatherer) gathered {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(gathered)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			id := f.GetName() + "{" + strings.Join(labels, ",") + "}"
			switch {
			case m.GetCounter() != nil:
				all[id] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				all[id] = m.GetGauge().GetValue()
			default:
				all[id] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return all
}

// sum adds up the samples of a metric that have a label.
func (g gathered) sum(name, label string) (sum float64) {
	for id, v := range g {
		if strings.HasPrefix(id, name+"{") && strings.Contains(id, label) {
			sum += v
		}
	}
	return sum
}

// series is how many series a server keeps of these: each classic histogram has its
// buckets, a sum and a count.
func (g gathered) series() (n int) {
	for id := range g {
		if n++; strings.Contains(id, "_seconds{") && !strings.Contains(id, "paused_seconds") {
			n += len(buckets) + 2
		}
	}
	return n
}

func BenchmarkObserve(b *testing.B) {
	c := New()
	attempt := breakwater.Event{Kind: breakwater.KindAttempt, Endpoint: "a", Model: "m", Attempt: 1, Class: breakwater.ClassOK, Elapsed: time.Second, Usage: breakwater.Usage{PromptTokens: 9, CompletionTokens: 9, TotalTokens: 18}}
	end := breakwater.Event{Kind: breakwater.KindEnd, Endpoint: "a", Model: "m", Attempt: 1, Class: breakwater.ClassOK, Outcome: breakwater.OutcomeOK, Elapsed: time.Second, FirstToken: time.Second, Bytes: 2048}
	b.ReportAllocs()
	for b.Loop() {
		c.Observe(context.Background(), attempt)
		c.Observe(context.Background(), end)
	}
}

// What probes have found is a gauge for each finding, and the balance in its currency. Of two
// Transports the worse one counts.
func TestCollector_Health(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := func(balance string, models string) *breakwater.Transport {
			rt, err := breakwater.New(breakwater.WithEndpoints(breakwater.DeepSeek("sk-1")), breakwater.WithProbes(breakwater.ProbePolicy{}),
				breakwater.WithBase(breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					body := models
					if req.URL.Path == "/user/balance" {
						body = `{"is_available":true,"balance_infos":[{"currency":"CNY","total_balance":"` + balance + `"}]}`
					}
					return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
				})))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { rt.Close() })
			return rt
		}
		c, registry := New(), prometheus.NewPedanticRegistry()
		registry.MustRegister(c)
		c.Watch(transport("100.00", `{"data":[{"id":"x"}]}`))
		c.Watch(transport("20.50", `no list`))
		time.Sleep(2 * time.Minute)
		got := gather(t, registry)
		for name, want := range map[string]float64{
			`breakwater_endpoint_health{endpoint="deepseek",finding="reachable"}`:  1,
			`breakwater_endpoint_health{endpoint="deepseek",finding="credential"}`: 1,
			`breakwater_endpoint_health{endpoint="deepseek",finding="funds"}`:      1,
			`breakwater_endpoint_health{endpoint="deepseek",finding="models"}`:     1,
			`breakwater_account_balance{currency="CNY",endpoint="deepseek"}`:       20.5,
		} {
			if value, ok := got[name]; !ok || value != want {
				t.Errorf("%s is %v, %v, want %v, of %v", name, value, ok, want, got)
			}
		}
		if problems := problems(t, registry); len(problems) > 0 {
			t.Errorf("promtool would say %v", problems)
		}
	})
}

// A tenant's use of the day is a gauge for each of those that Status has, added up over
// Transports, and so is the share of an endpoint in half-trouble.
func TestCollector_TenantsAndShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const answer = `{"id":"1","object":"chat.completion","model":"deepseek-chat","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":400,"completion_tokens":100,"total_tokens":500}}`
		n := 0
		base := breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			status, body := 200, answer
			if n++; req.URL.Host == "a" && n%3 == 0 {
				status, body = 429, `{"error":{"message":"slow down"}}`
			}
			return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
		})
		price := map[string]breakwater.Price{"": {Input: 1, Output: 10, Currency: "CNY"}}
		c, registry := New(), prometheus.NewPedanticRegistry()
		registry.MustRegister(c)
		for range 2 {
			rt, err := breakwater.New(breakwater.WithBase(base), breakwater.WithTenants(breakwater.TenantPolicy{Default: breakwater.TenantLimits{TokensPerDay: 1e9}}),
				breakwater.WithEndpoints(breakwater.Endpoint{Name: "a", URL: "https://a", APIKey: "sk-1", Price: price}),
				breakwater.WithBackup(breakwater.Endpoint{Name: "b", URL: "https://b", APIKey: "sk-2", Price: price}), breakwater.WithBalance(breakwater.BalancePolicy{Shift: 0.9}))
			if err != nil {
				t.Fatal(err)
			}
			defer rt.Close()
			c.Watch(rt)
			for i := range 300 {
				ctx := breakwater.WithCall(t.Context(), breakwater.Call{Tenant: fmt.Sprint("t", i%3)})
				req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://a/chat/completions", strings.NewReader(`{"model":"deepseek-chat","messages":[{"role":"user","content":"hi"}]}`))
				if resp, err := rt.RoundTrip(req); err != nil || resp.StatusCode != 200 {
					t.Fatal(resp, err)
				} else {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				time.Sleep(500 * time.Millisecond)
			}
		}
		got := gather(t, registry)
		for _, tenant := range []string{"t0", "t1", "t2"} {
			if tokens := got[`breakwater_tenant_day_tokens{tenant="`+tenant+`"}`]; tokens != 2*100*500 {
				t.Errorf("%s has used %v tokens, want 100000", tenant, tokens)
			}
			if cost := got[`breakwater_tenant_day_cost{currency="CNY",tenant="`+tenant+`"}`]; math.Abs(cost-2*100*(400*1+100*10)/1e6) > 1e-9 {
				t.Errorf("%s has cost %v, want 0.28", tenant, cost)
			}
		}
		least := math.Inf(1)
		for name, value := range got {
			if strings.HasPrefix(name, `breakwater_endpoint_share{endpoint="a"`) {
				least = min(least, value)
			}
		}
		if least < 0.05 || least >= 1 {
			t.Errorf("a keeps %v of first attempts, want less than all, of %v", least, got)
		}
		if problems := problems(t, registry); len(problems) > 0 {
			t.Errorf("promtool would say %v", problems)
		}
	})
}
