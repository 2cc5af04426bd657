package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// newLogger returns a logger that writes to w in a form. flush writes what it still holds.
func newLogger(form string, w io.Writer) (log *slog.Logger, flush func(), err error) {
	lines := &lines{w: w}
	switch form {
	case "text":
		return slog.New(prompt{slog.NewTextHandler(lines, nil), lines}), lines.flush, nil
	case "json":
		return slog.New(prompt{slog.NewJSONHandler(lines, nil), lines}), lines.flush, nil
	case "off":
		return slog.New(slog.DiscardHandler), lines.flush, nil
	}
	return nil, nil, fmt.Errorf("--log is %q: want text, json or off", form)
}

// linesWait is how long a line waits for others, and linesHeld how many bytes may wait. A write for each request
// would cost as much as a tenth of the request.
const (
	linesWait = 100 * time.Millisecond
	linesHeld = 32 << 10
)

// lines is a writer that gathers lines, and writes them together.
type lines struct {
	mu    sync.Mutex
	w     io.Writer
	held  []byte
	timer *time.Timer // it runs while lines are held
}

// Write takes a line.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.held) == 0 {
		l.timer = time.AfterFunc(linesWait, l.flush)
	}
	if l.held = append(l.held, line...); len(l.held) >= linesHeld {
		l.write()
	}
	return len(line), nil
}

// flush writes what is held.
func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write()
}

// write writes what is held, if there is something. Nobody can be told if that fails.
func (l *lines) write() {
	if len(l.held) > 0 {
		l.timer.Stop()
		l.w.Write(l.held)
		l.held = l.held[:0]
	}
}

// prompt is a handler that writes warnings and errors at once, behind the lines that wait.
type prompt struct {
	slog.Handler
	lines *lines
}

// Handle writes a record.
func (p prompt) Handle(ctx context.Context, r slog.Record) error {
	err := p.Handler.Handle(ctx, r)
	if r.Level > slog.LevelInfo {
		p.lines.flush()
	}
	return err
}

// WithAttrs returns a handler with attributes.
func (p prompt) WithAttrs(attrs []slog.Attr) slog.Handler {
	return prompt{p.Handler.WithAttrs(attrs), p.lines}
}

// WithGroup returns a handler with a group.
func (p prompt) WithGroup(name string) slog.Handler {
	return prompt{p.Handler.WithGroup(name), p.lines}
}
