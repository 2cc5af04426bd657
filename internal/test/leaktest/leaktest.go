// Package leaktest fails a run of tests that leaves goroutines behind.
package leaktest

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"testing"
	"time"
)

// Main is a TestMain: it runs the tests and exits.
func Main(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	deadline := time.Now().Add(time.Minute)                  // for what is about to end, on a busy machine
	fuzzing := flag.Lookup("test.fuzz").Value.String() != "" // which leaves one of its own
	for code == 0 && !fuzzing && runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s\n", buf[:runtime.Stack(buf, true)])
			code = 1
		}
		time.Sleep(time.Millisecond)
	}
	os.Exit(code)
}
