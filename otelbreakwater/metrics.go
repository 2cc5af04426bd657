package otelbreakwater

import (
	"context"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/labels"
)

// metrics are the instruments, with the sets of attributes that were used before: making
// one costs more than counting.
type metrics struct {
	duration   metric.Float64Histogram
	firstChunk metric.Float64Histogram
	tokens     metric.Int64Histogram
	costs      metric.Float64Counter

	calls             metric.Int64Counter
	callBytes         metric.Int64Counter
	attempts          metric.Int64Counter
	attemptDuration   metric.Float64Histogram
	attemptFirstToken metric.Float64Histogram
	attemptWait       metric.Float64Histogram
	events            metric.Int64Counter
	dropped           metric.Int64Counter

	names       labels.Names
	providerOf  func(endpoint string) string
	durationOf  sets[genAI]
	streamOf    sets[genAI]
	tokensOf    sets[genAI]
	costOf      sets[priced]
	callOf      sets[ending]
	attemptOf   sets[attempted]
	endpointOf  sets[string]
	happeningOf sets[happening]
}

func newMetrics(m metric.Meter, providerOf func(string) string) *metrics {
	counter := func(name, unit, description string) metric.Int64Counter {
		c, err := m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		if err != nil {
			otel.Handle(err)
		}
		return c
	}
	seconds := func(name, description string, buckets []float64) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(buckets...))
		if err != nil {
			otel.Handle(err)
		}
		return h
	}
	tokens, err := m.Int64Histogram(metricTokens, metric.WithUnit("{token}"), metric.WithDescription("Number of input and output tokens used."), metric.WithExplicitBucketBoundaries(tokenBuckets...))
	if err != nil {
		otel.Handle(err)
	}
	costs, err := m.Float64Counter(metricCost, metric.WithUnit("{currency}"), metric.WithDescription("What attempts cost. Those that are estimated may be billed, and their hosts said no usage."))
	if err != nil {
		otel.Handle(err)
	}
	return &metrics{
		duration:   seconds(metricDuration, "GenAI operation duration.", durationBuckets),
		firstChunk: seconds(metricFirstChunk, "Time from the beginning of a call for a stream until its caller got the first payload.", firstChunkBuckets),
		tokens:     tokens,
		costs:      costs,

		calls:             counter("breakwater.calls", "{call}", "Calls that are over, by how they were answered or failed, and by whose fault."),
		callBytes:         counter("breakwater.call.bytes", "By", "Bytes of answers that callers got."),
		attempts:          counter("breakwater.attempts", "{attempt}", "Attempts that are over. Those that were not sent were refused by a local limit, circuit or pause."),
		attemptDuration:   seconds("breakwater.attempt.duration", "Time from the beginning of an attempt that was sent to its end.", durationBuckets),
		attemptFirstToken: seconds("breakwater.attempt.first_token", "Time from the beginning of an attempt to its first payload.", durationBuckets),
		attemptWait:       seconds("breakwater.attempt.wait", "Time that calls waited before an attempt: backoff, pauses and Retry-After.", durationBuckets),
		events:            counter("breakwater.events", "{event}", "Hedges, rescues, breaks, pauses, circuits, keys, drifts, denials of the budget, failures of the Store, unprotected origins."),
		dropped:           counter("breakwater.spans.dropped", "{event}", "Events of calls under way that are missing in spans, because too many were kept."),

		providerOf:  providerOf,
		durationOf:  sets[genAI]{most: 350},
		streamOf:    sets[genAI]{most: 150},
		tokensOf:    sets[genAI]{most: 150},
		costOf:      sets[priced]{most: 200},
		callOf:      sets[ending]{most: 100},
		attemptOf:   sets[attempted]{most: 400},
		endpointOf:  sets[string]{most: labels.MaxEndpoints + 1},
		happeningOf: sets[happening]{most: 150},
	}
}

// genAI are the attributes of the metrics of the conventions.
type genAI struct{ operation, endpoint, model, err string }

func (k genAI) folded() genAI { return genAI{k.operation, labels.Other, labels.Other, k.err} }

// An ending has the attributes of calls.
type ending struct {
	outcome breakwater.Outcome
	fault   breakwater.Fault
}

func (k ending) folded() ending { return k }

// attempted are the attributes of attempts.
type attempted struct {
	endpoint, model string
	class           breakwater.Class
	fault           breakwater.Fault
	sent            bool
}

func (k attempted) folded() attempted {
	k.endpoint, k.model = labels.Other, labels.Other
	return k
}

// priced are the attributes of costs. Currencies are the user's own.
type priced struct {
	endpoint, model, currency string
	estimated                 bool
}

func (k priced) folded() priced {
	k.endpoint, k.model = labels.Other, labels.Other
	return k
}

// A happening has the attributes of other events.
type happening struct {
	kind             breakwater.Kind
	endpoint, reason string
}

func (k happening) folded() happening { return happening{k.kind, labels.Other, labels.Other} }

// ended counts a call that is over.
func (m *metrics) ended(ctx context.Context, e breakwater.Event, endpoint string) {
	calls := m.callOf.of(ending{e.Outcome, e.Fault}, ending.folded, func(k ending) [][]attribute.KeyValue {
		return one(attribute.String(attrOutcome, string(k.outcome)), attribute.String(attrFault, faultOf(k.fault)))
	})
	m.calls.Add(ctx, 1, calls.add[0]...)
	m.callBytes.Add(ctx, max(e.Bytes, 0))
	operation := operationOf(e)
	if operation == "" {
		return
	}
	key := genAI{operation: operation}
	key.endpoint, key.model = m.names.Pair(endpoint, e.Model, e.Fault == "")
	if e.Stream && e.FirstToken > 0 {
		m.firstChunk.Record(ctx, e.FirstToken.Seconds(), m.streamOf.of(key, genAI.folded, m.genAI).record[0]...)
	}
	if e.Fault != "" {
		key.err = string(e.Outcome)
	}
	m.duration.Record(ctx, e.Elapsed.Seconds(), m.durationOf.of(key, genAI.folded, m.genAI).record[0]...)
}

