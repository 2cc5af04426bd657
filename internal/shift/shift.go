// Package shift decides which share of first attempts an endpoint keeps while some of them are
// late or refused, but too few to open its circuit.
//
// A [Share] belongs to one model of an endpoint. It hears of each attempt whether that was in
// trouble. While many are, the share goes down by steps: each multiplies it, and they are a
// dwell apart. While few are, it comes back by steps, each of which adds the same (additive
// increase, multiplicative decrease, as in RFC 5681). A host that is well again gets its load
// back by and by, and one that only lacks room for all of it ends near what it can take.
//
// [Draw] turns a conversation into a number that is compared with shares, so that a
// conversation is the same side of a share as long as that stays.
package shift

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/bounded"
)

// Steps are the constants by which shares change.
type Steps struct {
	Memory float64       // the weight of one attempt in the recent share of trouble
	Seldom float64       // the most that an attempt weighs that is alone in …
	Span   time.Duration // … so long
	High   float64       // from this share of trouble on, the share goes down …
	Down   float64       // … to this part of itself
	Low    float64       // up to this share of trouble, it comes back …
	Up     float64       // … by so much
	Dwell  time.Duration // between two steps
	Forget time.Duration // without an attempt for so long, it comes back by a step
}

// Chosen are the Steps that all shares have. The simulation has chosen them, and sets others to
// compare: see TestShiftSteps of internal/test/sim.
var Chosen = Steps{Memory: 0.05, Seldom: 0.15, Span: 10 * time.Second, High: 0.2, Down: 0.5, Low: 0.1, Up: 0.1, Dwell: 5 * time.Second, Forget: time.Minute}

// maxModels bounds the shares of a Set, because the names of models come from callers.
const maxModels = 256

// A Set holds the shares of one endpoint, by model. It is safe for concurrent use. A nil Set
// has none.
type Set struct{ all bounded.Map[string, *Share] }

// NewSet returns an empty Set.
func NewSet() *Set {
	s := &Set{}
	s.all.Max, s.all.WorthOf = maxModels, (*Share).worth
	return s
}

// Get returns the share of a model, and makes it if there is none.
func (s *Set) Get(model string) *Share {
	return s.all.GetOrAdd(model, func() *Share { return &Share{share: 1} })
}

// Lookup returns the share of a model, or nil if there is none.
func (s *Set) Lookup(model string) *Share {
	if s == nil {
		return nil
	}
	x, _ := s.all.Get(model)
	return x
}

// A Status is the share of a model.
type Status struct {
	Model   string
	Share   float64 // of the first attempts that would go to the endpoint
	Trouble float64 // the share of its recent attempts that were late or refused
}

// Status returns the shares that are below one, by model.
func (s *Set) Status(now time.Time, floor float64) (list []Status) {
	if s == nil {
		return nil
	}
	for model, x := range s.all.All() {
		if share := x.Of(now, floor); share < 1 {
			x.mu.Lock()
			list = append(list, Status{model, share, x.trouble})
			x.mu.Unlock()
		}
	}
	slices.SortFunc(list, func(a, b Status) int { return cmp.Compare(a.Model, b.Model) })
	return list
}

// A Share is that of one model of an endpoint. A nil Share is whole.
type Share struct {
	reduced atomic.Bool // share is below one

	mu      sync.Mutex // guards what follows
	share   float64
	trouble float64   // the share of recent attempts that were in trouble: a moving average
	stepped time.Time // when the share last changed
	heard   time.Time // when an attempt was last heard of
}

func (x *Share) worth() bounded.Worth { return bounded.Worth{Open: x.reduced.Load()} }

// Of returns the share, which is never below the floor.
func (x *Share) Of(now time.Time, floor float64) float64 {
	if x == nil || !x.reduced.Load() {
		return 1
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.forgetLocked(now)
	return max(x.share, floor)
}

// Note notes one attempt. trouble says that it was late or refused, and not whether its caller
// was at fault.
func (x *Share) Note(trouble bool, now time.Time, floor float64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.forgetLocked(now)
	sample, rested := 0.0, now.Sub(x.stepped) >= Chosen.Dwell
	if trouble {
		sample = 1
	}
	x.trouble += x.weightLocked(now) * (sample - x.trouble)
	x.heard = now
	switch {
	case !rested:
	case trouble && x.trouble >= Chosen.High && x.share > floor:
		x.setLocked(max(Chosen.Down*x.share, floor), now)
	case !trouble && x.trouble <= Chosen.Low && x.share < 1:
		x.setLocked(max(x.share, floor)+Chosen.Up, now)
	}
}

// weightLocked returns the weight of an attempt that is heard of now. An endpoint that keeps a
// small share has few attempts. So that it need not wait for a long time until they show that
// it is well, they have more weight then, if they are seldom.
func (x *Share) weightLocked(now time.Time) float64 {
	if x.share == 1 {
		return Chosen.Memory
	}
	seldom := 1 - math.Exp(-float64(now.Sub(x.heard))/float64(Chosen.Span))
	return min(max(Chosen.Memory, seldom), Chosen.Seldom)
}

// forgetLocked lets the share come back if nothing was heard for a while: what is known is old
// then.
func (x *Share) forgetLocked(now time.Time) {
	if x.heard.IsZero() {
		return
	}
	if times := now.Sub(x.heard) / Chosen.Forget; times > 0 {
		x.heard = x.heard.Add(times * Chosen.Forget)
		x.trouble = 0
		if x.share < 1 {
			x.setLocked(x.share+float64(min(times, 1000))*Chosen.Up, x.heard)
		}
	}
}

func (x *Share) setLocked(share float64, now time.Time) {
	if share > 1-1e-9 { // steps do not add up to one exactly
		share = 1
	}
	x.share, x.stepped = share, now
	x.reduced.Store(share < 1)
}

// Draw returns a number from 0 to below 1 for a conversation. A call goes away from an endpoint
// if its number is not below the endpoint's share.
func Draw(conversation uint64) float64 {
	hi, lo := bits.Mul64(conversation^0xA0761D6478BD642F, 0xE7037ED1A0B428DB)
	return float64((hi^lo)>>11) / (1 << 53)
}
