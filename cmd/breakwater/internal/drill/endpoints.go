package drill

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/chaos"
)

// Real are real endpoints to be called in a drill.
type Real struct {
	// Endpoints are those of all tiers, in order. The first one is what callers call.
	Endpoints []breakwater.Endpoint
	// Options are breakwater's, with the same endpoints.
	Options []breakwater.Option
	// Base reaches the hosts without breakwater. Default: a transport like net/http's own.
	Base http.RoundTripper
	// Allowed lets chaos break requests to hosts that are no test hosts.
	Allowed bool
}

// IsTestHost reports whether package chaos breaks a host without permission: this machine, or a
// name that RFC 2606 or RFC 6761 reserves for tests.
func IsTestHost(host string) bool {
	_, err := chaos.New(chaos.Config{Rules: []chaos.Rule{{Fault: chaos.Refused, Match: chaos.Match{Hosts: []string{host}}}}})
	return err == nil
}

// RealHosts returns the hosts of the endpoints that are no test hosts.
func (r Real) RealHosts() (hosts []string) {
	for _, e := range r.Endpoints {
		if u, err := url.Parse(e.URL); err == nil && !IsTestHost(u.Hostname()) && !slices.Contains(hosts, u.Hostname()) {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts
}

// Before returns the script for these endpoints in the place of its hosts. A host of the timeline
// is the endpoint of that name, or else the one at the place that the host has in the script.
func (s *Script) Before(r Real) (*Script, error) {
	if s.Load.Callers > 0 {
		return nil, fmt.Errorf("before real endpoints, a load needs calls_per_second: with callers, nobody knows before how many calls it makes")
	}
	var names []string
	for _, e := range r.Endpoints {
		names = append(names, nameOf(e))
	}
	out := *s
	out.Hosts, out.Timeline = nil, nil
	for _, a := range s.Timeline {
		if !slices.Contains(names, a.Host) {
			i := slices.IndexFunc(s.Hosts, func(h Host) bool { return h.Name == a.Host })
			if i < 0 || i >= len(names) {
				return nil, fmt.Errorf("the timeline breaks the host %s, and the configuration has no endpoint for it: it has %s", a.Host, strings.Join(names, ", "))
			}
			a.Host = names[i]
		}
		out.Timeline = append(out.Timeline, a)
	}
	return &out, nil
}

// nameOf is the name that breakwater gives an endpoint.
func nameOf(e breakwater.Endpoint) string {
	if u, err := url.Parse(e.URL); err == nil {
		return cmp.Or(e.Name, u.Host)
	}
	return e.Name
}

// Forecast says how many calls a drill makes at most, and what they may cost, in lines for people.
func (r Real) Forecast(s *Script, clients int) (lines []string) {
	calls, _ := s.Load.calls(s.Duration)
	calls *= clients
	prompt := int64(calls) * int64((s.Load.Prompt.Most+3)/4) // a token has about four characters
	answer := int64(calls) * int64(s.Load.MaxTokens)
	lines = append(lines, fmt.Sprintf("%d calls in %v, with up to %d tokens of prompts and %d of answers.", calls, s.Duration, prompt, answer))
	known := false
	for _, e := range r.Endpoints {
		model := cmp.Or(e.Models[s.Load.Model], s.Load.Model)
		p, ok := e.Price[model]
		if !ok {
			p, ok = e.Price[""]
		}
		if !ok {
			lines = append(lines, fmt.Sprintf("  %s: the price of %s is not known; the configuration can have it.", nameOf(e), model))
			continue
		}
		known = true
		cost := float64(prompt)/1e6*max(0, p.Input) + float64(answer)/1e6*max(0, p.Output)
		if p.Peak != "" {
			cost *= max(1, p.PeakFactor)
		}
		lines = append(lines, fmt.Sprintf("  %s: at most %.4f %s if it answers all of them.", nameOf(e), cost, cmp.Or(p.Currency, "USD")))
	}
	if known {
		lines = append(lines, "A call that a fault cuts behind its request may be billed at two endpoints.")
	}
	return lines
}

// A live is a stage of real endpoints.
type live struct {
	real Real
	urls []*url.URL
	key  string // of the first endpoint
	// targets are where the first endpoint serves the wires of the load.
	targets   map[kit.Wire]*url.URL
	maxTokens int
	base      http.RoundTripper
	faults    *breaker
}

// Endpoints returns a stage in front of real endpoints, for the load of a script.
func Endpoints(r Real, load Load, seed uint64) (Stage, error) {
	l := &live{real: r, base: r.Base, targets: make(map[kit.Wire]*url.URL), maxTokens: load.MaxTokens}
	if l.base == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxIdleConnsPerHost = 256
		l.base = own
	}
	var named []breakwater.Endpoint
	for _, e := range r.Endpoints {
		u, err := url.Parse(e.URL)
		if err != nil {
			return nil, fmt.Errorf("the URL of the endpoint %s cannot be read", e.Name)
		}
		l.urls = append(l.urls, u)
		e.Name = nameOf(e)
		named = append(named, e)
	}
	l.real.Endpoints = named
	first := named[0]
	for _, w := range load.Wires {
		text, ok := first.URLOf(w.String())
		u, err := url.Parse(text)
		if !ok || err != nil {
			return nil, fmt.Errorf("the first endpoint, %s, does not serve %s, which the load asks for", first.Name, w)
		}
		l.targets[w] = u
	}
	if l.key = first.APIKey; first.KeyFunc != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		key, err := first.KeyFunc(ctx, "")
		if err != nil {
			return nil, fmt.Errorf("the key of the endpoint %s: %w", first.Name, err)
		}
		l.key = key
	}
	var err error
	l.faults, err = newBreaker(seed, r.Allowed, named, l.HostOf)
	return l, err
}

