package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/creack/pty"

	"github.com/breakwater-go/breakwater/bench/internal/results"
)

const (
	recorded = "./examples/quickstart"
	// tick is the shortest time for which a line that changes is kept.
	tick = 500 * time.Millisecond
)

// record runs the quickstart in a terminal, and keeps what it writes there.
func record(to string) error {
	folder, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	program := filepath.Join(folder, "quickstart")
	build := exec.Command("go", "build", "-o", program, recorded) // beforehand, for nobody wants to watch that
	build.Dir, build.Stderr = "..", os.Stderr
	if err := build.Run(); err != nil {
		return err
	}
	kept := results.Recording{Source: results.Now("go run . record"), Program: "go run " + recorded, Columns: 80, Rows: 24}
	kept.Writes, err = watch(exec.Command(program), kept.Columns, kept.Rows)
	if err != nil {
		return err
	}
	kept.Writes = thinned(kept.Writes)
	return results.Save(to, "quickstart", kept)
}

// watch runs a program in a terminal with colours, and shows what it writes. It
// knows no key, so that the quickstart plays its outage.
func watch(program *exec.Cmd, columns, rows int) (writes []results.Write, err error) {
	program.Env = []string{"TERM=xterm", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	terminal, err := pty.StartWithSize(program, &pty.Winsize{Rows: uint16(rows), Cols: uint16(columns)})
	if err != nil {
		return nil, err
	}
	defer terminal.Close()
	start := time.Now()
	piece := make([]byte, 64<<10)
	for {
		n, err := terminal.Read(piece)
		if err != nil { // not io.EOF: the other end is closed
			return writes, program.Wait()
		}
		fmt.Printf("%s", piece[:n])
		writes = append(writes, results.Write{At: time.Since(start).Milliseconds(), Text: string(piece[:n])})
	}
}

// thinned leaves out what is overwritten in the same tick.
func thinned(writes []results.Write) (kept []results.Write) {
	for i, w := range writes {
		overwritten := i+1 < len(writes) && strings.HasPrefix(writes[i+1].Text, "\r") && writes[i+1].At/tick.Milliseconds() == w.At/tick.Milliseconds()
		if overwritten && strings.HasPrefix(w.Text, "\r") && !strings.Contains(w.Text, "\n") {
			continue
		}
		kept = append(kept, w)
	}
	return kept
}
