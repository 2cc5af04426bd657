package sim

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

var onSockets = flag.Duration("sockets", 0, "how long TestRates_OnSockets plays each scenario in real time; 0: it is skipped")

// The same hosts and clients as in TestRates, in real time and over connections on loopback,
// beside the simulation of as many seconds. It prints both and asks for nothing, because the
// figures depend on the machine: where they differ by more than chance, the simulation is
// wrong. The processes are Transports of one program, each with connections of its own.
func TestRates_OnSockets(t *testing.T) {
	if *onSockets == 0 {
		t.Skip("takes minutes: -sockets=60s")
	}
	seconds := int(*onSockets / time.Second)
	names := []string{"three hosts, told", "three hosts, a refusal costs 5 %", "one host, told", "one host", "it says Retry-After",
		"small, says Retry-After", "a refusal costs a token", "open, three hosts", "a quarter refused by chance"}
	for _, sc := range rateScenarios() {
		if !slices.Contains(names, sc.name) {
			continue
		}
		processes := []int{1, 10, 100}
		real := make([]rateFigure, len(processes))
		t.Run(sc.name, func(t *testing.T) {
			for i, n := range processes { // side by side: more of them would keep two cores busy
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					t.Parallel()
					hosts := Equal(sc.host, sc.hosts...)
					base, done := serve(hosts)
					defer done()
					real[i] = sc.playWith(t, n, seconds, hosts, base)
				})
			}
		})
		for i, n := range processes {
			t.Logf("| %s | %d | %v | %v |", sc.name, n, real[i], sc.play(t, n, seconds))
		}
	}
}

// serve lets each of the hosts listen on loopback. It returns a function that returns a new
// base for them, with connections of its own, and one that ends all of that.
func serve(hosts Hosts) (base func() http.RoundTripper, done func()) {
	addresses := make(map[string]string)
	var ends []func()
	for name, host := range hosts {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			io.Copy(io.Discard, req.Body)
			resp, err := host.RoundTrip(req)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			defer resp.Body.Close()
			maps.Copy(w.Header(), resp.Header)
			w.WriteHeader(resp.StatusCode)
			http.NewResponseController(w).Flush()
			io.Copy(w, resp.Body)
		}))
		ends = append(ends, server.Close)
		addresses[name] = strings.TrimPrefix(server.URL, "http://")
	}
	base = func() http.RoundTripper {
		own := &http.Transport{MaxIdleConnsPerHost: 100}
		ends = append(ends, own.CloseIdleConnections)
		return toLoopback{own, addresses}
	}
	return base, func() {
		for _, end := range slices.Backward(ends) {
			end()
		}
	}
}

// A toLoopback sends requests to the servers of hosts.
type toLoopback struct {
	base      *http.Transport
	addresses map[string]string
}

func (l toLoopback) RoundTrip(req *http.Request) (*http.Response, error) {
	address, ok := l.addresses[req.URL.Host]
	if !ok {
		return nil, fmt.Errorf("no host %s", req.URL.Host)
	}
	sent := req.Clone(req.Context())
	sent.URL.Scheme, sent.URL.Host = "http", address
	return l.base.RoundTrip(sent)
}
