package main

import (
	"os"
	"testing"
	"time"
)

// TestMain lets the measurement start this program as a server.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && (os.Args[1] == "host" || os.Args[1] == "forward") {
		if err := serveAs(os.Args[1:]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Calls and streams come through every proxy. Figures of so few mean nothing.
func TestProxies(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the command")
	}
	if err := compareHops(traffic{200, 500 * time.Millisecond, 1, 20, 50 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, 1}); err != nil {
		t.Fatal(err)
	}
}
