package storetest_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/storetest"
)

// A memory is a Store for the Transports of one process. It forgets nothing.
type memory struct {
	mu   sync.RWMutex // guards kept
	kept map[string][]byte
}

func newMemory() *memory { return &memory{kept: make(map[string][]byte)} }

func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return bytes.Clone(m.kept[key]), nil // nil stays nil
}

func (m *memory) Set(_ context.Context, key string, entry []byte, _ time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept[key] = bytes.Clone(entry)
	return nil
}

// In a TestMemory(t *testing.T):
func ExampleRun() {
	var t *testing.T
	storetest.Run(t, func(*testing.T) breakwater.Store { return newMemory() })
}

// Two clients of one server, as two processes have them:
func ExampleRunShared() {
	var t *testing.T
	dial := func(server *memory) breakwater.Store { return server } // with t.Cleanup to hang up
	storetest.RunShared(t, func(*testing.T) (one, other breakwater.Store) {
		server := newMemory()
		return dial(server), dial(server)
	})
}
