package chaos_test

import (
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/leaktest"
)

// TestMain fails the run if an Injector leaves goroutines behind.
func TestMain(m *testing.M) { leaktest.Main(m) }
