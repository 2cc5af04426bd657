package otelbreakwater

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// describe tells of a span: its name, kind, times since begin, status, some attributes, events.
func describe(span tracetest.SpanStub, begin time.Time, keys ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %v-%v", span.Name, span.SpanKind, span.StartTime.Sub(begin), span.EndTime.Sub(begin))
	if span.Status.Code != codes.Unset {
		fmt.Fprintf(&b, " %s: %s", span.Status.Code, span.Status.Description)
	}
	for _, key := range keys {
		if v := of(span, key); v != "" {
			fmt.Fprintf(&b, " %s=%s", key, v)
		}
	}
	for _, e := range span.Events {
		fmt.Fprintf(&b, "; %s at %v", e.Name, e.Time.Sub(begin))
		for _, a := range e.Attributes {
			fmt.Fprintf(&b, " %s=%s", a.Key, a.Value.String())
		}
	}
	return b.String()
}

// The spans of calls that are healed, fail, or find nobody: what they are named, how long they
// last, whose children they are, and what they tell.
func TestObserver_Spans(t *testing.T) {
	once := breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 1})
	keys := []string{attrOperation, attrProvider, attrRequestStream, attrResponseModel, attrErrorType, attrOutcome, attrFault, attrEndpoint, attrAttempts, attrAttempt, attrClass, attrVerdict}
	for _, tt := range []struct {
		name            string
		opts            []breakwater.Option
		primary, backup []kit.Fault
		stream          bool
		want            []string
	}{
		{"ok", nil, nil, nil, false, []string{
			"attempt primary internal 0s-1s gen_ai.response.model=deepseek-flash breakwater.endpoint=primary breakwater.attempt=1 breakwater.class=ok breakwater.verdict=accept",
			"chat deepseek-flash client 0s-1s gen_ai.operation.name=chat gen_ai.provider.name=deepseek gen_ai.request.stream=false gen_ai.response.model=deepseek-flash breakwater.outcome=ok breakwater.endpoint=primary breakwater.attempts=1",
		}},
		{"healed", []breakwater.Option{once}, []kit.Fault{kit.Busy()}, nil, true, []string{
			"attempt primary internal 0s-1s error.type=unavailable breakwater.fault=host breakwater.endpoint=primary breakwater.attempt=1 breakwater.class=unavailable breakwater.verdict=elsewhere",
			"attempt backup internal 1s-2s gen_ai.response.model=deepseek-flash breakwater.endpoint=backup breakwater.attempt=2 breakwater.class=ok breakwater.verdict=accept",
			"chat deepseek-flash client 0s-2s gen_ai.operation.name=chat gen_ai.provider.name=backup gen_ai.request.stream=true gen_ai.response.model=deepseek-flash breakwater.outcome=failover breakwater.endpoint=backup breakwater.attempts=2",
		}},
		{"paused", []breakwater.Option{breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 2})}, []kit.Fault{kit.TooManyRequests("2")}, []kit.Fault{kit.TooManyRequests("3")}, true, []string{
			"attempt primary internal 0s-1s Error: rate_limited error.type=rate_limited breakwater.fault=host breakwater.endpoint=primary breakwater.attempt=1 breakwater.class=rate_limited breakwater.verdict=again",
			"attempt primary internal 3s-4s Error: rate_limited error.type=rate_limited breakwater.fault=host breakwater.endpoint=primary breakwater.attempt=2 breakwater.class=rate_limited breakwater.verdict=elsewhere",
			"attempt backup internal 4s-5s Error: rate_limited error.type=rate_limited breakwater.fault=host breakwater.endpoint=backup breakwater.attempt=3 breakwater.class=rate_limited breakwater.verdict=again",
			"attempt backup internal 8s-9s Error: rate_limited error.type=rate_limited breakwater.fault=host breakwater.endpoint=backup breakwater.attempt=4 breakwater.class=rate_limited breakwater.verdict=stop",
			"chat deepseek-chat client 0s-9s Error: rate_limited gen_ai.operation.name=chat gen_ai.provider.name=deepseek gen_ai.request.stream=true error.type=rate_limited breakwater.outcome=rate_limited breakwater.fault=host breakwater.endpoint=primary breakwater.attempts=4; pause at 1s breakwater.endpoint=primary breakwater.model=deepseek-flash breakwater.class=rate_limited breakwater.wait=2; wait at 1s breakwater.endpoint=primary breakwater.model=deepseek-flash breakwater.attempt=2 breakwater.wait=2; pause at 4s breakwater.endpoint=primary breakwater.model=deepseek-flash breakwater.class=rate_limited breakwater.wait=2; pause at 5s breakwater.endpoint=backup breakwater.model=deepseek-flash breakwater.class=rate_limited breakwater.wait=3; wait at 5s breakwater.endpoint=backup breakwater.model=deepseek-flash breakwater.attempt=4 breakwater.wait=3; pause at 9s breakwater.endpoint=backup breakwater.model=deepseek-flash breakwater.class=rate_limited breakwater.wait=3",
		}},
		{"hedged", []breakwater.Option{breakwater.WithStream(breakwater.StreamPolicy{Hedge: 3 * time.Second, HedgeBackup: true})}, []kit.Fault{kit.SlowHeaders(time.Minute)}, nil, true, []string{
			"attempt primary internal 0s-4s error.type=outrun breakwater.fault=host breakwater.endpoint=primary breakwater.attempt=1 breakwater.class=outrun breakwater.verdict=stop",
			"attempt backup internal 3s-4s gen_ai.response.model=deepseek-flash breakwater.endpoint=backup breakwater.attempt=2 breakwater.class=ok breakwater.verdict=accept",
			"chat deepseek-flash client 0s-4s gen_ai.operation.name=chat gen_ai.provider.name=backup gen_ai.request.stream=true gen_ai.response.model=deepseek-flash breakwater.outcome=hedge breakwater.endpoint=backup breakwater.attempts=2; hedge at 3s breakwater.endpoint=backup breakwater.model=deepseek-flash breakwater.attempt=2 breakwater.wait=3",
		}},
		{"failed", []breakwater.Option{once}, []kit.Fault{kit.ServerError()}, []kit.Fault{kit.Refused()}, false, []string{
			"attempt primary internal 0s-1s Error: unavailable error.type=unavailable breakwater.fault=host breakwater.endpoint=primary breakwater.attempt=1 breakwater.class=unavailable breakwater.verdict=elsewhere",
			"attempt backup internal 1s-2s Error: unreachable error.type=unreachable breakwater.fault=network breakwater.endpoint=backup breakwater.attempt=2 breakwater.class=unreachable breakwater.verdict=stop",
			"chat deepseek-chat client 0s-2s Error: unavailable gen_ai.operation.name=chat gen_ai.provider.name=deepseek gen_ai.request.stream=false error.type=unavailable breakwater.outcome=unavailable breakwater.fault=host breakwater.endpoint=primary breakwater.attempts=2",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := watch(WithProvider("primary", "deepseek"))
				slow := func(next http.RoundTripper) http.RoundTripper {
					return breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
						<-time.After(time.Second)
						return next.RoundTrip(req)
					})
				}
				h := hosts(t, s, append(tt.opts, breakwater.WithAttemptMiddleware(slow))...)
				for i, faults := range [][]kit.Fault{tt.primary, tt.backup} {
					for _, f := range faults {
						h.fleet.Server([]string{"primary", "backup"}[i]).Break(f)
					}
				}
				begin := time.Now()
				ctx, caller := s.tracers.Tracer("caller").Start(t.Context(), "caller")
				h.ask(t, ctx, "q", tt.stream)
				synctest.Wait()
				caller.End()
				var got []string
				var call tracetest.SpanStub
				for _, span := range s.exporter.GetSpans() {
					if strings.HasPrefix(span.Name, "chat") {
						call = span
					}
				}
				for _, span := range s.exporter.GetSpans() {
					if span.Name == "caller" {
						continue
					}
					got = append(got, describe(span, begin, keys...))
					parent := call.SpanContext
					if span.Name == call.Name {
						parent = caller.SpanContext()
					}
					if !span.Parent.Equal(parent) {
						t.Errorf("%s is a child of %v", span.Name, span.Parent)
					}
				}
				if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
				}
			})
		})
	}
}

