//go:build unix

package observers

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/otelbreakwater"
	"github.com/breakwater-go/breakwater/prombreakwater"
	"github.com/breakwater-go/breakwater/slo"
	"github.com/breakwater-go/breakwater/statuspage"
)

// BenchmarkCost prints what observing adds to a call of one attempt, which a base answers from
// memory: CPU time, bytes and allocations, medians of short rounds in turn. It makes a
// fixed number of calls, whatever b.N:
//
//	go test -run '^$' -bench Cost -benchtime 1x -cpu 1 .
func BenchmarkCost(b *testing.B) {
	const rounds, calls = 31, 2000
	var watched []watched
	for _, name := range []string{"none", "Log", "prombreakwater", "slo.Tracker", "statuspage", "otelbreakwater", "otelhttp", "all but otelhttp"} {
		watched = append(watched, newWatched(b, name))
	}
	for range rounds {
		for i := range watched {
			watched[i].round(b, calls)
		}
	}
	none := watched[0].median()
	var table strings.Builder
	for _, w := range watched[1:] {
		m := w.median()
		fmt.Fprintf(&table, "| `%s` | %.2f µs | %.1f KB | %.0f |\n", w.name, (m.cpu-none.cpu)/1e3, (m.bytes-none.bytes)/1e3, m.allocs-none.allocs)
	}
	b.Logf("a call without: %.2f µs, %.1f KB, %.0f allocations\n| observer | CPU time | memory | allocations |\n|---|---:|---:|---:|\n%s", none.cpu/1e3, none.bytes/1e3, none.allocs, table.String())
}

// A watched is a Transport that is watched in some way, and what calls of it took.
type watched struct {
	name   string
	rt     http.RoundTripper
	forget func()
	took   []cost
}

// A cost is of one call: nanoseconds of CPU time, bytes, allocations.
type cost struct{ cpu, bytes, allocs float64 }

func newWatched(b *testing.B, name string) watched {
	const answer = `{"object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}`
	var base http.RoundTripper = breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(answer)), ContentLength: int64(len(answer)), Header: http.Header{"Content-Type": {"application/json"}}, Request: req}, nil
	})
	spans := tracetest.NewInMemoryExporter()
	tracers, meters := trace.NewTracerProvider(trace.WithBatcher(spans)), metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
	tracker, err := slo.New(slo.Objectives{})
	if err != nil {
		b.Fatal(err)
	}
	observers := map[string]breakwater.Observer{
		"Log":            breakwater.Log(slog.New(slog.NewJSONHandler(io.Discard, nil))),
		"prombreakwater": prombreakwater.New().Observe, "slo.Tracker": tracker.Observe, "statuspage": statuspage.New().Observe,
		"otelbreakwater": otelbreakwater.Observer(otelbreakwater.WithTracerProvider(tracers), otelbreakwater.WithMeterProvider(meters)),
	}
	var opts []breakwater.Option
	for of, o := range observers {
		if name == of || name == "all but otelhttp" {
			opts = append(opts, breakwater.WithObserver(o))
		}
	}
	if name == "otelhttp" {
		base = otelhttp.NewTransport(base, otelhttp.WithTracerProvider(tracers), otelhttp.WithMeterProvider(meters))
	}
	rt, err := breakwater.New(append(opts, breakwater.WithBase(base), breakwater.WithEndpoints(breakwater.Endpoint{Name: "a", URL: "https://a.example", APIKey: "sk"}))...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { rt.Close() })
	return watched{name: name, rt: rt, forget: func() {
		tracers.ForceFlush(b.Context())
		spans.Reset()
	}}
}

// round makes calls and notes what one took.
func (w *watched) round(b *testing.B, calls int) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cpu := used(b)
	for range calls {
		req, err := kit.ChatRequest(b.Context(), "https://a.example", "sk", "m", "q", false)
		if err != nil {
			b.Fatal(err)
		}
		resp, err := w.rt.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	w.forget()
	cpu = used(b) - cpu
	runtime.ReadMemStats(&after)
	n := float64(calls)
	w.took = append(w.took, cost{float64(cpu) / n, float64(after.TotalAlloc-before.TotalAlloc) / n, float64(after.Mallocs-before.Mallocs) / n})
}

// median returns the medians of all rounds.
func (w *watched) median() cost {
	of := func(value func(cost) float64) float64 {
		var all []float64
		for _, c := range w.took {
			all = append(all, value(c))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return cost{of(func(c cost) float64 { return c.cpu }), of(func(c cost) float64 { return c.bytes }), of(func(c cost) float64 { return c.allocs })}
}

// used returns the CPU time of this process.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
