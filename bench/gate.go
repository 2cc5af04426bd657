package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/breakwater-go/breakwater"
)

// A bound is what a figure must not exceed or, if least is set, must reach.
type bound struct {
	what  string
	value float64
	least bool
	exact bool // it does not depend on the machine: no slack
}

// slack is by how much a ratio may miss its bound: a link layout alone moves one by 8 %.
const slack = 0.15

// The bounds are what was reached on the day that docs/performance.md names. A change that
// breaks one made breakwater slower.
var bounds = []bound{
	{what: "allocations added to a call", value: 10, exact: true},
	{what: "bytes added to a call", value: 2960, exact: true},
	{what: "allocations added with three endpoints", value: 17, exact: true},
	{what: "bytes added with three endpoints", value: 5340, exact: true},
	{what: "allocations added to a stream's event", value: 0.01, exact: true},

	{what: "in memory, 2 KB, 1 cores: CPU added, of the hand-made chain's", value: 1.85},
	{what: "in memory, 2 KB, 2 cores: CPU added, of the hand-made chain's", value: 1.3},
	{what: "in memory, 32 KB, 1 cores: CPU added, of failsafe-go's", value: 0.55},
	{what: "in memory, 32 KB, 2 cores: CPU added, of failsafe-go's", value: 0.25},
	{what: "in memory, 200 KB, 1 cores: CPU added, of failsafe-go's", value: 0.36},
	{what: "in memory, 200 KB, 2 cores: CPU added, of failsafe-go's", value: 0.15},
	{what: "in memory, 2 KB, 1 cores: limits add, in µs", value: 1},
	{what: "in memory, 200 KB, 1 cores: limits add, in µs", value: 1},

	{what: "a stream's event, of the floor", value: 1.65},
	{what: "a stream's event without rescue, of the floor", value: 1.35},

	{what: "HTTP/1.1: requests a second, of bare: breakwater", value: 0.8, least: true},
	{what: "HTTP/1.1: requests a second, of the hand-made chain's", value: 1, least: true},
	{what: "HTTP/1.1, server apart: requests a second, of the hand-made chain's", value: 1, least: true},
	{what: "HTTP/2: requests a second, of bare: breakwater", value: 0.8, least: true},
	{what: "HTTP/2: requests a second, of the hand-made chain's", value: 1, least: true},
	{what: "HTTP/2, server apart: requests a second, of the hand-made chain's", value: 1, least: true},
}

// holds reports whether a figure keeps the bound.
func (b bound) holds(figure float64) bool {
	switch {
	case b.exact:
		return figure <= b.value
	case b.least:
		return figure >= b.value*(1-slack)
	}
	return figure <= b.value*(1+slack)
}

// errSlower reports that a bound does not hold.
var errSlower = errors.New("breakwater became slower: a bound does not hold")

// gate takes samples with so many link layouts, in turn, and compares their medians with
// the bounds.
func gate(layouts, rounds int) error {
	dir, err := os.MkdirTemp("", "gate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	figures, err := exactFigures()
	if err != nil {
		return err
	}
	var programs []string
	for n := 1; n <= layouts; n++ {
		program := filepath.Join(dir, fmt.Sprint("bench", n))
		build := exec.Command("go", "build", fmt.Sprint("-ldflags=-randlayout=", n), "-o", program, ".")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build with layout %d: %w", n, err)
		}
		programs = append(programs, program)
	}
	for round := range rounds {
		for n, program := range programs {
			fmt.Fprintf(os.Stderr, "\rround %d of %d, layout %d of %d ", round+1, rounds, n+1, layouts)
			taken := exec.Command(program, "sample")
			taken.Stderr = os.Stderr
			text, err := taken.Output()
			if err != nil {
				return err
			}
			var s sample
			if err := json.Unmarshal(text, &s); err != nil {
				return err
			}
			for name, value := range s {
				figures[name] = append(figures[name], value)
			}
		}
	}
	fmt.Fprintln(os.Stderr)
	return report(figures)
}

// report prints all figures, and says which bounds do not hold.
func report(figures map[string][]float64) error {
	fmt.Print("| figure | median | quartiles | bound | |\n|---|---:|---:|---:|---|\n")
	broken := false
	line := func(what, bound, verdict string) {
		values := figures[what]
		slices.Sort(values)
		fmt.Printf("| %s | %.2f | %.2f–%.2f | %s | %s |\n", what, median(values), values[len(values)/4], values[3*len(values)/4], bound, verdict)
	}
	for _, b := range bounds {
		if len(figures[b.what]) == 0 {
			return fmt.Errorf("no sample has %q", b.what)
		}
		sign, verdict := "≤", "ok"
		if b.least {
			sign = "≥"
		}
		if !b.holds(median(slices.Clone(figures[b.what]))) {
			verdict, broken = "FAILED", true
		}
		line(b.what, fmt.Sprint(sign, " ", b.value), verdict)
	}
	rest := make(sample)
	for what := range figures {
		if !slices.ContainsFunc(bounds, func(b bound) bool { return b.what == what }) {
			rest[what] = 0
		}
	}
	for _, what := range rest.names() {
		line(what, "", "")
	}
	fmt.Printf("\nEach ratio may miss its bound by %.0f %%.\n", 100*slack)
	if broken {
		return errSlower
	}
	return nil
}

// exactFigures are allocations and bytes, which do not depend on the machine.
func exactFigures() (map[string][]float64, error) {
	figures := make(map[string][]float64)
	body := chat(2<<10, false)
	base := memory("application/json", answerJSON)
	bare := costOf(base, body, 20_000, 1)
	for name, rt := range map[string]http.RoundTripper{
		"to a call":            newBreakwater(breakwater.WithBase(base)),
		"with three endpoints": newBreakwater(append(threeEndpoints(), breakwater.WithBase(base))...),
	} {
		cost := costOf(rt, body, 20_000, 1)
		figures["allocations added "+name] = []float64{math.Round(cost.Allocs - bare.Allocs)}
		figures["bytes added "+name] = []float64{math.Round(cost.Bytes - bare.Bytes)}
	}
	const events = 20_000
	stream := memory("text/event-stream", anEventTimes(events))
	with, without := costOf(newBreakwater(breakwater.WithBase(stream)), askStream, 5, 1), costOf(stream, askStream, 5, 1)
	figures["allocations added to a stream's event"] = []float64{(with.Allocs - without.Allocs) / events}
	return figures, nil
}

// threeEndpoints are three hosts that serve the benchmark's calls.
func threeEndpoints() []breakwater.Option {
	var endpoints []breakwater.Endpoint
	for _, name := range []string{"api.deepseek.com", "b.test", "c.test"} {
		endpoints = append(endpoints, breakwater.Endpoint{Name: name, URL: "https://" + name, APIKey: "sk"})
	}
	return []breakwater.Option{breakwater.WithEndpoints(endpoints...)}
}
