package breakwater

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/breakwater-go/breakwater/internal/bounded"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/price"
)

// An Option configures a Transport: see [New].
//
// It is an error to give WithBase or an option that takes a policy twice: put the fields
// into one policy. WithEndpoints, WithBackup, WithObserver, WithMiddleware and
// WithAttemptMiddleware add to what was given before.
type Option func(*config) error

// config is the result of the options. Its policies are resolved: they have their
// defaults, and 0 stands for Off.
type config struct {
	tiers      [][]Endpoint
	cache      *CachePolicy
	repeats    *IdempotencyPolicy
	rate       RatePolicy
	breaker    BreakerPolicy
	retry      RetryPolicy
	stream     StreamPolicy
	balance    BalancePolicy
	probes     *ProbePolicy
	spend      *SpendPolicy // nil: none
	observers  observers
	asErrors   bool
	strict     bool
	perCall    []Middleware
	perAttempt []Middleware
	base       http.RoundTripper
	given      []given        // the options of which there is one, as they were given
	limits     []given        // the Limits of endpoints and tenants
	tenants    *TenantPolicy  // nil: none
	currency   price.Currency // of all prices; zero: there are none

	// Tests replace these by functions without randomness.
	newBackOff func() backoff.BackOff
	jitter     func(time.Duration) time.Duration
	random     func(n int) int // returns a number below n
	anything   bool            // what nobody means is taken, too
}

// A given is an option as the caller wrote it, before the defaults.
type given struct {
	option string
	policy any // nil: it has none
}

func (c *config) give(option string, policy any) { c.given = append(c.given, given{option, policy}) }

func newConfig(opts []Option) (*config, error) {
	c := &config{}
	// The zero policies are valid, so resolving them cannot fail.
	c.rate, _ = RatePolicy{}.resolve("WithRateLimit")
	c.breaker, _ = BreakerPolicy{}.resolve()
	c.retry, _ = RetryPolicy{}.resolve()
	c.stream, _ = StreamPolicy{}.resolve()
	c.balance, _ = BalancePolicy{}.resolve()
	var errs []error
	for _, opt := range opts {
		if opt == nil {
			errs = append(errs, errors.New("breakwater: nil Option"))
			continue
		}
		if err := opt(c); err != nil {
			errs = append(errs, err)
		}
	}
	if len(c.tiers) > 0 && len(c.tiers[0]) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("breakwater: WithBackup: there is no tier above it: give WithEndpoints too"))
	}
	if c.newBackOff == nil {
		c.newBackOff = c.retry.newBackOff
	}
	if c.random == nil {
		c.random = rand.IntN
	}
	if p := c.repeats; p != nil && c.cache != nil {
		if p.Scope == nil {
			p.Scope = c.cache.Scope
		}
		if p.Store == nil {
			p.Store = c.cache.Store
		}
	}
	errs = append(errs, c.namesTwice()...)
	errs = append(errs, c.wordsTwice()...)
	errs = append(errs, c.findCurrency()...)
	errs = append(errs, c.spendIdle()...)
	errs = append(errs, c.cheapestIdle()...)
	if !c.anything {
		errs = append(errs, c.unmeant()...)
	}
	return c, errors.Join(append(errs, c.keysMissing()...)...)
}

// giveLimits notes the Limits of endpoints.
func (c *config) giveLimits(option string, endpoints []Endpoint) {
	for i, e := range endpoints {
		for _, model := range slices.Sorted(maps.Keys(e.Limits)) {
			c.limits = append(c.limits, given{fmt.Sprintf("%s: Limits[%q]", e.place(option, i+1), model), e.Limits[model]})
		}
	}
}

