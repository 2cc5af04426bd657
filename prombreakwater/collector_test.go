package prombreakwater

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// Ten thousand calls at hosts that fail in every way the kit knows: the metrics agree with
// what the callers saw, and with what the Transport counted.
func TestCollector_AgreesWithCallers(t *testing.T) {
	const callers = 20
	calls := 10_000 / callers
	if testing.Short() {
		calls = 50
	}
	synctest.Test(t, func(t *testing.T) {
		fleet, err := kit.NewPipeFleet(kit.DeepSeek("primary"), kit.DeepSeek("backup"))
		if err != nil {
			t.Fatal(err)
		}
		defer fleet.Close()
		base := fleet.Transport()
		defer base.CloseIdleConnections()
		metrics := New()
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(metrics)
		rt, err := breakwater.New(breakwater.WithBase(base), breakwater.WithObserver(metrics.Observe),
			breakwater.WithEndpoints(breakwater.Endpoint{Name: "primary", URL: fleet.Server("primary").URL(), APIKey: "sk-1", Host: breakwater.HostDeepSeek}),
			breakwater.WithBackup(breakwater.Endpoint{Name: "backup", URL: fleet.Server("backup").URL(), APIKey: "sk-2", Host: breakwater.HostDeepSeek}),
			breakwater.WithCache(breakwater.CachePolicy{TTL: time.Minute}))
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close()
		metrics.Watch(rt)

		done := make(chan struct{})
		var changes sync.WaitGroup
		changes.Go(func() { // another fault each ten seconds, and good times between
			faults := kit.Faults()
			for n := 0; ; n++ {
				for i, name := range []string{"primary", "backup"} {
					if n%3 == i {
						fleet.Server(name).Break(faults[n%len(faults)])
					} else {
						fleet.Server(name).Heal()
					}
				}
				select {
				case <-done:
					return
				case <-time.After(10 * time.Second):
				}
			}
		})
		var mu sync.Mutex
		var answered, failed float64
		var all sync.WaitGroup
		for c := range callers {
			all.Go(func() {
				for n := range calls {
					good := ask(t, rt, fleet.Server("primary").URL(), fmt.Sprint(c, n/3), n%2 == 0)
					mu.Lock()
					if good {
						answered++
					} else {
						failed++
					}
					mu.Unlock()
					<-time.After(time.Second)
				}
			})
		}
		all.Wait()
		close(done)
		changes.Wait()

		got := gather(t, registry)
		if a, f := got.sum("breakwater_calls_total", `fault="none"`), got.sum("breakwater_calls_total", "")-got.sum("breakwater_calls_total", `fault="none"`); a != answered || f != failed || answered == 0 || failed == 0 {
			t.Errorf("metrics have %v calls answered and %v failed, callers %v and %v", a, f, answered, failed)
		}
		s := rt.Status()
		if n := got.sum("breakwater_attempts_total", `sent="true"`); n != float64(s.Attempts) {
			t.Errorf("metrics have %v attempts, Status %d", n, s.Attempts)
		}
		if n := got.sum("breakwater_cache_requests_total", `result="hit"`); n != float64(s.Cache.Hits) || n == 0 {
			t.Errorf("metrics have %v hits, Status %d", n, s.Cache.Hits)
		}
		for _, p := range problems(t, registry) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	})
}

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
