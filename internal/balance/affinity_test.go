package balance

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"
)

// firstOf is the Strategy that takes the first target. It counts what it was asked.
type firstOf struct{ asked int }

func (s *firstOf) Pick(time.Time, uint64, []*Target) int {
	s.asked++
	return 0
}

const overload = 1.25

// New conversations are spread, and go the same way in each process; one that
// was served stays there.
func TestAffinity_Spreads(t *testing.T) {
	here, there := NewAffinity(overload, &firstOf{}), NewAffinity(overload, &firstOf{})
	three := targets("a", "b", "c")
	homes := make([]int, len(three))
	for key := uint64(1); key <= 300; key++ {
		home := here.Pick(start, key, three)
		homes[home]++
		if other := there.Pick(start, key, targets("a", "b", "c")); other != home {
			t.Errorf("conversation %d went to %d here and to %d elsewhere", key, home, other)
		}
		turned := []*Target{three[1], three[2], three[0]}
		if got := turned[here.Pick(start, key, turned)]; got != three[home] {
			t.Errorf("conversation %d went elsewhere with the targets' order", key)
		}
		served := three[(home+1)%3]
		here.Remember(start, key, served, 0, 0)
		if got := three[here.Pick(start, key, three)]; got != served {
			t.Errorf("conversation %d left the target that served it", key)
		}
	}
	for i, n := range homes {
		if n < 60 {
			t.Errorf("of 300 conversations, %d has %d", i, n)
		}
	}
}

// Affinity is given up where the home is full, slow, caches nothing, or is none
// of those that can serve.
func TestAffinity_HasItsLimits(t *testing.T) {
	const key = 7
	misses := func(a *Affinity, home *Target, n, prompt, cached int) {
		for range n {
			a.Remember(start, key, home, prompt, cached)
		}
	}
	for _, tt := range []struct {
		name  string
		do    func(a *Affinity, home, other *Target)
		after time.Duration
		stays bool
	}{
		{"well", func(*Affinity, *Target, *Target) {}, 0, true},
		{"full", func(_ *Affinity, home, _ *Target) { busy(home, 3) }, 0, false},
		{"as full as the other", func(_ *Affinity, home, other *Target) { busy(home, 5); busy(other, 5) }, 0, true},
		{"with a fourth more than its share", func(_ *Affinity, home, other *Target) { busy(home, 6); busy(other, 4) }, 0, true},
		{"with more than that", func(_ *Affinity, home, other *Target) { busy(home, 7); busy(other, 3) }, 0, false},
		{"slow", func(_ *Affinity, home, _ *Target) { home.Load.Sample(time.Second, start) }, 0, false},
		{"slow a while ago", func(_ *Affinity, home, _ *Target) { home.Load.Sample(time.Second, start) }, 3 * decayTime, true},
		{"a little slower", func(_ *Affinity, home, _ *Target) { home.Load.Sample(300*time.Millisecond, start) }, 0, true},
		{"caches nothing", func(a *Affinity, home, _ *Target) { misses(a, home, 10, 2000, 0) }, 0, false},
		{"cached nothing a while ago", func(a *Affinity, home, _ *Target) { misses(a, home, 10, 2000, 0) }, 11 * time.Minute, true},
		{"caches now and then", func(a *Affinity, home, _ *Target) {
			misses(a, home, 9, 2000, 0)
			misses(a, home, 1, 2000, 1024)
			misses(a, home, 9, 2000, 0)
		}, 0, true},
		{"has short prompts, which nobody caches", func(a *Affinity, home, _ *Target) { misses(a, home, 100, 1000, 0) }, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := NewAffinity(overload, &firstOf{})
			pair := targets("a", "b")
			home, other := pair[1], pair[0]
			a.Remember(start, key, home, 2000, 0)
			tt.do(a, home, other)
			if got := pair[a.Pick(start.Add(tt.after), key, pair)]; (got == home) != tt.stays {
				t.Errorf("the conversation stays: %v, want %v", got == home, tt.stays)
			}
		})
	}
	t.Run("cannot serve", func(t *testing.T) {
		a := NewAffinity(overload, &firstOf{})
		a.Remember(start, key, &Target{}, 2000, 0)
		if got := a.Pick(start, key, targets("a")); got != 0 {
			t.Errorf("picked %d of one", got)
		}
	})
}