// genAI returns the attributes of the conventions.
func (m *metrics) genAI(k genAI) [][]attribute.KeyValue {
	attrs := []attribute.KeyValue{attribute.String(attrOperation, k.operation), attribute.String(attrProvider, m.providerOf(k.endpoint)), attribute.String(attrRequestModel, k.model)}
	return one(addString(attrs, attrErrorType, k.err)...)
}

// genAITokens returns those of input and of output tokens.
func (m *metrics) genAITokens(k genAI) [][]attribute.KeyValue {
	attrs := m.genAI(k)[0]
	return [][]attribute.KeyValue{
		append(attrs[:len(attrs):len(attrs)], attribute.String(attrTokenType, tokenInput)),
		append(attrs[:len(attrs):len(attrs)], attribute.String(attrTokenType, tokenOutput)),
	}
}

// attempted counts an attempt that is over.
func (m *metrics) attempted(ctx context.Context, e breakwater.Event) {
	key := attempted{class: e.Class, fault: e.Fault, sent: e.Attempt > 0}
	key.endpoint, key.model = m.names.Pair(e.Endpoint, e.Model, key.sent && e.Fault != breakwater.FaultCaller)
	all := m.attemptOf.of(key, attempted.folded, func(k attempted) [][]attribute.KeyValue {
		return one(attribute.String(attrEndpoint, k.endpoint), attribute.String(attrModel, k.model), attribute.String(attrClass, string(k.class)),
			attribute.String(attrFault, faultOf(k.fault)), attribute.Bool(attrSent, k.sent))
	})
	m.attempts.Add(ctx, 1, all.add[0]...)
	if key.sent {
		of := m.endpoint(key.endpoint)
		m.attemptDuration.Record(ctx, e.Elapsed.Seconds(), of...)
		if e.FirstToken > 0 {
			m.attemptFirstToken.Record(ctx, e.FirstToken.Seconds(), of...)
		}
	}
	if e.Usage != (breakwater.Usage{}) {
		both := m.tokensOf.of(genAI{operationOf(e), key.endpoint, key.model, ""}, genAI.folded, m.genAITokens)
		m.tokens.Record(ctx, int64(max(e.Usage.PromptTokens, 0)), both.record[0]...)
		m.tokens.Record(ctx, int64(max(e.Usage.CompletionTokens, 0)), both.record[1]...)
	}
	if c := e.Cost; c.Amount > 0 {
		of := m.costOf.of(priced{key.endpoint, key.model, c.Currency(), c.Estimated}, priced.folded, func(k priced) [][]attribute.KeyValue {
			return one(attribute.String(attrEndpoint, k.endpoint), attribute.String(attrModel, k.model), attribute.String(attrCurrency, k.currency), attribute.Bool(attrEstimated, k.estimated))
		})
		m.costs.Add(ctx, c.Amount, of.add[0]...)
	}
}

// waited counts a wait before an attempt.
func (m *metrics) waited(ctx context.Context, e breakwater.Event) {
	m.attemptWait.Record(ctx, e.Wait.Seconds(), m.endpoint(m.names.Endpoint(e.Endpoint))...)
}

// endpoint returns the attributes of an endpoint. Its name is bounded.
func (m *metrics) endpoint(name string) []metric.RecordOption {
	return m.endpointOf.of(name, func(string) string { return labels.Other }, func(name string) [][]attribute.KeyValue {
		return one(attribute.String(attrEndpoint, name))
	}).record[0]
}

// happened counts any other event.
func (m *metrics) happened(ctx context.Context, e breakwater.Event, reason string) {
	endpoint := ""
	if e.Endpoint != "" {
		endpoint = m.names.Endpoint(e.Endpoint)
	}
	all := m.happeningOf.of(happening{e.Kind, endpoint, reason}, happening.folded, func(k happening) [][]attribute.KeyValue {
		attrs := addString([]attribute.KeyValue{attribute.String(attrEvent, string(k.kind))}, attrEndpoint, k.endpoint)
		return one(addString(attrs, attrReason, k.reason)...)
	})
	m.events.Add(ctx, 1, all.add[0]...)
}

func faultOf(f breakwater.Fault) string {
	if f == "" {
		return "none"
	}
	return string(f)
}

func one(attrs ...attribute.KeyValue) [][]attribute.KeyValue { return [][]attribute.KeyValue{attrs} }

// sets are the sets of attributes of a metric, by a key. Beyond most of them, keys are folded
// into few.
type sets[K comparable] struct {
	most  int64
	count atomic.Int64
	all   sync.Map // K → *options
}

// options are sets of attributes as counters and as histograms take them.
type options struct {
	add    [][]metric.AddOption
	record [][]metric.RecordOption
}

// of returns the sets of a key.
func (s *sets[K]) of(key K, fold func(K) K, attrs func(K) [][]attribute.KeyValue) *options {
	found, ok := s.all.Load(key)
	if !ok && s.count.Load() >= s.most {
		key = fold(key)
		found, ok = s.all.Load(key)
	}
	if !ok {
		made := &options{}
		for _, a := range attrs(key) {
			set := metric.WithAttributeSet(attribute.NewSet(a...))
			made.add, made.record = append(made.add, []metric.AddOption{set}), append(made.record, []metric.RecordOption{set})
		}
		if found, ok = s.all.LoadOrStore(key, made); !ok {
			s.count.Add(1)
		}
	}
	return found.(*options)
}