// unmeant returns an error for each thing that would have an effect, and one that nobody
// means: a number without its unit, an option that another replaces, a policy that cannot
// apply.
func (c *config) unmeant() (errs []error) {
	seen := make(map[string]bool)
	for _, g := range c.given {
		if seen[g.option] {
			errs = append(errs, fmt.Errorf("breakwater: %s: the option is given twice: put what you want into one", g.option))
		}
		seen[g.option] = true
		errs = append(errs, unitless(g.option, g.policy)...)
		switch p := g.policy.(type) {
		case RetryPolicy:
			errs = append(errs, p.unmeant(g.option)...)
		case RatePolicy:
			errs = append(errs, p.unmeant(g.option)...)
			if p.Spill && len(c.tiers) < 2 {
				errs = append(errs, fmt.Errorf("breakwater: %s: Spill is set, and there is no backup to spill to: give WithBackup, or leave Spill out", g.option))
			}
		case BalancePolicy:
			errs = append(errs, p.unmeant(g.option)...)
			if p.Shift > 0 && len(c.tiers) < 2 {
				errs = append(errs, fmt.Errorf("breakwater: %s: Shift is set, and there is no backup to shift to: give WithBackup, or leave Shift out", g.option))
			}
		case StreamPolicy:
			errs = append(errs, p.unmeant(g.option)...)
			errs = append(errs, c.hedgeIdle(p)...)
		}
	}
	for _, g := range c.limits {
		errs = append(errs, unitless(g.option, g.policy)...)
		if p, ok := g.policy.(interface{ unmeant(string) []error }); ok {
			errs = append(errs, p.unmeant(g.option)...)
		}
	}
	if c.probes != nil && len(c.tiers) == 0 {
		errs = append(errs, errors.New("breakwater: WithProbes: there are no endpoints to probe: give WithEndpoints, or leave WithProbes out"))
	}
	errs = append(errs, c.tenantsUnpriced()...)
	if c.strict && len(c.tiers) == 0 {
		errs = append(errs, errors.New("breakwater: WithStrict: there are no endpoints that a request could be meant for: give WithEndpoints, or leave WithStrict out"))
	}
	if _, nested := c.base.(interface{ Status() Status }); nested { // only a Transport has it
		errs = append(errs, errors.New("breakwater: WithBase: the base is a Transport of breakwater, so that both would retry: give that one's base, or use one Transport"))
	}
	return errs
}

// tenantsUnpriced returns an error if costs of tenants are limited, and nothing has a price.
func (c *config) tenantsUnpriced() (errs []error) {
	if c.tenants != nil && c.currency == (price.Currency{}) && c.tenants.any(func(l TenantLimits) bool { return l.CostPerDay > 0 }) {
		errs = append(errs, errors.New("breakwater: WithTenants: CostPerDay is set, and no endpoint has a price, so that nothing would count: give Endpoint.Price"))
	}
	return errs
}

// countAccounts returns how many accounts there are, and how many the tier with most has.
func (c *config) countAccounts() (all, most int) {
	accounts := make(map[string]bool)
	for _, tier := range c.tiers {
		beside := make(map[string]bool)
		for _, e := range tier {
			accounts[e.Account], beside[e.Account] = true, true
		}
		most = max(most, len(beside))
	}
	return len(accounts), most
}

