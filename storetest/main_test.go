package storetest_test

import (
	"testing"

	"github.com/breakwater-go/breakwater/internal/leaks"
)

// TestMain fails the run if a check leaves goroutines behind.
func TestMain(m *testing.M) { leaks.Main(m) }
