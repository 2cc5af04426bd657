package breakwater

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/breakwater-go/breakwater/internal/budget"
	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/store"
)

// Off switches a policy's field off. One rule holds for all of them: zero
// means the documented default, Off means none, other negatives are errors.
const Off = -1

// RetryPolicy says how often and how patiently a call is tried. An account
// not yet tried may always be tried once; the policy bounds what comes after.
type RetryPolicy struct {
	// Attempts is how many tries one account gets in one call. Default 3;
	// 1 or Off: never twice.
	Attempts int

	// MinDelay and MaxDelay bound the exponential backoff, with full jitter,
	// before the same account is tried again. Default 500ms and 8s.
	MinDelay, MaxDelay time.Duration

	// Patience is how long one call waits, in all, for an endpoint of a better
	// tier while one of a lower tier could serve. Default 2s.
	Patience time.Duration

	// MaxRetryAfter is the longest Retry-After a call waits for while no other
	// endpoint could serve. Default 60s.
	MaxRetryAfter time.Duration

	// Budget bounds what is sent beyond each account's first try, hedges, rescues
	// and what the base or middleware sends again included: over a sliding minute, to this share of
	// the calls, but not below ten. Default 0.2; Off: nothing is.
	Budget float64

	// SendOnce never sends again what may already have been billed: an attempt
	// that reached the host and ended without an answer is the last.
	SendOnce bool

	// MaxReplay is the largest request body, in bytes, kept to be sent again.
	// A larger one is sent once, streamed, to the endpoint it was meant for.
	// Default 32 MiB.
	MaxReplay int64
}

// budgetFloor is how many extra attempts a minute are always allowed.
const budgetFloor = 10

// newBudget is a budget of extra attempts; Off, there are none at all.
func (p RetryPolicy) newBudget() *budget.Budget {
	if p.Budget == 0 {
		return budget.New(0, 0)
	}
	return budget.New(p.Budget, budgetFloor)
}

func (p RetryPolicy) resolve() (RetryPolicy, error) {
	f := fields{option: "WithRetry"}
	resolveField(&f, "Attempts", &p.Attempts, 3)
	p.Attempts = max(p.Attempts, 1)
	resolveField(&f, "MinDelay", &p.MinDelay, 500*time.Millisecond)
	resolveField(&f, "MaxDelay", &p.MaxDelay, max(8*time.Second, p.MinDelay))
	f.check(p.MinDelay <= p.MaxDelay, "MinDelay %v is above MaxDelay %v", p.MinDelay, p.MaxDelay)
	resolveField(&f, "Patience", &p.Patience, 2*time.Second)
	resolveField(&f, "MaxRetryAfter", &p.MaxRetryAfter, time.Minute)
	resolveField(&f, "Budget", &p.Budget, 0.2)
	resolveField(&f, "MaxReplay", &p.MaxReplay, 32<<20)
	return p, f.err()
}

// newBackOff returns the delays of one call: uniform between 0 and an
// interval that doubles from MinDelay to MaxDelay. The library's generator
// jitters around its interval, hence the halves.
func (p RetryPolicy) newBackOff() backoff.BackOff {
	if p.MinDelay == 0 {
		return &backoff.ZeroBackOff{}
	}
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(p.MinDelay/2),
		backoff.WithMaxInterval(p.MaxDelay/2),
		backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(1),
		backoff.WithMaxElapsedTime(0),
	)
}

// BalancePolicy says which endpoint of a tier gets a call. Tiers come first: a
// lower one serves only while none above can.
//
// Within a tier, calls take turns as long as its endpoints do equally well. One
// that is slower to its first payload, or has more attempts open, gets less: of
// two at a time, the call goes where the product of both is smaller.
//
// Calls of one conversation go where the latest of them was served: the host
// has their common prefix in its cache, whose tokens cost a thirtieth to a
// fiftieth of new ones at DeepSeek.
type BalancePolicy struct {
	// Affinity is how long the prompt must be, in bytes, for its conversation to
	// be kept together. A conversation is told by model, user, tools, system
	// prompt and first message. It is given up where the endpoint is sick, full
	// or slow, or reports that it caches nothing. Default 2048; Off: never.
	Affinity int

	// Overload bounds the attempts that affinity may pile up at one endpoint, as
	// a multiple of its even share of those open in the tier. Default 1.25.
	Overload float64

	// Ramp is how long after its circuit has closed an endpoint is spared a
	// stampede: it takes as many attempts at once as it has answered since, and
	// one more, while somebody else can take the rest. Default 10s; Off: all at once.
	Ramp time.Duration
}

