//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/breakwater-go/breakwater/cmd/breakwater/config"
)

// pipe makes a named pipe.
func pipe(t *testing.T) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(at, 0o600); err != nil {
		t.Fatal(err)
	}
	return at
}

// A configuration that is a pipe without a writer does not stop a proxy from reading the next one.
func TestConfig_Pipe(t *testing.T) {
	if _, err := config.Load(pipe(t), os.LookupEnv); err == nil || !strings.Contains(err.Error(), "the file is empty") {
		t.Errorf("Load = %v", err)
	}
}

// SIGHUP while the proxy starts does not end it. The test knows that it starts when it reads its certificate,
// which is a pipe.
func TestProxy_HangupWhileItStarts(t *testing.T) {
	primary, _ := fleet(t)
	cert, file := pipe(t), filepath.Join(t.TempDir(), "breakwater.yaml")
	write(t, file, configOf(primary)+"server:\n  tls: {cert: "+cert+", key: "+file+"}\n")
	p := start(t, "proxy", "--config", file)
	w, err := os.OpenFile(cert, os.O_WRONLY, 0) // waits for the reader
	if err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	w.WriteString("no certificate")
	w.Close()
	if got := p.status(); got != statusUsage {
		t.Errorf("exit status %d, want %d: %s", got, statusUsage, p.log())
	}
}
