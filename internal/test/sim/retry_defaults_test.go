package sim

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
)

// What the defaults of RetryPolicy come to, beside smaller and larger values. It prints the
// tables of docs/decisions/defaults.md, and holds the page to what it says of them:
//
//	go test -run TestRetryDefaults -v ./internal/test/sim
func TestRetryDefaults(t *testing.T) {
	retry := func(name string, p breakwater.RetryPolicy) client {
		return client{name, breakwaterWith(breakwater.WithRetry(p))}
	}
	const overload, flapping, failing = "overload, twice what it takes", "flapping, 5 s down and 5 s up", "30 % fail at each of two"
	// play returns what the default and another value come to, by scenario.
	play := func(c client, processes int) (of map[string]figure, line string) {
		of, line = make(map[string]figure), fmt.Sprintf("| %s | %d |", c.name, processes)
		for _, sc := range scenarios(processes) {
			if slices.Contains([]string{overload, flapping, failing}, sc.name) {
				f := sc.play(t, c)
				of[sc.name], line = f, line+fmt.Sprintf(" %.3f · %.2f |", f.good, f.amplification)
			}
		}
		return of, line
	}
	// Two plays of the same differ by so much: of an overload, by 0.02, and of a host that
	// flaps, by twice as much as of the 0.05 that is usual.
	chance := map[string]float64{overload: 0.03, flapping: 0.1, failing: 0.005}
	for _, tt := range []struct {
		other client
		gains float64 // the least that the default answers more where 30 % fail, with one process
	}{
		{retry("Attempts 2", breakwater.RetryPolicy{Attempts: 2}), 0.003},
		{retry("Attempts 5", breakwater.RetryPolicy{Attempts: 5}), -1},
		{retry("MinDelay 100ms", breakwater.RetryPolicy{MinDelay: 100 * time.Millisecond}), -1},
		{retry("MinDelay 2s", breakwater.RetryPolicy{MinDelay: 2 * time.Second}), -1},
		{retry("MaxDelay 2s", breakwater.RetryPolicy{MaxDelay: 2 * time.Second}), -1},
		{retry("MaxDelay 30s", breakwater.RetryPolicy{MaxDelay: 30 * time.Second}), -1},
		{retry("Budget 0.05", breakwater.RetryPolicy{Budget: 0.05}), 0.02},
		{retry("Budget 0.1", breakwater.RetryPolicy{Budget: 0.1}), -1},
		{retry("Budget 0.5", breakwater.RetryPolicy{Budget: 0.5}), -1},
		{retry("Budget 3", breakwater.RetryPolicy{Budget: 3}), -1},
	} {
		for _, processes := range []int{1, 10} {
			if !testing.Verbose() && (processes > 1 || tt.gains < 0) {
				continue
			}
			settles(t, fmt.Sprintf("%s, %d processes: the default is no worse, and answers %.3f more where 30 %% fail", tt.other.name, processes, tt.gains), func() ([]string, bool) {
				ours, line := play(byDefault, processes)
				theirs, other := play(tt.other, processes)
				holds := processes > 1 || ours[failing].good >= theirs[failing].good+tt.gains
				for name, f := range ours {
					holds = holds && f.good >= theirs[name].good-chance[name] && (tt.gains >= 0 || f.amplification <= theirs[name].amplification+0.1)
				}
				return []string{line, other}, holds
			})
		}
	}
}

// What Patience comes to with a backup: how many calls the backup serves, and how long the
// slowest one in a hundred takes, while the first host fails now and then, is at its limit, or is down.
func TestRetryDefaults_Patience(t *testing.T) {
	type cell struct {
		answered, backup float64
		p99              time.Duration
	}
	play := func(patience time.Duration, change func(*Host)) (c cell) {
		synctest.Test(t, func(t *testing.T) {
			hosts := two(100, 2*time.Second)
			hosts["one"].Set(change)
			client, err := breakwater.New(breakwater.WithBase(hosts), breakwater.WithRetry(breakwater.RetryPolicy{Patience: patience}),
				breakwater.WithEndpoints(breakwater.Endpoint{Name: "one", URL: "https://one", APIKey: "sk", Host: breakwater.HostDeepSeek}),
				breakwater.WithBackup(breakwater.Endpoint{Name: "two", URL: "https://two", APIKey: "sk", Host: breakwater.HostDeepSeek}))
			if err != nil {
				t.Fatal(err)
			}
			timed := &stopwatch{next: client}
			r := Run(Load{Processes: 1, PerSecond: 40, Patience: 20 * time.Second}, 2*time.Minute, func() http.RoundTripper { return timed }, func(int) {})
			slices.Sort(timed.took)
			c = cell{r.Good(0, 120), float64(hosts["two"].Seen()) / float64(len(timed.took)), timed.took[len(timed.took)*99/100]}
		})
		return c
	}
	settles(t, "Patience: none sends hiccups to the backup, a longer one keeps callers waiting where the host is at its limit", func() (lines []string, holds bool) {
		var all [][]cell
		for _, patience := range []time.Duration{breakwater.Off, 500 * time.Millisecond, 0, 8 * time.Second} {
			var cells []cell
			line := fmt.Sprintf("| Patience %v |", patience)
			for _, change := range []func(*Host){
				func(h *Host) { h.Fails = 0.1 },
				func(h *Host) { h.Fails = 0.3 },
				func(h *Host) { h.Cap = 60 },
				down,
			} {
				c := play(patience, change)
				cells, line = append(cells, c), line+fmt.Sprintf(" %.3f · %.2f · %.1f s |", c.answered, c.backup, c.p99.Seconds())
			}
			all, lines = append(all, cells), append(lines, line)
		}
		off, chosen, long := all[0], all[2], all[3]
		holds = chosen[0].backup < off[0].backup-0.05 && chosen[1].backup < off[1].backup-0.08 && chosen[2].p99 < long[2].p99-time.Second
		for _, c := range chosen {
			holds = holds && c.answered >= 0.999
		}
		return lines, holds
	})
}

// A stopwatch notes how long calls take, to the ends of their bodies.
type stopwatch struct {
	next http.RoundTripper
	mu   sync.Mutex // guards took
	took []time.Duration
}

func (s *stopwatch) RoundTrip(req *http.Request) (*http.Response, error) {
	start := time.Now()
	resp, err := s.next.RoundTrip(req)
	note := sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.took = append(s.took, time.Since(start))
	})
	if err != nil {
		note()
		return nil, err
	}
	resp.Body = &noting{resp.Body, note}
	return resp, nil
}

type noting struct {
	io.ReadCloser
	note func()
}

func (n *noting) Close() error { n.note(); return n.ReadCloser.Close() }
