package limit

import (
	"time"

	"github.com/breakwater-go/breakwater/internal/bounded"
)

// A fairness knows how much tenants have used lately of what the limiter has, so that those
// who used less go first when it is short. The zero value knows of nobody, and counts nothing
// until an attempt names a tenant.
//
// It is start-time fair queueing (Goyal, Vin and Cheng, 1996). What an attempt uses is in
// seconds of all that there is: of the rate, of the tokens, or of the permits, whichever is
// the most. Each tenant has a virtual time up to which it has used its part, and attempts of
// the one that is furthest behind are next. Who comes after a while begins at the clock, and
// not where it was: nobody saves up a part that others would have to wait for later.
type fairness struct {
	clock float64            // the virtual time, in seconds
	moved time.Time          // when it was looked at last
	used  map[string]float64 // the virtual time up to which a tenant has used its part; nil: nobody has named one
}

// maxTenants bounds the tenants that are known, because callers name them. Who has used least
// is forgotten first: that one is hardly different from one that is not known.
const maxTenants = 1024

// begin makes the limiter count for tenants from now on.
func (f *fairness) begin(now time.Time) {
	f.used, f.moved = make(map[string]float64), now
}

// tick moves the clock. While nobody waits, all of what there is is free for everybody, so
// virtual time goes by as real time does.
func (f *fairness) tick(now time.Time, waiting bool) {
	if d := now.Sub(f.moved); d > 0 {
		if !waiting {
			f.clock += d.Seconds()
		}
		f.moved = now
	}
}

// start returns where an attempt of a tenant that comes now begins.
func (f *fairness) start(tenant string) float64 { return max(f.used[tenant], f.clock) }

// set notes up to where a tenant has used its part.
func (f *fairness) set(tenant string, until float64) {
	if _, known := f.used[tenant]; !known {
		bounded.MakeRoom(f.used, maxTenants, func(until float64) bounded.Worth { return bounded.Worth{Used: int64(until * 1e6)} })
	}
	f.used[tenant] = until
}

// costLocked returns how much an attempt uses, in seconds of all that there is, if it takes
// so many tokens and holds its permit for so long.
func (l *Limiter) costLocked(tokens int, held time.Duration) float64 {
	cost := 0.0
	for _, perSecond := range [...]float64{l.attempts.perSecond, l.learned.bucket.perSecond} {
		if perSecond > 0 {
			cost = max(cost, 1/perSecond)
		}
	}
	if l.tokens.perSecond > 0 {
		cost = max(cost, float64(tokens)/l.tokens.perSecond)
	}
	if l.permits > 0 {
		cost = max(cost, held.Seconds()/float64(l.permits))
	}
	return cost
}

// expectedHoldLocked returns how long an attempt is expected to hold its permit.
func (l *Limiter) expectedHoldLocked() time.Duration {
	if usual := l.holds.usual(); usual > 0 {
		return usual
	}
	return time.Second
}

// chargeLocked notes that an attempt of a tenant began without a wait. What it used before
// somebody waits lets the others go first for half of the longest wait at most, and no more:
// those who wait have to get their turn in time.
func (l *Limiter) chargeLocked(now time.Time, c Caller, tokens int) (cost float64) {
	f := &l.fairness
	if f.used == nil {
		if c.Tenant == "" {
			return 0
		}
		f.begin(now)
	}
	f.tick(now, l.waiting.len() > 0)
	cost = l.costLocked(tokens, l.expectedHoldLocked())
	start := f.start(c.Tenant)
	until := max(start, min(start+cost, f.clock+l.policy.Load().MaxWait.Seconds()/2))
	f.set(c.Tenant, until)
	return until - start
}

// grantLocked takes w, whose turn it is, out of the queue, and notes what it uses.
func (l *Limiter) grantLocked(now time.Time, w *waiter) {
	f := &l.fairness
	f.tick(now, true)
	start, least := l.waiting.grant(w)
	if f.used == nil {
		return
	}
	if w.late {
		start = f.start(w.Tenant)
	}
	if least {
		f.clock = max(f.clock, start)
	}
	w.cost = l.costLocked(w.tokens, l.expectedHoldLocked())
	until := start + w.cost
	f.set(w.Tenant, until)
	l.waiting.restart(w.Tenant, until)
}

// settleLocked replaces what a lease was expected to use by what it has used.
func (l *Limiter) settleLocked(now time.Time, lease *Lease, used int) {
	f := &l.fairness
	if f.used == nil || lease.cost == 0 {
		return
	}
	tenant := lease.use.Caller.Tenant
	until, known := f.used[tenant]
	if !known {
		return
	}
	f.tick(now, l.waiting.len() > 0)
	until += l.costLocked(used, now.Sub(lease.since)) - lease.cost
	f.set(tenant, until)
	l.waiting.restart(tenant, max(until, f.clock))
}
