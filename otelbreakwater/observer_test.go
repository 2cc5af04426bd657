package otelbreakwater

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// seen are an observer and the spans and metrics that it made.
type seen struct {
	*observer
	exporter *tracetest.InMemoryExporter
	reader   *metric.ManualReader
	tracers  *trace.TracerProvider
}

func watch(opts ...Option) *seen {
	s := &seen{exporter: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader()}
	s.tracers = trace.NewTracerProvider(trace.WithSyncer(s.exporter))
	s.observer = newObserver(append([]Option{WithTracerProvider(s.tracers), WithMeterProvider(metric.NewMeterProvider(metric.WithReader(s.reader)))}, opts...)...)
	return s
}

// spans returns the spans whose names begin so, in the order of their ends.
func (s *seen) spans(prefix string) (all tracetest.SpanStubs) {
	for _, span := range s.exporter.GetSpans() {
		if strings.HasPrefix(span.Name, prefix) {
			all = append(all, span)
		}
	}
	return all
}

// A point is a count, or the count and the sum of a histogram.
type point struct {
	name  string
	attrs attribute.Set
	count int64
	sum   float64
}

func (s *seen) points(t *testing.T) (all []point) {
	t.Helper()
	var got metricdata.ResourceMetrics
	if err := s.reader.Collect(context.Background(), &got); err != nil {
		t.Fatal(err)
	}
	for _, of := range got.ScopeMetrics {
		for _, m := range of.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					all = append(all, point{m.Name, p.Attributes, p.Value, float64(p.Value)})
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					all = append(all, point{m.Name, p.Attributes, int64(p.Count), p.Sum})
				}
			case metricdata.Histogram[int64]:
				for _, p := range data.DataPoints {
					all = append(all, point{m.Name, p.Attributes, int64(p.Count), float64(p.Sum)})
				}
			default:
				t.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	return all
}

// total adds up the points of a metric that have all of some attributes, given as key=value.
func total(points []point, name string, attrs ...string) (count int64, sum float64) {
	for _, p := range points {
		if p.name == name && hasAll(p.attrs.ToSlice(), attrs) {
			count += p.count
			sum += p.sum
		}
	}
	return count, sum
}

func hasAll(attrs []attribute.KeyValue, want []string) bool {
	for _, w := range want {
		found := false
		for _, a := range attrs {
			found = found || string(a.Key)+"="+a.Value.String() == w
		}
		if !found {
			return false
		}
	}
	return true
}

// of returns the value of an attribute of a span; "" if it has none.
func of(span tracetest.SpanStub, key string) string {
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

// two are a primary host and its backup, in memory, and a Transport over them.
type two struct {
	fleet *kit.Fleet
	rt    *breakwater.Transport
	url   string
}

func hosts(t *testing.T, s *seen, opts ...breakwater.Option) *two {
	return hostsOver(t, s, func(base http.RoundTripper) http.RoundTripper { return base }, opts...)
}

func hostsOver(t *testing.T, s *seen, wrap func(http.RoundTripper) http.RoundTripper, opts ...breakwater.Option) *two {
	t.Helper()
	fleet, err := kit.NewPipeFleet(kit.DeepSeek("primary"), kit.DeepSeek("backup"))
	if err != nil {
		t.Fatal(err)
	}
	base := fleet.Transport()
	url := fleet.Server("primary").URL()
	rt, err := breakwater.New(append([]breakwater.Option{breakwater.WithBase(wrap(base)), breakwater.WithObserver(s.observe),
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "primary", URL: url, APIKey: "sk-1-key-mark", Host: breakwater.HostDeepSeek}),
		breakwater.WithBackup(breakwater.Endpoint{Name: "backup", URL: fleet.Server("backup").URL(), APIKey: "sk-2-key-mark", Host: breakwater.HostDeepSeek}),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		rt.Close()
		base.CloseIdleConnections()
		fleet.Close()
	})
	return &two{fleet, rt, url}
}

// ask makes one call and reports whether its caller got a good answer, and how many bytes.
func (h *two) ask(t *testing.T, ctx context.Context, prompt string, stream bool) (good bool, bytes int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := kit.ChatRequest(ctx, h.url, "sk-caller-key-mark", "deepseek-chat", prompt, stream)
	if err != nil {
		t.Error(err)
		return false, 0
	}
	resp, err := h.rt.RoundTrip(req)
	if err != nil {
		return false, 0
	}
	body := &counted{ReadCloser: resp.Body}
	resp.Body = body
	reply, err := kit.ReadAnswer(resp)
	return err == nil && resp.StatusCode == http.StatusOK && reply.Content != "", body.n
}

// An answer is what a caller got, and the last event of its call.
type answer struct {
	good bool
	read int64
	end  breakwater.Event
}

