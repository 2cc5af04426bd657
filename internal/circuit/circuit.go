package circuit

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/breakwater-go/breakwater/internal/bounded"
)

const (
	// ProbeGrace is how long a probe without an outcome keeps other attempts from probing.
	// After that, the host may be slow but healthy.
	ProbeGrace = 3 * time.Second
	// ForcedEvery is how often callers that have no other endpoint may probe a circuit
	// before its pause is over. More probes could keep a host down.
	ForcedEvery = time.Second
	// afterOpening is how long after a circuit has opened gobreaker allows a probe: it must
	// be longer than gobreaker's own pause, the shortest one that it takes.
	afterOpening = 2 * time.Nanosecond
	// maxSignificant bounds the failures in a row that are needed because many attempts
	// fail by chance.
	maxSignificant = 32
	// windowParts is the number of steps in which a window moves.
	windowParts = 12
	// maxWindow is the longest window that gobreaker is given: it adds a part to it.
	maxWindow = math.MaxInt64 / 2
)

// A Circuit is the circuit breaker of one model. It uses gobreaker's state machine without
// its pause, which could neither double nor be cut short by a forced probe: gobreaker goes
// half-open after 1 ns, and Allow refuses until the circuit's own pause is over.
type Circuit struct {
	set   *Set
	model string
	gb    *gobreaker.TwoStepCircuitBreaker[struct{}]

	opened    atomic.Bool  // it has opened at some time
	relapse   atomic.Bool  // the next failure opens it, whatever the counts are
	follows   atomic.Bool  // the same, because another circuit is open: see OpenWith
	changed   atomic.Bool  // changes is not empty
	answered  atomic.Int64 // attempts that showed payload since it closed
	used      atomic.Int64 // bounded.Worth.Used
	latencies [Kinds]Latency
	line      Line

	mu          sync.Mutex // guards what follows; locked inside gobreaker's own lock, never the other way round
	state       gobreaker.State
	openedAt    time.Time     // when it opened that was closed; zero: it has never opened
	reopenedAt  time.Time     // when a probe failed last
	openUntil   time.Time     // when the pause ends; zero: it has closed since then, or has never opened
	openFor     time.Duration // the length of the next pause
	lastOpenFor time.Duration // openFor at the time when it closed
	closedAt    time.Time     // zero: it has never opened
	closedBy    *Probe        // the latest of the probes that closed it
	consecutive consecutive
	served      bool      // an attempt has shown payload at some time
	taken       meter     // of those that have
	probes      []*Probe  // those that gobreaker may count and that have no outcome, the latest last
	succeeded   int       // successes that gobreaker has counted since the circuit became half-open
	probedAt    time.Time // when the latest attempt that probes was allowed
	changes     []Change  // those that were not delivered yet
}

func newCircuit(s *Set, model string) *Circuit {
	p := s.policy
	c := &Circuit{set: s, model: model, openFor: p.OpenFor}
	c.line.of = c
	s.all.Touch(&c.used)
	c.gb = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:   uint32(min(uint64(p.Probes), math.MaxUint32)),
		Interval:      min(p.Window, maxWindow),
		BucketPeriod:  min(p.Window, maxWindow) / windowParts,
		Timeout:       afterOpening - 1, // see Circuit
		ReadyToTrip:   func(n gobreaker.Counts) bool { return c.relapse.Load() || c.follows.Load() || c.shouldTrip(n) },
		IsExcluded:    func(err error) bool { return err == errNeutral },
		IsSuccessful:  c.isSuccessful,
		OnStateChange: c.onStateChange,
	})
	return c
}

// Allow asks for a permit to send an attempt now, and fills p, which must be new. A forced
// attempt passes an open circuit as a probe. After Allow the caller must call Flush, but
// only when it is certain that p will be reported, because the user code that Flush calls
// may panic.
func (c *Circuit) Allow(p *Permit, now time.Time, forced bool) bool {
	p.circuit, p.since = c, now
	c.set.all.Touch(&c.used)
	var probe *Probe
	if c.opened.Load() {
		c.mu.Lock()
		refused := !forced && now.Before(c.openUntil)
		follows := !refused && c.followLocked(p)
		if refused || follows || c.isFullLocked() {
			c.mu.Unlock()
			return follows
		}
		probe = c.beginProbeLocked(now)
		c.mu.Unlock()
	}

	finish, err := c.gb.Allow()

	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		c.endProbeLocked(probe)
		return false
	case c.state != gobreaker.StateHalfOpen:
		c.endProbeLocked(probe)
		p.state, p.finish = passing, finish
	default:
		if probe == nil { // the state has changed since gobreaker was asked
			probe = newProbe(now)
		}
		c.listLocked(probe)
		probe.finish = finish
		p.state, p.probe = probing, probe
		c.probedAt = now
	}
	c.consecutive.begin(p)
	if !p.InTurn {
		c.line.sent()
	}
	return true
}

