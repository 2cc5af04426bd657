package drill

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
)

// A change is something that breakwater told of a host.
type change struct {
	at   time.Duration
	host string
	what string        // closed, half-open, open: a circuit; pause; passed over
	wait time.Duration // of a pause
}

const (
	pauseBegan = "pause"
	passedOver = "passed over"
)

// A request is one that was sent to a host.
type request struct {
	at   time.Duration
	host string
}

// A record is what was seen of one client. It is safe for concurrent use.
type record struct {
	began time.Time

	mu       sync.Mutex // guards what follows
	calls    []call     // in the order in which they ended
	open     int        // calls under way
	sum      [unfinished + 1]int
	requests []request
	changes  []change
	passed   map[string]time.Duration // when a call last passed a host over
}

func newRecord() *record { return &record{passed: make(map[string]time.Duration)} }

func (r *record) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open++
}

func (r *record) end(c call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open--
	r.sum[c.result]++
	r.calls = append(r.calls, c)
}

func (r *record) sent(host string) {
	at := time.Since(r.began)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request{at, host})
}

// observe is a breakwater.Observer.
func (r *record) observe(_ context.Context, e breakwater.Event) {
	c := change{at: e.Time.Sub(r.began), host: e.Endpoint, wait: e.Wait}
	switch e.Kind {
	case breakwater.KindCircuit:
		c.what = e.To
	case breakwater.KindPause:
		c.what = pauseBegan
	case breakwater.KindPassedOver:
		switch e.Reason {
		case breakwater.ReasonCircuit, breakwater.ReasonPaused, breakwater.ReasonQuarantine, breakwater.ReasonShift:
			c.what = passedOver
		default:
			return
		}
	default:
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.what == passedOver {
		// One for each tenth of a second and host is enough to know since when.
		if last, ok := r.passed[c.host]; ok && c.at-last < 100*time.Millisecond {
			return
		}
		r.passed[c.host] = c.at
	}
	r.changes = append(r.changes, c)
}

// A history is a record that no longer changes, in order of time.
type history struct {
	client   string
	calls    []call // by at, without the unfinished
	left     int    // unfinished
	requests []request
	changes  []change
}

func (r *record) history(client string) history {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := history{client: client, requests: slices.Clone(r.requests), changes: slices.Clone(r.changes)}
	for _, c := range r.calls {
		if c.result == unfinished {
			h.left++
			continue
		}
		h.calls = append(h.calls, c)
	}
	slices.SortStableFunc(h.calls, func(a, b call) int { return cmp.Compare(a.at, b.at) })
	slices.SortStableFunc(h.requests, func(a, b request) int { return cmp.Compare(a.at, b.at) })
	slices.SortStableFunc(h.changes, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	return h
}

// A glance is what the live view shows of a client.
type glance struct {
	client                  string
	answered, failed, wrong int
	open                    int
	p99                     time.Duration  // to the first text, of what ended in the last seconds
	by                      map[string]int // who answered in the last seconds
	circuits                map[string]string
}

// recently is how far a glance looks back.
const recently = 3 * time.Second

func (r *record) glance(client string) glance {
	now := time.Since(r.began)
	r.mu.Lock()
	defer r.mu.Unlock()
	g := glance{
		client: client, answered: r.sum[answered], failed: r.sum[failed], wrong: r.sum[wrong], open: r.open,
		by: make(map[string]int), circuits: make(map[string]string),
	}
	var firsts, streams []time.Duration
	for i := len(r.calls) - 1; i >= 0; i-- {
		c := r.calls[i]
		if c.at+c.took < now-recently {
			break
		}
		if c.result == answered {
			firsts = append(firsts, c.first)
			if c.stream {
				streams = append(streams, c.first)
			}
			g.by[c.by]++
		}
	}
	if len(streams) > 0 {
		firsts = streams
	}
	g.p99 = percentile(firsts, 0.99)
	for _, c := range r.changes {
		switch c.what {
		case pauseBegan, passedOver:
		default:
			g.circuits[c.host] = c.what
		}
	}
	for host, at := range r.passed {
		if state := g.circuits[host]; now-at < time.Second && (state == "" || state == "closed") {
			g.circuits[host] = "passed over"
		}
	}
	return g
}

// percentile returns the smallest of the times that the share q of them does not exceed.
func percentile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[max(0, min(i, len(sorted)-1))]
}
