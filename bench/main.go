package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"
)

func main() {
	parts := []struct {
		name string
		run  func()
	}{
		{"overhead", overhead}, {"stream", streamed}, {"loopback", loopback}, {"open", open}, {"recovery", recovery}, {"faults", faults},
	}
	fmt.Printf("%s, %d cores, %s/%s, %s\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, time.Now().Format(time.DateOnly))
	known := 0
	for _, p := range parts {
		if len(os.Args) < 2 || slices.Contains(os.Args[1:], p.name) {
			known++
			fmt.Printf("\n## %s\n\n", p.name)
			p.run()
		}
	}
	if known < len(os.Args)-1 {
		fmt.Fprintln(os.Stderr, "usage: bench [overhead] [stream] [loopback] [open] [recovery] [faults]")
		os.Exit(2)
	}
}

const rounds = 7 // by turns; figures are medians of these

func median[T int64 | float64](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}
