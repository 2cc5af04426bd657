package circuit

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/breakwater-go/breakwater/internal/bounded"
)

const (
	// ProbeGrace is how long a probe that has no outcome yet keeps others from
	// probing: the host may be slow, but well.
	ProbeGrace = 3 * time.Second
	// ForcedEvery is how often a circuit is probed before its pause is over, by
	// callers with nowhere else to go: they must not be what keeps a host down.
	ForcedEvery = time.Second
	// windowParts is how many steps a window moves in.
	windowParts = 12
)

// A Circuit is the circuit breaker of one model. It is gobreaker's state
// machine without the pause: gobreaker goes half-open after 1 ns, and Allow
// refuses until the circuit's own pause is over. gobreaker's pause could
// neither double nor be cut short by a forced probe.
type Circuit struct {
	set   *Set
	model string
	gb    *gobreaker.TwoStepCircuitBreaker[struct{}]

	relapse   atomic.Bool  // the next failure opens it, whatever the counts say
	changed   atomic.Bool  // changes is not empty
	answered  atomic.Int64 // attempts that showed payload since it closed
	used      atomic.Int64 // bounded.Worth.Used
	latencies [Kinds]Latency

	mu          sync.Mutex // guards what follows; taken under gobreaker's own lock, never the other way round
	state       gobreaker.State
	openUntil   time.Time     // when the pause ends; zero: it has closed since, or never opened
	openFor     time.Duration // the next pause
	lastOpenFor time.Duration // openFor when it closed
	closedAt    time.Time     // zero: it never opened
	consecutive consecutive
	served      bool     // an attempt has shown payload, ever
	probes      []*Probe // without an outcome, the latest last
	probedAt    time.Time
	changes     []Change // not told yet
}

func newCircuit(s *Set, model string) *Circuit {
	p := s.policy
	c := &Circuit{set: s, model: model, openFor: p.OpenFor}
	s.all.Touch(&c.used)
	c.gb = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:   uint32(min(uint64(p.Probes), math.MaxUint32)),
		Interval:      p.Window,
		BucketPeriod:  p.Window / windowParts,
		Timeout:       1, // ns: see Circuit
		ReadyToTrip:   func(n gobreaker.Counts) bool { return c.relapse.Load() || c.shouldTrip(n) },
		IsExcluded:    func(err error) bool { return err == errNeutral },
		OnStateChange: c.onStateChange,
	})
	return c
}

// Allow asks for leave to send an attempt now and keeps it in p, which must be
// new. A forced attempt passes an open circuit as a probe. Behind Allow the
// caller calls Flush, once it is certain that somebody will report on p: the
// user's code that Flush runs may panic.
func (c *Circuit) Allow(p *Permit, now time.Time, forced bool) bool {
	p.circuit, p.since = c, now
	c.set.all.Touch(&c.used)
	c.mu.Lock()
	refused := !forced && now.Before(c.openUntil)
	follows := !refused && c.followLocked(p)
	c.mu.Unlock()
	if refused || follows {
		return follows
	}
	finish, err := c.gb.Allow()
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == gobreaker.StateHalfOpen {
		p.state, p.probe = probing, newProbe(finish)
		c.probes = append(c.probes, p.probe)
		c.probedAt = now
	} else {
		p.state, p.finish = passing, finish
	}
	c.consecutive.begin(p)
	return true
}

// followLocked lets the attempt share the latest probe, if that is slow and has
// no outcome yet. gobreaker would count such a probe against all who come later.
func (c *Circuit) followLocked(p *Permit) bool {
	if len(c.probes) == 0 || p.since.Sub(c.probedAt) < ProbeGrace {
		return false
	}
	slow := c.probes[len(c.probes)-1]
	slow.holders++
	c.probedAt = p.since
	p.state, p.probe = probing, slow
	c.consecutive.begin(p)
	return true
}

// A Standing is how a circuit stands towards an attempt at one moment.
type Standing struct {
	Ready     bool // Allow would let it pass
	Tripped   bool // it has opened and not closed since
	SlowStart bool // it has just closed: its endpoint should be spared further attempts
}

// Standing returns how the circuit stands while its endpoint has so many attempts
// open. In slow start, as many at once are right as it has answered since, and
// one: load that returns all at once is how a host that came back goes down
// again. A nil Circuit is always ready.
func (c *Circuit) Standing(now time.Time, open int64) Standing {
	if c == nil {
		return Standing{Ready: true}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return Standing{
		Ready:     !now.Before(c.openUntil) && c.mayProbeLocked(now),
		Tripped:   !c.openUntil.IsZero(),
		SlowStart: !c.closedAt.IsZero() && now.Sub(c.closedAt) < c.set.slowStart && open > c.answered.Load(),
	}
}

// mayProbeLocked reports whether one more may probe: there are fewer probes than
// there may be, or the latest is slow.
func (c *Circuit) mayProbeLocked(now time.Time) bool {
	return len(c.probes) < c.set.policy.Probes || now.Sub(c.probedAt) >= ProbeGrace
}

// NextProbe returns how long a caller with nowhere else to go has to wait before
// it may force a probe, and the probe that it waits for, if one is under way.
func (c *Circuit) NextProbe(now time.Time) (*Probe, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.mayProbeLocked(now):
		return c.probes[len(c.probes)-1], c.probedAt.Add(ProbeGrace).Sub(now)
	case len(c.probes) == 0:
		return nil, max(c.probedAt.Add(ForcedEvery).Sub(now), 0)
	}
	return nil, 0
}

