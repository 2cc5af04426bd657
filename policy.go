package breakwater

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/breakwater-go/breakwater/internal/bounded"
	"github.com/breakwater-go/breakwater/internal/budget"
	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/mistake"
	"github.com/breakwater-go/breakwater/internal/repetition"
	"github.com/breakwater-go/breakwater/internal/store"
)

// Off switches a field of a policy off. All number fields follow one rule: zero means the
// documented default, Off means what the field says, and any other negative value is an
// error of [New].
//
//	breakwater.RetryPolicy{Patience: breakwater.Off}      // does not wait for a better endpoint
//	breakwater.StreamPolicy{FirstToken: breakwater.Off}   // no limit for the first token
//	breakwater.CachePolicy{MaxBytes: breakwater.Off}      // unlimited memory
//
// Off means one of three things. A limit that is Off does not limit: FirstToken, Thinking,
// Queued, Stall, PerSecond, TokensPerMinute, InFlight, MaxEntries, MaxBytes, MaxEntryBytes
// and Ramp. A wait that is Off does not happen: MinDelay, Patience, MaxRetryAfter, MaxWait
// Linger and OpenFor. A feature that is Off is not used: Attempts, Budget, MaxReplay, Affinity,
// Hedge, Rescue, MaxBuffer, Repetition, FailureRate, Consecutive, TTL, StaleIfError and
// StaleWhileRevalidate. MinRequests and Window say what Off means for them.
//
// Off is an error for Overload, Burst and Probes, for MaxDelay unless MinDelay is Off, and
// for MaxOpenFor unless OpenFor is Off.
const Off = -1

// RetryPolicy limits the attempts of a call and its waits: see [WithRetry]. A call may
// always make one attempt at each account. The policy limits what it does beyond that.
//
// For a batch that may wait:
//
//	breakwater.RetryPolicy{Attempts: 5, MaxRetryAfter: 10 * time.Minute}
//
// For calls that must not be billed twice:
//
//	breakwater.RetryPolicy{SendOnce: true}
type RetryPolicy struct {
	// Attempts is the largest number of attempts at one account in one call.
	// Default 3; 1 or Off: no second attempt. [Call].Attempts sets it for one call.
	Attempts int

	// MinDelay and MaxDelay bound the exponential backoff before another attempt at
	// the same account. Each wait is random, between 0 and a bound that doubles from
	// MinDelay to MaxDelay. Default 500ms and 8s, or MinDelay if that is longer.
	// MinDelay Off: no backoff. MaxDelay Off is an error unless MinDelay is Off.
	MinDelay, MaxDelay time.Duration

	// Patience is how long one call waits, in total, for an endpoint of a higher
	// tier while an endpoint of a lower tier could serve. Set it if a backup is much
	// more expensive than a wait. A GET or HEAD, which no other endpoint may answer,
	// makes its last attempt no sooner than Patience after its start. Default 2s; Off: it
	// does not wait.
	Patience time.Duration

	// MaxRetryAfter is the longest pause, such as a host's Retry-After, that a call
	// waits for while no other endpoint could serve. If the pause is longer, or would
	// end after the caller's deadline, the call fails at once. Set it higher for
	// batches. Default 60s; Off: it does not wait.
	MaxRetryAfter time.Duration

	// Budget limits extra attempts, so that retries do not multiply the load on a host
	// that is overloaded. All attempts but the first one at each account of a call are
	// extra, and so are hedges, rescues, and what the base or middleware sends again.
	// Each account has a budget of its own: in any minute at most Budget × the calls that
	// went there, and 10 more. A hedge is counted at the account that is slow, a rescue
	// at the one whose stream broke. Without endpoints, each origin is an account.
	// Default 0.2; Off: no extra attempts.
	Budget float64

	// SendOnce ends the call after an attempt that may have been billed: one that
	// reached the host and got no answer. There are no hedges and no rescues then.
	// Default: the call tries again, because the caller has no answer.
	// [Attempt].MayBeBilled marks attempts that may have been billed.
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

// BalancePolicy sets which endpoint of a tier gets a call: see [WithBalance].
//
// Endpoints that perform equally well take turns. An endpoint that is clearly
// slower to its first payload, or has clearly more open attempts, gets fewer
// calls. Endpoint.Weight changes their shares.
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
	// must be at least 1. Default 1.25. Off is an error.
	Overload float64

	// Ramp is how long an endpoint gets fewer attempts after its circuit has
	// closed: as many at once as it has answered since then, and one more, while
	// other endpoints can take the rest. Default 10s; Off: it gets all of its share
	// at once.
	Ramp time.Duration

	// Cheapest gives a call to those endpoints of its tier that cost least for it, among
	// those that can take it at once: see [Endpoint].Price. Peak hours count, and a
	// conversation's prompt is taken to be cached where the latest call of it was answered.
	// Endpoints that cost the same share calls as ever. One whose price is not known counts
	// as the dearest. A call goes to a dearer endpoint only while the cheaper ones are at a
	// limit, paused, or have an open circuit, so set limits if they are slow under load.
	// Default: prices do not count.
	Cheapest bool

	// Shift is the largest share of the first attempts that endpoints may lose to others,
	// and at last to a backup, while too many of their recent attempts are late or refused,
	// but too few to open their circuit: about one in five. Late means that no payload came
	// before FirstToken, Thinking or Queued, or before a hedge's. The share goes to a half by
	// steps of 5s, down to 1-Shift, and comes back by steps of a tenth. So most callers do not
	// wait in vain, and those who still do show when the endpoint is well again.
	//
	//	breakwater.BalancePolicy{Shift: 0.9}
	//
	// Each model of an endpoint has a share of its own. Nothing is shifted to an endpoint
	// that is in trouble itself, nor out of the bounds of a call's Endpoint and Endpoints, nor
	// past a limit without Spill. A conversation that Affinity keeps moves as a whole, and
	// back when the share does. It must be below 1. Default 0 or Off: endpoints keep their
	// calls until their circuit opens.
	Shift float64
}

