// Package balance chooses which of several equal targets gets the next attempt.
//
// A [Target] holds what is known of one of them: its load, whether it caches prefixes, and
// the weight of its share.
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
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// A Target is one of those that could take an attempt. It is embedded by value and must
// not be copied once it is in use. The zero Target is ready but for its Seed.
type Target struct {
	Load        Load
	PrefixCache PrefixCache
	Seed        uint64 // from SeedOf: ranks the target for a conversation

	weight atomic.Uint64 // the bits of a float64; 0: it was not set, which means 1
}

// SetWeight sets the share that the target gets beside others, which is positive. Without it,
// that is 1.
func (t *Target) SetWeight(w float64) { t.weight.Store(math.Float64bits(w)) }

// Weight returns the share that the target gets beside others.
func (t *Target) Weight() float64 {
	if bits := t.weight.Load(); bits != 0 {
		return math.Float64frombits(bits)
	}
	return 1
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
// turns. Of targets with different weights it draws both, in proportion to these.
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
	s := sharesOf(targets)
	first, other := 0, 0
	if s.even {
		other = 1 + t.Random(len(targets)-1)
	} else {
		first = t.draw(targets, s.weights, -1)
		other = t.draw(targets, s.weights-targets[first].Weight(), first)
	}
	if s.offer(now, targets[other]) < clearlyLess*s.cost(now, targets[first]) {
		return other
	}
	return first
}

// draw returns the index of a target, but not of one, in proportion to their weights, whose
// sum is given.
func (t TwoChoices) draw(targets []*Target, sum float64, but int) int {
	at, last := float64(t.Random(1<<30))/(1<<30)*sum, but
	for i, target := range targets {
		if i == but {
			continue
		}
		if last = i; at < target.Weight() {
			break
		}
		at -= target.Weight()
	}
	return last // the last one if rounding left a rest
}

// shares says how targets share the attempts.
type shares struct {
	even    bool    // all weights are equal
	weights float64 // their sum
	open    int64   // attempts at all targets
}

func sharesOf(targets []*Target) shares {
	s := shares{even: true}
	for _, t := range targets {
		w := t.Weight()
		s.even = s.even && w == targets[0].Weight()
		s.weights += w
		s.open += t.Load.Open()
	}
	if s.even {
		s.weights = float64(len(targets))
	}
	return s
}

// of returns the part of n that is the target's share.
func (s shares) of(t *Target, n float64) float64 {
	if s.even {
		return n / s.weights
	}
	return n * t.Weight() / s.weights
}

// slack is how many open attempts more than its share, or fewer, say little about a target
// with another weight than others: where its share is below one attempt, it has none or too
// many at each moment.
const slack = 4

// cost returns what one more attempt would cost at the target that is to get it.
func (s shares) cost(now time.Time, t *Target) float64 {
	if s.even {
		return t.Load.cost(now)
	}
	_, left := t.Load.means(now)
	return s.fullness(t) * left
}

// offer returns what the attempt would cost at another target instead. If weights differ,
// that one has to have shown it: else a target with a small weight, of which little is known
// at most moments, would get attempts because its last wait is half forgotten. It is drawn
// often enough to be tried again.
func (s shares) offer(now time.Time, t *Target) float64 {
	if s.even {
		return t.Load.cost(now)
	}
	shown, _ := t.Load.means(now)
	return s.fullness(t) * shown
}

// fullness returns the open attempts of the target as a multiple of its share of them.
func (s shares) fullness(t *Target) float64 {
	return (float64(t.Load.Open()) + slack) / (s.of(t, float64(s.open)) + slack)
}

// scatter mixes the bits of x, so that near numbers do not rank in order.
func scatter(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	return hi ^ lo
}
