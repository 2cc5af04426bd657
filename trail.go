package breakwater

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/price"
)

// A Class is a string that says how an attempt ended. It is in [Attempt], in [Event], and,
// for some responses, in the header Breakwater-Error.
type Class = outcome.Class

const (
	ClassOK           Class = "ok"             // the answer came as a whole; while its body is read: the commit has happened
	ClassCanceled     Class = "canceled"       // the caller canceled the call, or no transport can send its request
	ClassDeadline     Class = "deadline"       // the caller's deadline passed before any payload came
	ClassUnreachable  Class = "unreachable"    // no connection, or it broke before a response: DNS, dial, TLS, reset
	ClassUnavailable  Class = "unavailable"    // 408, 421, 424, 425, 5xx
	ClassRateLimited  Class = "rate_limited"   // 429
	ClassKeyRejected  Class = "key_rejected"   // 401, 403
	ClassNoFunds      Class = "no_funds"       // 402, or an error of the host that means the same
	ClassBlocked      Class = "blocked"        // something in front of the host refused: a firewall, a challenge, a proxy; or 403 although the key has just worked
	ClassUnsuited     Class = "unsuited"       // the request exceeds what this host can do: its length, a missing field
	ClassNoModel      Class = "no_model"       // the endpoint does not have the model or the operation, or not any more (410)
	ClassFiltered     Class = "filtered"       // the host refused the content
	ClassRefused      Class = "refused"        // any other 4xx: the request is wrong
	ClassRedirected   Class = "redirected"     // 3xx, or a 101 that was not asked for
	ClassBadResponse  Class = "bad_response"   // a 200 without an answer: cut, malformed, HTML, empty
	ClassNoFirstToken Class = "no_first_token" // no payload came within StreamPolicy's times
	ClassStalled      Class = "stalled"        // payload stopped coming
	ClassTruncated    Class = "truncated"      // the stream ended before the answer did
	ClassFlawed       Class = "flawed"         // the answer repeats itself without end, has no text, or not the format asked for: only with StreamPolicy's checks
	ClassOutrun       Class = "outrun"         // another attempt of the call had its first payload earlier
	ClassRewrite      Class = "rewrite"        // Endpoint.Rewrite or middleware failed
	ClassNoKey        Class = "no_key"         // not sent: Endpoint.KeyFunc gave no key
	ClassCircuitOpen  Class = "circuit_open"   // not sent: the circuit is open
	ClassLimited      Class = "limited"        // not sent: a limit of RatePolicy was reached
	ClassSpent        Class = "spent"          // not sent: the money of SpendPolicy is spent
	ClassPaused       Class = "paused"         // not sent: the endpoint, account or model is paused
	ClassNotCached    Class = "not_cached"     // not sent: the call wanted a kept answer only
	ClassUnserved     Class = "unserved"       // not sent: Call.Endpoint or Call.Endpoints allows no endpoint, or see Attempt.PassedOver

	ClassIdempotencyInvalid Class = "idempotency_key_invalid" // not sent: nobody may use its Idempotency-Key: see WithIdempotency
	ClassIdempotencyReused  Class = "idempotency_key_reused"  // not sent: its Idempotency-Key was used with another request
)

// An Outcome is one word that says how a call was answered, or how it failed: one of those
// below or, for a call that failed, a [Class]. It is in the response header
// Breakwater-Outcome, in [Event] and in [Status].
type Outcome string

// How a call was answered. Words for the cache are those of RFC 9211.
const (
	OutcomeOK        Outcome = "ok"        // the first attempt answered
	OutcomeRetry     Outcome = "retry"     // another attempt at the same endpoint answered
	OutcomeFailover  Outcome = "failover"  // another endpoint answered than the one that the call would have preferred, which failed, was in trouble or could not be asked
	OutcomeHedge     Outcome = "hedge"     // a second attempt beside a slow one answered: see StreamPolicy.Hedge
	OutcomeRescued   Outcome = "rescued"   // the stream broke, and another attempt continued it to its end; never in the header
	OutcomeHit       Outcome = "hit"       // a fresh answer from the cache, or that of the same Idempotency-Key
	OutcomeStale     Outcome = "stale"     // a stale answer from the cache
	OutcomeCollapsed Outcome = "collapsed" // the answer to another call with the same content or Idempotency-Key, which was under way
)

