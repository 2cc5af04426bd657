// Package balance says which of several equal targets gets the next attempt.
//
// A [Target] is what is known of one of them: its load, and whether it caches
// prefixes. A [Strategy] picks one by that. [TwoChoices] goes by load.
// [Affinity] keeps the calls of a conversation together while that is worth it,
// and leaves all others to another Strategy.
//
// The owner of a target reports each attempt to its Load: Begin, Send where a
// part of the request leaves, Sample or Fail, and End. Everything here may be
// called by several goroutines at once. Nobody waits for more than a mutex.
package balance

import (
	"hash/crc32"
	"math/bits"
	"time"
)

// A Target is one of those that could take an attempt. Embed it by value, and
// do not copy it once it is in use. The zero Target is ready for use, but for
// its Seed.
type Target struct {
	Load        Load
	PrefixCache PrefixCache
	Seed        uint64 // from SeedOf: ranks the target among others for a conversation
}

// SeedOf returns the Seed of a target of that name. Other processes get the
// same one, so that they send a new conversation to the same target.
func SeedOf(name string) uint64 { return scatter(uint64(crc32.ChecksumIEEE([]byte(name)))) }

// A Strategy says which target gets the next attempt.
type Strategy interface {
	// Pick returns the index of one of the targets, of which there is at least
	// one. Their order turns by one from call to call, so that a strategy that
	// always takes the first is round robin. conversation says what the attempt
	// belongs to; 0: to none.
	Pick(now time.Time, conversation uint64, targets []*Target) int
}

// TwoChoices is the Strategy of two random choices: it takes the first target,
// unless another one, drawn at random, has clearly less load. Targets that do
// equally well thus take turns.
type TwoChoices struct {
	Random func(n int) int // returns a number below n
}

// clearlyLess is how little of the first target's cost another must have to be
// taken instead.
const clearlyLess = 0.75

// Pick implements [Strategy].
func (t TwoChoices) Pick(now time.Time, _ uint64, targets []*Target) int {
	if len(targets) == 1 {
		return 0
	}
	other := 1 + t.Random(len(targets)-1)
	if targets[other].Load.cost(now) < clearlyLess*targets[0].Load.cost(now) {
		return other
	}
	return 0
}

// scatter spreads the bits of x, so that near numbers rank in no order.
func scatter(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	return hi ^ lo
}
