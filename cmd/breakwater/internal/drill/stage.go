package drill

import (
	"context"
	"fmt"
	"net/http"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/chaos"
)

// A Stage is where one client of a drill calls hosts.
type Stage interface {
	// Options are breakwater's: endpoints, policies, and how to reach the hosts.
	Options() []breakwater.Option
	// Bare reaches the hosts without breakwater.
	Bare() http.RoundTripper
	// Request asks the first host a question.
	Request(ctx context.Context, model string, q question) (*http.Request, error)
	// Model is the first host's name for a model.
	Model(name string) string
	// HostOf names the host that a request goes to, or is empty.
	HostOf(*http.Request) string
	// Hosts are the names of all hosts; the first one is the primary.
	Hosts() []string
	// Break begins an act, and Heal ends it.
	Break(Act) error
	Heal(Act)
	// Knows reports whether breakwatertest.Answer gives the right answers.
	Knows() bool
	Close()
}

// A breaker breaks single requests by package chaos. Each host has an injector of its own, because
// two endpoints may have one URL and differ in their keys alone.
type breaker struct {
	hostOf func(*http.Request) string
	hosts  map[string]*chaos.Injector
}

// newBreaker returns a breaker for endpoints. real allows hosts that are real ones.
func newBreaker(seed uint64, real bool, endpoints []breakwater.Endpoint, hostOf func(*http.Request) string) (*breaker, error) {
	b := &breaker{hostOf: hostOf, hosts: make(map[string]*chaos.Injector)}
	for i, e := range endpoints {
		injector, err := chaos.New(chaos.Config{
			Seed: seed + uint64(i), AllowRealHosts: real,
			Endpoints: []breakwater.Endpoint{{Name: e.Name, URL: e.URL, Host: e.Host}},
		})
		if err != nil {
			return nil, fmt.Errorf("the endpoint %s: %w", e.Name, err)
		}
		b.hosts[e.Name] = injector
	}
	return b, nil
}

// middleware breaks the requests to each host by its own injector.
func (b *breaker) middleware(next http.RoundTripper) http.RoundTripper {
	broken := make(map[string]http.RoundTripper)
	for name, injector := range b.hosts {
		broken[name] = injector.Middleware(next)
	}
	return breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		if one := broken[b.hostOf(req)]; one != nil {
			return one.RoundTrip(req)
		}
		return next.RoundTrip(req)
	})
}

func (b *breaker) Break(a Act) error { return b.hosts[a.Host].Set(a.Rule) }
func (b *breaker) Heal(a Act)        { b.hosts[a.Host].Clear() }