// hedgeIdle returns an error if there are hedges that cannot begin.
func (c *config) hedgeIdle(p StreamPolicy) (errs []error) {
	if p.Hedge <= 0 && (p.Rescue != RescueRestart || p.Hedge < Off) {
		return nil
	}
	accounts, most := c.countAccounts()
	say := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("breakwater: WithStream: "+format, args...))
	}
	what := fmt.Sprintf("Hedge is %v, and no hedge can begin", p.Hedge)
	if p.Hedge <= 0 {
		what = "Rescue is RescueRestart, and no rescue can begin"
	}
	clocks := c.stream
	last := max(clocks.FirstToken, clocks.Thinking, clocks.Queued)
	switch {
	case p.Hedge > 0 && accounts < 2:
		say("%s: there are %d accounts: give another endpoint, with an Account of its own, or leave Hedge out", what, accounts)
	case c.retry.SendOnce:
		say("%s, because WithRetry has SendOnce: want one of them", what)
	case c.retry.Budget == 0:
		say("%s, because WithRetry has Budget Off: want one of them", what)
	case p.Hedge > 0 && clocks.FirstToken > 0 && clocks.Thinking > 0 && clocks.Queued > 0 && p.Hedge >= last:
		say("%s before FirstToken, Thinking and Queued end the attempt, at most after %v: want a shorter one", what, last)
	case p.Hedge > 0 && !p.HedgeBackup && most < 2:
		say("%s: a hedge stays within its tier, and no tier has two accounts: set HedgeBackup, so that it may go to a backup, or give a tier another endpoint", what)
	case p.HedgeBackup && len(c.tiers) < 2:
		say("HedgeBackup is set, and there is no backup: give WithBackup, or leave HedgeBackup out")
	}
	return errs
}

// namesTwice returns an error for each name that two endpoints have, and for each account
// with two Limits.
func (c *config) namesTwice() (errs []error) {
	names, accounts := make(map[string]bool), make(map[string]Endpoint)
	for _, tier := range c.tiers {
		for _, e := range tier {
			if e.Name == "" || e.misplacedKey() != "" {
				continue // its URL is wrong, which is said
			}
			if names[e.Name] {
				errs = append(errs, fmt.Errorf("breakwater: endpoint %q: the name is given twice: give one of them another, such as .Named(%q), and the same Account if they share one", e.Name, e.Name+"-2"))
				continue
			}
			names[e.Name] = true
			if other, known := accounts[e.Account]; known && !maps.Equal(other.Limits, e.Limits) {
				errs = append(errs, fmt.Errorf("breakwater: endpoints %q and %q share account %q: want the same Limits of both", other.Name, e.Name, e.Account))
			}
			accounts[e.Account] = e
		}
	}
	return errs
}

// wordsTwice returns an error for each tag or region that is the name of another endpoint: a
// call that names it would be for both, and whoever wrote it means one.
func (c *config) wordsTwice() (errs []error) {
	names := make(map[string]bool)
	for _, tier := range c.tiers {
		for _, e := range tier {
			names[e.Name] = true
		}
	}
	for _, tier := range c.tiers {
		for _, e := range tier {
			for _, word := range slices.Concat(e.Tags, []string{e.Region}) {
				if word != "" && word != e.Name && names[word] && e.misplacedKey() == "" {
					errs = append(errs, fmt.Errorf("breakwater: endpoint %q: its tag or region %q is the name of another endpoint: want another word", e.Name, word))
				}
			}
		}
	}
	return errs
}

// findCurrency finds the currency of the prices. It returns an error if there are several: no
// sum could be made of them, and nobody here knows how to change one into another.
func (c *config) findCurrency() (errs []error) {
	if len(c.tiers) == 0 {
		c.currency = price.Dollar // of the prices that are known of hosts
	}
	var first Endpoint
	for _, tier := range c.tiers {
		for _, e := range tier {
			for _, r := range ratesOf(e) {
				switch {
				case r.Currency() == (price.Currency{}): // it is none, which is said
				case c.currency == (price.Currency{}):
					c.currency, first = r.Currency(), e
				case r.Currency() != c.currency:
					return append(errs, fmt.Errorf("breakwater: endpoint %q: Price is in %v, and that of %q in %v: want one currency for all, so that costs can be summed", e.Name, r.Currency(), first.Name, c.currency))
				}
			}
		}
	}
	return errs
}

