package sim

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
)

// What the defaults of RetryPolicy come to, beside smaller and larger values. It prints the
// tables of docs/decisions/defaults.md:
//
//	go test -run TestRetryDefaults -v ./internal/test/sim
func TestRetryDefaults(t *testing.T) {
	if !testing.Verbose() {
		t.Skip("prints a table with -v")
	}
	retry := func(name string, p breakwater.RetryPolicy) client {
		return client{name, breakwaterWith(breakwater.WithRetry(p))}
	}
	telling := []string{"overload, twice what it takes", "flapping, 5 s down and 5 s up", "30 % fail at each of two"}
	variants := []client{
		byDefault,
		retry("Attempts 2", breakwater.RetryPolicy{Attempts: 2}), retry("Attempts 5", breakwater.RetryPolicy{Attempts: 5}),
		retry("MinDelay 100ms", breakwater.RetryPolicy{MinDelay: 100 * time.Millisecond}), retry("MinDelay 2s", breakwater.RetryPolicy{MinDelay: 2 * time.Second}),
		retry("MaxDelay 2s", breakwater.RetryPolicy{MaxDelay: 2 * time.Second}), retry("MaxDelay 30s", breakwater.RetryPolicy{MaxDelay: 30 * time.Second}),
		retry("Budget 0.05", breakwater.RetryPolicy{Budget: 0.05}), retry("Budget 0.1", breakwater.RetryPolicy{Budget: 0.1}),
		retry("Budget 0.5", breakwater.RetryPolicy{Budget: 0.5}), retry("Budget 3", breakwater.RetryPolicy{Budget: 3}),
	}
	for _, c := range variants {
		for _, processes := range []int{1, 10} {
			var cells []string
			for _, sc := range scenarios(processes) {
				if !slices.Contains(telling, sc.name) {
					continue
				}
				f := sc.play(t, c)
				cells = append(cells, fmt.Sprintf("%.3f · %.2f", f.good, f.amplification))
			}
			t.Logf("| %s | %d | %s |", c.name, processes, strings.Join(cells, " | "))
		}
	}
}

// What Patience comes to with a backup: how many calls the backup serves, and how long the
// slowest one in a hundred takes, while the first host fails now and then, is at its limit, or is down.
func TestRetryDefaults_Patience(t *testing.T) {
	if !testing.Verbose() {
		t.Skip("prints a table with -v")
	}
	for _, patience := range []time.Duration{breakwater.Off, 500 * time.Millisecond, 2 * time.Second, 8 * time.Second} {
		var cells []string
		for _, change := range []func(*Host){
			func(h *Host) { h.Fails = 0.1 },
			func(h *Host) { h.Fails = 0.3 },
			func(h *Host) { h.Cap = 60 },
			down,
		} {
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
				p99 := timed.took[len(timed.took)*99/100]
				cells = append(cells, fmt.Sprintf("%.3f · %.2f · %.1f s", r.Good(0, 120), float64(hosts["two"].Seen())/float64(len(timed.took)), p99.Seconds()))
			})
		}
		t.Logf("| Patience %v | %s |", patience, strings.Join(cells, " | "))
	}
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
