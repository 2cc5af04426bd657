package otelbreakwater

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
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

// ask makes one call and reports whether its caller got a good answer.
func (h *two) ask(t *testing.T, ctx context.Context, prompt string, stream bool) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := kit.ChatRequest(ctx, h.url, "sk-caller-key-mark", "deepseek-chat", prompt, stream)
	if err != nil {
		t.Error(err)
		return false
	}
	resp, err := h.rt.RoundTrip(req)
	if err != nil {
		return false
	}
	reply, err := kit.ReadAnswer(resp)
	return err == nil && resp.StatusCode == http.StatusOK && reply.Content != ""
}
