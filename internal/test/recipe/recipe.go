// Package recipe is the world of the recipes' programs: a network in which the
// names of real hosts lead to fakes on this machine.
package recipe

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A Starter makes a fleet: kit.NewFleet on loopback, kit.NewPipeFleet in memory,
// for tests in virtual time.
type Starter func(...kit.Host) (*kit.Fleet, error)

// A World is a fleet of fakes and the network that leads to them.
type World struct {
	*kit.Fleet
	network *http.Transport
	fakes   map[string]*url.URL // by the name of the real host
}

// Begin starts a fake for each real host. The keys of hosts are the real hosts, as
// in a URL.
func Begin(start Starter, hosts map[string]kit.Host) (*World, error) {
	fleet, err := start(slices.Collect(maps.Values(hosts))...)
	if err != nil {
		return nil, err
	}
	w := &World{Fleet: fleet, network: fleet.Transport(), fakes: make(map[string]*url.URL)}
	w.network.MaxIdleConnsPerHost = 256 // as breakwater's own
	for name, host := range hosts {
		if w.fakes[name], err = url.Parse(fleet.Server(host.Name).URL()); err != nil {
			w.Close()
			return nil, err
		}
	}
	return w, nil
}

// RoundTrip sends a request for a real host to its fake.
func (w *World) RoundTrip(req *http.Request) (*http.Response, error) {
	fake := w.fakes[req.URL.Host]
	if fake == nil { // no program reaches a real host by mistake
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, fmt.Errorf("recipe: no fake for %s", req.URL.Host)
	}
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = fake.Scheme, fake.Host
	return w.network.RoundTrip(req)
}

// CloseIdleConnections is called by http.Client.CloseIdleConnections.
func (w *World) CloseIdleConnections() { w.network.CloseIdleConnections() }

// Close ends the fakes.
func (w *World) Close() {
	w.network.CloseIdleConnections()
	w.Fleet.Close()
}

// A Journal notes what a call has gone through: the ends of its attempts, and what
// took the place of one.
type Journal struct {
	mu    sync.Mutex // guards what follows
	order []string   // what happened, as it came
	count map[string]int
}

// Observe is a breakwater.Observer.
func (j *Journal) Observe(_ context.Context, e breakwater.Event) {
	var what string
	switch e.Kind {
	case breakwater.KindAttempt:
		what = fmt.Sprintf("%s %s", e.Endpoint, e.Class)
	case breakwater.KindCacheHit:
		what = "kept answer"
	case breakwater.KindCacheStale:
		what = "stale answer"
	case breakwater.KindCacheShared:
		what = "shared answer"
	default:
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.count == nil {
		j.count = make(map[string]int)
	}
	if j.count[what]++; j.count[what] == 1 {
		j.order = append(j.order, what)
	}
}

// Take returns what has been noted since the last Take, as text.
func (j *Journal) Take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var text []string
	for _, what := range j.order {
		if n := j.count[what]; n > 1 {
			what = fmt.Sprintf("%s x%d", what, n)
		}
		text = append(text, what)
	}
	j.order, j.count = nil, nil
	return strings.Join(text, ", ")
}
