// Package otelbreakwater gives what breakwater does to OpenTelemetry, as spans and metrics.
//
//	transport, err := breakwater.New(
//		breakwater.WithObserver(otelbreakwater.Observer()),
//		breakwater.WithBase(otelhttp.NewTransport(http.DefaultTransport)),
//		…
//	)
//
// # Spans
//
// Each call has a span, "chat {model}" of kind client, with the attributes of the GenAI semantic
// conventions. It lasts from the call to the end of its answer. Its parent is the span in the
// context of the request. Each attempt that was sent has a child, "attempt {endpoint}" of kind
// internal, so that nothing counts a request twice. What else happens to the call is an event of its
// span: wait, hedge, rescue, break, pause, passed_over, not_sent and others. A circuit changes for many calls, so
// that change has a short span of its own.
//
// The status of a call's span is an error if the call failed. Then error.type has one word
// for why, a [breakwater.Outcome]. The spans of attempts have error.type, too, and are
// errors only if their call failed: an alert on errors tells what callers noticed.
//
// An Observer hears of a call when something has happened to it. So a call's span
// is begun and ended, with the times of both, when the call is over, and so are its children.
// Until then, the events of the call are kept. That way a sampler sees all attributes, and
// no span is left open. The events that are kept are bounded, for each call and in all. For a call
// whose answer is never read to its end nor closed, there is no span. If the bound is
// reached, the events of the oldest call are dropped; breakwater.spans.dropped counts them.
//
// An attempt may outlast its call, if other calls share it; it is a child all the same. An
// attempt that renews an answer in the cache has no call. Its span has the parent of
// the call that caused it. The span of an attempt ends when the attempt does, so its time is bounded
// by the policies, too.
//
// # Propagation
//
// The Observer changes no request. Wrap the base with otelhttp's Transport to pass the trace
// on to hosts, and to have a span for each HTTP request. These spans are siblings of the
// call's span, because the context of the request has the caller's span.
//
// # Metrics
//
// gen_ai.client.operation.duration, gen_ai.client.operation.time_to_first_chunk and
// gen_ai.client.token.usage are those of the conventions. The others begin with breakwater:
// calls, call.bytes, attempts, attempt.duration, attempt.first_token, attempt.wait, events and
// spans.dropped. [Watch] adds gauges of circuits, pauses, limits and the cache. The tokens of each attempt count, as hosts bill each.
//
// Names of models and of endpoints in the attributes of metrics are bounded; beyond the bound the value is
// "other". So no caller can make more than some two thousand series, and no count is lost.
//
// No attribute has a prompt, an answer, a key or a user.
package otelbreakwater
