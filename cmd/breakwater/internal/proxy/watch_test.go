package proxy

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// A log beside the file is written all the time. Changes of the file are still noticed.
func TestWatch_BusyFolder(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "breakwater.yaml")
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}
	write(file, "a")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	changes := make(chan struct{}, 10)
	before := StampOf(file)
	running.Go(func() {
		if err := Watch(ctx, file, before, func() { changes <- struct{}{} }); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() {
		for tick := time.NewTicker(time.Millisecond); ; {
			select {
			case <-tick.C:
				write(filepath.Join(folder, "log"), "line")
			case <-ctx.Done():
				tick.Stop()
				return
			}
		}
	})
	for _, text := range []string{"ab", "abc"} {
		write(file, text)
		select {
		case <-changes:
		case <-ctx.Done():
			t.Fatal("the change went unnoticed")
		}
	}
}
