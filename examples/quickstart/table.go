package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
)

// A tally sums outcomes.
type tally struct {
	mu                         sync.Mutex // guards what follows
	calls, right, cut, none    int
	fromCache, stale           int
	sent, attempts, failedOver int // of calls that went to a host
	missed, wrong              []error
	took                       []time.Duration
}

func (t *tally) note(o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls++
	t.took = append(t.took, o.took)
	switch o.verdict {
	case right:
		t.right++
	case cut:
		t.cut++
	case none:
		t.none++
	case missed:
		t.missed = append(t.missed, o.says)
	case wrong:
		t.wrong = append(t.wrong, o.says)
	}
	switch {
	case o.stale:
		t.stale++
	case o.cached:
		t.fromCache++
	}
	t.noteTrail(o.attempts)
}

func (t *tally) noteTrail(trail []breakwater.Attempt) {
	endpoints := make(map[string]bool)
	for _, a := range trail {
		if a.N > 0 {
			t.attempts++
			endpoints[a.Endpoint] = true
		}
	}
	if len(endpoints) > 0 {
		t.sent++
	}
	if len(endpoints) > 1 {
		t.failedOver++
	}
}

func (t *tally) add(o *tally) {
	t.calls += o.calls
	t.right += o.right
	t.cut += o.cut
	t.none += o.none
	t.fromCache += o.fromCache
	t.stale += o.stale
	t.sent += o.sent
	t.attempts += o.attempts
	t.failedOver += o.failedOver
	t.missed = append(t.missed, o.missed...)
	t.wrong = append(t.wrong, o.wrong...)
	t.took = append(t.took, o.took...)
}

// quantile returns the time within which the share q of all calls were over.
func (t *tally) quantile(q float64) time.Duration {
	if len(t.took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t.took))
	return sorted[int(q*float64(len(sorted)-1))].Round(time.Millisecond)
}

// The table's columns: the phase, breakwater's part, the bare client's part.
const (
	head  = "%-32s  %5s %5s %5s %5s %4s %4s %4s %8s %6s %6s  %-21s  %5s %5s %5s %6s\n"
	line  = "%-32s  %5d %5d %5d %5d %4d %4d %4d %8.2f %6d %6d  %-21s  %5d %5d %5d %6d\n"
	width = 144
)

func printHead(out io.Writer) {
	fmt.Fprintln(out, "An outage of three hosts, as two clients see it. Both ask the same questions, half of them streamed;")
	fmt.Fprintf(out, "one is a bare http.Client on the primary, the other has breakwater below. Both give up after %v. Times in ms.\n\n", patience)
	fmt.Fprintf(out, "%-32s  %-85s  %s\n", "", "breakwater", "bare http.Client")
	fmt.Fprintf(out, head, "phase", "calls", "right", "cache", "stale", "cut", "none", "over", "att/call", "p50", "p99", "opened circuits",
		"right", "wrong", "error", "p99")
	fmt.Fprintln(out, strings.Repeat("-", width))
}

func printLine(out io.Writer, name string, mine, theirs *tally, open string) {
	fmt.Fprintf(out, line, name, mine.calls, mine.right, mine.fromCache, mine.stale, mine.cut, mine.none, mine.failedOver,
		mine.attemptsPerCall(), mine.quantile(0.5).Milliseconds(), mine.quantile(0.99).Milliseconds(), open,
		theirs.right, len(theirs.wrong), theirs.calls-theirs.right-len(theirs.wrong), theirs.quantile(0.99).Milliseconds())
}

// attemptsPerCall is over the calls that went to a host.
func (t *tally) attemptsPerCall() float64 { return float64(t.attempts) / float64(max(t.sent, 1)) }

func printSummary(out io.Writer, mine, theirs *tally) {
	fmt.Fprintln(out, strings.Repeat("-", width))
	printLine(out, "in all", mine, theirs, "")
	fmt.Fprint(out, `
right: whole and right; cache, stale: of those, answered from the cache, stale where no host could
cut:   ended in an error after the first payload: the caller knows    none: nobody could answer, and the caller was told so
over:  calls that went on to another host    att/call: attempts per call that went to a host    opened circuits: at any time in the phase
wrong: taken for an answer by a client that looks at status and end of the body only, and not the right one

`)
	fmt.Fprintf(out, "breakwater: %d calls, %d right, %d could not be answered by any host or the cache, %d cut streams reported, %d missed, %d wrong.\n",
		mine.calls, mine.right, mine.none, mine.cut, len(mine.missed), len(mine.wrong))
	fmt.Fprintf(out, "bare:       %d calls, %d right, %d wrong, %d errors.\n",
		theirs.calls, theirs.right, len(theirs.wrong), theirs.calls-theirs.right-len(theirs.wrong))
}
