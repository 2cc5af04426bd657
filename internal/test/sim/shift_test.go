package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/shift"
)

// A streamer is a host that streams. Its first token comes after about half a second, and its
// last one two seconds later.
type streamer struct {
	slots chan struct{} // answers that are under way; nil: there is no limit

	mu       sync.Mutex // guards what follows
	slow     float64    // the share of the requests whose first token comes after 20 s
	fails    float64    // the share that is answered 503
	down     bool       // refuses connections
	turns    bool       // 429 for what exceeds the slots; else it waits for one
	requests int
}

func (s *streamer) set(change func(*streamer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *streamer) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		req.Body.Close()
	}
	time.Sleep(5 * time.Millisecond)
	s.mu.Lock()
	s.requests++
	down, fails, slow, slots, turns := s.down, rand.Float64() < s.fails, rand.Float64() < s.slow, s.slots, s.turns
	s.mu.Unlock()
	switch {
	case down:
		return nil, errRefused
	case fails:
		return unwell(503, "")(req)
	}
	if slots != nil && turns {
		select {
		case slots <- struct{}{}:
		default:
			return unwell(429, "")(req)
		}
	}
	pace := 0.5 + rand.Float64()
	first := time.Duration(pace * float64(500*time.Millisecond))
	if slow {
		first = 20 * time.Second
	}
	reader, writer := io.Pipe()
	go func() {
		ctx := req.Context()
		if slots != nil {
			if !turns {
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					writer.CloseWithError(ctx.Err())
					return
				}
			}
			defer func() { <-slots }()
		}
		for _, part := range []struct {
			after time.Duration
			text  string
		}{
			{first, `data: {"choices":[{"index":0,"delta":{"content":"yes"}}]}` + "\n\n"},
			{time.Duration(pace * float64(2*time.Second)), `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"},
		} {
			timer := time.NewTimer(part.after)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				writer.CloseWithError(ctx.Err())
				return
			}
			if _, err := io.WriteString(writer, part.text); err != nil {
				return
			}
		}
		writer.Close()
	}()
	resp := respond(req, 200, "")
	resp.Header.Set("Content-Type", "text/event-stream")
	resp.Body, resp.ContentLength = reader, -1
	return resp, nil
}

// A sickness of the first tier, from one time to another.
type sickness struct {
	name    string
	begin   func(one, two *streamer)
	second  func(one *streamer, n int) // nil: nothing changes meanwhile
	end     func(one, two *streamer)
	several bool // there are two endpoints in the first tier, and one is sick

	most  float64 // of the late calls without Shift, so many are late with it
	share float64 // the backup's share of the calls is at most this
}

var well = func(one, two *streamer) {
	for _, s := range []*streamer{one, two} {
		s.set(func(s *streamer) { s.slow, s.fails, s.down = 0, 0, false })
	}
}

func sicknesses() []sickness {
	slow := func(share float64) func(one, _ *streamer) {
		return func(one, _ *streamer) { one.set(func(s *streamer) { s.slow = share }) }
	}
	fails := func(share float64) func(one, _ *streamer) {
		return func(one, _ *streamer) { one.set(func(s *streamer) { s.fails = share }) }
	}
	chokes := func(turns bool) func(one, _ *streamer) { // it takes half of the load
		return func(one, _ *streamer) {
			one.set(func(s *streamer) { s.slots, s.turns = make(chan struct{}, 25), turns })
		}
	}
	free := func(one, _ *streamer) { one.set(func(s *streamer) { s.slots = nil }) }
	flaps := func(period int, ill func(*streamer, bool)) func(*streamer, int) {
		return func(one *streamer, n int) {
			one.set(func(s *streamer) { ill(s, n/period%2 == 0) })
		}
	}
	down := func(s *streamer, ill bool) { s.down = ill }
	silent := func(s *streamer, ill bool) {
		if s.slow = 0; ill {
			s.slow = 1
		}
	}
	nothing := func(_, _ *streamer) {}
	return []sickness{
		{name: "well", begin: nothing, end: nothing, most: 1, share: 0.001},
		{name: "a little slow: 5 % have no token for 20 s", begin: slow(0.05), end: well, most: 1, share: 0.3},
		{name: "slow: 30 % have no token for 20 s", begin: slow(0.3), end: well, most: 0.3, share: 0.95},
		{name: "refusing: a third gets 503", begin: fails(1.0 / 3), end: well, most: 1, share: 0.96},
		{name: "choking: a queue before half of the load", begin: chokes(false), end: free, most: 0.95, share: 0.7},
		{name: "choking: 429 for half of the load", begin: chokes(true), end: free, most: 0.7, share: 0.7},
		{name: "flapping: 20 s down, 20 s up", begin: nothing, second: flaps(20, down), end: well, most: 1, share: 1},
		{name: "flapping: 20 s silent, 20 s up", begin: nothing, second: flaps(20, silent), end: well, most: 0.7, share: 1},
		{name: "flapping: 3 s silent, 7 s up", begin: nothing, second: func(one *streamer, n int) { one.set(func(s *streamer) { silent(s, n%10 < 3) }) }, end: well, most: 0.8, share: 0.95},
		{name: "both: 30 % slow, and 30 % of the backup get 503", begin: func(one, two *streamer) {
			one.set(func(s *streamer) { s.slow = 0.3 })
			two.set(func(s *streamer) { s.fails = 0.3 })
		}, end: well, most: 1.1, share: 0.35},
		{name: "one of two in the tier: 30 % slow", begin: slow(0.3), end: well, several: true, most: 1, share: 0.01},
	}
}

// What a sickness came to.
type course struct {
	answered float64 // the share of the calls
	late     float64 // the share of them whose answer began after more than two seconds
	attempts float64 // of one call
	backup   float64 // the share of the answers that are the backup's
	p50, p99 time.Duration
	back     int // seconds until the first tier had nine tenths of the calls again; -1: it had not
}

func (s sickness) play(t *testing.T, processes int, perSecond float64, most float64) (c course) {
	synctest.Test(t, func(t *testing.T) {
		const from, to, end = 60, 360, 540
		hosts := map[string]*streamer{"one": {}, "two": {}, "beside": {}}
		base := breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) { return hosts[req.URL.Host].RoundTrip(req) })
		endpoint := func(name string) breakwater.Endpoint {
			return breakwater.Endpoint{Name: name, URL: "https://" + name, APIKey: "sk-" + name, Host: breakwater.HostDeepSeek}
		}
		clients := make([]http.RoundTripper, processes)
		for i := range clients {
			opts := []breakwater.Option{
				breakwater.WithBase(base), breakwater.WithEndpoints(endpoint("one")), breakwater.WithBackup(endpoint("two")),
				breakwater.WithStream(breakwater.StreamPolicy{FirstToken: 5 * time.Second, Thinking: 5 * time.Second}),
				breakwater.WithBalance(breakwater.BalancePolicy{Shift: most}),
			}
			if s.several {
				opts = append(opts, breakwater.WithEndpoints(endpoint("beside")))
			}
			rt, err := breakwater.New(opts...)
			if err != nil {
				t.Fatal(err)
			}
			clients[i] = rt
		}
		type second struct{ calls, answered, attempts, backup int }
		seconds, waits := make([]second, end), make([][]time.Duration, end)
		var mu sync.Mutex
		var calls sync.WaitGroup
		start := time.Now()
		for next, at := start, -1; ; {
			next = next.Add(time.Duration(rand.ExpFloat64() / perSecond * float64(time.Second)))
			time.Sleep(time.Until(next))
			for now := int(next.Sub(start) / time.Second); at < now; {
				switch at++; {
				case at == from:
					s.begin(hosts["one"], hosts["two"])
				case at == to:
					s.end(hosts["one"], hosts["two"])
				}
				if s.second != nil && at >= from && at < to {
					s.second(hosts["one"], at-from)
				}
			}
			if at >= end {
				break
			}
			client := clients[rand.IntN(processes)]
			calls.Go(func() {
				began := time.Now()
				var trail breakwater.Trail
				took, by, err := stream(client, &trail)
				mu.Lock()
				defer mu.Unlock()
				sec := &seconds[int(began.Sub(start)/time.Second)]
				sec.calls++
				for _, a := range trail.Attempts() {
					sec.attempts += min(a.N, 1)
				}
				if err != nil {
					return
				}
				sec.answered++
				if by == "two" {
					sec.backup++
				}
				waits[int(began.Sub(start)/time.Second)] = append(waits[int(began.Sub(start)/time.Second)], took)
			})
		}
		calls.Wait()
		sum := func(from, to int) (n second) {
			for _, s := range seconds[from:to] {
				n.calls, n.answered, n.attempts, n.backup = n.calls+s.calls, n.answered+s.answered, n.attempts+s.attempts, n.backup+s.backup
			}
			return n
		}
		quantile := func(from, to int, q float64) time.Duration {
			all := slices.Sorted(slices.Values(slices.Concat(waits[from:to]...)))
			if len(all) == 0 {
				return 0
			}
			return all[int(q*float64(len(all)-1))]
		}
		share := func(part, of int) float64 { return float64(part) / float64(max(of, 1)) }
		n := sum(from, to)
		c = course{
			answered: share(n.answered, n.calls), attempts: share(n.attempts, n.calls), backup: share(n.backup, n.answered),
			p50: quantile(from, to, 0.5), p99: quantile(from, to, 0.99), back: -1,
		}
		late := 0
		for _, w := range slices.Concat(waits[from:to]...) {
			if w > 2*time.Second {
				late++
			}
		}
		c.late = share(late, n.answered)
		for at := to; at+10 <= end; at++ {
			if n := sum(at, at+10); share(n.backup, n.answered) < 0.1 {
				c.back = at - to
				break
			}
		}
	})
	return c
}

// stream makes one call and reads its answer. It returns when the answer began and the
// endpoint that it is of.
func stream(client http.RoundTripper, trail *breakwater.Trail) (took time.Duration, by string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx = breakwater.WithCall(ctx, breakwater.Call{Trail: trail})
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://one/chat/completions", strings.NewReader(`{"model":"m","stream":true,"messages":[]}`))
	if err != nil {
		return 0, "", err
	}
	resp, err := client.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	took = time.Since(began)
	if resp.StatusCode != http.StatusOK {
		return 0, "", errors.New(resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return took, resp.Header.Get("Breakwater-Endpoint"), err
}

func (c course) String() string {
	back := "never"
	if c.back >= 0 {
		back = fmt.Sprintf("%d s", c.back)
	}
	return fmt.Sprintf(" %.3f | %.2f s | %.2f s | %.2f | %.2f | %.2f | %s |", c.answered, c.p50.Seconds(), c.p99.Seconds(), c.late, c.attempts, c.backup, back)
}

// What Shift comes to, beside none. It prints the table of docs/simulation.md:
//
//	go test -run TestShift$ -v ./internal/test/sim
func TestShift(t *testing.T) {
	for _, s := range sicknesses() {
		for _, processes := range []int{1, 10} {
			if !testing.Verbose() && processes > 1 {
				continue
			}
			off, on := s.play(t, processes, 20, 0), s.play(t, processes, 20, 0.9)
			for _, c := range []course{off, on} {
				if c.answered < 0.999 {
					t.Errorf("%s, %d processes: %.4f of the calls were answered, want all", s.name, processes, c.answered)
				}
			}
			misses := func(c course) bool { return c.late > s.most*off.late+0.01 || c.backup > s.share }
			if misses(on) { // chance may decide a play: then the middle of three counts
				three := []course{on, s.play(t, processes, 20, 0.9), s.play(t, processes, 20, 0.9)}
				slices.SortFunc(three, func(a, b course) int { return cmp.Compare(a.late, b.late) })
				on = three[1]
			}
			if misses(on) {
				t.Errorf("%s, %d processes: %.3f are late instead of %.3f, with %.2f at the backup; want at most %v of them, and %v", s.name, processes, on.late, off.late, on.backup, s.most, s.share)
			}
			t.Logf("| %s | %d |%v%v", s.name, processes, off, on)
		}
	}
}

// What other constants of shares come to. It prints the table of docs/decisions/shares.md, and
// holds the page to what it says of it:
//
//	go test -run TestShiftSteps -v ./internal/test/sim
func TestShiftSteps(t *testing.T) {
	chosen := shift.Chosen
	defer func() { shift.Chosen = chosen }()
	all := sicknesses()
	const little, slow, choking, flapping = 1, 2, 4, 8 // of them
	play := func(change func(*shift.Steps), at, processes int) course {
		shift.Chosen = chosen
		change(&shift.Chosen)
		return all[at].play(t, processes, 20, 0.9)
	}
	late := func(c course) float64 { return c.late }
	backup := func(c course) float64 { return c.backup }
	loses := func(c course) float64 { return 1 - c.backup }
	back := func(c course) float64 {
		if c.back < 0 {
			return 180
		}
		return float64(c.back)
	}
	for _, tt := range []struct {
		name          string
		change        func(*shift.Steps)
		claim         string // what is worse with it; empty: nothing that the simulation shows
		at, processes int
		measure       func(course) float64
		more          float64 // by so much at least
	}{
		{"Memory 0.1", func(s *shift.Steps) { s.Memory = 0.1 }, "takes a fifth of the calls from an endpoint of which 5 % are slow", little, 1, backup, 0.02},
		{"Memory 0.025", func(s *shift.Steps) { s.Memory = 0.025 }, "reacts later", choking, 10, late, 0.02},
		{"Seldom 0.05", func(s *shift.Steps) { s.Seldom = 0.05 }, "returns later where calls are few", slow, 10, back, 30},
		{"Seldom 0.3", func(s *shift.Steps) { s.Seldom = 0.3 }, "", 0, 0, nil, 0},
		{"High 0.1, Low 0.05", func(s *shift.Steps) { s.High, s.Low = 0.1, 0.05 }, "takes calls from an endpoint of which 5 % are slow", little, 1, backup, 0.2},
		{"High 0.3, Low 0.15", func(s *shift.Steps) { s.High, s.Low = 0.3, 0.15 }, "leaves flapping hosts their calls", flapping, 10, loses, 0.01},
		{"Down 0.25", func(s *shift.Steps) { s.Down = 0.25 }, "takes more from a choked host than it must", choking, 10, backup, 0.015},
		{"Down 0.75", func(s *shift.Steps) { s.Down = 0.75 }, "spares a choked host less", choking, 10, late, 0.05},
		{"Up 0.05", func(s *shift.Steps) { s.Up = 0.05 }, "returns later", slow, 1, back, 15},
		{"Up 0.25", func(s *shift.Steps) { s.Up = 0.25 }, "", 0, 0, nil, 0},
		{"Dwell 2 s", func(s *shift.Steps) { s.Dwell = 2 * time.Second }, "", 0, 0, nil, 0},
		{"Dwell 10 s", func(s *shift.Steps) { s.Dwell = 10 * time.Second }, "returns later", slow, 1, back, 15},
		{"Dwell 20 s", func(s *shift.Steps) { s.Dwell = 20 * time.Second }, "returns later", slow, 1, back, 60},
	} {
		if tt.claim != "" {
			settles(t, fmt.Sprintf("%s %s (%s, %d processes)", tt.name, tt.claim, all[tt.at].name, tt.processes), func() ([]string, bool) {
				ours, theirs := play(func(*shift.Steps) {}, tt.at, tt.processes), play(tt.change, tt.at, tt.processes)
				return []string{fmt.Sprintf("as chosen |%v", ours), fmt.Sprintf("%s |%v", tt.name, theirs)}, tt.measure(theirs) >= tt.measure(ours)+tt.more
			})
		}
		if !testing.Verbose() {
			continue
		}
		for _, at := range []int{little, slow, choking, flapping} {
			for _, processes := range []int{1, 10} {
				t.Logf("| %s | %s | %d |%v", tt.name, all[at].name, processes, play(tt.change, at, processes))
			}
		}
	}
}