// endings are all Outcomes, so that they can be counted by their index. The first stands
// for one that is not known yet.
var endings = [...]Outcome{
	"", OutcomeOK, OutcomeRetry, OutcomeFailover, OutcomeHedge, OutcomeRescued, OutcomeHit, OutcomeStale, OutcomeCollapsed,
	Outcome(ClassCanceled), Outcome(ClassDeadline), Outcome(ClassUnreachable), Outcome(ClassUnavailable), Outcome(ClassRateLimited),
	Outcome(ClassKeyRejected), Outcome(ClassNoFunds), Outcome(ClassBlocked), Outcome(ClassUnsuited), Outcome(ClassNoModel),
	Outcome(ClassFiltered), Outcome(ClassRefused), Outcome(ClassRedirected), Outcome(ClassBadResponse), Outcome(ClassNoFirstToken),
	Outcome(ClassStalled), Outcome(ClassTruncated), Outcome(ClassFlawed), Outcome(ClassOutrun), Outcome(ClassRewrite),
	Outcome(ClassNoKey), Outcome(ClassCircuitOpen), Outcome(ClassLimited), Outcome(ClassSpent), Outcome(ClassPaused), Outcome(ClassNotCached), Outcome(ClassUnserved),
	Outcome(ClassIdempotencyInvalid), Outcome(ClassIdempotencyReused),
}

// An ending is the index of an Outcome in endings.
type ending uint8

// The endings in which a call has got an answer are those from firstAnswer, OutcomeOK, to
// lastAnswer.
const firstAnswer, lastAnswer ending = 1, 8

// endingOf returns the index of an Outcome, 0 for one that is not in the list.
func endingOf(o Outcome) ending { return ending(max(slices.Index(endings[:], o), 0)) }

// isAnswer reports whether the call got an answer.
func (o Outcome) isAnswer() bool {
	return o == OutcomeOK || o.isHealed() || o == OutcomeHit || o == OutcomeCollapsed
}

// isHealed reports whether the call got an answer although something had failed.
func (o Outcome) isHealed() bool {
	switch o {
	case OutcomeRetry, OutcomeFailover, OutcomeHedge, OutcomeRescued, OutcomeStale:
		return true
	}
	return false
}

// fault returns who is at fault for such an Outcome, as far as it tells; empty for an
// answer.
func (o Outcome) fault() Fault {
	switch outcome.Of(Class(o)).Blame {
	case outcome.BlameCaller:
		return FaultCaller
	case outcome.BlameHost:
		return FaultHost
	case outcome.BlameNetwork:
		return FaultNetwork
	case outcome.BlameLocal:
		return FaultLocal
	}
	return ""
}

// A Fault says who is at fault for a call or an attempt that failed.
type Fault string

const (
	FaultCaller  Fault = "caller"  // the one who made the call: a wrong request, its own key, its cancel, a deadline that was too short
	FaultHost    Fault = "host"    // the endpoints' hosts: they failed, or circuits and pauses keep calls away from them
	FaultNetwork Fault = "network" // the network, or a host that is not there: no connection, or one that broke before an answer
	FaultLocal   Fault = "local"   // this program's configuration: a limit of RatePolicy, an endpoint's key, Rewrite or middleware
)

// A Verdict says what the call did after an attempt.
type Verdict string

const (
	VerdictAccept    Verdict = "accept"    // it returned the response; a stream may break later: see Class
	VerdictAgain     Verdict = "again"     // it made another attempt at the same endpoint
	VerdictElsewhere Verdict = "elsewhere" // it made an attempt at another endpoint
	VerdictStop      Verdict = "stop"      // it made no further attempt
)

// A Reason says why breakwater did not do something: see Attempt.PassedOver and
// Attempt.Unrescued.
type Reason string

