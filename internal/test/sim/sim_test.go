package sim

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
)

// A client is one way to call, for the columns of the table.
type client struct {
	name string
	make func(t *testing.T, hosts Hosts, names ...string) http.RoundTripper
}

func breakwaterWith(opts ...breakwater.Option) func(*testing.T, Hosts, ...string) http.RoundTripper {
	return func(t *testing.T, hosts Hosts, names ...string) http.RoundTripper {
		return over(t, hosts, names, opts...)
	}
}

// over returns a Transport of endpoints with these names.
func over(t *testing.T, base http.RoundTripper, names []string, opts ...breakwater.Option) http.RoundTripper {
	all := []breakwater.Option{breakwater.WithBase(base)}
	for _, name := range names {
		all = append(all, breakwater.WithEndpoints(breakwater.Endpoint{Name: name, URL: "https://" + name, APIKey: "sk-" + name, Host: breakwater.HostDeepSeek}))
	}
	rt, err := breakwater.New(append(all, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

var (
	byDefault = client{"breakwater", breakwaterWith()}
	adaptive  = client{"breakwater, adaptive", breakwaterWith(breakwater.WithRateLimit(breakwater.RatePolicy{Adaptive: true}))}
	retrying  = client{"3 tries", func(_ *testing.T, hosts Hosts, _ ...string) http.RoundTripper { return Naive(hosts, 3) }}
	bare      = client{"no retry", func(_ *testing.T, hosts Hosts, _ ...string) http.RoundTripper { return Naive(hosts, 1) }}
	clients   = []client{byDefault, adaptive, retrying, bare} // two hosts are of use to breakwater only
)

func one(cap int, service time.Duration) Hosts {
	return Hosts{"one": {Name: "one", Cap: cap, Service: service}}
}

func two(cap int, service time.Duration) Hosts {
	return Hosts{"one": {Name: "one", Cap: cap, Service: service}, "two": {Name: "two", Cap: cap, Service: service}}
}

// A scenario is a load, and what happens to the hosts meanwhile.
type scenario struct {
	name   string
	hosts  func() Hosts // "one" first
	load   Load
	lasts  int // seconds
	events func(hosts Hosts, second int)
	from   int     // what counts: calls begun, or answers given, from this second …
	to     int     // … to this one
	best   float64 // answers a second that the hosts allow for, or 0: the share of calls answered counts
	least  float64 // what breakwater must come to
	most   float64 // requests per call; 0: any number
}

// A figure is what a scenario came to.
type figure struct{ good, amplification, fairness float64 }

func (sc scenario) holds(f figure) bool {
	return f.good >= sc.least && (sc.most == 0 || f.amplification <= sc.most)
}

func (sc scenario) play(t *testing.T, c client) (f figure) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		hosts := sc.hosts()
		var names []string
		for _, name := range []string{"one", "two"} {
			if hosts[name] != nil {
				names = append(names, name)
			}
		}
		r := Run(sc.load, time.Duration(sc.lasts)*time.Second, func() http.RoundTripper { return c.make(t, hosts, names...) }, func(second int) {
			if sc.events != nil {
				sc.events(hosts, second)
			}
		})
		seen, calls := 0, 0
		for _, h := range hosts {
			seen += h.Seen()
		}
		for _, s := range r.Seconds {
			calls += s.Calls
		}
		f = figure{r.Good(sc.from, sc.to), float64(seen) / float64(calls), r.Fairness()}
		if sc.best > 0 {
			f.good = r.Rate(sc.from, sc.to) / sc.best
		}
	})
	return f
}

func set(name string, change func(*Host)) func(Hosts) { return func(hs Hosts) { hs[name].Set(change) } }

func down(h *Host)   { h.Down = true }
func up(h *Host)     { h.Down = false }
func sick(h *Host)   { h.Fails = 1 }
func healed(h *Host) { h.Fails = 0 }

// at makes events of what happens in certain seconds.
func at(when map[int]func(Hosts)) func(Hosts, int) {
	return func(hs Hosts, second int) {
		if do := when[second]; do != nil {
			do(hs)
		}
	}
}

