package otelbreakwater

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// gauges reads what Watch observes, by name and attributes.
func gauges(t *testing.T, reader *metric.ManualReader) (all map[string]float64, series int) {
	t.Helper()
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	all = make(map[string]float64)
	note := func(name string, attrs attribute.Set, value float64) {
		all[name+" "+attrs.Encoded(attribute.DefaultEncoder())] = value
		series++
	}
	for _, of := range got.ScopeMetrics {
		for _, m := range of.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					note(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					note(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					note(m.Name, p.Attributes, float64(p.Value))
				}
			}
		}
	}
	return all, series
}

// What Status says is what a reader gets: an open circuit, a pause, limits, the cache; until stop.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watch()
		h := hosts(t, s, breakwater.WithCache(breakwater.CachePolicy{}), breakwater.WithRateLimit(breakwater.RatePolicy{InFlight: 4}))
		reader := metric.NewManualReader()
		stop, err := Watch([]*breakwater.Transport{h.rt, h.rt}, WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))))
		if err != nil {
			t.Fatal(err)
		}
		h.ask(t, t.Context(), "kept", false)
		h.ask(t, t.Context(), "kept", false)
		h.fleet.Server("primary").Break(kit.Status(http.StatusServiceUnavailable, "application/json", "{}"))
		for n := range 20 {
			h.ask(t, t.Context(), fmt.Sprint(n), false)
		}
		h.fleet.Server("backup").BreakNext(1, kit.TooManyRequests("60"))
		h.ask(t, t.Context(), "paused", false)
		synctest.Wait()
		got, _ := gauges(t, reader)
		status := h.rt.Status()
		for name, want := range map[string]float64{ // both Transports are the same one
			"breakwater.circuits breakwater.endpoint=primary,breakwater.model=deepseek-flash,breakwater.state=open": 2,
			"breakwater.attempt.in_flight breakwater.endpoint=primary,breakwater.model=deepseek-flash":              0,
			"breakwater.attempt.waiting breakwater.endpoint=backup,breakwater.model=deepseek-flash":                 0,
			"breakwater.call.under_way ":                            0,
			"breakwater.cache.entries ":                             2 * float64(status.Cache.Entries),
			"breakwater.cache.size ":                                2 * float64(status.Cache.Bytes),
			"breakwater.cache.requests breakwater.result=hit":       2,
			"breakwater.cache.requests breakwater.result=stale":     2 * float64(status.Cache.Stale),
			"breakwater.cache.requests breakwater.result=collapsed": 2 * float64(status.Cache.Shared),
			"breakwater.cache.requests breakwater.result=miss":      2 * float64(status.Cache.Misses),
			"breakwater.cache.stores ":                              2 * float64(status.Cache.Stores),
			"breakwater.cache.evictions ":                           0,
			"breakwater.passed_requests ":                           0,
		} {
			if value, ok := got[name]; !ok || value != want {
				t.Errorf("%s is %v, want %v, of %v", name, value, want, got)
			}
		}
		pauses := 0
		for name, value := range got {
			if len(name) > len(metricPause) && name[:len(metricPause)] == metricPause && value > 0 && value <= 60 {
				pauses++
			}
		}
		if pauses == 0 {
			t.Errorf("no pause, of %v; %+v", got, status.Endpoints)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got, n := gauges(t, reader); n != 0 {
			t.Errorf("behind stop there are %v", got)
		}
	})
}

// Callers who name thousands of models make few series.
func TestWatch_NamesAreBounded(t *testing.T) {
	base := breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) { return nil, fmt.Errorf("no host") })
	rt, err := breakwater.New(breakwater.WithBase(base), breakwater.WithRateLimit(breakwater.RatePolicy{InFlight: 4}), breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 1}))
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	reader := metric.NewManualReader()
	if _, err := Watch([]*breakwater.Transport{rt}, WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))); err != nil {
		t.Fatal(err)
	}
	for n := range 2000 {
		req, err := kit.ChatRequest(t.Context(), fmt.Sprintf("https://host-%d.example", n%40), "sk", fmt.Sprint("model-", n), "q", false)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := rt.RoundTrip(req); err == nil {
			resp.Body.Close()
		}
	}
	_, n := gauges(t, reader)
	if n > 800 {
		t.Errorf("%d series", n)
	}
	t.Logf("%d series of %d endpoints", n, len(rt.Status().Endpoints))
}

// What probes have found is a gauge for each finding, and the balance in its currency.
func TestWatch_Health(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, err := breakwater.New(breakwater.WithEndpoints(breakwater.DeepSeek("sk-1")), breakwater.WithProbes(breakwater.ProbePolicy{}),
			breakwater.WithBase(breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				body := `{"data":[{"id":"other"}]}`
				if req.URL.Path == "/user/balance" {
					body = `{"is_available":false,"balance_infos":[{"currency":"CNY","total_balance":"0.50"}]}`
				}
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
			})))
		if err != nil {
			t.Fatal(err)
		}
		defer rt.Close()
		reader := metric.NewManualReader()
		if _, err := Watch([]*breakwater.Transport{rt}, WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		got, _ := gauges(t, reader)
		for name, want := range map[string]float64{
			"breakwater.endpoint.health breakwater.endpoint=deepseek,breakwater.finding=reachable":  1,
			"breakwater.endpoint.health breakwater.endpoint=deepseek,breakwater.finding=credential": 1,
			"breakwater.endpoint.health breakwater.endpoint=deepseek,breakwater.finding=funds":      0,
			"breakwater.endpoint.health breakwater.endpoint=deepseek,breakwater.finding=models":     1,
			"breakwater.account.balance breakwater.currency=CNY,breakwater.endpoint=deepseek":       0.5,
		} {
			if value, ok := got[name]; !ok || value != want {
				t.Errorf("%s is %v, %v, want %v, of %v", name, value, ok, want, got)
			}
		}
	})
}
