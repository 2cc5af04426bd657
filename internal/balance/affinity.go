package balance

import (
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// muchMore bounds the cost of a conversation's own target, as a multiple of the least cost
// of all targets. Beyond that, its cached prefix is not worth the wait.
const muchMore = 4

// maxConversations bounds how many conversations are remembered. A forgotten one goes to
// the target that its hash selects, as a new one does.
const maxConversations = 4096

// Affinity is the Strategy that keeps the calls of a conversation at the target that
// served the latest of them, because that has their common prefix in its cache. The hash
// of a new conversation selects its target. Calls without a conversation, and calls whose
// targets are all too busy or too slow, go to the Strategy below. A nil Affinity remembers
// nothing.
type Affinity struct {
	overload float64
	below    Strategy

	mu     sync.Mutex // guards what follows
	served *simplelru.LRU[uint64, *Target]
}

// Served returns the target that served the latest call of a conversation, or nil if it is not
// remembered.
func (a *Affinity) Served(conversation uint64) *Target {
	a.mu.Lock()
	defer a.mu.Unlock()
	target, _ := a.served.Peek(conversation)
	return target
}

// NewAffinity returns an Affinity above another Strategy. It gives no target more than
// overload times its even share of the open attempts.
func NewAffinity(overload float64, below Strategy) *Affinity {
	served, _ := simplelru.NewLRU[uint64, *Target](maxConversations, nil) // fails only for a size below 1
	return &Affinity{overload: overload, below: below, served: served}
}

// Pick implements [Strategy].
func (a *Affinity) Pick(now time.Time, conversation uint64, targets []*Target) int {
	if conversation != 0 {
		if i, ok := a.home(now, conversation, targets); ok {
			return i
		}
	}
	return a.below.Pick(now, conversation, targets)
}

// home returns the target that has the conversation's prefix in its cache or, for a new
// conversation, the one that its hash selects. It returns false if no target is good
// enough.
func (a *Affinity) home(now time.Time, conversation uint64, targets []*Target) (int, bool) {
	a.mu.Lock()
	last, _ := a.served.Get(conversation)
	a.mu.Unlock()
	s, least := sharesOf(targets), math.Inf(1)
	for _, t := range targets {
		least = min(least, s.offer(now, t))
	}
	chosen, highest := -1, 0.0
	for i, t := range targets {
		// Consistent hashing with bounded loads: https://arxiv.org/abs/1608.01350.
		bound := math.Ceil(s.of(t, a.overload*float64(s.open+1)))
		switch {
		case float64(t.Load.Open()) >= bound, t.PrefixCache.Ineffective(now), s.cost(now, t) > muchMore*least:
			continue
		case t == last:
			return i, true
		}
		if rank := s.rank(conversation, t); chosen < 0 || rank > highest {
			chosen, highest = i, rank
		}
	}
	return chosen, chosen >= 0
}

// rank returns a number by which the target with the highest one gets a new conversation.
// Each target is the highest for a part of all conversations that is in proportion to its
// weight, and if a weight changes, no more conversations move than must: weighted rendezvous
// hashing, https://datatracker.ietf.org/doc/html/draft-ietf-bess-weighted-hrw.
func (s shares) rank(conversation uint64, t *Target) float64 {
	hash := scatter(conversation ^ t.Seed)
	if s.even {
		return float64(hash)
	}
	return -t.Weight() / math.Log((float64(hash>>11)+0.5)/(1<<53))
}

// Remember notes that a target served a call of the conversation, and how many tokens of
// the prompt were in the target's cache.
func (a *Affinity) Remember(now time.Time, conversation uint64, t *Target, promptTokens, cachedTokens int) {
	if a == nil || conversation == 0 {
		return
	}
	a.mu.Lock()
	last, known := a.served.Get(conversation)
	a.served.Add(conversation, t)
	a.mu.Unlock()
	if known && last == t && promptTokens >= cacheableTokens {
		t.PrefixCache.observe(now, cachedTokens > 0)
	}
}

const (
	cacheableTokens     = 1024 // hosts cache in units of about this size, so a shorter prompt proves nothing
	ineffectiveMisses   = 10
	ineffectiveDuration = 10 * time.Minute
)

// A PrefixCache observes whether a target caches prefixes at all. The zero value expects
// that it does.
type PrefixCache struct {
	mu     sync.Mutex // guards what follows
	misses int        // in a row
	until  time.Time  // until when the cache counts as ineffective
}

// Ineffective reports whether the target has recently missed prefixes that it should have
// cached.
func (p *PrefixCache) Ineffective(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.until)
}

// observe notes whether the cache had a prompt that the target had seen before.
func (p *PrefixCache) observe(now time.Time, hit bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.misses++; hit {
		p.misses = 0
	}
	if p.misses >= ineffectiveMisses {
		p.misses, p.until = 0, now.Add(ineffectiveDuration)
	}
}
