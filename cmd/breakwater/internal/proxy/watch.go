package proxy

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settled is how long a file must be left alone before it is read: editors and installers write in
// several steps.
const settled = 250 * time.Millisecond

// Watch calls changed each time that the contents of a file may have become others than they were at
// before, until ctx ends. It watches the folder, because editors replace a file by another one, and
// Kubernetes replaces a symbolic link beside it.
func Watch(ctx context.Context, file string, before Stamp, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Add(filepath.Dir(file)); err != nil {
		return err
	}
	timer, waiting, last := time.NewTimer(0), true, before // it may have changed already
	wait := func() {
		if !waiting { // files beside it, such as a log, may change all the time
			waiting = true
			timer.Reset(settled)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return nil
			}
			wait()
		case _, ok := <-w.Errors:
			if !ok {
				return nil
			}
			wait() // events may be lost
		case <-timer.C:
			waiting = false
			switch now := StampOf(file); {
			case now != last:
				last = now
				wait()
			case now != before:
				before = now
				changed()
			}
		}
	}
}

// A Stamp tells versions of a file apart.
type Stamp struct {
	target string // where symbolic links lead
	size   int64
	at     time.Time
}

// StampOf returns the stamp of a file; it is zero if there is none.
func StampOf(file string) Stamp {
	target, err := filepath.EvalSymlinks(file)
	if err != nil {
		return Stamp{}
	}
	info, err := os.Stat(target)
	if err != nil {
		return Stamp{}
	}
	return Stamp{target, info.Size(), info.ModTime()}
}
