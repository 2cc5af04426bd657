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

// Off switches a field of a policy off. All fields follow one rule: zero means
// the documented default, Off means none, and any other negative value is an
// error of [New]. Off for a time means that there is no such time limit or no such
// wait; where it means something else, the field says so.
const Off = -1

// RetryPolicy limits the attempts of a call and its waits. A call may always make
// one attempt at each account. The policy limits what it does beyond that.
type RetryPolicy struct {
	// Attempts is the largest number of attempts at one account in one call.
	// Default 3; 1 or Off: no second attempt.
	Attempts int

	// MinDelay and MaxDelay bound the exponential backoff, with full jitter,
	// before another attempt at the same account. Default 500ms and 8s.
	MinDelay, MaxDelay time.Duration

	// Patience is how long one call waits, in total, for an endpoint of a higher
	// tier while an endpoint of a lower tier could serve. Default 2s; Off: it does
	// not wait.
	Patience time.Duration

	// MaxRetryAfter is the longest pause, such as a host's Retry-After, that a call
	// waits for while no other endpoint could serve. Default 60s; Off: it does not
	// wait.
	MaxRetryAfter time.Duration

	// Budget limits extra attempts: all but the first one at each account of a
	// call. Hedges, rescues, and what the base or middleware sends again count as
	// extra. In any minute there are at most Budget × calls + 10. Default 0.2;
	// Off: no extra attempts.
	Budget float64

	// SendOnce ends the call after an attempt that may have been billed: one that
	// reached the host and got no answer. There are no hedges and no rescues then.
	SendOnce bool

	// MaxReplay is the size, in bytes, of the largest request body that is kept to
	// be sent again. A larger one is sent once, streamed, to the endpoint that the
	// call is meant for. Default 32 MiB; Off: every body is sent once.
	MaxReplay int64
}

// budgetFloor is how many extra attempts a minute are always allowed.
const budgetFloor = 10

// newBudget returns the budget of extra attempts. If Budget was Off, it allows none.
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

// newBackOff returns the delays of one account in one call. Each is uniform
// between 0 and an interval that doubles from MinDelay to MaxDelay. The library
// draws delays around the middle of an interval, hence the halves.
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

