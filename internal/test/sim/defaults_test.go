package sim

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
)

// What the defaults of BreakerPolicy come to, beside values below and above. It prints the
// table of docs/decisions/circuits-measured.md, and holds the page to what it says of it:
//
//	go test -run TestBreakerDefaults -v ./internal/test/sim
func TestBreakerDefaults(t *testing.T) {
	type policy = breakwater.BreakerPolicy
	type value struct {
		name string
		set  func(*policy)
	}
	const off = breakwater.Off
	byDefault := value{"default", func(*policy) {}}
	ofRate, ofRow := policy{Consecutive: off}, policy{FailureRate: off}
	const chance = 0.05 // two plays of the same differ by so much of the calls
	for _, tt := range []struct {
		field    string
		among    policy
		values   []value
		scenario []illness
		claim    string
		holds    func(of [][]fate) bool // by value and by scenario
	}{
		{"FailureRate", ofRate, []value{{"0.25", func(p *policy) { p.FailureRate = 0.25 }}, byDefault, {"0.75", func(p *policy) { p.FailureRate = 0.75 }}}, []illness{alone30, half60},
			"a lower one shuts out a host of which most requests succeed, and a higher one gains nothing",
			func(of [][]fate) bool {
				return of[1][0].answered > of[0][0].answered+0.3 && of[1][0].answered > of[2][0].answered-chance
			}},
		{"MinRequests", ofRate, []value{{"5", func(p *policy) { p.MinRequests = 5 }}, byDefault, {"80", func(p *policy) { p.MinRequests = 80 }}}, []illness{alone30, halfDown},
			"no other one does better", notWorse(chance)},
		{"Window", ofRate, []value{{"15 s", func(p *policy) { p.Window = 15 * time.Second }}, byDefault, {"4 min", func(p *policy) { p.Window = 4 * time.Minute }}}, []illness{alone30, halfDown},
			"no other one does better", notWorse(chance)},
		{"Consecutive", ofRow, []value{{"2", func(p *policy) { p.Consecutive = 2 }}, byDefault, {"15", func(p *policy) { p.Consecutive = 15 }}}, []illness{alone30, halfDown},
			"a longer row costs requests to the sick host, and a shorter one saves few",
			func(of [][]fate) bool {
				return of[1][1].perSecond < of[2][1].perSecond-0.05 && of[1][1].perSecond < of[0][1].perSecond+0.1 && of[1][0].answered > of[2][0].answered-chance
			}},
		{"OpenFor", policy{}, []value{{"1 s", func(p *policy) { p.OpenFor = time.Second }}, byDefault, {"20 s", func(p *policy) { p.OpenFor = 20 * time.Second }}}, []illness{halfDown},
			"a shorter one costs requests to the sick host, and a longer one saves few",
			func(of [][]fate) bool {
				return of[1][0].perSecond < of[0][0].perSecond && of[1][0].perSecond < of[2][0].perSecond+0.04
			}},
		{"MaxOpenFor", policy{}, []value{{"30 s", func(p *policy) { p.MaxOpenFor = 30 * time.Second }}, byDefault, {"30 min", func(p *policy) { p.MaxOpenFor = 30 * time.Minute }}}, []illness{halfDownLong},
			"a shorter one asks a dead host twice as often, and a longer one saves nothing",
			func(of [][]fate) bool {
				return of[1][0].perSecond < of[0][0].perSecond/2 && of[1][0].perSecond < of[2][0].perSecond+0.01
			}},
		{"Probes", policy{}, []value{byDefault, {"3", func(p *policy) { p.Probes = 3 }}, {"10", func(p *policy) { p.Probes = 10 }}}, []illness{halfDown, aloneDown},
			"more of them answer fewer of the first calls after an outage",
			func(of [][]fate) bool { return of[0][1].first > max(of[1][1].first, of[2][1].first)+chance }},
		{"MaxWait", policy{}, []value{{"Off", func(p *policy) { p.MaxWait = off }}, {"250 ms", func(p *policy) { p.MaxWait = 250 * time.Millisecond }}, byDefault, {"4 s", func(p *policy) { p.MaxWait = 4 * time.Second }}}, []illness{aloneDown},
			"shorter ones answer fewer of the first calls after an outage, and a longer one keeps callers waiting for seconds in it",
			func(of [][]fate) bool {
				return of[2][0].first > max(of[0][0].first, of[1][0].first)+0.2 && of[2][0].failed <= time.Second && of[3][0].failed > 2*of[2][0].failed
			}},
	} {
		settles(t, tt.field+": "+tt.claim, func() (lines []string, ok bool) {
			var all [][]fate
			for _, v := range tt.values {
				p, of, line := tt.among, []fate(nil), fmt.Sprintf("| `%s` %s |", tt.field, v.name)
				v.set(&p)
				for _, ill := range tt.scenario {
					of = append(of, ill.play(t, p))
					line += fmt.Sprintf(" %s: %s |", ill.name, of[len(of)-1].told)
				}
				all, lines = append(all, of), append(lines, line)
			}
			return lines, tt.holds(all)
		})
	}
}