// answerKey is the key of the *answer in a call's context.
type answerKey struct{}

type counted struct {
	io.ReadCloser
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	return n, err
}

// A ledger is what another Observer counts.
type ledger struct {
	mu                               sync.Mutex
	calls, answered, sent, unsent    int64
	bytes, callTokens, attemptTokens int64
	faults                           map[breakwater.Fault]int64
	outcomes                         map[breakwater.Outcome]int64
	attempts                         map[breakwater.Class]int64
	events                           map[breakwater.Kind]int64
	elapsed                          time.Duration
	streamed                         int64
}

func newLedger() *ledger {
	return &ledger{faults: map[breakwater.Fault]int64{}, outcomes: map[breakwater.Outcome]int64{}, attempts: map[breakwater.Class]int64{}, events: map[breakwater.Kind]int64{}}
}

func (l *ledger) observe(ctx context.Context, e breakwater.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events[e.Kind]++
	switch e.Kind {
	case breakwater.KindEnd:
		if got, ok := ctx.Value(answerKey{}).(*answer); ok {
			got.end = e
		}
		l.calls++
		if e.Fault == "" {
			l.answered++
		}
		if e.Stream && e.FirstToken > 0 {
			l.streamed++
		}
		l.faults[e.Fault]++
		l.outcomes[e.Outcome]++
		if e.Fault == "" {
			l.bytes += e.Bytes
		}
		l.elapsed += e.Elapsed
		l.callTokens += int64(e.Usage.PromptTokens + e.Usage.CompletionTokens)
	case breakwater.KindAttempt:
		l.attemptTokens += int64(e.Usage.PromptTokens + e.Usage.CompletionTokens)
		if e.Attempt > 0 {
			l.sent++
			l.attempts[e.Class]++
		} else {
			l.unsent++
		}
	}
}

// Ten thousand calls at hosts that fail in every way the kit knows: spans and metrics agree with
// what the callers saw, with what the Transport counted, and with what another Observer heard.
func TestObserver_AgreesWithCallers(t *testing.T) {
	cached := breakwater.WithCache(breakwater.CachePolicy{TTL: 1500 * time.Millisecond, StaleWhileRevalidate: time.Minute})
	t.Run("cached", func(t *testing.T) { agreesWithCallers(t, true, cached) })
	t.Run("not cached", func(t *testing.T) { agreesWithCallers(t, false) })
}

