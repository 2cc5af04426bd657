package pace

import (
	"math"
	"time"
)

// A counter counts what becomes of requests.
type counter struct {
	since         time.Time
	sent, refused float64
}

const (
	// A sample has sampled requests, or as many as it takes until sampledOf are refused. Half
	// of that is enough after slow. If each refusal brings a pause, askedOf are. The host took
	// sampledTaken at least.
	sampled, sampledOf, askedOf = 200.0, 20.0, 3.0
	sampledTaken                = 2.0
	slow                        = 10 * time.Second
)

// sample returns the share that was refused, if enough was counted, and what was taken a
// second.
func (c *counter) sample(now time.Time, asked bool) (share, perSecond float64, ok bool) {
	took, n, of := now.Sub(c.since), sampled, sampledOf
	switch {
	case asked:
		n, of = math.Inf(1), askedOf
	case took > slow:
		n, of = n/2, of/2
	}
	if took < least || c.sent < n && c.refused < of || c.sent-c.refused < sampledTaken {
		return 0, 0, false
	}
	share = c.refused / c.sent
	if c.sent < n { // a refusal ended the sample
		share = (c.refused - 1) / (c.sent - 1)
	}
	perSecond = (c.sent - c.refused) / took.Seconds()
	*c = counter{since: now}
	return share, perSecond, true
}

func (c *counter) send(now time.Time) {
	if !now.Before(c.since) {
		c.sent++
	}
}

// refuse notes that a request was refused that was sent then.
func (c *counter) refuse(sent time.Time) {
	if !sent.Before(c.since) {
		c.refused++
	}
}
