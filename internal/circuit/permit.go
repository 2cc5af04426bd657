package circuit

import (
	"errors"
	"slices"
	"time"

	"github.com/sony/gobreaker/v2"
)

// An Outcome is what a circuit hears of how an attempt went.
type Outcome int

const (
	// Neutral says nothing of the host.
	Neutral Outcome = iota
	// Success shows that the host is well.
	Success
	// Failure shows that it is not.
	Failure
	// Inconclusive is Neutral, but of an attempt that had too little time to show
	// anything. If it was a probe, the next one has to wait for another pause.
	Inconclusive
)

// The outcomes as gobreaker hears them.
var (
	errNeutral = errors.New("neutral")
	errFailure = errors.New("failure")
)

// err is the outcome as gobreaker hears it.
func (o Outcome) err() error {
	switch o {
	case Success:
		return nil
	case Failure:
		return errFailure
	}
	return errNeutral
}

// A Permit is leave to send one attempt. Its zero value is ready for
// Circuit.Allow; it must not be copied, nor used for a second attempt.
type Permit struct {
	circuit *Circuit // nil: Allow was not called
	since   time.Time

	// Guarded by the circuit's mu.
	state  permitState
	finish func(error) // of a passing attempt: tells gobreaker its outcome
	probe  *Probe      // of a probing one: its own, or the slow one that it follows

	// These are for consecutive.
	seq          uint64
	older, newer *Permit
}

// A permitState says what has become of a Permit.
type permitState uint8

const (
	refused permitState = iota // Allow refused it, or was not called
	passing                    // an attempt through a closed circuit, without an outcome
	probing                    // a probe, or one that follows a probe, without an outcome
	passed                     // passing, with an outcome
	probed                     // probing, with an outcome
)

// Probing reports whether the attempt is a probe that has no outcome yet.
func (p *Permit) Probing() bool {
	if p.circuit == nil {
		return false
	}
	p.circuit.mu.Lock()
	defer p.circuit.mu.Unlock()
	return p.state == probing
}

// Latency returns the latency of one kind of call at the circuit; nil, which
// knows nothing, where no circuit was asked.
func (p *Permit) Latency(kind int) *Latency {
	if p.circuit == nil {
		return nil
	}
	return p.circuit.Latency(kind)
}

// Commit says that the attempt, which was allowed, has shown payload. That is a
// probe's success: a half-open circuit closes now, not at the end of a long stream.
func (p *Permit) Commit() {
	c := p.circuit
	c.mu.Lock()
	c.served = true
	c.mu.Unlock()
	if p.Probing() {
		p.Report(Success)
	}
	c.answered.Add(1)
}

// Report says how the attempt ended. The first call counts. Of later ones only a
// Failure does, as one failure more: the stream broke behind its commit. A refused
// Permit has nothing to report.
func (p *Permit) Report(o Outcome) {
	c := p.circuit
	if c == nil {
		return
	}
	defer c.Flush()
	c.mu.Lock()
	before := p.state
	var finish func(error)
	switch {
	case before == passing || before == probing:
		c.consecutive.end(p, o)
		finish = p.leaveLocked(o)
	case before != refused && o == Failure:
		c.consecutive.fail(p)
	default:
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()

	result := o == Success || o == Failure
	if finish != nil && result && p.outlastsWindow() {
		finish(errNeutral)
		finish = nil
	}
	if finish == nil && result {
		finish, _ = c.gb.Allow() // an error: it is open meanwhile, and needs no more results
	}
	if finish == nil {
		return
	}
	// Where a probe breaks that closed the circuit at its commit, nothing shows that
	// the host is well, as long as nobody else has succeeded since.
	if before == probed && c.gb.Counts().TotalSuccesses == 0 {
		c.relapse.Store(true)
		defer c.relapse.Store(false)
	}
	finish(o.err())
}

// leaveLocked gives the attempt's place back. It returns what tells gobreaker the
// outcome; nil if that is known, or is left to others who follow the same probe.
func (p *Permit) leaveLocked(o Outcome) func(error) {
	if p.state == passing {
		finish := p.finish
		p.state, p.finish = passed, nil
		return finish
	}
	c, probe := p.circuit, p.probe
	p.state, p.probe = probed, nil
	if o == Inconclusive {
		c.extendPauseLocked(time.Now())
	}
	finish := probe.leaveLocked(o)
	if finish != nil {
		c.probes = slices.DeleteFunc(c.probes, func(other *Probe) bool { return other == probe })
	}
	return finish
}

// outlastsWindow reports whether the attempt took so long that a closed circuit
// would not count it: gobreaker drops the result of what began before its window.
// It is reported then as that of an attempt that begins now.
func (p *Permit) outlastsWindow() bool {
	window := p.circuit.set.policy.Window
	return window > 0 && time.Since(p.since) > window/2 && p.circuit.gb.State() == gobreaker.StateClosed
}
