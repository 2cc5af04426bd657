package balance

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var start = time.Unix(1_800_000_000, 0)

// new targets, each with a Seed of its own.
func targets(names ...string) []*Target {
	all := make([]*Target, len(names))
	for i, name := range names {
		all[i] = &Target{Seed: SeedOf(name)}
	}
	return all
}

// busy opens attempts at a target.
func busy(t *Target, attempts int) {
	for range attempts {
		t.Load.Begin()
	}
}

// firstOther draws the target behind the first.
func firstOther(int) int { return 0 }

func TestTwoChoices(t *testing.T) {
	for _, tt := range []struct {
		name        string
		first, next func(*Target)
		want        int
	}{
		{"both new", func(*Target) {}, func(*Target) {}, 0},
		{"the first has more open", func(a *Target) { busy(a, 1) }, func(*Target) {}, 1},
		{"the other has more open", func(*Target) {}, func(b *Target) { busy(b, 1) }, 0},
		{"hardly less open", func(a *Target) { busy(a, 5) }, func(b *Target) { busy(b, 4) }, 0},
		{"the first is slower", func(a *Target) { a.Load.Sample(3*time.Second, start) }, func(b *Target) { b.Load.Sample(300*time.Millisecond, start) }, 1},
		{"the other is slower", func(a *Target) { a.Load.Sample(300*time.Millisecond, start) }, func(b *Target) { b.Load.Sample(3*time.Second, start) }, 0},
		{"both are quick", func(a *Target) { a.Load.Sample(90*time.Millisecond, start) }, func(b *Target) { b.Load.Sample(time.Millisecond, start) }, 0},
		{"slower, with less open", func(a *Target) { busy(a, 9) }, func(b *Target) { b.Load.Sample(500*time.Millisecond, start) }, 1},
		{"the first fails fast", func(a *Target) { a.Load.Fail(time.Millisecond, start) }, func(b *Target) { b.Load.Sample(300*time.Millisecond, start) }, 1},
		{"what is over is not open", func(a *Target) { busy(a, 3); a.Load.End(false); a.Load.End(false); a.Load.End(false) }, func(*Target) {}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pair := targets("a", "b")
			tt.first(pair[0])
			tt.next(pair[1])
			if got := (TwoChoices{firstOther}).Pick(start, 0, pair); got != tt.want {
				t.Errorf("picked %d, want %d", got, tt.want)
			}
		})
	}
}

// One target needs no choice, and of several each of the others is drawn.
func TestTwoChoices_Draws(t *testing.T) {
	if got := (TwoChoices{}).Pick(start, 0, targets("a")); got != 0 {
		t.Errorf("of one target, picked %d", got)
	}
	three := targets("a", "b", "c")
	busy(three[0], 9)
	picked := make(map[int]int)
	for range 100 {
		picked[(TwoChoices{rand.New(rand.NewPCG(1, 1)).IntN}).Pick(start, 0, three)]++
	}
	for n := range 2 {
		if got := (TwoChoices{func(int) int { return n }}).Pick(start, 0, three); got != n+1 {
			t.Errorf("drew %d, picked %d", n, got)
		}
	}
	if picked[0] > 0 {
		t.Errorf("the busy one got %d of 100", picked[0])
	}
}

// A wait rises at once and is forgotten by and by, so that a slow target is
// tried again; failures double theirs.
func TestLoad_Wait(t *testing.T) {
	var l Load
	waits := func(after time.Duration, want float64) {
		t.Helper()
		if got := l.waitAt(start.Add(after)); math.Abs(got-want) > 0.01 {
			t.Errorf("after %v, a wait of %.3f s, want %.3f", after, got, want)
		}
	}
	waits(0, 0)
	l.Sample(2*time.Second, start)
	waits(0, 2)
	waits(-time.Second, 2)
	waits(decayTime, 2/math.E)
	l.Sample(time.Second, start) // not down at once
	waits(0, 2)
	l.Sample(time.Second, start.Add(decayTime))
	waits(decayTime, 2/math.E+1-1/math.E)
	l.Sample(5*time.Second, start.Add(decayTime))
	waits(decayTime, 5)

	l = Load{}
	l.Fail(0, start)
	waits(0, 1)
	l.Fail(0, start)
	waits(0, 2)
	l.Fail(10*time.Second, start)
	waits(0, 10)
	for range 10_000 { // the longest there is, and no more
		l.Fail(0, start)
	}
	if got := l.waitAt(start); got != time.Duration(math.MaxInt64).Seconds() {
		t.Errorf("after many failures, a wait of %v s", got)
	}
	if got := l.waitAt(start.Add(24 * time.Hour)); !(got < 0.1) {
		t.Errorf("a day later, a wait of %v s", got)
	}
}