// spendIdle returns an error if a SpendPolicy bounds nothing.
func (c *config) spendIdle() (errs []error) {
	if c.spend == nil {
		return nil
	}
	accounts := make(map[string]bool)
	for _, tier := range c.tiers {
		for _, e := range tier {
			accounts[e.Name], accounts[e.Account] = true, true
		}
	}
	say := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("breakwater: WithSpend: "+format, args...))
	}
	if c.spend.PerDay == 0 && len(c.spend.PerAccount) == 0 {
		say("neither PerDay nor PerAccount is set: want an amount, or leave the option out")
	}
	if c.currency == (price.Currency{}) {
		say("no endpoint has a Price, so nothing would ever be spent: set Price of an endpoint")
	}
	for _, name := range slices.Sorted(maps.Keys(c.spend.PerAccount)) {
		if !accounts[name] {
			say("PerAccount has %q, which is neither an Account nor the Name of an endpoint", name)
		}
	}
	return errs
}

// cheapestIdle returns an error if BalancePolicy.Cheapest has nothing to choose by.
func (c *config) cheapestIdle() []error {
	if !c.balance.Cheapest || c.anything {
		return nil
	}
	for _, tier := range c.tiers {
		prices := 0
		for _, e := range tier {
			if len(e.Price) > 0 {
				prices++
			}
		}
		if prices > 0 && len(tier) > 1 {
			return nil
		}
	}
	return []error{errors.New("breakwater: WithBalance: Cheapest is set, and no tier has two endpoints of which one has a Price: set Price, or leave Cheapest out")}
}

// optionOf returns the option that gives the endpoints of a tier.
func optionOf(tier int) string {
	if tier == 0 {
		return "WithEndpoints"
	}
	return "WithBackup"
}

// keysMissing returns an error for each endpoint that has no key and cannot get
// the caller's. Without it, such a mistake would show only in an outage. Callers
// may have a key for the first endpoint, and for the origins of the first tier.
func (c *config) keysMissing() (errs []error) {
	if len(c.perAttempt) > 0 { // the middleware may set a key
		return nil
	}
	asked := make(map[origin.Origin]bool) // callers may address these
	for i, tier := range c.tiers {
		for j, e := range tier {
			var at origin.Origin
			if u, err := url.Parse(e.URL); err == nil {
				at, _ = origin.Of(u)
			}
			first := i == 0 && j == 0
			if e.Name != "" && e.misplacedKey() == "" && !first && !asked[at] && !e.Keyless && e.Rewrite == nil && !e.hasKey() && !header.HasIdentity(e.Header) {
				errs = append(errs, fmt.Errorf("breakwater: %s: endpoint %q has no APIKey, and nobody else's key may go there: set APIKey, KeyFunc or Header, or Keyless for a host that wants none", optionOf(i), e.Name))
			}
			if i == 0 {
				asked[at] = true
			}
		}
	}
	return errs
}

// WithEndpoints adds endpoints to the first tier, which gets the calls while it can
// answer them. The endpoints of a tier share the load: see [BalancePolicy]. If it is
// given several times, all endpoints are in the first tier.
//
// With endpoints, the Transport protects only the calls that are meant for one of
// them; the package comment says which these are. Without endpoints, it protects
// inference calls to any host. Give endpoints when the program's keys are known at
// start, or when another host should be able to answer.
//
// It is an error to give no endpoint, or two with the same name. For the errors of one
// endpoint, see [Endpoint].
//
//	breakwater.WithEndpoints(
//		breakwater.VLLM("http://10.0.0.7:8000/v1", ""),
//		breakwater.VLLM("http://10.0.0.8:8000/v1", ""),
//	)
func WithEndpoints(endpoints ...Endpoint) Option {
	return func(c *config) error {
		if len(endpoints) == 0 {
			return errors.New("breakwater: WithEndpoints: no endpoint given")
		}
		if len(c.tiers) == 0 {
			c.tiers = make([][]Endpoint, 1)
		}
		c.giveLimits("WithEndpoints", endpoints)
		resolved, err := resolveEndpoints("WithEndpoints", endpoints)
		c.tiers[0] = append(c.tiers[0], resolved...)
		return err
	}
}

