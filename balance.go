package breakwater

import (
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/request"
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

// A candidate is an endpoint that could take the call, by the model's name there.
type candidate struct {
	endpoint *upstream
	model    string
}

// choose returns which of a tier's candidates gets the call. They are in turn.
func (r *failoverRun) choose(candidates []candidate, now time.Time) candidate {
	if len(candidates) == 1 {
		return candidates[0]
	}
	targets := r.room.targets[:0]
	for _, c := range candidates {
		targets = append(targets, &c.endpoint.Target)
	}
	return candidates[r.balance.Pick(now, r.call.conversation, targets)]
}

// finish tells the endpoint's load, and the conversation, how an attempt ended.
func (e *upstream) finish(a *attempt, class Class) {
	e.Load.End(a.counted)
	switch {
	case class == ClassOK:
		e.answered.Store(true)
		a.failover.affinity.Remember(time.Now(), a.call.conversation, &e.Target, a.used.PromptTokens, a.used.CachedTokens)
	case a.outcome(class) == outcome.Failure:
		now := time.Now()
		e.Load.Fail(now.Sub(a.start), now)
	}
}

// conversationOf is the key of the conversation that a call belongs to; 0: none, or
// one too short to be kept together. Other processes compute the same key.
func (f *failover) conversationOf(c *call) uint64 {
	if f.affinity == nil || len(c.candidates) < 2 || len(c.body()) < f.minPrompt {
		return 0
	}
	return request.ConversationKey(c.body())
}
