package otelbreakwater

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/labels"
)

// Watch has a reader of metrics see [breakwater.Transport.Status] whenever it collects: circuits,
// pauses, attempts at limits, calls under way and the cache. Several Transports are added up, so
// give all of them at once. stop ends it. Of the options, Watch heeds [WithMeterProvider].
func Watch(transports []*breakwater.Transport, opts ...Option) (stop func() error, err error) {
	c := config{meters: otel.GetMeterProvider(), providers: make(map[string]string)}
	for _, o := range opts {
		o(&c)
	}
	w := &statuses{transports: slices.Clone(transports), instruments: make(map[string]metric.Observable)}
	meter := c.meters.Meter(scope, metric.WithSchemaURL(schemaURL))
	var all []metric.Observable
	var mistakes []error
	note := func(name string, made metric.Observable, err error) {
		w.instruments[name] = made
		all, mistakes = append(all, made), append(mistakes, err)
	}
	for _, g := range []struct{ name, unit, description string }{
		{metricCircuits, "{circuit}", "Circuits, by the state that they are in."},
		{metricInFlight, "{attempt}", "Attempts that are open, where their number is limited."},
		{metricWaiting, "{attempt}", "Attempts that wait for a limit."},
		{metricHealth, "1", "What probes have found of an endpoint: 1 for yes, 0 for no."},
		{metricUnderWay, "{call}", "Calls that are not over."},
		{metricEntries, "{answer}", "Answers in memory."},
		{metricSize, "By", "Size of the answers in memory."},
	} {
		made, err := meter.Int64ObservableGauge(g.name, metric.WithUnit(g.unit), metric.WithDescription(g.description))
		note(g.name, made, err)
	}
	for _, g := range []struct{ name, unit, description string }{
		{metricCached, "{call}", "Calls, by what the cache had for them."},
		{metricStores, "{answer}", "Answers that were kept."},
		{metricEvictions, "{answer}", "Answers that were removed to make room."},
		{metricPassed, "{request}", "Requests that were sent once, without protection."},
	} {
		made, err := meter.Int64ObservableCounter(g.name, metric.WithUnit(g.unit), metric.WithDescription(g.description))
		note(g.name, made, err)
	}
	pauses, err := meter.Float64ObservableGauge(metricPause, metric.WithUnit("s"), metric.WithDescription("How long a pause still lasts. Without a model, it is a pause of all models."))
	note(metricPause, pauses, err)
	balance, err := meter.Float64ObservableGauge(metricBalance, metric.WithUnit("{currency}"), metric.WithDescription("Balance of the endpoint's account, as its host tells it."))
	note(metricBalance, balance, err)
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	registration, err := meter.RegisterCallback(w.observe, all...)
	if err != nil {
		return nil, err
	}
	return registration.Unregister, nil
}

// statuses read the Status of Transports.
type statuses struct {
	transports  []*breakwater.Transport
	instruments map[string]metric.Observable
	names       labels.Names
	mu          sync.Mutex // two readers may collect at once
}

// A sample is one point of a metric.
type sample struct{ metric, endpoint, model, state string }

// observe tells a reader the sums over all Transports.
func (w *statuses) observe(_ context.Context, o metric.Observer) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, sums := time.Now(), make(map[sample]float64)
	for _, t := range w.transports {
		w.add(sums, t.Status(), now)
	}
	for at, value := range sums {
		attrs := addString(nil, attrEndpoint, at.endpoint)
		attrs = addString(attrs, attrModel, at.model)
		switch at.metric {
		case metricCircuits:
			attrs = append(attrs, attribute.String(attrState, at.state))
		case metricHealth:
			attrs = append(attrs, attribute.String(attrFinding, at.state))
		case metricBalance:
			attrs = append(attrs, attribute.String(attrCurrency, at.state))
		case metricCached:
			attrs = append(attrs, attribute.String(attrResult, at.state))
		}
		set := metric.WithAttributeSet(attribute.NewSet(attrs...))
		switch instrument := w.instruments[at.metric].(type) {
		case metric.Float64Observable:
			o.ObserveFloat64(instrument, value, set)
		case metric.Int64Observable:
			o.ObserveInt64(instrument, int64(value), set)
		}
	}
	return nil
}

// add adds the Status of one Transport.
func (w *statuses) add(sums map[sample]float64, s breakwater.Status, now time.Time) {
	for _, e := range s.Endpoints {
		for _, x := range e.Circuits {
			endpoint, model := w.names.Pair(clipped(e.Name), clipped(x.Model), true)
			sums[sample{metricCircuits, endpoint, model, x.State}]++
		}
		for _, x := range e.Pauses {
			endpoint, model := w.names.Pair(clipped(e.Name), clipped(x.Model), true)
			at := sample{metricPause, endpoint, model, ""}
			sums[at] = max(sums[at], x.Until.Sub(now).Seconds())
		}
		w.addHealth(sums, e.Name, e.Health)
		for _, x := range e.Limits {
			endpoint, model := w.names.Pair(clipped(e.Name), clipped(x.Model), true)
			sums[sample{metricInFlight, endpoint, model, ""}] += float64(x.InFlight)
			sums[sample{metricWaiting, endpoint, model, ""}] += float64(x.Waiting)
		}
	}
	over := int64(0)
	for n := range maps.Values(s.Outcomes) {
		over += n
	}
	c := s.Cache
	for at, n := range map[sample]int64{
		{metric: metricUnderWay}: max(s.Calls-over, 0), {metric: metricPassed}: s.Passed,
		{metric: metricEntries}: int64(c.Entries), {metric: metricSize}: c.Bytes, {metric: metricStores}: c.Stores, {metric: metricEvictions}: c.Evictions,
		{metric: metricCached, state: "hit"}: c.Hits, {metric: metricCached, state: "stale"}: c.Stale,
		{metric: metricCached, state: "collapsed"}: c.Shared, {metric: metricCached, state: "miss"}: c.Misses,
	} {
		sums[at] += float64(n)
	}
}

// addHealth adds what probes have found. Of several Transports, the worst counts.
func (w *statuses) addHealth(sums map[sample]float64, name string, h *breakwater.HealthStatus) {
	if h == nil || h.Checked.IsZero() {
		return
	}
	endpoint := w.names.Endpoint(clipped(name))
	least := func(metric, state string, value float64) {
		at := sample{metric, endpoint, "", state}
		if known, ok := sums[at]; !ok || value < known {
			sums[at] = value
		}
	}
	models := breakwater.FindingYes
	if len(h.Missing) > 0 {
		models = breakwater.FindingNo
	}
	for _, x := range []struct {
		name    string
		finding breakwater.Finding
	}{{"reachable", h.Reachable}, {"credential", h.Credential}, {"funds", h.Funds}, {"models", models}} {
		switch x.finding {
		case breakwater.FindingYes:
			least(metricHealth, x.name, 1)
		case breakwater.FindingNo:
			least(metricHealth, x.name, 0)
		}
	}
	if h.Balance != nil {
		least(metricBalance, h.Balance.Currency, h.Balance.Amount)
	}
}