// BalancePolicy sets which endpoint of a tier gets a call.
//
// Endpoints that perform equally well take turns. An endpoint that is clearly
// slower to its first payload, or has clearly more open attempts, gets fewer
// calls.
//
// Calls of one conversation go to the endpoint that answered the previous one. Its
// host has their common prefix in its cache. At DeepSeek, cached tokens cost a
// thirtieth to a fiftieth of new ones.
type BalancePolicy struct {
	// Affinity is the size of the request body, in bytes, from which the calls of a
	// conversation go to one endpoint. Calls with the same model, user, tools,
	// system prompt and first message are one conversation. A call goes elsewhere if
	// the endpoint cannot take it, is much slower than the others, has too many
	// attempts open, or reports that it caches nothing. Default 2048; Off: never.
	Affinity int

	// Overload limits the open attempts that Affinity may bring to one endpoint, as
	// a multiple of the endpoint's even share of all that are open in the tier. It
	// must be at least 1. Default 1.25.
	Overload float64

	// Ramp is how long an endpoint gets fewer attempts after its circuit has
	// closed: as many at once as it has answered since then, and one more, while
	// other endpoints can take the rest. Default 10s; Off: no such limit.
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

// RatePolicy limits the attempts at one model of one account.
type RatePolicy struct {
	// PerSecond is how many attempts may begin in a second, and Burst how many at
	// once. PerSecond 0 or Off: unlimited. Burst's default is PerSecond, rounded up.
	PerSecond float64
	Burst     int

	// TokensPerMinute limits the tokens of prompts and answers. An attempt reserves
	// an estimate, by the length of the prompt and max_tokens. When the answer has
	// ended, the usage that the host reports takes its place. 0 or Off: unlimited.
	TokensPerMinute int

	// InFlight is how many attempts may be open at once. As hosts count, an attempt
	// is open until its body ends. 0 or Off: unlimited.
	InFlight int

	// Adaptive adjusts the number of open attempts to what the host accepts. A 429
	// or 503 lowers it, to the number that the host names if it names one. Answers
	// raise it again, never above InFlight. Before the first such refusal the limit
	// is InFlight, or none if InFlight is 0.
	Adaptive bool

	// MaxWait is how long an attempt may wait for these limits, within the caller's
	// deadline. If the expected wait is longer, the attempt fails at once with
	// ErrRateLimited, and the call goes to another endpoint if there is one. Default
	// 5s; Off: it does not wait.
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

// StreamPolicy limits how long an answer may bring no payload, and sets hedges
// and rescues. Payload is the bytes that carry an answer; headers and keep-alives
// are none.
//
// FirstToken, Thinking and Queued apply to rescues, and otherwise only while
// another endpoint could serve or a kept answer could replace a failure. An
// attempt that exceeds them ends with ErrNoFirstToken. They are cut to half of the
// time that the caller's deadline leaves when the attempt starts.
type StreamPolicy struct {
	// FirstToken is how long a stream may bring no payload, from the start of the
	// attempt. Default 30s.
	FirstToken time.Duration

	// Thinking takes the place of FirstToken if the call asks the model to think, or
	// if the model's name says that it thinks. It also applies to JSON, where Queued
	// does not. Default 5min.
	Thinking time.Duration

	// Queued is how long a JSON answer may bring blank lines only. If the host is
	// known to send 200 before it queues a request, as DeepSeek does, it is also how
	// long the attempt may bring nothing. Default 60s.
	Queued time.Duration

	// Stall is how long a stream may bring no payload after the commit before it
	// ends in ErrStalled. It is five times as long while keep-alives come and no
	// other endpoint could serve. Time counts only while the caller waits in Read.
	// Before the commit, Stall limits a gap within a JSON answer while another
	// endpoint could serve. Default 60s.
	Stall time.Duration

	// Hedge is how long an attempt may bring no payload before the call makes a
	// second attempt beside it, a hedge, at another account. The attempt with the
	// first payload wins. The other one is cancelled, and may have been billed.
	// Hedges draw on RetryPolicy.Budget, and may go to a lower tier. Default 0: no
	// hedges.
	Hedge time.Duration

	// Rescue is how a streamed chat continues that breaks after the commit. Rescues
	// draw on RetryPolicy.Budget. For them, the text of the answer is kept, up to 4
	// MiB. DeepSeek's longest answers, of 384K tokens, are smaller. A longer answer
	// is not rescued. A stream is rescued at most three times. Default
	// RescueContinue.
	Rescue Rescue

	// ErrorFrames adds an event before the typed error that ends a stream, in the
	// error shape of the stream's wire. It is for clients in other languages that
	// see the stream but not the error. If the host has sent an error event, no
	// event is added.
	ErrorFrames bool

	// KeepComments passes SSE comments on. By default they are removed, because
	// several parsers fail on them.
	KeepComments bool

	// MaxBuffer is the size, in bytes, of the largest JSON answer that is checked as
	// a whole before the caller gets it. Default 8 MiB; Off: JSON is not checked.
	MaxBuffer int64
}

// exchanges returns the part of the policy that internal/exchange applies.
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

// Rescue says how a streamed chat continues that broke after the commit. Only
// answers with one choice, of text and reasoning, are rescued. An answer with a
// tool call is not, and none is with RetryPolicy.SendOnce.
type Rescue int

const (
	// RescueContinue asks a host to continue the text that the caller has. Only
	// endpoints of HostDeepSeek can, by prefix completion. An answer with reasoning
	// cannot be continued.
	RescueContinue Rescue = iota
	// RescueRestart does the same where that is possible. Otherwise it asks a host
	// for the whole answer again. If the new answer begins with the same bytes as
	// the old one, the caller gets the rest of it.
	RescueRestart
	// RescueOff ends the stream in its typed error.
	RescueOff Rescue = Off
)

// BreakerPolicy sets when the circuit of a model at an endpoint opens, and for
// how long. An attempt that the caller cancels, a 429 and a rejected key do not
// count. An attempt that the caller's deadline ends counts as a failure only if
// the host had as much time as this model usually needs there for its first
// payload. Until that is known, the times of StreamPolicy are used.
type BreakerPolicy struct {
	// The circuit opens if at least MinRequests attempts have ended within Window
	// and the share FailureRate of them has failed. Defaults 0.5, 20 and 60s.
	// FailureRate Off: no share of failures opens it.
	FailureRate float64
	MinRequests int
	Window      time.Duration

	// Consecutive is how many failures in a row open the circuit. Default 5; at most
	// 32; Off: none do. Where the attempts of Window show that failures are common,
	// it takes more of them: so many that chance would bring them about once in a
	// million attempts.
	Consecutive int

	// OpenFor is how long the circuit stays open before a probe. Each failed probe
	// doubles that time, with jitter, up to MaxOpenFor. Defaults 5s and 5min.
	OpenFor, MaxOpenFor time.Duration

	// Probes is how many attempts may probe the circuit at a time. As many must
	// succeed to close it. Default 1.
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

// CachePolicy sets which answers are kept, and for how long. Only complete
// answers are kept, and only for callers of the same scope.
//
// Of an answer's own Cache-Control, two directives count. With no-store, the
// answer is not kept, in memory or in the Store, and is not shared with other
// callers (RFC 9111, 5.2.2.5). With private, it is kept if the scope is one
// credential. In a scope that Scope names, it is not kept, and shared only with
// callers of the same credential while it is under way. Other directives do not
// count: hosts send no-cache, max-age=0 and must-revalidate with every stream, and
// an answer to a POST cannot be revalidated.
//
// DeepSeek, OpenAI and Bailian were not seen to send no-store. Some gateways and
// self-made servers add it to every response, so that nothing is kept. If the
// application may keep these answers, it can remove the header in
// [WithAttemptMiddleware].
type CachePolicy struct {
	// TTL is how long an answer is fresh. Default 5min; Off: never fresh, only
	// stale.
	TTL time.Duration

	// StaleIfError is how long after TTL a stale answer is given when no endpoint
	// can answer. Default 1h; Off: never.
	StaleIfError time.Duration

	// StaleWhileRevalidate is how long after TTL a stale answer is given at once,
	// while it is renewed in the background. Default 0: never.
	StaleWhileRevalidate time.Duration

	// MaxEntries and MaxBytes limit the answers in memory: their number, and their
	// size in all. MaxEntryBytes limits the size of one answer. Defaults 1000, 64 MiB
	// and 1 MiB; Off: unlimited, except that answers that come in parts are kept up
	// to 16 MiB each.
	MaxEntries    int
	MaxBytes      int64
	MaxEntryBytes int64

	// Deterministic keeps only the answers of calls with temperature 0.
	Deterministic bool

	// Scope returns the name of a group of callers who may share answers, such as a
	// tenant. With an empty name, the call's answer is not kept, and the call gets no
	// kept answer. Callers see only those headers of an answer that describe it, and
	// its ids at the host. Default: callers with the same credential share, and see
	// all headers but those that concern the first call alone.
	Scope func(*http.Request) string

	// Store keeps answers for several processes, in addition to the memory of this
	// one. Default: none.
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

// lifetime returns the times of the policy.
func (p CachePolicy) lifetime() store.Lifetime {
	return store.Lifetime{TTL: p.TTL, StaleIfError: p.StaleIfError, StaleWhileRevalidate: p.StaleWhileRevalidate}
}

// A Store keeps entries of the cache for several processes. It must be safe for
// concurrent use. Its entries are checked. A damaged entry, an error, and a Get of
// more than 250ms count as a miss, with an event of [KindCacheError]; they never
// fail the call. A Store that needs more than 250ms is not asked again for 5s.
// Package storetest tests Stores.
type Store interface {
	// Get returns the entry under key, or nil if there is none.
	Get(ctx context.Context, key string) ([]byte, error)
	// Set keeps the entry under key for at least keep.
	Set(ctx context.Context, key string, entry []byte, keep time.Duration) error
}

// fields resolves the fields of one policy: zero becomes the default, Off becomes
// 0, and other negative values become an error that names the option and the field.
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
