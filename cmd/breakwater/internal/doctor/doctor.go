// Package doctor shows what package diagnose finds out: live while it runs, then as text or JSON.
package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/diagnose"
)

// A Target is an endpoint to look at.
type Target struct {
	Endpoint breakwater.Endpoint
	Variable string // the environment variable that its key should come from; empty: none is known
}

// A Config says what to look at and how to show it.
type Config struct {
	Targets  []Target
	Options  []diagnose.Option
	Language diagnose.Language
	JSON     bool      // Out gets JSON, and nobody sees progress
	Out      io.Writer // gets the reports
	Progress io.Writer // shows what is under way; a terminal is written over, anything else gets lines
	Env      func(string) (string, bool)
}

// Run looks at all endpoints at the same time, and writes what it found. It returns the reports in
// the order of the endpoints.
func Run(ctx context.Context, c Config) []diagnose.Report {
	var progress progress = silent{}
	if !c.JSON {
		progress = newProgress(c)
	}
	reports := make([]diagnose.Report, len(c.Targets))
	var looked sync.WaitGroup
	for i, p := range c.Targets {
		looked.Go(func() {
			opts := append(c.Options[:len(c.Options):len(c.Options)],
				diagnose.WithKeyVariable(p.Variable),
				diagnose.WithProgress(func(s diagnose.Stage) { progress.note(i, s) }))
			reports[i] = diagnose.Run(ctx, p.Endpoint, opts...)
			progress.done(i, reports[i])
		})
	}
	looked.Wait()
	progress.end()
	if c.JSON {
		writeJSON(c.Out, reports)
	} else {
		writeText(c.Out, reports, newStyle(c.Out, c.Env), c.Language)
	}
	return reports
}

// The JSON of all reports.
type document struct {
	Version   int               `json:"version"`
	Verdict   diagnose.Verdict  `json:"verdict"`
	Endpoints []diagnose.Report `json:"endpoints"`
}

func writeJSON(w io.Writer, reports []diagnose.Report) {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	_ = e.Encode(document{diagnose.Version, diagnose.Overall(reports...), reports}) // who reads it may have left
}

// isTerminal reports whether a writer is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// widthOf returns how many columns a terminal has, at most 79.
func widthOf(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 20 {
			return min(width-1, maxWidth)
		}
	}
	return maxWidth
}

const maxWidth = 79

// heightOf returns how many lines a terminal has.
func heightOf(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if _, height, err := term.GetSize(int(f.Fd())); err == nil && height > 0 {
			return height
		}
	}
	return 24
}

// A progress shows what is under way. Its methods may be called by several goroutines.
type progress interface {
	note(endpoint int, s diagnose.Stage)
	done(endpoint int, r diagnose.Report)
	end()
}

type silent struct{}

func (silent) note(int, diagnose.Stage)  {}
func (silent) done(int, diagnose.Report) {}
func (silent) end()                      {}

func newProgress(c Config) progress {
	names := make([]string, len(c.Targets))
	longest := 0
	for i, p := range c.Targets {
		names[i] = nameOf(p.Endpoint)
		longest = max(longest, columns(names[i]))
	}
	if isTerminal(c.Progress) && len(names) < heightOf(c.Progress) {
		return &live{w: c.Progress, style: newStyle(c.Progress, c.Env), language: c.Language, names: names, longest: min(longest, 24), width: widthOf(c.Progress), marks: make([]string, len(names)), under: make([]string, len(names))}
	}
	return &lines{w: c.Progress, language: c.Language, names: names, alone: len(names) == 1}
}

// nameOf returns how an endpoint is called: its name, else its host.
func nameOf(e breakwater.Endpoint) string {
	if e.Name != "" {
		return e.Name
	}
	return hostOf(e.URL)
}

// lines writes a line for each stage that has ended.
type lines struct {
	mu       sync.Mutex // guards w
	w        io.Writer
	language diagnose.Language
	names    []string
	alone    bool
}

func (l *lines) note(i int, s diagnose.Stage) {
	if s.State == diagnose.Running || s.State == diagnose.Skipped {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before := ""
	if !l.alone {
		before = l.names[i] + ": "
	}
	fmt.Fprintf(l.w, "%s%s: %s\n", before, stageNames[l.language][s.Name], states[l.language][s.State])
}

func (l *lines) done(int, diagnose.Report) {}
func (l *lines) end()                      {}

// live writes one line for each endpoint, over and over.
type live struct {
	mu       sync.Mutex // guards what follows
	w        io.Writer
	style    style
	language diagnose.Language
	names    []string
	longest  int
	width    int
	marks    []string // of the stages that have ended, coloured
	under    []string // what is under way
	drawn    bool
}

func (l *live) note(i int, s diagnose.Stage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.State == diagnose.Running {
		l.under[i] = stageNames[l.language][s.Name]
	} else {
		l.marks[i] += l.style.state(s.State, marks[s.State])
	}
	l.draw()
}

func (l *live) done(i int, r diagnose.Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.under[i] = verdicts[l.language][r.Verdict]
	l.draw()
}

// draw writes all lines over those of before.
func (l *live) draw() {
	if l.drawn {
		fmt.Fprintf(l.w, "\x1b[%dA", len(l.names))
	}
	l.drawn = true
	for i, name := range l.names {
		room := l.width - l.longest - len(diagnose.StageNames) - 4
		fmt.Fprintf(l.w, "\r\x1b[K%s  %s%s  %s\n", pad(cut(name, l.longest), l.longest), l.marks[i], spaces(len(diagnose.StageNames)-columns(plain(l.marks[i]))), cut(l.under[i], room))
	}
}

// end removes the lines: the reports follow.
func (l *live) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drawn {
		fmt.Fprintf(l.w, "\x1b[%dA\x1b[J", len(l.names))
	}
}
