// Package storetest tests implementations of [breakwater.Store], as
// testing/fstest does file systems. A Store on Redis, say, is tested by
//
//	func TestStore(t *testing.T) {
//		storetest.RunShared(t, func(t *testing.T) (one, other breakwater.Store) {
//			return dial(t), dial(t)
//		})
//	}
//
// A Store may hold entries already, and its entries may outlive the tests by an
// hour: every key is random. It may keep an entry for longer than it was told
// to, and answer a context that is done or not; what it answers must be right.
// It may not keep an entry for less, round keep down, or drop entries for want
// of room: give the tests one that has room for 64 MiB. Where there are
// replicas that lag behind, test against the primary.
//
// Run the tests with -race. They take some two seconds.
package storetest

import (
	"context"
	"testing"

	"github.com/breakwater-go/breakwater"
)

// Run tests the Stores that open returns: it is called once for each of several
// subtests, with the subtest's t, whose Cleanup may close the Store.
func Run(t *testing.T, open func(t *testing.T) breakwater.Store) {
	t.Helper()
	RunShared(t, func(t *testing.T) (one, other breakwater.Store) {
		one = open(t)
		return one, one
	})
}

// RunShared is Run for two clients of one Store, as two processes have them:
// what one of them has set, the other gets.
func RunShared(t *testing.T, open func(t *testing.T) (one, other breakwater.Store)) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			one, other := open(t)
			c.run(&pair{reporter: t, one: one, other: other})
		})
	}
}

// checks are all there are, each under the name of its subtest.
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