// With otelhttp around the base, each request on the wire has a span and carries it to the host, and
// all are of the caller's trace.
func TestObserver_WithOTelHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watch()
		var mu sync.Mutex
		carried := make(map[trace.SpanID]bool)
		h := hostsOver(t, s, func(base http.RoundTripper) http.RoundTripper {
			wire := breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(req.Header))
				mu.Lock()
				carried[trace.SpanContextFromContext(ctx).SpanID()] = true
				mu.Unlock()
				return base.RoundTrip(req)
			})
			return otelhttp.NewTransport(wire, otelhttp.WithTracerProvider(s.tracers), otelhttp.WithMeterProvider(noopmetric.NewMeterProvider()), otelhttp.WithPropagators(propagation.TraceContext{}))
		})
		h.fleet.Server("primary").Break(kit.Busy())
		ctx, caller := s.tracers.Tracer("caller").Start(t.Context(), "caller")
		if !h.ask(t, ctx, "q", true) {
			t.Error("no answer")
		}
		synctest.Wait()
		caller.End()
		kinds := make(map[string]int)
		for _, span := range s.exporter.GetSpans() {
			name, _, _ := strings.Cut(span.Name, " ")
			kinds[name]++
			if span.SpanContext.TraceID() != caller.SpanContext().TraceID() {
				t.Errorf("%s is of another trace", span.Name)
			}
			if of(span, "http.request.method") == "" {
				continue
			}
			kinds["wire"]++
			if !carried[span.SpanContext.SpanID()] || !span.Parent.Equal(caller.SpanContext()) {
				t.Errorf("%s is not carried to the host, or a child of %v", span.Name, span.Parent)
			}
		}
		if kinds["chat"] != 1 || kinds["attempt"] < 2 || kinds["wire"] != kinds["attempt"] || len(carried) != kinds["wire"] {
			t.Errorf("spans: %v, carried to hosts: %d", kinds, len(carried))
		}
	})
}

