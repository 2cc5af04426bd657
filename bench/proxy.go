package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// callers is how many clients call at once.
const callers = 100

// A traffic is what the callers send through each hop.
type traffic struct {
	calls        int // a second, of all callers together
	callsLast    time.Duration
	callRounds   int
	streams      int           // open at once
	pause        time.Duration // from an event to the next one
	ramp         time.Duration // until all streams are open
	streamsLast  time.Duration // from then on
	streamRounds int
}

// proxied measures the command as a proxy beside nginx, and beside the standard library's proxy: what each
// adds to a call, and to the events of streams. Host, callers and proxies are processes of this machine.
func proxied() any {
	check(compareHops(traffic{500, 5 * time.Second, rounds, 2000, time.Second, 5 * time.Second, 10 * time.Second, 3}))
	return nil
}

// compareHops prints the tables.
func compareHops(l traffic) error {
	folder, err := os.MkdirTemp("", "proxied")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	hops, stop, err := startHops(folder, l.pause)
	defer stop()
	if err != nil {
		return err
	}
	idle := make([]int64, len(hops))
	for i, h := range hops {
		idle[i] = rss(h.pids())
	}
	l.compareCalls(hops)
	l.compareStreams(hops, idle)
	return nil
}

// compareCalls prints what a call takes through each hop, and the hop's CPU time for it.
func (l traffic) compareCalls(hops []hop) {
	fmt.Printf("%d callers, %d calls a second in all, requests of 2 KB, a host that answers after 20 ms; medians of %d rounds of %v by turns.\n\n", callers, l.calls, l.callRounds, l.callsLast)
	fmt.Printf("| proxy | p50 | p99 | added at p99 | CPU a call | of %s's |\n", hops[1].name)
	fmt.Println("|---|---:|---:|---:|---:|---:|")
	p50, p99, cpu := make([][]float64, len(hops)), make([][]float64, len(hops)), make([][]float64, len(hops))
	for range l.callRounds {
		for i, h := range hops {
			before := cpuOf(h.pids())
			took := l.paced(h.url)
			p50[i] = append(p50[i], at(took, 0.5))
			p99[i] = append(p99[i], at(took, 0.99))
			cpu[i] = append(cpu[i], (cpuOf(h.pids())-before).Seconds()*1e6/float64(len(took)))
		}
	}
	for i, h := range hops {
		share := "–"
		if i > 1 {
			share = fmt.Sprintf("%.2f", median(cpu[i])/median(cpu[1]))
		}
		fmt.Printf("| %s | %.2f ms | %.2f ms | %.2f ms | %.0f µs | %s |\n", h.name,
			median(p50[i]), median(p99[i]), median(p99[i])-median(p99[0]), median(cpu[i]), share)
	}
}