// None is given up for its load with an Overload without bounds.
func TestAffinity_OverloadWithoutBounds(t *testing.T) {
	for _, overload := range []float64{1e18, 1e300, math.Inf(1)} {
		a := NewAffinity(overload, &firstOf{})
		pair := targets("a", "b")
		a.Remember(start, 7, pair[1], 0, 0)
		busy(pair[0], 350) // so that the cost is no reason
		busy(pair[1], 1000)
		if got := a.Pick(start, 7, pair); got != 1 {
			t.Errorf("Overload %v: picked %d, want the conversation's", overload, got)
		}
	}
}

// What has no conversation, and what no target is worth, is left to the Strategy below.
func TestAffinity_LeavesTheRest(t *testing.T) {
	below := &firstOf{}
	a := NewAffinity(overload, below)
	pair := targets("a", "b")
	a.Pick(start, 0, pair)
	if below.asked != 1 {
		t.Errorf("the Strategy below was asked %d times for a call of no conversation", below.asked)
	}
	for _, target := range pair {
		a.Remember(start, 7, target, 0, 0)
		for range ineffectiveMisses + 1 {
			a.Remember(start, 7, target, 2000, 0)
		}
	}
	a.Pick(start, 7, pair)
	if below.asked != 2 {
		t.Errorf("the Strategy below was asked %d times, also where nobody caches", below.asked)
	}
	a.Remember(start, 0, pair[0], 2000, 0)
	if n := a.served.Len(); n != 1 {
		t.Errorf("%d conversations are remembered, want 1", n)
	}
	(*Affinity)(nil).Remember(start, 7, pair[0], 2000, 0)
}

// The conversations that are remembered are bounded: the oldest goes.
func TestAffinity_IsBounded(t *testing.T) {
	a := NewAffinity(overload, &firstOf{})
	target := &Target{}
	for key := range uint64(3 * maxConversations) {
		a.Remember(start, key+1, target, 0, 0)
	}
	if n := a.served.Len(); n != maxConversations {
		t.Errorf("%d conversations are remembered, want %d", n, maxConversations)
	}
}

// Many may ask and remember at once; the race detector watches.
func TestAffinity_AtOnce(t *testing.T) {
	var all sync.WaitGroup
	a := NewAffinity(overload, TwoChoices{firstOther})
	three := targets("a", "b", "c")
	for caller := range 8 {
		all.Go(func() {
			for n := range 200 {
				key := uint64(n%5 + caller%2)
				target := three[a.Pick(start, key, three)]
				target.Load.Begin()
				target.Load.Send()
				target.Load.Sample(time.Duration(n)*time.Millisecond, start)
				target.Load.Fail(time.Millisecond, start)
				a.Remember(start, key, target, 2000, n%3)
				target.Load.End(true)
			}
		})
	}
	all.Wait()
	for i, target := range three {
		if open, sent := target.Load.Open(), target.Load.Sent(); open != 0 || sent != 0 {
			t.Errorf("%s: %d open, %d sent, want none", fmt.Sprint(i), open, sent)
		}
	}
}

// New conversations are spread by weight. When a weight changes, only those move that must,
// and one that a target has served stays there.
func TestAffinity_Weights(t *testing.T) {
	const conversations = 20_000
	a, three := NewAffinity(overload, &firstOf{}), targets("a", "b", "c")
	three[2].SetWeight(0.1)
	homes, got := make([]int, conversations), make([]float64, len(three))
	for n := range homes {
		homes[n] = a.Pick(start, scatter(uint64(n)), three)
		got[homes[n]]++
	}
	for i, want := range []float64{1 / 2.1, 1 / 2.1, 0.1 / 2.1} {
		if share := got[i] / conversations; math.Abs(share-want) > 0.01 {
			t.Errorf("target %d has %.3f of the conversations, want %.3f", i, share, want)
		}
	}
	a.Remember(start, scatter(0), three[homes[0]], 0, 0)
	three[2].SetWeight(0.5)
	moved := 0
	for n, home := range homes {
		switch now := a.Pick(start, scatter(uint64(n)), three); {
		case now == home:
		case now != 2:
			t.Fatalf("conversation %d went from %d to %d, of which no weight has changed", n, home, now)
		default:
			moved++
		}
	}
	if share, want := float64(moved)/conversations, 0.5/2.5-0.1/2.1; math.Abs(share-want) > 0.01 {
		t.Errorf("%.3f of the conversations moved, want %.3f", share, want)
	}
	if now := a.Pick(start, scatter(0), three); now != homes[0] {
		t.Errorf("a conversation left target %d, which has served it", homes[0])
	}
}
