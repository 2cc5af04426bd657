package keysource

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// unsettled is how long after its last change a file may be changed once more without
// another time of change: clocks of file systems are coarse.
const unsettled = 2 * time.Second

// File returns a Func that reads the key from a file. It reads the file again when that was
// changed or replaced, and when a key was rejected. Its errors quote neither the content nor
// the path: somebody may have given a key for the path.
func File(path string) Func {
	f := &file{path: path}
	return func(_ context.Context, rejected string) (string, error) { return f.key(rejected != "") }
}

// A file is a file with a key, as it was read last.
type file struct {
	path string

	mu      sync.Mutex  // guards what follows
	read    os.FileInfo // of the file that was read; nil: none was, or it may have changed since without a sign
	content string
}

func (f *file) key(rejected bool) (string, error) {
	now, err := os.Stat(f.path) // follows links: Kubernetes exchanges them
	if err != nil {
		return "", fileError(err)
	}
	if !now.Mode().IsRegular() { // to open a pipe could wait for ever
		return "", errNoFile
	}
	f.mu.Lock()
	read, content := f.read, f.content
	f.mu.Unlock()
	if !rejected && read != nil && isSame(read, now) {
		return content, nil
	}
	info, text, err := readKey(f.path)
	if err != nil {
		return "", err
	}
	fresh := time.Since(info.ModTime()) < unsettled
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case text != "":
	case content != "" && fresh && !rejected: // it is being written
		return content, nil
	default:
		return "", errEmpty
	}
	f.read, f.content = info, text
	if fresh {
		f.read = nil
	}
	return text, nil
}

// isSame reports whether a file is the one that was read, unchanged.
func isSame(read, now os.FileInfo) bool {
	return os.SameFile(read, now) && read.Size() == now.Size() && read.ModTime().Equal(now.ModTime())
}

// readKey reads a file, without a line break at its end. The information is from before its
// content was read.
func readKey(path string) (os.FileInfo, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", fileError(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, "", fileError(err)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	switch {
	case err != nil:
		return nil, "", fileError(err)
	case len(content) > maxKey:
		return nil, "", errTooLong
	}
	text := strings.TrimSuffix(string(content), "\n")
	return info, strings.TrimSuffix(text, "\r"), nil
}

const (
	errEmpty   = outcome.Error("the file is empty")
	errNoFile  = outcome.Error("the path leads to no file, but to a directory or a device")
	errTooLong = outcome.Error("the file is longer than 64 KiB")
)

// fileError returns an error that does not quote the path.
func fileError(err error) error {
	why := outcome.Error("the file cannot be read")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why = "the file does not exist"
	case errors.Is(err, fs.ErrPermission):
		why = "the file may not be read"
	}
	return outcome.Broken(why, err)
}
