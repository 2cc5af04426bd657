package main

import (
	"strings"
	"testing"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/examples/internal/ptytest"
	"github.com/breakwater-go/breakwater/examples/internal/terminal"
)

func TestRun(t *testing.T) {
	const (
		asked = "\n> " + question + "\n"
		mark  = "\n[primary broke off here; second continues]\n"
	)
	var out strings.Builder
	if err := run(t.Context(), &out, terminal.Style{}); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(out.String(), asked)
	if len(parts) != 3 {
		t.Fatalf("%d questions, want 2:\n%s", len(parts)-1, out.String())
	}
	text, _, whole := strings.Cut(parts[1], "\nok: the answer is whole\n  attempt 1: primary, truncated\n    model deepseek-flash, request primary-00000001\n  attempt 2: second, ok\n    model deepseek-flash, request second-00000001\n")
	if !whole || strings.Count(text, mark) != 1 || strings.Replace(text, mark, "", 1) != kit.Answer(question) {
		t.Errorf("the rescued stream is shown as\n%s", parts[1])
	}
	text, _, failed := strings.Cut(parts[2], "\nerror: breakwater: answer truncated\n  attempt 1: primary, truncated and not continued: off\n    model deepseek-flash, request primary-00000002\n")
	if rest, is := strings.CutPrefix(kit.Answer(question), text); !failed || !is || text == "" || rest == "" {
		t.Errorf("the cut stream is shown as\n%s", parts[2])
	}
	if v := ptytest.ViewOf(t, out.String()); v.Widest > terminal.Width || len(v.Lines) >= ptytest.Rows {
		t.Errorf("%d columns and %d lines do not fit into a terminal:\n%s", v.Widest, len(v.Lines), out.String())
	}
}
