package breakwater

import (
	"context"
	"time"
)

// A Store keeps entries for several processes. What it returns is checked: an
// entry that is not whole is a miss, and an error or a delay costs an event,
// never the call. It must be safe for concurrent use. Package storetest has
// tests for one.
type Store interface {
	// Get returns the entry kept under key, or nil if there is none.
	Get(ctx context.Context, key string) ([]byte, error)
	// Set keeps an entry under key for at least keep.
	Set(ctx context.Context, key string, entry []byte, keep time.Duration) error
}
