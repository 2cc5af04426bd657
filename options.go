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

// An Option configures a Transport. New applies options in order and joins
// the errors of all.
type Option func(*config) error

// config is what the options fill in. The policies in it are resolved:
// defaults are filled in and 0 stands for none.
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

	// Tests take the chance out of these.
	newBackOff func() backoff.BackOff
	jitter     func(time.Duration) time.Duration
	random     func(n int) int // below n
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

// keysMissing tells the endpoints that could only be asked without a key, by a
// mistake that would show in an outage. The first one's may be the caller's, and
// so may that of another at an origin of the first tier.
func (c *config) keysMissing() (errs []error) {
	if len(c.perAttempt) > 0 { // which may sign
		return nil
	}
	asked := make(map[origin.Origin]bool) // by callers
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

// WithEndpoints adds endpoints to the first tier. They share the load.
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

// WithBackup adds the next tier down. It serves only while no endpoint above
// it can.
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

// WithCache keeps complete answers and gives them again to the same caller.
// Without it nothing is cached.
func WithCache(p CachePolicy) Option {
	return func(c *config) error {
		p, err := p.resolve()
		c.cache = &p
		return err
	}
}

// WithRateLimit bounds the attempts on each account and model. Without it
// nothing is bounded.
func WithRateLimit(p RatePolicy) Option {
	return func(c *config) (err error) {
		c.rate, err = p.resolve("WithRateLimit")
		return err
	}
}

// WithBreaker sets the circuit breaker, which is on by default. Off for both
// FailureRate and Consecutive takes it out.
func WithBreaker(p BreakerPolicy) Option {
	return func(c *config) (err error) {
		c.breaker, err = p.resolve()
		return err
	}
}

// WithRetry sets how often and how patiently a call is tried. It is on by default.
func WithRetry(p RetryPolicy) Option {
	return func(c *config) (err error) {
		c.retry, err = p.resolve()
		return err
	}
}

// WithStream sets the clocks and bounds of answers on their way. It is on by default.
func WithStream(p StreamPolicy) Option {
	return func(c *config) (err error) {
		c.stream, err = p.resolve()
		return err
	}
}

// WithBalance sets how a tier's endpoints share its calls. It is on by default.
func WithBalance(p BalancePolicy) Option {
	return func(c *config) (err error) {
		c.balance, err = p.resolve()
		return err
	}
}

// WithObserver has o told of every event. Given again, it adds an observer.
func WithObserver(o Observer) Option {
	return func(c *config) error {
		if o == nil {
			return errors.New("breakwater: WithObserver: nil Observer")
		}
		c.observers = append(c.observers, o)
		return nil
	}
}

// WithErrors returns refusals of our own and exhausted calls as Go errors of
// type [*Error] instead of HTTP answers.
func WithErrors() Option {
	return func(c *config) error {
		c.asErrors = true
		return nil
	}
}

// WithMiddleware wraps every call, outermost first. It sees the caller's
// request as it came and may change a clone of it.
func WithMiddleware(mws ...Middleware) Option {
	return func(c *config) error {
		c.perCall = append(c.perCall, mws...)
		return noNil("WithMiddleware", mws)
	}
}

// WithAttemptMiddleware wraps every attempt, outermost first, just above the
// base. It sees the attempt's own URL and key, and may read the body by GetBody
// as often as it likes. What it sends again is an extra attempt, for which
// RetryPolicy's Budget and SendOnce hold.
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

// WithBase sets the RoundTripper that does the sending. The default is a
// transport of our own: dial 5 s, TLS 10 s, HTTP/2 with pings, many idle
// connections, proxy from the environment.
func WithBase(base http.RoundTripper) Option {
	return func(c *config) error {
		if base == nil {
			return errors.New("breakwater: WithBase: nil RoundTripper")
		}
		c.base = base
		return nil
	}
}
