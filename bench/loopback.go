package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"
)

// loopback is what 64 workers get from a server on loopback.
func loopback() any {
	const workers, lasts = 64, time.Second
	fmt.Printf("%d workers, requests of 2 KB, a server in the same process: requests a second, beside the bare transport's, and how long one takes.\n\n", workers)
	fmt.Println("| protocol | client | requests/s | of bare | p50 | p99 |")
	fmt.Println("|---|---|---:|---:|---:|---:|")
	body := chat(2<<10, false)
	for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
		server := newServer(proto == "HTTP/2")
		rates, waits := make([][]float64, len(peers)), make([][]time.Duration, len(peers))
		over := make([]http.RoundTripper, len(peers))
		for i, p := range peers {
			over[i] = p.over(&http.Transport{
				MaxIdleConnsPerHost: workers, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: rootsOf(server)},
			})
		}
		for range rounds {
			for i := range peers {
				n, took := load(over[i], server.URL, body, workers, lasts)
				rates[i] = append(rates[i], float64(n)/lasts.Seconds())
				waits[i] = append(waits[i], took...)
			}
		}
		bare := median(rates[0])
		for i, p := range peers {
			slices.Sort(waits[i])
			at := func(q float64) time.Duration {
				return waits[i][int(q*float64(len(waits[i])-1))].Round(10 * time.Microsecond)
			}
			rate := median(rates[i])
			fmt.Printf("| %s | %s | %.0f | %.2f | %v | %v |\n", proto, p.name, rate, rate/bare, at(0.5), at(0.99))
		}
		for _, rt := range over {
			if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
				c.CloseIdleConnections()
			}
		}
		server.CloseClientConnections()
		server.Close()
	}
	return nil
}

// load has the workers make calls for as long as it lasts.
func load(rt http.RoundTripper, url string, body []byte, workers int, lasts time.Duration) (n int, took []time.Duration) {
	var mu sync.Mutex
	var all sync.WaitGroup
	end := time.Now().Add(lasts)
	for range workers {
		all.Go(func() {
			var mine []time.Duration
			for time.Now().Before(end) {
				start := time.Now()
				if err := call(rt, url, body); err != nil {
					panic(err)
				}
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			n += len(mine)
			took = append(took, mine...)
		})
	}
	all.Wait()
	return n, took
}

// rootsOf trusts a test server's certificate; a plain one has none.
func rootsOf(server *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	if cert := server.Certificate(); cert != nil {
		pool.AddCert(cert)
	}
	return pool
}
