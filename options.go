package breakwater

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/origin"
)

// An Option configures a Transport: see [New].
//
// If an option that takes a policy is given twice, the second policy replaces the
// first as a whole. Fields that the second leaves at zero get their defaults. WithBase
// also replaces. WithEndpoints, WithBackup, WithObserver, WithMiddleware and
// WithAttemptMiddleware add to what was given before.
type Option func(*config) error

// config is the result of the options. Its policies are resolved: they have their
// defaults, and 0 stands for Off.
type config struct {
	tiers      [][]Endpoint
	cache      *CachePolicy
	rate       RatePolicy
	breaker    BreakerPolicy
	retry      RetryPolicy
	stream     StreamPolicy
	balance    BalancePolicy
	observers  observers
	asErrors   bool
	perCall    []Middleware
	perAttempt []Middleware
	base       http.RoundTripper

	// Tests replace these by functions without randomness.
	newBackOff func() backoff.BackOff
	jitter     func(time.Duration) time.Duration
	random     func(n int) int // returns a number below n
}

func newConfig(opts []Option) (*config, error) {
	c := &config{}
	// The zero policies are valid, so resolving them cannot fail.
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
	errs = append(errs, c.namesTwice()...)
	return c, errors.Join(append(errs, c.keysMissing()...)...)
}

// namesTwice returns an error for each name that two endpoints have, and for each account
// with two Limits.
func (c *config) namesTwice() (errs []error) {
	names, accounts := make(map[string]bool), make(map[string]Endpoint)
	for _, tier := range c.tiers {
		for _, e := range tier {
			if e.Name == "" {
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
			if e.Name != "" && !first && !asked[at] && !e.Keyless && e.Rewrite == nil && e.APIKey == "" && !header.HasIdentity(e.Header) {
				errs = append(errs, fmt.Errorf("breakwater: %s: endpoint %q has no APIKey, and nobody else's key may go there: set APIKey or Header, or Keyless for a host that wants none", optionOf(i), e.Name))
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
// open, while it is paused, or while it is at its limit of [RatePolicy], and not after
// the call has failed there. A hedge may go to a backup although the higher tier is
// healthy: see [StreamPolicy].Hedge.
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
// answer is better than none. The zero CachePolicy is a good start. If the option is
// given twice, the second policy replaces the first as a whole.
//
//	breakwater.WithCache(breakwater.CachePolicy{TTL: time.Minute, StaleIfError: 24 * time.Hour})
func WithCache(p CachePolicy) Option {
	return func(c *config) error {
		p, err := p.resolve()
		c.cache = &p
		return err
	}
}

// WithRateLimit limits the attempts at each model of each account. It does not affect
// models for which [Endpoint].Limits has an entry. By default there is no limit.
//
// Set it if an account has a limit that several processes or users share, or if hosts
// refuse calls with 429. If the option is given twice, the second policy replaces the
// first as a whole.
//
//	breakwater.WithRateLimit(breakwater.RatePolicy{InFlight: 50, Adaptive: true})
func WithRateLimit(p RatePolicy) Option {
	return func(c *config) (err error) {
		c.rate, err = p.resolve("WithRateLimit")
		return err
	}
}

// WithBreaker sets when circuits open and close. By default they do so as
// [BreakerPolicy] says. With [Off] for both FailureRate and Consecutive there are no
// circuits.
//
// The default suits most programs. If the option is given twice, the second policy
// replaces the first as a whole.
//
//	breakwater.WithBreaker(breakwater.BreakerPolicy{OpenFor: 10 * time.Second})
func WithBreaker(p BreakerPolicy) Option {
	return func(c *config) (err error) {
		c.breaker, err = p.resolve()
		return err
	}
}

// WithRetry limits the attempts of a call and its waits. Without it, the defaults of
// [RetryPolicy] apply.
//
// Set it for batches, which may wait long, and for calls that must not be billed twice.
// If the option is given twice, the second policy replaces the first as a whole: after
// WithRetry(RetryPolicy{Attempts: 5}) and WithRetry(RetryPolicy{SendOnce: true}),
// Attempts is 3 again.
//
//	breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 5, MaxRetryAfter: 10 * time.Minute})
func WithRetry(p RetryPolicy) Option {
	return func(c *config) (err error) {
		c.retry, err = p.resolve()
		return err
	}
}

// WithStream sets the time limits of answers, hedges and rescues. Without it, the
// defaults of [StreamPolicy] apply.
//
// Set it if latency matters more than tokens, or if you prefer a restarted answer to an
// error. If the option is given twice, the second policy replaces the first as a whole.
//
//	breakwater.WithStream(breakwater.StreamPolicy{FirstToken: 10 * time.Second, Rescue: breakwater.RescueRestart})
func WithStream(p StreamPolicy) Option {
	return func(c *config) (err error) {
		c.stream, err = p.resolve()
		return err
	}
}

// WithBalance sets how the endpoints of a tier share its calls. Without it, the defaults
// of [BalancePolicy] apply. It matters only if a tier has several endpoints.
//
// Set it if your endpoints do not cache prompts, so that conversations need not stay at
// one endpoint. If the option is given twice, the second policy replaces the first as a
// whole.
//
//	breakwater.WithBalance(breakwater.BalancePolicy{Affinity: breakwater.Off})
func WithBalance(p BalancePolicy) Option {
	return func(c *config) (err error) {
		c.balance, err = p.resolve()
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

// WithBase sets the base transport, the RoundTripper that sends requests. If it is given
// twice, the last one counts. A nil RoundTripper is an error.
//
// The default is an http.Transport with limits of 5s to dial and 10s for TLS, HTTP/2 with
// pings, 256 idle connections per host, and the proxy of the environment. Set another one
// for a proxy, certificates or a connection pool of your own. It should have no
// ResponseHeaderTimeout, because hosts may be silent for minutes before they answer.
func WithBase(base http.RoundTripper) Option {
	return func(c *config) error {
		if base == nil {
			return errors.New("breakwater: WithBase: nil RoundTripper")
		}
		c.base = base
		return nil
	}
}
