package genkit

import (
	"os"
	"os/signal"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/leaktest"
)

// TestMain fails the run if goroutines are left behind by it: an SDK that
// never closes a body must not cost a connection.
func TestMain(m *testing.M) {
	// genkit listens to signals, for which the runtime starts a goroutine that
	// never ends: it is to be there before they are counted.
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	signal.Stop(c)
	leaktest.Main(m)
}
