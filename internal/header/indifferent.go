package header

import (
	"net/textproto"
	"slices"
	"strings"
)

// IsIndifferent reports whether a request header neither identifies the caller nor changes
// the answer: headers of the client, the connection, the cache and tracing, in any
// spelling. All others may, because hosts and gateways have headers of their own.
func IsIndifferent(name string) bool {
	if isIndifferent(name) {
		return true
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	return canonical != name && isIndifferent(canonical)
}

func isIndifferent(name string) bool {
	switch name {
	case "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Cache-Control", "Connection", "Content-Length", "Content-Type", "Date", "Dnt", "Expect",
		"Http-Referer", "Idempotency-Key", "Keep-Alive", "Origin", "Pragma", "Priority", "Proxy-Connection", "Referer", "Te", "Trailer", "Transfer-Encoding",
		"User-Agent", "Via", "X-Idempotency-Key", "X-Openrouter-Title", "X-Title":
		return true
	}
	return isTracing(name)
}

// isTracing reports whether a header is a tracing agent's, or an id of this one request.
// The name must be canonical.
func isTracing(name string) bool {
	switch name {
	case "Traceparent", "Tracestate", "Baggage", "Correlation-Context", // W3C
		"B3", "Sentry-Trace", "Jaeger-Debug-Id", "Jaeger-Baggage", "Uber-Trace-Id", "Grpc-Trace-Bin", "Grpc-Tags-Bin", "Newrelic", "Singularityheader", "X-Honeycomb-Trace", "X-Trace-Options", "X-Trace-Options-Signature",
		"X-Amzn-Trace-Id", "Amz-Sdk-Invocation-Id", "Amz-Sdk-Request", "X-Cloud-Trace-Context", "X-Goog-Api-Client", "Request-Context", "X-Tt-Logid", "X-Request-Start", "X-Queue-Start", "Cf-Ray", "X-Amz-Cf-Id", "X-Vercel-Id":
		return true
	}
	for _, prefix := range tracingPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	last := strings.LastIndexByte(name, '-')
	if end := name[last+1:]; end != "Id" || last < 0 {
		return isID(end)
	}
	switch before := name[:last]; before[strings.LastIndexByte(before, '-')+1:] {
	case "Trace", "Span", "Request", "Correlation", "Invocation":
		return true
	}
	return false
}

// tracingPrefixes begin the names of tracing agents' headers, and of what Stainless's SDKs
// say about themselves.
var tracingPrefixes = [...]string{
	"X-Stainless-",
	"X-B3-", "X-Datadog-", "Elastic-Apm-", "X-Newrelic-", "X-Instana-", "Sw8", "X-Dynatrace", "X-Dtpc", "Uberctx-", "Ot-Tracer-", "Ot-Baggage-", "Wf-Ot-", "X-Ot-Span-",
	"Pinpoint-", "Eagleeye-", "X-Tt-Trace-", "Adrum", "Sec-",
}

// isID reports whether the last part of a name is that of an id of this one request, spelled
// as one word.
func isID(end string) bool {
	return slices.ContainsFunc(ids[:], func(id string) bool { return len(id) == len(end) && strings.EqualFold(id, end) })
}

var ids = [...]string{"traceid", "trace_id", "spanid", "span_id", "requestid", "request_id", "correlationid", "correlation_id", "traceparent", "tracestate"}
