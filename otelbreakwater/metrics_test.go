package otelbreakwater

import (
	"fmt"
	"strings"
	"testing"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/semconv/v1.41.0/genaiconv"

	"github.com/breakwater-go/breakwater"
)

// Callers who name ten thousand models, hosts and endpoints make few series, and nothing is lost
// from the sums.
func TestObserver_NamesAreBounded(t *testing.T) {
	s := watch()
	const attack = 10_000
	classes := []breakwater.Class{
		breakwater.ClassOK, breakwater.ClassUnavailable, breakwater.ClassRateLimited, breakwater.ClassTruncated, breakwater.ClassStalled, breakwater.ClassCanceled,
		breakwater.ClassRefused, breakwater.ClassCircuitOpen, breakwater.ClassLimited, breakwater.ClassBadResponse, breakwater.ClassNoFirstToken, breakwater.ClassDeadline, breakwater.ClassUnreachable,
	}
	reasons := []breakwater.Reason{breakwater.ReasonOff, breakwater.ReasonAPI, breakwater.ReasonContent, breakwater.ReasonFailed, breakwater.ReasonTries, breakwater.ReasonBudget, breakwater.ReasonReview}
	operations := []string{"chat/completions", "completions", "responses", "messages", "embeddings"}
	for n := range attack {
		e := breakwater.Event{Call: fmt.Sprint(n), Endpoint: fmt.Sprint("host-", n%1000), Model: fmt.Sprint("model-", n%3000) + strings.Repeat("x", n%300), Attempt: 1, Elapsed: time.Second, FirstToken: time.Second, Time: time.Now(),
			Operation: operations[n%len(operations)], Stream: true, Class: classes[n%len(classes)], Usage: breakwater.Usage{PromptTokens: 3}, Bytes: 10, Reason: reasons[n%len(reasons)]}
		if e.Class != breakwater.ClassOK {
			e.Fault = breakwater.FaultHost
		}
		e.Outcome = breakwater.Outcome(e.Class)
		for _, e.Kind = range []breakwater.Kind{
			breakwater.KindAttempt, breakwater.KindWait, breakwater.KindHedge, breakwater.KindRescue, breakwater.KindBreak,
			breakwater.KindPause, breakwater.KindCircuit, breakwater.KindKey, breakwater.KindDrift, breakwater.KindBudget, breakwater.KindEnd,
		} {
			s.observe(t.Context(), e)
		}
	}
	points := s.points(t)
	if len(points) > 2000 {
		t.Errorf("%d series, want at most 2000", len(points))
	}
	for name, want := range map[string]int64{
		metricDuration: attack, metricFirstChunk: attack, metricTokens: 2 * attack, "breakwater.calls": attack, "breakwater.call.bytes": 10 * attack,
		"breakwater.attempts": attack, "breakwater.attempt.duration": attack, "breakwater.attempt.first_token": attack, "breakwater.attempt.wait": attack, "breakwater.events": 8 * attack,
	} {
		if n, _ := total(points, name); n != want {
			t.Errorf("%s counts %d, want %d", name, n, want)
		}
	}
	if _, sum := total(points, metricTokens, attrTokenType+"="+tokenInput); sum != 3*attack {
		t.Errorf("%v tokens, want %d", sum, 3*attack)
	}
	for _, p := range points {
		for _, a := range p.attrs.ToSlice() {
			if len(a.Value.String()) > maxName {
				t.Errorf("%s has %s=%s", p.name, a.Key, a.Value.String())
			}
			if string(a.Key) == "otel.metric.overflow" {
				t.Errorf("%s overflows", p.name)
			}
		}
	}
	t.Logf("%d series", len(points))
}

// Names that hosts refuse take no place from those that they serve.
func TestObserver_RefusedNamesTakeNoPlace(t *testing.T) {
	s := watch()
	call := func(model string, class breakwater.Class, fault breakwater.Fault) {
		e := breakwater.Event{Kind: breakwater.KindAttempt, Call: model, Endpoint: "a", Model: model, Attempt: 1, Class: class, Fault: fault, Outcome: breakwater.Outcome(class), Operation: "chat/completions"}
		s.observe(t.Context(), e)
		e.Kind = breakwater.KindEnd
		s.observe(t.Context(), e)
	}
	for n := range 1000 {
		call(fmt.Sprint("typo-", n), breakwater.ClassNoModel, breakwater.FaultCaller)
	}
	call("real", breakwater.ClassOK, "")
	points := s.points(t)
	for _, of := range []struct{ metric, attr string }{{"breakwater.attempts", attrModel}, {metricDuration, attrRequestModel}} {
		real, _ := total(points, of.metric, of.attr+"=real")
		other, _ := total(points, of.metric, of.attr+"=other")
		if real != 1 || other != 1000 {
			t.Errorf("%s: %d and %d", of.metric, real, other)
		}
	}
}

// The names are those of the semantic conventions.
func TestSemconv(t *testing.T) {
	if schemaURL != semconv.SchemaURL {
		t.Errorf("%s, want %s", schemaURL, semconv.SchemaURL)
	}
	for got, want := range map[string]string{
		attrOperation: string(semconv.GenAIOperationNameKey), attrProvider: string(semconv.GenAIProviderNameKey), attrRequestModel: string(semconv.GenAIRequestModelKey),
		attrRequestStream: string(semconv.GenAIRequestStreamKey), attrResponseModel: string(semconv.GenAIResponseModelKey), attrFirstChunk: string(semconv.GenAIResponseTimeToFirstChunkKey),
		attrTokenType: string(semconv.GenAITokenTypeKey), attrInputTokens: string(semconv.GenAIUsageInputTokensKey), attrOutputTokens: string(semconv.GenAIUsageOutputTokensKey),
		attrCachedTokens: string(semconv.GenAIUsageCacheReadInputTokensKey), attrReasoningTokens: string(semconv.GenAIUsageReasoningOutputTokensKey),
		attrErrorType: string(semconv.ErrorTypeKey), attrStatusCode: string(semconv.HTTPResponseStatusCodeKey),
		tokenInput: string(genaiconv.TokenTypeInput), tokenOutput: string(genaiconv.TokenTypeOutput),
		operationChat: string(genaiconv.OperationNameChat), operationCompletion: string(genaiconv.OperationNameTextCompletion), operationEmbeddings: string(genaiconv.OperationNameEmbeddings),
		metricDuration: genaiconv.ClientOperationDuration{}.Name(), metricFirstChunk: genaiconv.ClientOperationTimeToFirstChunk{}.Name(), metricTokens: genaiconv.ClientTokenUsage{}.Name(),
		providers["deepseek"]: string(genaiconv.ProviderNameDeepseek), providers["azure"]: string(genaiconv.ProviderNameAzureAIInference), providers["bedrock"]: string(genaiconv.ProviderNameAWSBedrock), providers["vertex"]: string(genaiconv.ProviderNameGCPVertexAI),
		providers["api.openai.com"]: string(genaiconv.ProviderNameOpenAI), providers["api.anthropic.com"]: string(genaiconv.ProviderNameAnthropic),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
