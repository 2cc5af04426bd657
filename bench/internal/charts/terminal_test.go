package charts

import (
	"reflect"
	"testing"

	"github.com/breakwater-go/breakwater/bench/internal/results"
)

func TestTerminal(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     []run // of the last line
	}{
		{"text", "all is well", []run{{0, "", "all is well"}}},
		{"a new line", "one\r\ntwo", []run{{0, "", "two"}}},
		{"a line again", "one two\rsix", []run{{0, "", "six two"}}},
		{"columns", "ok   fail    ", []run{{0, "", "ok"}, {5, "", "fail"}}},
		{"colours", "\x1b[2m-\x1b[0m \x1b[1;31m25\x1b[0m", []run{{0, "dim", "-"}, {2, "bold bad", "25"}}},
		{"one colour in another", "\x1b[1m\x1b[32mgood\x1b[0m\x1b[0m", []run{{0, "bold good", "good"}}},
		{"other sequences", "\x1b[Kone\x1b[?25l", []run{{0, "", "one"}}},
		{"signs", "✓ one", []run{{0, "", "✓ one"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var screen terminal
			screen.write(tt.in)
			if got := runsOf(screen.rows[len(screen.rows)-1]); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("runs of %q = %v, want %v", tt.in, got, tt.want)
			}
		})
	}
}

// A line that is written again has a version for each time.
func TestVersionsOf(t *testing.T) {
	got, lines, ends := versionsOf(results.Recording{Writes: []results.Write{
		{At: 0, Text: "first\r\n"}, {At: 800, Text: "second, 1"}, {At: 1600, Text: "\rsecond, 2"}, {At: 2400, Text: "\r\n"},
	}})
	want := []version{
		{0, []run{{0, "", "first"}}, 800, forEver},
		{1, []run{{0, "", "second, 1"}}, 1000, 1200},
		{1, []run{{0, "", "second, 2"}}, 1200, forEver},
	}
	if !reflect.DeepEqual(got, want) || lines != 3 || ends != 1200 {
		t.Errorf("versions %v, %d lines, the last at %d ms; want %v, 3 and 1200", got, lines, ends, want)
	}
}
