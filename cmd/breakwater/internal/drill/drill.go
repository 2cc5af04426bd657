// Package drill plays a rehearsed outage. Callers ask questions while hosts are broken and healed
// by a [Script], and a [Report] says what the callers got, beside the objectives of the script.
//
// A drill is played against fake hosts of package breakwatertest ([Embedded]), or in front of
// real endpoints ([Endpoints]), where package chaos breaks single requests.
package drill

import (
	"fmt"
	"math"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/chaos"
)

// A Script says what happens in a drill.
type Script struct {
	Name  string // of the file, without its extension
	Title string
	Shows string // what to learn from it, for people

	Duration time.Duration // how long calls begin
	Hosts    []Host        // of the embedded fleet; none if the script is for endpoints only
	Load     Load
	Timeline []Act // by At

	Objectives Objectives

	// Policies are breakwater's options from the section breakwater, without endpoints.
	Policies []breakwater.Option
}

// A Host is one host of the embedded fleet.
type Host struct {
	Name        string
	Persona     string // whose API it speaks: see Personas
	Backup      bool   // it serves only when the hosts before it cannot
	Concurrency int    // how many answers may be under way; 0: no limit
	HTTP2       bool
	Pace        kit.Pace
}

// A Load says who calls, and for what.
type Load struct {
	// PerSecond is how many calls begin in a second, however long the answers take. Callers
	// is, instead, how many callers ask one question after the other, with Pause in between.
	// One of the two is 0.
	PerSecond float64
	Callers   int
	Pause     time.Duration

	Streams  float64    // the share of calls that ask for a stream
	Wires    []kit.Wire // by turns
	Model    string
	Prompt   Span          // characters of a prompt
	Repeat   float64       // the share of calls that ask one of twenty questions that come again
	Deadline time.Duration // how long a caller waits for the whole answer
	// MaxTokens bounds an answer of a real endpoint.
	MaxTokens int
}

// A Span is a range of sizes: Least to Most, both included.
type Span struct{ Least, Most int }

// An Act is a fault that begins and ends.
type Act struct {
	At, For time.Duration
	Host    string
	// Rule is the fault with its arguments, and which requests meet it. It has no times.
	Rule chaos.Rule
}

// End is when the fault ends.
func (a Act) End() time.Duration { return a.At + a.For }

// Objectives are what the callers should get. A field that is nil is no objective.
type Objectives struct {
	Availability    *float64 // the share of calls that get the whole, right answer in time
	Errors          *float64 // the largest share of other calls in any minute
	Wrong           *float64 // the share of calls that get a wrong or half answer without an error
	FirstToken      *time.Duration
	Detect          *time.Duration
	Recover         *time.Duration
	AttemptsPerCall *float64
	Amplification   *float64
}

// quickly returns the script in a form of at most d. The times of the timeline shrink with the
// whole. Nothing else changes: hosts and circuits are no faster.
func (s Script) quickly(d time.Duration) Script {
	if s.Duration <= d {
		return s
	}
	scale := func(t time.Duration) time.Duration {
		return (time.Duration(float64(t) * float64(d) / float64(s.Duration))).Round(100 * time.Millisecond)
	}
	quick := s
	quick.Duration = d
	quick.Timeline = nil
	for _, act := range s.Timeline {
		end := scale(act.End())
		act.At = scale(act.At)
		act.For = end - act.At
		quick.Timeline = append(quick.Timeline, act)
	}
	return quick
}

// Quick is the longest time for which calls begin in the short form of a script.
const Quick = 30 * time.Second

// Quickly returns the short form of the script.
func (s Script) Quickly() Script { return s.quickly(Quick) }

// SetRate makes the load so many calls a second.
func (s *Script) SetRate(perSecond float64) error {
	if perSecond < leastRate || perSecond > mostRate || math.IsNaN(perSecond) {
		return fmt.Errorf("%v calls a second are out of range; want %v to %v", perSecond, leastRate, mostRate)
	}
	s.Load.PerSecond, s.Load.Callers = perSecond, 0
	return s.tooMuch()
}

// tooMuch bounds a load.
func (s *Script) tooMuch() error {
	switch all, atOnce := s.Load.calls(s.Duration); {
	case all > mostCalls:
		return fmt.Errorf("the load makes %d calls; want at most %d", all, mostCalls)
	case atOnce > mostAtOnce:
		return fmt.Errorf("with %v calls a second and a deadline of %v, %d calls may be under way at once; want at most %d", s.Load.PerSecond, s.Load.Deadline, atOnce, mostAtOnce)
	}
	return nil
}

// calls returns how many calls begin at most, and how many of them may be under way at once.
func (l Load) calls(d time.Duration) (all, atOnce int) {
	if l.Callers > 0 {
		return 0, l.Callers
	}
	return int(l.PerSecond * d.Seconds()), int(l.PerSecond * l.Deadline.Seconds())
}