// Why a call passed an endpoint over: the [Feature] that the call needs and the endpoint does
// not have, or one of these.
const (
	ReasonEndpoint  Reason = "endpoint"  // not used: what Call leaves out is not passed over
	ReasonBody      Reason = "body"      // the body is larger than MaxReplay or has a Content-Encoding, so only the endpoint that the call is meant for gets it
	ReasonOperation Reason = "operation" // its host does not have the operation
	ReasonModel     Reason = "model"     // it has no name for the model

	ReasonCircuit    Reason = "circuit"    // its circuit is open
	ReasonPaused     Reason = "paused"     // its host asked for a pause
	ReasonQuarantine Reason = "quarantine" // its key was rejected, its account has no funds, or it lacks the model
	ReasonLimit      Reason = "limit"      // a limit of RatePolicy is reached
	ReasonSpill      Reason = "spill"      // a limit of RatePolicy without Spill keeps the call in a better tier
	ReasonShift      Reason = "shift"      // too many of its recent attempts were late or refused: see BalancePolicy.Shift
	ReasonAccount    Reason = "account"    // the call has tried its account at another endpoint
	ReasonUnsuited   Reason = "unsuited"   // the call was too long for the same model at another endpoint of its host
)

// Why a stream that broke after its commit was not continued. These say that nothing was tried:
const (
	ReasonOff      Reason = "off"       // StreamPolicy.Rescue is RescueOff
	ReasonSendOnce Reason = "send_once" // RetryPolicy.SendOnce is set
	ReasonAPI      Reason = "api"       // streams of FIM are not continued
	ReasonRequest  Reason = "request"   // the request asks for several choices, for logprobs, for no stream or for a response that the host stores, ends in a prefix of its own, or cannot be sent again: it is larger than MaxReplay or has a Content-Encoding
	ReasonHost     Reason = "host"      // RescueContinue: no host that may serve the call continues a text
	ReasonContent  Reason = "content"   // something besides text had come, such as a tool call, or the answer cannot be read
	ReasonThought  Reason = "reasoning" // RescueContinue: reasoning had come without a text behind it, or no host continues such a text
	ReasonLength   Reason = "length"    // more than 4 MiB of text had come
	ReasonFlawed   Reason = "flawed"    // the answer is flawed, and more of it would be, too
	ReasonRefused  Reason = "refused"   // the host's error says that the request or its content is at fault
	ReasonReview   Reason = "review"    // the text may have been whole, and under the host's review
	ReasonCaller   Reason = "caller"    // the caller left
)

// These say that something was tried in vain, or could not be tried now:
const (
	ReasonBudget      Reason = "budget"      // RetryPolicy.Budget allowed no attempt
	ReasonUnavailable Reason = "unavailable" // no endpoint could take the call at once: circuits, pauses, limits
	ReasonFailed      Reason = "failed"      // an attempt to continue it failed
	ReasonMismatch    Reason = "mismatch"    // another answer came that does not continue the text
	ReasonTries       Reason = "tries"       // it broke again and again: a stream is continued three times at most
)

// Usage is the number of tokens of one answer, as the host reported them.
type Usage struct {
	PromptTokens, CompletionTokens, TotalTokens int
	CachedTokens                                int // tokens of the prompt that were in the host's prefix cache
	ReasoningTokens                             int // tokens of the completion that were reasoning
}

// A Cost is what an attempt costs, or all attempts of a call, by the prices of [Endpoint].Price
// and the tokens of [Usage]. Prompt tokens cost the price of cached input as far as they are in
// CachedTokens, and reasoning tokens are a part of the answer. The hour in which an attempt was
// sent decides whether peak prices apply.
//
// What was not sent costs nothing, nor what the host refused, such as a 429, a 400 or a 503. An
// answer from the cache costs nothing, and one that was shared costs the call that made the
// attempt. The cost of an attempt is estimated, and marked so, if it may be billed and its host
// said no usage: the caller left, the stream broke, another attempt was faster, or the host
// sends no usage. The estimate is for the prompt as if nothing of it was cached, and for the text
// that had come, at 0.3 tokens for each English character and 0.6 for each Chinese one. What a
// host wrote before it noticed that nobody reads is not in it.
type Cost struct {
	Amount    float64 // in Currency; without what is not known. It is no decimal: round it when you show it
	Known     bool    // Amount is all of it. If not, there is no price, or the host said no usage and nobody could read the text; or the attempt is under way
	Estimated bool    // Amount is estimated, or a part of it
	currency  price.Currency
}

// Currency returns the currency of Amount, as a code of ISO 4217. It is empty if no endpoint has
// a price.
func (c Cost) Currency() string { return c.currency.String() }