// Whatever fails, nothing of prompts, answers, keys and users is exported.
func TestObserver_TellsNoContent(t *testing.T) {
	const mark = "-mark"
	synctest.Test(t, func(t *testing.T) {
		s := watch()
		h := hosts(t, s, breakwater.WithCache(breakwater.CachePolicy{TTL: time.Second, StaleIfError: time.Minute}), breakwater.WithStream(breakwater.StreamPolicy{Hedge: time.Second, HedgeBackup: true, Rescue: breakwater.RescueRestart}))
		for n, fault := range kit.Faults() {
			h.fleet.Server("primary").Break(fault)
			for i, stream := range []bool{false, true} {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				req, err := kit.ChatRequest(ctx, h.url, "sk-caller-key-mark", "deepseek-chat", fmt.Sprint("prompt-mark ", n, i), stream)
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(req.Body)
				text = bytes.Replace(text, []byte("{"), []byte(`{"user":"user-mark","metadata":{"user_id":"user-mark"},`), 1)
				req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
				req.GetBody = nil
				req.Header.Set("X-User-Id", "user-mark")
				req.Header.Set("Cookie", "session-mark")
				req.Header.Set("X-Request-Id", "request-mark")
				if resp, err := h.rt.RoundTrip(req); err == nil {
					kit.ReadAnswer(resp)
				}
				cancel()
			}
			h.fleet.Server("primary").Heal()
			<-time.After(time.Minute)
		}
		synctest.Wait()
		said := 0
		check := func(where, text string) {
			if said++; strings.Contains(text, mark) || strings.Contains(text, "sk-") {
				t.Errorf("%s has %q", where, text)
			}
		}
		attrs := func(where string, all []attribute.KeyValue) {
			for _, a := range all {
				check(where, string(a.Key)+"="+a.Value.String())
			}
		}
		for _, span := range s.exporter.GetSpans() {
			check("a name", span.Name)
			check("a status", span.Status.Description)
			attrs(span.Name, span.Attributes)
			for _, e := range span.Events {
				check("an event", e.Name)
				attrs(e.Name, e.Attributes)
			}
		}
		for _, p := range s.points(t) {
			attrs(p.name, p.attrs.ToSlice())
		}
		if said < 1000 {
			t.Errorf("only %d texts were exported", said)
		}
	})
}

// What is kept of calls that never end is bounded, and what is dropped is counted. A call that
// ends after all still has its span.
func TestObserver_CallsThatNeverEnd(t *testing.T) {
	s := watch()
	at := time.Now()
	tell := func(call int, kind breakwater.Kind) {
		s.observe(t.Context(), breakwater.Event{Kind: kind, Call: fmt.Sprint(call), Time: at, Attempt: 1, Endpoint: "a", Model: "m", Operation: "chat/completions", Class: breakwater.ClassUnavailable, Fault: breakwater.FaultHost})
	}
	const calls = 10_000
	for n := range calls {
		for range 3 {
			tell(n, breakwater.KindAttempt)
		}
	}
	for range 3 * maxEvents {
		tell(calls, breakwater.KindWait)
	}
	if s.book.events > maxKept || len(s.book.kept) > maxKept {
		t.Errorf("%d events of %d calls are kept", s.book.events, len(s.book.kept))
	}
	kept := int64(s.book.events)
	if dropped, _ := total(s.points(t), "breakwater.spans.dropped"); dropped+kept != 3*calls+3*maxEvents {
		t.Errorf("%d events are dropped and %d kept, of %d", dropped, kept, 3*calls+3*maxEvents)
	}
	tell(0, breakwater.KindEnd) // its events are gone
	tell(calls, breakwater.KindEnd)
	spans := s.spans("chat")
	if len(spans) != 2 || len(spans[0].Events) != 0 || len(spans[1].Events) != maxEvents || of(spans[1], attrDropped) != fmt.Sprint(2*maxEvents) {
		t.Errorf("spans: %+v", spans)
	}
	for n := 1; n < calls; n++ {
		tell(n, breakwater.KindEnd)
	}
	if s.book.events != 0 || len(s.book.kept) != 0 || len(s.book.over) > maxOver {
		t.Errorf("%d events of %d calls are kept behind the end, and %d calls that are over", s.book.events, len(s.book.kept), len(s.book.over))
	}
}

