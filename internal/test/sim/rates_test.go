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

// A rateScenario is hosts that limit something over time, and a load.
type rateScenario struct {
	name   string
	host   *Host    // each of them is like this
	hosts  []string // "one" first
	load   Load     // without Processes
	told   bool     // each client is told its share of the rate
	best   float64  // answers a second that the hosts allow for; or what is offered, if that is less
	tokens bool     // best is in tokens
}

var (
	single = []string{"one"}
	triple = []string{"one", "two", "three"}
)

// rateScenarios play overload at hosts that limit rates or what is open.
func rateScenarios() []rateScenario {
	load := func(perSecond float64) Load { return Load{PerSecond: perSecond, Patience: 20 * time.Second} }
	rate := func(perSecond, burst float64) *Host {
		return &Host{Bucket: Bucket{Rate: perSecond, Burst: burst}, Service: 500 * time.Millisecond, Network: 5 * time.Millisecond}
	}
	with := func(h *Host, changes ...func(*Host)) *Host {
		h = h.Like(h.Name)
		for _, change := range changes {
			change(h)
		}
		return h
	}
	charge := func(share float64) func(*Host) { return func(h *Host) { h.Bucket.Charge = share } }
	says := func(h *Host) { h.RetryAfter = true }
	d7 := with(rate(30, 30), charge(0.05))
	sized := &Host{Bucket: Bucket{Rate: 50_000, Burst: 50_000, Tokens: true}, Service: 500 * time.Millisecond, Network: 5 * time.Millisecond}
	sizes := load(100)
	sizes.Sizes = []int{400, 400, 400, 400, 400, 400, 400, 400, 400, 32_000} // 100 tokens and 8,000
	return []rateScenario{
		{name: "three hosts, a refusal costs 5 %", host: d7, hosts: triple, load: load(180), best: 90},
		{name: "three hosts, told", host: d7, hosts: triple, load: load(180), best: 90, told: true},
		{name: "three, told, say Retry-After", host: with(d7, says), hosts: triple, load: load(180), best: 90, told: true},
		{name: "three, told, small, say Retry-After", host: with(rate(30, 3), charge(.05), says), hosts: triple, load: load(180), best: 90, told: true},
		{name: "three, small, say Retry-After", host: with(rate(30, 3), charge(.05), says), hosts: triple, load: load(180), best: 90},
		{name: "three, told, small", host: with(rate(30, 3), charge(.05)), hosts: triple, load: load(180), best: 90, told: true},
		{name: "one host", host: rate(50, 50), hosts: single, load: load(100), best: 50},
		{name: "one host, told", host: rate(50, 50), hosts: single, load: load(100), best: 50, told: true},
		{name: "a small bucket", host: rate(50, 5), hosts: single, load: load(100), best: 50},
		{name: "a large bucket", host: rate(50, 500), hosts: single, load: load(100), best: 50},
		{name: "it says Retry-After", host: with(rate(50, 50), says), hosts: single, load: load(100), best: 50},
		{name: "small, says Retry-After", host: with(rate(50, 5), says), hosts: single, load: load(100), best: 50},
		{name: "three, say Retry-After", host: with(d7, says), hosts: triple, load: load(180), best: 90},
		{name: "a refusal costs a token", host: with(rate(50, 50), charge(1)), hosts: single, load: load(100), best: 50},
		{name: "a token, three hosts", host: with(rate(30, 30), charge(1)), hosts: triple, load: load(180), best: 90},
		{name: "offered a tenth more", host: rate(50, 50), hosts: single, load: load(55), best: 50},
		{name: "offered a tenth less", host: rate(50, 50), hosts: single, load: load(45), best: 45},
		{name: "five times", host: rate(50, 50), hosts: single, load: load(250), best: 50},
		{name: "2 a second", host: rate(2, 2), hosts: single, load: load(4), best: 2},
		{name: "fixed windows", host: with(rate(10, 600), func(h *Host) { h.Bucket.Window = time.Minute }), hosts: single, load: load(20), best: 10},
		{name: "fixed windows, says", host: with(rate(10, 600), func(h *Host) { h.Bucket.Window = time.Minute; h.RetryAfter = true }), hosts: single, load: load(20), best: 10},
		{name: "tokens, sizes differ", host: sized, hosts: single, load: sizes, best: 50_000, tokens: true},
		{name: "a tenth refused by chance", host: &Host{Throttles: 0.1, Silent: true, Service: 500 * time.Millisecond}, hosts: single, load: load(50), best: 50},
		{name: "a quarter refused by chance", host: &Host{Throttles: 0.25, Silent: true, Service: 500 * time.Millisecond}, hosts: single, load: load(50), best: 50},
		{name: "half refused by chance", host: &Host{Throttles: 0.5, Silent: true, Service: 500 * time.Millisecond}, hosts: single, load: load(50), best: 50},
		{name: "open, three hosts", host: &Host{Cap: 60, Service: 2 * time.Second, Silent: true}, hosts: triple, load: load(180), best: 90},
		{name: "open, three hosts, numbers", host: &Host{Cap: 60, Service: 2 * time.Second}, hosts: triple, load: load(180), best: 90},
		{name: "open, one host", host: &Host{Cap: 100, Service: 2 * time.Second, Silent: true}, hosts: single, load: load(100), best: 50},
		{name: "open, 10 at once", host: &Host{Cap: 10, Service: 2 * time.Second, Silent: true}, hosts: single, load: load(10), best: 5},
		{name: "open, long answers", host: &Host{Cap: 100, Service: 20 * time.Second, Silent: true}, hosts: single, load: Load{PerSecond: 10, Patience: 60 * time.Second}, best: 5},
		{name: "open, a tenth less", host: &Host{Cap: 100, Service: 2 * time.Second, Silent: true}, hosts: single, load: load(45), best: 45},
	}
}

