// Package storetest tests implementations of [breakwater.Store], as
// testing/fstest tests file systems. For example, the test of a Store on Redis is
//
//	func TestStore(t *testing.T) {
//		storetest.RunShared(t, func(t *testing.T) (one, other breakwater.Store) {
//			return dial(t), dial(t)
//		})
//	}
//
// A Store passes if it returns what was set. It may contain other entries already,
// since every key of the tests is random. It may keep an entry for longer than it
// was told to; the tests set entries for up to an hour. With a context that is
// done, it may answer or return an error.
//
// A Store fails if it keeps an entry for a shorter time, rounds keep down, or drops
// entries to make room. Test one that has room for 64 MiB. If it has replicas that
// lag behind, test the primary.
//
// Run the tests with -race. They take about two seconds.
package storetest

import (
	"context"
	"testing"

	"github.com/breakwater-go/breakwater"
)

// Run tests the Stores that open returns. It runs several subtests and calls open
// once for each, with the subtest's t. Use t.Cleanup to close the Store.
func Run(t *testing.T, open func(t *testing.T) breakwater.Store) {
	t.Helper()
	RunShared(t, func(t *testing.T) (one, other breakwater.Store) {
		one = open(t)
		return one, one
	})
}

// RunShared is like Run, for two clients of one Store, such as two processes have.
// It also tests that each client gets what the other has set.
func RunShared(t *testing.T, open func(t *testing.T) (one, other breakwater.Store)) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			one, other := open(t)
			c.run(&pair{reporter: t, one: one, other: other})
		})
	}
}

// checks are the subtests of Run and RunShared.
var checks = []struct {
	name string
	run  func(*pair)
}{
	{"Miss", (*pair).miss},
	{"Bytes", (*pair).bytes},
	{"Copies", (*pair).copies},
	{"Overwrite", (*pair).overwrite},
	{"Keys", (*pair).keys},
	{"Keep", (*pair).keep},
	{"ContextDone", (*pair).contextDone},
	{"CancelUnderWay", (*pair).cancelUnderWay},
	{"Concurrent", (*pair).concurrent},
	{"Transport", (*pair).transport},
}

// A reporter is the part of testing.T that checks need.
type reporter interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}
