package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/bench/internal/results"
)

// A measurement prints a table. What charts are drawn from it returns, too.
type measurement struct {
	name string
	run  func() any
}

var measurements = []measurement{
	{"overhead", overhead}, {"stream", streamed}, {"loopback", loopback}, {"open", open},
	{"scale", scale}, {"recovery", recovery}, {"faults", faults}, {"outage", outage},
	{"proxy", proxied},
}

func main() {
	save := flag.Bool("save", false, "keep what charts are drawn from in "+measured)
	flag.Usage = func() {
		names := make([]string, len(measurements))
		for i, m := range measurements {
			names[i] = "[" + m.name + "]"
		}
		fmt.Fprintf(os.Stderr, "usage: bench [-save] %s\n       bench gate [quick]\n       bench record\n       bench charts\n", strings.Join(names, " "))
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(flag.Args(), *save); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(names []string, save bool) error {
	switch strings.Join(names, " ") {
	case "gate":
		return gate(5, 3)
	case "gate quick":
		return gate(2, 2)
	case "sample": // of the gate's
		return takeSample()
	case "serve true", "serve false":
		return serve(names[1] == "true")
	}
	if len(names) == 2 && (names[0] == "host" || names[0] == "forward") { // of the proxy's
		return serveAs(names)
	}
	if len(names) == 1 {
		switch names[0] {
		case "charts":
			return drawCharts(measured, pictures)
		case "record":
			return record(measured)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(measurements, func(m measurement) bool { return m.name == name }) {
			flag.Usage()
			os.Exit(2)
		}
	}
	fmt.Printf("%s, %d cores, %s/%s, %s\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, time.Now().Format(time.DateOnly))
	for _, m := range measurements {
		if len(names) > 0 && !slices.Contains(names, m.name) {
			continue
		}
		fmt.Printf("\n## %s\n\n", m.name)
		if got := m.run(); save && got != nil {
			if err := results.Save(measured, m.name, got); err != nil {
				return err
			}
		}
	}
	return nil
}

const rounds = 7 // by turns; figures are medians of these

func median[T int64 | float64](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}
