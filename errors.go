package breakwater

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// The errors of attempts, besides those of the network. They are in Attempt.Err, in
// Event.Err and in an [*Error]; reading the body of a broken stream returns ErrTruncated,
// ErrStalled, ErrBadResponse or ErrFlawed. Test for them with errors.Is.
var (
	// ErrCircuitOpen means that the attempt was not sent: the circuit is open.
	ErrCircuitOpen error = outcome.ErrCircuitOpen

	// ErrRateLimited means that the attempt was not sent: a limit of [RatePolicy]
	// was reached. It does not stand for a host's 429.
	ErrRateLimited error = outcome.ErrRateLimited

	// ErrSpent means that the attempt was not sent: the money of [SpendPolicy] is spent. It
	// does not stand for a host's 402.
	ErrSpent error = outcome.ErrSpent

	// ErrNoFirstToken means that no payload came in time. It is a net.Error whose
	// Timeout is true.
	ErrNoFirstToken error = outcome.ErrNoFirstToken

	// ErrStalled means that payload stopped coming. It is a net.Error whose Timeout
	// is true.
	ErrStalled error = outcome.ErrStalled

	// ErrBadResponse means that the response is not an answer: it is malformed,
	// empty or a web page, for example.
	ErrBadResponse error = outcome.ErrBadResponse

	// ErrFlawed means that the answer is complete in form but of no use. It is always
	// one of the three below, which are ErrFlawed, too. Only the checks of [StreamPolicy]
	// find it.
	ErrFlawed error = outcome.ErrFlawed

	// ErrRepetition means that the answer repeats itself without end: see
	// StreamPolicy.Repetition.
	ErrRepetition error = outcome.ErrRepetition

	// ErrNoAnswer means that the answer has neither text nor a tool call, only reasoning
	// for example: see StreamPolicy.RequireAnswer.
	ErrNoAnswer error = outcome.ErrNoAnswer

	// ErrFormat means that the text of the answer is not JSON, or not of its schema,
	// although the call asked for that: see StreamPolicy.RequireFormat. It wraps the error
	// of StreamPolicy.Schema, and its text does not quote it.
	ErrFormat error = outcome.ErrFormat

	// ErrTruncated means that the body ended before the answer did. It is also an
	// io.ErrUnexpectedEOF.
	ErrTruncated = outcome.ErrTruncated

	// ErrNoKey ends no attempt. It is a warning in an Event of [KindKey]: an
	// endpoint that is not Keyless was asked without a key. There is one such event
	// per endpoint.
	ErrNoKey error = outcome.ErrNoKey

	// ErrKeyFunc means that the attempt was not sent: [Endpoint].KeyFunc returned an error,
	// panicked, gave no key within ten seconds, or gave one that cannot be a key. The text
	// says which. The function's own error is in the chain, for errors.Is and errors.As,
	// and the text does not quote it.
	ErrKeyFunc error = outcome.ErrKeyFunc

	// ErrUnprotected means that a request is meant for none of the endpoints, so that
	// breakwater neither protects it nor adds a key. With [WithStrict] it is the error of
	// the request. Otherwise it is a warning in an Event of [KindPassed]. Its text says
	// which endpoint the request came near to.
	ErrUnprotected error = outcome.ErrUnprotected
)

// A LimitError says which limit stopped an attempt or a call, and how full it is: one of
// [RatePolicy], or of [TenantLimits] if Account is empty. It is the Err of an attempt of
// ClassLimited, or that of a call without attempts, so that errors.As finds it in an [*Error],
// and errors.Is takes it for [ErrRateLimited].
type LimitError struct {
	Account, Model string // whose limit it is; Model is the endpoint's name for it
	Tenant         string // whose limit it is, if Account is empty. No text shows it
	Limit          string // "in flight", "per second", "per second, as the host allows" (learned) or "tokens per minute"; of a tenant also "requests per minute", "tokens per day" or "cost per day"

	// InUse of Max are used: attempts or calls that are open, attempts of Burst, or tokens or
	// calls of the last minute or of the day. Both are 0 for "cost per day".
	InUse, Max int
	Waiting    int // attempts, or calls of the tenant, that wait for it

	// RetryAfter is when an attempt may begin, if nobody else comes. It is an estimate. 0:
	// not known.
	RetryAfter time.Duration
}

// Error names the limit and what is used of it. It quotes no key.
func (e *LimitError) Error() string { return ErrRateLimited.Error() + ": " + e.use() }

func (e *LimitError) use() string {
	text := fmt.Sprintf("%d of %d %s", e.InUse, e.Max, e.Limit)
	if e.Max == 0 {
		text = "the " + e.Limit + " is used up"
	}
	if e.Waiting > 0 {
		text += fmt.Sprintf(", %d waiting", e.Waiting)
	}
	return text
}

// Unwrap returns ErrRateLimited.
func (e *LimitError) Unwrap() error { return ErrRateLimited }

// A SpendError says which budget of [SpendPolicy] is spent. It is the Err of an attempt of
// ClassSpent, so that errors.As finds it in an [*Error], and errors.Is takes it for [ErrSpent].
type SpendError struct {
	Account    string        // whose budget it is; empty: that of all endpoints
	Spent, Max float64       // today, in Currency
	Currency   string        // such as USD
	RetryAfter time.Duration // until the day ends
}

