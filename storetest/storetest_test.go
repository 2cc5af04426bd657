package storetest_test

import (
	"testing"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/storetest"
)

// A client is one of several of a server.
type client struct{ *memory }

func TestRunShared(t *testing.T) {
	t.Parallel()
	storetest.RunShared(t, func(*testing.T) (one, other breakwater.Store) {
		server := newMemory()
		return client{server}, client{server}
	})
}
