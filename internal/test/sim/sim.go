// Package sim simulates overload and outages between many client processes and a
// few hosts, in virtual time and without sockets. The clients run all layers of
// breakwater. The hosts follow DeepSeek's rule: an account may have a number of
// answers under way, which count to their end, and gets 429 above that
// (https://api-docs.deepseek.com/quick_start/rate_limit).
//
// Its tests run it, in a bubble of testing/synctest. They print the table of
// docs/simulation.md:
//
//	go test -run TestScenarios -v ./internal/test/sim
package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Host answers at most Cap requests at a time, each in Service, and at most so many a
// second as its Bucket allows. Its fields may be changed with Set while the clients run.
type Host struct {
	Name       string
	Cap        int // 0: unlimited
	Bucket     Bucket
	Service    time.Duration
	Network    time.Duration // that a request is under way on average; how long exactly, differs
	Down       bool          // refuses connections
	Fails      float64       // share of requests answered 500
	Throttles  float64       // share of requests answered 429, whatever their rate: others use the host, too
	Silent     bool          // says no number with its 429s
	RetryAfter bool          // says with the Bucket's 429s when to come again

	mu       sync.Mutex // guards all of it
	open     int
	Requests int     // received, refused ones included
	Used     float64 // of the bucket, by answers
}

// A Bucket is a host's limit over time, as golang.org/x/time/rate has it, or one of fixed
// windows.
type Bucket struct {
	Rate   float64       // a second; 0: unlimited
	Burst  float64       // what it holds
	Charge float64       // share of its cost that a refused request costs
	Tokens bool          // a request costs its tokens, not one
	Window time.Duration // it is filled at once at the end of each window of this length; 0: all the time

	left float64
	at   time.Time // when it was looked at; zero: it is full
}

// take takes what a request of this size costs. If there is not so much, it returns when
// there may be.
func (b *Bucket) take(size float64, now time.Time) (cost float64, wait time.Duration) {
	if b.Rate == 0 {
		return 0, 0
	}
	if cost = 1; b.Tokens {
		cost = size
	}
	switch {
	case b.at.IsZero():
		b.left, b.at = b.Burst, now
	case b.Window > 0:
		if n := now.Sub(b.at) / b.Window; n > 0 {
			b.left, b.at = b.Burst, b.at.Add(n*b.Window)
		}
	default:
		b.left, b.at = min(b.Burst, b.left+b.Rate*now.Sub(b.at).Seconds()), now
	}
	if b.left >= cost {
		b.left -= cost
		return cost, 0
	}
	b.left = max(b.left-b.Charge*cost, 0)
	if b.Window > 0 {
		return 0, b.at.Add(b.Window).Sub(now)
	}
	return 0, time.Duration((cost - b.left) / b.Rate * float64(time.Second))
}

// tokensOf returns how many tokens a body of so many bytes has.
func tokensOf(bytes int64) float64 { return float64(bytes) / 4 }

// Set changes the host.
func (h *Host) Set(change func(*Host)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

// Seen is how many requests the host has received.
func (h *Host) Seen() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.Requests
}

// answerJSON has the answer's time in nanoseconds as its id.
const answerJSON = `{"id":"%d","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":10,"total_tokens":20}}`

var errRefused = errors.New("connection refused")

