//go:build unix

package keysource

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A file is read again when it changed, in whatever way, and when a key was rejected.
func TestFile_Changes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	long := time.Now().Add(-time.Hour)
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := func(when time.Time) {
		t.Helper()
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	key := File(path)
	for _, step := range []struct {
		name     string
		change   func()
		rejected string
		want     string
	}{
		{"at first", func() { write(path, "k1\n"); at(long) }, "", "k1"},
		{"unchanged", func() {}, "", "k1"},
		{"another length", func() { write(path, "k22\r\n"); at(long) }, "", "k22"},
		{"the same length and time, and rejected", func() { write(path, "k33\r\n"); at(long) }, "k22", "k33"},
		{"another time", func() { write(path, "k44"); at(long.Add(time.Second)) }, "", "k44"},
		{"just written, of the same length", func() { write(path, "k55") }, "", "k55"},
		{"again at once, with the same time", func() {
			before, _ := os.Stat(path)
			write(path, "k66")
			at(before.ModTime())
		}, "", "k66"},
		{"another file, of the same length and time", func() {
			other := filepath.Join(dir, "other")
			at(long)
			key(t.Context(), "")
			write(other, "k77")
			os.Chtimes(other, long, long)
			os.Rename(other, path)
		}, "", "k77"},
		{"being written", func() { write(path, "") }, "", "k77"},
		{"with two line breaks", func() { write(path, "k88\n\n") }, "", "k88\n"}, // the Source says what is wrong with it
		{"a link", func() {
			write(filepath.Join(dir, "v1"), "k99")
			os.Remove(path)
			os.Symlink("v1", path)
		}, "", "k99"},
	} {
		step.change()
		if got, err := key(t.Context(), step.rejected); got != step.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", step.name, got, err, step.want)
		}
	}
}

// What is wrong with a file is said without its content or its path.
func TestFile_Errors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "5ec4e7")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "missing"): "the file does not exist",
		"":                            "the file does not exist",
		"sk-5ec4e7":                   "the file does not exist",
		dir:                           "the path leads to no file, but to a directory or a device",
		pipe:                          "the path leads to no file, but to a directory or a device",
		"/dev/zero":                   "the path leads to no file, but to a directory or a device",
		"5ec4e7\x00":                  "the file cannot be read",
		write("empty", ""):            "the file is empty",
		write("line", "\n"):           "the file is empty",
		write("long", strings.Repeat("k", 64<<10+1)): "the file is longer than 64 KiB",
	} {
		key, err := File(path)(t.Context(), "")
		if key != "" || err == nil || outcome.LogText(err) != want || strings.Contains(err.Error(), "5ec4e7") {
			t.Errorf("%q: %q, %v, want %s", path, key, err, want)
		}
	}
	path := write("emptied", "k1")
	key := File(path)
	key(t.Context(), "")
	write("emptied", "")
	if got, err := key(t.Context(), "k1"); err == nil {
		t.Errorf("%q instead of the rejected key", got)
	}
	if err := os.Chtimes(path, time.Now(), time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got, err := key(t.Context(), ""); err == nil {
		t.Errorf("%q of a file that is empty for long", got)
	}
}