func (p BalancePolicy) resolve() (BalancePolicy, error) {
	f := fields{option: "WithBalance"}
	resolveField(&f, "Affinity", &p.Affinity, 2048)
	f.check(p.Overload >= 0, "Overload is %v: want a multiple of at least 1", p.Overload)
	resolveField(&f, "Overload", &p.Overload, 1.25)
	f.check(p.Overload >= 1, "Overload is %v: want a multiple of at least 1", p.Overload)
	resolveField(&f, "Ramp", &p.Ramp, 10*time.Second)
	return p, f.err()
}

// RatePolicy bounds the attempts on one account and model. Hosts count a
// request until its answer is complete, so InFlight does, too.
type RatePolicy struct {
	// PerSecond attempts are let through, Burst at once. 0 or Off: unlimited.
	// Burst's default is PerSecond, rounded up.
	PerSecond float64
	Burst     int

	// TokensPerMinute bounds the tokens of prompts and answers: reserved by
	// DeepSeek's estimate and max_tokens, settled with the usage reported.
	// 0 or Off: unlimited.
	TokensPerMinute int

	// InFlight is how many attempts may be open at once, to the end of their
	// bodies. 0 or Off: unlimited.
	InFlight int

	// Adaptive lowers InFlight to what the host takes: down when it answers 429
	// or 503, to the number it gives if it gives one, and up again with what it
	// serves, never above InFlight. There is no limit before the first refusal.
	Adaptive bool

	// MaxWait is how long an attempt queues for the above, at most and within
	// the caller's deadline. One that is expected to wait longer does not begin
	// to: another endpoint is tried at once, or ErrRateLimited returned. Default
	// 5s; Off: not at all.
	MaxWait time.Duration
}

func (p RatePolicy) resolve(option string) (RatePolicy, error) {
	f := fields{option: option}
	resolveField(&f, "PerSecond", &p.PerSecond, 0)
	f.check(p.Burst >= 0, "Burst is %d: an attempt takes one token, so it must be at least 1", p.Burst)
	resolveField(&f, "Burst", &p.Burst, max(int(min(math.Ceil(p.PerSecond), math.MaxInt32)), 1))
	resolveField(&f, "TokensPerMinute", &p.TokensPerMinute, 0)
	resolveField(&f, "InFlight", &p.InFlight, 0)
	resolveField(&f, "MaxWait", &p.MaxWait, 5*time.Second)
	return p, f.err()
}

