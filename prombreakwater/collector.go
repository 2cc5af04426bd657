// Package prombreakwater gives what breakwater does to Prometheus.
//
//	metrics := prombreakwater.New()
//	prometheus.MustRegister(metrics)
//	transport, err := breakwater.New(breakwater.WithObserver(metrics.Observe), …)
//	…
//	metrics.Watch(transport)
//
// Every metric begins with breakwater_. Counters and histograms count what calls and attempts come to, once
// each when it is over. Gauges are read from [breakwater.Transport.Status] at each scrape.
// Histograms are classic ones and, for servers that ask for them, native ones.
//
// # Labels
//
// The label fault says who is at fault, in one word of a closed list: none, caller, local,
// host, network or unknown. The label reason has a [breakwater.Class], and outcome a
// [breakwater.Outcome]. Values that come from outside, names of models, of endpoints and of
// tenants, are bounded: beyond the bound the value is "other". So no caller can make more
// than some two thousand series, and no count is lost.
//
// No metric has a key, a prompt or an answer. A user is in none, unless you make it a tenant, with
// [breakwater.WithTenants]: tenants are labels.
package prombreakwater

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/labels"
)

// A Collector counts the events of Transports for Prometheus. Make one with [New]. It is safe
// for concurrent use.
type Collector struct {
	calls         *prometheus.CounterVec
	callDuration  *prometheus.HistogramVec
	firstToken    *prometheus.HistogramVec
	callBytes     prometheus.Counter
	attempts      *prometheus.CounterVec
	attemptTime   *prometheus.HistogramVec
	waits         *prometheus.HistogramVec
	tokens        *prometheus.CounterVec
	costs         *prometheus.CounterVec
	unpriced      *prometheus.CounterVec
	hedges        *prometheus.CounterVec
	rescues       *prometheus.CounterVec
	breaks        *prometheus.CounterVec
	pauses        *prometheus.CounterVec
	transitions   *prometheus.CounterVec
	keys          *prometheus.CounterVec
	drifts        *prometheus.CounterVec
	storeErrors   prometheus.Counter
	budgetDenials *prometheus.CounterVec
	unprotected   prometheus.Counter
	all           []prometheus.Collector

	names  labels.Names
	series sync.Map // what was resolved before: endKey or attemptKey → its metrics

	mu      sync.Mutex // guards what follows
	watched []*breakwater.Transport
}

// buckets are upper bounds of the classic histograms, in seconds: an answer takes from
// milliseconds, from a cache, to minutes, for one that thinks.
var buckets = []float64{.01, .05, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 600}

// New returns a Collector, to be registered with a prometheus.Registerer.
func New() *Collector {
	c := &Collector{}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "breakwater", Name: name, Help: help}, labels)
		c.all = append(c.all, v)
		return v
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "breakwater", Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, // a reset would lose counts, so there is none
		}, labels)
		c.all = append(c.all, v)
		return v
	}
	c.calls = counter("calls_total", "Calls that are over, by how they were answered or failed, and by whose fault.", "outcome", "fault")
	c.callDuration = histogram("call_duration_seconds", "Time from the beginning of a call to the end of its answer.", "fault")
	c.firstToken = histogram("call_first_token_seconds", "Time from the beginning of a call until its caller got the first payload.", "endpoint")
	c.callBytes = counter("call_bytes_total", "Bytes of answers that callers got.").WithLabelValues()
	c.attempts = counter("attempts_total", "Attempts that are over, by endpoint, model, class and fault. Those with sent=\"false\" were refused by a local limit, circuit or pause.", "endpoint", "model", "reason", "fault", "sent")
	c.attemptTime = histogram("attempt_duration_seconds", "Time from the beginning of an attempt that was sent to its end.", "endpoint")
	c.waits = histogram("attempt_wait_seconds", "Time that calls waited before an attempt: backoff, pauses and Retry-After.", "endpoint")
	c.tokens = counter("tokens_total", "Tokens that hosts reported. Those of type cached are part of prompt, those of type reasoning part of completion.", "endpoint", "model", "type")
	c.costs = counter("cost_total", "What attempts cost, in the unit of the currency. Those with estimated=\"true\" may be billed, and their hosts said no usage.", "endpoint", "model", "currency", "estimated")
	c.unpriced = counter("cost_unknown_attempts_total", "Attempts that may be billed and whose cost is not known, where some prices are known.", "endpoint", "model")
	c.hedges = counter("hedges_total", "Second attempts beside slow ones.", "endpoint")
	c.rescues = counter("rescues_total", "Streams that broke and were continued, by how: continue or restart.", "endpoint", "how")
	c.breaks = counter("breaks_total", "Streams that broke behind their first payload and were not continued, by why not.", "endpoint", "reason")
	c.pauses = counter("pauses_total", "Pauses of endpoints, accounts or models.", "endpoint", "reason")
	c.transitions = counter("circuit_transitions_total", "Changes of circuits, by their new state.", "endpoint", "to")
	c.keys = counter("key_rejections_total", "Keys that were rejected or have no funds: a person has to act.", "endpoint", "reason")
	c.drifts = counter("drifts_total", "Changes of the model or fingerprint that an endpoint answers with.", "endpoint")
	c.storeErrors = counter("cache_store_errors_total", "Failures of the cache's Store.").WithLabelValues()
	c.budgetDenials = counter("retry_budget_denials_total", "Extra attempts that the retry budget did not allow.", "endpoint")
	c.unprotected = counter("unprotected_origins_total", "Origins that get requests which look like inference and are not protected.").WithLabelValues()
	return c
}

