package observers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/outage"
	"github.com/breakwater-go/breakwater/otelbreakwater"
	"github.com/breakwater-go/breakwater/prombreakwater"
	"github.com/breakwater-go/breakwater/slo"
	"github.com/breakwater-go/breakwater/statuspage"
)

// all are the observers that breakwater has.
type all struct {
	log      *bytes.Buffer
	registry *prometheus.Registry
	prom     *prombreakwater.Collector
	spans    *tracetest.InMemoryExporter
	reader   *metric.ManualReader
	tracker  *slo.Tracker
	page     *statuspage.Page
	minutes  map[time.Time]ends // of the page, which keeps an hour of them
	observe  []breakwater.Option
}

func newAll(t *testing.T) *all {
	t.Helper()
	tracker, err := slo.New(slo.Objectives{})
	if err != nil {
		t.Fatal(err)
	}
	a := &all{log: new(bytes.Buffer), registry: prometheus.NewPedanticRegistry(), prom: prombreakwater.New(),
		spans: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader(), tracker: tracker, page: statuspage.New(), minutes: make(map[time.Time]ends)}
	a.registry.MustRegister(a.prom)
	otel := otelbreakwater.Observer(otelbreakwater.WithTracerProvider(trace.NewTracerProvider(trace.WithSyncer(a.spans))),
		otelbreakwater.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(a.reader))))
	log := breakwater.Log(slog.New(slog.NewJSONHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, o := range []breakwater.Observer{log, a.prom.Observe, otel, a.tracker.Observe, a.page.Observe} {
		a.observe = append(a.observe, breakwater.WithObserver(o))
	}
	return a
}

func (a *all) watch(rt *breakwater.Transport) {
	a.prom.Watch(rt)
	a.page.Watch(rt, a.tracker)
}

// Ten thousand calls at hosts that fail in every way the kit knows: the log, Prometheus,
// OpenTelemetry, the tracker and the page say of them what their callers saw, what the hosts
// received, and what Status counted.
func TestObserversAgree(t *testing.T) {
	healing := breakwater.WithStream(breakwater.StreamPolicy{Hedge: 3 * time.Second, HedgeBackup: true, Rescue: breakwater.RescueContinue})
	met := make(map[string]int)
	t.Run("cached", func(t *testing.T) {
		b := agree(t, healing, breakwater.WithCache(breakwater.CachePolicy{TTL: 20 * time.Second, StaleWhileRevalidate: time.Minute}))
		met = b.Met
		if !testing.Short() && (len(b.Renewals) == 0 || b.Status.Outcomes[breakwater.OutcomeCollapsed] == 0 || b.Status.Outcomes[breakwater.OutcomeHit] == 0) {
			t.Error("the campaign is too kind")
		}
	})
	t.Run("not cached", func(t *testing.T) {
		b := agree(t, healing)
		for fault, n := range b.Met {
			met[fault] += n
		}
		if !testing.Short() && (b.Events[breakwater.KindRescue] == 0 || b.Events[breakwater.KindHedge] == 0) {
			t.Error("the campaign is too kind")
		}
	})
	var missed []string // while circuits were open
	for _, f := range kit.Faults() {
		if met[f.Name()] == 0 {
			missed = append(missed, f.Name())
		}
	}
	if t.Logf("of %d faults, these were met by no request: %v", len(kit.Faults()), missed); len(missed) > 3 && !testing.Short() {
		t.Error("the campaign is too kind")
	}
}

func agree(t *testing.T, opts ...breakwater.Option) (b *outage.Book) {
	const callers = 50
	calls := 10_000 / callers
	if testing.Short() {
		calls = 20
	}
	synctest.Test(t, func(t *testing.T) {
		a := newAll(t)
		over := make(chan struct{})
		go func() { // somebody looks at the page now and then
			for {
				select {
				case <-over:
					return
				case <-time.After(45 * time.Minute):
					a.load(t)
				}
			}
		}()
		b = outage.Play(t, outage.Campaign{Callers: callers, Calls: calls, Watch: a.watch, Options: append(opts, a.observe...)})
		close(over)
		synctest.Wait()
		t.Logf("%d calls in %v: %v; %d attempts, %d of renewals; %v", len(b.Calls), b.Lasted, b.Status.Outcomes, b.Status.Attempts, len(b.Renewals), b.Events)
		s := sumsOf(t, b)
		book(t, b, s)
		a.theLog(t, b)
		a.prometheus(t, b, s)
		a.otel(t, b, s)
		a.trackerAndPage(t, b, s)
	})
	return b
}

func agrees[N int | int64 | uint64 | float64](t *testing.T, what string, got, want N) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// An ending is how a call ended.
type ending struct {
	outcome breakwater.Outcome
	fault   breakwater.Fault
}

// sums are what observers have to come to.
type sums struct {
	ends                              map[ending]int64
	answered                          int64
	failed, mistaken, canceled        int64
	classes                           map[breakwater.Class]int64
	faults                            map[string]int64 // of attempts
	sent                              map[string]int64
	bytes                             int64
	prompt, completion                int64 // of attempts
	cost, estimated                   int64 // of attempts, in dollars: each token costs one
	unknown                           int64 // attempts whose cost is not known
	costs                             map[string]int64
	firstTokens, firstTokensOfStreams int64
	elapsed                           time.Duration
}

func sumsOf(t *testing.T, b *outage.Book) *sums {
	s := &sums{ends: make(map[ending]int64), classes: make(map[breakwater.Class]int64), faults: make(map[string]int64), sent: make(map[string]int64), costs: make(map[string]int64)}
	for _, call := range b.Calls {
		e := call.End
		s.ends[ending{e.Outcome, e.Fault}]++
		switch {
		case e.Fault == "":
			s.answered++
		case e.Fault != breakwater.FaultCaller:
			s.failed++
		case e.Class == breakwater.ClassCanceled || e.Class == breakwater.ClassDeadline:
			s.canceled++
		default:
			s.mistaken++
		}
		s.bytes += e.Bytes
		s.elapsed += e.Elapsed
		if e.FirstToken > 0 {
			s.firstTokens++
			if e.Stream {
				s.firstTokensOfStreams++
			}
		}
	}
	for _, e := range b.Attempts() {
		s.classes[e.Class]++
		s.faults[faultOf(e.Fault)]++ // an attempt that another one outran is nobody's fault
		s.sent[e.Endpoint]++
		s.prompt += int64(e.Usage.PromptTokens)
		s.completion += int64(e.Usage.CompletionTokens)
		s.cost += int64(e.Cost.Amount)
		s.costs[e.Endpoint] += int64(e.Cost.Amount)
		if e.Cost.Estimated {
			s.estimated += int64(e.Cost.Amount)
		}
		if !e.Cost.Known {
			s.unknown++
		}
	}
	return s
}

// book compares the events with what callers saw, what hosts received and what Status counted.
func book(t *testing.T, b *outage.Book, s *sums) {
	outcomes := make(map[breakwater.Outcome]int64)
	for _, call := range b.Calls {
		e := call.End
		outcomes[e.Outcome]++
		if call.Ends != 1 {
			t.Errorf("a call has %d ends", call.Ends)
		}
		if call.Good && e.Fault != "" || !call.Good && !call.Left && e.Fault == "" {
			t.Errorf("a caller read %d bytes, a good answer: %v, of the call that ended as %+v", call.Read, call.Good, e)
		}
		kept := e.Outcome == breakwater.OutcomeHit || e.Outcome == breakwater.OutcomeStale || e.Outcome == breakwater.OutcomeCollapsed
		switch {
		case (kept || e.Fault != "") && call.Left && call.Read < e.Bytes: // kept answers and refusals are given as a whole
		case e.Fault != "" && call.Read > e.Bytes: // what says that it failed does not count
		case call.Read != e.Bytes:
			t.Errorf("a caller read %d bytes of the call that ended as %+v", call.Read, e)
		}
		begun := 0 // before its end: other calls may share what it began, and go on without it
		for _, a := range call.Attempts {
			if a.Time.Add(-a.Elapsed).Before(e.Time) {
				begun++
			}
		}
		if e.Attempt < begun || e.Attempt > len(call.Attempts)+call.Unsent { // it may have left one that was about to be sent
			t.Errorf("a call has the attempts %+v and ended as %+v", call.Attempts, e)
		}
		least, most := 0, 0 // tokens of what ended before it, and of all
		for _, a := range call.Attempts {
			n := a.Usage.PromptTokens + a.Usage.CompletionTokens
			if most += n; a.Time.Before(e.Time) {
				least += n
			}
		}
		shared := len(b.Renewals) > 0 // without a cache, no attempt outlasts its call
		if n := e.Usage.PromptTokens + e.Usage.CompletionTokens; n < least || n > most || !shared && n != most {
			t.Errorf("attempts of a call have %d to %d tokens, its end is %+v", least, most, e)
		}
		least, most = 0, 0 // the same for what they cost
		for _, a := range call.Attempts {
			n := int(a.Cost.Amount)
			if most += n; a.Time.Before(e.Time) {
				least += n
			}
		}
		if n := int(e.Cost.Amount); n < least || n > most || !shared && n != most {
			t.Errorf("attempts of a call cost %d to %d, its end is %+v", least, most, e)
		}
		if tokens := e.Usage.PromptTokens + e.Usage.CompletionTokens; e.Cost.Known && !e.Cost.Estimated && tokens != int(e.Cost.Amount) {
			t.Errorf("a call of %d tokens cost %v", tokens, e.Cost)
		}
		if call.Good && e.Outcome == breakwater.OutcomeOK {
			agrees(t, "tokens that a caller was told", e.Usage.CompletionTokens, call.Reply.Usage.CompletionTokens)
		}
	}
	for o, n := range b.Status.Outcomes {
		agrees(t, "outcome "+string(o)+", by events", outcomes[o], n)
	}
	agrees(t, "calls, by Status", b.Status.Calls, int64(len(b.Calls)))
	agrees(t, "attempts, by Status", b.Status.Attempts, int64(len(b.Attempts())))
	for endpoint, n := range b.Sent {
		agrees(t, "attempts at "+endpoint+", by the base", s.sent[endpoint], n)
	}
	if s.cost == 0 || s.estimated == 0 || s.estimated == s.cost {
		t.Errorf("attempts cost %d, of which %d is estimated", s.cost, s.estimated)
	}
	status := b.Status.Cost
	agrees(t, "cost, by Status", int64(status.Amount), s.cost)
	agrees(t, "estimated cost, by Status", int64(status.Estimated), s.estimated)
	agrees(t, "unknown costs, by Status", status.Unknown, s.unknown)
	for _, e := range b.Status.Endpoints {
		agrees(t, "cost of "+e.Name+", by Status", int64(e.Cost.Amount), s.costs[e.Name])
	}
}

// theLog compares the lines of ends and attempts.
func (a *all) theLog(t *testing.T, b *outage.Book) {
	ends, attempts := 0, 0
	for line := range bytes.Lines(a.log.Bytes()) {
		var l struct {
			Msg, Call, Outcome, Fault string
			Attempt                   int
			Bytes                     int64
		}
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		switch l.Msg {
		case "breakwater: end":
			ends++
			e := b.Call(l.Call).End
			if l.Outcome != string(e.Outcome) || l.Fault != string(e.Fault) || l.Bytes != e.Bytes || l.Attempt != e.Attempt {
				t.Errorf("the log has %s of %+v", line, e)
			}
		case "breakwater: attempt":
			if l.Attempt > 0 {
				attempts++
			}
		}
	}
	agrees(t, "calls, by the log", ends, len(b.Calls))
	agrees(t, "attempts, by the log", attempts, len(b.Attempts()))
}

// prometheus compares the sums of the series.
func (a *all) prometheus(t *testing.T, b *outage.Book, s *sums) {
	check := func(want int64, name string, labels ...string) {
		t.Helper()
		agrees(t, fmt.Sprint(name, labels, ", by Prometheus"), int64(a.sum(t, name, labels...)), want)
	}
	check(int64(len(b.Calls)), "calls_total")
	check(s.answered, "calls_total", "fault=none")
	for e, n := range s.ends {
		check(n, "calls_total", "outcome="+string(e.outcome), "fault="+faultOf(e.fault))
	}
	check(int64(len(b.Calls)), "call_duration_seconds")
	check(s.firstTokens, "call_first_token_seconds")
	check(s.bytes, "call_bytes_total")
	for class, n := range s.classes {
		check(n, "attempts_total", "reason="+string(class), "sent=true")
	}
	for fault, n := range s.faults {
		check(n, "attempts_total", "fault="+fault, "sent=true")
	}
	check(b.Unsent, "attempts_total", "sent=false")
	for endpoint, n := range s.sent {
		check(n, "attempts_total", "endpoint="+endpoint, "sent=true")
		check(n, "attempt_duration_seconds", "endpoint="+endpoint)
	}
	check(s.prompt, "tokens_total", "type=prompt")
	check(s.completion, "tokens_total", "type=completion")
	check(s.cost, "cost_total", "currency=USD")
	check(s.estimated, "cost_total", "estimated=true")
	check(s.unknown, "cost_unknown_attempts_total")
	for endpoint, n := range s.costs {
		check(n, "cost_total", "endpoint="+endpoint)
	}
	for kind, name := range map[breakwater.Kind]string{
		breakwater.KindWait: "attempt_wait_seconds", breakwater.KindHedge: "hedges_total", breakwater.KindRescue: "rescues_total", breakwater.KindBreak: "breaks_total",
		breakwater.KindPause: "pauses_total", breakwater.KindCircuit: "circuit_transitions_total", breakwater.KindKey: "key_rejections_total",
		breakwater.KindDrift: "drifts_total", breakwater.KindBudget: "retry_budget_denials_total", breakwater.KindCacheError: "cache_store_errors_total",
	} {
		check(b.Events[kind], name)
	}
	c := b.Status.Cache
	for result, n := range map[string]int64{"hit": c.Hits, "stale": c.Stale, "collapsed": c.Shared, "miss": c.Misses} {
		check(n, "cache_requests_total", "result="+result)
	}
}

// sum adds up the series of a metric that have all of some labels, given as key=value. Of a histogram,
// it is the count.
func (a *all) sum(t *testing.T, name string, labels ...string) (n float64) {
	t.Helper()
	families, err := a.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "breakwater_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if hasLabels(m, labels) {
				n += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return n
}

func hasLabels(m *dto.Metric, want []string) bool {
	for _, w := range want {
		has := false
		for _, l := range m.GetLabel() {
			has = has || l.GetName()+"="+l.GetValue() == w
		}
		if !has {
			return false
		}
	}
	return true
}

func faultOf(f breakwater.Fault) string {
	if f == "" {
		return "none"
	}
	return string(f)
}

// otel compares spans call by call, and the sums of metrics.
func (a *all) otel(t *testing.T, b *outage.Book, s *sums) {
	a.otelSpans(t, b)
	points := a.points(t)
	count := func(want int64, name string, attrs ...string) {
		t.Helper()
		n, _ := points.total(name, attrs...)
		agrees(t, fmt.Sprint(name, attrs, ", by OpenTelemetry"), n, want)
	}
	count(int64(len(b.Calls)), "breakwater.calls")
	for e, n := range s.ends {
		count(n, "breakwater.calls", "breakwater.outcome="+string(e.outcome), "breakwater.fault="+faultOf(e.fault))
	}
	count(s.bytes, "breakwater.call.bytes")
	for class, n := range s.classes {
		count(n, "breakwater.attempts", "breakwater.class="+string(class), "breakwater.sent=true")
	}
	for fault, n := range s.faults {
		count(n, "breakwater.attempts", "breakwater.fault="+fault, "breakwater.sent=true")
	}
	count(b.Unsent, "breakwater.attempts", "breakwater.sent=false")
	for endpoint, n := range s.sent {
		count(n, "breakwater.attempts", "breakwater.endpoint="+endpoint, "breakwater.sent=true")
		count(n, "breakwater.attempt.duration", "breakwater.endpoint="+endpoint)
	}
	for _, kind := range []breakwater.Kind{breakwater.KindHedge, breakwater.KindRescue, breakwater.KindBreak, breakwater.KindPause, breakwater.KindCircuit, breakwater.KindKey, breakwater.KindDrift, breakwater.KindBudget, breakwater.KindCacheError} {
		count(b.Events[kind], "breakwater.events", "breakwater.event="+string(kind))
	}
	count(b.Events[breakwater.KindWait], "breakwater.attempt.wait")
	count(0, "breakwater.spans.dropped")
	count(int64(len(b.Calls)), "gen_ai.client.operation.duration")
	count(s.firstTokensOfStreams, "gen_ai.client.operation.time_to_first_chunk")
	_, seconds := points.total("gen_ai.client.operation.duration")
	if want := s.elapsed.Seconds(); seconds < want*.999999 || seconds > want*1.000001 {
		t.Errorf("durations sum up to %v, want %v", seconds, want)
	}
	_, prompt := points.total("gen_ai.client.token.usage", "gen_ai.token.type=input")
	_, completion := points.total("gen_ai.client.token.usage", "gen_ai.token.type=output")
	agrees(t, "input tokens, by OpenTelemetry", int64(prompt), s.prompt)
	agrees(t, "output tokens, by OpenTelemetry", int64(completion), s.completion)
	_, cost := points.total("breakwater.cost", "breakwater.currency=USD")
	_, estimated := points.total("breakwater.cost", "breakwater.cost.estimated=true")
	agrees(t, "cost, by OpenTelemetry", int64(cost), s.cost)
	agrees(t, "estimated cost, by OpenTelemetry", int64(estimated), s.estimated)
}

// otelSpans compares spans with the calls and attempts that they are of.
func (a *all) otelSpans(t *testing.T, b *outage.Book) {
	var attempts []tracetest.SpanStub
	calls := make(map[string]tracetest.SpanStub)
	for _, span := range a.spans.GetSpans() {
		switch name, _, _ := strings.Cut(span.Name, " "); name {
		case "chat":
			calls[text(span, "breakwater.call")] = span
			call := b.Call(text(span, "breakwater.call"))
			if call == nil {
				t.Errorf("there is no call of the span %v", span.Attributes)
				continue
			}
			e := call.End
			if isError := span.Status.Code == codes.Error; isError != (e.Fault != "") || isError != (text(span, "error.type") != "") || isError && text(span, "error.type") != string(e.Outcome) ||
				text(span, "breakwater.outcome") != string(e.Outcome) || text(span, "breakwater.fault") != string(e.Fault) || text(span, "breakwater.attempts") != fmt.Sprint(e.Attempt) ||
				text(span, "breakwater.bytes") != fmt.Sprint(e.Bytes) || number(span, "gen_ai.usage.input_tokens") != int64(e.Usage.PromptTokens) || number(span, "gen_ai.usage.output_tokens") != int64(e.Usage.CompletionTokens) || text(span, "breakwater.cost") != money(e.Cost) {
				t.Errorf("the span %v %v is of the call that ended as %+v", span.Status, span.Attributes, e)
			}
			agrees(t, "dropped", int64(span.DroppedAttributes+span.DroppedEvents)+number(span, "breakwater.dropped"), 0)
		case "attempt":
			attempts = append(attempts, span)
		}
	}
	agrees(t, "calls, by spans", len(calls), len(b.Calls))
	agrees(t, "attempts, by spans", len(attempts), len(b.Attempts()))
	renewals := 0
	of := make(map[string]int)
	for _, span := range attempts {
		id := text(span, "breakwater.call")
		parent, ok := calls[id]
		switch {
		case ok && span.Parent.Equal(parent.SpanContext):
			of[id]++
		case !ok && text(span, "breakwater.renewal") == "true":
			renewals++
		default:
			t.Errorf("attempt %v has the parent %v", span.Attributes, span.Parent)
		}
		if ok && span.StartTime.Before(parent.StartTime) {
			t.Errorf("an attempt begins %v before its call", parent.StartTime.Sub(span.StartTime))
		}
	}
	agrees(t, "attempts of renewals, by spans", renewals, len(b.Renewals))
	for id := range calls {
		agrees(t, "attempts of a call, by spans", of[id], len(b.Call(id).Attempts))
	}
}

func text(span tracetest.SpanStub, key string) string {
	for _, a := range span.Attributes {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

func number(span tracetest.SpanStub, key string) int64 {
	for _, a := range span.Attributes {
		if string(a.Key) == key {
			return a.Value.AsInt64()
		}
	}
	return 0
}

// A point is a count, or the count and the sum of a histogram.
type point struct {
	name  string
	attrs attribute.Set
	count int64
	sum   float64
}

type points []point

func (a *all) points(t *testing.T) (all points) {
	t.Helper()
	var got metricdata.ResourceMetrics
	if err := a.reader.Collect(context.Background(), &got); err != nil {
		t.Fatal(err)
	}
	for _, of := range got.ScopeMetrics {
		for _, m := range of.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					all = append(all, point{m.Name, p.Attributes, p.Value, float64(p.Value)})
				}
			case metricdata.Sum[float64]:
				for _, p := range data.DataPoints {
					all = append(all, point{m.Name, p.Attributes, 0, p.Value})
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					all = append(all, point{m.Name, p.Attributes, int64(p.Count), p.Sum})
				}
			case metricdata.Histogram[int64]:
				for _, p := range data.DataPoints {
					all = append(all, point{m.Name, p.Attributes, int64(p.Count), float64(p.Sum)})
				}
			}
		}
	}
	return all
}