// paced makes calls at an even pace and returns how long each took, in milliseconds.
func (l traffic) paced(url string) []float64 {
	rt := &http.Transport{MaxIdleConnsPerHost: callers}
	defer rt.CloseIdleConnections()
	body := chat(2<<10, false)
	var mu sync.Mutex
	var all []float64
	var running sync.WaitGroup
	start := time.Now()
	for c := range callers {
		running.Go(func() {
			pause := time.Duration(callers) * time.Second / time.Duration(l.calls)
			for next := start.Add(pause * time.Duration(c) / callers); next.Sub(start) < l.callsLast; next = next.Add(pause) {
				time.Sleep(time.Until(next))
				began := time.Now()
				check(call(rt, url+"/v1", body))
				mu.Lock()
				all = append(all, float64(time.Since(began).Microseconds())/1000)
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return all
}

// compareStreams prints how much later events come through each hop, and what a stream keeps there.
func (l traffic) compareStreams(hops []hop, idle []int64) {
	fmt.Printf("\n%d streams open at once, an event each %v; medians of %d rounds of %v by turns.\n\n", l.streams, l.pause, l.streamRounds, l.streamsLast)
	fmt.Println("| proxy | p50 to the next event | p99 | of none | late, p50 | late, p99 | memory idle | a stream | CPU an event |")
	fmt.Println("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
	type figures struct{ gap50, gap99, late50, late99, held, cpu []float64 }
	all := make([]figures, len(hops))
	for range l.streamRounds {
		for i, h := range hops {
			s := l.hold(h)
			f := &all[i]
			f.gap50, f.gap99 = append(f.gap50, at(s.gaps, 0.5)), append(f.gap99, at(s.gaps, 0.99))
			f.late50, f.late99 = append(f.late50, at(s.late, 0.5)), append(f.late99, at(s.late, 0.99))
			f.held = append(f.held, float64(s.rss-idle[i])/float64(l.streams)/1024)
			f.cpu = append(f.cpu, s.cpu.Seconds()*1e6/float64(len(s.gaps)))
		}
	}
	for i, h := range hops {
		f := all[i]
		fmt.Printf("| %s | %.1f ms | %.1f ms | %.3f | %.2f ms | %.2f ms | %.0f MB | %.0f KB | %.0f µs |\n", h.name,
			median(f.gap50), median(f.gap99), median(f.gap99)/median(all[0].gap99),
			median(f.late50), median(f.late99), float64(idle[i])/(1<<20), median(f.held), median(f.cpu))
	}
}

// A held has what was seen of streams while all were open. Times are in milliseconds.
type held struct {
	gaps []float64 // from an event to the next
	late []float64 // from the host's clock when it sent an event to its arrival
	rss  int64
	cpu  time.Duration
}

// hold opens the streams one after the other, and reads them all.
func (l traffic) hold(h hop) held {
	rt := &http.Transport{MaxIdleConnsPerHost: l.streams}
	defer rt.CloseIdleConnections()
	var s held
	var mu sync.Mutex
	var running sync.WaitGroup
	start := time.Now()
	from, until := start.Add(l.ramp+l.pause), start.Add(l.ramp+l.pause+l.streamsLast)
	for i := range l.streams {
		running.Go(func() {
			time.Sleep(time.Until(start.Add(l.ramp * time.Duration(i) / time.Duration(l.streams))))
			gaps, late := readStream(rt, h.url, from, until)
			mu.Lock()
			defer mu.Unlock()
			s.gaps, s.late = append(s.gaps, gaps...), append(s.late, late...)
		})
	}
	time.Sleep(time.Until(from))
	before := cpuOf(h.pids())
	time.Sleep(time.Until(until))
	s.cpu, s.rss = cpuOf(h.pids())-before, rss(h.pids())
	running.Wait()
	return s
}

// readStream reads a stream until a time, and then leaves it.
func readStream(rt http.RoundTripper, url string, from, until time.Time) (gaps, late []float64) {
	body := `{"model":"deepseek-flash","stream":true,"messages":[{"role":"user","content":"so?"}]}`
	req, err := http.NewRequest(http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	check(err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := rt.RoundTrip(req)
	check(err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		check(fmt.Errorf("a stream began with %s", resp.Status))
	}
	var last time.Time
	for lines := bufio.NewReader(resp.Body); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			check(fmt.Errorf("a stream from %s ended: %w", url, err))
		}
		_, text, found := strings.Cut(line, `"content":"`)
		if !found {
			continue
		}
		now := time.Now()
		if now.After(until) {
			return gaps, late
		}
		sent, _, _ := strings.Cut(text, ` `)
		at, err := strconv.ParseInt(sent, 10, 64)
		check(err)
		if !last.IsZero() && last.After(from) {
			gaps = append(gaps, float64(now.Sub(last).Microseconds())/1000)
			late = append(late, float64(now.UnixMicro()-at)/1000)
		}
		last = now
	}
}

// at returns a percentile.
func at(values []float64, q float64) float64 {
	slices.Sort(values)
	return values[int(q*float64(len(values)-1))]
}
