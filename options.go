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

// An Option configures a Transport. An option that is given twice replaces what
// it set before, as a whole. Only WithEndpoints, WithBackup, WithObserver,
// WithMiddleware and WithAttemptMiddleware add to it.
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
	names, accounts := make(map[string]bool), make(map[string]Endpoint)
	for _, tier := range c.tiers {
		for _, e := range tier {
			if names[e.Name] {
				errs = append(errs, fmt.Errorf("breakwater: endpoint %q: the name is given twice", e.Name))
			}
			names[e.Name] = true
			if other, known := accounts[e.Account]; known && !maps.Equal(other.Limits, e.Limits) {
				errs = append(errs, fmt.Errorf("breakwater: endpoints %q and %q share account %q: want the same Limits of both", other.Name, e.Name, e.Account))
			}
			accounts[e.Account] = e
		}
	}
	return c, errors.Join(append(errs, c.keysMissing()...)...)
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
		option := "WithEndpoints"
		if i > 0 {
			option = "WithBackup"
		}
		for j, e := range tier {
			u, _ := url.Parse(e.URL)
			at, _ := origin.Of(u)
			first := i == 0 && j == 0
			if !first && !asked[at] && !e.Keyless && e.Rewrite == nil && e.APIKey == "" && !header.HasIdentity(e.Header) {
				errs = append(errs, fmt.Errorf("breakwater: %s: endpoint %q has no APIKey, and nobody else's key may go there: set APIKey or Header, or Keyless for a host that wants none", option, e.Name))
			}
			if i == 0 {
				asked[at] = true
			}
		}
	}
	return errs
}

// WithEndpoints adds endpoints to the first tier. The endpoints of a tier share the
// load.
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

// WithBackup adds a tier below those given before. A call goes to it while no
// endpoint of a higher tier can take the call, at once or within
// RetryPolicy.Patience. An endpoint cannot while its circuit is open, while it is
// paused or at its rate limit, or if the call has failed there. A hedge may go to
// a lower tier earlier.
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

// WithCache keeps complete answers and gives them again to the same caller. By
// default nothing is cached.
func WithCache(p CachePolicy) Option {
	return func(c *config) error {
		p, err := p.resolve()
		c.cache = &p
		return err
	}
}

// WithRateLimit limits the attempts at each model of each account. By default there
// is no limit. Endpoint.Limits takes precedence.
func WithRateLimit(p RatePolicy) Option {
	return func(c *config) (err error) {
		c.rate, err = p.resolve("WithRateLimit")
		return err
	}
}

// WithBreaker sets the circuit breaker, which is on by default. With Off for both
// FailureRate and Consecutive there are no circuits.
func WithBreaker(p BreakerPolicy) Option {
	return func(c *config) (err error) {
		c.breaker, err = p.resolve()
		return err
	}
}

// WithRetry limits the attempts of a call and its waits. The defaults of RetryPolicy
// apply without it.
func WithRetry(p RetryPolicy) Option {
	return func(c *config) (err error) {
		c.retry, err = p.resolve()
		return err
	}
}

// WithStream sets the time limits of answers, hedges and rescues. The defaults of
// StreamPolicy apply without it.
func WithStream(p StreamPolicy) Option {
	return func(c *config) (err error) {
		c.stream, err = p.resolve()
		return err
	}
}

// WithBalance sets how the endpoints of a tier share its calls. The defaults of
// BalancePolicy apply without it.
func WithBalance(p BalancePolicy) Option {
	return func(c *config) (err error) {
		c.balance, err = p.resolve()
		return err
	}
}

// WithObserver adds an Observer, which gets every event.
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
// [*Error] instead of a response. A host's refusal of the request itself, such as
// a 400, is still a response.
func WithErrors() Option {
	return func(c *config) error {
		c.asErrors = true
		return nil
	}
}

// WithMiddleware adds middleware around every call, the outermost first. It gets
// the caller's request. To change it, it must pass on a clone.
func WithMiddleware(mws ...Middleware) Option {
	return func(c *config) error {
		c.perCall = append(c.perCall, mws...)
		return noNil("WithMiddleware", mws)
	}
}

// WithAttemptMiddleware adds middleware around every attempt, the outermost first,
// directly above the base transport. It gets a request with the endpoint's URL and
// key, and may read the body through GetBody any number of times. If it sends a
// request again, that is an extra attempt: RetryPolicy.Budget and SendOnce apply.
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

// WithBase sets the base transport, the RoundTripper that sends requests. The
// default is an http.Transport with limits of 5s to dial and 10s for TLS, HTTP/2
// with pings, many idle connections, and the proxy of the environment.
func WithBase(base http.RoundTripper) Option {
	return func(c *config) error {
		if base == nil {
			return errors.New("breakwater: WithBase: nil RoundTripper")
		}
		c.base = base
		return nil
	}
}
