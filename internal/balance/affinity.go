package balance

import (
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// muchMore is how many times the least cost of all targets a conversation's own
// one may have: beyond that, its cached prefix is not worth the wait.
const muchMore = 4

// maxConversations bounds the conversations that are remembered. One that is
// forgotten goes where its hash says, as a new one does.
const maxConversations = 4096

// Affinity is the Strategy that keeps the calls of a conversation at the target
// that served the latest of them: it has their common prefix in its cache. A
// new conversation goes where its hash says. Calls of none, and those whose
// targets are all too busy or too slow, go to the Strategy below. A nil
// Affinity remembers nothing.
type Affinity struct {
	overload float64
	below    Strategy

	mu     sync.Mutex // guards what follows
	served *simplelru.LRU[uint64, *Target]
}

// NewAffinity returns an Affinity that piles up no more attempts at a target
// than overload times its even share of those open, over another Strategy.
func NewAffinity(overload float64, below Strategy) *Affinity {
	served, _ := simplelru.NewLRU[uint64, *Target](maxConversations, nil) // fails on sizes below 1 only
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

// home returns the target that has the conversation's prefix in its cache or,
// for a new conversation, the one that is to have it. It returns false if no
// target is worth it.
func (a *Affinity) home(now time.Time, conversation uint64, targets []*Target) (int, bool) {
	a.mu.Lock()
	last, _ := a.served.Get(conversation)
	a.mu.Unlock()
	var open int64
	least := math.Inf(1)
	for _, t := range targets {
		open += t.Load.Open()
		least = min(least, t.Load.cost(now))
	}
	// Consistent hashing with bounded loads: https://arxiv.org/abs/1608.01350.
	bound := math.Ceil(a.overload * float64(open+1) / float64(len(targets)))
	chosen, highest := -1, uint64(0)
	for i, t := range targets {
		switch {
		case float64(t.Load.Open()) >= bound, t.PrefixCache.Ineffective(now), t.Load.cost(now) > muchMore*least:
			continue
		case t == last:
			return i, true
		}
		if rank := scatter(conversation ^ t.Seed); chosen < 0 || rank > highest {
			chosen, highest = i, rank
		}
	}
	return chosen, chosen >= 0
}

// Remember notes that a target served a call of the conversation, and how many
// of the prompt's tokens it had in its cache.
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
	cacheableTokens     = 1024 // shorter prompts prove nothing: hosts cache in units of that order
	ineffectiveMisses   = 10
	ineffectiveDuration = 10 * time.Minute
)

// A PrefixCache watches whether a target caches prefixes at all. The zero value
// expects that it does.
type PrefixCache struct {
	mu     sync.Mutex // guards what follows
	misses int        // in a row
	until  time.Time  // how long the cache counts as ineffective
}

// Ineffective reports whether the target has lately cached nothing that it
// should have.
func (p *PrefixCache) Ineffective(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.until)
}

// observe notes whether a prompt that the target had seen before was in its cache.
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
