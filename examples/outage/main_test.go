package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/examples/internal/ptytest"
	"github.com/breakwater-go/breakwater/examples/internal/terminal"
)

// In virtual time, so that a busy machine does not outlast the TTL.
func TestRun(t *testing.T) { synctest.Test(t, testRun) }

func testRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out, terminal.Style{}, kit.NewPipeFleet); err != nil {
		t.Errorf("run = %v", err)
	}
	if v := ptytest.ViewOf(t, out.String()); v.Widest > terminal.Width || len(v.Lines) >= ptytest.Rows {
		t.Errorf("%d columns and %d lines do not fit into a terminal", v.Widest, len(v.Lines))
	}
	_, table, _ := strings.Cut(out.String(), "\nthe API is ")
	lines := strings.Split(table, "\n")
	names := []string{"up", "down", "down past the TTL", "back"}
	if len(lines) <= len(names) {
		t.Fatalf("no table with a line for each of %q:\n%s", names, out.String())
	}
	for i, name := range names {
		counts, ok := strings.CutPrefix(lines[1+i], name+" ")
		var answered, fresh, shared, hits, stale, attempts int
		if _, err := fmt.Sscan(counts, &answered, &fresh, &shared, &hits, &stale, &attempts); !ok || err != nil {
			t.Fatalf("line %q is not that of %q: %v", lines[1+i], name, err)
		}
		if answered != callers {
			t.Errorf("%s: %d answered, want all %d", name, answered, callers)
		}
		var right bool
		switch name {
		case "up", "back": // who comes late finds the answer kept
			right = fresh == 1 && shared+hits == 99 && stale == 0 && attempts == 1
		case "down":
			right = hits == 100 && attempts == 0
		case "down past the TTL":
			right = stale == 100 && attempts >= 1
		}
		if !right {
			t.Errorf("%s: not the counts there should be:\n%s", name, out.String())
		}
	}
}

// A call that is not answered is not counted as one that is.
func TestAskAllCountsFailures(t *testing.T) {
	fleet, err := kit.NewFleet(kit.DeepSeek("host"))
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	bare := fleet.Transport()
	defer bare.CloseIdleConnections()
	host := fleet.Server("host")
	for _, fault := range []kit.Fault{kit.Busy(), kit.ErrorInside(), kit.Refused(), kit.Status(200, "application/json",
		`{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}`)} {
		host.Break(fault)
		if got := askAll(t.Context(), &http.Client{Transport: bare}, host.URL()); got.answered != 0 || len(got.errs) != callers {
			t.Errorf("%v: %d answered, %d errors, want none and %d", fault, got.answered, len(got.errs), callers)
		}
		host.Heal()
	}
}
