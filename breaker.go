package breakwater

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/breakwater-go/breakwater/internal/bounded"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/request"
)

// BreakerPolicy says when the circuit of a model at an endpoint opens, and
// for how long. Caller's cancels, 429s and refused keys count for nothing. A
// caller's deadline counts as a failure if the host was asked and had the time
// that the model usually takes there to its first payload. Until that is known,
// it is the time that StreamPolicy gives.
type BreakerPolicy struct {
	// FailureRate of at least MinRequests results within Window opens the
	// circuit. Defaults 0.5, 20, 60s. FailureRate Off: rates never open it.
	FailureRate float64
	MinRequests int
	Window      time.Duration

	// Consecutive failures in a row open it, too. Default 5; Off: never. Where the
	// window shows that failures are common but not too many, it takes more: as
	// many as chance would bring about once in a million attempts. At most 32.
	Consecutive int

	// OpenFor is how long it stays open before a probe; each failed probe
	// doubles that, with jitter, up to MaxOpenFor. Defaults 5s and 5min.
	OpenFor, MaxOpenFor time.Duration

	// Probes is how many attempts may probe it at a time, and must succeed to
	// close it. Default 1.
	Probes int
}

func (p BreakerPolicy) resolve() (BreakerPolicy, error) {
	f := fields{option: "WithBreaker"}
	resolveField(&f, "FailureRate", &p.FailureRate, 0.5)
	f.check(p.FailureRate <= 1, "FailureRate is %v: want a share up to 1", p.FailureRate)
	resolveField(&f, "MinRequests", &p.MinRequests, 20)
	resolveField(&f, "Window", &p.Window, time.Minute)
	resolveField(&f, "Consecutive", &p.Consecutive, 5)
	f.check(p.Consecutive <= longestRow, "Consecutive is %d: want at most %d", p.Consecutive, longestRow)
	resolveField(&f, "OpenFor", &p.OpenFor, 5*time.Second)
	resolveField(&f, "MaxOpenFor", &p.MaxOpenFor, max(5*time.Minute, p.OpenFor))
	f.check(p.OpenFor <= p.MaxOpenFor, "OpenFor %v is above MaxOpenFor %v", p.OpenFor, p.MaxOpenFor)
	f.check(p.Probes >= 0, "Probes is %d: a circuit without probes never closes", p.Probes)
	resolveField(&f, "Probes", &p.Probes, 1)
	return p, f.err()
}

func (p BreakerPolicy) off() bool { return p.FailureRate == 0 && p.Consecutive == 0 }

const (
	// probeGrace is how long a probe that has shown nothing yet keeps others
	// from probing: it may be slow, but well.
	probeGrace = 3 * time.Second
	// forcedEvery is how often a circuit is probed before its time, by callers
	// with nowhere else to go: they are not to be what keeps a host down.
	forcedEvery = time.Second
	// maxCircuits bounds the circuits of one endpoint: model names come from callers.
	maxCircuits = 256
	windowParts = 12
)

// breaker is the middleware: Allow just before sending, an outcome reported
// exactly once for it, and a further failure for a stream that breaks later.
func breaker(next http.RoundTripper) http.RoundTripper {
	return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		a := attemptOf(req.Context())
		c := a.endpoint.circuits.of(a.model)
		if c == nil {
			return next.RoundTrip(req)
		}
		allowed := c.allow(&a.pass, a.start.Add(a.queued), a.forced)
		registered := allowed && a.onFinish(&a.pass)
		c.flush() // only now: should an Observer panic, the attempt's end gives the place back
		switch {
		case !allowed:
			return nil, &exchange.Failure{Class: ClassCircuitOpen, Err: ErrCircuitOpen}
		case !registered:
			return nil, outcome.ErrOutrun
		}
		resp, err := next.RoundTrip(req)
		if err == nil {
			orClose(resp, a.pass.commits)
		}
		return resp, err
	})
}

// circuits are the circuits of one endpoint, by model.
type circuits struct {
	policy   BreakerPolicy
	ramp     time.Duration
	jitter   func(time.Duration) time.Duration
	tell     func(context.Context, Event)
	endpoint string
	all      bounded.Map[string, *circuit]
}

func newCircuits(t *Transport, endpoint string) *circuits {
	return &circuits{
		policy: t.config.breaker, ramp: t.config.balance.Ramp, jitter: t.config.jitter, tell: t.emit, endpoint: endpoint,
		all: bounded.Map[string, *circuit]{Max: maxCircuits, WorthOf: (*circuit).worth},
	}
}

