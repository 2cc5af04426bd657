// Package growth tells work that grows with its size from work that grows with
// the square of it. It sets no bound on time: a busy machine is slow for both
// sizes.
package growth

import (
	"testing"
	"time"
)

const (
	factor = 64
	most   = 1000 // times as long: 64 times is linear, 4,096 times is the square
	tries  = 5    // a machine may be busy with something else during one of them
)

// Linear fails the test if do takes out of all proportion longer for 64 times
// the size.
func Linear(t testing.TB, size int, do func(size int)) {
	t.Helper()
	var small, large time.Duration
	for range tries {
		small, large = took(size, do), took(factor*size, do)
		if large < most*small {
			return
		}
	}
	t.Errorf("%d times the size takes %d times as long (%v, %v), want about %d times", factor, large/small, small, large, factor)
}

func took(size int, do func(int)) time.Duration {
	start := time.Now()
	do(size)
	return max(time.Since(start), 1)
}
