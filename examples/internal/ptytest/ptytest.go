// Package ptytest runs a program in a terminal of 80 columns and 24 rows, and
// says what a person sees there.
package ptytest

import (
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The size of the terminal.
const (
	Rows    = 24
	Columns = 80
)

// Run runs a program whose standard output and error are a terminal, and returns
// what it wrote. Where there is no terminal, the test is skipped.
func Run(t testing.TB, program *exec.Cmd) (output string, err error) {
	t.Helper()
	terminal, end, err := open()
	if err != nil {
		t.Skip("no terminal: ", err)
	}
	defer terminal.Close()
	program.Stdout, program.Stderr = end, end
	err = program.Start()
	end.Close()
	if err != nil {
		t.Fatal(err)
	}
	// Once the program has ended, reading from its terminal is an error.
	written, _ := io.ReadAll(terminal)
	return string(written), program.Wait()
}

// Colors matches what changes colours.
var Colors = regexp.MustCompile("\x1b\\[[0-9;]*m")

// A View is what a person sees after a program has written all of its output.
type View struct {
	Lines  []string // all, from the first; what has been overwritten is gone
	Widest int      // columns of the widest line that was to be seen at any time
}

// ViewOf knows colours, \r and \n; other control characters are a failure.
func ViewOf(t testing.TB, output string) (v View) {
	t.Helper()
	var line []rune
	column := 0
	for _, r := range Colors.ReplaceAllString(output, "") {
		switch {
		case r == '\r':
			column = 0
		case r == '\n':
			v.Lines = append(v.Lines, strings.TrimRight(string(line), " "))
			line, column = nil, 0
		case r < ' ' || r == 0x7f:
			t.Errorf("control character %q in\n%q", r, output)
		case column < len(line):
			line[column] = r
			column++
		default:
			line = append(line, r)
			column++
			v.Widest = max(v.Widest, column)
		}
	}
	if len(line) > 0 {
		v.Lines = append(v.Lines, string(line))
	}
	return v
}