// of returns model's circuit; nil where there are none.
func (cs *circuits) of(model string) *circuit {
	if cs.policy.off() {
		return nil
	}
	return cs.all.GetOrAdd(model, func() *circuit { return newCircuit(cs, model) })
}

// known returns model's circuit, nil where it has none yet: to look makes none.
func (cs *circuits) known(model string) *circuit {
	c, _ := cs.all.Get(model)
	return c
}

// A circuit is gobreaker's state machine with the pause taken out of it:
// gobreaker may go half-open at once, and allow holds callers off until the
// pause, which doubles, is over. So a caller with nowhere else to go can probe
// before that.
type circuit struct {
	owner *circuits
	model string
	gb    *gobreaker.TwoStepCircuitBreaker[struct{}]

	relapse  atomic.Bool  // the next failure opens it: what closed it broke
	changed  atomic.Bool  // there are changes to be told
	answered atomic.Int64 // attempts since it closed
	used     atomic.Int64 // see bounded.Map

	latencies [2][3]latency // of JSON answers, which come whole, and of streams; by request.ThinkingMode

	mu        sync.Mutex // guards what follows; gobreaker's own lock is taken before it, never after
	state     gobreaker.State
	openUntil time.Time
	openFor   time.Duration // the next time it opens
	lately    time.Duration // openFor before it closed
	closedAt  time.Time     // zero: it never opened
	streak    streak
	served    bool      // an answer, ever
	probes    []*slot   // of probes under way, the latest last
	probedAt  time.Time // when the latest probe began, or the latest to follow it
	changes   []Event
}

func newCircuit(owner *circuits, model string) *circuit {
	c := &circuit{owner: owner, model: model, openFor: owner.policy.OpenFor}
	owner.all.Touch(&c.used)
	p := owner.policy
	c.gb = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:   uint32(min(uint64(p.Probes), math.MaxUint32)),
		Interval:      p.Window,
		BucketPeriod:  p.Window / windowParts,
		Timeout:       1, // ns; see circuit
		ReadyToTrip:   func(n gobreaker.Counts) bool { return c.relapse.Load() || c.trips(n) },
		IsExcluded:    func(err error) bool { return err == errNeutral },
		OnStateChange: c.moves,
	})
	return c
}

// trips decides, with gobreaker's counts of results, whether the latest failure
// opens the circuit. Attempts that have done better than the one that failed,
// though they have no result yet, count as results.
func (c *circuit) trips(n gobreaker.Counts) bool {
	c.mu.Lock()
	row, survivors := c.streak.row, c.streak.survivors
	c.mu.Unlock()
	p, results, failures := c.owner.policy, int(n.TotalSuccesses+n.TotalFailures)+survivors, int(n.TotalFailures)
	return p.FailureRate > 0 && results >= p.MinRequests && float64(failures) >= p.FailureRate*float64(results) ||
		p.Consecutive > 0 && row >= p.row(results-row, failures-row)
}

// row is how many failures in a row mean something, where so many results and
// failures came before. Of a host that fails three calls of ten by chance, five
// in a row come every few seconds under load, and would shut it out for good.
func (p BreakerPolicy) row(results, failures int) int {
	if results < p.MinRequests || failures <= 0 {
		return p.Consecutive
	}
	const chance = 1e-6
	share := float64(failures) / float64(results)
	return max(p.Consecutive, min(longestRow, int(math.Ceil(math.Log(chance)/math.Log(share)))))
}

var (
	errNeutral = errors.New("neutral")
	errFailure = errors.New("failure")
)

// moves runs under gobreaker's lock: it takes notes, flush tells them.
func (c *circuit) moves(_ string, from, to gobreaker.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.state = to
	switch {
	case to == gobreaker.StateOpen:
		p := c.owner.policy
		if c.relapse.Load() {
			c.openFor = c.lately
		}
		// A probe forced before its time says nothing new: the pause stands.
		if (from == gobreaker.StateHalfOpen || c.relapse.Load()) && !now.Before(c.openUntil) {
			c.openFor = 2 * c.openFor
			if p.MaxOpenFor > 0 {
				c.openFor = min(c.openFor, p.MaxOpenFor)
			}
		}
		if !now.Before(c.openUntil) {
			c.openUntil = now.Add(c.owner.jitter(c.openFor))
		}
	case to == gobreaker.StateClosed:
		c.lately, c.closedAt = c.openFor, now
		c.answered.Store(0)
		c.openFor, c.openUntil = c.owner.policy.OpenFor, time.Time{}
	}
	if to != gobreaker.StateHalfOpen {
		c.probes = nil
	}
	c.changed.Store(true)
	c.changes = append(c.changes, Event{
		Kind: KindCircuit, Endpoint: c.owner.endpoint, Model: c.model,
		From: from.String(), To: to.String(), Wait: max(c.openUntil.Sub(now), 0),
	})
}