// beginProbeLocked lists a new probe if the circuit is not closed; otherwise it returns
// nil. The probe is listed before gobreaker is asked, and until gobreaker knows its
// outcome: a caller that is refused because of the probe must see it and wait for it.
func (c *Circuit) beginProbeLocked(now time.Time) *Probe {
	if c.state == gobreaker.StateClosed {
		return nil
	}
	p := newProbe(now)
	c.listLocked(p)
	return p
}

// listLocked lists the probe. A change of the state may have removed it from the list.
func (c *Circuit) listLocked(p *Probe) {
	if !slices.Contains(c.probes, p) {
		c.probes = append(c.probes, p)
	}
}

// endProbeLocked removes the probe from the list, if it is there, and wakes those who wait
// for it.
func (c *Circuit) endProbeLocked(p *Probe) {
	if p == nil {
		return
	}
	if at := slices.Index(c.probes, p); at >= 0 {
		c.probes = slices.Delete(c.probes, at, at+1)
	}
	p.ended = time.Now()
	close(p.done) // last, because those who wait look at the circuit at once
}

// followLocked lets the attempt share the latest probe, if that is slow and has no outcome
// yet. Otherwise no other attempt could probe until the slow one ends, because gobreaker
// counts it against its limit.
func (c *Circuit) followLocked(p *Permit) bool {
	slow := c.latestProbeLocked()
	if slow == nil || p.since.Sub(slow.since) < ProbeGrace {
		return false
	}
	slow.holders++
	slow.since, c.probedAt = p.since, p.since
	p.state, p.probe = probing, slow
	c.consecutive.begin(p)
	return true
}

// latestProbeLocked returns the latest probe in the list, or nil if there is none.
func (c *Circuit) latestProbeLocked() *Probe {
	if len(c.probes) == 0 {
		return nil
	}
	return c.probes[len(c.probes)-1]
}

// A Standing tells at one moment whether a circuit would let an attempt pass.
type Standing struct {
	Ready     bool // Allow would let it pass
	Tripped   bool // it has opened and not closed since then
	SlowStart bool // it has just closed: its endpoint should get few attempts
}

