package compat

import (
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/leaktest"
)

// TestMain fails the run if goroutines are left behind by it: an SDK that
// never closes a body must not cost a connection.
func TestMain(m *testing.M) { leaktest.Main(m) }
