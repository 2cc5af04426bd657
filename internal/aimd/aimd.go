// Package aimd finds out how many requests a host takes at once, from those it
// refuses: up by a little with what is served, down by a twentieth when it refuses.
//
// Refusals come at once and cost little, so a small step down is enough: what
// is still too much is refused again within a moment. The first refusal only
// stops the growth, for a host may be full of what others have sent it.
package aimd

import (
	"math"
	"sync"
	"time"
)

// Unlimited is the size of a limit before the first refusal.
const Unlimited = 0

const (
	down = 0.95 // of the limit, with each second in which the host refuses
	// Up, a limit grows by this share with each round of requests, by at least
	// one request, and faster the longer the host has refused none.
	up    = 0.02
	maxUp = 0.5
	hurry = 10 * time.Second // in which the share doubles
	// A small limit is cut to hardly anything by a burst of others, and rounds may
	// take half a minute: once it is quiet, it doubles with each.
	quiet = 5 * time.Second
	small = 16
	// breath is the least time between two steps down: refusals come in bursts.
	breath  = time.Second
	inUse   = 0.8              // of the limit must be open for it to grow: what is not used proves nothing
	forgets = 10 * time.Minute // without a refusal, after which there is no limit any more
)

// A Limit is the number of requests that may be open at once.
type Limit struct {
	max int // never above it; Unlimited: no bound

	mu      sync.Mutex // guards what follows
	limit   float64    // Unlimited: none
	cutAt   time.Time
	refused time.Time // the latest
}

// New returns a limit that is max until the host refuses.
func New(max int) *Limit { return &Limit{max: max} }

// Size is how many requests may be open now.
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

// Refused takes in that the host refused a request begun at that time, with
// open requests under way, itself included. said is the number it may have
// given for its limit, else 0. It returns the new size.
func (l *Limit) Refused(now, begun time.Time, open, said int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = now
	if !begun.After(l.cutAt) || now.Sub(l.cutAt) < breath && said == 0 {
		return l.sizeLocked() // sent before the last step down, or with it: that is answered already
	}
	l.cutAt = now
	switch {
	case said > 0 && open > said:
		l.setLocked(float64(said)) // this process alone has what the host allows
	case l.limit == Unlimited:
		l.setLocked(float64(open - 1)) // no more than now: the host is full of others' requests, too
	default:
		l.setLocked(down * l.limit)
	}
	return l.sizeLocked()
}

// Served takes in that the host has served a request, with open under way,
// itself included. It returns the new size.
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
