package otelbreakwater

import (
	"context"
	"errors"
	"maps"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/breakwater-go/breakwater"
)

// scope is the name of the tracer and of the meter.
const scope = "github.com/breakwater-go/breakwater/otelbreakwater"

// An Option changes what [Observer] returns.
type Option func(*config)

type config struct {
	tracers   trace.TracerProvider
	meters    metric.MeterProvider
	providers map[string]string
}

// WithTracerProvider has spans go to p. Default: the global provider. Give
// go.opentelemetry.io/otel/trace/noop's for none.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(c *config) { c.tracers = p }
}

// WithMeterProvider has metrics go to p. Default: the global provider. Give
// go.opentelemetry.io/otel/metric/noop's for none.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(c *config) { c.meters = p }
}

// WithProvider sets gen_ai.provider.name for the endpoint of a name. Default: deepseek,
// azure.ai.inference, aws.bedrock, openai or anthropic for the presets and hosts of these, and
// the endpoint's name for others.
func WithProvider(endpoint, provider string) Option {
	return func(c *config) { c.providers[endpoint] = provider }
}

// Observer returns a [breakwater.Observer] that makes spans and metrics. Use one for all Transports
// of a program. Errors of making instruments go to [otel.Handle].
func Observer(opts ...Option) breakwater.Observer {
	return newObserver(opts...).observe
}

// An observer is what Observer returns.
type observer struct {
	config
	tracer  trace.Tracer
	metrics *metrics
	book    book
}

func newObserver(opts ...Option) *observer {
	c := config{otel.GetTracerProvider(), otel.GetMeterProvider(), maps.Clone(providers)}
	for _, o := range opts {
		o(&c)
	}
	o := &observer{config: c, tracer: c.tracers.Tracer(scope, trace.WithSchemaURL(schemaURL))}
	o.metrics = newMetrics(c.meters.Meter(scope, metric.WithSchemaURL(schemaURL)), o.providerOf)
	o.book.kept = make(map[string]*record)
	o.book.over = make(map[string]*over)
	return o
}

// providerOf returns the value of gen_ai.provider.name for an endpoint.
func (o *observer) providerOf(endpoint string) string {
	if p, ok := o.providers[endpoint]; ok {
		return p
	}
	if endpoint == "" {
		return "_OTHER"
	}
	return endpoint
}

func (o *observer) observe(ctx context.Context, e breakwater.Event) {
	e.Model, e.Endpoint = clipped(e.Model), clipped(e.Endpoint)
	switch e.Kind {
	case breakwater.KindEnd:
		o.ended(ctx, e)
		return
	case breakwater.KindAttempt:
		o.metrics.attempted(ctx, e)
		o.keep(ctx, e)
	case breakwater.KindWait:
		o.metrics.waited(ctx, e)
		o.keep(ctx, e)
	case breakwater.KindRescue:
		o.metrics.happened(ctx, e, e.From)
		o.keep(ctx, e)
	case breakwater.KindBreak:
		o.metrics.happened(ctx, e, string(e.Reason))
		o.keep(ctx, e)
	case breakwater.KindPause, breakwater.KindKey:
		o.metrics.happened(ctx, e, string(e.Class))
		o.keep(ctx, e)
	case breakwater.KindHedge, breakwater.KindDrift, breakwater.KindBudget, breakwater.KindCacheError:
		o.metrics.happened(ctx, e, "")
		o.keep(ctx, e)
	case breakwater.KindPassedOver, breakwater.KindCheaper, breakwater.KindUnbuffered, breakwater.KindCacheShared:
		o.keep(ctx, e)
	case breakwater.KindCacheRenew:
		o.book.renews(e.Call)
	case breakwater.KindCircuit:
		o.metrics.happened(ctx, e, e.To)
		o.circuit(ctx, e)
	case breakwater.KindPassed:
		if errors.Is(e.Err, breakwater.ErrUnprotected) {
			o.metrics.happened(ctx, e, "unprotected")
		}
	}
}

// maxName bounds names that callers and hosts choose, in bytes.
const maxName = 128

func clipped(name string) string {
	if len(name) > maxName {
		return name[:maxName]
	}
	return name
}
