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
// table of docs/decisions/circuits.md:
//
//	go test -run TestBreakerDefaults -v ./internal/test/sim
func TestBreakerDefaults(t *testing.T) {
	if !testing.Verbose() {
		t.Skip("it only prints")
	}
	type policy = breakwater.BreakerPolicy
	const off = breakwater.Off
	ofRate, ofRow := policy{Consecutive: off}, policy{FailureRate: off}
	with := func(p policy, change func(*policy)) policy { change(&p); return p }
	for _, tt := range []struct {
		field    string
		values   []any
		policy   func(any) policy
		scenario []illness
	}{
		{"FailureRate", []any{0.25, 0.5, 0.75}, func(v any) policy { return with(ofRate, func(p *policy) { p.FailureRate = v.(float64) }) }, []illness{alone30, half60}},
		{"MinRequests", []any{5, 20, 80}, func(v any) policy { return with(ofRate, func(p *policy) { p.MinRequests = v.(int) }) }, []illness{alone30, halfDown}},
		{"Window", []any{15 * time.Second, time.Minute, 4 * time.Minute}, func(v any) policy { return with(ofRate, func(p *policy) { p.Window = v.(time.Duration) }) }, []illness{alone30, halfDown}},
		{"Consecutive", []any{2, 5, 15}, func(v any) policy { return with(ofRow, func(p *policy) { p.Consecutive = v.(int) }) }, []illness{alone30, halfDown}},
		{"OpenFor", []any{time.Second, 5 * time.Second, 20 * time.Second}, func(v any) policy { return policy{OpenFor: v.(time.Duration)} }, []illness{halfDown}},
		{"MaxOpenFor", []any{30 * time.Second, 5 * time.Minute, 30 * time.Minute}, func(v any) policy { return policy{MaxOpenFor: v.(time.Duration)} }, []illness{halfDownLong}},
		{"Probes", []any{1, 3, 10}, func(v any) policy { return policy{Probes: v.(int)} }, []illness{halfDown, aloneDown}},
		{"MaxWait", []any{time.Duration(off), 250 * time.Millisecond, time.Second, 4 * time.Second}, func(v any) policy { return policy{MaxWait: v.(time.Duration)} }, []illness{aloneDown}},
	} {
		for _, v := range tt.values {
			line := fmt.Sprintf("| `%s` %v |", tt.field, v)
			for _, ill := range tt.scenario {
				line += " " + ill.play(t, tt.policy(v)) + " |"
			}
			t.Log(line)
		}
	}
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

func (ill illness) play(t *testing.T, policy breakwater.BreakerPolicy) (told string) {
	if ill.outage {
		o := outage{ill.name, 10, 100, func() http.RoundTripper { return &rated{rate: 150, service: 2 * time.Second} }, 150, breakwater.RoundTripperFunc(refused), true}
		r := o.play(t, policy)
		return fmt.Sprintf("%s: fails after %v, first 5 s %.2f, peak %.2f", ill.name, r.failed.Round(time.Millisecond), r.first, r.peak)
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
		parts := []string{fmt.Sprintf("%s: %.3f answered", ill.name, result.Good(ill.from, min(ill.to, ill.end)))}
		if len(ill.hosts) > 1 {
			if during == 0 {
				during = one.Seen() - before
			}
			parts = append(parts, fmt.Sprintf("%.2f requests a second to the sick one", float64(during)/float64(ill.to-ill.from)))
			if ill.end > ill.to {
				parts = append(parts, fmt.Sprintf("back after %d s", max(back, 0)))
			}
		}
		told = strings.Join(parts, ", ")
	})
	return told
}