// RoundTrip implements http.RoundTripper.
func (h *Host) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		req.Body.Close()
	}
	if h.Network > 0 {
		time.Sleep(time.Duration(rand.ExpFloat64() * float64(h.Network)))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Down {
		return nil, errRefused // nobody is there to count it
	}
	h.Requests++
	cost, wait := h.Bucket.take(tokensOf(req.ContentLength), time.Now())
	full := h.Cap > 0 && h.open >= h.Cap || h.Throttles > 0 && rand.Float64() < h.Throttles
	switch {
	case wait > 0, full && h.Silent:
		resp := respond(req, 429, `{"error":{"message":"Too many requests","type":"rate_limit_error","param":null,"code":"rate_limit_error"}}`)
		if wait > 0 && h.RetryAfter {
			resp.Header.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		}
		return resp, nil
	case full:
		return respond(req, 429, fmt.Sprintf(`{"error":{"message":"Your current concurrency is %d, which exceeds your concurrency limit of %d","type":"rate_limit_error","param":null,"code":"rate_limit_error"}}`, h.open+1, h.Cap)), nil
	case rand.Float64() < h.Fails:
		return respond(req, 500, `{"error":{"message":"no","type":"server_error","param":null,"code":"server_error"}}`), nil
	}
	h.open++
	h.Used += cost
	took := time.Duration((0.5 + rand.Float64()) * float64(h.Service))
	resp := respond(req, 200, "")
	resp.ContentLength = -1
	resp.Body = &answer{ctx: req.Context(), host: h, due: time.Now().Add(took), text: strings.NewReader(fmt.Sprintf(answerJSON, took))}
	return resp, nil
}

func respond(req *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
}

// An answer comes when it is due; until then it takes its place at the host.
type answer struct {
	ctx  context.Context
	host *Host
	due  time.Time
	text *strings.Reader
	once sync.Once
}

func (a *answer) Read(p []byte) (int, error) {
	timer := time.NewTimer(time.Until(a.due))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.ctx.Done():
		a.leave()
		return 0, a.ctx.Err()
	}
	n, err := a.text.Read(p)
	if err != nil {
		a.leave()
	}
	return n, err
}

func (a *answer) Close() error { a.leave(); return nil }

func (a *answer) leave() {
	a.once.Do(func() {
		a.host.mu.Lock()
		a.host.open--
		a.host.mu.Unlock()
	})
}

// Hosts is a base that finds a host by the name in the URL.
type Hosts map[string]*Host

// RoundTrip implements http.RoundTripper.
func (h Hosts) RoundTrip(req *http.Request) (*http.Response, error) {
	return h[req.URL.Host].RoundTrip(req)
}

// Like returns another host that is like h, and has received nothing.
func (h *Host) Like(name string) *Host {
	return &Host{
		Name: name, Cap: h.Cap, Bucket: h.Bucket, Service: h.Service, Network: h.Network, Down: h.Down, Fails: h.Fails,
		Throttles: h.Throttles, Silent: h.Silent, RetryAfter: h.RetryAfter,
	}
}

// Equal returns hosts of these names that are all like h.
func Equal(h *Host, names ...string) Hosts {
	hosts := make(Hosts)
	for _, name := range names {
		hosts[name] = h.Like(name)
	}
	return hosts
}

// Load is what the clients ask: Processes of them, together so many calls a
// second, each given up after Patience.
type Load struct {
	Processes int
	PerSecond float64
	Patience  time.Duration
	Sizes     []int // of the prompts, in bytes; each is as common as the others. None: short ones
}

// A Tally is what became of the calls of one second, or of one process.
type Tally struct{ Calls, Good int }

// A Result is what became of all calls.
type Result struct {
	Seconds   []Tally // by when the call began
	Answered  []int   // by when it was answered
	Processes []Tally
	Sizes     []Tally         // by the Load's sizes
	Waits     []time.Duration // of the calls that were answered: their time without the answer's own
	Refused   []time.Duration // how long the other calls took
}

