package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"strings"
	"sync"

	"github.com/breakwater-go/breakwater/bench/internal/results"
)

const answerJSON = `{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"total_tokens":3}}`

// chat is a chat request of about size bytes; for a GET, a query of that length.
func chat(size int, get bool) []byte {
	if get {
		return []byte("q=" + strings.Repeat("what-is-a-breakwater-", size/21))
	}
	message := `{"role":"user","content":"` + strings.Repeat("what is a breakwater? ", 90) + `"},`
	return []byte(`{"model":"deepseek-flash","messages":[` + strings.Repeat(message, max(1, size/len(message))) + `{"role":"user","content":"so?"}]}`)
}

// memory is a base that answers from memory, after reading the request as a
// wire would.
func memory(contentType, text string) http.RoundTripper {
	header := http.Header{"Content-Type": {contentType}}
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		io.Copy(io.Discard, req.Body)
		req.Body.Close()
		return &http.Response{
			StatusCode: 200, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: header.Clone(), Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)), Request: req,
		}, nil
	})
}

// call makes one call as a client does and reads the answer.
func call(rt http.RoundTripper, url string, body []byte) error {
	req, err := http.NewRequest(http.MethodPost, url+"/chat/completions", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer sk-1")
	req.Header.Set("Content-Type", "application/json")
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// costOf makes n calls from so many goroutines. Its time is that of all cores.
func costOf(rt http.RoundTripper, body []byte, n, workers int) results.Cost {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := cpuTime()
	var callers sync.WaitGroup
	for range workers {
		callers.Go(func() {
			for range n / workers {
				if err := call(rt, "https://api.deepseek.com", body); err != nil {
					panic(err)
				}
			}
		})
	}
	callers.Wait()
	took := cpuTime() - start
	runtime.ReadMemStats(&after)
	return results.Cost{
		Nanoseconds: float64(took) / float64(n),
		Bytes:       float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
		Allocs:      float64(after.Mallocs-before.Mallocs) / float64(n),
	}
}

// overhead is what each peer adds to a call over a base in memory.
func overhead() any {
	fmt.Println("What a call takes over a base in memory, less what it takes of the base alone: CPU time, bytes and allocations.")
	fmt.Println()
	fmt.Print("| request | cores |")
	for _, p := range peers[1:] {
		fmt.Printf(" %s |", p.name)
	}
	fmt.Printf(" of failsafe-go's time | of the hand-made chain's |\n|---:|---:|%s---:|---:|\n", strings.Repeat("---|", len(peers)-1))
	measured := results.Overhead{Source: results.Now("go run . overhead")}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, size := range []int{2 << 10, 32 << 10, 200 << 10} {
		for _, cores := range []int{1, 2} {
			runtime.GOMAXPROCS(cores)
			added := addedBy(chat(size, false), 20_000*(2<<10)/size+1000, cores)
			measured.Rows = append(measured.Rows, results.OverheadRow{RequestBytes: size, Cores: cores, Added: added})
			fmt.Printf("| %d KB | %d |", size>>10, cores)
			ns := make(map[string]float64)
			for _, c := range added {
				fmt.Printf(" %.1f µs · %.1f KB · %.0f |", c.Nanoseconds/1000, c.Bytes/1000, c.Allocs)
				ns[c.Client] = c.Nanoseconds
			}
			fmt.Printf(" %.2f | %.2f |\n", ns["breakwater"]/ns["failsafe-go"], ns["breakwater"]/ns["hand-made chain"])
		}
	}
	return measured
}

// addedBy is what each peer adds to a call: medians of n calls in turn with the
// others'.
func addedBy(body []byte, n, cores int) []results.Cost {
	over := make([]http.RoundTripper, len(peers))
	for i, p := range peers {
		over[i] = p.over(memory("application/json", answerJSON))
	}
	taken := make([][]results.Cost, len(peers))
	for range rounds {
		for i := range peers {
			taken[i] = append(taken[i], costOf(over[i], body, n, cores))
		}
	}
	typical := func(i int, of func(results.Cost) float64) float64 {
		var values []float64
		for _, c := range taken[i] {
			values = append(values, of(c))
		}
		return median(values)
	}
	add := func(i int, of func(results.Cost) float64) float64 { return typical(i, of) - typical(0, of) }
	var added []results.Cost
	for i, p := range peers[1:] {
		added = append(added, results.Cost{
			Client:      p.name,
			Nanoseconds: math.Round(add(i+1, func(c results.Cost) float64 { return c.Nanoseconds })),
			Bytes:       math.Round(add(i+1, func(c results.Cost) float64 { return c.Bytes })),
			Allocs:      math.Round(add(i+1, func(c results.Cost) float64 { return c.Allocs })),
		})
	}
	return added
}

const (
	anEvent  = `data: {"id":"2e6c8ad5-4a4f-4b0e-8f0a-5d5dd1a1d1b2","object":"chat.completion.chunk","created":1764000000,"model":"deepseek-flash","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"wave"},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	endEvent = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"total_tokens":3}}` + "\n\n" + "data: [DONE]\n\n"
)

// askStream asks for a stream that can be rescued.
var askStream = []byte(`{"model":"deepseek-flash","stream":true,"messages":[{"role":"user","content":"so?"}]}`)

// anEventTimes is a stream of n events and its end.
func anEventTimes(n int) string { return strings.Repeat(anEvent, n) + endEvent }

// streamed is what each peer adds to an event of a stream.
func streamed() any {
	const events = 20_000
	fmt.Printf("A stream of %d events from memory, read in pieces of 32 KB: nanoseconds and allocations per event, less the base's. Only breakwater looks at them.\n\n", events)
	fmt.Println("| client | added ns per event | added allocs per event |")
	fmt.Println("|---|---:|---:|")
	text := anEventTimes(events)
	var ns, allocs = make([][]float64, len(peers)), make([][]float64, len(peers))
	for range rounds {
		for i, p := range peers {
			c := costOf(p.over(memory("text/event-stream", text)), askStream, 5, 1)
			ns[i], allocs[i] = append(ns[i], c.Nanoseconds/events), append(allocs[i], c.Allocs/events)
		}
	}
	bare, bareAllocs := median(ns[0]), median(allocs[0])
	for i, p := range peers[1:] {
		fmt.Printf("| %s | %.1f | %.3f |\n", p.name, median(ns[i+1])-bare, median(allocs[i+1])-bareAllocs)
	}
	return nil
}

// open is the memory of streams that are open, their callers waiting.
func open() any {
	const streams = 5000
	fmt.Printf("%d streams open behind their first event, over a base in memory: bytes each, less the base's.\n\n", streams)
	fmt.Println("| client | added bytes per open stream |")
	fmt.Println("|---|---:|")
	all := make([][]float64, len(peers))
	for range 3 {
		for i, p := range peers {
			held, _ := openStreams(p, streams)
			all[i] = append(all[i], held)
		}
	}
	for i, p := range peers[1:] {
		fmt.Printf("| %s | %.0f |\n", p.name, median(all[i+1])-median(all[0]))
	}
	return nil
}

// A waits reader has nothing to give until the call ends.
type waits struct{ ctx *http.Request }

func (w *waits) Read([]byte) (int, error) {
	<-w.ctx.Context().Done()
	return 0, w.ctx.Context().Err()
}

// inUse is the memory in use: heap and stacks.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
