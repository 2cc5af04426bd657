package proxy

import (
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serveAdmin answers a request about the proxy itself. names: the answer may name endpoints.
func (s *Server) serveAdmin(x *exchange, names bool) {
	h := x.w.Header()
	h["Cache-Control"] = []string{"no-store"}
	switch x.route.kind {
	case livez:
		plain(x.w, http.StatusOK, "ok")
	case readyz:
		switch err := s.Ready(); {
		case err != nil && !names && !s.draining.Load():
			plain(x.w, http.StatusServiceUnavailable, "no endpoint is ready")
			return
		case err != nil:
			plain(x.w, http.StatusServiceUnavailable, err.Error())
			return
		}
		plain(x.w, http.StatusOK, "ok")
	case metrics:
		s.meters.handler.ServeHTTP(x.w, x.r)
	case status:
		s.page.ServeHTTP(x.w, x.r)
	}
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
	w.WriteHeader(status)
	w.Write([]byte(text + "\n"))
}

// Ready returns nil if the proxy should get calls: it is not shutting down, and some endpoint could
// take a call.
func (s *Server) Ready() error {
	if s.draining.Load() {
		return errors.New("shutting down")
	}
	return s.transport.Ready()
}

// meters are the metrics of the proxy itself, beside those of the Transport.
type meters struct {
	handler  http.Handler
	requests *prometheus.CounterVec
	refused  *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	reloads  *prometheus.CounterVec
	reloadOK prometheus.Gauge
	reloadAt prometheus.Gauge
}

func newMeters(s *Server, transport prometheus.Collector) *meters {
	const ns, sub = "breakwater", "proxy"
	m := &meters{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "requests_total",
			Help: "Requests of clients that are over. code is the status, or aborted for an answer that broke off, or left for a client that did."}, []string{"route", "code"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "refused_total",
			Help: "Requests that the proxy itself refused."}, []string{"reason"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "first_byte_seconds",
			Help: "Time from a request to the first byte of its answer.", Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 12), NativeHistogramBucketFactor: 1.1}, []string{"route"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "reloads_total",
			Help: "Times that the configuration was read again."}, []string{"result"}),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "last_reload_successful",
			Help: "1 if the configuration that was read last is in use, 0 if it was refused."}),
		reloadAt: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "last_reload_success_timestamp_seconds",
			Help: "When the configuration in use was read."}),
	}
	m.reloadOK.Set(1)
	m.reloadAt.SetToCurrentTime()
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, value)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(transport, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.requests, m.refused, m.seconds, m.reloads, m.reloadOK, m.reloadAt,
		gauge("calls", "Inference calls under way.", func() float64 { return float64(s.calls.Load()) }),
		gauge("connections", "Open connections of clients.", func() float64 { return float64(s.connections()) }),
		gauge("body_bytes", "Bytes of the bodies of requests in memory.", func() float64 { return float64(s.bodies.held.Load()) }),
		gauge("draining", "1 while the proxy is shutting down.", func() float64 {
			if s.draining.Load() {
				return 1
			}
			return 0
		}))
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	return m
}

// reloaded notes what became of a new configuration.
func (m *meters) reloaded(err error) {
	if err != nil {
		m.reloads.WithLabelValues("failed").Inc()
		m.reloadOK.Set(0)
		return
	}
	m.reloads.WithLabelValues("ok").Inc()
	m.reloadOK.Set(1)
	m.reloadAt.SetToCurrentTime()
}

// ReloadFailed notes that a new configuration could not be read, so that Update was not called.
func (s *Server) ReloadFailed(err error) { s.meters.reloaded(err) }