// total adds up the points of a metric that have all of some attributes, given as key=value.
func (all points) total(name string, attrs ...string) (count int64, sum float64) {
next:
	for _, p := range all {
		if p.name != name {
			continue
		}
		for _, want := range attrs {
			key, value, _ := strings.Cut(want, "=")
			if got, ok := p.attrs.Value(attribute.Key(key)); !ok || got.String() != value {
				continue next
			}
		}
		count += p.count
		sum += p.sum
	}
	return count, sum
}

// ends are calls by what became of them.
type ends struct{ Answered, Failed, Mistaken, Canceled int64 }

// A snapshot is the JSON of the page, as a program reads it.
type snapshot struct {
	Hour struct {
		Minutes []struct {
			Start time.Time
			ends
		}
	} `json:"last_hour"`
	Totals struct {
		Calls, Attempts int64
		UnderWay        int64 `json:"under_way"`
		Outcomes        map[breakwater.Outcome]int64
	}
	Failures, Failovers []struct {
		ID, Outcome, Fault string
		Trail              []struct{ Attempt int }
	}
	SLO []struct {
		Windows   windows
		Endpoints []struct {
			Endpoint string
			Windows  windows
		}
	}
}

type windows []struct {
	Seconds float64
	ends
}

// load loads the page and notes its minutes.
func (a *all) load(t *testing.T) (page snapshot) {
	req := httptest.NewRequest(http.MethodGet, "/status", nil)
	req.Header.Set("Accept", "application/json")
	w := httptest.NewRecorder()
	a.page.ServeHTTP(w, req)
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
		t.Error(err)
	}
	for _, m := range page.Hour.Minutes {
		a.minutes[m.Start] = m.ends
	}
	return page
}