// notWorse returns a check that the middle one of three values answers as much as the others,
// and sends no more to the sick host.
func notWorse(chance float64) func(of [][]fate) bool {
	return func(of [][]fate) bool {
		for _, other := range [][]fate{of[0], of[2]} {
			if of[1][0].answered < other[0].answered-chance || of[1][1].perSecond > other[1].perSecond+chance {
				return false
			}
		}
		return true
	}
}

// settles measures what a document claims, and shows the figures. Chance may decide one
// measurement, so a claim fails that does not hold in two of three.
func settles(t *testing.T, claim string, measure func() (lines []string, holds bool)) {
	t.Helper()
	var all []string
	for n, failed := 0, 0; n-failed < 2; n++ {
		lines, holds := measure()
		all = append(all, lines...)
		if n == 0 && holds {
			break // so it is with most
		}
		if !holds {
			failed++
		}
		if failed == 2 {
			t.Errorf("%s: that does not hold in two of three plays:\n%s", claim, strings.Join(all, "\n"))
			return
		}
	}
	for _, line := range all {
		t.Log(line)
	}
}

// A fate is what a client made of an illness.
type fate struct {
	told      string
	answered  float64       // share of the calls
	perSecond float64       // requests to the sick host
	failed    time.Duration // outage: the median time until a call fails
	first     float64       // outage: share of the calls of the five seconds after it that were answered
}

// An illness of the host "one", and what is told of it.
type illness struct {
	name     string
	hosts    []string
	fails    float64 // share of its requests that fail
	from, to int     // seconds
	end      int
	outage   bool // it is down, and the recovery is told
}

var (
	alone30      = illness{"the only host fails 30 %", []string{"one"}, 0.3, 0, 180, 180, false}
	half60       = illness{"one of two fails 60 %", []string{"one", "two"}, 0.6, 60, 180, 180, false}
	halfDown     = illness{"one of two fails for a minute", []string{"one", "two"}, 1, 60, 120, 180, false}
	halfDownLong = illness{"one of two fails for 20 minutes", []string{"one", "two"}, 1, 60, 1260, 1860, false}
	aloneDown    = illness{"the only host is down for a minute", []string{"one"}, 0, 0, 0, 0, true}
)

func (ill illness) play(t *testing.T, policy breakwater.BreakerPolicy) (f fate) {
	if ill.outage {
		o := outage{ill.name, 10, 100, func() http.RoundTripper { return &rated{rate: 150, service: 2 * time.Second} }, 150, breakwater.RoundTripperFunc(refused), true}
		r := o.play(t, policy)
		return fate{
			told:   fmt.Sprintf("fails after %v, first 5 s %.2f, peak %.2f", r.failed.Round(time.Millisecond), r.first, r.peak),
			failed: r.failed, first: r.first,
		}
	}
	synctest.Test(t, func(t *testing.T) {
		hosts := Hosts{}
		var opts []breakwater.Option
		for _, name := range ill.hosts {
			hosts[name] = &Host{Name: name, Cap: 200, Service: 2 * time.Second}
			opts = append(opts, breakwater.WithEndpoints(breakwater.Endpoint{Name: name, URL: "https://" + name, APIKey: "sk-" + name, Host: breakwater.HostDeepSeek}))
		}
		one, before, during, back := hosts["one"], 0, 0, -1
		var seen []int // by one, by second
		load := Load{Processes: 1, PerSecond: 20, Patience: 20 * time.Second}
		result := Run(load, time.Duration(ill.end)*time.Second, func() http.RoundTripper {
			rt, err := breakwater.New(append(opts, breakwater.WithBase(hosts), breakwater.WithBreaker(policy))...)
			if err != nil {
				t.Fatal(err)
			}
			return rt
		}, func(second int) {
			seen = append(seen, one.Seen())
			switch second {
			case ill.from:
				before = one.Seen()
				one.Set(func(h *Host) { h.Fails = ill.fails })
			case ill.to:
				during = one.Seen() - before
				one.Set(healed)
			}
			if n := len(seen); second > ill.to && back < 0 && n > 5 && seen[n-1]-seen[n-6] >= 25 { // a quarter of the calls
				back = second - 5 - ill.to
			}
		})
		f.answered = result.Good(ill.from, min(ill.to, ill.end))
		parts := []string{fmt.Sprintf("%.3f answered", f.answered)}
		if len(ill.hosts) > 1 {
			if during == 0 {
				during = one.Seen() - before
			}
			f.perSecond = float64(during) / float64(ill.to-ill.from)
			parts = append(parts, fmt.Sprintf("%.2f requests a second to the sick one", f.perSecond))
			if ill.end > ill.to {
				parts = append(parts, fmt.Sprintf("back after %d s", max(back, 0)))
			}
		}
		f.told = strings.Join(parts, ", ")
	})
	return f
}
