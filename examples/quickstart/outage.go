package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A pace says how long the outage takes and how dense its load is.
type pace struct {
	phase time.Duration // of steady load; stragglers come on top
	every time.Duration // one call by each client
}

var ordinary = pace{phase: 5 * time.Second, every: 50 * time.Millisecond}

// patience is what both clients wait for an answer.
const patience = 3 * time.Second

const (
	model       = "deepseek-flash"
	backupModel = "deepseek-v4-flash-ga"
)

// A phase is one stretch of the outage. No phase but the one that breaks them
// all leaves breakwater without a host that could answer.
type phase struct {
	name string
	play func(*kit.Fleet)
	dark bool // no host can answer
	cuts bool // streams break behind their first payload
}

var outage = []phase{
	{name: "all well", play: func(*kit.Fleet) {}},
	{name: "primary queues for ever", play: breaks("primary", kit.QueueForever())},
	{name: "primary refuses, second is busy", play: both(breaks("primary", kit.Refused()), breaks("second", kit.Busy()))},
	{name: "primary: error inside a 200", play: both(breaks("primary", kit.ErrorInside()), heals("second"))},
	{name: "primary cuts streams", play: breaks("primary", kit.EndStream(4)), cuts: true},
	{name: "every host down", play: both(breaks("primary", kit.Refused()), breaks("second", kit.Busy()), breaks("backup", kit.HTMLError(502))), dark: true},
	{name: "recovery", play: both(heals("primary"), heals("second"), heals("backup"))},
}

func breaks(name string, f kit.Fault) func(*kit.Fleet) {
	return func(fleet *kit.Fleet) { fleet.Server(name).Break(f) }
}

func heals(name string) func(*kit.Fleet) {
	return func(fleet *kit.Fleet) { fleet.Server(name).Heal() }
}

func both(steps ...func(*kit.Fleet)) func(*kit.Fleet) {
	return func(fleet *kit.Fleet) {
		for _, step := range steps {
			step(fleet)
		}
	}
}

// A starter makes a fleet: on loopback, or, for tests in virtual time, on pipes.
type starter func(...kit.Host) (*kit.Fleet, error)

// newFleet starts two DeepSeek hosts, and a backup on another base path that
// knows the model by another name.
func newFleet(start starter) (*kit.Fleet, error) {
	primary, second, backup := kit.DeepSeek("primary"), kit.DeepSeek("second"), kit.OpenAI("backup")
	backup.BasePath = "/api/v3"
	backup.Models = []string{backupModel}
	hosts := []kit.Host{primary, second, backup}
	for i := range hosts {
		hosts[i].Keys = []string{"sk-" + hosts[i].Name}
		hosts[i].Pace = kit.Pace{FirstToken: 40 * time.Millisecond, PerToken: 4 * time.Millisecond}
	}
	return start(hosts...)
}

// newTransport is breakwater over the fleet. Its clocks are shortened so that
// an outage fits into a minute; apart from them, only what is off by default is given.
func newTransport(fleet *kit.Fleet, network http.RoundTripper, opened *circuits) (*breakwater.Transport, error) {
	endpoint := func(name string) breakwater.Endpoint {
		return breakwater.Endpoint{Name: name, URL: fleet.Server(name).URL(), APIKey: "sk-" + name, Host: breakwater.HostDeepSeek}
	}
	backup := endpoint("backup")
	backup.Host = breakwater.HostOpenAI
	backup.Models = map[string]string{model: backupModel}
	return breakwater.New(
		breakwater.WithBase(network),
		breakwater.WithEndpoints(endpoint("primary"), endpoint("second")),
		breakwater.WithBackup(backup),
		breakwater.WithCache(breakwater.CachePolicy{TTL: patience}),
		breakwater.WithStream(breakwater.StreamPolicy{FirstToken: 400 * time.Millisecond, Queued: 400 * time.Millisecond}),
		breakwater.WithObserver(opened.observe),
		breakwater.WithBreaker(breakwater.BreakerPolicy{OpenFor: time.Second, MaxOpenFor: 2 * time.Second}),
	)
}

// playOutage puts the same load on breakwater and on a bare client, phase by
// phase. Each phase waits for its stragglers, so that it is known for every
// call who could have answered it.
func playOutage(ctx context.Context, out io.Writer, p pace, start starter) error {
	fleet, err := newFleet(start)
	if err != nil {
		return err
	}
	defer fleet.Close()
	bare, network := fleet.Transport(), fleet.Transport()
	defer bare.CloseIdleConnections()
	defer network.CloseIdleConnections()
	opened := new(circuits)
	transport, err := newTransport(fleet, network, opened)
	if err != nil {
		return err
	}
	defer transport.Close()

	url := fleet.Server("primary").URL()
	guarded := newLoad(&http.Client{Transport: transport, Timeout: patience}, url, "sk-primary")
	unguarded := newLoad(&http.Client{Transport: bare, Timeout: patience}, url, "sk-primary")

	all, beside := new(tally), new(tally)
	printHead(out)
	for _, ph := range outage {
		ph.play(fleet)
		mine, theirs := play(ctx, ph, p, guarded, unguarded)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		printLine(out, ph.name, mine, theirs, opened.take(transport.Status()))
		all.add(mine)
		beside.add(theirs)
	}
	printSummary(out, all, beside)
	switch {
	case len(all.wrong) > 0:
		return fmt.Errorf("%d calls were answered wrongly: %v", len(all.wrong), all.wrong[0])
	case len(all.missed) > 0:
		return fmt.Errorf("%d calls were not answered though they could be: %v", len(all.missed), all.missed[0])
	case all.right == 0:
		return fmt.Errorf("no call was answered")
	}
	return nil
}
