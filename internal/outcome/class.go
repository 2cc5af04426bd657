// Package outcome says what an attempt can end in: the failure classes, with what each
// means for the circuit, the limits, the pauses and the next attempt, and breakwater's own
// errors. It has no state. Every layer may use it.
package outcome

import "net/http"

// A Class says how an attempt ended. The root package documents the classes for users; one
// table has what a class implies, see [Of].
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
	Blocked      Class = "blocked"
	Unsuited     Class = "unsuited"
	NoModel      Class = "no_model"
	Filtered     Class = "filtered"
	Refused      Class = "refused"
	Redirected   Class = "redirected"
	BadResponse  Class = "bad_response"
	NoFirstToken Class = "no_first_token"
	Stalled      Class = "stalled"
	Truncated    Class = "truncated"
	Flawed       Class = "flawed"
	Outrun       Class = "outrun"
	Rewrite      Class = "rewrite"
	NoKey        Class = "no_key"
	CircuitOpen  Class = "circuit_open"
	Limited      Class = "limited"
	Spent        Class = "spent"
	Paused       Class = "paused"
	NotCached    Class = "not_cached"
	Unserved     Class = "unserved"

	IdempotencyInvalid Class = "idempotency_key_invalid"
	IdempotencyReused  Class = "idempotency_key_reused"
)

// table has what each class implies. Omitted columns are zero.
var table = map[Class]Traits{
	OK:           {Outcome: Success, Answered: true},
	Canceled:     {Fault: FaultCaller, Blame: BlameCaller},
	Deadline:     {Outcome: Failure, Fault: FaultCaller, TimedOut: true, Blame: BlameCaller},
	Unreachable:  {Outcome: Failure, Passing: true, OfFleet: true, Blame: BlameNetwork},
	Unavailable:  {Outcome: Failure, Passing: true, OfFleet: true, RetryLast: RetryOnce, Pause: ScopeModel, overload: ifStatusSays, Blame: BlameHost},
	RateLimited:  {Passing: true, OfFleet: true, RetryLast: RetryAlways, Pause: ScopeLimit, EarnsPause: true, overload: always, Blame: BlameHost},
	KeyRejected:  {OfFleet: true, Fault: FaultKey, Quarantine: ScopeEndpoint, Blame: BlameLocal},
	NoFunds:      {OfFleet: true, Fault: FaultKey, Quarantine: ScopeAccount, Blame: BlameLocal},
	Blocked:      {OfFleet: true, Pause: ScopeModel, Blame: BlameHost},
	Unsuited:     {Blame: BlameCaller},
	NoModel:      {Quarantine: ScopeModel, Blame: BlameCaller},
	Filtered:     {Outcome: Success, Fault: FaultContent, Blame: BlameCaller},
	Refused:      {Outcome: Success, Fault: FaultRequest, Blame: BlameCaller},
	Redirected:   {Outcome: Failure, Blame: BlameHost},
	BadResponse:  {Outcome: Failure, Passing: true, OfFleet: true, RetryLast: RetryOnce, Blame: BlameHost},
	NoFirstToken: {Outcome: Failure, Passing: true, OfFleet: true, TimedOut: true, Blame: BlameHost},
	Stalled:      {Outcome: Failure, Passing: true, OfFleet: true, TimedOut: true, Answered: true, Blame: BlameHost},
	Truncated:    {Outcome: Failure, Passing: true, OfFleet: true, Answered: true, Blame: BlameHost},
	Flawed:       {Passing: true, OfFleet: true, RetryLast: RetryOnce, Answered: true, Blame: BlameHost},
	Outrun:       {Blame: BlameHost},
	Rewrite:      {OfFleet: true, Blame: BlameLocal},
	NoKey:        {OfFleet: true, Local: true, Blame: BlameLocal},
	CircuitOpen:  {OfFleet: true, Local: true, Blame: BlameHost},
	Limited:      {OfFleet: true, Local: true, Blame: BlameLocal},
	Spent:        {OfFleet: true, Local: true, Blame: BlameLocal},
	Paused:       {OfFleet: true, Local: true, Blame: BlameHost},
	NotCached:    {Blame: BlameCaller},
	Unserved:     {Blame: BlameCaller},

	IdempotencyInvalid: {Blame: BlameCaller},
	IdempotencyReused:  {Blame: BlameCaller},
}

// Traits are the columns of the table of classes.
type Traits struct {
	Outcome   Outcome // how it counts for the circuit and the endpoint's load
	Passing   bool    // the same endpoint may succeed after a while
	OfFleet   bool    // endpoints failed, not the request: a stale answer may replace it
	Local     bool    // it ended before it was sent
	TimedOut  bool    // a time limit ended it
	Answered  bool    // there was an answer, complete or not, so that tokens were used
	Fault     Fault
	Blame     Blame // if a call ends so
	RetryLast RetryLast

	Pause      Scope // pauses for as long as the host asks
	EarnsPause bool  // Pause applies even if the host does not ask for it
	Quarantine Scope // is paused for long, because a person has to mend it

	overload overload
}

// Of returns what a class implies. It is zero for a class that is not in the table, such
// as the empty one of an attempt under way.
func Of(c Class) Traits { return table[c] }

// Overloaded reports whether an attempt that ended in c with an HTTP status shows that the
// host is overloaded.
func Overloaded(c Class, status int) bool {
	switch table[c].overload {
	case always:
		return true
	case ifStatusSays:
		return status == http.StatusServiceUnavailable || status == statusOverloaded
	}
	return false
}

// statusOverloaded is the status that Anthropic's API uses instead of 503.
const statusOverloaded = 529

// An Outcome says how the end of an attempt counts for a circuit.
type Outcome int

const (
	Neutral Outcome = iota // it says nothing about the host's health
	Success
	Failure
)

// A Fault says what caused a failure, if that decides how the call goes on.
type Fault uint8

const (
	FaultNone    Fault = iota // the host, or nothing that matters: the call goes on
	FaultCaller               // the caller, who left or ran out of time: the call ends
	FaultContent              // the content: the caller gets the host's answer
	FaultRequest              // the request: the caller gets the answer of the endpoint it addressed, or of the first
	FaultKey                  // the key or its account: the caller gets the answer if the key is its own
)

// Blame says who is at fault for a call that ends in a class. Unlike Fault, it decides
// nothing. A caller's own key, and a host that let a deadline pass, are told apart by the
// root.
type Blame uint8

const (
	BlameNone    Blame = iota
	BlameCaller        // the one who made the call
	BlameHost          // the hosts
	BlameNetwork       // the network: no host answered
	BlameLocal         // the program's configuration
)

// RetryLast says how often the endpoint that failed last is retried before the call turns
// to a worse tier or a stale answer.
type RetryLast uint8

const (
	RetryNever  RetryLast = iota
	RetryOnce             // if it was tried only once
	RetryAlways           // as often as the call may
)

// A Scope says what a pause applies to.
type Scope uint8

const (
	ScopeNone     Scope = iota
	ScopeEndpoint       // an endpoint
	ScopeAccount        // an account, through all its endpoints
	ScopeLimit          // one model of an account
	ScopeModel          // one model of an endpoint
)

// overload says whether a class shows that a host is overloaded.
type overload uint8

const (
	never overload = iota
	always
	ifStatusSays
)
