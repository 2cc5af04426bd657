package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/bench/internal/results"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// The load of failFast.
const (
	failFastCalls = 100 // a second
	failFastDown  = 10 * time.Second
	failFastUp    = 6 * time.Second
	failFastFrom  = 2 * time.Second // from then on, circuits are open

	failFastPatience = 20 * time.Second // of each call's caller
)

var failFastClients = []fleetClient{
	fleetClients[0],
	fleetClients[1],
	fleetClients[2],
	fleetClients[3],
	{"breakwater, MaxWait Off", func(s *sea) http.RoundTripper {
		return newBreakwater(breakwater.WithBase(s.base), breakwater.WithEndpoints(s.endpoint("primary")), breakwater.WithBreaker(breakwater.BreakerPolicy{MaxWait: breakwater.Off}))
	}},
}

// failFast is how long calls take to fail while their only host is down, and how many of
// them the host gets when it is well again.
func failFast() {
	fmt.Printf("\n%d calls a second, JSON, while their only host fails for %v: how long they take to fail (median, 99th percentile, from %v on), and the most requests that the host gets in one second after that.\n\n", failFastCalls, failFastDown, failFastFrom)
	fmt.Print("| the host |")
	for _, c := range failFastClients {
		fmt.Printf(" %s |", c.name)
	}
	fmt.Printf("\n|---|%s\n", strings.Repeat("---|", len(failFastClients)))
	for _, f := range []kit.Fault{kit.Refused(), kit.Busy()} {
		cells := make([]string, len(failFastClients))
		var all sync.WaitGroup
		for i, c := range failFastClients {
			all.Go(func() { cells[i] = failFastOf(c, f) })
		}
		all.Wait()
		fmt.Printf("| %s | %s |\n", f, strings.Join(cells, " | "))
	}
}

func failFastOf(c fleetClient, f kit.Fault) string {
	s := newSea()
	defer s.close()
	primary := s.fleet.Server("primary")
	primary.SetPace(kit.Pace{FirstToken: 50 * time.Millisecond})
	primary.Break(f)
	client := c.over(s)
	var mu sync.Mutex
	var failed []time.Duration
	var calls sync.WaitGroup
	start, healed := time.Now(), false
	for n := range int((failFastDown+failFastUp)/time.Second) * failFastCalls {
		at := time.Duration(n) * time.Second / failFastCalls
		time.Sleep(time.Until(start.Add(at)))
		if at >= failFastDown && !healed {
			healed = true
			primary.Forget()
			primary.Heal()
		}
		calls.Go(func() {
			began := time.Now()
			got, _ := askChat(client, s.url(), fmt.Sprintf("what is buoy %d?", n), false, failFastPatience)
			if took := time.Since(began); got == results.Failed && at >= failFastFrom && at < failFastDown-2*time.Second {
				mu.Lock()
				failed = append(failed, took)
				mu.Unlock()
			}
		})
	}
	calls.Wait()
	slices.Sort(failed)
	if len(failed) == 0 {
		return "none failed"
	}
	return fmt.Sprintf("%v, %v; %d", failed[len(failed)/2].Round(100*time.Microsecond), failed[len(failed)*99/100].Round(time.Millisecond), mostInASecond(primary.Requests()))
}

// mostInASecond returns the most requests that began within any second.
func mostInASecond(requests []kit.Request) (most int) {
	var times []time.Time
	for _, r := range requests {
		times = append(times, r.Time)
	}
	slices.SortFunc(times, time.Time.Compare)
	first := 0
	for i, at := range times {
		for at.Sub(times[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}
