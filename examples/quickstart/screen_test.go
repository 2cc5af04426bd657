package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater/examples/internal/ptytest"
	"github.com/breakwater-go/breakwater/examples/internal/terminal"
)

// drawn is a screen that was shown the same sums in every phase.
func drawn(style terminal.Style, details bool, sums [contenders]*tally) string {
	var out strings.Builder
	s := &screen{out: &out, style: style, details: details}
	s.begin(ordinary)
	var all [contenders]*tally
	for i := range all {
		all[i] = new(tally)
	}
	for n := range outage {
		for left := ordinary.phase; left >= 0; left -= time.Second / 2 {
			s.phaseUnderWay(n, left, countsOf(sums))
		}
		s.phaseOver(n, sums)
		for i := range all {
			all[i].add(sums[i])
		}
	}
	s.end(all)
	return out.String()
}

// Whatever the figures, the screen has the same place for them.
func TestScreen(t *testing.T) {
	failures := func(n int) []error { return make([]error, n) }
	for _, tt := range []struct {
		name string
		sums *tally
	}{
		{"nothing", new(tally)},
		{"all of it", &tally{ok: 100, told: 50, missed: failures(50), wrong: failures(100), fromCache: 100, stale: 100, sent: 1,
			attempts: 1000, failedOver: 100, took: []time.Duration{99 * time.Second}, opened: "primary backup"}},
	} {
		for _, style := range []terminal.Style{{}, {Live: true}, {Live: true, Color: true}} {
			for _, details := range []bool{false, true} {
				name := fmt.Sprintf("%s, %+v, details %v", tt.name, style, details)
				output := drawn(style, details, [contenders]*tally{tt.sums, tt.sums, tt.sums})
				v := ptytest.ViewOf(t, output)
				if v.Widest > terminal.Width || !details && len(v.Lines) > ptytest.Rows {
					t.Errorf("%s: %d columns and %d lines, want at most %d and %d:\n%s", name, v.Widest, len(v.Lines), terminal.Width, ptytest.Rows, strings.Join(v.Lines, "\n"))
				}
				if strings.Contains(output, "\x1b") != style.Color || strings.Contains(output, "\r") != style.Live {
					t.Errorf("%s: not as a terminal of that style:\n%q", name, output)
				}
			}
		}
	}
}

func TestScreen_SaysWhatWentWrong(t *testing.T) {
	well := &tally{ok: 10}
	output := drawn(terminal.Style{}, false, [contenders]*tally{well, well, {ok: 8, told: 1, missed: []error{errors.New("failure")}}})
	for _, want := range []string{
		"64 of 80 calls answered, 0 wrong.\n",
		"\n8 got an error: no host was up",
		"\n8 got an error, although a host or the cache could answer.\n",
	} {
		if !strings.Contains(output, want) {
			t.Errorf("no %q in\n%s", want, output)
		}
	}
}
