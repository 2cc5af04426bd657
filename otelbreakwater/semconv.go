package otelbreakwater

import "github.com/breakwater-go/breakwater"

// The names of the semantic conventions that this package uses. They are pinned here, so that an
// upgrade of a library renames nothing on a board.
//
// Version: 1.41.0 of https://github.com/open-telemetry/semantic-conventions, docs/gen-ai/, the
// last one with generative AI in it; TestSemconv compares these names with
// go.opentelemetry.io/otel/semconv/v1.41.0. All gen_ai names have the status Development.
//
// Deprecations:
//
//   - gen_ai.system was replaced by gen_ai.provider.name in 1.37.0, and
//     gen_ai.usage.prompt_tokens and gen_ai.usage.completion_tokens by
//     gen_ai.usage.input_tokens and gen_ai.usage.output_tokens in 1.27.0. This package never
//     wrote them.
//   - From 1.42.0 on, generative AI is in
//     https://github.com/open-telemetry/semantic-conventions-genai. Its 0.1.0 renames the metrics:
//     see below. The attributes of spans keep their names.
const schemaURL = "https://opentelemetry.io/schemas/1.41.0"

// Attributes.
const (
	attrOperation       = "gen_ai.operation.name"
	attrProvider        = "gen_ai.provider.name"
	attrRequestModel    = "gen_ai.request.model"
	attrRequestStream   = "gen_ai.request.stream"
	attrResponseModel   = "gen_ai.response.model"
	attrFirstChunk      = "gen_ai.response.time_to_first_chunk" // in seconds, of streams
	attrTokenType       = "gen_ai.token.type"                   // tokenInput, tokenOutput
	attrInputTokens     = "gen_ai.usage.input_tokens"
	attrOutputTokens    = "gen_ai.usage.output_tokens"
	attrCachedTokens    = "gen_ai.usage.cache_read.input_tokens"
	attrReasoningTokens = "gen_ai.usage.reasoning.output_tokens"

	attrErrorType  = "error.type"                // stable
	attrStatusCode = "http.response.status_code" // stable
)

// Values.
const (
	tokenInput  = "input"
	tokenOutput = "output"

	operationChat       = "chat"
	operationCompletion = "text_completion"
	operationEmbeddings = "embeddings"
)

// Metrics.
const (
	metricDuration   = "gen_ai.client.operation.duration"            // genai 0.1.0: gen_ai.client.inference.duration
	metricFirstChunk = "gen_ai.client.operation.time_to_first_chunk" // genai 0.1.0: gen_ai.client.inference.time_to_first_chunk
	metricTokens     = "gen_ai.client.token.usage"                   // genai 0.1.0: gen_ai.client.inference.usage.input_tokens and .output_tokens
)

// Bounds of the buckets that the conventions advise.
var (
	durationBuckets   = []float64{.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
	firstChunkBuckets = []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}
	tokenBuckets      = []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}
)

// operationOf returns the value of gen_ai.operation.name for what a call asks for; empty for what
// is no inference.
func operationOf(e breakwater.Event) string {
	switch e.Operation {
	case "":
		return ""
	case "completions":
		return operationCompletion
	case "embeddings":
		return operationEmbeddings
	}
	return operationChat
}

// providers are the values of gen_ai.provider.name for endpoints by their names: those of
// presets, and those of endpoints without a name, which are their hosts. For others, a
// value of one's own is allowed, and it is the endpoint's name.
var providers = map[string]string{
	"deepseek": "deepseek", "api.deepseek.com": "deepseek",
	"azure": "azure.ai.inference", "bedrock": "aws.bedrock", "vertex": "gcp.vertex_ai",
	"api.openai.com": "openai", "api.anthropic.com": "anthropic",
}

// Attributes of breakwater's own.
const (
	attrCall       = "breakwater.call"        // the id of the call: Event.Call
	attrOutcome    = "breakwater.outcome"     // Event.Outcome
	attrFault      = "breakwater.fault"       // Event.Fault; in metrics none for what did not fail
	attrEndpoint   = "breakwater.endpoint"    // its name
	attrModel      = "breakwater.model"       // of an attempt: the endpoint's name for it
	attrAttempts   = "breakwater.attempts"    // how many were sent
	attrAttempt    = "breakwater.attempt"     // the number of one
	attrClass      = "breakwater.class"       // Event.Class
	attrVerdict    = "breakwater.verdict"     // what the call did next
	attrReason     = "breakwater.reason"      // Event.Reason
	attrSent       = "breakwater.sent"        // false: a local limit, circuit or pause refused the attempt
	attrBytes      = "breakwater.bytes"       // that the caller got
	attrWait       = "breakwater.wait"        // in seconds
	attrFirstToken = "breakwater.first_token" // in seconds, from the start of an attempt to its first payload
	attrInput      = "breakwater.input_tokens"
	attrOutput     = "breakwater.output_tokens"
	attrRequestID  = "breakwater.request_id" // the host's id of the request
	attrCost       = "breakwater.cost"       // Event.Cost, in attrCurrency
	attrCurrency   = "breakwater.currency"
	attrEstimated  = "breakwater.cost.estimated" // the cost is estimated, or a part of it
	attrFrom       = "breakwater.from"           // Event.From
	attrTo         = "breakwater.to"             // Event.To
	attrEvent      = "breakwater.event"          // Event.Kind
	attrRenewal    = "breakwater.renewal"        // the attempt renews a stale answer in the background
	attrDropped    = "breakwater.dropped"        // events of the call that are missing in its span
	attrFinding    = "breakwater.finding"        // of probes: reachable, credential, funds or models
	attrState      = "breakwater.state"          // of a circuit: closed, half-open or open
	attrResult     = "breakwater.result"         // of the cache: hit, stale, collapsed or miss
)

// The metric of costs, which Observer counts.
const metricCost = "breakwater.cost"

// Metrics of breakwater's own that Watch reads from Status.
const (
	metricCircuits  = "breakwater.circuits"
	metricPause     = "breakwater.pause.left"
	metricHealth    = "breakwater.endpoint.health"
	metricBalance   = "breakwater.account.balance"
	metricInFlight  = "breakwater.attempt.in_flight"
	metricWaiting   = "breakwater.attempt.waiting"
	metricUnderWay  = "breakwater.call.under_way"
	metricEntries   = "breakwater.cache.entries"
	metricSize      = "breakwater.cache.size"
	metricCached    = "breakwater.cache.requests"
	metricStores    = "breakwater.cache.stores"
	metricEvictions = "breakwater.cache.evictions"
	metricPassed    = "breakwater.passed_requests"
)