func agreesWithCallers(t *testing.T, cached bool, opts ...breakwater.Option) {
	const callers = 20
	calls := 10_000 / callers
	if testing.Short() {
		calls = 50
	}
	synctest.Test(t, func(t *testing.T) {
		s, other := watch(), newLedger()
		h := hosts(t, s, append(opts, breakwater.WithObserver(other.observe),
			breakwater.WithStream(breakwater.StreamPolicy{Hedge: 3 * time.Second, HedgeBackup: true, Rescue: breakwater.RescueContinue}))...)
		done := make(chan struct{})
		var changes sync.WaitGroup
		changes.Go(func() { // another fault each ten seconds, sometimes at both
			faults := kit.Faults()
			for n := 0; ; n++ {
				for i, name := range []string{"primary", "backup"} {
					if n%4 == i || n%4 == 3 {
						h.fleet.Server(name).Break(faults[n%len(faults)])
					} else {
						h.fleet.Server(name).Heal()
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
		var answered, failed, bytes int64
		var answers []*answer
		var all sync.WaitGroup
		for c := range callers {
			all.Go(func() {
				for n := range calls {
					got := new(answer)
					good, read := h.ask(t, context.WithValue(t.Context(), answerKey{}, got), fmt.Sprint(c/2, n/3), n%2 == 0)
					mu.Lock()
					got.good, got.read = good, read
					answers = append(answers, got)
					if good {
						bytes += read
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
		h.rt.Close()
		synctest.Wait()

		agrees := func(what string, got, want int64) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %d, want %d", what, got, want)
			}
		}
		status := h.rt.Status() // may find that a circuit's time is over
		spans, points := s.spans("chat deepseek"), s.points(t)
		agrees("calls", int64(len(spans)), answered+failed)
		var good, callBytes, allBytes, callTokens int64
		outcomes, faults := make(map[breakwater.Outcome]int64), make(map[breakwater.Fault]int64)
		byCall := make(map[string]tracetest.SpanStub)
		for _, span := range spans {
			isError := span.Status.Code == codes.Error
			if !isError {
				good++
				callBytes += number(span, attrBytes)
			}
			allBytes += number(span, attrBytes)
			if isError != (of(span, attrErrorType) != "") || isError && of(span, attrErrorType) != of(span, attrOutcome) {
				t.Errorf("a span has the status %v and the error %q", span.Status, of(span, attrErrorType))
			}
			outcomes[breakwater.Outcome(of(span, attrOutcome))]++
			faults[breakwater.Fault(of(span, attrFault))]++
			callTokens += number(span, attrInputTokens) + number(span, attrOutputTokens)
			byCall[of(span, attrCall)] = span
			agrees("dropped", int64(span.DroppedAttributes+span.DroppedEvents)+number(span, attrDropped), 0)
		}
		for _, got := range answers {
			if got.good != (got.end.Fault == "") {
				t.Errorf("a caller read %d bytes, a good answer: %v, of the call that ended as %+v", got.read, got.good, got.end)
			}
		}
		agrees("answered, by spans", good, answered)
		agrees("bytes, by spans", callBytes, bytes)
		agrees("bytes, by another Observer", other.bytes, bytes)
		agrees("tokens of calls, by spans", callTokens, other.callTokens)
		for o, n := range status.Outcomes {
			agrees("outcome "+string(o)+", by spans", outcomes[o], n)
			count, _ := total(points, "breakwater.calls", attrOutcome+"="+string(o))
			agrees("outcome "+string(o)+", by metrics", count, n)
		}
		for f, n := range other.faults {
			agrees("fault "+string(f)+", by spans", faults[f], n)
			count, _ := total(points, "breakwater.calls", attrFault+"="+faultOf(f))
			agrees("fault "+string(f)+", by metrics", count, n)
		}

		attempts, attemptTokens := s.spans("attempt "), int64(0)
		classes := make(map[breakwater.Class]int64)
		children, renewals := 0, 0
		for _, span := range attempts {
			classes[breakwater.Class(of(span, attrClass))]++
			attemptTokens += number(span, attrInput) + number(span, attrOutput)
			parent, ok := byCall[of(span, attrCall)]
			switch {
			case ok && span.Parent.Equal(parent.SpanContext):
				children++
			case !ok && of(span, attrRenewal) == "true":
				renewals++
			default:
				t.Errorf("attempt %v has the parent %v", span.Attributes, span.Parent)
			}
			if ok && span.StartTime.Before(parent.StartTime) {
				t.Errorf("an attempt begins %v before its call", parent.StartTime.Sub(span.StartTime))
			}
		}
		agrees("attempts, by spans", int64(len(attempts)), status.Attempts)
		agrees("attempts, by another Observer", other.sent, status.Attempts)
		agrees("tokens of attempts, by spans", attemptTokens, other.attemptTokens)
		for class, n := range other.attempts {
			agrees("class "+string(class)+", by spans", classes[class], n)
			count, _ := total(points, "breakwater.attempts", attrClass+"="+string(class), attrSent+"=true")
			agrees("class "+string(class)+", by metrics", count, n)
		}
		count, sum := total(points, metricDuration)
		agrees("durations", count, other.calls)
		if want := other.elapsed.Seconds(); sum < want*.999999 || sum > want*1.000001 {
			t.Errorf("durations sum up to %v, want %v", sum, want)
		}
		count, _ = total(points, metricFirstChunk)
		agrees("first chunks", count, other.streamed)
		_, sum = total(points, metricTokens)
		agrees("tokens, by metrics", int64(sum), other.attemptTokens)
		count, _ = total(points, "breakwater.call.bytes")
		agrees("bytes, by metrics", count, allBytes)
		count, _ = total(points, "breakwater.attempts", attrSent+"=false")
		agrees("attempts that were not sent", count, other.unsent)
		for _, kind := range []breakwater.Kind{breakwater.KindHedge, breakwater.KindRescue, breakwater.KindBreak, breakwater.KindPause, breakwater.KindCircuit, breakwater.KindKey, breakwater.KindDrift, breakwater.KindBudget} {
			count, _ = total(points, "breakwater.events", attrEvent+"="+string(kind))
			agrees(string(kind)+", by metrics", count, other.events[kind])
		}
		count, _ = total(points, "breakwater.spans.dropped")
		agrees("dropped events", count, 0)
		agrees("calls that are still kept", int64(len(s.book.kept)+s.book.events), 0)
		t.Logf("%d calls, %d failed, %d attempts, %d of renewals; %v; %v", answered+failed, failed, len(attempts), renewals, other.outcomes, other.events)
		if !testing.Short() && (children == 0 || failed == 0 || answered == 0 || cached && (renewals == 0 || other.outcomes[breakwater.OutcomeCollapsed] == 0) ||
			!cached && (other.events[breakwater.KindRescue] == 0 || other.events[breakwater.KindHedge] == 0)) {
			t.Error("the campaign is too kind")
		}
	})
}
