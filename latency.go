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
	longest         time.Duration // of late: others are forgotten by and by
}

// leastLatency is the least that counts as usual, as in RFC 6298, section 2.4.
const leastLatency = time.Second

// add takes in how long one attempt took.
func (l *latency) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mean == 0 {
		l.mean, l.deviation, l.longest = max(d, 1), d/2, d
		return
	}
	l.longest = max(d, l.longest-(l.longest-d)/16)
	l.deviation += ((d - l.mean).Abs() - l.deviation) / 4
	l.mean = max(l.mean+(d-l.mean)/8, 1)
}

// usual is how long an attempt may take before it takes longer than usual, which
// is no longer than the longest of late; 0 if there was none yet.
func (l *latency) usual() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mean == 0 {
		return 0
	}
	return max(min(l.mean+4*l.deviation, l.longest), leastLatency)
}

// firstPayloadWithin is how long the attempt may show no payload while another
// endpoint could serve; 0: for good.
func (a *attempt) firstPayloadWithin() time.Duration {
	return a.call.firstClock(a.endpoint, a.call.t.config.stream)
}

// firstClock is that of an attempt of the call's at e, by a policy.
func (c *call) firstClock(e *upstream, p StreamPolicy) time.Duration {
	switch {
	case !c.params.Stream && e.row.queuesInside:
		return p.Queued
	case !c.params.Stream, c.thinking(e):
		return p.Thinking
	}
	return p.FirstToken
}

// hadTime reports whether the host was asked, and had the time that the model
// usually takes there: if it had not, that it showed nothing says nothing of it.
func (a *attempt) hadTime() bool {
	if a.call.t.limitedBase && !a.sent.Load() && a.endpoint.Load.Sent() > 0 {
		return false // the host has taken others in: this one waited for a connection of the base's
	}
	usual := a.firstPayloadWithin()
	if c := a.pass.circuit; c != nil {
		if known := c.latency(&a.call.params).usual(); known > 0 {
			usual = known
		}
	}
	return usual > 0 && time.Since(a.start)-a.queued >= usual
}