// Options are those of the configuration, with the faults directly above the wire.
func (l *live) Options() []breakwater.Option {
	return append(slices.Clone(l.real.Options), breakwater.WithAttemptMiddleware(l.faults.middleware))
}

// Bare sends what the first endpoint needs beside the key.
func (l *live) Bare() http.RoundTripper {
	next := l.faults.middleware(l.base)
	return breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		if header := l.real.Endpoints[0].Header; len(header) > 0 {
			req = req.Clone(req.Context())
			for name, values := range header {
				req.Header[http.CanonicalHeaderKey(name)] = values
			}
		}
		return next.RoundTrip(req)
	})
}

// Request asks the first endpoint where its host serves the wire.
func (l *live) Request(ctx context.Context, model string, q question) (*http.Request, error) {
	req, err := q.wire.Request(ctx, l.real.Endpoints[0].URL, l.key, model, q.prompt, q.stream)
	if err != nil {
		return nil, err
	}
	to := *l.targets[q.wire]
	req.URL, req.Host = &to, ""
	return req, bound(req, l.maxTokens, l.deepSeek())
}

// bound limits the tokens of a real answer, by the field of its wire. Only some hosts know the field
// that switches thinking off.
func bound(req *http.Request, tokens int, thinks bool) error {
	body, err := req.GetBody()
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := json.NewDecoder(body).Decode(&fields); err != nil {
		return err
	}
	name := "max_tokens"
	if strings.HasSuffix(req.URL.Path, "/responses") {
		name = "max_output_tokens"
	}
	fields[name] = tokens
	if !thinks {
		delete(fields, "thinking")
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
	req.Body, _ = req.GetBody()
	req.ContentLength = int64(len(raw))
	return nil
}

func (l *live) deepSeek() bool {
	host := l.real.Endpoints[0].Host
	return host == breakwater.HostDeepSeek || host == "" && l.urls[0].Hostname() == "api.deepseek.com"
}

// HostOf finds the endpoint of a request by its origin. Of several with one origin, that with its
// key counts, then that with the longest path.
func (l *live) HostOf(req *http.Request) string {
	best, most := "", -1
	for i, u := range l.urls {
		if u.Host != req.URL.Host || u.Scheme != req.URL.Scheme {
			continue
		}
		e := l.real.Endpoints[i]
		fit := 0
		if key := e.APIKey; key != "" && (req.Header.Get("Authorization") == "Bearer "+key || req.Header.Get("X-Api-Key") == key || req.Header.Get("Api-Key") == key) {
			fit += 1 << 20
		}
		if strings.HasPrefix(req.URL.Path, u.Path) {
			fit += len(u.Path)
		}
		if fit > most {
			best, most = e.Name, fit
		}
	}
	return best
}

func (l *live) Hosts() (names []string) {
	for _, e := range l.real.Endpoints {
		names = append(names, e.Name)
	}
	return names
}

func (l *live) Model(name string) string { return cmp.Or(l.real.Endpoints[0].Models[name], name) }
func (l *live) Break(a Act) error        { return l.faults.Break(a) }
func (l *live) Heal(a Act)               { l.faults.Heal(a) }
func (l *live) Knows() bool              { return false }
func (l *live) Close()                   { (&http.Client{Transport: l.base}).CloseIdleConnections() }