// StreamPolicy sets the clocks and bounds of an answer on its way. Headers
// prove nothing here: DeepSeek answers 200 first and queues then, so all
// clocks look at payload, the bytes that carry an answer.
type StreamPolicy struct {
	// FirstToken is how long an attempt at a stream may show no payload, from
	// its start, while another endpoint could serve: the call goes there then.
	// It is at most half of what is left of the caller's deadline. Default 30s.
	FirstToken time.Duration

	// Thinking takes FirstToken's place where the call asks the model to think
	// or the model's name says that it does. It also bounds the silence of a
	// JSON call while another endpoint could serve. Default 5min.
	Thinking time.Duration

	// Queued is how long a JSON answer may consist of blank lines only, while
	// another endpoint could serve; where the host is known to answer before
	// it queues, also how long it may take to do so. Default 60s.
	Queued time.Duration

	// Stall is how long a stream may bring no payload behind the commit before
	// it ends in ErrStalled; five times that while keep-alives come and no other
	// endpoint could serve. Before the commit it bounds a pause within a JSON
	// answer while another endpoint could serve. Default 60s.
	Stall time.Duration

	// Hedge is how long an attempt may show no payload before another account is
	// asked beside it. The first payload wins; the other attempt is cancelled,
	// and may have been billed. Hedges draw on RetryPolicy.Budget. Default off.
	Hedge time.Duration

	// Rescue is how a streamed chat goes on that breaks behind its first payload.
	// Rescues draw on RetryPolicy.Budget. For them, what an answer says is kept
	// while it can be gone on from, up to 4 MiB as it stands in JSON: more than the
	// 384K tokens of DeepSeek's longest answers. Beyond that, none is tried.
	// Default RescueContinue.
	Rescue Rescue

	// ErrorFrames has a stream that ends in a typed error tell it in an event of
	// its wire's own shape before that, for clients in other languages that see
	// the stream but not the error. Where the host's own event tells of an error,
	// there is no second.
	ErrorFrames bool

	// KeepComments passes SSE comments on. By default they are stripped: several
	// parsers trip over them.
	KeepComments bool

	// MaxBuffer is the size, in bytes, up to which a JSON answer is checked
	// whole before it is handed over. Default 8 MiB.
	MaxBuffer int64
}

// exchanges is the part of the policy that exchanges follow by themselves.
func (p StreamPolicy) exchanges() exchange.Policy {
	return exchange.Policy{
		Queued:       p.Queued,
		Stall:        p.Stall,
		MaxBuffer:    p.MaxBuffer,
		ErrorFrames:  p.ErrorFrames,
		KeepComments: p.KeepComments,
	}
}

func (p StreamPolicy) resolve() (StreamPolicy, error) {
	f := fields{option: "WithStream"}
	resolveField(&f, "FirstToken", &p.FirstToken, 30*time.Second)
	resolveField(&f, "Thinking", &p.Thinking, 5*time.Minute)
	resolveField(&f, "Queued", &p.Queued, time.Minute)
	resolveField(&f, "Stall", &p.Stall, time.Minute)
	resolveField(&f, "MaxBuffer", &p.MaxBuffer, 8<<20)
	resolveField(&f, "Hedge", &p.Hedge, 0)
	f.check(p.Rescue >= RescueOff && p.Rescue <= RescueRestart, "Rescue is %d: want RescueContinue, RescueRestart or RescueOff", p.Rescue)
	return p, f.err()
}

// Rescue says how a streamed chat that broke behind the commit goes on: while
// it is text or reasoning, with one choice, and never behind a tool call or
// with RetryPolicy.SendOnce.
type Rescue int

const (
	// RescueContinue has a host go on from the text delivered, where its API can:
	// by prefix completion. Reasoning cannot be gone on from.
	RescueContinue Rescue = iota
	// RescueRestart continues where it can; else it asks anew, and lets pass what
	// follows the part delivered, if the new answer begins with that, byte by byte.
	RescueRestart
	// RescueOff ends the stream in its typed error.
	RescueOff Rescue = Off
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
	f.check(p.Consecutive <= circuit.MaxConsecutive, "Consecutive is %d: want at most %d", p.Consecutive, circuit.MaxConsecutive)
	resolveField(&f, "OpenFor", &p.OpenFor, 5*time.Second)
	resolveField(&f, "MaxOpenFor", &p.MaxOpenFor, max(5*time.Minute, p.OpenFor))
	f.check(p.OpenFor <= p.MaxOpenFor, "OpenFor %v is above MaxOpenFor %v", p.OpenFor, p.MaxOpenFor)
	f.check(p.Probes >= 0, "Probes is %d: a circuit without probes never closes", p.Probes)
	resolveField(&f, "Probes", &p.Probes, 1)
	return p, f.err()
}