// Run lets the load on for as long as it lasts, each process with a client of
// its own, and waits for its last calls. at is told each second that passes.
func Run(load Load, lasts time.Duration, client func() http.RoundTripper, at func(second int)) Result {
	seconds := int(lasts / time.Second)
	r := Result{Seconds: make([]Tally, seconds), Answered: make([]int, seconds+int(load.Patience/time.Second)+2), Processes: make([]Tally, load.Processes), Sizes: make([]Tally, max(len(load.Sizes), 1))}
	clients := make([]http.RoundTripper, load.Processes)
	for i := range clients {
		clients[i] = client()
	}
	var mu sync.Mutex
	var calls sync.WaitGroup
	start := time.Now()
	next := start
	for second := 0; second < seconds; {
		next = next.Add(time.Duration(rand.ExpFloat64() / load.PerSecond * float64(time.Second)))
		for second < seconds && next.Sub(start) >= time.Duration(second)*time.Second {
			time.Sleep(time.Until(start.Add(time.Duration(second) * time.Second)))
			at(second)
			second++
		}
		time.Sleep(time.Until(next))
		began, process := int(next.Sub(start)/time.Second), rand.IntN(load.Processes)
		if began >= seconds {
			break
		}
		size, prompt := 0, 0
		if len(load.Sizes) > 0 {
			size = rand.IntN(len(load.Sizes))
			prompt = load.Sizes[size]
		}
		calls.Go(func() {
			asked := time.Now()
			took, good := ask(clients[process], load.Patience, prompt)
			waited := time.Since(asked)
			mu.Lock()
			defer mu.Unlock()
			r.Seconds[began].Calls++
			r.Processes[process].Calls++
			r.Sizes[size].Calls++
			if !good {
				r.Refused = append(r.Refused, waited)
			} else {
				r.Waits = append(r.Waits, waited-took)
				r.Sizes[size].Good++
				r.Seconds[began].Good++
				r.Processes[process].Good++
				r.Answered[int(time.Since(start)/time.Second)]++
			}
		})
	}
	calls.Wait()
	return r
}

// ask makes one call. It reports whether it was answered, and how long the answer took.
func ask(client http.RoundTripper, patience time.Duration, size int) (took time.Duration, good bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	body := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("word", size/4) + `"}]}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://one/chat/completions", strings.NewReader(body))
	if err != nil {
		return 0, false
	}
	resp, err := client.RoundTrip(req)
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return 0, false
	}
	var answer struct{ ID string }
	if json.Unmarshal(text, &answer) != nil {
		return 0, false
	}
	ns, _ := strconv.ParseInt(answer.ID, 10, 64) // other hosts do not say it
	return time.Duration(ns), true
}

// Good is the share of the calls begun from second from to second to that were answered.
func (r Result) Good(from, to int) float64 {
	var sum Tally
	for _, t := range r.Seconds[from:to] {
		sum.Calls += t.Calls
		sum.Good += t.Good
	}
	return float64(sum.Good) / float64(sum.Calls)
}

// Rate is how many calls a second were answered from second from to second to.
func (r Result) Rate(from, to int) float64 {
	n := 0
	for _, answered := range r.Answered[from:to] {
		n += answered
	}
	return float64(n) / float64(to-from)
}

// Fairness is Jain's index of the processes' shares of good answers: 1 is even.
func (r Result) Fairness() float64 { return jain(r.Processes) }

// FairnessOfSizes is the same for the calls' sizes.
func (r Result) FairnessOfSizes() float64 { return jain(r.Sizes) }

func jain(tallies []Tally) float64 {
	var sum, squares float64
	n := 0
	for _, t := range tallies {
		if t.Calls > 0 {
			x := float64(t.Good) / float64(t.Calls)
			sum, squares, n = sum+x, squares+x*x, n+1
		}
	}
	return sum * sum / (float64(n) * squares)
}

// Calls is the number of all calls.
func (r Result) Calls() (n int) {
	for _, t := range r.Seconds {
		n += t.Calls
	}
	return n
}

// P99 is the 99th percentile; 0: there is none.
func P99(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[int(0.99*float64(len(sorted)-1))]
}

// Naive tries up to three times, with exponential backoff, whatever happened:
// what most clients do.
func Naive(base http.RoundTripper, tries int) http.RoundTripper { return naive{base, tries} }

type naive struct {
	base  http.RoundTripper
	tries int
}

func (n naive) RoundTrip(req *http.Request) (*http.Response, error) {
	wait := 500 * time.Millisecond
	for try := 1; ; try++ {
		resp, err := n.base.RoundTrip(req)
		if try == n.tries || err == nil && resp.StatusCode < 429 {
			return resp, err
		}
		timer := time.NewTimer(time.Duration((0.5 + rand.Float64()) * float64(wait)))
		select {
		case <-timer.C:
		case <-req.Context().Done():
			timer.Stop()
			return nil, req.Context().Err()
		}
		wait *= 2
	}
}
