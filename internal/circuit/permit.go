package circuit

import (
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"
)

// An Outcome tells a circuit how an attempt ended.
type Outcome int

const (
	// Neutral says nothing about the host.
	Neutral Outcome = iota
	// Success shows that the host is healthy.
	Success
	// Failure shows that it is not.
	Failure
	// Inconclusive is Neutral for an attempt that had too little time to show anything. If
	// it was a probe, the next one waits for another pause.
	Inconclusive
)

// The errors that report an outcome to gobreaker.
var (
	errNeutral = errors.New("neutral")
	errFailure = errors.New("failure")
)

// err returns the error that reports the outcome to gobreaker.
func (o Outcome) err() error {
	switch o {
	case Success:
		return nil
	case Failure:
		return errFailure
	}
	return errNeutral
}

// A Permit allows one attempt to be sent. The zero Permit is ready for Circuit.Allow. It
// must not be copied, nor be used for a second attempt.
type Permit struct {
	InTurn bool // it waited in the circuit's line, which has counted it

	circuit *Circuit // nil: Allow was not called
	since   time.Time

	// Guarded by the circuit's mu.
	state  permitState
	failed uint32      // see consecutive.failedAfter
	finish func(error) // reports a passing attempt's outcome to gobreaker
	probe  *Probe      // of a probing attempt: its own probe, or the slow one that it follows

	// The following belong to consecutive.
	seq          uint64
	older, newer *Permit
}

// A permitState is the state of a Permit.
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

// Latency returns the latency of one kind of call at the circuit. If no circuit was asked,
// it returns nil, which knows nothing.
func (p *Permit) Latency(kind int) *Latency {
	if p.circuit == nil {
		return nil
	}
	return p.circuit.Latency(kind)
}

// Commit notes that the allowed attempt has shown payload. This is a probe's success: a
// half-open circuit closes now, not at the end of a long stream.
func (p *Permit) Commit() {
	c := p.circuit
	c.mu.Lock()
	c.served = true
	c.taken.add(p.since, p.InTurn)
	probes := p.state == probing
	c.mu.Unlock()
	if probes {
		p.Report(Success)
	}
	c.answered.Add(1)
}

// Report is ReportAt for an attempt that ends now.
func (p *Permit) Report(o Outcome) { p.ReportAt(o, time.Now()) }

// ReportAt tells how the attempt ended, at the time now. The first call counts. Later ones count only if they
// report a Failure, as one more failure: the stream broke after its commit. For a refused
// Permit, ReportAt does nothing.
func (p *Permit) ReportAt(o Outcome, now time.Time) {
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
		finish = p.leaveLocked(o, now)
	case before != refused && o == Failure:
		c.consecutive.fail(p)
	default:
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()

	result := o == Success || o == Failure
	if finish != nil && result && p.outlastsWindow(now) {
		finish(errNeutral)
		finish = nil
	}
	if finish == nil && result {
		finish, _ = c.gb.Allow() // an error means that the circuit is open by now and needs no more results
	}
	if finish == nil {
		return
	}
	// The probe that closed the circuit at its commit has broken. If no other attempt has
	// succeeded since, nothing shows that the host is healthy.
	if before == probed && c.gb.Counts().TotalSuccesses == 0 {
		c.relapse.Store(true)
		defer c.relapse.Store(false)
	}
	finish(o.err())
}

// leaveLocked returns the attempt's place. Its result reports the outcome to gobreaker; it
// is nil if the outcome is known, or comes from others that follow the same probe.
func (p *Permit) leaveLocked(o Outcome, now time.Time) func(error) {
	if p.state == passing {
		finish := p.finish
		p.state, p.finish = passed, nil
		return finish
	}
	c, probe := p.circuit, p.probe
	p.state, p.probe = probed, nil
	if o == Inconclusive {
		c.extendPauseLocked(now)
	}
	finish := probe.leaveLocked(o)
	if finish == nil {
		return nil
	}
	return func(err error) {
		finish(err)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.endProbeLocked(probe)
	}
}

// outlastsWindow reports whether the attempt began before gobreaker's window, so that a
// closed circuit would ignore its result. It is then reported like an attempt that begins
// now.
func (p *Permit) outlastsWindow(now time.Time) bool {
	window := p.circuit.set.policy.Window
	return window > 0 && now.Sub(p.since) > window/2 && p.circuit.gb.State() == gobreaker.StateClosed
}
