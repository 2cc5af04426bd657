// Package aimd finds out how many requests a host takes at once, from those that it
// refuses (additive increase, multiplicative decrease). A limit grows by a little with
// what the host serves, and shrinks by a twentieth when it refuses.
//
// The step down is small because a refusal comes at once and costs little: if the limit is
// still too high, the next refusal comes within a moment. The first refusal only stops the
// growth, because the host may be full of requests from other processes.
//
// A Limit is safe for concurrent use. Package limit is its only user.
package aimd

import (
	"math"
	"sync"
	"time"
)

// Unlimited is the size of a limit before the first refusal.
const Unlimited = 0

const (
	down = 0.95 // times the limit, for each second in which the host refuses
	// With each round of requests a limit grows by this share, at least by one request,
	// and faster the longer the host has refused none.
	up    = 0.02
	maxUp = 0.5
	hurry = 10 * time.Second // without a refusal, the share doubles after this time
	// A burst from other processes cuts a small limit to almost nothing, and a round may
	// take half a minute. So after this time without a refusal, the limit doubles with
	// each round.
	quiet = 5 * time.Second
	small = 16
	// breath is the least time between two steps down, because refusals come in bursts.
	breath  = time.Second
	inUse   = 0.8              // the share of the limit that must be open for it to grow: unused permits prove nothing
	forgets = 10 * time.Minute // without a refusal for this time, the limit is removed
)

// A Limit is the number of requests that may be open at once.
type Limit struct {
	max int // the limit never exceeds it; Unlimited: no bound

	mu      sync.Mutex // guards what follows
	limit   float64    // Unlimited: there is none
	cutAt   time.Time
	refused time.Time // the latest
}

// New returns a limit that is max until the host refuses.
func New(max int) *Limit { return &Limit{max: max} }

// Size returns how many requests may be open now.
func (l *Limit) Size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sizeLocked()
}

func (l *Limit) sizeLocked() int {
	if l.limit == Unlimited {
		return l.max
	}
	return int(l.limit)
}

// Refused notes that the host refused a request that began at begun, with open requests
// under way, including it. said is the number that the host stated as its limit; 0: none.
// It returns the new size.
func (l *Limit) Refused(now, begun time.Time, open, said int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = now
	if !begun.After(l.cutAt) || now.Sub(l.cutAt) < breath && said == 0 {
		return l.sizeLocked() // it was sent before the last step down, which has answered it
	}
	l.cutAt = now
	switch {
	case said > 0 && open > said:
		l.setLocked(float64(said)) // this process alone uses what the host allows
	case l.limit == Unlimited:
		l.setLocked(float64(open - 1)) // no more than now, because the host is also full of other processes' requests
	default:
		l.setLocked(down * l.limit)
	}
	return l.sizeLocked()
}

// Served notes that the host served a request, with open requests under way, including it.
// It returns the new size.
func (l *Limit) Served(now time.Time, open int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.limit == Unlimited:
	case now.Sub(l.refused) > forgets:
		l.limit = Unlimited
	case float64(open) >= inUse*float64(l.sizeLocked()):
		since := now.Sub(l.refused)
		step := max(1, l.limit*min(maxUp, up*math.Exp2(float64(since)/float64(hurry)))) / l.limit
		if since > quiet && l.limit < small {
			step = 1
		}
		l.setLocked(l.limit + step)
	}
	return l.sizeLocked()
}

func (l *Limit) setLocked(limit float64) {
	if l.max != Unlimited {
		limit = min(limit, float64(l.max))
	}
	l.limit = max(limit, 1)
}
