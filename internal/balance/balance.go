// Package balance chooses which of several equal targets gets the next attempt.
//
// A [Target] holds what is known of one of them: its load, and whether it caches prefixes.
// A [Strategy] picks a target by that. [TwoChoices] compares their load. [Affinity] keeps
// the calls of a conversation at one target while that is worth it, and leaves all others
// to another Strategy.
//
// The owner of a target reports each attempt to its Load: Begin, then Send when a part of
// the request leaves, Sample or Fail, and End. All methods are safe for concurrent use and
// wait for nothing but a mutex. The failover layer and the upstreams of the root are the
// users.
package balance

import (
	"hash/crc32"
	"math/bits"
	"time"
)

// A Target is one of those that could take an attempt. It is embedded by value and must
// not be copied once it is in use. The zero Target is ready but for its Seed.
type Target struct {
	Load        Load
	PrefixCache PrefixCache
	Seed        uint64 // from SeedOf: ranks the target for a conversation
}

// SeedOf returns the Seed of a target by its name. It is the same in all processes, so
// that they send a new conversation to the same target.
func SeedOf(name string) uint64 { return scatter(uint64(crc32.ChecksumIEEE([]byte(name)))) }

// A Strategy picks the target of the next attempt.
type Strategy interface {
	// Pick returns the index of one of the targets, of which there is at least one. Their
	// order rotates by one from call to call, so a strategy that always takes the first is
	// round robin. conversation is the key of the conversation that the attempt belongs
	// to; 0: none.
	Pick(now time.Time, conversation uint64, targets []*Target) int
}

// TwoChoices is the Strategy of two random choices. It takes the first target, unless
// another one, drawn at random, has clearly less load. So targets with the same load take
// turns.
type TwoChoices struct {
	Random func(n int) int // returns a number below n
}

// clearlyLess is the share of the first target's cost that another's cost must stay below
// to be taken instead.
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

// scatter mixes the bits of x, so that near numbers do not rank in order.
func scatter(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	return hi ^ lo
}
