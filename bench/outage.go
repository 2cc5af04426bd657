package main

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/bench/internal/results"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

const (
	callsPerSecond = 20
	phaseLasts     = 8 * time.Second
)

// outagePhases say what is the matter with the primary; the backup is well
// except where all hosts are down.
var outagePhases = []struct {
	name  string
	begin func(primary, backup *kit.Server)
}{
	{"all is well", func(primary, backup *kit.Server) {}},
	{"host refuses", func(primary, backup *kit.Server) { primary.Break(kit.Busy()) }},
	{"errors in a 200", func(primary, backup *kit.Server) { primary.Break(kit.ErrorInside()) }},
	{"streams are cut", func(primary, backup *kit.Server) { primary.Break(kit.EndStream(3)) }},
	{"all hosts down", func(primary, backup *kit.Server) { primary.Break(kit.Busy()); backup.Break(kit.Busy()) }},
	{"well again", func(primary, backup *kit.Server) { primary.Heal(); backup.Heal() }},
}

var outageClients = []fleetClient{
	fleetClients[0],
	fleetClients[1],
	{"breakwater, backup and cache", func(s *sea) http.RoundTripper {
		return newBreakwater(breakwater.WithBase(s.base), breakwater.WithEndpoints(s.endpoint("primary")),
			breakwater.WithBackup(s.endpoint("backup")), breakwater.WithCache(breakwater.CachePolicy{TTL: 2 * time.Second}))
	}},
}

// outage is what becomes of the calls of each second while hosts fail in turn. All
// ask the same questions at the same times: half of them streamed, and half of
// them asked again and again. A call counts in the second in which it is made.
func outage() any {
	s := newSea()
	defer s.close()
	for _, name := range []string{"primary", "backup"} {
		s.fleet.Server(name).SetPace(kit.Pace{FirstToken: 40 * time.Millisecond, PerToken: 4 * time.Millisecond})
	}
	measured := results.Outage{Source: results.Now("go run . outage"), CallsPerSecond: callsPerSecond}
	lasts := time.Duration(len(outagePhases)) * phaseLasts
	logs := make([]*answerLog, len(outageClients))
	over := make([]http.RoundTripper, len(outageClients))
	for i, c := range outageClients {
		over[i], logs[i] = c.over(s), newAnswerLog(c.name, int(lasts.Seconds()))
	}

	start := time.Now()
	var calls sync.WaitGroup
	for i, ph := range outagePhases {
		from := time.Duration(i) * phaseLasts
		measured.Phases = append(measured.Phases, results.Phase{Name: ph.name, From: int(from.Seconds()), To: int((from + phaseLasts).Seconds())})
		time.Sleep(time.Until(start.Add(from)))
		ph.begin(s.fleet.Server("primary"), s.fleet.Server("backup"))
		for j := range int(phaseLasts.Seconds()) * callsPerSecond {
			time.Sleep(time.Until(start.Add(from + time.Duration(j)*time.Second/callsPerSecond)))
			second := measured.Phases[i].From + j/callsPerSecond
			prompt, stream := fmt.Sprintf("what is new in minute %d.%d?", i, j), j%2 == 1
			if j%4 >= 2 {
				prompt = fmt.Sprintf("what is berth %d?", j/4%5)
			}
			for k, rt := range over {
				calls.Go(func() {
					got, stale := askChat(rt, s.url(), prompt, stream, patience)
					logs[k].note(second, got, stale)
				})
			}
		}
	}
	calls.Wait()
	for _, l := range logs {
		measured.Clients = append(measured.Clients, l.answers)
	}
	printOutage(measured)
	return measured
}

func printOutage(measured results.Outage) {
	fmt.Printf("What clients get in each phase, %d calls a second each: right answers (of them stale) / errors / wrong ones.\n\n", measured.CallsPerSecond)
	fmt.Print("| phase |")
	for _, c := range measured.Clients {
		fmt.Printf(" %s |", c.Client)
	}
	fmt.Print("\n|---|---|---|---|\n")
	for _, ph := range measured.Phases {
		sum := func(seconds []int) (n int) {
			for _, v := range seconds[ph.From:ph.To] {
				n += v
			}
			return n
		}
		fmt.Printf("| %s |", ph.Name)
		for _, c := range measured.Clients {
			fmt.Printf(" %d (%d) / %d / %d |", sum(c.Right)+sum(c.Stale), sum(c.Stale), sum(c.Failed), sum(c.Wrong))
		}
		fmt.Println()
	}
}

// An answerLog counts the answers of one client by seconds.
type answerLog struct {
	mu      sync.Mutex // guards answers
	answers results.Answers
}

func newAnswerLog(client string, seconds int) *answerLog {
	counts := func() []int { return make([]int, seconds) }
	return &answerLog{answers: results.Answers{Client: client, Right: counts(), Stale: counts(), Failed: counts(), Wrong: counts()}}
}

func (l *answerLog) note(second int, got results.Outcome, stale bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := l.answers.Right
	switch {
	case got == results.Failed:
		counts = l.answers.Failed
	case got == results.Wrong:
		counts = l.answers.Wrong
	case stale:
		counts = l.answers.Stale
	}
	counts[second]++
}