// ProbePolicy sets how endpoints are probed: see [WithProbes].
type ProbePolicy struct {
	// Every is about how often an endpoint is probed that has not answered a call within
	// that time, a quarter sooner or later by chance. While its probes show nothing new, it
	// is probed less often, down to every tenth time; one with a rejected key or an empty
	// account, down to every fourth. Default 1m. Off is an error.
	Every time.Duration

	// BalanceEvery is about how often the balance of an account is asked for, where the host
	// tells it (DeepSeek, Novita). Calls tell nothing of it, so they do not take the place of
	// that. Default 10m; Off: never.
	BalanceEvery time.Duration

	// LowBalance is the balance below which there is an event of [KindBalance], in the
	// currency that the host tells. 0 or Off: only when the host says that the account has
	// no money.
	LowBalance float64

	// Timeout is how long a probe may take. Default 10s. Off is an error.
	Timeout time.Duration
}

func (p ProbePolicy) resolve() (ProbePolicy, error) {
	f := fields{option: "WithProbes"}
	f.check(p.Every >= 0, "Every is %v: want zero for the default, or a positive value", p.Every)
	f.check(p.Timeout >= 0, "Timeout is %v: want zero for the default, or a positive value", p.Timeout)
	resolveField(&f, "Every", &p.Every, time.Minute)
	resolveField(&f, "BalanceEvery", &p.BalanceEvery, 10*time.Minute)
	resolveField(&f, "LowBalance", &p.LowBalance, 0)
	resolveField(&f, "Timeout", &p.Timeout, 10*time.Second)
	return p, f.err()
}

func (p BalancePolicy) resolve() (BalancePolicy, error) {
	f := fields{option: "WithBalance"}
	resolveField(&f, "Affinity", &p.Affinity, 2048)
	f.check(p.Overload >= 0, "Overload is %v: want a multiple of at least 1", p.Overload)
	resolveField(&f, "Overload", &p.Overload, 1.25)
	f.check(p.Overload >= 1, "Overload is %v: want a multiple of at least 1", p.Overload)
	resolveField(&f, "Ramp", &p.Ramp, 10*time.Second)
	resolveField(&f, "Shift", &p.Shift, 0)
	switch {
	case p.Shift > 1 && p.Shift < 100:
		f.check(false, "Shift is %v: want a share below 1: did you mean %v?", p.Shift, p.Shift/100)
	default:
		f.check(p.Shift < 1, "Shift is %v: want a share below 1, such as 0.9, because only attempts show when an endpoint is well again", p.Shift)
	}
	return p, f.err()
}

