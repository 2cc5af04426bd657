package breakwater

import (
	"context"
	"net/http"

	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A breaker is the layer that asks a circuit whether an attempt may be sent, and reports
// to the circuit how the attempt ended. It reports a probe at its commit, and again if its
// stream breaks later.
type breaker struct {
	next     http.RoundTripper
	circuits *circuit.Set // of the endpoint
}

// newBreaker returns the layer of an endpoint that has these circuits. If the policy never
// opens a circuit, there is no such layer.
func newBreaker(circuits *circuit.Set) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		if circuits.Off() {
			return next
		}
		return &breaker{next, circuits}
	}
}

// RoundTrip sends the attempt if its circuit allows it.
func (b *breaker) RoundTrip(req *http.Request) (*http.Response, error) {
	a := attemptOf(req.Context())
	c := b.circuits.Get(a.call.circuitOf(a.model))
	allowed := c.Allow(&a.permit, a.Start.Add(a.queued), a.forced)
	kept := allowed && a.keepPermit()
	c.Flush() // after keepPermit: if an Observer panics here, the attempt's end returns the permit
	switch {
	case !allowed:
		return nil, &exchange.Failure{Class: ClassCircuitOpen, Err: ErrCircuitOpen}
	case !kept:
		return nil, outcome.ErrOutrun
	}
	resp, err := b.next.RoundTrip(req)
	if err == nil {
		orClose(resp, a.permit.Commit)
	}
	return resp, err
}

// newCircuits returns the circuits of an endpoint, which report their changes to emit. When
// one of them opens, conns, which may be nil, are renewed.
func newCircuits(c *config, endpoint string, conns *connections, emit func(context.Context, Event)) *circuit.Set {
	return circuit.NewSet(circuit.Settings{
		Policy:    circuit.Policy(c.breaker),
		SlowStart: c.balance.Ramp,
		Jitter:    c.jitter,
		OnChange: func(change circuit.Change) {
			if conns != nil && change.To == circuit.Open {
				conns.renew()
			}
			emit(context.Background(), Event{
				Kind: KindCircuit, Endpoint: endpoint, Model: change.Model, From: change.From, To: change.To, Wait: change.Wait,
			})
		},
	})
}
