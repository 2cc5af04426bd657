package circuit

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Line is where those take their turns who have waited for the end of a pause or for a
// probe. They came while the host was not asked, and all would go at once otherwise.
//
// Those who waited for one event begin with a Growth. If they came while the host was away,
// they go as fast as lets the host get, together with the attempts that come now and do not
// wait, a little more than what it is known to take: the highest rate at which it has
// answered lately, or the rate at which they came. Those who have waited longest go first.
type Line struct {
	of   *Circuit     // its attempts tell what the host takes; nil: nothing does
	busy atomic.Bool  // somebody waits
	came atomic.Int64 // attempts of those who did not wait, which are not in level yet

	mu      sync.Mutex // guards what follows; of.mu is locked inside it
	waiting []*place   // those who have waited longest first
	growth  Growth
	gone    int       // since the growth began
	goneAt  time.Time // when the latest of them went
	takes   float64   // attempts a second that the host takes, as far as that is known; 0: nothing is
	atOnce  float64   // attempts that it may get faster than that
	level   float64   // attempts that it got, less what it should have got in the time since
	at      time.Time // when the level was right
}

// A Growth says how the first of those go who waited for one event: AtOnce of them when it
// has come, and twice as many have gone after each Step.
type Growth struct {
	Began  time.Time // the event
	AtOnce int
	Step   time.Duration
	Away   bool // the host was away until then
}

// after returns when somebody goes before whom so many have gone.
func (g Growth) after(gone int) time.Time {
	return g.Began.Add(time.Duration(float64(g.Step) * math.Log2(max(float64(1+gone)/float64(g.AtOnce), 1))))
}

// A place is that of one who waits.
type place struct {
	since time.Time
	wake  chan struct{} // of one: it is the first now, or its turn comes at another time
}

const (
	// The host gets so many times what it is known to take. With more, a host that limits what
	// is open fills up while the first answers are under way.
	above = 1.2
	// It gets at once what it takes in so many seconds, but two attempts at least.
	burst = 0.05
	// Those who wait get at least this part of what the host takes, however much comes now.
	least = 0.25
	// So few who wait tell no rate, nor do so few attempts.
	fewWait, fewAttempts = 15, 4
	// If the first of them has waited no longer than that, they are no more than what a
	// Growth lets go at once, unless the load is high.
	shortWait = 5 * time.Second
)

// Line returns the line of those who wait for a model. There is one of all models if the
// policy is off.
func (s *Set) Line(model string) *Line {
	if c := s.Get(model); c != nil {
		return &c.line
	}
	return &s.line
}

// Wait waits for the turn of somebody who has waited since then, at most until the time
// limit, or without one if that is zero. It reports whether the turn came. It returns the
// cause of ctx's end if that comes first.
func (l *Line) Wait(ctx context.Context, since time.Time, g Growth, limit time.Time) (bool, error) {
	p := &place{since: since, wake: make(chan struct{}, 1)}
	done := ctx.Done() // before it has a place: a context may panic
	l.join(p, g)
	var late <-chan time.Time
	if !limit.IsZero() {
		timer := time.NewTimer(time.Until(limit))
		defer timer.Stop()
		late = timer.C
	}
	turn := time.NewTimer(math.MaxInt64) // stands still while others are first
	defer turn.Stop()
	for {
		wait, first := l.goes(p)
		switch {
		case first && wait <= 0:
			return true, nil
		case first:
			turn.Reset(wait)
		}
		select {
		case <-turn.C:
		case <-p.wake:
		case <-late:
			l.leave(p)
			return false, nil
		case <-done:
			l.leave(p)
			return false, context.Cause(ctx)
		}
	}
}

// Expected returns when about the turn of somebody comes before whom so many go after an
// event.
func (l *Line) Expected(now time.Time, turn int, g Growth) time.Time {
	next := g.after(turn)
	if takes := l.of.mostTaken(now); takes > 0 && g.Away {
		next = latest(next, g.Began.Add(seconds(float64(turn)/takes)))
	}
	return next
}

func (l *Line) join(p *place, g Growth) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 || g.Away && g.Began.After(l.growth.Began) {
		l.beginLocked(p, g, now)
	}
	at, _ := slices.BinarySearchFunc(l.waiting, p, func(a, b *place) int { return a.since.Compare(b.since) })
	l.waiting = slices.Insert(l.waiting, at, p)
	if n := len(l.waiting); n > fewWait {
		came := max(l.waiting[n-1].since.Sub(l.waiting[0].since), time.Second)
		l.takes = max(l.takes, (float64(n)-chance(n))/came.Seconds())
	}
	l.busy.Store(true)
	l.wakeFirstLocked() // a growth may have begun
}

