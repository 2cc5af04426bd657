// Package results has what bench measures, in the form in which it is kept
// under testdata, so that the charts can be drawn again without measuring.
package results

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// A Source says where figures come from.
type Source struct {
	Command string // in the folder bench
	Date    string
	Go      string
	Machine string
}

// Now is the source of what the command measures now.
func Now(command string) Source {
	return Source{
		Command: command,
		Date:    time.Now().UTC().Format(time.DateOnly),
		Go:      runtime.Version(),
		Machine: fmt.Sprintf("%d cores, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH),
	}
}

// An Outcome is what a client made of a call.
type Outcome string

const (
	Right  Outcome = "✓"
	Failed Outcome = "–" // an error, which the client's code sees
	Wrong  Outcome = "✗" // taken for an answer, and not the right one
)

// Faults is what became of a call, by fault and client.
type Faults struct {
	Source
	Patience string // of the callers
	Clients  []string
	Rows     []FaultRow
}

// A FaultRow has the outcomes by client, each for JSON and for a stream.
type FaultRow struct {
	Fault         string
	Once, Lasting [][2]Outcome // the fault passes, and the fault stays
}

// Overhead is what clients add to a call.
type Overhead struct {
	Source
	Rows []OverheadRow
}

// An OverheadRow is of requests of one size on so many cores.
type OverheadRow struct {
	RequestBytes, Cores int
	Added               []Cost
}

// A Cost is what a client takes for a call.
type Cost struct {
	Client                     string
	Nanoseconds, Bytes, Allocs float64
}

// Outage is what became of the calls of each second of an outage.
type Outage struct {
	Source
	CallsPerSecond int // by each client
	Phases         []Phase
	Clients        []Answers
}

// A Phase is a stretch of an outage, in seconds from its beginning.
type Phase struct {
	Name     string
	From, To int
}

// Answers count what one client got for the calls of each second.
type Answers struct {
	Client string
	// Right are right answers but stale ones; Wrong were taken for answers, and were not the right ones.
	Right, Stale, Failed, Wrong []int
}

// A Recording is what a program wrote to a terminal, and when.
type Recording struct {
	Source
	Program       string // as it is called in the root
	Columns, Rows int    // of the terminal
	Writes        []Write
}

// A Write is what was written at a time, in milliseconds from the beginning.
type Write struct {
	At   int64
	Text string
}

// Save keeps what was measured.
func Save(folder, name string, measured any) error {
	text, err := json.Marshal(measured)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, name+".json"), append(text, '\n'), 0o644)
}

// Load reads what Save has kept.
func Load(folder, name string, into any) error {
	text, err := os.ReadFile(filepath.Join(folder, name+".json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