// WithBackup adds a tier of endpoints below the tiers given before. Each WithBackup
// adds another tier: the first one gets the calls that WithEndpoints' tier cannot take,
// the second one those that neither can take.
//
// A call goes to a backup if no endpoint of a higher tier can take it at once, or
// within [RetryPolicy].Patience. An endpoint cannot take a call while its circuit is
// open or while it is paused, and not after the call has failed there. A limit of your own
// sends a call to a backup only with [RatePolicy].Spill, and a hedge goes there only with
// [StreamPolicy].HedgeBackup.
//
// WithBackup without WithEndpoints is an error. So is a backup without a key: see
// [Endpoint].APIKey.
//
//	breakwater.WithEndpoints(breakwater.DeepSeek(key)),
//	breakwater.WithBackup(breakwater.SiliconFlow(otherKey)),
//	breakwater.WithBackup(breakwater.VLLM("http://10.0.0.7:8000/v1", "")), // if both are down
func WithBackup(endpoints ...Endpoint) Option {
	return func(c *config) error {
		if len(endpoints) == 0 {
			return errors.New("breakwater: WithBackup: no endpoint given")
		}
		if len(c.tiers) == 0 {
			c.tiers = make([][]Endpoint, 1)
		}
		c.giveLimits("WithBackup", endpoints)
		resolved, err := resolveEndpoints("WithBackup", endpoints)
		c.tiers = append(c.tiers, resolved)
		return err
	}
}

// WithCache keeps complete answers and gives them again to the same caller. While no
// endpoint answers, it gives stale ones. Calls with the same content that are under
// way at the same time share one attempt.
//
// By default nothing is cached, because a call with a temperature above 0 may expect
// another answer each time. Set it if the same requests come again, or if an old
// answer is better than none. The zero CachePolicy is a good start.
//
//	breakwater.WithCache(breakwater.CachePolicy{TTL: time.Minute, StaleIfError: 24 * time.Hour})
func WithCache(p CachePolicy) Option {
	return func(c *config) error {
		c.give("WithCache", p)
		p, err := p.resolve()
		c.cache = &p
		return err
	}
}

// WithIdempotency makes calls with the same Idempotency-Key one call: the header is that of
// draft-ietf-httpapi-idempotency-key-header, and [Call].IdempotencyKey takes its place. A
// repetition gets the answer of the first call, while that is under way or later, and costs
// nothing. So a client that has run out of time asks again without paying again.
// [IdempotencyPolicy] says what counts as the same. By default the header goes to the host that
// the call is meant for, and has no effect here. Calls without a key are not affected.
//
// Set it if clients time out and try again, or if a job may run twice. The zero
// IdempotencyPolicy is a good start.
//
//	breakwater.WithIdempotency(breakwater.IdempotencyPolicy{})
func WithIdempotency(p IdempotencyPolicy) Option {
	return func(c *config) error {
		c.give("WithIdempotency", p)
		p, err := p.resolve()
		c.repeats = &p
		return err
	}
}

// WithRateLimit limits the attempts at each model of each account. It does not affect
// models for which [Endpoint].Limits has an entry. By default there is no limit.
//
// Set it if an account has a limit that several processes or users share, or if hosts
// refuse calls with 429.
//
//	breakwater.WithRateLimit(breakwater.RatePolicy{InFlight: 50, Adaptive: true})
func WithRateLimit(p RatePolicy) Option {
	return func(c *config) (err error) {
		c.give("WithRateLimit", p)
		c.rate, err = p.resolve("WithRateLimit")
		return err
	}
}

// WithSpend bounds what a day may cost. By default nothing does.
//
// Set it where a mistake, such as a loop of an agent, must not cost more than somebody is
// ready to pay. It needs a [Endpoint].Price; DeepSeek's own is known.
//
//	breakwater.WithSpend(breakwater.SpendPolicy{PerDay: 50})
func WithSpend(p SpendPolicy) Option {
	return func(c *config) error {
		c.give("WithSpend", p)
		p, err := p.resolve()
		c.spend = &p
		return err
	}
}