// Watch has the Collector read gauges, and the counts of caches, from a Transport at each
// scrape. Several Transports are added up.
func (c *Collector) Watch(t *breakwater.Transport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched = append(c.watched, t)
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range c.all {
		v.Describe(ch)
	}
	for _, d := range gauges {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for _, v := range c.all {
		v.Collect(ch)
	}
	c.mu.Lock()
	watched := c.watched
	c.mu.Unlock()
	c.collectStatus(watched, ch)
}

// Observe is a [breakwater.Observer].
func (c *Collector) Observe(_ context.Context, e breakwater.Event) {
	switch e.Kind {
	case breakwater.KindEnd:
		c.ended(e)
	case breakwater.KindAttempt:
		c.attempted(e)
	case breakwater.KindWait:
		c.waits.WithLabelValues(c.names.Endpoint(e.Endpoint)).Observe(e.Wait.Seconds())
	case breakwater.KindHedge:
		c.hedges.WithLabelValues(c.names.Endpoint(e.Endpoint)).Inc()
	case breakwater.KindRescue:
		c.rescues.WithLabelValues(c.names.Endpoint(e.Endpoint), e.From).Inc()
	case breakwater.KindBreak:
		c.breaks.WithLabelValues(c.names.Endpoint(e.Endpoint), string(e.Reason)).Inc()
	case breakwater.KindPause:
		c.pauses.WithLabelValues(c.names.Endpoint(e.Endpoint), string(e.Class)).Inc()
	case breakwater.KindCircuit:
		c.transitions.WithLabelValues(c.names.Endpoint(e.Endpoint), e.To).Inc()
	case breakwater.KindKey:
		c.keys.WithLabelValues(c.names.Endpoint(e.Endpoint), string(e.Class)).Inc()
	case breakwater.KindDrift:
		c.drifts.WithLabelValues(c.names.Endpoint(e.Endpoint)).Inc()
	case breakwater.KindBudget:
		c.budgetDenials.WithLabelValues(c.names.Endpoint(e.Endpoint)).Inc()
	case breakwater.KindCacheError:
		c.storeErrors.Inc()
	case breakwater.KindPassed:
		if errors.Is(e.Err, breakwater.ErrUnprotected) {
			c.unprotected.Inc()
		}
	}
}

// An endKey has the labels of the metrics of a call. Its metrics are resolved once, because
// finding them costs more than counting.
type endKey struct {
	outcome  breakwater.Outcome
	fault    breakwater.Fault
	endpoint string
}

type endMetrics struct {
	calls      prometheus.Counter
	duration   prometheus.Observer
	firstToken prometheus.Observer
}

// ended counts a call that is over.
func (c *Collector) ended(e breakwater.Event) {
	key := endKey{e.Outcome, e.Fault, c.names.Endpoint(e.Endpoint)}
	found, ok := c.series.Load(key)
	if !ok {
		fault := faultOf(e)
		found, _ = c.series.LoadOrStore(key, &endMetrics{
			c.calls.WithLabelValues(string(e.Outcome), fault), c.callDuration.WithLabelValues(fault), c.firstToken.WithLabelValues(key.endpoint),
		})
	}
	m := found.(*endMetrics)
	m.calls.Inc()
	m.duration.Observe(e.Elapsed.Seconds())
	if e.FirstToken > 0 {
		m.firstToken.Observe(e.FirstToken.Seconds())
	}
	c.callBytes.Add(float64(max(e.Bytes, 0)))
}

// An attemptKey has the labels of the metrics of an attempt.
type attemptKey struct {
	endpoint, model string
	class           breakwater.Class
	fault           breakwater.Fault
	sent            bool
}

type attemptMetrics struct {
	attempts prometheus.Counter
	duration prometheus.Observer
	tokens   func() *[4]prometheus.Counter // prompt, completion, cached, reasoning
}

// attempted counts an attempt that is over.
func (c *Collector) attempted(e breakwater.Event) {
	key := attemptKey{class: e.Class, fault: e.Fault, sent: e.Attempt > 0}
	key.endpoint, key.model = c.names.Pair(e.Endpoint, e.Model, key.sent && e.Fault != breakwater.FaultCaller)
	found, ok := c.series.Load(key)
	if !ok {
		sent := "false"
		if key.sent {
			sent = "true"
		}
		found, _ = c.series.LoadOrStore(key, &attemptMetrics{
			attempts: c.attempts.WithLabelValues(key.endpoint, key.model, string(e.Class), faultOf(e), sent),
			duration: c.attemptTime.WithLabelValues(key.endpoint),
			tokens: sync.OnceValue(func() *[4]prometheus.Counter { // only hosts that report tokens need them
				var all [4]prometheus.Counter
				for i, kind := range tokenTypes {
					all[i] = c.tokens.WithLabelValues(key.endpoint, key.model, kind)
				}
				return &all
			}),
		})
	}
	m := found.(*attemptMetrics)
	m.attempts.Inc()
	if key.sent {
		m.duration.Observe(e.Elapsed.Seconds())
	}
	if u := e.Usage; u != (breakwater.Usage{}) {
		tokens := m.tokens()
		for i, n := range [...]int{u.PromptTokens, u.CompletionTokens, u.CachedTokens, u.ReasoningTokens} {
			tokens[i].Add(float64(max(n, 0)))
		}
	}
	c.charged(e.Cost, key.endpoint, key.model)
}

// A costKey has the labels of the metrics of a cost. Currencies are the user's own.
type costKey struct {
	endpoint, model, currency string
	estimated, known          bool
}

// charged counts what an attempt cost.
func (c *Collector) charged(cost breakwater.Cost, endpoint, model string) {
	if cost.Known && cost.Amount == 0 || cost.Currency() == "" {
		return
	}
	key := costKey{endpoint, model, cost.Currency(), cost.Estimated, cost.Known}
	found, ok := c.series.Load(key)
	if !ok {
		var counter prometheus.Counter
		if cost.Known {
			counter = c.costs.WithLabelValues(endpoint, model, key.currency, strconv.FormatBool(cost.Estimated))
		} else {
			counter = c.unpriced.WithLabelValues(endpoint, model)
		}
		found, _ = c.series.LoadOrStore(key, counter)
	}
	if cost.Known {
		found.(prometheus.Counter).Add(cost.Amount)
	} else {
		found.(prometheus.Counter).Inc()
	}
}

var tokenTypes = [...]string{"prompt", "completion", "cached", "reasoning"}

// faultOf returns the value of the label fault.
func faultOf(e breakwater.Event) string {
	switch {
	case e.Fault != "":
		return string(e.Fault)
	case e.Class == breakwater.ClassOK || e.Class == "":
		return "none"
	}
	return "unknown"
}
