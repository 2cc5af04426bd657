package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/examples/internal/ptytest"
	"github.com/breakwater-go/breakwater/examples/internal/terminal"
)

// The outage, played in virtual time: showOutage itself fails if a call that
// could be answered was not, or was answered wrongly.
func TestOutage(t *testing.T) { synctest.Test(t, testOutage) }

func testOutage(t *testing.T) {
	var out strings.Builder
	if err := showOutage(t.Context(), &out, terminal.Style{}, true, kit.NewPipeFleet); err != nil {
		t.Errorf("showOutage = %v\n%s", err, out.String())
	}
	for i := range outage {
		if got := strings.Count(out.String(), "\n"+nameOf(i)); got != 3 {
			t.Errorf("%d lines for %q, want one in each table:\n%s", got, nameOf(i), out.String())
		}
	}
	if !strings.Contains(out.String(), " of 800 calls answered, 0 wrong.\n") {
		t.Errorf("no summary:\n%s", out.String())
	}
}

// TestShowOutage is the program that TestTerminal runs: the quickstart, in
// virtual time.
func TestShowOutage(t *testing.T) {
	if os.Getenv("SHOW_OUTAGE") == "" {
		t.Skip("it is part of TestTerminal")
	}
	synctest.Test(t, func(t *testing.T) {
		if err := showOutage(t.Context(), os.Stdout, terminal.StyleOf(os.Stdout), false, kit.NewPipeFleet); err != nil {
			t.Fatal(err)
		}
		os.Exit(0) // the tests' own last line is not part of the program
	})
}

func showOutageIn(t *testing.T, env ...string) *exec.Cmd {
	program := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestShowOutage$")
	program.Env = append(os.Environ(), append([]string{"SHOW_OUTAGE=1", "TERM=xterm", "NO_COLOR="}, env...)...)
	return program
}

// On a terminal of 80 columns and 24 rows, all of it can be seen at the end,
// with a line for the shell's prompt, and no line was ever too wide.
func TestTerminal(t *testing.T) {
	for _, tt := range []struct {
		name, env string
		colors    bool
	}{{"in colour", "NO_COLOR=", true}, {"NO_COLOR", "NO_COLOR=1", false}} {
		t.Run(tt.name, func(t *testing.T) {
			output, err := ptytest.Run(t, showOutageIn(t, tt.env))
			if err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(ptytest.ViewOf(t, output).Lines, "\n"))
			}
			if got := strings.Contains(output, "\x1b"); got != tt.colors {
				t.Errorf("escape sequences: %v, want %v", got, tt.colors)
			}
			checkView(t, ptytest.ViewOf(t, output))
			live := ptytest.Colors.ReplaceAllString(output, "")
			for _, want := range []string{"\r" + nameOf(3) + " 4s ", "\r" + nameOf(3) + " 1s ", "\r" + nameOf(3) + " .."} {
				if !strings.Contains(live, want) {
					t.Errorf("the live line never said %q", want)
				}
			}
		})
	}
}

func checkView(t *testing.T, v ptytest.View) {
	t.Helper()
	if v.Widest > terminal.Width || len(v.Lines) > ptytest.Rows-1 {
		t.Errorf("%d columns and %d lines, want at most %d and %d", v.Widest, len(v.Lines), terminal.Width, ptytest.Rows-1)
	}
	for i := range outage {
		if !slices.ContainsFunc(v.Lines, func(line string) bool { return strings.HasPrefix(line, nameOf(i)+"  ") }) {
			t.Errorf("no line for %q", nameOf(i))
		}
	}
	first, last := v.Lines[0], v.Lines[len(v.Lines)-6:]
	if !strings.HasPrefix(first, "breakwater keeps calls answered") || !strings.HasPrefix(last[0], "breakwater with a backup: ") || !strings.HasPrefix(last[4], "Next") {
		t.Error("the message does not come first and last, and then what to do next")
	}
	if t.Failed() {
		t.Log("\n" + strings.Join(v.Lines, "\n"))
	}
}

// In a pipe there are the same lines, and nothing else.
func TestPipe(t *testing.T) {
	output, err := showOutageIn(t).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if strings.ContainsAny(string(output), "\r\x1b") {
		t.Errorf("not only plain lines: %q", output)
	}
	checkView(t, ptytest.ViewOf(t, string(output)))
}

// Interrupted, it says nothing that it has not seen.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithTimeout(t.Context(), ordinary.phase/2)
		defer interrupt()
		var out strings.Builder
		err := showOutage(ctx, &out, terminal.Style{Live: true}, false, kit.NewPipeFleet)
		if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(out.String(), "total") || !strings.HasSuffix(out.String(), "\n") {
			t.Errorf("showOutage = %v after\n%s", err, out.String())
		}
	})
}

// With a key, the real API is asked: here, a host that behaves like it.
func TestAskDeepSeek(t *testing.T) {
	fleet, err := kit.NewFleet(kit.DeepSeek("deepseek"))
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	deepseek := breakwater.DeepSeek("sk-live")
	deepseek.URL = fleet.Server("deepseek").URL()
	ask := func() (string, error) {
		var out strings.Builder
		err := askDeepSeek(t.Context(), &out, terminal.Style{}, true, deepseek)
		if v := ptytest.ViewOf(t, out.String()); v.Widest > terminal.Width {
			t.Errorf("%d columns, want at most %d:\n%s", v.Widest, terminal.Width, out.String())
		}
		if strings.Contains(out.String(), "sk-live") || !strings.Contains(out.String(), "attempt 1: ") {
			t.Errorf("want a trail without the key:\n%s", out.String())
		}
		return out.String(), err
	}
	text, err := ask()
	if err != nil {
		t.Fatal(err)
	}
	unfolded := strings.ReplaceAll(text, "\n", " ")
	if got := strings.Count(unfolded, strings.ReplaceAll(kit.Answer(question), "\n", " ")); got != 2 {
		t.Errorf("the answer was printed %d times, want plain and streaming:\n%s", got, text)
	}
	if strings.Count(text, "ok: ") != 2 || !strings.Contains(text, "Next") {
		t.Errorf("not said who answered, and what to do next:\n%s", text)
	}
	fleet.Server("deepseek").Break(kit.Unauthorized())
	if text, err := ask(); err == nil || !strings.Contains(err.Error(), "401") || strings.Contains(text, "Next") {
		t.Errorf("askDeepSeek with a rejected key = %v, want the 401, after\n%s", err, text)
	}
}