// String returns the cost as a text, such as 0.000123 USD. A cost that is not known begins with
// a question mark, and one that is estimated with a tilde.
func (c Cost) String() string {
	text := strconv.FormatFloat(c.Amount, 'g', 6, 64)
	switch {
	case !c.Known && c.Amount == 0:
		return "?"
	case !c.Known:
		text = "? at least " + text
	case c.Estimated:
		text = "~" + text
	}
	if code := c.Currency(); code != "" {
		text += " " + code
	}
	return text
}

// add adds the cost of another attempt.
func (c *Cost) add(d Cost) {
	c.Amount += d.Amount
	c.Known = c.Known && d.Known
	c.Estimated = c.Estimated || d.Estimated
	if d.currency != (price.Currency{}) {
		c.currency = d.currency
	}
}

// An Attempt is one request to one endpoint on behalf of a call, or one that was not sent
// because of a local limit, a pause, a circuit or Rewrite, or because the call was over before, or an endpoint that was passed over.
// [TrailOf], a [Trail] and an [Error] return them.
type Attempt struct {
	N           int           // number within the call, from 1; 0: it was not sent
	Endpoint    string        // name of the endpoint
	Model       string        // the endpoint's name for the model, which it was asked for; empty for a GET or HEAD
	Start       time.Time     // when it began
	Wait        time.Duration // the wait before it, for backoff or a pause
	FirstToken  time.Duration // from Start to the first payload; 0: none came
	Elapsed     time.Duration // from Start to the end of the body, or to the failure
	Status      int           // HTTP status; 0: no response came
	Class       Class         // how it ended; empty: it is under way
	Verdict     Verdict       // what the call did next; empty: not known yet. A stream that breaks after the commit keeps VerdictAccept
	Bytes       int64         // bytes of the body that the caller got
	Usage       Usage         // tokens, as the host reported them
	Cost        Cost          // known once it has ended
	MayBeBilled bool          // the host received it, but its answer did not come; the host may bill it
	Denied      bool          // RetryPolicy.Budget did not allow another attempt after it
	Served      string        // the model that the answer says it is of: at most 128 bytes of visible ASCII; empty: it says nothing
	Fingerprint string        // its system_fingerprint, likewise
	RequestID   string        // the host's id of the request, to quote to its support: at most 128 bytes of visible ASCII; empty: it told none
	PassedOver  Reason        // why the call did not go to the endpoint, which it would have preferred or needed; N is 0 then, and Class is ClassUnserved, ClassCircuitOpen, ClassPaused or ClassLimited
	Unrescued   Reason        // why nothing continued the stream, which broke; empty: it did not break, or was continued
	Flaw        error         // the caller got the answer although it is flawed: ErrRepetition, ErrNoAnswer or ErrFormat. See StreamPolicy.KeepFlawed
	Err         error         // the cause of Class; its text quotes no URL, key or body
}

// A Trail records the attempts of a call for users who do not see the response, such as
// those of SDKs: see [Call]. Its zero value is ready for use. It shows the latest call only,
// so use a new one for each call. It may be read at any time from any goroutine, also while the call is under way.
//
//	var trail breakwater.Trail
//	ctx = breakwater.WithCall(ctx, breakwater.Call{Trail: &trail})
//	… // a call with ctx
//	for _, a := range trail.Attempts() { … }
type Trail struct {
	mu  sync.Mutex  // guards log
	log *attemptLog // of the latest call; a reference to the call would keep its request in memory
}

// Attempts returns the attempts of the latest call made with this Trail, in order.
func (t *Trail) Attempts() []Attempt {
	t.mu.Lock()
	log := t.log
	t.mu.Unlock()
	if log == nil {
		return nil
	}
	return log.list()
}

// begin returns the log of a new call. The Trail shows it from now on.
func (t *Trail) begin() *attemptLog {
	log := &attemptLog{}
	t.mu.Lock()
	t.log = log
	t.mu.Unlock()
	return log
}

// An attemptLog holds the attempts of one call.
type attemptLog struct {
	mu       sync.Mutex // guards what follows
	attempts []Attempt
	first    [1]Attempt // room for the first: most calls make one attempt
}