// scenarios for a number of client processes.
func scenarios(processes int) []scenario {
	load := func(perSecond float64) Load {
		return Load{Processes: processes, PerSecond: perSecond, Patience: 20 * time.Second}
	}
	single := func() Hosts { return one(100, 2*time.Second) } // 50 a second
	double := func() Hosts { return two(100, 2*time.Second) } // 100 a second
	failing := func(share float64) func() Hosts {
		return func() Hosts {
			hs := double()
			hs["one"].Fails, hs["two"].Fails = share, share
			return hs
		}
	}
	return []scenario{
		{"overload, twice what it takes", single, load(100), 120, nil, 60, 120, 50, 0.95, 1.3},
		{"overload, and it names no number", func() Hosts { hs := single(); hs["one"].Silent = true; return hs }, load(100), 120, nil, 60, 120, 50, 0.95, 1.4},
		{"its limit shrinks to a quarter", single, load(45), 120, at(map[int]func(Hosts){40: set("one", func(h *Host) { h.Cap = 25 })}), 60, 120, 12.5, 0.93, 1.3},
		{"down for a minute, then from 10 s on", single, load(40), 150, at(map[int]func(Hosts){30: set("one", down), 90: set("one", up)}), 100, 150, 0, 0.95, 0},
		{"down at twice the load, then from 10 s on", single, load(100), 150, at(map[int]func(Hosts){30: set("one", down), 90: set("one", up)}), 100, 150, 50, 0.95, 0},
		{"sick for a minute, then from 10 s on", single, load(40), 150, at(map[int]func(Hosts){30: set("one", sick), 90: set("one", healed)}), 100, 150, 0, 0.95, 0},
		{"flapping, 5 s down and 5 s up", single, load(20), 120, func(hs Hosts, s int) { hs["one"].Set(func(h *Host) { h.Down = s%10 < 5 }) }, 20, 120, 0, 0.45, 0},
		{"one of two down", double, load(40), 120, at(map[int]func(Hosts){30: set("one", down)}), 30, 120, 0, 0.995, 1.1},
		{"one of two five times slower", double, load(40), 120, at(map[int]func(Hosts){30: set("one", func(h *Host) { h.Service *= 5 })}), 40, 120, 0, 0.98, 1.2},
		{"one of two flapping", double, load(40), 120, func(hs Hosts, s int) { hs["one"].Set(func(h *Host) { h.Down = s%10 < 5 }) }, 20, 120, 0, 0.995, 1.1},
		{"10 % fail at each of two", failing(0.1), load(40), 120, nil, 0, 120, 0, 0.995, 1.25},
		{"30 % fail at each of two", failing(0.3), load(40), 120, nil, 0, 120, 0, 0.95, 1.6},
	}
}

// What must hold, for many processes and for one. With -v it prints the table
// of docs/simulation.md, and plays the other clients and numbers of processes, too.
func TestScenarios(t *testing.T) {
	played, processes := clients[:2], []int{1, 100}
	if testing.Verbose() {
		played, processes = clients, []int{1, 10, 100}
	}
	for _, n := range processes {
		for _, sc := range scenarios(n) {
			line := fmt.Sprintf("| %s | %d |", sc.name, n)
			for i, c := range played {
				f := sc.play(t, c)
				line += fmt.Sprintf(" %.3f, %.2f |", f.good, f.amplification)
				if i >= 2 || sc.holds(f) {
					continue
				}
				three := []figure{f, sc.play(t, c), sc.play(t, c)} // calls come by chance, so the middle counts
				slices.SortFunc(three, func(a, b figure) int { return cmp.Compare(a.good, b.good) })
				if f := three[1]; !sc.holds(f) {
					t.Errorf("%s, %d processes, %s: %.3f with %.2f requests per call, want at least %v with at most %v", sc.name, n, c.name, f.good, f.amplification, sc.least, sc.most)
				}
			}
			t.Log(line)
		}
	}
}

// While the only host is sick, only probes reach it: of one process about one a
// second, of many no more than they have calls.
func TestOnlyProbesReachASickHost(t *testing.T) {
	for processes, most := range map[int]int{1: 80, 10: 800} {
		synctest.Test(t, func(t *testing.T) {
			hosts := one(100, 2*time.Second)
			var before, during int
			load := Load{Processes: processes, PerSecond: 40, Patience: 20 * time.Second}
			Run(load, 90*time.Second, func() http.RoundTripper { return byDefault.make(t, hosts, "one") }, func(second int) {
				switch second {
				case 20:
					hosts["one"].Set(sick)
					before = hosts["one"].Seen()
				case 80:
					during = hosts["one"].Seen() - before
				}
			})
			if during > most || during < 30 {
				t.Errorf("%d processes sent a sick host %d requests in a minute of 2400 calls, want at most %d", processes, during, most)
			}
		})
	}
}
