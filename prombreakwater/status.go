package prombreakwater

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/breakwater-go/breakwater"
)

// What is read from Status at each scrape.
var (
	circuitState = gauge("circuit_state", "1 for the state that a circuit is in: closed, half-open or open. Models with one state are counted together.", "endpoint", "model", "state")
	pausedUntil  = gauge("paused_seconds", "How long a pause still lasts. Model is empty for a pause of all models.", "endpoint", "model")
	inFlight     = gauge("attempts_in_flight", "Attempts that are open, where their number is limited.", "endpoint", "model")
	waiting      = gauge("attempts_waiting", "Attempts that wait for a limit.", "endpoint", "model")
	healthy      = gauge("endpoint_health", "What probes have found of an endpoint: 1 for yes, 0 for no. There is no sample for what nobody knows. finding is reachable, credential, funds or models: all of them are listed.", "endpoint", "finding")
	balance      = gauge("account_balance", "Balance of the endpoint's account, as its host tells it.", "endpoint", "currency")
	share        = gauge("endpoint_share", "Share of first attempts that an endpoint keeps while it is in half-trouble. There is no sample for an endpoint that keeps all of them. Of several Transports, the least counts.", "endpoint", "model")
	tenantTokens = gauge("tenant_day_tokens", "Tokens that a tenant has used since midnight, of the tenants that have used most.", "tenant")
	tenantCost   = gauge("tenant_day_cost", "What a tenant has cost since midnight, of the tenants that have used most. There is no sample where no prices are known.", "tenant", "currency")
	passed       = gauge("passed_requests_total", "Requests that were sent once, without protection: see KindPassed.")
	cacheEntries = gauge("cache_entries", "Answers in memory.")
	cacheBytes   = gauge("cache_bytes", "Size of the answers in memory.")
	cacheResults = gauge("cache_requests_total", "Calls by what the cache had for them: hit, stale, collapsed or miss.", "result")
	cacheStores  = gauge("cache_stores_total", "Answers that were kept.")
	cacheEvicted = gauge("cache_evictions_total", "Answers that were removed to make room.")

	gauges = []*prometheus.Desc{
		circuitState, pausedUntil, inFlight, waiting, healthy, balance, share, tenantTokens, tenantCost, passed, cacheEntries, cacheBytes, cacheResults, cacheStores, cacheEvicted,
	}
)

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("breakwater_"+name, help, labels, nil)
}

// A sample has the labels of one sample of a metric.
type sample struct {
	metric *prometheus.Desc
	labels [3]string
}

// collectStatus adds up the Status of Transports. Models beyond the bound are added up,
// too, so that no scrape has one sample twice.
func (c *Collector) collectStatus(watched []*breakwater.Transport, ch chan<- prometheus.Metric) {
	if len(watched) == 0 {
		return
	}
	now := time.Now()
	sums := make(map[sample]float64)
	for _, t := range watched {
		s := t.Status()
		for _, e := range s.Endpoints {
			c.addEndpoint(sums, &e, now)
		}
		c.addTenants(sums, s.Tenants)
		for _, x := range []struct {
			metric *prometheus.Desc
			result string
			value  int64
		}{
			{passed, "", s.Passed},
			{cacheEntries, "", int64(s.Cache.Entries)}, {cacheBytes, "", s.Cache.Bytes},
			{cacheResults, "hit", s.Cache.Hits}, {cacheResults, "stale", s.Cache.Stale},
			{cacheResults, "collapsed", s.Cache.Shared}, {cacheResults, "miss", s.Cache.Misses},
			{cacheStores, "", s.Cache.Stores}, {cacheEvicted, "", s.Cache.Evictions},
		} {
			sums[sample{x.metric, [3]string{x.result}}] += float64(x.value)
		}
	}
	for at, value := range sums {
		kind, labels := prometheus.GaugeValue, at.labels[:]
		switch at.metric {
		case circuitState:
		case pausedUntil, inFlight, waiting, healthy, balance, share, tenantCost:
			labels = labels[:2]
		case tenantTokens:
			labels = labels[:1]
		case cacheResults:
			kind, labels = prometheus.CounterValue, labels[:1]
		case passed, cacheStores, cacheEvicted:
			kind, labels = prometheus.CounterValue, nil
		default:
			labels = nil
		}
		ch <- prometheus.MustNewConstMetric(at.metric, kind, value, labels...)
	}
}

// addEndpoint adds the state of an endpoint. Of several Transports, the longest pause and the
// least share count.
func (c *Collector) addEndpoint(sums map[sample]float64, e *breakwater.EndpointStatus, now time.Time) {
	for _, x := range e.Circuits {
		endpoint, model := c.names.Pair(e.Name, x.Model, false)
		sums[sample{circuitState, [3]string{endpoint, model, x.State}}]++
	}
	for _, x := range e.Pauses {
		endpoint, model := c.names.Pair(e.Name, x.Model, x.Model == "")
		at := sample{pausedUntil, [3]string{endpoint, model}}
		sums[at] = max(sums[at], x.Until.Sub(now).Seconds())
	}
	c.addHealth(sums, e.Name, e.Health)
	for _, x := range e.Shares {
		endpoint, model := c.names.Pair(e.Name, x.Model, false)
		at := sample{share, [3]string{endpoint, model}}
		if known, ok := sums[at]; !ok || x.Share < known {
			sums[at] = x.Share
		}
	}
	for _, x := range e.Limits {
		endpoint, model := c.names.Pair(e.Name, x.Model, false)
		sums[sample{inFlight, [3]string{endpoint, model}}] += float64(x.InFlight)
		sums[sample{waiting, [3]string{endpoint, model}}] += float64(x.Waiting)
	}
}

// addTenants adds what tenants have used today.
func (c *Collector) addTenants(sums map[sample]float64, tenants []breakwater.TenantStatus) {
	for _, x := range tenants {
		tenant := c.names.Tenant(x.Name)
		sums[sample{tenantTokens, [3]string{tenant}}] += float64(x.Tokens)
		if currency := x.Cost.Currency(); x.Cost.Known && currency != "" {
			sums[sample{tenantCost, [3]string{tenant, currency}}] += x.Cost.Amount
		}
	}
}

// addHealth adds what probes have found. Of several Transports, the worst counts.
func (c *Collector) addHealth(sums map[sample]float64, name string, h *breakwater.HealthStatus) {
	if h == nil || h.Checked.IsZero() {
		return
	}
	endpoint := c.names.Endpoint(name)
	least := func(at sample, value float64) {
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
			least(sample{healthy, [3]string{endpoint, x.name}}, 1)
		case breakwater.FindingNo:
			least(sample{healthy, [3]string{endpoint, x.name}}, 0)
		}
	}
	if h.Balance != nil {
		least(sample{balance, [3]string{endpoint, h.Balance.Currency}}, h.Balance.Amount)
	}
}