// RatePolicy limits the attempts at one model of one account: see [WithRateLimit] and
// [Endpoint].Limits. The limits are those of this Transport. If several processes use one
// account, give each of them a share, or set Adaptive.
//
// For an account that may have 500 answers under way, shared by ten processes:
//
//	breakwater.RatePolicy{InFlight: 50}
//
// For a limit that is not known or changes:
//
//	breakwater.RatePolicy{Adaptive: true}
type RatePolicy struct {
	// PerSecond is how many attempts may begin in a second, and Burst how many of
	// them at the same moment. PerSecond 0 or Off: unlimited. Burst's default is
	// PerSecond, rounded up; Off is an error.
	PerSecond float64
	Burst     int

	// TokensPerMinute limits the tokens of prompts and answers. An attempt reserves
	// an estimate, by the length of the prompt and max_tokens, which counts for no
	// more than half of the limit; without max_tokens, by recent answers. When the answer has ended, the usage that the
	// host reports replaces the estimate. In no sliding minute is more reserved than
	// the limit. Half of it may be reserved at once, the rest at an even pace. 0 or
	// Off: unlimited.
	TokensPerMinute int

	// InFlight is how many attempts may be open at once. An attempt is open until its
	// body ends, because hosts count so, too. 0 or Off: unlimited.
	InFlight int

	// Adaptive adjusts the number of open attempts to what the host accepts. A 429
	// or 503 lowers it, to the number that the host names if it names one. Answers
	// raise it again, never above InFlight. Before the first such refusal the limit
	// is InFlight, or none if InFlight is 0. Default: the limit is always InFlight.
	Adaptive bool

	// Fixed switches off what breakwater learns by itself: the rate of a host that
	// refuses many attempts with a 429, and how many open attempts it takes. Attempts wait
	// for their turn then instead of being refused. Rates are learned anew at every fifth
	// minute of the clock. Default: it learns.
	Fixed bool

	// MaxWait is how long an attempt may wait for these limits, within the caller's
	// deadline. Whose turn it is depends on Call.Priority and Call.Tenant, then on who came
	// first. An attempt waits longer than MaxWait only if its own
	// tokens take longer to come back. An attempt that has waited in vain, or whose
	// turn certainly cannot come in time, fails with ErrRateLimited, and the call goes
	// to another endpoint of its tier if there is one. Default 5s; Off: it does not
	// wait.
	MaxWait time.Duration

	// Spill lets a call that is over these limits go to a lower tier at once, and not only
	// to another endpoint of the same tier. A lower tier often costs more, or is outside
	// the premises. Default: the call waits for MaxWait and then fails with ErrRateLimited,
	// while the lower tiers serve only if the endpoint itself cannot. A limit that Adaptive
	// has learned from refusals is the host's, and always spills.
	Spill bool
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

// SpendPolicy bounds what the attempts of a day cost: see [WithSpend]. Amounts are in the
// currency of the prices: see [Endpoint].Price and [Cost]. What is not known does not count.
//
// The sums are those of this Transport since New; Update keeps them. If several processes share
// the money, give each of them a share.
type SpendPolicy struct {
	// PerDay is what all attempts of a day may cost together. When it is spent, no attempt
	// is sent any more before midnight, but to models that are known to cost nothing. Calls
	// get what the cache has, also stale answers. All others fail with ErrSpent, as a 402.
	// Attempts that are under way go on, so the day may cost more, by what they do. 0 or
	// Off: unlimited.
	PerDay float64

	// PerAccount is the same for single accounts: by [Endpoint].Account, or by the name of
	// an endpoint that has an account of its own. Calls go to endpoints of other accounts
	// then, also to backups. Default: unlimited.
	PerAccount map[string]float64

	// Zone is where a day begins at midnight. Default: UTC.
	Zone *time.Location

	// Cheaper maps models to those that calls get instead once CheaperFrom is spent, both by
	// the names that callers use:
	//
	//	Cheaper: map[string]string{"deepseek-v4-pro": "deepseek-flash"}
	//
	// The request is changed before all else: also the cache sees the other name. An event
	// of KindCheaper tells of it. A request whose body is larger than MaxReplay or has a
	// Content-Encoding is not changed. When PerDay is spent, these calls are refused, too.
	// Default: none.
	Cheaper map[string]string

	// CheaperFrom is an amount below PerDay. Default: four fifths of PerDay.
	CheaperFrom float64
}

func (p SpendPolicy) resolve() (SpendPolicy, error) {
	f := fields{option: "WithSpend"}
	resolveField(&f, "PerDay", &p.PerDay, 0)
	f.check(!math.IsInf(p.PerDay, 0), "PerDay is %v: want an amount of money, or Off for no limit", p.PerDay)
	p.PerAccount = maps.Clone(p.PerAccount)
	for _, name := range slices.Sorted(maps.Keys(p.PerAccount)) {
		most := p.PerAccount[name]
		f.check(most > 0 && !math.IsInf(most, 0), "PerAccount[%q] is %v: want an amount of money, or leave the account out", name, most)
	}
	if p.Zone == nil {
		p.Zone = time.UTC
	}
	p.resolveCheaper(&f)
	return p, f.err()
}

func (p *SpendPolicy) resolveCheaper(f *fields) {
	p.Cheaper = maps.Clone(p.Cheaper)
	f.check(p.CheaperFrom == 0 || len(p.Cheaper) > 0, "CheaperFrom is set, and Cheaper is not: want the models, or leave both out")
	if len(p.Cheaper) == 0 {
		return
	}
	resolveField(f, "CheaperFrom", &p.CheaperFrom, p.PerDay*4/5)
	f.check(p.PerDay > 0, "Cheaper is set, and PerDay is not: want the amount that a day may cost")
	f.check(p.CheaperFrom <= p.PerDay || p.PerDay == 0, "CheaperFrom is %v, and PerDay %v: want less", p.CheaperFrom, p.PerDay)
	for _, from := range slices.Sorted(maps.Keys(p.Cheaper)) {
		to := p.Cheaper[from]
		f.check(from != "" && to != "" && from != to, "Cheaper maps %q to %q: want two models", from, to)
		_, chained := p.Cheaper[to]
		f.check(!chained || from == to, "Cheaper maps %q to %q, which has a cheaper one itself: want the last one for both", from, to)
	}
}

// TenantPolicy limits what the tenants of an application may ask for, such as its customers or
// its teams: see [WithTenants]. A tenant is whatever name Call.Tenant, or Of, gives. A call
// that is over a limit of its tenant gets a 429 with a Retry-After, and the error is a
// [*LimitError] with the name.
//
// For customers who may have 5 calls under way and a million tokens a day, and one who pays for
// more:
//
//	breakwater.TenantPolicy{
//		Of:      func(req *http.Request) (string, breakwater.Priority) { return tenantOf(req.Context()), 0 },
//		Default: breakwater.TenantLimits{InFlight: 5, TokensPerDay: 1_000_000},
//		Limits:  map[string]breakwater.TenantLimits{"aurora": {InFlight: 50, TokensPerDay: breakwater.Off}},
//	}
//
// An answer from the cache counts nothing, and one that calls share counts for the tenant whose
// call made the attempt. Retries, hedges and rescues of a call count for its tenant, but as no
// calls of their own. Renewals in the background count for nobody, nor do a GET or HEAD.
//
// Counts are those of this Transport: other processes do not know them, and they begin anew
// when the program does. Update keeps them. Up to 4096 tenants are known. If there are more,
// those with the least tokens and calls of the day are forgotten first.
type TenantPolicy struct {
	// Of returns the tenant of an inference call that has no Call.Tenant, and its priority,
	// for one that has no Call.Priority. It must not read the body. It is called once for
	// each call. Default nil: all such calls have the empty name.
	Of func(*http.Request) (tenant string, p Priority)

	// Default has the limits of each tenant that Limits does not name, and of calls that name
	// none, which are one tenant. Its zero value is no limit.
	Default TenantLimits

	// Limits has those of the tenants with a name of their own, "" for calls that name none.
	// A field that is zero has the value of Default, Off means none.
	Limits map[string]TenantLimits

	// Zone is where a day begins at midnight. Default: UTC.
	Zone *time.Location
}

// TenantLimits are the limits of one tenant: see [TenantPolicy].
type TenantLimits struct {
	// RequestsPerMinute is how many calls may begin in a minute. No sliding minute has more;
	// half of them may begin at once, the rest at an even pace. 0 or Off: unlimited.
	RequestsPerMinute int

	// TokensPerMinute limits the tokens of prompts and answers, as in RatePolicy: they are
	// estimated at first, then the usage counts. 0 or Off: unlimited.
	TokensPerMinute int

	// InFlight is how many calls may be under way, to the end of their bodies. 0 or Off:
	// unlimited.
	InFlight int

	// TokensPerDay limits the tokens from midnight to midnight. A call is refused if its
	// prompt, by an estimate, is more than what is left. Answers count when they have ended,
	// so those under way may go beyond it. An answer without usage counts by an estimate.
	// 0 or Off: unlimited.
	TokensPerDay int

	// CostPerDay limits what the calls cost, by Endpoint.Price, from midnight to midnight.
	// Costs are known when answers have ended, so those under way may go beyond it. What is
	// not known counts nothing. It is in the currency of the prices, and an error without
	// any. 0 or Off: unlimited.
	CostPerDay float64

	// MaxWait is how long a call may wait for the first three. 0 or Off: it does not.
	MaxWait time.Duration
}

func (p TenantPolicy) resolve() (TenantPolicy, error) {
	errs := []error{p.Default.resolve("WithTenants: Default", TenantLimits{})}
	limits := make(map[string]TenantLimits, len(p.Limits))
	for i, name := range slices.Sorted(maps.Keys(p.Limits)) {
		l, f := p.Limits[name], fields{option: "WithTenants"}
		f.check(bounded.Name(name) == name, "Limits has a name of %d bytes, number %d in order: want at most 128", len(name), i+1)
		f.check(strings.TrimSpace(name) == name, "Limits has %q: want a name without blanks around it", bounded.Name(name))
		errs = append(errs, f.err(), l.resolve(fmt.Sprintf("WithTenants: Limits[%q]", bounded.Name(name)), p.Default))
		limits[name] = l
	}
	p.Limits = limits
	if p.Zone == nil {
		p.Zone = time.UTC
	}
	return p, errors.Join(errs...)
}

// resolve fills in what is zero.
func (l *TenantLimits) resolve(where string, def TenantLimits) error {
	f := fields{option: where}
	resolveField(&f, "RequestsPerMinute", &l.RequestsPerMinute, def.RequestsPerMinute)
	resolveField(&f, "TokensPerMinute", &l.TokensPerMinute, def.TokensPerMinute)
	resolveField(&f, "InFlight", &l.InFlight, def.InFlight)
	resolveField(&f, "TokensPerDay", &l.TokensPerDay, def.TokensPerDay)
	resolveField(&f, "CostPerDay", &l.CostPerDay, def.CostPerDay)
	resolveField(&f, "MaxWait", &l.MaxWait, def.MaxWait)
	return f.err()
}

// countsTokens reports whether tokens of some tenant are limited.
func (p *TenantPolicy) countsTokens() bool {
	return p != nil && p.any(func(l TenantLimits) bool { return l.TokensPerMinute > 0 || l.TokensPerDay > 0 })
}

// any reports whether some tenant has such a limit.
func (p *TenantPolicy) any(has func(TenantLimits) bool) bool {
	return has(p.Default) || slices.ContainsFunc(slices.Collect(maps.Values(p.Limits)), has)
}

// A Priority says how urgent a call is: see Call.Priority. It decides whose turn it is among
// calls that wait for a limit of [RatePolicy], or for one that was learned. More urgent ones go
// first, but each priority gets a ninth of the turns at least. Values beyond the constants count
// as the nearest one.
type Priority int8

const (
	PriorityBatch       Priority = -1 // nobody waits for the answer: it goes behind all others
	PriorityDefault     Priority = 0
	PriorityInteractive Priority = 1 // a person waits: it goes first
)

// StreamPolicy limits how long an answer may bring no payload, sets hedges and rescues, and
// says which answers are flawed: see [WithStream]. Payload is the bytes that carry an answer; headers, blank
// lines and keep-alives are not payload. The commit is the moment when the first payload
// is known and the caller gets the response.
//
// FirstToken, Thinking and Queued limit the time before the commit. They apply to
// rescues, and otherwise only while another endpoint could serve or a kept answer could
// replace a failure: a new attempt at the only host would go to the end of its queue. An
// attempt that exceeds them ends with [ErrNoFirstToken]. Those that are not Off are cut to
// half of the time that the caller's deadline leaves when the attempt is sent.
//
// For an application in which latency matters more than tokens:
//
//	breakwater.StreamPolicy{FirstToken: 10 * time.Second, Hedge: 3 * time.Second, HedgeBackup: true}
//
// For one that accepts a restarted answer in place of an error:
//
//	breakwater.StreamPolicy{Rescue: breakwater.RescueRestart}
//
// Repetition, RequireAnswer and RequireFormat find answers that are complete in form but of
// no use. They are off by default. A flawed answer fails over before the commit, as a bad
// response does. Since a stream commits with its first payload, most flaws of streams show
// only later. They check calls of one choice, JSON up to MaxBuffer, and no embeddings; of a
// stream that a rescue continues, only the rest, for repetition. For an application that
// reads JSON:
//
//	breakwater.StreamPolicy{Repetition: 16 << 10, RequireAnswer: true, RequireFormat: true}
type StreamPolicy struct {
	// FirstToken is how long a stream may bring no payload, from the start of the
	// attempt. Default 30s; Off: unlimited.
	FirstToken time.Duration

	// Thinking replaces FirstToken if the call asks the model to think, or if the
	// model's name says that it thinks. It also applies to JSON, where Queued does
	// not. Default 5min; Off: unlimited.
	Thinking time.Duration

	// Queued is how long a JSON answer may bring blank lines only. If the host is
	// known to send 200 before it queues a request, as DeepSeek does, it is also how
	// long the attempt may bring nothing. Default 60s; Off: unlimited.
	Queued time.Duration

	// Stall is how long a stream may bring no payload after the commit before it
	// ends in [ErrStalled]. It is five times as long while keep-alives come and no
	// other endpoint could serve. Time counts only while the caller waits in Read.
	// Before the commit, Stall limits a gap within a JSON answer while another
	// endpoint could serve. Default 60s; Off: unlimited.
	Stall time.Duration

	// Review replaces Stall, if it is longer, for calls whose answer the host reviews:
	// those with safety_check. The host keeps the connection open after the last text
	// and may still end the answer as a refusal, so such a stream ends only with its
	// terminator. Keep-alives do not prolong Review. Default 5min; Off: unlimited.
	// Source: https://api-docs.deepseek.com/guides/safety.
	Review time.Duration

	// ToolWork is how long a host may report that it uses its own tools, such as a
	// web search, without a text in between. Meanwhile Stall counts from the latest
	// report. Default 15min; Off: unlimited.
	ToolWork time.Duration

	// MinRate is the least number of bytes per second at which an answer may come, over
	// each MinRateWindow in which the caller waits for it, with the bytes of the JSON
	// around the text (about 200 per event). A JSON answer that comes more slowly is given
	// up if another endpoint could serve. A stream ends in [ErrStalled], and is
	// rescued like one that stalls. Default 0 or Off: no least rate.
	MinRate int

	// MinRateWindow is over how long MinRate is measured. Default 30s.
	MinRateWindow time.Duration

	// Hedge is how long an attempt may bring no payload before the call makes a
	// second attempt beside it, a hedge, at another account. The attempt with the
	// first payload wins. The other one is cancelled, and may have been billed.
	// Hedges draw on RetryPolicy.Budget. Set it a little above the usual time to the first
	// token. Default 0 or Off: no hedges.
	Hedge time.Duration

	// HedgeBackup lets a hedge go to a lower tier. By default it stays within the tier of
	// the slow attempt, or goes to a better one: a prompt should not leave the premises, or
	// go to a dearer host, because an answer is late.
	HedgeBackup bool

	// Rescue is how a stream continues that breaks after the commit. Rescues
	// draw on RetryPolicy.Budget. For them, the text of the answer is kept, up to 4
	// MiB. DeepSeek's longest answers, of 384K tokens, are smaller. A longer answer
	// is not rescued. A stream is rescued at most three times. Default
	// [RescueContinue]; Off is [RescueOff].
	Rescue Rescue

	// ErrorFrames adds an event before the typed error that ends a stream, in the
	// error shape of the stream's API. Set it in a proxy, whose clients see the stream
	// but not the Go error. If the host has sent an error event, no event is added.
	// Default: no event.
	ErrorFrames bool

	// KeepComments passes SSE comments on. By default they are removed, because
	// several parsers fail on them.
	KeepComments bool

	// MaxBuffer is the size, in bytes, of the largest JSON answer that is checked as
	// a whole before the caller gets it. Default 8 MiB; Off: JSON is not checked.
	MaxBuffer int64

	// Repetition is how many bytes of an answer, of its text or its reasoning, may
	// repeat themselves before the answer counts as flawed: see [ErrFlawed]. Models that
	// have lost their way write the same unit again and again, up to their token limit.
	// The unit may be a character, a sentence or up to 7 KiB, and its numbers may count:
	// "1. Yes. 2. Yes." A repetition is found at most 4 KiB and two units behind the
	// bound. It takes 19 KiB of memory per answer.
	//
	// A good value is 16 KiB. In tests, it took no poem, list, table, log or program for
	// endless, and of Go's own source files 6 of 3,674, all of them made by programs. An
	// answer that repeats itself because the prompt asks for it stays below the bound or
	// is flawed. The least is 1 KiB. Default 0 or Off: any repetition is good.
	Repetition int

	// RequireAnswer makes an answer flawed that is complete and has neither text nor a
	// tool call, whatever its reasoning. An answer that was cut, at its token limit for
	// example, is not flawed. Default: it is an answer.
	RequireAnswer bool

	// RequireFormat makes an answer flawed if the call asks for JSON and its text is
	// none: by response_format, or by text.format or output_config.format of the other
	// APIs. For json_object, the text must be an object. Text before it, or ``` around
	// it, is no JSON. Of a stream, up to 1 MiB of text is kept until its end; of a longer
	// one, only the beginning is checked. Default: the text is not checked.
	RequireFormat bool

	// Schema adds to RequireFormat: it is called with the schema of a call that asks for
	// JSON of a schema, and with the text of the answer, which is JSON. If it returns an
	// error, the answer is flawed. It must neither keep nor change the slices, be safe for
	// concurrent use, and bound its own time, because the schema may be a stranger's. A
	// schema of more than 256 KiB is not checked. The module
	// github.com/breakwater-go/breakwater/schema has such a function. Default nil: schemas
	// are not checked.
	Schema func(schema, text []byte) error

	// KeepFlawed hands a flawed answer over if nothing can replace it: a JSON answer if no
	// other endpoint can serve, a stream once it has begun. [Attempt].Flaw and [Event].Flaw
	// mark it, and it is never cached. Default: a call without a better answer fails, and a
	// stream ends in an error that is [ErrFlawed].
	KeepFlawed bool
}

// exchanges returns the part of the policy that internal/exchange applies.
func (p StreamPolicy) exchanges() exchange.Policy {
	return exchange.Policy{
		Queued:       p.Queued,
		Stall:        p.Stall,
		Review:       p.Review,
		ToolWork:     p.ToolWork,
		MinRate:      exchange.Rate{Bytes: p.MinRate, Window: p.MinRateWindow},
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
	resolveField(&f, "Review", &p.Review, 5*time.Minute)
	resolveField(&f, "ToolWork", &p.ToolWork, 15*time.Minute)
	resolveField(&f, "MinRateWindow", &p.MinRateWindow, 30*time.Second)
	resolveField(&f, "MinRate", &p.MinRate, 0)
	f.check(p.MinRate == 0 || p.MinRateWindow >= time.Second, "MinRateWindow is %v: want 1s or more", p.MinRateWindow)
	resolveField(&f, "MaxBuffer", &p.MaxBuffer, 8<<20)
	resolveField(&f, "Hedge", &p.Hedge, 0)
	resolveField(&f, "Repetition", &p.Repetition, 0)
	f.check(p.Repetition == 0 || p.Repetition >= repetition.MinLimit, "Repetition is %d: want at least %d bytes, because shorter repetitions are usual", p.Repetition, repetition.MinLimit)
	f.check(p.Schema == nil || p.RequireFormat, "Schema is set, but RequireFormat is not: want both")
	f.check(!p.KeepFlawed || p.Repetition > 0 || p.RequireAnswer || p.RequireFormat, "KeepFlawed is set, but nothing makes an answer flawed: want Repetition, RequireAnswer or RequireFormat")
	f.check(p.Rescue >= RescueOff && p.Rescue <= RescueRestart, "Rescue is %d: want RescueContinue, RescueRestart or RescueOff", p.Rescue)
	return p, f.err()
}

// Rescue says how a stream continues that broke after its first payload: of a chat, of
// Messages or of Responses. The caller reads one stream. Only answers with one choice, of
// text and reasoning, are rescued. An answer with a tool call is not, and none is with
// RetryPolicy.SendOnce.
type Rescue int

const (
	// RescueContinue, the default, asks a host to continue the text that the caller
	// has. Of the known hosts, only HostDeepSeek can, by prefix completion of a chat. It
	// gets the reasoning with the text. An answer that broke within its reasoning cannot
	// be continued. Messages are continued where an endpoint has FeaturePrefill.
	RescueContinue Rescue = iota
	// RescueRestart does the same where that is possible. Otherwise it asks a host
	// for the whole answer again. If the new answer begins with the same bytes as
	// the old one, the caller gets the rest of it; otherwise the stream ends in its
	// error.
	RescueRestart
	// RescueOff ends the stream in its error: [ErrTruncated], [ErrStalled] or
	// [ErrBadResponse].
	RescueOff Rescue = Off
)

// BreakerPolicy sets when the circuit of a model at an endpoint opens, and for how long:
// see [WithBreaker]. While a circuit is open, calls go to other endpoints. When it has been
// open for OpenFor, an attempt probes it. If the probe succeeds, the circuit closes. If
// there is no other endpoint, a call may probe the circuit earlier, at most one each second,
// and other calls wait for that: see MaxWait. When a circuit opens, later attempts use new
// connections to that host, because a kept one may lead to a server that is drained; not so
// over a base of the user's (see [WithBase]).
//
// For an application that has something better to do than to wait:
//
//	breakwater.BreakerPolicy{MaxWait: breakwater.Off}
//
// An attempt that the caller cancels, a 429 and a rejected key do not count. An attempt
// that the caller's deadline ends counts as a failure only if the host had as much time as
// this model usually needs there for its first payload. Until that is known, the times of
// StreamPolicy are used.
type BreakerPolicy struct {
	// The circuit opens if at least MinRequests attempts have ended within Window
	// and the share FailureRate of them, between 0 and 1, has failed. Defaults 0.5, 20
	// and 60s. FailureRate Off: no share of failures opens it. MinRequests Off: the
	// share counts from the first attempt on. Window Off: all attempts count since the
	// circuit closed.
	FailureRate float64
	MinRequests int
	Window      time.Duration

	// Consecutive is how many consecutive failures open the circuit. Default 5; Off: any
	// number leaves it closed. If failures are common among the attempts of Window, more
	// are needed: so many that chance would bring them about once in a million attempts,
	// but for that reason no more than 32.
	Consecutive int

	// OpenFor is how long the circuit stays open before a probe. Each failed probe
	// doubles that time, with jitter, up to MaxOpenFor. Defaults 5s and 5min, or
	// OpenFor if that is longer. OpenFor Off: a probe may follow at once. MaxOpenFor
	// Off is an error unless OpenFor is Off.
	OpenFor, MaxOpenFor time.Duration

	// Probes is how many attempts may probe the circuit at a time. As many must
	// succeed to close it. Default 1; Off is an error.
	Probes int

	// MaxWait is how long a call waits for an open circuit to be probed, while no other
	// endpoint can serve it: until it is its turn to make the probe, within the caller's
	// deadline. For the outcome of another call's probe it waits up to three times as
	// long, because a host that is well may be slow. If that is too short, the call fails
	// at once with [ErrCircuitOpen], and the Retry-After of the response says when the
	// next probe is due. The call that makes the probe does not wait. A pause that a host
	// asked for is none of this: see RetryPolicy.MaxRetryAfter. A GET or HEAD waits for
	// RetryPolicy.Patience, if that is longer. Default 1s; Off: calls do not wait.
	MaxWait time.Duration
}

func (p BreakerPolicy) resolve() (BreakerPolicy, error) {
	f := fields{option: "WithBreaker"}
	resolveField(&f, "FailureRate", &p.FailureRate, 0.5)
	f.check(p.FailureRate <= 1, "FailureRate is %v: want a share up to 1: did you mean %v?", p.FailureRate, p.FailureRate/100)
	resolveField(&f, "MinRequests", &p.MinRequests, 20)
	resolveField(&f, "Window", &p.Window, time.Minute)
	resolveField(&f, "Consecutive", &p.Consecutive, 5)
	resolveField(&f, "OpenFor", &p.OpenFor, 5*time.Second)
	resolveField(&f, "MaxOpenFor", &p.MaxOpenFor, max(5*time.Minute, p.OpenFor))
	f.check(p.OpenFor <= p.MaxOpenFor, "OpenFor %v is above MaxOpenFor %v", p.OpenFor, p.MaxOpenFor)
	f.check(p.Probes >= 0, "Probes is %d: a circuit without probes never closes", p.Probes)
	resolveField(&f, "Probes", &p.Probes, 1)
	resolveField(&f, "MaxWait", &p.MaxWait, time.Second)
	return p, f.err()
}

// CachePolicy sets which answers are kept, and for how long: see [WithCache]. Only
// complete answers are kept. A later call with the same content gets the kept answer, as
// JSON or as a stream. The order of the fields does not matter.
//
// By default, answers are shared only by requests with the same key. That is the key in
// the caller's request, not the endpoint's. If users of different rights send requests
// with one key, or without a key, set Scope.
//
// An answer is fresh for TTL and stale afterwards. A call gets a stale answer only while
// no endpoint answers, if StaleWhileRevalidate is set, or if its Cache-Control has
// max-stale. For a chat that should answer even in a long outage:
//
//	breakwater.CachePolicy{TTL: time.Minute, StaleIfError: 24 * time.Hour}
//
// For answers that several processes and all users of a tenant share:
//
//	breakwater.CachePolicy{
//		Scope: func(req *http.Request) string { return tenantOf(req.Context()) },
//		Store: store, // such as a client of Redis
//	}
//
// # Shared attempts
//
// Calls with the same content that are under way share one attempt. A shared attempt that
// brings nothing does not block its callers for good. After some time, a caller makes an
// attempt of its own and waits for both. The first answer goes to all callers. That time
// is FirstToken for streams, Thinking for models that think and for JSON, Queued for JSON
// from DeepSeek, and Stall after the first payload: see [StreamPolicy]. If one of these is
// Off, its default counts. A caller with a deadline waits at most half of the time that it
// had left, but at least a second. So a host that is down gets at most one request a
// second for the same content, and seldom has more than six open at once. [Call].NoShare
// keeps a call from sharing.
//
// # Cache-Control
//
// Of a request's Cache-Control, the directives no-store, no-cache, only-if-cached,
// max-age, min-fresh, max-stale (RFC 9111, 5.2.1) and stale-if-error (RFC 5861) count.
// [Call].CacheControl sets them for one call. In the request of a stream, a Cache-Control
// of only no-cache is ignored, because several SDKs always send it; max-age=0 works there.
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
	// TTL is how long an answer is fresh, at most: its host may say a shorter time, or
	// that it is old already. Default 5min; Off: it is stale at once.
	TTL time.Duration

	// StaleIfError is how long after TTL a stale answer is given while no endpoint
	// can answer. Default 1h; Off: never.
	StaleIfError time.Duration

	// StaleWhileRevalidate is how long after TTL a stale answer is given at once,
	// while it is renewed in the background. Renewals take only what callers leave of the
	// limits of RatePolicy. Default 0 or Off: never.
	StaleWhileRevalidate time.Duration

	// MaxEntries and MaxBytes limit the answers in memory: their number, and their
	// size in bytes in all. Up to a quarter of MaxBytes may be the requests that were
	// answered from the cache, which are kept to find their answers faster; they leave
	// with their answers. MaxEntryBytes limits the size in bytes of one answer.
	// Defaults 1000, 64 MiB and 1 MiB. Off means unlimited, except that answers that
	// come in parts are kept up to 16 MiB each.
	MaxEntries    int
	MaxBytes      int64
	MaxEntryBytes int64

	// Deterministic keeps, and gives, only answers to calls with temperature 0. Set it
	// if other calls should get a new answer each time. Default: all complete answers
	// are kept.
	Deterministic bool

	// Scope returns the name of a group of callers who may share answers, such as a
	// tenant. With an empty name, the call's answer is not kept, and the call gets no
	// kept answer. Callers see only those headers of an answer that describe it, and
	// its ids at the host. Default: callers with the same credential share, and see
	// all headers but those that concern the first call alone.
	Scope func(*http.Request) string

	// Store keeps answers for several processes, in addition to the memory of this
	// one. Default nil: answers are in memory only.
	Store Store
}

func (p CachePolicy) resolve() (CachePolicy, error) {
	f := fields{option: "WithCache"}
	resolveField(&f, "TTL", &p.TTL, 5*time.Minute)
	resolveField(&f, "StaleIfError", &p.StaleIfError, time.Hour)
	resolveField(&f, "StaleWhileRevalidate", &p.StaleWhileRevalidate, 0)
	f.check(p.Store == nil || !isNil(p.Store), "Store is a nil pointer: leave it out for none")
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

// IdempotencyPolicy sets what an Idempotency-Key does: see [WithIdempotency].
//
// A key identifies a call of one caller, by its credential or Scope, for one URL and
// one set of headers, except those that differ between the attempts of an SDK. What another
// caller does with the same key has no effect. A key has 1 to 255 printable characters of
// ASCII, and is kept only as a hash.
//
//   - The same key and the same request, while the first call is under way: the call joins
//     the first, a stream from its beginning. If the first fails, both get the failure, and
//     the next call is made anew, because failures are not kept.
//   - The same, later: the answer is given again, with Age and Cache-Status, as it was. It
//     need not have temperature 0, and may have tools or state at the host. Only answers
//     that are whole are kept; one that the token limit cut is whole. Answers with
//     Cache-Control: no-store are not kept.
//   - The same key and another request, while the first is under way or kept: the call is
//     refused with 422 and Breakwater-Error: idempotency_key_reused. Every field of the
//     body counts, also stream; the order of fields and white space do not.
//   - A key that nobody may use, or two: 400 and Breakwater-Error: idempotency_key_invalid.
//
// Nothing is done for a request without a body in memory (above RetryPolicy.MaxReplay or
// with a Content-Encoding), nor for one made with the context of another call.
//
// Of Cache-Control, and of [Call].NoCache and NoShare, only no-store concerns the key: the
// answer is not kept then. With [WithCache], a call with a new key may get a kept answer,
// which becomes that of its key. It joins no call under way that has another key or none.
type IdempotencyPolicy struct {
	// TTL is how long an answer is kept for its key, if there is memory. Default 24h; Off:
	// only calls under way are joined.
	TTL time.Duration

	// Linger is how long a call that was sent goes on when all its callers have left before
	// the answer was whole: after a timeout, for example. The caller that asks again within
	// this time joins it; the answer is kept. At most 128 calls do so at once, each holds
	// its permit of RatePolicy, and Close ends them. Default 2min; Off: it is cancelled.
	Linger time.Duration

	// MaxBytes limits the size in bytes of all answers in memory, each with 512 bytes for
	// itself. If they are more, those that were not used for the longest time go.
	// MaxEntryBytes limits one answer: a larger one is not kept. Defaults 64 MiB and 1 MiB.
	// Off means unlimited, except that answers that come in parts are kept up to 16 MiB.
	MaxBytes      int64
	MaxEntryBytes int64

	// Scope returns the name of a group of callers who share their keys, such as a
	// tenant. With an empty name the key has no effect. Default: CachePolicy.Scope, or else
	// callers with the same credential share.
	Scope func(*http.Request) string

	// Store keeps answers for several processes, in addition to the memory of this one. Calls
	// under way in another process are not joined. Default: CachePolicy.Store, or none.
	Store Store
}

func (p IdempotencyPolicy) resolve() (IdempotencyPolicy, error) {
	f := fields{option: "WithIdempotency"}
	resolveField(&f, "TTL", &p.TTL, 24*time.Hour)
	resolveField(&f, "Linger", &p.Linger, 2*time.Minute)
	resolveField(&f, "MaxBytes", &p.MaxBytes, 64<<20)
	resolveField(&f, "MaxEntryBytes", &p.MaxEntryBytes, 1<<20)
	f.check(p.Store == nil || !isNil(p.Store), "Store is a nil pointer: leave it out for none")
	return p, f.err()
}

// A Store keeps entries of the cache for several processes, such as a client of Redis: see
// [CachePolicy].Store. It must be safe for concurrent use. Package storetest tests it.
//
// Entries are checked when they are read. A damaged entry, an error, and a Get of more
// than 250ms count as a miss, with an event of [KindCacheError]; they never fail the call.
// A Store that needs more than 250ms is not asked again for 5s. At most 128 Gets and 16 Sets
// are under way at once, and one Get for each key. Further Gets wait within their 250ms.
// Further Sets are queued, up to 1024 and 64 MiB. Entries contain answers, and keys are
// hashes of prompts and credentials, so protect the Store accordingly.
type Store interface {
	// Get returns the entry under key, or nil and no error if there is none. The key
	// has 64 hexadecimal digits. The caller may change the slice.
	Get(ctx context.Context, key string) ([]byte, error)
	// Set keeps the entry under key for at least keep. It must not use the slice after
	// it has returned.
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

// unitless returns an error for each field that is a number without the unit that was
// meant: a Duration in nanoseconds, or a size in bytes, which are the fields of type int64.
func unitless(where string, policy any) (errs []error) {
	if policy == nil {
		return nil
	}
	of := reflect.ValueOf(policy)
	for i := range of.NumField() {
		name, meant := of.Type().Field(i).Name, ""
		switch n := of.Field(i).Interface().(type) {
		case time.Duration:
			if meant = mistake.Duration(n); meant != "" {
				errs = append(errs, fmt.Errorf("breakwater: %s: %s is %v: %s A number without a unit is in nanoseconds", where, name, n, meant))
			}
		case int64:
			if meant = mistake.Size(n); meant != "" {
				errs = append(errs, fmt.Errorf("breakwater: %s: %s is %d bytes: %s", where, name, n, meant))
			}
		}
	}
	return errs
}

// maxBudget is the most extra attempts for each call that anybody means. A call with more
// Attempts may have as many.
const maxBudget = 10

func (p RetryPolicy) unmeant(where string) []error {
	f := fields{option: where}
	f.check(!(p.Budget > float64(max(maxBudget, p.Attempts))), "Budget is %v, which is %v extra attempts for each call: did you mean %v?", p.Budget, p.Budget, p.Budget/100)
	return f.errs
}

func (p RatePolicy) unmeant(where string) []error {
	f := fields{option: where}
	f.check(p.Burst <= 0 || p.PerSecond != 0, "Burst is %d, and PerSecond is not set, so that it has no effect: want both", p.Burst)
	limits := p.PerSecond != 0 || p.TokensPerMinute != 0 || p.InFlight != 0 || p.Adaptive
	f.check(!p.Spill || limits, "Spill is set, and there is no limit: want PerSecond, TokensPerMinute, InFlight or Adaptive")
	f.check(p.MaxWait <= 0 || limits || !p.Fixed, "MaxWait is %v, and there is no limit to wait for: want PerSecond, TokensPerMinute, InFlight or Adaptive, or no Fixed", p.MaxWait)
	return f.errs
}

func (l TenantLimits) unmeant(where string) []error {
	f := fields{option: where}
	f.check(l.MaxWait <= 0 || l.RequestsPerMinute > 0 || l.TokensPerMinute > 0 || l.InFlight > 0, "MaxWait is %v, and there is nothing to wait for: want RequestsPerMinute, TokensPerMinute or InFlight", l.MaxWait)
	f.check(l.TokensPerDay <= 0 || l.TokensPerMinute <= l.TokensPerDay, "TokensPerMinute %d is above TokensPerDay %d: are they exchanged?", l.TokensPerMinute, l.TokensPerDay)
	f.check(l.CostPerDay <= 1e12, "CostPerDay is %v: nothing costs that much", l.CostPerDay)
	return f.errs
}

func (p BalancePolicy) unmeant(where string) []error {
	f := fields{option: where}
	f.check(p.Overload < 100 || p.Overload > 1000, "Overload is %v times the even share: did you mean %v?", p.Overload, p.Overload/100)
	return f.errs
}

func (p StreamPolicy) unmeant(where string) []error {
	f := fields{option: where}
	f.check(!p.HedgeBackup || p.Hedge > 0, "HedgeBackup is set, and Hedge is not, so that it has no effect: want both")
	f.check(p.MinRateWindow <= 0 || p.MinRate > 0, "MinRateWindow is %v, and MinRate is not set, so that it has no effect: want both", p.MinRateWindow)
	return f.errs
}

// isNil reports whether v is nil, or an interface of a nil pointer, which would panic later.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch of := reflect.ValueOf(v); of.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map:
		return of.IsNil()
	}
	return false
}

func (f *fields) err() error { return errors.Join(f.errs...) }