// WithTenants limits what each tenant may ask for, by Call.Tenant or by a function of the
// policy. Without it, tenants have no limits; they still have equal parts of those of
// [RatePolicy].
//
// Set it if the users of one process are not all the same.
//
//	breakwater.WithTenants(breakwater.TenantPolicy{Default: breakwater.TenantLimits{InFlight: 5, TokensPerDay: 1_000_000}})
func WithTenants(p TenantPolicy) Option {
	return func(c *config) error {
		c.give("WithTenants", p)
		c.limits = append(c.limits, given{"WithTenants: Default", p.Default})
		for _, name := range slices.Sorted(maps.Keys(p.Limits)) {
			c.limits = append(c.limits, given{fmt.Sprintf("WithTenants: Limits[%q]", bounded.Name(name)), p.Limits[name]})
		}
		p, err := p.resolve()
		c.tenants = &p
		return err
	}
}

// WithBreaker sets when circuits open and close. By default they do so as
// [BreakerPolicy] says. With [Off] for both FailureRate and Consecutive there are no
// circuits.
//
// The default suits most programs.
//
//	breakwater.WithBreaker(breakwater.BreakerPolicy{OpenFor: 10 * time.Second})
func WithBreaker(p BreakerPolicy) Option {
	return func(c *config) (err error) {
		c.give("WithBreaker", p)
		c.breaker, err = p.resolve()
		return err
	}
}

// WithRetry limits the attempts of a call and its waits. Without it, the defaults of
// [RetryPolicy] apply.
//
// Set it for batches, which may wait long, and for calls that must not be billed twice.
//
//	breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 5, MaxRetryAfter: 10 * time.Minute})
func WithRetry(p RetryPolicy) Option {
	return func(c *config) (err error) {
		c.give("WithRetry", p)
		c.retry, err = p.resolve()
		return err
	}
}

// WithStream sets the time limits of answers, hedges and rescues. Without it, the
// defaults of [StreamPolicy] apply.
//
// Set it if latency matters more than tokens, or if you prefer a restarted answer to an
// error.
//
//	breakwater.WithStream(breakwater.StreamPolicy{FirstToken: 10 * time.Second, Rescue: breakwater.RescueRestart})
func WithStream(p StreamPolicy) Option {
	return func(c *config) (err error) {
		c.give("WithStream", p)
		c.stream, err = p.resolve()
		return err
	}
}

// WithBalance sets how the endpoints of a tier share its calls. Without it, the defaults
// of [BalancePolicy] apply. It matters only if a tier has several endpoints.
//
// Set it if your endpoints do not cache prompts, so that conversations need not stay at
// one endpoint.
//
//	breakwater.WithBalance(breakwater.BalancePolicy{Affinity: breakwater.Off})
func WithBalance(p BalancePolicy) Option {
	return func(c *config) (err error) {
		c.give("WithBalance", p)
		c.balance, err = p.resolve()
		return err
	}
}

// WithProbes asks endpoints from time to time whether they are well, by requests that cost
// nothing: GET /models, and the balance where the host tells it. By default there are none.
//
// Probes tell what calls would find out too late: that the key of a backup was revoked, that
// its host cannot be reached, that a model is not listed any more, that the money ends.
// [EndpointStatus].Health and events of [KindHealth] and [KindBalance] have it. A probe that
// shows that a rejected key is accepted again, or that an account has money again, ends the
// pause for that. It closes no circuit and ends no other pause, because a host that lists its
// models may yet answer no calls; and it begins none. Probes have the endpoint's own key,
// Header and Rewrite, and pass through WithAttemptMiddleware; they never have a caller's key.
// They end with [Transport.Close].
//
// It is an error to give it without endpoints, because nobody says then whom to ask.
//
//	breakwater.WithProbes(breakwater.ProbePolicy{LowBalance: 20})
func WithProbes(p ProbePolicy) Option {
	return func(c *config) error {
		c.give("WithProbes", p)
		p, err := p.resolve()
		c.probes = &p
		return err
	}
}