// Status returns how the circuit stands. A pause that is over makes an open
// circuit half-open, and OnChange is told.
func (c *Circuit) Status(now time.Time) Status {
	s := Status{Model: c.model, State: Open}
	c.mu.Lock()
	s.Until = c.openUntil
	c.mu.Unlock()
	if !now.Before(s.Until) {
		s.State, s.Until = c.gb.State().String(), time.Time{}
		c.Flush()
	}
	return s
}

// Latency returns the latency of one kind of call; see Kinds.
func (c *Circuit) Latency(kind int) *Latency { return &c.latencies[kind] }

// open reports whether the pause still runs.
func (c *Circuit) open(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Before(c.openUntil)
}

// worth is what would be lost with the circuit. A success alone does not make a
// model known: a refusal counts as one, and names of no model are refused.
func (c *Circuit) worth() bounded.Worth {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bounded.Worth{Busy: c.consecutive.open > 0, Open: time.Now().Before(c.openUntil), Known: c.served, Used: c.used.Load()}
}

// shouldTrip decides, with gobreaker's counts of results, whether the latest
// failure opens the circuit. Attempts that began before that failure and have
// not failed have done better, and count as results.
func (c *Circuit) shouldTrip(n gobreaker.Counts) bool {
	c.mu.Lock()
	length, outstanding := c.consecutive.length, c.consecutive.outstanding
	c.mu.Unlock()
	p, results, failures := c.set.policy, int(n.TotalSuccesses+n.TotalFailures)+outstanding, int(n.TotalFailures)
	return p.FailureRate > 0 && results >= p.MinRequests && float64(failures) >= p.FailureRate*float64(results) ||
		p.Consecutive > 0 && length >= p.significant(results-length, failures-length)
}

// significant is how many failures in a row mean something, where so many results
// and failures came before. A host that fails three calls of ten by chance fails
// five in a row every few seconds under load, and would be shut out for good.
func (p Policy) significant(results, failures int) int {
	if results < p.MinRequests || failures <= 0 {
		return p.Consecutive
	}
	const chance = 1e-6
	share := float64(failures) / float64(results)
	return max(p.Consecutive, min(MaxConsecutive, int(math.Ceil(math.Log(chance)/math.Log(share)))))
}

// onStateChange runs under gobreaker's lock, so it only queues changes; Flush
// delivers them without a lock.
func (c *Circuit) onStateChange(_ string, from, to gobreaker.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.state = to
	switch to {
	case gobreaker.StateOpen:
		c.pauseLocked(now, from == gobreaker.StateHalfOpen)
	case gobreaker.StateClosed:
		c.lastOpenFor, c.closedAt = c.openFor, now
		c.answered.Store(0)
		c.openFor, c.openUntil = c.set.policy.OpenFor, time.Time{}
	}
	if to != gobreaker.StateHalfOpen {
		c.probes = nil
	}
	c.changed.Store(true)
	c.changes = append(c.changes, Change{Model: c.model, From: from.String(), To: to.String(), Wait: max(c.openUntil.Sub(now), 0)})
}

// pauseLocked begins a pause: twice the last one where a probe failed. A probe
// forced before its time says nothing new: the pause that runs stays as it is.
func (c *Circuit) pauseLocked(now time.Time, probeFailed bool) {
	relapse := c.relapse.Load()
	if relapse {
		c.openFor = c.lastOpenFor
	}
	if now.Before(c.openUntil) {
		return
	}
	if probeFailed || relapse {
		c.openFor *= 2
		if longest := c.set.policy.MaxOpenFor; longest > 0 {
			c.openFor = min(c.openFor, longest)
		}
	}
	c.openUntil = now.Add(c.set.jitter(c.openFor))
}

// extendPauseLocked keeps further probes off for as long as the circuit was open
// the last time.
func (c *Circuit) extendPauseLocked(now time.Time) {
	if until := now.Add(c.set.jitter(c.openFor)); until.After(c.openUntil) {
		c.openUntil = until
	}
}

// Flush tells OnChange of the changes so far. No lock is held meanwhile.
func (c *Circuit) Flush() {
	if !c.changed.CompareAndSwap(true, false) {
		return
	}
	c.mu.Lock()
	changes := c.changes
	c.changes = nil
	c.mu.Unlock()
	for _, change := range changes {
		c.set.onChange(change)
	}
}

// jitter spreads a pause over its last tenth.
func jitter(d time.Duration) time.Duration {
	if d < 10 {
		return d
	}
	return d - rand.N(d/10)
}
