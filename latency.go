package breakwater

import (
	"sync"
	"time"
)

// A latency is how long a model usually takes to its first payload: the mean
// and the deviation of late, as TCP keeps them of its round trips (RFC 6298).
type latency struct {
	mu              sync.Mutex // guards what follows
	mean, deviation time.Duration
}

// leastLatency is the least that counts as usual, as in RFC 6298, section 2.4.
const leastLatency = time.Second

// add takes in how long one attempt took.
func (l *latency) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mean == 0 {
		l.mean, l.deviation = max(d, 1), d/2
		return
	}
	l.deviation += ((d - l.mean).Abs() - l.deviation) / 4
	l.mean = max(l.mean+(d-l.mean)/8, 1)
}

// usual is how long an attempt may take before it takes longer than usual; 0 if
// there was none yet.
func (l *latency) usual() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mean == 0 {
		return 0
	}
	return max(l.mean+4*l.deviation, leastLatency)
}

// firstPayloadWithin is how long the attempt may show no payload while another
// endpoint could serve; 0: for good.
func (a *attempt) firstPayloadWithin() time.Duration {
	p := a.call.t.config.stream
	switch {
	case !a.call.look.stream && a.endpoint.row.queuesInside:
		return p.Queued
	case !a.call.look.stream, a.call.thinking(a.endpoint):
		return p.Thinking
	}
	return p.FirstToken
}

// hadTime reports whether the host was asked, and had the time that the model
// usually takes there: if it had not, that it showed nothing says nothing of it.
func (a *attempt) hadTime() bool {
	if !a.sent.Load() && a.endpoint.load.sent.Load() > 0 {
		return false // the host has taken others in: this one waited for a connection of the base's
	}
	usual := a.firstPayloadWithin()
	if c := a.pass.circuit; c != nil {
		if known := c.latency(a.call.look.stream).usual(); known > 0 {
			usual = known
		}
	}
	return usual > 0 && time.Since(a.start)-a.queued >= usual
}
