// Outage asks the same question from a hundred goroutines while the API is up,
// down, down for longer than answers stay fresh, and back. Half of them want a
// stream. It needs no key: the host is a fake one on this machine. It exits with
// status 0 only if every call got the right answer, from the host or the cache
// as it should.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/examples/internal/terminal"
)

const (
	callers  = 100
	ttl      = 2 * time.Second
	question = "Is the harbour open?"
)

func main() {
	if err := run(context.Background(), os.Stdout, terminal.StyleOf(os.Stdout), kit.NewFleet); err != nil {
		fmt.Fprintln(os.Stderr, terminal.Fold("outage: "+err.Error()))
		os.Exit(1)
	}
}

// run plays it all over a fleet as start makes it.
func run(ctx context.Context, out io.Writer, style terminal.Style, start func(...kit.Host) (*kit.Fleet, error)) error {
	fleet, err := start(kit.DeepSeek("host"))
	if err != nil {
		return err
	}
	defer fleet.Close()
	host := fleet.Server("host")
	host.SetPace(kit.Pace{FirstToken: 400 * time.Millisecond, PerToken: 10 * time.Millisecond})

	network := fleet.Transport()
	defer network.CloseIdleConnections()
	transport, err := breakwater.New(
		breakwater.WithBase(network),
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "host", URL: host.URL(), APIKey: "sk-example", Host: breakwater.HostDeepSeek}),
		breakwater.WithCache(breakwater.CachePolicy{TTL: ttl}), // and an hour more where the API fails
		// A circuit would open after five failures, which so short an outage may bring or not.
		breakwater.WithBreaker(breakwater.BreakerPolicy{FailureRate: breakwater.Off, Consecutive: breakwater.Off}),
	)
	if err != nil {
		return err
	}
	defer transport.Close()
	client := &http.Client{Transport: transport}

	fmt.Fprintln(out, style.Strong("The host goes down. The cache answers, also past its TTL."))
	fmt.Fprintf(out, "%d callers ask the same question at once, half of them for a stream.\n\n", callers)
	fmt.Fprintln(out, style.Quiet(fmt.Sprintf("%-18s %8s %6s %6s %5s %6s %9s %7s", "the API is", "answered", "host", "shared", "hits", "stale", "attempts", "p99")))
	answered := 0
	for _, phase := range []struct {
		name  string
		begin func()
		want  func(tally) bool
	}{
		{"up", func() {}, asked},
		{"down", func() { host.Break(kit.Refused()) }, func(t tally) bool { return t.hits == callers && t.attempts == 0 }},
		{"down past the TTL", func() { time.Sleep(ttl) }, func(t tally) bool { return t.stale == callers && t.arrived == 0 }},
		{"back", host.Heal, asked},
	} {
		phase.begin()
		host.Forget()
		before := transport.Status().Attempts
		t := askAll(ctx, client, host.URL())
		t.attempts, t.arrived = transport.Status().Attempts-before, len(host.Requests())
		paint := style.Good
		if t.answered != callers {
			paint = style.Wrong
		}
		fmt.Fprintf(out, "%-18s %s %6d %6d %5d %6d %9d %7v\n", phase.name, paint(fmt.Sprintf("%8d", t.answered)),
			t.fresh, t.shared, t.hits, t.stale, t.attempts, t.wait(99))
		if t.answered != callers || !phase.want(t) {
			return fmt.Errorf("%s: not the counts there should be; errors: %v", phase.name, t.errs)
		}
		answered += t.answered
	}
	fmt.Fprint(out, `
host: the host answered this call. shared: got the answer of that call.
hits: from the cache. stale: from the cache, past the TTL, because the host
is down. attempts: made to reach the host, for all callers together.

`)
	fmt.Fprintln(out, style.Strong(style.Good(fmt.Sprintf("All %d calls got the right answer, also while the host was down.", answered))))
	fmt.Fprintf(out, "\n%s  docs/cache.md says what is kept, for how long, and for whom.\n", style.Strong("Next"))
	return nil
}

// A tally is what became of the calls of one phase.
type tally struct {
	answered, fresh, shared, hits, stale int
	attempts                             int64 // made
	arrived                              int   // of those, at the host
	waits                                []time.Duration
	errs                                 []error
}

// asked reports whether one has asked the host, for all the others.
func asked(t tally) bool { return t.fresh == 1 && t.shared+t.hits == callers-1 && t.arrived == 1 }

func (t tally) wait(percent int) time.Duration {
	slices.Sort(t.waits)
	return t.waits[(len(t.waits)-1)*percent/100].Round(time.Millisecond)
}

// askAll asks the question from all goroutines at once.
func askAll(ctx context.Context, client *http.Client, url string) tally {
	var t tally
	var mu sync.Mutex // guards t
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			start := time.Now()
			how, err := ask(ctx, client, url, i%2 == 1)
			mu.Lock()
			defer mu.Unlock()
			t.waits = append(t.waits, time.Since(start))
			switch {
			case err != nil:
				t.errs = append(t.errs, err)
				return
			case strings.Contains(how, "detail=stale-if-error"):
				t.stale++
			case strings.Contains(how, "; hit"):
				t.hits++
			case strings.Contains(how, "; collapsed"):
				t.shared++
			default:
				t.fresh++
			}
			t.answered++
		})
	}
	wg.Wait()
	return t
}

// ask asks the question and returns how it was answered, in the words of RFC 9211.
func ask(ctx context.Context, client *http.Client, url string, stream bool) (how string, err error) {
	req, err := kit.ChatRequest(ctx, url, "sk-caller", "deepseek-flash", question, stream)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	reply, err := kit.ReadAnswer(resp) // to its end: a stream may break on the way
	if err == nil && reply.Content != kit.Answer(question) {
		err = errors.New("not the answer to the question")
	}
	return resp.Header.Get("Cache-Status"), err
}