// add appends an attempt and returns its index.
func (l *attemptLog) add(a Attempt) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.attempts == nil {
		l.attempts = l.first[:0]
	}
	l.attempts = append(l.attempts, a)
	return len(l.attempts) - 1
}

// passOver adds an endpoint that was passed over. If it was before, for the same reason,
// passOver changes that entry and reports false.
func (l *attemptLog) passOver(a Attempt) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.attempts {
		if of := &l.attempts[i]; a.PassedOver != "" && of.Endpoint == a.Endpoint && of.PassedOver == a.PassedOver {
			of.Class, of.Err = a.Class, a.Err
			if a.Verdict == VerdictStop {
				of.Verdict = a.Verdict
			}
			return false
		}
	}
	if l.attempts == nil {
		l.attempts = l.first[:0]
	}
	l.attempts = append(l.attempts, a)
	return true
}

// asked reports whether the call made an attempt at an endpoint, or a limit of the user's own
// stopped one.
func (l *attemptLog) asked(endpoint string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.attempts, func(a Attempt) bool { return a.PassedOver == "" && a.Endpoint == endpoint })
}

// update changes the attempt at index i.
func (l *attemptLog) update(i int, change func(*Attempt)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.attempts[i])
}

// at returns the attempt at index i.
func (l *attemptLog) at(i int) Attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.attempts[i]
}

// list returns a copy of the attempts, or nil if there are none.
func (l *attemptLog) list() []Attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Attempt(nil), l.attempts...)
}

// A summary is what the attempts of one call come to.
type summary struct {
	endpoint, model string // of the attempt that answered last
	bytes           int64  // that the caller got
	usage           Usage
	cost            Cost
	unrescued       Reason
}

// total returns what the attempts come to, also those that failed.
func (l *attemptLog) total() (s summary) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.cost.Known = true
	for i := range l.attempts {
		a := &l.attempts[i]
		if a.Verdict == VerdictAccept {
			s.endpoint, s.model = a.Endpoint, a.Model
		}
		s.bytes += a.Bytes
		s.usage.add(a.Usage)
		if a.N > 0 {
			s.cost.add(a.Cost)
		}
		if a.Unrescued != "" {
			s.unrescued = a.Unrescued
		}
	}
	return s
}

// isRescued reports whether another attempt has continued the call's stream.
func (l *attemptLog) isRescued() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	accepted := 0
	for i := range l.attempts {
		if l.attempts[i].Verdict == VerdictAccept {
			accepted++
		}
	}
	return accepted > 1
}

// add adds the tokens of another attempt.
func (u *Usage) add(v Usage) {
	u.PromptTokens += v.PromptTokens
	u.CompletionTokens += v.CompletionTokens
	u.TotalTokens += v.TotalTokens
	u.CachedTokens += v.CachedTokens
	u.ReasoningTokens += v.ReasoningTokens
}

// answered returns how the call was answered, by its attempts so far.
func (l *attemptLog) answered() Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	by := 0
	for by < len(l.attempts) && l.attempts[by].Verdict != VerdictAccept {
		by++
	}
	if by == len(l.attempts) {
		return OutcomeOK
	}
	how := OutcomeOK
	for i := range l.attempts[:by] {
		switch a := &l.attempts[i]; {
		case a.Class == ClassOutrun:
			return OutcomeHedge
		case a.PassedOver != "" && a.PassedOver != ReasonShift && a.Class == ClassUnserved:
		case a.Endpoint != l.attempts[by].Endpoint:
			how = OutcomeFailover
		case how == OutcomeOK:
			how = OutcomeRetry
		}
	}
	return how
}

// sum returns how many attempts were sent, and how the call ended: ClassOK if an
// attempt ended so, or the class of the last attempt. Endpoints that were passed over count
// only if there was no attempt, and then those least that could never serve the call.
func (l *attemptLog) sum() (sent int, class Class) {
	l.mu.Lock()
	defer l.mu.Unlock()
	passed := Class("")
	for _, a := range l.attempts {
		if a.N > 0 {
			sent++
		}
		switch {
		case a.PassedOver != "":
			if passed == "" || a.Class != ClassUnserved {
				passed = a.Class
			}
		case class != ClassOK:
			class = a.Class
		}
	}
	if class == "" && sent == 0 {
		class = passed
	}
	return sent, class
}
