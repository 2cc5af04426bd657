package breakwater

import (
	"time"

	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/request"
)

// firstPayloadWithin is how long the attempt may show no payload while another
// endpoint could serve; 0: for good.
func (a *attempt) firstPayloadWithin() time.Duration {
	return a.call.firstClock(a.endpoint, a.call.t.config.stream)
}

// firstClock is that of an attempt of the call's at e, by a policy.
func (c *call) firstClock(e *upstream, p StreamPolicy) time.Duration {
	switch {
	case !c.params.Stream && e.profile.QueuesAfterHeaders:
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
	if known := a.permit.Latency(latencyKind(&a.call.params)).Usual(); known > 0 {
		usual = known
	}
	return usual > 0 && time.Since(a.Start)-a.queued >= usual
}

// latencyKind says which of a model's latencies is that of calls like this one:
// JSON answers, which come whole, and streams differ, and so does what thinks.
func latencyKind(p *request.Params) int {
	kind := int(p.Thinking.Mode())
	if p.Stream {
		kind += circuit.Kinds / 2
	}
	return kind
}
