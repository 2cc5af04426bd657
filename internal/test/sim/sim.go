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
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A Host answers at most Cap requests at a time, each in Service. Its fields
// may be changed with Set while the clients run.
type Host struct {
	Name    string
	Cap     int
	Service time.Duration
	Down    bool    // refuses connections
	Fails   float64 // share of requests answered 500
	Silent  bool    // says no number with its 429s

	mu       sync.Mutex // guards all of it
	open     int
	Requests int // received, refused ones included
}

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

const answerJSON = `{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":10,"total_tokens":20}}`

var errRefused = errors.New("connection refused")

// RoundTrip implements http.RoundTripper.
func (h *Host) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		req.Body.Close()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Down {
		return nil, errRefused // nobody is there to count it
	}
	h.Requests++
	switch {
	case h.open >= h.Cap && h.Silent:
		return respond(req, 429, `{"error":{"message":"Too many requests","type":"rate_limit_error","param":null,"code":"rate_limit_error"}}`), nil
	case h.open >= h.Cap:
		return respond(req, 429, fmt.Sprintf(`{"error":{"message":"Your current concurrency is %d, which exceeds your concurrency limit of %d","type":"rate_limit_error","param":null,"code":"rate_limit_error"}}`, h.open+1, h.Cap)), nil
	case rand.Float64() < h.Fails:
		return respond(req, 500, `{"error":{"message":"no","type":"server_error","param":null,"code":"server_error"}}`), nil
	}
	h.open++
	took := time.Duration((0.5 + rand.Float64()) * float64(h.Service))
	resp := respond(req, 200, "")
	resp.ContentLength = -1
	resp.Body = &answer{ctx: req.Context(), host: h, due: time.Now().Add(took), text: strings.NewReader(answerJSON)}
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

// Load is what the clients ask: Processes of them, together so many calls a
// second, each given up after Patience.
type Load struct {
	Processes int
	PerSecond float64
	Patience  time.Duration
}

// A Tally is what became of the calls of one second, or of one process.
type Tally struct{ Calls, Good int }

// A Result is what became of all calls.
type Result struct {
	Seconds   []Tally // by when the call began
	Answered  []int   // by when it was answered
	Processes []Tally
}

// Run lets the load on for as long as it lasts, each process with a client of
// its own, and waits for its last calls. at is told each second that passes.
func Run(load Load, lasts time.Duration, client func() http.RoundTripper, at func(second int)) Result {
	seconds := int(lasts / time.Second)
	r := Result{Seconds: make([]Tally, seconds), Answered: make([]int, seconds+int(load.Patience/time.Second)+2), Processes: make([]Tally, load.Processes)}
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
		calls.Go(func() {
			good := ask(clients[process], load.Patience)
			mu.Lock()
			defer mu.Unlock()
			r.Seconds[began].Calls++
			r.Processes[process].Calls++
			if good {
				r.Seconds[began].Good++
				r.Processes[process].Good++
				r.Answered[int(time.Since(start)/time.Second)]++
			}
		})
	}
	calls.Wait()
	return r
}

// ask makes one call and reports whether it was answered.
func ask(client http.RoundTripper, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://one/chat/completions", strings.NewReader(`{"model":"m","messages":[]}`))
	if err != nil {
		return false
	}
	resp, err := client.RoundTrip(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK
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
func (r Result) Fairness() float64 {
	var sum, squares float64
	n := 0
	for _, t := range r.Processes {
		if t.Calls > 0 {
			x := float64(t.Good) / float64(t.Calls)
			sum, squares, n = sum+x, squares+x*x, n+1
		}
	}
	return sum * sum / (float64(n) * squares)
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
