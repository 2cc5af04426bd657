package terminal_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/examples/internal/ptytest"
	"github.com/breakwater-go/breakwater/examples/internal/terminal"
)

// TestMain is the program that TestStyleOf runs.
func TestMain(m *testing.M) {
	if os.Getenv("SHOW_STYLE") != "" {
		fmt.Printf("%+v", terminal.StyleOf(os.Stdout))
		return
	}
	os.Exit(m.Run())
}

func TestStyleOf(t *testing.T) {
	for _, tt := range []struct {
		name, term, noColor string
		want                terminal.Style
	}{
		{"a terminal", "xterm", "", terminal.Style{Live: true, Color: true}},
		{"NO_COLOR", "xterm", "1", terminal.Style{Live: true}},
		{"a dumb terminal", "dumb", "", terminal.Style{Live: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			program := exec.Command(os.Args[0])
			program.Env = append(os.Environ(), "SHOW_STYLE=1", "TERM="+tt.term, "NO_COLOR="+tt.noColor)
			got, err := ptytest.Run(t, program)
			if want := fmt.Sprintf("%+v", tt.want); err != nil || got != want {
				t.Errorf("StyleOf(a terminal) = %s, %v, want %s", got, err, want)
			}
		})
	}
	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), "SHOW_STYLE=1", "TERM=xterm", "NO_COLOR=")
	got, err := program.Output()
	if want := fmt.Sprintf("%+v", terminal.Style{}); err != nil || string(got) != want {
		t.Errorf("StyleOf(a pipe) = %s, %v, want %s", got, err, want)
	}
}

func TestFold(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"a short text", "one two\n\nthree", "one two\n\nthree"},
		{"words", strings.Repeat("1234567 ", 12), strings.Repeat("1234567 ", 9) + "1234567\n1234567 1234567"},
		{"a word as wide as a line", "on " + strings.Repeat("w", 78), "on\n" + strings.Repeat("w", 78)},
		{"a word wider than a line", strings.Repeat("w", 100), strings.Repeat("w", 78) + "\n" + strings.Repeat("w", 22)},
		{"Chinese", strings.Repeat("防", 50), strings.Repeat("防", 39) + "\n" + strings.Repeat("防", 11)},
		{"what a host must not do to a terminal", "a\x1b[2J\x07\rb\u009b", "a[2Jb"},
	} {
		if got := terminal.Fold(tt.in); got != tt.want {
			t.Errorf("%s: Fold(%q) = %q, want %q", tt.name, tt.in, got, tt.want)
		}
		var f terminal.Folder
		var got strings.Builder
		for _, r := range tt.in {
			got.WriteString(f.Fold(string(r)))
		}
		if got.WriteString(f.End()); got.String() != tt.want {
			t.Errorf("%s: in pieces %q, want %q", tt.name, got.String(), tt.want)
		}
	}
}
