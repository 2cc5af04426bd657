// Package outcome says what an attempt can end in: the failure classes with
// what each of them means for the circuit, the limits, the pauses and the next
// attempt, and breakwater's own errors. It has no state. Every layer may ask it.
package outcome

import "net/http"

// A Class says what became of an attempt. The root package documents the
// classes for users; what a class implies stands in one table, see [Of].
type Class string

const (
	OK           Class = "ok"
	Canceled     Class = "canceled"
	Deadline     Class = "deadline"
	Unreachable  Class = "unreachable"
	Unavailable  Class = "unavailable"
	RateLimited  Class = "rate_limited"
	KeyRejected  Class = "key_rejected"
	NoFunds      Class = "no_funds"
	Unsuited     Class = "unsuited"
	NoModel      Class = "no_model"
	Filtered     Class = "filtered"
	Refused      Class = "refused"
	Redirected   Class = "redirected"
	BadResponse  Class = "bad_response"
	NoFirstToken Class = "no_first_token"
	Stalled      Class = "stalled"
	Truncated    Class = "truncated"
	Outrun       Class = "outrun"
	Rewrite      Class = "rewrite"
	CircuitOpen  Class = "circuit_open"
	Limited      Class = "limited"
	Paused       Class = "paused"
	NotCached    Class = "not_cached"
	Unserved     Class = "unserved"
)

// table holds what each class implies. A column that is not named is zero.
var table = map[Class]Traits{
	OK:           {Outcome: Success, Answered: true},
	Canceled:     {Fault: FaultCaller},
	Deadline:     {Outcome: Failure, Fault: FaultCaller, TimedOut: true},
	Unreachable:  {Outcome: Failure, Passing: true, OfFleet: true},
	Unavailable:  {Outcome: Failure, Passing: true, OfFleet: true, RetryLast: RetryOnce, Pause: ScopeModel, overload: ifStatusSays},
	RateLimited:  {Passing: true, OfFleet: true, RetryLast: RetryAlways, Pause: ScopeLimit, EarnsPause: true, overload: always},
	KeyRejected:  {OfFleet: true, Fault: FaultKey, Quarantine: ScopeEndpoint},
	NoFunds:      {OfFleet: true, Fault: FaultKey, Quarantine: ScopeAccount},
	Unsuited:     {},
	NoModel:      {Quarantine: ScopeModel},
	Filtered:     {Outcome: Success, Fault: FaultContent},
	Refused:      {Outcome: Success, Fault: FaultRequest},
	Redirected:   {Outcome: Failure},
	BadResponse:  {Outcome: Failure, Passing: true, OfFleet: true, RetryLast: RetryOnce},
	NoFirstToken: {Outcome: Failure, Passing: true, OfFleet: true, TimedOut: true},
	Stalled:      {Outcome: Failure, Passing: true, OfFleet: true, TimedOut: true, Answered: true},
	Truncated:    {Outcome: Failure, Passing: true, OfFleet: true, Answered: true},
	Outrun:       {},
	Rewrite:      {OfFleet: true},
	CircuitOpen:  {OfFleet: true, Local: true},
	Limited:      {OfFleet: true, Local: true},
	Paused:       {OfFleet: true, Local: true},
	NotCached:    {},
	Unserved:     {},
}

// Traits are the columns of the table of classes.
type Traits struct {
	Outcome   Outcome // what the circuit and the load of the endpoint are told
	Passing   bool    // the same endpoint may do better after a while
	OfFleet   bool    // a failure of endpoints and not of the request: a stale answer would do instead
	Local     bool    // refused before it was sent
	TimedOut  bool    // a time limit ended it
	Answered  bool    // there was an answer, whole or not, so that tokens were used
	Fault     Fault
	RetryLast RetryLast

	Pause      Scope // pauses for as long as the host asks
	EarnsPause bool  // Pause pauses even if the host does not ask for it
	Quarantine Scope // pauses for long, because a person has to mend it

	overload overload
}

// Of returns what a class implies. It is zero for a class that is not in the
// table, such as the empty one of an attempt under way.
func Of(c Class) Traits { return table[c] }

// Overloaded reports whether an attempt that ended in c with an HTTP status
// shows that the host takes no more requests for now.
func Overloaded(c Class, status int) bool {
	switch table[c].overload {
	case always:
		return true
	case ifStatusSays:
		return status == http.StatusServiceUnavailable || status == statusOverloaded
	}
	return false
}

// statusOverloaded is what Anthropic's API says instead of 503.
const statusOverloaded = 529

// An Outcome is what a circuit is told of an attempt.
type Outcome int

const (
	Neutral Outcome = iota // it shows nothing of the host's health
	Success
	Failure
)

// A Fault says whose the cause of a failure is, where that decides how the call
// goes on.
type Fault uint8

const (
	FaultNone    Fault = iota // the host's or nobody's: the call goes on
	FaultCaller               // the caller's, who left or ran out of time: the call ends
	FaultContent              // the content's: the caller gets the host's answer
	FaultRequest              // the request's: the caller gets the answer of the endpoint it asked, or of the first
	FaultKey                  // the key's or its account's: the caller gets the answer if the key is its own
)

// RetryLast says how often the endpoint that failed last is asked again before
// the call makes do with less: a lower tier or a stale answer.
type RetryLast uint8

const (
	RetryNever  RetryLast = iota
	RetryOnce             // if that was the first try there
	RetryAlways           // as often as the call may
)

// A Scope says what a pause keeps calls from.
type Scope uint8

const (
	ScopeNone     Scope = iota
	ScopeEndpoint       // an endpoint
	ScopeAccount        // an account, through all its endpoints
	ScopeLimit          // one model of an account
	ScopeModel          // one model of an endpoint
)

// overload says whether a class shows that a host has too much to do.
type overload uint8

const (
	never overload = iota
	always
	ifStatusSays
)