// jitter spreads a pause over its last tenth, so that clients do not return in step.
func jitter(d time.Duration) time.Duration {
	if d < 10 {
		return d
	}
	return d - rand.N(d/10)
}

// flush emits the changes noted, with no lock held.
func (c *circuit) flush() {
	if !c.changed.CompareAndSwap(true, false) {
		return
	}
	c.mu.Lock()
	changes := c.changes
	c.changes = nil
	c.mu.Unlock()
	for _, e := range changes {
		c.owner.tell(context.Background(), e)
	}
}

// A circuitStanding is how a circuit stands towards an attempt at one moment.
type circuitStanding struct {
	ready   bool // allow would let it pass
	tripped bool // it has opened and not closed since
	ramping bool // its endpoint is to be spared further attempts, for it has just closed
}

// stands tells how the circuit stands while its endpoint has so many attempts
// open. Load that returns all at once is how a host that came back goes down again.
func (c *circuit) stands(now time.Time, open int64) circuitStanding {
	if c == nil {
		return circuitStanding{ready: true}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return circuitStanding{
		ready:   !now.Before(c.openUntil) && c.roomLocked(now),
		tripped: !c.openUntil.IsZero(),
		ramping: !c.closedAt.IsZero() && now.Sub(c.closedAt) < c.owner.ramp && open > c.answered.Load(),
	}
}

// roomLocked reports whether one more may probe: there are fewer than there
// may be, or the latest is slow.
func (c *circuit) roomLocked(now time.Time) bool {
	return len(c.probes) < c.owner.policy.Probes || now.Sub(c.probedAt) >= probeGrace
}

// latency is that of the model's answers to calls like this one.
func (c *circuit) latency(p *request.Params) *latency {
	form := 0
	if p.Stream {
		form = 1
	}
	return &c.latencies[form][p.Thinking.Mode()]
}

// status tells how the circuit stands.
func (c *circuit) status(now time.Time) CircuitStatus {
	s := CircuitStatus{Model: c.model, State: gobreaker.StateOpen.String()}
	c.mu.Lock()
	s.Until = c.openUntil
	c.mu.Unlock()
	if !now.Before(s.Until) {
		s.State, s.Until = c.gb.State().String(), time.Time{}
		c.flush()
	}
	return s
}

// worth is what would be lost with the circuit. A refusal, whatever it hears of
// it as a circuit, shows no model.
func (c *circuit) worth() bounded.Worth {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bounded.Worth{Busy: c.streak.open > 0, Open: time.Now().Before(c.openUntil), Known: c.served, Used: c.used.Load()}
}

// probe tells a caller with nowhere else to go how long it has to wait before
// it may probe, and for whose probe, if one is under way.
func (c *circuit) probe(now time.Time) (*slot, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.roomLocked(now):
		return c.probes[len(c.probes)-1], c.probedAt.Add(probeGrace).Sub(now)
	case len(c.probes) == 0:
		return nil, max(c.probedAt.Add(forcedEvery).Sub(now), 0)
	}
	return nil, 0
}

// allow asks for leave to send, now, and notes it in p. Forced passes an open
// circuit as a probe. What changes is for the caller to flush.
func (c *circuit) allow(p *pass, now time.Time, forced bool) bool {
	p.circuit, p.since = c, now
	c.owner.all.Touch(&c.used)
	c.mu.Lock()
	refused := !forced && p.since.Before(c.openUntil)
	if !refused {
		if p.slot = c.followLocked(p.since); p.slot != nil {
			c.streak.begins(p)
		}
	}
	c.mu.Unlock()
	if refused || p.slot != nil {
		return !refused
	}
	done, err := c.gb.Allow()
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.own.done, p.own.holders = done, 1
	p.slot = &p.own
	c.streak.begins(p)
	if c.state == gobreaker.StateHalfOpen {
		p.own.told = make(chan struct{})
		c.probes = append(c.probes, &p.own)
		c.probedAt = p.since
	}
	return true
}

// followLocked returns a share in the slot of the latest probe, if that is slow.
func (c *circuit) followLocked(now time.Time) *slot {
	if len(c.probes) == 0 || now.Sub(c.probedAt) < probeGrace {
		return nil
	}
	slow := c.probes[len(c.probes)-1]
	if slow.done == nil { // its outcome is known
		return nil
	}
	slow.holders++
	c.probedAt = now
	return slow
}

