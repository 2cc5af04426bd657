package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
)

// A Config is the configuration of an [Injector]. The zero Config breaks nothing until
// [Injector.Set].
type Config struct {
	// Seed decides which requests meet a fault with a Probability or a Share.
	Seed uint64
	// Rules are the first rules: see [Injector.Set].
	Rules []Rule
	// Endpoints give names to URLs, for Match.Endpoints, and say whose words an error has.
	// Only Name, URL and Host count. The endpoint with the longest path that fits a request
	// counts. Naming an endpoint does not allow its host.
	Endpoints []breakwater.Endpoint
	// Allow are real hosts that may be broken, as in [Match.Hosts]: "api.deepseek.com",
	// "10.0.0.7:8000", "*.internal". Default: none but those that are no real hosts.
	Allow []string
	// AllowRealHosts allows every host.
	AllowRealHosts bool
	// OnHit is told of each fault, before it happens. It may be called from several goroutines.
	OnHit func(Hit)
	// OnProtected is told of each request that fits a rule which acts, but goes to a host
	// that is not allowed. Default: a warning by slog.Default, once for each of the first hundred
	// hosts.
	OnProtected func(Hit)
}

// A Hit is one request that meets a fault. It has no keys, prompts or answers.
type Hit struct {
	Time      time.Time
	Rule      string
	Fault     Fault
	N         int    // which of the requests that match the rule it is, from 1
	Endpoint  string // name of the endpoint; empty: it has none
	Host      string // of the URL, with its port if it has one
	Operation string // as in [Match.Operations]
	Model     string // empty: there is none, or no rule looked
	Stream    bool   // as Model
}

// ErrRealHost is in the errors of [New] and [Injector.Set] for rules that name hosts that are
// not allowed.
var ErrRealHost = errors.New("a real host, which Config.Allow does not allow")

// An Injector breaks requests by its rules. It is safe for concurrent use.
type Injector struct {
	config    Config
	endpoints []endpoint
	start     time.Time

	mu        sync.Mutex // guards what follows
	rules     []*rule
	requests  int64
	protected int64
	warned    map[string]bool // hosts of which the log was told
}

// New returns an Injector. It returns an error that names every mistake.
func New(c Config) (*Injector, error) {
	c.Allow = slices.Clone(c.Allow)
	i := &Injector{config: c, start: time.Now(), warned: make(map[string]bool)}
	var errs []error
	for _, pattern := range c.Allow {
		if err := checkHost(pattern); err != nil {
			errs = append(errs, fmt.Errorf("chaos: Allow: %w", err))
		}
	}
	for _, e := range c.Endpoints {
		named, err := endpointOf(e)
		if err != nil {
			errs = append(errs, err)
		} else if slices.ContainsFunc(i.endpoints, func(other endpoint) bool { return other.name == named.name }) {
			errs = append(errs, fmt.Errorf("chaos: two endpoints are named %q", named.name))
		}
		i.endpoints = append(i.endpoints, named)
	}
	i.config.Rules, i.config.Endpoints = nil, nil
	if len(errs) == 0 {
		errs = append(errs, i.Set(c.Rules...))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return i, nil
}

// Set replaces all rules. Requests under way keep what they met. The counts of the new rules
// begin at 0. If a rule is wrong, Set changes nothing and returns an error that names every
// mistake.
func (i *Injector) Set(rules ...Rule) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	made, err := i.makeRules(rules, nil)
	if err == nil {
		i.rules = made
	}
	return err
}

// Add adds a rule behind the others, as Set does.
func (i *Injector) Add(r Rule) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	made, err := i.makeRules([]Rule{r}, i.rules)
	if err == nil {
		i.rules = append(slices.Clip(i.rules), made...)
	}
	return err
}

// Remove removes the rule of that name, and reports whether there was one.
func (i *Injector) Remove(name string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	before := len(i.rules)
	i.rules = slices.DeleteFunc(slices.Clone(i.rules), func(r *rule) bool { return r.Name == name })
	return len(i.rules) < before
}

// Clear removes all rules.
func (i *Injector) Clear() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rules = nil
}

// Rules returns the rules, with their names.
func (i *Injector) Rules() []Rule {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []Rule
	for _, r := range i.rules {
		all = append(all, r.Rule.clone())
	}
	return all
}

// Stats are the counts of an Injector.
type Stats struct {
	Requests  int64       `json:"requests"`  // that came, since New
	Protected int64       `json:"protected"` // that passed because their host is not allowed, since New
	Rules     []RuleStats `json:"rules"`     // in the order of the rules
}

// RuleStats are the counts of a rule, since it was set.
type RuleStats struct {
	Rule    string `json:"rule"`
	Fault   Fault  `json:"fault"`
	Matched int64  `json:"matched"` // requests that fit the rule while it acted
	Hits    int64  `json:"hits"`    // that met the fault
	Unfit   int64  `json:"unfit"`   // of the hits, those whose response could not show it
}

// Stats returns the counts.
func (i *Injector) Stats() Stats {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := Stats{Requests: i.requests, Protected: i.protected}
	for _, r := range i.rules {
		s.Rules = append(s.Rules, RuleStats{r.Name, r.Fault, r.matched, r.hits, r.unfit})
	}
	return s
}

// Middleware returns a RoundTripper that breaks requests before and behind next. It has the
// type of breakwater.Middleware. Its CloseIdleConnections calls that of next. A nil next is
// http.DefaultTransport.
func (i *Injector) Middleware(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return &transport{injector: i, next: next}
}

// protect notes a request that passes because its host is not allowed.
func (i *Injector) protect(ctx context.Context, h Hit) {
	const mostHosts = 100
	i.mu.Lock()
	i.protected++
	warn := i.config.OnProtected == nil && !i.warned[h.Host] && len(i.warned) < mostHosts
	if warn {
		i.warned[h.Host] = true
	}
	i.mu.Unlock()
	switch {
	case i.config.OnProtected != nil:
		i.config.OnProtected(h)
	case warn:
		slog.WarnContext(ctx, "chaos: the request passes untouched, because Config.Allow does not have its host",
			"host", h.Host, "rule", h.Rule, "fault", string(h.Fault))
	}
}

// names returns the names of the endpoints, for errors.
func (i *Injector) names() string {
	var all []string
	for _, e := range i.endpoints {
		all = append(all, e.name)
	}
	if len(all) == 0 {
		return "there are none"
	}
	return "there are " + strings.Join(all, ", ")
}