// An attempt that outlasts its call is a child of its span all the same.
func TestObserver_AttemptsThatOutlastTheirCall(t *testing.T) {
	s := watch()
	ctx, caller := s.tracers.Tracer("caller").Start(t.Context(), "caller")
	at := time.Now()
	s.observe(ctx, breakwater.Event{Kind: breakwater.KindEnd, Call: "c", Time: at, Elapsed: time.Second, Attempt: 1, Outcome: breakwater.OutcomeOK, Operation: "chat/completions", Model: "m"})
	for n := 1; n <= 2; n++ {
		s.observe(ctx, breakwater.Event{Kind: breakwater.KindAttempt, Call: "c", Time: at.Add(time.Second), Elapsed: 2 * time.Second, Attempt: n, Endpoint: "a", Operation: "chat/completions"})
	}
	s.observe(ctx, breakwater.Event{Kind: breakwater.KindCacheRenew, Call: "r", Time: at})
	s.observe(ctx, breakwater.Event{Kind: breakwater.KindAttempt, Call: "r", Time: at, Attempt: 1, Endpoint: "a", Operation: "chat/completions"})
	caller.End()
	call, attempts := s.spans("chat m"), s.spans("attempt a")
	if len(call) != 1 || len(attempts) != 3 {
		t.Fatalf("spans: %v", s.exporter.GetSpans())
	}
	for i, want := range []trace.SpanContext{call[0].SpanContext, call[0].SpanContext, caller.SpanContext()} {
		if got := attempts[i]; got.Parent.SpanID() != want.SpanID() || got.SpanContext.TraceID() != want.TraceID() || (of(got, attrRenewal) != "") != (i == 2) {
			t.Errorf("attempt %d is %v, a child of %v", i+1, got.Attributes, got.Parent)
		}
	}
	if len(s.book.kept) != 0 {
		t.Errorf("%d calls are kept", len(s.book.kept))
	}
}

// A call may leave what it has begun, because the cache has got its answer meanwhile. What other
// calls make of it is of its span, too, and is kept no longer.
func TestObserver_AttemptsOfACallThatAnotherAnswered(t *testing.T) {
	for _, outcome := range []breakwater.Outcome{breakwater.OutcomeHit, breakwater.OutcomeStale, breakwater.OutcomeCollapsed} {
		s := watch()
		at := time.Now()
		tell := func(kind breakwater.Kind, attempt int) {
			s.observe(t.Context(), breakwater.Event{Kind: kind, Call: "c", Time: at, Attempt: attempt, Outcome: outcome, Endpoint: "a", Operation: "chat/completions", Model: "m"})
		}
		tell(breakwater.KindAttempt, 1)
		tell(breakwater.KindEnd, 1)
		tell(breakwater.KindAttempt, 2)
		if attempts := s.spans("attempt a"); len(attempts) != 2 || len(s.book.kept)+s.book.events != 0 {
			t.Errorf("%s: %d attempts have spans, %d events of %d calls are kept", outcome, len(attempts), s.book.events, len(s.book.kept))
		}
	}
}

// What is no inference has spans without the conventions' attributes.
func TestObserver_OtherRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watch()
		h := hosts(t, s)
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+"/models", nil)
		resp, err := h.rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		synctest.Wait()
		spans := s.spans("GET")
		if len(spans) != 1 || of(spans[0], attrOperation) != "" || of(spans[0], attrOutcome) != "ok" || len(s.spans("attempt")) != 1 {
			t.Errorf("spans: %v", s.exporter.GetSpans())
		}
		if n, _ := total(s.points(t), metricDuration); n != 0 {
			t.Errorf("%d operations", n)
		}
	})
}