// A rateFigure is what a scenario came to.
type rateFigure struct {
	goodput, perCall, perAnswer float64
	wait, refused               time.Duration // the 99th percentile
	fairness                    float64       // of the processes
	leastSize                   float64       // the share answered of the size that gets least
}

func (f rateFigure) String() string {
	return fmt.Sprintf("%.3f · %.2f · %.2f · %.1f s, %.1f s · %.2f, %.2f", f.goodput, f.perCall, f.perAnswer, f.wait.Seconds(), f.refused.Seconds(), f.fairness, f.leastSize)
}

func (sc rateScenario) play(t *testing.T, processes, seconds int) (f rateFigure) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		hosts := Equal(sc.host, sc.hosts...)
		f = sc.playWith(t, processes, seconds, hosts, func() http.RoundTripper { return hosts })
	})
	return f
}

// playWith plays the scenario at hosts that each process reaches by a base of its own.
func (sc rateScenario) playWith(t *testing.T, processes, seconds int, hosts Hosts, base func() http.RoundTripper) rateFigure {
	sc.load.Processes = processes
	var opts []breakwater.Option
	if sc.told {
		opts = append(opts, breakwater.WithRateLimit(breakwater.RatePolicy{PerSecond: sc.host.Bucket.Rate / float64(processes)}))
	}
	r := Run(sc.load, time.Duration(seconds)*time.Second, func() http.RoundTripper { return over(t, base(), sc.hosts, opts...) }, func(int) {})
	seen, answers, used := 0, 0, 0.0
	for _, h := range hosts {
		seen += h.Seen()
		used += h.Used
	}
	for _, n := range r.Answered {
		answers += n
	}
	least := 1.0
	for _, s := range r.Sizes {
		least = min(least, float64(s.Good)/float64(s.Calls))
	}
	f := rateFigure{r.Rate(warm, seconds) / sc.best, float64(seen) / float64(r.Calls()), float64(seen) / float64(answers), P99(r.Waits), P99(r.Refused), r.Fairness(), least}
	if sc.tokens {
		f.goodput = (used - sc.host.Bucket.Burst) / sc.best / float64(seconds)
	}
	return f
}

// warm is how many seconds are not counted.
const warm = 5

// A goal is what a scenario should come to.
type goal struct {
	goodput, perCall float64
	wait             time.Duration
}

func (g goal) isMetBy(f rateFigure) bool {
	return f.goodput >= g.goodput && f.perCall <= g.perCall && f.wait <= g.wait
}

// With nothing told, hosts that limit a rate or what is open give nearly all that they can,
// with few requests, and nobody waits for long. With -v it plays all scenarios and prints
// the table of docs/simulation.md.
func TestRates(t *testing.T) {
	const patience = 5500 * time.Millisecond
	learned, told := goal{0.95, 1.3, patience}, goal{0.95, 1.05, patience}
	chance := func(goodput float64) goal { return goal{goodput, 1.4, 20 * time.Second} }
	goals := map[string]map[int]goal{
		"three hosts, a refusal costs 5 %": {1: learned, 10: {0.94, 1.3, 20 * time.Second}, 100: {0.88, 1.6, 20 * time.Second}},
		"three hosts, told":                {1: told, 10: told},
		"one host":                         {1: learned, 100: {0.95, 1.3, 20 * time.Second}},
		"one host, told":                   {1: told, 10: told, 100: told},
		"it says Retry-After":              {1: {0.95, 1.3, 8 * time.Second}, 10: {0.95, 1.3, 20 * time.Second}, 100: {0.95, 1.3, 20 * time.Second}},
		"small, says Retry-After":          {1: {0.7, 1.3, 7 * time.Second}},
		"a refusal costs a token":          {1: learned, 10: {0.85, 1.3, 20 * time.Second}, 100: {0.6, 1.5, 20 * time.Second}},
		"offered a tenth less":             {1: {0.93, 1.01, time.Second}},
		"tokens, sizes differ":             {10: learned},
		"open, three hosts":                {1: learned, 10: {0.93, 1.3, 20 * time.Second}},
		"a tenth refused by chance":        {1: chance(0.92), 10: chance(0.92), 100: chance(0.92)},
		"a quarter refused by chance":      {1: chance(0.7), 10: chance(0.5), 100: chance(0.85)},
	}
	for _, sc := range rateScenarios() {
		for _, n := range []int{1, 10, 100} {
			want, ok := goals[sc.name][n]
			if !ok && !testing.Verbose() {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", sc.name, n), func(t *testing.T) {
				got := sc.play(t, n, 120)
				t.Logf("| %s | %d | %v |", sc.name, n, got)
				if !ok || want.isMetBy(got) {
					return
				}
				three := []rateFigure{got, sc.play(t, n, 120), sc.play(t, n, 120)} // calls come by chance, so the middle counts
				slices.SortFunc(three, func(a, b rateFigure) int { return cmp.Compare(a.goodput, b.goodput) })
				if got := three[1]; !want.isMetBy(got) {
					t.Errorf("%.3f of what the hosts can, with %.2f requests per call and waits up to %v, want at least %v with at most %v and %v",
						got.goodput, got.perCall, got.wait, want.goodput, want.perCall, want.wait)
				}
			})
		}
	}
}
