// Package circuit decides whether the model of an endpoint is asked at all, and
// learns that from how its attempts end. It knows nothing of HTTP.
//
// A Set has one Circuit for each model. A Circuit is in one of three states:
//
//   - closed: attempts pass, and their outcomes are counted;
//   - open: no attempt passes until a pause is over. The pause doubles with each
//     probe that fails after it;
//   - half-open: the pause is over, and Policy.Probes attempts may pass at a time.
//     Each of them is a Probe. As many successes close the circuit, one failure
//     opens it.
//
// A caller that has no other endpoint may force a probe before the pause is over, and
// may wait for another caller's Probe.
//
// For each attempt its owner keeps a Permit, as a value in a struct of its own,
// and calls, in this order, Circuit.Allow just before the attempt is sent,
// Permit.Commit when it shows payload, and Permit.Report when it ends.
//
// Any goroutine may call anything at any time. No lock is held while
// Settings.OnChange runs, which may call back.
package circuit

import (
	"slices"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/bounded"
)

// A Policy says when a circuit opens, and for how long. It mirrors BreakerPolicy of the
// root with the defaults filled in: zero is off, or none.
type Policy struct {
	// FailureRate is the share of failures among at least MinRequests results within
	// Window that opens the circuit; 0: never.
	FailureRate float64
	MinRequests int
	Window      time.Duration
	// Consecutive is how many failures in a row open it; 0: never.
	Consecutive int
	// OpenFor is the first pause and MaxOpenFor the longest; 0: there is no longest.
	OpenFor, MaxOpenFor time.Duration
	// Probes is how many attempts may probe it at a time, and must succeed to close it.
	Probes int
	// MaxWait is how long a call waits for a probe if it has no other endpoint; 0: not at
	// all. The circuits do not use it: who asks them does.
	MaxWait time.Duration
}

// Off reports whether the policy never opens a circuit.
func (p Policy) Off() bool { return p.FailureRate == 0 && p.Consecutive == 0 }

// Settings are what the circuits of one Set share.
type Settings struct {
	Policy Policy
	// SlowStart is how long a circuit that has closed asks for few attempts at once; 0:
	// not at all. See Standing.
	SlowStart time.Duration
	// Jitter shortens a pause a little, so that clients do not return at the same time.
	// Nil takes off a random part of up to a tenth.
	Jitter func(time.Duration) time.Duration
	// OnChange is called with each change of state, in order; nil: no call.
	OnChange func(Change)
}

// The names of a circuit's states in Change and Status.
const (
	Closed   = "closed"
	HalfOpen = "half-open"
	Open     = "open"
)

// A Change is a change of a circuit's state.
type Change struct {
	Model    string
	From, To string
	Wait     time.Duration // until an open circuit may be probed
}

// A Status is the state of a circuit.
type Status struct {
	Model string
	State string
	Until time.Time // when an open circuit may be probed; else zero
}

// MaxCircuits bounds the circuits of a Set, unless more are in use, because the names of
// models come from callers.
const MaxCircuits = 256

// A Set holds the circuits of one endpoint, by model.
type Set struct {
	policy    Policy
	slowStart time.Duration
	jitter    func(time.Duration) time.Duration
	onChange  func(Change)

	all  bounded.Map[string, *Circuit]
	line Line // of all models, if the policy is off
}

// NewSet returns an empty Set.
func NewSet(s Settings) *Set {
	set := &Set{policy: s.Policy, slowStart: s.SlowStart, jitter: s.Jitter, onChange: s.OnChange}
	set.all.Max, set.all.WorthOf = MaxCircuits, (*Circuit).worth
	if set.jitter == nil {
		set.jitter = jitter
	}
	if set.onChange == nil {
		set.onChange = func(Change) {}
	}
	return set
}

// Off reports whether the policy never opens a circuit.
func (s *Set) Off() bool { return s.policy.Off() }

// Get returns the circuit of model, and makes it if there is none. It returns nil if the
// policy is off.
func (s *Set) Get(model string) *Circuit {
	if s.Off() {
		return nil
	}
	return s.all.GetOrAdd(model, func() *Circuit { return newCircuit(s, model) })
}

// Lookup returns the circuit of model, or nil if there is none.
func (s *Set) Lookup(model string) *Circuit {
	c, _ := s.all.Get(model)
	return c
}

// AnyOpen reports whether the pause of any circuit is still running.
func (s *Set) AnyOpen(now time.Time) bool {
	for _, c := range s.all.All() {
		if c.open(now) {
			return true
		}
	}
	return false
}

// OpenedSince returns a circuit whose pause is still running and that has opened after then,
// other than that of a model; nil: there is none.
func (s *Set) OpenedSince(then, now time.Time, but string) *Circuit {
	for model, c := range s.all.All() {
		if model != but && c.opened.Load() && c.openedSince(then, now) {
			return c
		}
	}
	return nil
}

func (c *Circuit) openedSince(then, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Before(c.openUntil) && c.openedAt.After(then)
}

// InUse returns how many permits and how many probes have no outcome yet.
// Attempts that follow a slow probe have a permit each and one probe.
func (s *Set) InUse() (permits, probes int) {
	for _, c := range s.all.All() {
		c.mu.Lock()
		permits += c.consecutive.open
		probes += len(c.probes)
		c.mu.Unlock()
	}
	return permits, probes
}

// Status returns the status of each circuit, sorted by model.
func (s *Set) Status(now time.Time) []Status {
	var list []Status
	for _, c := range s.all.All() {
		list = append(list, c.Status(now))
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Model, b.Model) })
	return list
}
