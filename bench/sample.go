package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
)

// A sample is one short round of all that the gate compares: ratios of breakwater's costs
// to those of others, by the names that the gate's limits have.
type sample map[string]float64

// The clients that the gate compares.
var compared = []peer{peerNamed("bare"), peerNamed("hand-made chain"), peerNamed("go-retryablehttp"), peerNamed("failsafe-go"), peerNamed("breakwater")}

// withLimits is breakwater with limits that nothing here reaches. They do not count tokens.
func withLimits(base http.RoundTripper) http.RoundTripper {
	return newBreakwater(breakwater.WithBase(base), breakwater.WithRateLimit(breakwater.RatePolicy{PerSecond: perSecond, Burst: perSecond, InFlight: 1 << 20}))
}

// takeSample takes one sample and writes it as JSON.
func takeSample() error {
	s := make(sample)
	s.inMemory()
	s.ofStreams()
	if err := s.overLoopback(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}

// inMemory compares what calls take over a base in memory.
func (s sample) inMemory() {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, size := range []int{2 << 10, 32 << 10, 200 << 10} {
		body := chat(size, false)
		over := []http.RoundTripper{
			memory("application/json", answerJSON), nil, nil, nil, nil,
		}
		for i, make := range []func(http.RoundTripper) http.RoundTripper{handMade, peerNamed("failsafe-go").over, peerNamed("breakwater").over, withLimits} {
			over[i+1] = make(over[0])
		}
		for _, cores := range []int{1, 2} {
			runtime.GOMAXPROCS(cores)
			cost := make([][]float64, len(over))
			for range 5 {
				for i, rt := range over {
					cost[i] = append(cost[i], costOf(rt, body, 1000+2_000*(2<<10)/size, cores).Nanoseconds)
				}
			}
			added := func(i int) float64 { return median(cost[i]) - median(cost[0]) }
			at := fmt.Sprintf("in memory, %d KB, %d cores: CPU added, of ", size>>10, cores)
			s[at+"the hand-made chain's"] = added(3) / added(1)
			s[at+"failsafe-go's"] = added(3) / added(2)
			s[fmt.Sprintf("in memory, %d KB, %d cores: limits add, in µs", size>>10, cores)] = (added(4) - added(3)) / 1000
		}
	}
}

// ofStreams compares what an event takes with the least that anything takes that looks for
// the ends of events and at the clock: once for each read.
func (s sample) ofStreams() {
	const events = 20_000
	text := anEventTimes(events)
	floor := roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := memory("text/event-stream", text).RoundTrip(req)
		resp.Body = &scanning{ReadCloser: resp.Body}
		return resp, err
	})
	base := memory("text/event-stream", text)
	without := newBreakwater(breakwater.WithBase(base), breakwater.WithStream(breakwater.StreamPolicy{Rescue: breakwater.RescueOff}))
	over := []http.RoundTripper{base, floor, peerNamed("breakwater").over(base), without}
	cost := make([][]float64, len(over))
	for range 5 {
		for i, rt := range over {
			cost[i] = append(cost[i], costOf(rt, askStream, 2, 1).Nanoseconds)
		}
	}
	added := func(i int) float64 { return median(cost[i]) - median(cost[0]) }
	s["a stream's event, of the floor"] = added(2) / added(1)
	s["a stream's event without rescue, of the floor"] = added(3) / added(1)
}

// A scanning body gives one event at a time. It finds the event's end, and looks at the
// clock once for each read.
type scanning struct {
	io.ReadCloser
	buffer     [1 << 10]byte
	start, end int
	at         time.Time
}

func (b *scanning) Read(p []byte) (int, error) {
	for {
		if n := bytes.Index(b.buffer[b.start:b.end], []byte("\n\n")); n >= 0 {
			n = copy(p, b.buffer[b.start:b.start+n+2])
			b.start += n
			return n, nil
		}
		b.end = copy(b.buffer[:], b.buffer[b.start:b.end])
		b.start = 0
		n, err := b.ReadCloser.Read(b.buffer[b.end:])
		b.end += n
		b.at = time.Now()
		if err != nil {
			return copy(p, b.buffer[:b.end]), err
		}
	}
}

// overLoopback compares requests a second and CPU time over HTTP/1.1 and HTTP/2: with the
// server in this process, and in one of its own.
func (s sample) overLoopback() error {
	for _, apart := range []bool{false, true} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
			url, roots, stop, err := serveAnswers(proto == "HTTP/2", apart)
			if err != nil {
				return err
			}
			where := proto
			if apart {
				where += ", server apart"
			}
			s.load(where, url, roots)
			stop()
		}
	}
	return nil
}

// load compares the clients over one server.
func (s sample) load(where, url string, config *tls.Config) {
	const workers, lasts = 64, 150 * time.Millisecond
	rates, cost := make([][]float64, len(compared)), make([][]float64, len(compared))
	over := make([]http.RoundTripper, len(compared))
	body := chat(2<<10, false)
	for i, p := range compared {
		over[i] = p.over(&http.Transport{MaxIdleConnsPerHost: workers, ForceAttemptHTTP2: true, TLSClientConfig: config})
		load(over[i], url, body, workers, lasts/3) // connects
	}
	for range 3 {
		for i, rt := range over {
			before := cpuTime()
			n, _ := load(rt, url, body, workers, lasts)
			rates[i] = append(rates[i], float64(n))
			cost[i] = append(cost[i], float64(cpuTime()-before)/float64(n))
		}
	}
	for i, p := range compared[1:] {
		s[where+": requests a second, of bare: "+p.name] = median(rates[i+1]) / median(rates[0])
		s[where+": CPU added, in µs: "+p.name] = (median(cost[i+1]) - median(cost[0])) / 1000
	}
	handMade, own := s[where+": requests a second, of bare: hand-made chain"], s[where+": requests a second, of bare: breakwater"]
	s[where+": requests a second, of the hand-made chain's"] = own / handMade
	for _, rt := range over {
		if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
	}
}

// answering answers each request with the same answer.
var answering = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, answerJSON)
})

// newServer starts a server on loopback.
func newServer(h2 bool) *httptest.Server {
	server := httptest.NewUnstartedServer(answering)
	server.EnableHTTP2 = h2
	if h2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	return server
}

// serveAnswers starts a server, in a process of its own if apart. The client needs config
// to reach it.
func serveAnswers(h2, apart bool) (url string, config *tls.Config, stop func(), err error) {
	if !apart {
		server := newServer(h2)
		return server.URL, &tls.Config{RootCAs: rootsOf(server)}, func() { server.CloseClientConnections(); server.Close() }, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", nil, nil, err
	}
	cmd := exec.Command(self, "serve", fmt.Sprint(h2))
	in, err := cmd.StdinPipe() // the server ends with its input
	if err != nil {
		return "", nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, nil, err
	}
	url, err = bufio.NewReader(out).ReadString('\n')
	stop = func() { in.Close(); cmd.Wait() }
	if err != nil {
		stop()
		return "", nil, nil, err
	}
	// httptest's certificate is the same in each process, but not known to this one.
	return strings.TrimSpace(url), &tls.Config{InsecureSkipVerify: true}, stop, nil
}

// serve is the server in a process of its own. It ends when its input ends.
func serve(h2 bool) error {
	server := newServer(h2)
	defer server.Close()
	fmt.Println(server.URL)
	io.Copy(io.Discard, os.Stdin)
	server.CloseClientConnections()
	return nil
}

// names returns the names of what a sample has, sorted.
func (s sample) names() []string {
	names := make([]string, 0, len(s))
	for name := range s {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