// WithObserver adds an [Observer], which gets every event. If it is given several times,
// each Observer gets every event, in the order of the options. By default there is none,
// and breakwater logs nothing. A nil Observer is an error.
//
//	breakwater.WithObserver(breakwater.Log(slog.Default()))
func WithObserver(o Observer) Option {
	return func(c *config) error {
		if o == nil {
			return errors.New("breakwater: WithObserver: nil Observer")
		}
		c.observers = append(c.observers, o)
		return nil
	}
}

// WithErrors makes a call that no endpoint could answer return a Go error of type
// [*Error], also where a host sent an error response such as a 503. By default the call
// returns a response: see [ErrorOf]. A host's refusal of the request itself, such as a
// 400, is still a response.
//
// Set it if the program reads responses itself and treats errors in one place. Do not
// set it under an SDK, because SDKs retry Go errors.
func WithErrors() Option {
	return func(c *config) error {
		c.asErrors = true
		return nil
	}
}

// WithStrict refuses requests that are meant for none of the endpoints. RoundTrip returns an
// error that is [ErrUnprotected] and says which endpoint the request came near to. By
// default such a request is sent once, unchanged, with an event of [KindPassed].
//
// Set it where every request of the client should be protected, so that a base URL that
// lacks its /v1 is found at once. It needs WithEndpoints.
func WithStrict() Option {
	return func(c *config) error {
		c.strict = true
		return nil
	}
}

// WithMiddleware adds middleware around every request of the caller, the outermost
// first. If it is given several times, the later middleware is inside the earlier. It
// gets the caller's request, and sees one response, however many attempts the call
// makes. To change the request, it must pass on a clone. A nil Middleware is an error.
//
// Use it for what happens once a call, such as traces or a quota of your own.
func WithMiddleware(mws ...Middleware) Option {
	return func(c *config) error {
		c.perCall = append(c.perCall, mws...)
		return noNil("WithMiddleware", mws)
	}
}

// WithAttemptMiddleware adds middleware around every request that is sent, the outermost
// first, directly above the base transport. If it is given several times, the later
// middleware is inside the earlier. It gets a request with the endpoint's URL and key,
// and may read the body through GetBody any number of times. If it sends a request again,
// that is an extra attempt: RetryPolicy.Budget and SendOnce apply. A nil Middleware is an
// error.
//
// Use it for what must see every attempt, such as a signature of the request, or a span
// for each attempt.
func WithAttemptMiddleware(mws ...Middleware) Option {
	return func(c *config) error {
		c.perAttempt = append(c.perAttempt, mws...)
		return noNil("WithAttemptMiddleware", mws)
	}
}

func noNil(option string, mws []Middleware) error {
	for _, mw := range mws {
		if mw == nil {
			return fmt.Errorf("breakwater: %s: nil Middleware", option)
		}
	}
	return nil
}

// WithBase sets the base transport, the RoundTripper that sends requests. A nil
// RoundTripper is an error, and so is a [*Transport], because both would retry.
//
// The default is an http.Transport with limits of 5s to dial and 10s for TLS, HTTP/2 with
// pings, 256 idle connections per host, and the proxy of the environment. Set another one
// for a proxy, certificates or a connection pool of your own. It should have no
// ResponseHeaderTimeout, because hosts may be silent for minutes before they answer.
func WithBase(base http.RoundTripper) Option {
	return func(c *config) error {
		if isNil(base) {
			return errors.New("breakwater: WithBase: nil RoundTripper: leave the option out for the default")
		}
		c.give("WithBase", nil)
		c.base = base
		return nil
	}
}