// A slot is gobreaker's leave for one attempt. Those that follow a slow probe
// share its slot: the first that has an outcome tells it for all.
type slot struct {
	told chan struct{} // of a probe: closed when its outcome is known

	// Guarded by the circuit's mu.
	done    func(error)
	holders int
}

// leaveLocked returns how to tell gobreaker the outcome, nil if that is done or
// left to those who still share the slot.
func (s *slot) leaveLocked(o outcome.Outcome) func(error) {
	s.holders--
	if s.done == nil || o == outcome.Neutral && s.holders > 0 {
		return nil
	}
	done := s.done
	s.done = nil
	if s.told == nil {
		return done
	}
	return func(err error) {
		done(err)
		close(s.told) // only now: who waited looks at the circuit at once
	}
}

// await waits until a probe's outcome is known, at most d. It returns an error
// only when the caller leaves.
func (s *slot) await(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.told:
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// known reports whether a probe's outcome is.
func (s *slot) known() bool {
	select {
	case <-s.told:
		return true
	default:
		return false
	}
}

// A pass is leave to send one attempt, to be reported on.
type pass struct {
	circuit *circuit
	since   time.Time
	own     slot

	// Guarded by the circuit's mu.
	seq          uint64 // these are the streak's
	older, newer *pass
	slot         *slot // its own or a slow probe's; nil once left
	probed       bool  // its first report was a probe's
	reported     bool
}

// commits takes in that the attempt has shown payload. A half-open circuit
// closes now, not at the end of a long stream.
func (p *pass) commits() {
	c := p.circuit
	c.mu.Lock()
	c.served = true
	c.mu.Unlock()
	if p.probes() {
		p.report(outcome.Success)
	}
	c.answered.Add(1)
}

// report tells the outcome. The first call counts; of later ones only a
// failure, as one failure more: a stream that broke behind the commit.
func (p *pass) report(o outcome.Outcome) {
	c := p.circuit
	defer c.flush()
	c.mu.Lock()
	left, again := p.slot, p.reported
	p.slot, p.reported = nil, true
	p.probed = p.probed || left != nil && left.told != nil
	probed := p.probed
	var done func(error)
	switch {
	case !again:
		c.streak.ends(p, o)
	case o == outcome.Failure:
		c.streak.fails(p)
	default:
		c.mu.Unlock()
		return
	}
	if left != nil {
		if done = left.leaveLocked(o); done != nil && left.told != nil {
			c.probes = slices.DeleteFunc(c.probes, func(s *slot) bool { return s == left })
		}
	}
	c.mu.Unlock()
	// gobreaker drops a result older than its window, and a slot given back is
	// gone: such results are reported as those of an exchange begun now.
	if done != nil && o != outcome.Neutral && c.owner.policy.Window > 0 && time.Since(p.since) > c.owner.policy.Window/2 {
		if c.gb.State() == gobreaker.StateClosed {
			done(errNeutral)
			done = nil
		}
	}
	if done == nil {
		if o == outcome.Neutral {
			return
		}
		var err error
		if done, err = c.gb.Allow(); err != nil {
			return // open meanwhile: it knows
		}
	}
	switch o {
	case outcome.Success:
		done(nil)
	case outcome.Failure:
		// A probe closed the circuit at its commit, and broke then: as long as
		// nobody else has succeeded since, nothing shows that the host is well.
		if again && probed && c.gb.Counts().TotalSuccesses == 0 {
			c.relapse.Store(true)
			defer c.relapse.Store(false)
		}
		done(errFailure)
	default:
		done(errNeutral)
	}
}

// finish implements ender.
func (p *pass) finish(a *attempt, class Class) {
	o := a.outcome(class)
	if a.blameless && p.probes() {
		// A probe is to tell whether the host is well, which a redirect does. One that
		// had too little time to show anything leaves the question open, and the circuit.
		if class == ClassRedirected {
			o = outcome.Success
		} else {
			p.circuit.rest()
		}
	}
	p.report(o)
}

// rest keeps further probes off for as long as the circuit was open the last time.
func (c *circuit) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.openUntil = later(c.openUntil, time.Now().Add(c.owner.jitter(c.openFor)))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// probes reports whether the pass is that of a probe under way.
func (p *pass) probes() bool {
	p.circuit.mu.Lock()
	defer p.circuit.mu.Unlock()
	return p.slot != nil && p.slot.told != nil
}