func TestLoad_Counts(t *testing.T) {
	var l Load
	want := func(open, sent int64) {
		t.Helper()
		if l.Open() != open || l.Sent() != sent {
			t.Errorf("%d open, %d of them sent, want %d and %d", l.Open(), l.Sent(), open, sent)
		}
	}
	l.Begin()
	l.Begin()
	want(2, 0)
	l.Send()
	want(2, 1)
	l.End(false)
	want(1, 1)
	l.End(true)
	want(0, 0)
}

// Targets get attempts in proportion to their weights, however busy they are: few at a time,
// many, and with answers that take different times. A slow one gets less than its weight.
func TestTwoChoices_Weights(t *testing.T) {
	const calls = 20_000
	for _, tt := range []struct {
		name    string
		weights []float64
		open    float64 // attempts that are open on average
		slow    bool    // the first target is ten times slower
		want    []float64
	}{
		{"a canary, one call after another", []float64{1, 0.05}, 0.1, false, []float64{1 / 1.05, 0.05 / 1.05}},
		{"a canary, few at a time", []float64{1, 0.05}, 5, false, []float64{1 / 1.05, 0.05 / 1.05}},
		{"a canary, many at a time", []float64{1, 0.05}, 50, false, []float64{1 / 1.05, 0.05 / 1.05}},
		{"a canary, very many at a time", []float64{1, 0.05}, 500, false, []float64{1 / 1.05, 0.05 / 1.05}},
		{"three", []float64{3, 2, 1}, 20, false, []float64{3.0 / 6, 2.0 / 6, 1.0 / 6}},
		{"two of a kind and a third", []float64{1, 1, 0.5}, 20, false, []float64{0.4, 0.4, 0.2}},
		{"a slow one", []float64{3, 1}, 20, true, []float64{0.2, 0.8}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			all := targets("a", "b", "c")[:len(tt.weights)]
			for i, w := range tt.weights {
				all[i].SetWeight(w)
			}
			strategy, got := TwoChoices{random.IntN}, make([]int, len(all))
			type end struct {
				at time.Duration
				of *Target
			}
			var now time.Duration
			var open []end
			for range calls {
				now += time.Duration(random.ExpFloat64() * float64(time.Second) / tt.open) // answers take a second
				open = slices.DeleteFunc(open, func(e end) bool {
					if e.at <= now {
						e.of.Load.End(false)
					}
					return e.at <= now
				})
				i := strategy.Pick(start.Add(now), 0, all)
				got[i]++
				all[i].Load.Begin()
				took, wait := time.Duration(random.ExpFloat64()*float64(time.Second)), time.Duration((0.5+random.Float64())*float64(time.Second))
				if tt.slow && i == 0 {
					took, wait = 10*took, 10*wait
				}
				all[i].Load.Sample(wait, start.Add(now))
				open = append(open, end{now + took, all[i]})
			}
			for i, want := range tt.want {
				if share := float64(got[i]) / calls; math.Abs(share-want) > 0.15*want+0.002 && !tt.slow || tt.slow && i == 0 && share > want {
					t.Errorf("target %d got %.4f of the attempts, want %.4f", i, share, want)
				}
			}
		})
	}
}

// With equal weights, whatever they are, everything is as without any.
func TestWeights_Equal(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		plain, equal := targets("a", "b", "c"), targets("a", "b", "c")
		for i := range plain {
			n, wait := random.IntN(9), time.Duration(random.IntN(int(time.Second)))
			for _, t := range []*Target{plain[i], equal[i]} {
				busy(t, n)
				t.Load.Sample(wait, start)
			}
			equal[i].SetWeight(0.3)
		}
		key, draw := random.Uint64(), random.IntN(2)
		below := TwoChoices{func(int) int { return draw }}
		if a, b := below.Pick(start, 0, plain), below.Pick(start, 0, equal); a != b {
			t.Fatalf("picked %d without weights, and %d with equal ones", a, b)
		}
		if a, b := NewAffinity(overload, below).Pick(start, key, plain), NewAffinity(overload, below).Pick(start, key, equal); a != b {
			t.Fatalf("a conversation went to %d without weights, and to %d with equal ones", a, b)
		}
	}
}
