package breakwater

import (
	"hash/crc32"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// BalancePolicy says which endpoint of a tier gets a call. Tiers come first: a
// lower one serves only while none above can.
//
// Within a tier, calls take turns as long as its endpoints do equally well. One
// that is slower to its first payload, or has more attempts open, gets less: of
// two at a time, the call goes where the product of both is smaller.
//
// Calls of one conversation go where the latest of them was served: the host
// has their common prefix in its cache, whose tokens cost a thirtieth to a
// fiftieth of new ones at DeepSeek.
type BalancePolicy struct {
	// Affinity is how long the prompt must be, in bytes, for its conversation to
	// be kept together. A conversation is told by model, user, tools, system
	// prompt and first message. It is given up where the endpoint is sick, full
	// or slow, or reports that it caches nothing. Default 2048; Off: never.
	Affinity int

	// Overload bounds the attempts that affinity may pile up at one endpoint, as
	// a multiple of its even share of those open in the tier. Default 1.25.
	Overload float64

	// Ramp is how long after its circuit has closed an endpoint is spared a
	// stampede: it takes as many attempts at once as it has answered since, and
	// one more, while somebody else can take the rest. Default 10s; Off: all at once.
	Ramp time.Duration
}

func (p BalancePolicy) resolve() (BalancePolicy, error) {
	f := fields{option: "WithBalance"}
	resolveField(&f, "Affinity", &p.Affinity, 2048)
	f.check(p.Overload >= 0, "Overload is %v: want a multiple of at least 1", p.Overload)
	resolveField(&f, "Overload", &p.Overload, 1.25)
	f.check(p.Overload >= 1, "Overload is %v: want a multiple of at least 1", p.Overload)
	resolveField(&f, "Ramp", &p.Ramp, 10*time.Second)
	return p, f.err()
}

const (
	// memory is how long a time to the first payload counts: after that much
	// time, a third of it is left. A slow endpoint is tried again by and by.
	memory = 10 * time.Second
	// quickWait is the time to the first payload below which endpoints are equally quick.
	quickWait = 0.1
	// failedWait is what the first failure counts as; further ones double it.
	failedWait = time.Second
	// muchSlower is from when on a cached prefix is not worth the wait.
	muchSlower = 4
	// clearlyBetter is what one endpoint must be for the turn to pass to it.
	clearlyBetter = 0.75
)

// An candidate is an endpoint that could take the call, by the model's name there.
type candidate struct {
	endpoint *upstream
	model    string
}

// choose returns which of a tier's options gets the call; they are in turn.
func (t *Transport) choose(c *call, options []candidate, now time.Time) candidate {
	if len(options) == 1 {
		return options[0]
	}
	if o, ok := t.conversations.choose(c, options, now); ok {
		return o
	}
	first, other := options[0], options[1+t.config.random(len(options)-1)]
	if other.endpoint.load.cost(now) < clearlyBetter*first.endpoint.load.cost(now) {
		return other
	}
	return first
}

// A load is how an endpoint does: attempts that are open, to the end of their
// bodies, and the time to the first payload.
type load struct {
	open   atomic.Int64
	sent   atomic.Int64 // of those, whose request the base has begun to send
	used   atomic.Int64 // see bounded.Map; where no endpoints are given
	served atomic.Bool  // an answer, ever

	mu   sync.Mutex // guards what follows
	wait float64    // to the first payload, in seconds: at its peaks at once, down from them over memory
	at   time.Time  // of the latest sample
}

// cost is what one more attempt would cost, relative to other endpoints'.
func (l *load) cost(now time.Time) float64 {
	return float64(l.open.Load()+1) * max(l.waitAt(now), quickWait)
}

func (l *load) waitAt(now time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wait * fading(now.Sub(l.at))
}

// fading is what is left of a sample after d.
func fading(d time.Duration) float64 {
	if d <= 0 {
		return 1
	}
	return math.Exp(-float64(d) / float64(memory))
}

// sample takes in the time one attempt took to its first payload.
func (l *load) sample(d time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := fading(now.Sub(l.at))
	l.wait = max(d.Seconds(), l.wait*left+d.Seconds()*(1-left))
	l.at = now
}

// failed takes in an attempt that brought nothing: to fail fast is not to be fast.
func (l *load) failed(d time.Duration, now time.Time) {
	l.sample(max(d, failedWait, ofSeconds(2*l.waitAt(now))), now)
}

// finish implements ender.
func (l *load) finish(a *attempt, class Class) {
	l.open.Add(-1)
	if a.counted {
		l.sent.Add(-1)
	}
	switch {
	case class == ClassOK:
		l.served.Store(true)
		a.call.t.conversations.note(a)
	case a.outcome(class) == outcome.Failure:
		now := time.Now()
		l.failed(now.Sub(a.start), now)
	}
}

// conversations remember where those of late were served. Nil: none are
// kept together.
type conversations struct {
	policy BalancePolicy

	mu     sync.Mutex // guards what follows
	served *simplelru.LRU[uint64, *upstream]
}

// maxConversations bounds the conversations remembered; one that is forgotten goes
// where its hash says, as a new one does.
const maxConversations = 4096

func newConversations(p BalancePolicy) *conversations {
	if p.Affinity == 0 {
		return nil
	}
	served, _ := simplelru.NewLRU[uint64, *upstream](maxConversations, nil) // fails on sizes below 1 only
	return &conversations{policy: p, served: served}
}

// choose returns the option that has the call's prefix in its cache, or, for a
// new conversation, the one that is to have it. False: there is no prefix to
// speak of, or it is not worth it.
func (ps *conversations) choose(c *call, options []candidate, now time.Time) (candidate, bool) {
	if ps == nil || c.conversation() == 0 {
		return candidate{}, false
	}
	key := c.conversation()
	ps.mu.Lock()
	last, _ := ps.served.Get(key)
	ps.mu.Unlock()
	var open int64
	best := math.Inf(1)
	for _, o := range options {
		open += o.endpoint.load.open.Load()
		best = min(best, o.endpoint.load.cost(now))
	}
	bound := math.Ceil(ps.policy.Overload * float64(open+1) / float64(len(options)))
	var chosen candidate
	var rank uint64
	for _, o := range options {
		e := o.endpoint
		switch {
		case float64(e.load.open.Load()) >= bound, e.hits.useless(now), e.load.cost(now) > muchSlower*best:
			continue
		case e == last:
			return o, true
		}
		if r := mix(key ^ e.seed); chosen.endpoint == nil || r > rank {
			chosen, rank = o, r
		}
	}
	return chosen, chosen.endpoint != nil
}

// note remembers where a conversation was served, and what it had there in the
// host's cache.
func (ps *conversations) note(a *attempt) {
	key := a.call.conversation()
	if ps == nil || key == 0 {
		return
	}
	ps.mu.Lock()
	last, known := ps.served.Get(key)
	ps.served.Add(key, a.endpoint)
	ps.mu.Unlock()
	if known && last == a.endpoint && a.used.PromptTokens >= cacheableTokens {
		a.endpoint.hits.add(a.used.CachedTokens > 0)
	}
}

// A hitCount watches whether a host caches prefixes at all.
type hitCount struct {
	mu     sync.Mutex // guards what follows
	misses int        // in a row
	until  time.Time  // how long that is believed
}

const (
	cacheableTokens = 1024 // shorter prompts prove nothing: hosts cache in units of that order
	uselessMisses   = 10
	uselessFor      = 10 * time.Minute
)

func (h *hitCount) add(hit bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.misses++; hit {
		h.misses = 0
	}
	if h.misses >= uselessMisses {
		h.misses, h.until = 0, time.Now().Add(uselessFor)
	}
}

func (h *hitCount) useless(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Before(h.until)
}

// conversation stands for the one the call belongs to; 0: none, or too
// short a one. Other processes get the same number.
func (c *call) conversation() uint64 {
	if !c.conversed {
		c.conversed = true
		if p := c.t.config.balance; p.Affinity > 0 && len(c.body()) >= p.Affinity && c.t.endpoints > 1 {
			c.conversationKey = conversationOf(c.body())
		}
	}
	return c.conversationKey
}

// conversationOf is a hash over model, user, tools and the first messages: what the
// calls of a conversation share, whatever is added to it.
func conversationOf(body []byte) uint64 {
	var sum uint64
	add := func(text []byte) {
		sum = mix(sum ^ (uint64(crc32.Checksum(text, castagnoli))<<32 | uint64(crc32.ChecksumIEEE(text))))
	}
	wire.Members(body, func(m wire.Member) {
		switch string(m.Name) {
		case "model", "user", "user_id", "tools", "system", "instructions", "prompt":
			add(m.Value)
		case "messages", "input":
			first := true
			parsed(m.Value).ForEach(func(_, message gjson.Result) bool {
				add([]byte(message.Raw))
				more := first && message.Get("role").Str != "user"
				first = false
				return more
			})
		}
	})
	return sum
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mix scatters the bits of x, so that near numbers rank in no order.
func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	return hi ^ lo
}