// beginLocked begins a line, or a Growth in one. A pause that a refusal earned begins none
// in a line: those in it would wait anew for each refusal.
func (l *Line) beginLocked(first *place, g Growth, now time.Time) {
	if len(l.waiting) == 0 && now.Sub(l.goneAt) > g.Step {
		l.level = 0
	}
	if g.Began.After(l.growth.Began) {
		l.growth, l.gone, l.atOnce = g, 0, 0
		if g.Began.Sub(first.since) < shortWait {
			l.atOnce = float64(g.AtOnce)
		}
	}
	if l.at = now; l.growth.Away {
		l.takes = l.of.mostTaken(now)
	}
}

// leave removes a place.
func (l *Line) leave(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.Index(l.waiting, p)
	l.waiting = slices.Delete(l.waiting, at, at+1)
	l.wakeFirstLocked()
}

// wakeFirstLocked lets the first in the line look when its turn comes.
func (l *Line) wakeFirstLocked() {
	if len(l.waiting) == 0 {
		l.waiting = nil
		l.busy.Store(false)
		return
	}
	select {
	case l.waiting[0].wake <- struct{}{}:
	default:
	}
}

// sent counts an attempt of one who did not wait.
func (l *Line) sent() {
	if l.busy.Load() {
		l.came.Add(1)
	}
}

// goes reports whether p is the first in the line, and when its turn comes. If that is now,
// p has left the line.
func (l *Line) goes(p *place) (wait time.Duration, first bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting[0] != p {
		return 0, false
	}
	if wait = l.nextLocked(now).Sub(now); wait > 0 {
		return wait, true
	}
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	l.gone++
	l.goneAt = now
	l.level++
	l.wakeFirstLocked()
	return 0, true
}

// nextLocked returns when the next one goes.
func (l *Line) nextLocked(now time.Time) time.Time {
	next := l.growth.after(l.gone)
	if l.takes == 0 || !l.growth.Away {
		return next
	}
	l.leakLocked(now)
	if over := l.level + 1 - max(l.atOnce, burst*l.takes, 2); over > 0 {
		paced := now.Add(seconds(over / (above * l.takes)))
		if most := l.goneAt.Add(seconds(1 / (least * l.takes))); paced.After(most) {
			paced = most
		}
		next = latest(next, paced)
	}
	return next
}

func (l *Line) leakLocked(now time.Time) {
	if d := now.Sub(l.at); d > 0 {
		l.level, l.at = max(l.level-above*l.takes*d.Seconds(), 0), now
	}
	l.level += float64(l.came.Swap(0))
}

// A meter keeps how many attempts that were sent in each quarter of a second have shown
// payload, for the latest quarters that had any.
type meter struct {
	quarters [128]struct {
		at    int64 // in quarters of a second
		n     int32
		paced bool // a line decided how many they are, and not chance
	}
	last int // the index of the latest
}

// quarter is what a meter counts by.
const quarter = int64(time.Second / 4)

// add counts an attempt that was sent then, after it waited in a line or not.
func (m *meter) add(sent time.Time, inTurn bool) {
	at := sent.UnixNano() / quarter
	for i := range m.quarters {
		switch q := &m.quarters[(m.last+len(m.quarters)-i)%len(m.quarters)]; {
		case q.at == at:
			q.n++
			q.paced = q.paced || inTurn
			return
		case q.at < at:
			if i == 0 {
				m.last = (m.last + 1) % len(m.quarters)
				q = &m.quarters[m.last]
				q.at, q.n, q.paced = at, 1, inTurn
			}
			return // too late for a quarter in which no other has
		}
	}
}

// most returns the highest rate a second at which attempts that were answered were sent for
// a second or longer, less what chance may have added; 0: they were few.
func (m *meter) most(now time.Time) (most float64) {
	oldest := now.Add(-meterFor).UnixNano() / quarter
	for from := range m.quarters {
		n, random, first := 0, 0, m.quarters[(m.last+1+from)%len(m.quarters)].at
		if first < oldest {
			continue
		}
		for to := from; to < len(m.quarters); to++ {
			q := &m.quarters[(m.last+1+to)%len(m.quarters)]
			n += int(q.n)
			if !q.paced {
				random += int(q.n)
			}
			if n > fewAttempts {
				most = max(most, (float64(n)-chance(random))/max(float64(q.at-first+1)/4, 1))
			}
		}
	}
	return most
}

// meterFor is how long a meter counts.
const meterFor = 10 * time.Minute

// chance returns how many of n events chance may have added: two standard deviations.
func chance(n int) float64 { return 2 * math.Sqrt(float64(n)) }

// mostTaken returns the most attempts a second that the circuit's host is known to take.
func (c *Circuit) mostTaken(now time.Time) float64 {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken.most(now)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
