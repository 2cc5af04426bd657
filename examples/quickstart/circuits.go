package main

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/breakwater-go/breakwater"
)

// circuits notes which endpoints had an open circuit during a phase.
type circuits struct {
	mu     sync.Mutex // guards opened
	opened []string
}

// observe is a breakwater.Observer.
func (c *circuits) observe(_ context.Context, e breakwater.Event) {
	if e.Kind != breakwater.KindCircuit || e.To != "open" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.opened, e.Endpoint) {
		c.opened = append(c.opened, e.Endpoint)
	}
}

// take names them, in the order of the fleet, and begins the next phase.
func (c *circuits) take(status breakwater.Status) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names, open []string
	for _, e := range status.Endpoints {
		still := slices.ContainsFunc(e.Circuits, func(s breakwater.CircuitStatus) bool { return s.State != "closed" })
		if still {
			open = append(open, e.Name)
		}
		if still || slices.Contains(c.opened, e.Name) {
			names = append(names, e.Name)
		}
	}
	c.opened = open
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, " ")
}
