package limit

import (
	"time"

	"github.com/breakwater-go/breakwater/internal/aimd"
	"github.com/breakwater-go/breakwater/internal/pace"
)

// A Throttle is a host's refusal of an attempt, because it takes no more of them now.
type Throttle struct {
	Sent   time.Time
	Rest   time.Duration // the pause that the host asked for of all that the limiter admits; 0: none
	Stated int           // the number of open attempts that the host stated as its limit; 0: none
	Open   int           // the attempts that were under way when it was sent, itself included

	// The following say what was before, for the first refusal.
	Demand  float64 // calls a second
	Serving bool    // the host has just answered others
}

// learned is the rate that a host seems to take. The zero value limits nothing.
type learned struct {
	rate   *pace.Rate // nil: the host has refused nothing for long
	bucket bucket
}

// maxBurst is for how long a learned rate may be made up for at once.
const (
	maxBurst   = 10 * time.Millisecond
	leastBurst = 3 // so that a caller or two need not wait at a low rate
)

// throttled notes a refusal.
func (l *Limiter) throttled(t Throttle) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.learnLocked(now, t)
	if l.waiting.len() > 0 {
		l.admitLocked(now)
	}
}

// learnLocked learns from a refusal. A host that states its limit, or refuses whenever more
// attempts are open than it has ever served, limits what is open; but if other processes use
// most of that, what is left for this one is a rate, as at a host that limits the rate.
func (l *Limiter) learnLocked(now time.Time, t Throttle) {
	if until := now.Add(t.Rest); t.Rest > 0 && until.After(l.shift) {
		l.shift = until // those in the queue stay there, and need not plan again one by one
	}
	defer func() {
		if t.Stated > 0 && l.learned.rate != nil {
			l.learned.rate.LimitsOpen()
		}
	}()
	switch w := &l.window; {
	case l.policy.Load().Fixed, l.policy.Load().Adaptive: // with Adaptive, the number of permits is lowered
	case t.Stated > 0 && float64(t.Open) >= alone*float64(t.Stated):
		l.boundLocked(now, t.Open, t.Stated)
	case w.bound && w.tooMany():
		l.adaptive, l.permits = nil, l.policy.Load().InFlight
		l.window = window{wrong: min(w.wrong+1, 10), uncounted: w.uncounted}
		l.paceLocked(now, t)
	case w.bound:
	case l.learned.rate == nil:
		l.paceLocked(now, t)
		w.most, w.served, w.full = t.Open-1, 0, 0
		if l.open == 0 && w.wrong == 0 {
			w.uncounted = t.Open - 1
		}
	default:
		news := l.learned.rate.Refused(now, t.Sent, t.Rest)
		l.learned.set(now)
		if !news {
			return
		}
		if t.Rest > 0 || t.Open <= w.most || w.served < min(max(w.most, tooFew), enoughServed) || t.Open <= tooFew {
			w.full = 0
		} else if w.full++; w.full >= proof<<w.wrong {
			l.boundLocked(now, t.Open, t.Open-1)
		}
	}
}

// paceLocked begins to learn the rate. No rate is so low that a caller who waits as long as
// it may gets no turn.
func (l *Limiter) paceLocked(now time.Time, t Throttle) {
	l.learned.rate = pace.New(now, t.Demand, l.policy.Load().PerSecond, 1/max(l.policy.Load().MaxWait, time.Second).Seconds(), t.Serving)
	l.learned.set(now)
}

// A window is what is known of the number of attempts that a host takes at once.
type window struct {
	bound     bool // the number of permits is learned
	uncounted int  // attempts that have begun before the limiter was there

	most   int // attempts that were open when one began that was served
	served int // attempts since the first refusal
	full   int // refusals in a row of attempts that began when more than that were open

	sent, refused int // since it is bound
	wrong         int // so often it was bound although the host limits a rate
}

const (
	alone        = 0.8 // a process that has this share of what may be open uses it alone
	tooFew       = 4   // open attempts say nothing
	enoughServed = 20
	proof        = 3 // so many refusals in a row say that the number is limited

	// If a share of more than mayRefuse is refused of at least judged attempts, it is not.
	judged    = 50
	mayRefuse = 0.1
)

// boundLocked bounds the open attempts to size, which is all that the host takes, instead
// of their rate. open were under way.
func (l *Limiter) boundLocked(now time.Time, open, size int) {
	if l.adaptive == nil {
		l.adaptive = aimd.New(l.policy.Load().InFlight)
		l.permits = l.adaptive.Refused(now, now, max(open, size+1), size)
	}
	l.window = window{bound: true, uncounted: l.window.uncounted, wrong: l.window.wrong}
	l.learned = learned{}
}

// end notes the end of an attempt that had begun with so many under way.
func (w *window) end(open int) {
	w.served++
	w.most = max(w.most, open)
}

// tooMany reports whether the host refuses too many although their number is bounded.
func (w *window) tooMany() bool {
	w.refused++
	if w.sent < judged {
		return false
	}
	many := float64(w.refused) > mayRefuse*float64(w.sent)
	w.sent, w.refused = 0, 0
	return many
}

// Uncounted notes the end of an attempt that began before the limiter was there.
func (l *Limiter) Uncounted() {
	if l == nil {
		return
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.window.uncounted > 0 {
		l.window.uncounted--
		l.refused = false
		l.admitLocked(now)
	}
}

// set makes the bucket follow the rate.
func (l *learned) set(now time.Time) {
	perSecond := l.rate.PerSecond()
	burst := max(int(perSecond*maxBurst.Seconds()), leastBurst)
	if l.bucket.limiter == nil && perSecond > 0 {
		l.bucket = newBucket(perSecond, burst)
	}
	l.bucket.set(now, perSecond, burst)
}

func (l *learned) wait(now time.Time, n float64) time.Duration { return l.bucket.wait(now, n) }

// ask notes that a call comes for the first time.
func (l *learned) ask(now time.Time) {
	if l.rate != nil {
		l.rate.Asked(now)
	}
}

// send takes the turn of an attempt. queued says that it waited for it.
func (l *learned) send(now time.Time, queued bool) {
	switch {
	case l.rate == nil:
	case l.rate.Over(now):
		*l = learned{}
	default:
		l.bucket.spend(now, 1)
		l.rate.Sent(now, queued)
		l.set(now)
	}
}

// unsend returns the turn of an attempt that was not sent.
func (l *learned) unsend(now time.Time) {
	if l.rate != nil {
		l.bucket.spend(now, -1)
	}
}

// longest returns the longest expected wait with which a call is queued. Those that come for
// the first time leave some time for a second one.
func (l *learned) longest(patience time.Duration, use Use) time.Duration {
	if l.rate == nil || use.Throttled {
		return patience
	}
	return patience * 4 / 5
}
