package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
)

// scale shows how costs grow: with callers, endpoints, models, kept answers and open
// streams.
func scale() any {
	scaleCallers()
	scaleEndpoints()
	scaleModels()
	scaleCache()
	scaleStreams()
	return nil
}

// scaleCallers is calls over a base in memory from many goroutines. More GOMAXPROCS than
// cores show what locks cost whose holder is not running.
func scaleCallers() {
	fmt.Print("Callers at once: CPU time of a call in µs, over a base in memory, requests of 2 KB.\n\n| callers | GOMAXPROCS 1 | GOMAXPROCS 2 | GOMAXPROCS 8 |\n|---:|---:|---:|---:|\n")
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	rt, body := newBreakwater(breakwater.WithBase(memory("application/json", answerJSON))), chat(2<<10, false)
	for _, callers := range []int{1, 2, 4, 16, 64, 256} {
		fmt.Printf("| %d |", callers)
		for _, procs := range []int{1, 2, 8} {
			runtime.GOMAXPROCS(procs)
			fmt.Printf(" %.1f |", middle(func() float64 { return costOf(rt, body, 256*80, callers).Nanoseconds })/1000)
		}
		fmt.Println()
	}
	fmt.Println()
}

// garbageTime is the CPU time in seconds that the collector has taken, without what it took
// of idle cores.
func garbageTime() float64 {
	samples := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/idle:cpu-seconds"}}
	metrics.Read(samples)
	return samples[0].Value.Float64() - samples[1].Value.Float64()
}

// middle returns the median of what measure returns.
func middle(measure func() float64) float64 {
	var values []float64
	for range rounds {
		values = append(values, measure())
	}
	return median(values)
}

func scaleEndpoints() {
	fmt.Print("Endpoints in one tier: a call over a base in memory, requests of 2 KB.\n\n| endpoints | CPU time, µs | bytes | allocations |\n|---:|---:|---:|---:|\n")
	for _, n := range []int{1, 3, 10, 100} {
		endpoints := []breakwater.Endpoint{{Name: "0", URL: "https://api.deepseek.com", APIKey: "sk"}}
		for i := 1; i < n; i++ {
			endpoints = append(endpoints, breakwater.Endpoint{Name: fmt.Sprint(i), URL: fmt.Sprintf("https://host-%d.test", i), APIKey: "sk"})
		}
		rt := newBreakwater(breakwater.WithBase(memory("application/json", answerJSON)), breakwater.WithEndpoints(endpoints...))
		c := costOf(rt, chat(2<<10, false), 5000, 1)
		fmt.Printf("| %d | %.1f | %.0f | %.0f |\n", n, middle(func() float64 { return costOf(rt, chat(2<<10, false), 5000, 1).Nanoseconds })/1000, c.Bytes, c.Allocs)
	}
	fmt.Println()
}

// scaleModels asks for many models in turn. An endpoint keeps the circuits of 256.
func scaleModels() {
	fmt.Print("Models in turn: a call over a base in memory, requests of 2 KB.\n\n| models | CPU time, µs | memory in use, KB |\n|---:|---:|---:|\n")
	for _, n := range []int{1, 100, 10_000} {
		before := inUse()
		rt := newBreakwater(breakwater.WithBase(memory("application/json", answerJSON)))
		text := string(chat(2<<10, false))
		next := 0
		ask := func() float64 {
			start := cpuTime()
			const calls = 20_000
			for range calls {
				body := []byte(strings.Replace(text, "deepseek-flash", fmt.Sprintf("model-%08d", next%n), 1))
				next++
				if err := call(rt, "https://api.deepseek.com", body); err != nil {
					panic(err)
				}
			}
			return float64(cpuTime()-start) / calls
		}
		took := middle(ask)
		fmt.Printf("| %d | %.1f | %d |\n", n, took/1000, (inUse()-before)>>10)
		runtime.KeepAlive(rt)
	}
	fmt.Println()
}

func scaleCache() {
	fmt.Print("Kept answers: a hit, requests of 2 KB.\n\n| answers | hit, CPU time, µs | memory in use each, bytes | share of CPU time for garbage while filling |\n|---:|---:|---:|---:|\n")
	for _, n := range []int{1000, 100_000, 1_000_000} {
		before := inUse()
		rt := newBreakwater(breakwater.WithBase(memory("application/json", answerJSON)),
			breakwater.WithCache(breakwater.CachePolicy{TTL: time.Hour, MaxEntries: breakwater.Off, MaxBytes: breakwater.Off}))
		question := func(i int) []byte {
			return fmt.Appendf(nil, `{"model":"deepseek-flash","messages":[{"role":"user","content":"%s %d"}]}`, strings.Repeat("what is a breakwater? ", 90), i)
		}
		ask := func(i int) {
			if err := call(rt, "https://api.deepseek.com", question(i)); err != nil {
				panic(err)
			}
		}
		start, gc := cpuTime(), garbageTime()
		for i := range n {
			ask(i)
		}
		share := (garbageTime() - gc) / (cpuTime() - start).Seconds()
		held := float64(inUse()-before) / float64(n)
		at := 0
		took := middle(func() float64 {
			const calls = 5000
			start := cpuTime()
			for range calls {
				at = (at + 7919) % n
				ask(at)
			}
			return float64(cpuTime()-start) / calls
		})
		fmt.Printf("| %d | %.1f | %.0f | %.0f %% |\n", n, took/1000, held, 100*share)
		runtime.KeepAlive(rt)
	}
	fmt.Println()
}

// scaleStreams is what open streams hold, beyond what they hold over the bare base. Their
// callers wait for more.
func scaleStreams() {
	fmt.Print("Open streams whose callers wait for the second event: what each adds to the bare base.\n\n| streams | bytes | goroutines |\n|---:|---:|---:|\n")
	for _, n := range []int{100, 1000, 5000} {
		bareBytes, bareGoroutines := openStreams(peerNamed("bare"), n)
		bytes, goroutines := openStreams(peerNamed("breakwater"), n)
		fmt.Printf("| %d | %.0f | %.2f |\n", n, bytes-bareBytes, goroutines-bareGoroutines)
	}
	fmt.Println()
}

// openStreams returns what each of n open streams takes over a base in memory.
func openStreams(p peer, n int) (held, goroutines float64) {
	base := roundTripper(func(req *http.Request) (*http.Response, error) {
		io.Copy(io.Discard, req.Body)
		req.Body.Close()
		text := io.MultiReader(strings.NewReader(anEvent), &waits{ctx: req})
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(text), ContentLength: -1, Request: req}, nil
	})
	rt := p.over(base)
	bodies := make([]io.ReadCloser, 0, n)
	before, running := inUse(), runtime.NumGoroutine()
	for range n {
		req, _ := http.NewRequest(http.MethodPost, "https://api.deepseek.com/chat/completions", bytes.NewReader(askStream))
		resp, err := rt.RoundTrip(req)
		if err != nil {
			panic(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, len(anEvent))); err != nil {
			panic(err)
		}
		bodies = append(bodies, resp.Body)
	}
	held, goroutines = float64(inUse()-before)/float64(n), float64(runtime.NumGoroutine()-running)/float64(n)
	for _, b := range bodies {
		b.Close()
	}
	return held, goroutines
}