// trackerAndPage compares the tracker's report, and the page's JSON.
func (a *all) trackerAndPage(t *testing.T, b *outage.Book, s *sums) {
	page := a.load(t)
	var shown ends
	for _, m := range a.minutes {
		shown.Answered += m.Answered
		shown.Failed += m.Failed
	}
	agrees(t, "answered, by the page", shown.Answered, s.answered)
	agrees(t, "failed, by the page", shown.Failed, s.failed)
	agrees(t, "calls, by the page", page.Totals.Calls, int64(len(b.Calls)))
	agrees(t, "attempts, by the page", page.Totals.Attempts, int64(len(b.Attempts())))
	agrees(t, "calls under way, by the page", page.Totals.UnderWay, 0)
	for o, n := range b.Status.Outcomes {
		agrees(t, "outcome "+string(o)+", by the page", page.Totals.Outcomes[o], n)
	}
	for _, c := range append(page.Failures, page.Failovers...) {
		call := b.Call(c.ID)
		sent := 0
		for _, step := range c.Trail {
			if step.Attempt > 0 {
				sent++
			}
		}
		if call == nil || c.Outcome != string(call.End.Outcome) || c.Fault != string(call.End.Fault) || sent < call.End.Attempt || sent > len(call.Attempts)+call.Unsent {
			t.Errorf("the page has %+v of the call that ended as %+v", c, call)
		}
	}
	const hours, month = 2, 3 // the windows that hold all of it
	for _, window := range []int{hours, month} {
		agrees(t, "answered, by the tracker", page.SLO[0].Windows[window].Answered, s.answered)
		agrees(t, "failed, by the tracker", page.SLO[0].Windows[window].Failed, s.failed)
		agrees(t, "mistaken, by the tracker", page.SLO[0].Windows[window].Mistaken, s.mistaken)
		agrees(t, "canceled, by the tracker", page.SLO[0].Windows[window].Canceled, s.canceled)
		for _, e := range page.SLO[0].Endpoints {
			w := e.Windows[window]
			agrees(t, "attempts at "+e.Endpoint+", by the tracker", w.Answered+w.Failed+w.Mistaken+w.Canceled, s.sent[e.Endpoint])
		}
	}
	agrees(t, "endpoints, by the tracker", len(page.SLO[0].Endpoints), len(s.sent))
}

// money is a cost as a span has it.
func money(c breakwater.Cost) string {
	if c.Amount == 0 {
		return ""
	}
	return fmt.Sprint(c.Amount)
}