// Error says how much was spent. It quotes no key.
func (e *SpendError) Error() string { return ErrSpent.Error() + ": " + e.use() }

func (e *SpendError) use() string {
	text := fmt.Sprintf("%.6g of %.6g %s a day", e.Spent, e.Max, e.Currency)
	if e.Account != "" {
		text += " at this account"
	}
	return text
}

// Unwrap returns ErrSpent.
func (e *SpendError) Unwrap() error { return ErrSpent }

// An Error is the error of a call that no endpoint answered. [ErrorOf] returns it for a
// response that breakwater made. With [WithErrors], http.Client returns it inside a
// url.Error, and errors.As finds it:
//
//	var failure *breakwater.Error
//	if errors.As(err, &failure) {
//		for _, a := range failure.Attempts { … }
//	}
type Error struct {
	// Attempts are all attempts of the call, in order, and the endpoints that it passed
	// over: see Attempt.PassedOver. It is empty if Call.Endpoint or Call.Endpoints allows no
	// endpoint, and if the call wanted a kept answer only.
	Attempts []Attempt

	// Class says how the call failed. It is the class of the first failure, or of the one
	// whose response the caller gets.
	Class Class

	// RetryAfter is when another call may be answered, as far as breakwater knows: when a
	// limit of RatePolicy is free again, a circuit may be probed, a pause or a day ends. It is an
	// estimate. 0: not known.
	RetryAfter time.Duration

	// Call is the id of the call, as in Event.Call. It is empty without an Observer.
	Call string

	why   string      // in place of the attempts; empty: they say it
	limit *LimitError // of the call's tenant; nil: it is not the cause
}

// Error lists the attempts by endpoint and class, those that failed alike once. It quotes no
// URL, key or body.
func (e *Error) Error() string {
	return "breakwater: " + e.summary()
}

func (e *Error) summary() string {
	if e.why != "" {
		return e.why
	}
	var said []string
	times := make(map[string]int)
	for i := range e.Attempts {
		a := &e.Attempts[i]
		about := a.summary()
		if !slices.Contains(said, about) {
			said = append(said, about)
		}
		if a.PassedOver == "" {
			times[about]++
		}
	}
	for i, about := range said {
		if n := times[about]; n > 1 {
			said[i] = fmt.Sprintf("%s, %d times", about, n)
		}
	}
	if len(said) == 0 {
		return "no endpoint answered"
	}
	return "no endpoint answered: " + strings.Join(said, "; ")
}

// summary returns the endpoint of an attempt, its class, and what more is known of its failure.
func (a *Attempt) summary() string {
	more := ""
	if a.Status != 0 {
		more = strconv.Itoa(a.Status)
	} else if a.PassedOver != "" && a.Class == ClassUnserved { // the other classes say the same
		more = string(a.PassedOver)
	} else if limit, ok := errors.AsType[*LimitError](a.Err); ok {
		more = limit.use()
	} else if spent, ok := errors.AsType[*SpendError](a.Err); ok {
		more = spent.use()
	} else {
		more = outcome.Describe(a.Err)
	}
	if more != "" {
		more = " (" + more + ")"
	}
	return fmt.Sprintf("%s: %s%s", a.Endpoint, a.Class, more)
}

// Unwrap returns the errors of the attempts, and a [*LimitError] of the call's tenant.
func (e *Error) Unwrap() []error {
	var errs []error
	if e.limit != nil {
		errs = append(errs, e.limit)
	}
	for _, a := range e.Attempts {
		if a.Err != nil {
			errs = append(errs, a.Err)
		}
	}
	return errs
}

// Timeout reports whether the last attempt ended because of a time limit.
func (e *Error) Timeout() bool {
	for _, last := range slices.Backward(e.Attempts) {
		if last.PassedOver == "" {
			var t interface{ Timeout() bool }
			return outcome.Of(last.Class).TimedOut || errors.As(last.Err, &t) && t.Timeout()
		}
	}
	return false
}

// Temporary returns the same as Timeout. With both methods, an Error is a
// net.Error.
func (e *Error) Temporary() bool { return e.Timeout() }

// An exhausted is the error of a call that no endpoint could answer. The cache
// layer answers the call if it has a stale answer. Otherwise the caller gets resp
// or, with WithErrors, failure.
type exhausted struct {
	resp     *http.Response // nil with WithErrors
	failure  *Error
	unprobed bool // the call has not found out whether all endpoints are still down
}

func (e *exhausted) Error() string { return e.failure.Error() }

func (e *exhausted) Unwrap() error { return e.failure }

// asExhausted returns the *exhausted in err, or nil if there is none.
func asExhausted(err error) *exhausted {
	if err == nil {
		return nil
	}
	var x *exhausted // allocated for calls that fail only
	errors.As(err, &x)
	return x
}

// result returns what the caller gets.
func (e *exhausted) result() (*http.Response, error) {
	if e.resp != nil {
		return e.resp, nil
	}
	return nil, e.failure
}
