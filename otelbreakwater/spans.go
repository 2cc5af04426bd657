package otelbreakwater

import (
	"cmp"
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/breakwater-go/breakwater"
)

// keep keeps an event of a call until the call is over. An attempt that outlasts its call, or
// has none, becomes a span now.
func (o *observer) keep(ctx context.Context, e breakwater.Event) {
	if e.Call == "" {
		return
	}
	dropped, late, span := o.book.add(e)
	if dropped > 0 {
		o.metrics.dropped.Add(ctx, int64(dropped))
	}
	if late {
		o.late(ctx, e, span)
	}
}

// late makes the span of an attempt that outlasted its call, or has none.
func (o *observer) late(ctx context.Context, e breakwater.Event, call trace.SpanContext) {
	if call.IsValid() {
		o.attempt(trace.ContextWithSpanContext(ctx, call), nil, &e, false)
		return
	}
	o.attempt(ctx, []attribute.KeyValue{attribute.Bool(attrRenewal, true)}, &e, false)
}

// ended makes the spans of a call that is over, and counts it.
func (o *observer) ended(ctx context.Context, e breakwater.Event) {
	r, others := o.book.take(e)
	if r == nil {
		r = records.Get().(*record)
	}
	defer r.free()
	begun := e.Time.Add(-e.Elapsed)
	endpoint, served := e.Endpoint, ""
	for i := range r.events {
		of := &r.events[i]
		if !isAttempt(*of) {
			continue
		}
		if start := of.Time.Add(-of.Elapsed); start.Before(begun) {
			begun = start // the clock was read later for the event than for Elapsed
		}
		if of.Verdict == breakwater.VerdictAccept {
			served = cmp.Or(of.Served, served)
		}
		if e.Endpoint == "" {
			endpoint = of.Endpoint // the last one that was asked
		}
	}

	name, attrs := "GET", r.attrs[:0]
	if operation := operationOf(e); operation != "" {
		if name = operation; e.Model != "" {
			name += " " + e.Model
		}
		attrs = append(attrs, attribute.String(attrOperation, operation), attribute.String(attrProvider, o.providerOf(endpoint)), attribute.Bool(attrRequestStream, e.Stream))
		attrs = addString(attrs, attrRequestModel, e.Model)
	}
	failed := e.Fault != ""
	attrs = append(attrs, attribute.String(attrOutcome, string(e.Outcome)))
	if failed {
		attrs = append(attrs, attribute.String(attrErrorType, string(e.Outcome)), attribute.String(attrFault, string(e.Fault)))
	}
	ctx, span := o.tracer.Start(ctx, name, trace.WithTimestamp(begun), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	if span.IsRecording() {
		span.SetAttributes(details(attrs[:0], e, served, r.dropped)...)
		for i := range r.events {
			o.part(ctx, span, attrs[:0], &r.events[i], failed)
		}
		if failed {
			span.SetStatus(codes.Error, string(e.Outcome))
		}
	}
	o.metrics.ended(ctx, e, endpoint)
	span.End(trace.WithTimestamp(e.Time))
	if others {
		for _, attempt := range o.book.close(e.Call, span.SpanContext()) {
			o.attempt(ctx, nil, &attempt, failed)
		}
	}
}

// details returns the attributes of a call's span that no sampler needs.
func details(attrs []attribute.KeyValue, e breakwater.Event, served string, dropped int) []attribute.KeyValue {
	if e.Operation != "" {
		attrs = addString(attrs, attrResponseModel, served)
		if e.Stream {
			attrs = addSeconds(attrs, attrFirstChunk, e.FirstToken)
		}
		if e.Usage != (breakwater.Usage{}) {
			attrs = append(attrs, attribute.Int(attrInputTokens, e.Usage.PromptTokens), attribute.Int(attrOutputTokens, e.Usage.CompletionTokens))
		}
		attrs = addInt(attrs, attrCachedTokens, e.Usage.CachedTokens)
		attrs = addInt(attrs, attrReasoningTokens, e.Usage.ReasoningTokens)
	}
	attrs = addCost(attrs, e.Cost)
	attrs = append(attrs, attribute.String(attrCall, e.Call), attribute.Int(attrAttempts, e.Attempt), attribute.Int64(attrBytes, max(e.Bytes, 0)))
	attrs = addString(attrs, attrEndpoint, e.Endpoint)
	attrs = addInt(attrs, attrStatusCode, e.Status)
	attrs = addString(attrs, attrReason, string(e.Reason))
	return addInt(attrs, attrDropped, dropped)
}

// part adds an event to the span of its call, as a child if it is an attempt that was sent.
func (o *observer) part(ctx context.Context, span trace.Span, attrs []attribute.KeyValue, e *breakwater.Event, failed bool) {
	if isAttempt(*e) {
		o.attempt(ctx, attrs, e, failed)
		return
	}
	name := string(e.Kind)
	if e.Kind == breakwater.KindAttempt {
		name = "not_sent"
	}
	attrs = addString(attrs, attrEndpoint, e.Endpoint)
	attrs = addString(attrs, attrModel, e.Model)
	attrs = addInt(attrs, attrAttempt, e.Attempt)
	attrs = addString(attrs, attrClass, string(e.Class))
	attrs = addString(attrs, attrReason, string(e.Reason))
	attrs = addSeconds(attrs, attrWait, e.Wait)
	attrs = addString(attrs, attrFrom, clipped(e.From))
	attrs = addString(attrs, attrTo, clipped(e.To))
	span.AddEvent(name, trace.WithTimestamp(e.Time), trace.WithAttributes(attrs...))
}

// attempt makes the span of an attempt that was sent, with attrs and its own attributes. failed:
// so did its call.
func (o *observer) attempt(ctx context.Context, attrs []attribute.KeyValue, e *breakwater.Event, failed bool) {
	attrs = append(attrs, attribute.String(attrEndpoint, e.Endpoint), attribute.String(attrClass, string(e.Class)))
	if e.Fault != "" {
		attrs = append(attrs, attribute.String(attrErrorType, string(e.Class)), attribute.String(attrFault, string(e.Fault)))
	}
	_, span := o.tracer.Start(ctx, "attempt "+o.metrics.names.Endpoint(e.Endpoint), trace.WithTimestamp(e.Time.Add(-e.Elapsed)), trace.WithAttributes(attrs...))
	if span.IsRecording() {
		attrs = append(attrs[:0], attribute.String(attrCall, e.Call), attribute.Int(attrAttempt, e.Attempt))
		attrs = addString(attrs, attrModel, e.Model)
		attrs = addString(attrs, attrVerdict, string(e.Verdict))
		attrs = addInt(attrs, attrStatusCode, e.Status)
		attrs = addString(attrs, attrResponseModel, e.Served)
		attrs = addString(attrs, attrRequestID, e.RequestID)
		attrs = addSeconds(attrs, attrWait, e.Wait)
		attrs = addSeconds(attrs, attrFirstToken, e.FirstToken)
		if e.Bytes > 0 {
			attrs = append(attrs, attribute.Int64(attrBytes, e.Bytes))
		}
		if e.Usage != (breakwater.Usage{}) {
			attrs = append(attrs, attribute.Int(attrInput, e.Usage.PromptTokens), attribute.Int(attrOutput, e.Usage.CompletionTokens))
		}
		attrs = addCost(attrs, e.Cost)
		span.SetAttributes(attrs...)
		if e.Fault != "" && failed {
			span.SetStatus(codes.Error, string(e.Class))
		}
	}
	span.End(trace.WithTimestamp(e.Time))
}

// circuit makes a short span of a circuit's change, which is of no one call.
func (o *observer) circuit(ctx context.Context, e breakwater.Event) {
	attrs := []attribute.KeyValue{
		attribute.String(attrEndpoint, e.Endpoint), attribute.String(attrModel, e.Model),
		attribute.String(attrFrom, e.From), attribute.String(attrTo, e.To),
	}
	_, span := o.tracer.Start(ctx, "circuit "+e.To, trace.WithTimestamp(e.Time), trace.WithAttributes(addSeconds(attrs, attrWait, e.Wait)...))
	span.End(trace.WithTimestamp(e.Time))
}

func addString(attrs []attribute.KeyValue, key, value string) []attribute.KeyValue {
	if value == "" {
		return attrs
	}
	return append(attrs, attribute.String(key, value))
}

func addInt(attrs []attribute.KeyValue, key string, value int) []attribute.KeyValue {
	if value == 0 {
		return attrs
	}
	return append(attrs, attribute.Int(key, value))
}

func addSeconds(attrs []attribute.KeyValue, key string, d time.Duration) []attribute.KeyValue {
	if d <= 0 {
		return attrs
	}
	return append(attrs, attribute.Float64(key, d.Seconds()))
}

// addCost adds what was paid, in the currency of the prices.
func addCost(attrs []attribute.KeyValue, c breakwater.Cost) []attribute.KeyValue {
	if c.Amount == 0 {
		return attrs
	}
	attrs = append(attrs, attribute.Float64(attrCost, c.Amount), attribute.String(attrCurrency, c.Currency()))
	if c.Estimated {
		attrs = append(attrs, attribute.Bool(attrEstimated, true))
	}
	return attrs
}