// CachePolicy says what is kept for how long. Only complete answers are kept,
// and only in the scope of who asked.
//
// An answer whose own Cache-Control says no-store is neither kept, in memory or
// in the Store, nor given to others who wait for the same (RFC 9111, 5.2.2.5);
// one that is private is kept and shared where the scope is one credential,
// and in a scope by name given to callers of that credential only while it is
// under way. Its other directives do not count: hosts say no-cache, max-age=0
// and must-revalidate with every stream by habit, and an answer to a POST cannot
// be revalidated; the application says here for how long answers are good.
// DeepSeek, OpenAI and Bailian were not seen to send no-store. Gateways and
// self-made servers do whose framework adds it to every response: behind such a
// one the cache does nothing, unless [WithAttemptMiddleware] takes the header
// out of responses that the application knows it may keep.
type CachePolicy struct {
	// TTL is how long an answer is fresh. Default 5min; Off: never, so that it
	// serves for StaleIfError only.
	TTL time.Duration

	// StaleIfError is how long past its TTL an answer is given when no endpoint
	// could give another. Default 1h.
	StaleIfError time.Duration

	// StaleWhileRevalidate is how long past its TTL an answer is given at once,
	// while it is renewed behind the caller's back. Default 0: never.
	StaleWhileRevalidate time.Duration

	// MaxEntries and MaxBytes bound what is kept in memory, and MaxEntryBytes
	// one answer. Defaults 1000, 64 MiB, 1 MiB.
	MaxEntries    int
	MaxBytes      int64
	MaxEntryBytes int64

	// Deterministic keeps only the answers of calls with temperature 0.
	Deterministic bool

	// Scope says who may share answers. They see of an answer's headers those that
	// describe it and the ids to ask its host by; where Scope is not set, all but
	// those that speak of the first call. What has an empty scope is neither kept
	// nor answered from what is. Default: the caller's credential.
	Scope func(*http.Request) string

	// Store holds entries beyond the memory of this process, behind it. Default: none.
	Store Store
}

func (p CachePolicy) resolve() (CachePolicy, error) {
	f := fields{option: "WithCache"}
	resolveField(&f, "TTL", &p.TTL, 5*time.Minute)
	resolveField(&f, "StaleIfError", &p.StaleIfError, time.Hour)
	resolveField(&f, "StaleWhileRevalidate", &p.StaleWhileRevalidate, 0)
	f.check(p.lifetime().Total() > 0, "TTL, StaleIfError and StaleWhileRevalidate are all Off: nothing would ever be served")
	resolveField(&f, "MaxEntries", &p.MaxEntries, 1000)
	resolveField(&f, "MaxBytes", &p.MaxBytes, 64<<20)
	resolveField(&f, "MaxEntryBytes", &p.MaxEntryBytes, 1<<20)
	return p, f.err()
}

// lifetime is how long answers are good for what.
func (p CachePolicy) lifetime() store.Lifetime {
	return store.Lifetime{TTL: p.TTL, StaleIfError: p.StaleIfError, StaleWhileRevalidate: p.StaleWhileRevalidate}
}

// A Store keeps entries for several processes. What it returns is checked: an
// entry that is not whole is a miss, and an error or a delay costs an event,
// never the call. It must be safe for concurrent use. Package storetest has
// tests for one.
type Store interface {
	// Get returns the entry kept under key, or nil if there is none.
	Get(ctx context.Context, key string) ([]byte, error)
	// Set keeps an entry under key for at least keep.
	Set(ctx context.Context, key string, entry []byte, keep time.Duration) error
}

// fields resolves the fields of one policy: zero to its default, Off to 0,
// other negatives to an error that names the option and the field.
type fields struct {
	option string
	errs   []error
}

func resolveField[T int | int64 | float64 | time.Duration](f *fields, name string, v *T, def T) {
	switch {
	case *v == 0:
		*v = def
	case *v == Off:
		*v = 0
	case *v < 0, *v != *v: // negative, or not a number
		f.errs = append(f.errs, fmt.Errorf("breakwater: %s: %s is %v: want zero for the default, a positive value, or Off", f.option, name, *v))
	}
}

func (f *fields) check(ok bool, format string, args ...any) {
	if !ok {
		f.errs = append(f.errs, fmt.Errorf("breakwater: "+f.option+": "+format, args...))
	}
}

func (f *fields) err() error { return errors.Join(f.errs...) }