// Standing returns the circuit's standing while its endpoint has open attempts under way.
// In slow start it lets as many run at once as have succeeded since it closed, plus one: a
// host that comes back goes down again if all load returns at once. A nil Circuit is
// always ready.
func (c *Circuit) Standing(now time.Time, open int64) Standing {
	if c == nil || !c.opened.Load() {
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

// mayProbeLocked reports whether one more attempt may probe: there are fewer probes than
// the policy allows, or the latest is slow.
func (c *Circuit) mayProbeLocked(now time.Time) bool {
	latest := c.latestProbeLocked()
	return !c.isFullLocked() || latest != nil && now.Sub(latest.since) >= ProbeGrace
}

// isFullLocked reports whether gobreaker would refuse another probe. It counts those that
// have succeeded, too, because together with those under way they can close the circuit.
func (c *Circuit) isFullLocked() bool {
	return len(c.probes)+c.succeeded >= c.set.policy.Probes
}

// NextProbe returns how long a caller that has no other endpoint must wait before it may
// force a probe, and the probe under way that it waits for, if there is one.
func (c *Circuit) NextProbe(now time.Time) (*Probe, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch latest := c.latestProbeLocked(); {
	case latest == nil:
		due := c.probedAt.Add(ForcedEvery)
		if c.openUntil.Before(due) { // anybody may probe then
			due = c.openUntil
		}
		return nil, max(due.Sub(now), c.reopenedAt.Add(afterOpening).Sub(now), 0)
	case !c.mayProbeLocked(now):
		return latest, latest.since.Add(ProbeGrace).Sub(now)
	}
	return nil, 0
}

// ClosedBy returns the probe that has closed the circuit within the last second, or nil.
func (c *Circuit) ClosedBy(now time.Time) *Probe {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != gobreaker.StateClosed || now.Sub(c.closedAt) >= ForcedEvery {
		return nil
	}
	return c.closedBy
}

// Status returns the circuit's status. An open circuit whose pause is over becomes
// half-open, which is reported to OnChange.
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

// OpenWith opens a closed circuit until the pause of another one ends, which tells of the
// same host.
func (c *Circuit) OpenWith(other *Circuit, now time.Time) {
	other.mu.Lock()
	until, probedAt := other.openUntil, other.probedAt
	if other.openedAt.After(probedAt) { // what opened it showed as much as a probe
		probedAt = other.openedAt
	}
	other.mu.Unlock()
	c.mu.Lock()
	follows := c.state == gobreaker.StateClosed && now.Before(until) && !now.Before(c.openUntil)
	if follows {
		c.openUntil, c.probedAt = until, probedAt
	}
	c.mu.Unlock()
	if !follows {
		return
	}
	if finish, err := c.gb.Allow(); err == nil {
		c.follows.Store(true)
		finish(errFailure)
		c.follows.Store(false)
		time.Sleep(2 * time.Nanosecond) // gobreaker lets nobody pass before, and who called may be to probe
	}
	c.Flush()
}

// Latency returns the latency of one kind of call; see Kinds. That of a nil Circuit is nil,
// which knows nothing.
func (c *Circuit) Latency(kind int) *Latency {
	if c == nil {
		return nil
	}
	return &c.latencies[kind]
}

// open reports whether the pause is still running.
func (c *Circuit) open(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Before(c.openUntil)
}

// worth returns what would be lost with the circuit. A success alone does not make a model
// known: a refusal counts as one, and hosts refuse names that are not models.
func (c *Circuit) worth() bounded.Worth {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bounded.Worth{Busy: c.consecutive.open > 0, Open: time.Now().Before(c.openUntil), Known: c.served, Used: c.used.Load()}
}

// shouldTrip decides by gobreaker's counts of results whether the latest failure opens the
// circuit. Attempts that began before that failure and have not failed count as results,
// too: they have lasted longer.
func (c *Circuit) shouldTrip(n gobreaker.Counts) bool {
	c.mu.Lock()
	length, outstanding := c.consecutive.length, c.consecutive.outstanding
	c.mu.Unlock()
	p, results, failures := c.set.policy, int(n.TotalSuccesses+n.TotalFailures)+outstanding, int(n.TotalFailures)
	return p.FailureRate > 0 && results >= p.MinRequests && float64(failures) >= p.FailureRate*float64(results) ||
		p.Consecutive > 0 && length >= p.significant(results-length, failures-length)
}

// significant returns how many failures in a row are not chance, given the number of
// results and failures before. A host that fails three of ten calls at random fails five
// in a row every few seconds under load, and its circuit would never stay closed. Above
// maxSignificant it needs no more for that reason: a host that fails nearly always is down.
func (p Policy) significant(results, failures int) int {
	if results < p.MinRequests || failures <= 0 || failures >= results {
		return p.Consecutive
	}
	const chance = 1e-6
	share := float64(failures) / float64(results)
	return max(p.Consecutive, int(min(math.Ceil(math.Log(chance)/math.Log(share)), maxSignificant)))
}

// isSuccessful runs under gobreaker's lock, and only for results that gobreaker counts: not
// for those of a probe from before the latest change of the state. It reads c.state without
// c.mu, because onStateChange sets that under gobreaker's lock, too.
func (c *Circuit) isSuccessful(err error) bool {
	if err == nil && c.state == gobreaker.StateHalfOpen {
		c.mu.Lock()
		c.succeeded++
		c.mu.Unlock()
	}
	return err == nil
}

// onStateChange runs under gobreaker's lock, so it only queues changes; Flush
// delivers them without a lock.
func (c *Circuit) onStateChange(_ string, from, to gobreaker.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.opened.Store(true)
	c.state, c.succeeded = to, 0
	switch to {
	case gobreaker.StateOpen:
		if from == gobreaker.StateClosed {
			c.openedAt = now
		} else {
			c.reopenedAt = now
		}
		c.pauseLocked(now, from == gobreaker.StateHalfOpen)
	case gobreaker.StateClosed:
		c.lastOpenFor, c.closedAt, c.closedBy = c.openFor, now, c.latestProbeLocked()
		c.answered.Store(0)
		c.openFor, c.openUntil = c.set.policy.OpenFor, time.Time{}
	}
	if to != gobreaker.StateHalfOpen {
		c.probes = nil
	}
	c.changed.Store(true)
	c.changes = append(c.changes, Change{Model: c.model, From: from.String(), To: to.String(), Wait: max(c.openUntil.Sub(now), 0)})
}

// pauseLocked begins a pause. It is twice as long as the last one if a probe failed. A
// probe that was forced during a pause leaves that pause as it is, because it shows
// nothing new.
func (c *Circuit) pauseLocked(now time.Time, probeFailed bool) {
	relapse := c.relapse.Load()
	if relapse {
		c.openFor = c.lastOpenFor
	}
	if now.Before(c.openUntil) {
		return
	}
	if probeFailed || relapse {
		c.openFor = 2 * min(c.openFor, math.MaxInt64/2)
		if longest := c.set.policy.MaxOpenFor; longest > 0 {
			c.openFor = min(c.openFor, longest)
		}
	}
	c.openUntil = now.Add(c.set.jitter(c.openFor))
}

// extendPauseLocked refuses further probes for as long as the circuit was open the last
// time.
func (c *Circuit) extendPauseLocked(now time.Time) {
	if until := now.Add(c.set.jitter(c.openFor)); until.After(c.openUntil) {
		c.openUntil = until
	}
}

// Flush delivers the queued changes to OnChange, with no lock held.
func (c *Circuit) Flush() {
	if !c.changed.Load() || !c.changed.CompareAndSwap(true, false) { // a swap would take the line from other cores
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

// jitter shortens a pause by a random part of up to a tenth.
func jitter(d time.Duration) time.Duration {
	if d < 10 {
		return d
	}
	return d - rand.N(d/10)
}
