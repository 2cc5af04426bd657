package otelbreakwater

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/breakwater-go/breakwater"
)

// What a call of one attempt costs, beside what otelhttp costs for its one request. Both have
// the SDK with a batch exporter and a reader that nobody reads.

func sdk() (*trace.TracerProvider, *sdkmetric.MeterProvider) {
	return trace.NewTracerProvider(trace.WithBatcher(tracetest.NewNoopExporter())), sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
}

func BenchmarkObserve(b *testing.B) {
	tracers, meters := sdk()
	observe := Observer(WithTracerProvider(tracers), WithMeterProvider(meters))
	attempt := breakwater.Event{Kind: breakwater.KindAttempt, Call: "c", Operation: "chat/completions", Stream: true, Endpoint: "a", Model: "m", Attempt: 1, Class: breakwater.ClassOK, Verdict: breakwater.VerdictAccept, Elapsed: time.Second, FirstToken: time.Second, Usage: breakwater.Usage{PromptTokens: 9, CompletionTokens: 9, TotalTokens: 18}}
	end := breakwater.Event{Kind: breakwater.KindEnd, Call: "c", Operation: "chat/completions", Stream: true, Endpoint: "a", Model: "m", Attempt: 1, Class: breakwater.ClassOK, Outcome: breakwater.OutcomeOK, Elapsed: time.Second, FirstToken: time.Second, Bytes: 2048, Usage: attempt.Usage}
	b.ReportAllocs()
	for b.Loop() {
		attempt.Time = time.Now()
		observe(context.Background(), attempt)
		end.Time = time.Now()
		observe(context.Background(), end)
	}
}

func BenchmarkOTelHTTP(b *testing.B) {
	tracers, meters := sdk()
	base := breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("{}")), Header: http.Header{}, Request: req}, nil
	})
	rt := otelhttp.NewTransport(base, otelhttp.WithTracerProvider(tracers), otelhttp.WithMeterProvider(meters))
	req, err := http.NewRequest(http.MethodPost, "https://a/chat/completions", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		resp, err := rt.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}
