package main

import (
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

const (
	model       = "deepseek-flash"
	backupModel = "deepseek-v4-flash-ga"
)

// patience is how long every client waits for an answer.
const patience = 3 * time.Second

// A contender is one of the clients that are compared. Each has hosts of its
// own, so that the load of one does not disturb another. All hosts of one name
// fail at the same time and in the same way.
type contender struct {
	fleet   *kit.Fleet
	network *http.Transport
	load    *load
	guard   *breakwater.Transport // nil: it is a bare client
	opened  circuits
}

// A starter makes a fleet: on loopback, or, for tests in virtual time, on pipes.
type starter func(...kit.Host) (*kit.Fleet, error)

// The contenders, as they stand in the table.
const (
	bare = iota
	oneHost
	withBackup
	contenders
)

var contenderNames = [contenders][2]string{
	{"bare client,", "3 retries"},
	{"breakwater,", "one host"},
	{"breakwater,", "with a backup"},
}

// newContender makes one of the contenders.
func newContender(which int, start starter) (*contender, error) {
	fleet, err := newFleet(start)
	if err != nil {
		return nil, err
	}
	c := &contender{fleet: fleet, network: fleet.Transport()}
	var transport http.RoundTripper = retries{c.network}
	if which != bare {
		if c.guard, err = newBreakwater(fleet, c.network, which == withBackup, c.opened.observe); err != nil {
			c.close()
			return nil, err
		}
		transport = c.guard
	}
	c.load = newLoad(&http.Client{Transport: transport}, fleet.Server("primary").URL(), "sk-primary")
	return c, nil
}

func (c *contender) close() {
	if c.guard != nil {
		c.guard.Close()
	}
	c.network.CloseIdleConnections()
	c.fleet.Close()
}

// newFleet starts a host like DeepSeek, and a backup that has another base path
// and another name for the model.
func newFleet(start starter) (*kit.Fleet, error) {
	primary, backup := kit.DeepSeek("primary"), kit.OpenAI("backup")
	backup.BasePath = "/api/v3"
	backup.Models = []string{backupModel}
	hosts := []kit.Host{primary, backup}
	for i := range hosts {
		hosts[i].Keys = []string{"sk-" + hosts[i].Name}
		hosts[i].Pace = kit.Pace{FirstToken: 40 * time.Millisecond, PerToken: 4 * time.Millisecond}
	}
	return start(hosts...)
}

// newBreakwater is breakwater with a cache. Its times are short, so that an
// outage fits into seconds. Everything else is the default.
func newBreakwater(fleet *kit.Fleet, network http.RoundTripper, withBackup bool, observe breakwater.Observer) (*breakwater.Transport, error) {
	primary, backup := fleet.Server("primary"), fleet.Server("backup")
	options := []breakwater.Option{
		breakwater.WithBase(network),
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "primary", URL: primary.URL(), APIKey: "sk-primary", Host: breakwater.HostDeepSeek}),
		breakwater.WithCache(breakwater.CachePolicy{TTL: patience}),
		breakwater.WithStream(breakwater.StreamPolicy{FirstToken: time.Second, Queued: time.Second}),
		breakwater.WithBreaker(breakwater.BreakerPolicy{OpenFor: time.Second, MaxOpenFor: 2 * time.Second}),
		breakwater.WithRetry(breakwater.RetryPolicy{MinDelay: firstDelay}),
		breakwater.WithObserver(observe),
	}
	if withBackup {
		options = append(options, breakwater.WithBackup(breakwater.Endpoint{
			Name: "backup", URL: backup.URL(), APIKey: "sk-backup", Host: breakwater.HostOpenAI,
			Models: map[string]string{model: backupModel},
		}))
	}
	return breakwater.New(options...)
}
