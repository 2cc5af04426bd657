package limit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A line is a limiter and those who wait for it, in the order in which they got their turn.
type line struct {
	*Limiter
	t     *testing.T
	took  time.Duration // how long each holds its lease
	wait  sync.WaitGroup
	mu    sync.Mutex // guards what follows
	turns []string
	gone  []string // those who got none
}

// come adds a caller who waits.
func (l *line) come(name string, use Use) {
	began := make(chan struct{})
	l.wait.Go(func() {
		close(began)
		lease := new(Lease)
		err := l.Acquire(l.t.Context(), lease, use)
		l.mu.Lock()
		if err != nil {
			l.gone = append(l.gone, name)
		} else {
			l.turns = append(l.turns, name)
		}
		l.mu.Unlock()
		if err == nil {
			time.Sleep(l.took)
			lease.End(Result{Served: true, Answered: true})
		}
	})
	<-began
	synctest.Wait()
	time.Sleep(time.Nanosecond) // no two come at the same moment
}

func as(tenant string, p Priority) Use {
	return Use{Prompt: 1, Caller: Caller{Tenant: tenant, Priority: p}}
}

// The more urgent go first, and within a priority in order of arrival.
func TestFairness_UrgentFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{Limiter: of(Policy{InFlight: 1, MaxWait: time.Hour}), t: t, took: time.Second}
		l.come("first", as("", Default))
		for i := range 2 {
			for _, p := range []Priority{Batch, -100, Default, Interactive, 100} {
				l.come(fmt.Sprintf("%d.%d", p, i), as("", p))
			}
		}
		l.wait.Wait()
		if got, want := strings.Join(l.turns, " "), "first 1.0 100.0 1.1 100.1 0.0 0.1 -1.0 -100.0 -1.1 -100.1"; got != want {
			t.Errorf("turns: %s\nwant:  %s", got, want)
		}
	})
}

// Batch work yields to people: behind 200 batch calls, an interactive one gets the next
// permit, or the next turn of a rate, and is not refused because of those in the queue.
func TestFairness_BatchYields(t *testing.T) {
	for name, tt := range map[string]struct {
		policy Policy
		took   time.Duration
		tenant func(int) string
		within time.Duration
	}{
		"one permit":         {Policy{InFlight: 1, MaxWait: time.Hour}, 10 * time.Second, func(int) string { return "" }, 10 * time.Second},
		"ten permits":        {Policy{InFlight: 10, MaxWait: time.Hour}, 10 * time.Second, func(int) string { return "" }, 10 * time.Second},
		"tenants":            {Policy{InFlight: 1, MaxWait: time.Hour}, 10 * time.Second, func(i int) string { return fmt.Sprint(i % 7) }, 10 * time.Second},
		"as many as tenants": {Policy{InFlight: 1, MaxWait: time.Hour}, 10 * time.Second, func(i int) string { return fmt.Sprint(i) }, 10 * time.Second},
		"a rate":             {Policy{PerSecond: 0.5, Burst: 1, MaxWait: time.Hour}, time.Second, func(int) string { return "" }, 2 * time.Second},
		"a rate, short wait": {Policy{PerSecond: 10, Burst: 1, MaxWait: 25 * time.Second}, time.Second, func(int) string { return "" }, time.Second / 10},
		"tokens":             {Policy{TokensPerMinute: 60, MaxWait: time.Hour}, time.Second, func(int) string { return "" }, time.Second},
	} {
		bubble(t, name, func(t *testing.T) {
			l := &line{Limiter: of(tt.policy), t: t, took: tt.took}
			for i := range 200 + max(tt.policy.InFlight, tt.policy.TokensPerMinute/2) {
				l.come("batch", as(tt.tenant(i), Batch))
			}
			time.Sleep(tt.within / 2)
			for range 3 { // one after the other, long after the batch has come
				began := time.Now()
				lease := new(Lease)
				if err := l.Acquire(t.Context(), lease, as("person", Interactive)); err != nil || time.Since(began) > tt.within {
					t.Errorf("an interactive call has %v after %v, want a lease within %v", err, time.Since(began), tt.within)
				}
				time.Sleep(tt.took)
				lease.End(Result{Served: true})
				time.Sleep(5 * tt.within / 2)
			}
			l.wait.Wait()
			if len(l.gone) > 0 {
				t.Errorf("%d batch calls got no turn", len(l.gone))
			}
		})
	}
}

// However many urgent calls there are, the others get a ninth of the turns.
func TestFairness_NobodyStarves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{Limiter: of(Policy{InFlight: 1, MaxWait: time.Hour}), t: t, took: time.Second}
		for i := range 40 {
			for _, p := range []Priority{Batch, Default} {
				l.come(fmt.Sprint(p), as(fmt.Sprint(i%3), p))
			}
		}
		for range 300 {
			l.come("1", as("", Interactive))
		}
		l.wait.Wait()
		first := l.turns[1:100] // while all of them wait
		count := func(p Priority) (n int) {
			for _, turn := range first {
				if turn == fmt.Sprint(p) {
					n++
				}
			}
			return n
		}
		if b, d := count(Batch), count(Default); b < 8 || b > 12 || d < 8 || d > 12 {
			t.Errorf("of the first %d turns, %d are for batch and %d for default: want about a tenth each", len(first), b, d)
		}
	})
}

// A tenant with many calls waits behind one with few, whatever limit is short.
func TestFairness_WhoUsedLessGoesFirst(t *testing.T) {
	for name, tt := range map[string]struct {
		policy Policy
		took   time.Duration
		larger int // so many times the tokens of greedy's calls
	}{
		"permits": {Policy{InFlight: 4, MaxWait: time.Hour}, 8 * time.Second, 1},
		"rate":    {Policy{PerSecond: 1, Burst: 1, MaxWait: time.Hour}, time.Second, 1},
		"tokens":  {Policy{TokensPerMinute: 6000, MaxWait: time.Hour}, time.Second, 4},
	} {
		bubble(t, name, func(t *testing.T) {
			l := &line{Limiter: of(tt.policy), t: t, took: tt.took}
			use := func(tenant string, tokens int) Use {
				return Use{Prompt: tokens, Caller: Caller{Tenant: tenant}}
			}
			for range 100 {
				l.come("greedy", use("greedy", 100*tt.larger))
			}
			for range 20 {
				l.come("modest", use("modest", 100))
			}
			l.mu.Lock()
			before := len(l.turns)
			l.mu.Unlock()
			l.wait.Wait()
			behind := l.turns[before:]
			last := len(behind) - 1
			for behind[last] != "modest" {
				last--
			}
			greedy := 0
			for _, turn := range behind[:last] {
				if turn == "greedy" {
					greedy++
				}
			}
			// As much for both, and what the oldest get in between.
			if most := 20/tt.larger + 20/4 + 1; greedy > most {
				t.Errorf("%d greedy calls came before the last of 20 modest ones, want at most %d: %v", greedy, most, behind)
			}
		})
	}
}

// A burst that nobody waited for counts when others come, for a while.
func TestFairness_BurstsCount(t *testing.T) {
	for _, tt := range []struct {
		pause time.Duration
		want  string
	}{
		{0, "b b b b a a"},
		{time.Minute, "a b a b b b"}, // it is forgotten
	} {
		bubble(t, tt.pause.String(), func(t *testing.T) {
			l := &line{Limiter: of(Policy{InFlight: 4, MaxWait: time.Hour}), t: t, took: 4 * time.Second}
			for range 4 {
				l.come("a", as("a", Default))
			}
			if tt.pause > 0 {
				l.wait.Wait()
				time.Sleep(tt.pause)
				for range 4 {
					l.come("c", as("c", Default))
				}
			}
			l.mu.Lock()
			l.turns = nil
			l.mu.Unlock()
			for range 2 {
				l.come("a", as("a", Default))
			}
			for range 4 {
				l.come("b", as("b", Default))
			}
			l.wait.Wait()
			if got := strings.Join(l.turns, " "); got != tt.want {
				t.Errorf("turns: %s, want %s", got, tt.want)
			}
		})
	}
}

// Names are hostile: whoever makes up a new one for each call gets no more than the others,
// but for the time that the oldest wait, and nothing grows.
func TestFairness_NamesMadeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{Limiter: of(Policy{InFlight: 100, MaxWait: time.Hour}), t: t, took: time.Second}
		for i := range 100_000 {
			lease := new(Lease)
			if err := l.Acquire(t.Context(), lease, as(strings.Repeat("x", 50)+fmt.Sprint(i), Default)); err != nil {
				t.Fatal(err)
			}
			lease.End(Result{Served: true})
		}
		if n := len(l.fairness.used); n > maxTenants {
			t.Errorf("%d tenants are known, want at most %d", n, maxTenants)
		}
		for range 100 {
			l.come("first", as("first", Default))
		}
		for range 20 {
			l.come("honest", as("honest", Default))
		}
		for i := range 2000 {
			l.come("made up", as(fmt.Sprint("new ", i), Default))
		}
		l.wait.Wait()
		if last := slices.Index(l.turns[300:], "honest"); last >= 0 {
			t.Errorf("an honest call waited behind %d others", 300+last)
		}
	})
}

// Attempts that need many tokens get their turn among the small ones of more urgent calls and
// of other tenants.
func TestFairness_LargeAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := of(Policy{TokensPerMinute: 6000, MaxWait: 10 * time.Second})
		var others sync.WaitGroup
		for i := range 40 {
			others.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					lease := new(Lease)
					use := Use{Prompt: 100, Caller: Caller{Tenant: fmt.Sprint(i, " ", n%2), Priority: Priority(i % 2)}}
					if err := l.Acquire(ctx, lease, use); err != nil {
						time.Sleep(time.Second)
						continue
					}
					time.Sleep(time.Second)
					lease.End(Result{Served: true, Answered: true})
				}
			})
		}
		time.Sleep(time.Minute)
		for _, p := range []Priority{Batch, Default, Interactive} {
			began, lease := time.Now(), new(Lease)
			err := l.Acquire(t.Context(), lease, Use{Prompt: 2900, Caller: Caller{Tenant: "large", Priority: p}})
			if took := time.Since(began); err != nil || took > 3*time.Minute {
				t.Errorf("a large attempt of priority %d has %v after %v, want a lease", p, err, took)
			} else {
				lease.End(Result{Served: true, Answered: true})
			}
		}
		cancel()
		others.Wait()
	})
}

// A queue keeps its order, whoever comes and leaves.
func TestQueue_Random(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		q, start := queue{}, time.Now()
		var all []*waiter
		for step := range 400 {
			now := start.Add(time.Duration(step) * time.Second)
			switch n := r.IntN(10); {
			case n < 5:
				w := &waiter{Caller: Caller{Tenant: fmt.Sprint(r.IntN(5)), Priority: Priority(r.IntN(3) - 1)}, tokens: r.IntN(5), since: now.Add(-time.Duration(r.IntN(9)) * time.Second)}
				if r.IntN(4) == 0 {
					w.deadline = now.Add(time.Duration(r.IntN(60)) * time.Second)
				}
				q.add(w, float64(r.IntN(5)))
				all = append(all, w)
			case n < 7 && len(all) > 0:
				i := r.IntN(len(all))
				q.remove(all[i])
				all = slices.Delete(all, i, i+1)
			case n == 7:
				q.restart(fmt.Sprint(r.IntN(5)), float64(r.IntN(9)))
			case len(all) > 0:
				w := q.next(now, 10*time.Second)
				i := slices.Index(all, w)
				if i < 0 {
					t.Fatalf("seed %d: next is %v of %d", seed, w, len(all))
				}
				q.grant(w)
				all = slices.Delete(all, i, i+1)
			}
			check(t, &q, all)
		}
		for range all {
			w := q.next(start, 0)
			q.grant(w)
		}
		if q.len() != 0 || q.next(start, 0) != nil {
			t.Fatalf("seed %d: %d are left", seed, q.len())
		}
	}
}

// check compares what the queue counts with those who wait.
func check(t *testing.T, q *queue, all []*waiter) {
	t.Helper()
	tokens := make(map[string]int)
	for _, w := range all {
		if !w.late {
			tokens[fmt.Sprint(w.level())] += w.tokens
			tokens[fmt.Sprint(w.level(), w.Tenant)] += w.tokens
		}
	}
	n := 0
	for i := range q.levels {
		l := &q.levels[i]
		n += l.inTime.Len() + l.late.Len()
		ofFlows := 0
		for j, f := range l.byUse {
			ofFlows += f.waiters.Len()
			if f.at != j || l.flows[f.tenant] != f || f.waiters.Len() == 0 || f.tokens != tokens[fmt.Sprint(i, f.tenant)] {
				t.Fatalf("flow %d of level %d: %+v", j, i, f)
			}
			if up := (j - 1) / 2; j > 0 && l.byUse.Less(j, up) {
				t.Fatalf("flow %d of level %d is before %d", j, i, up)
			}
		}
		if len(l.flows) != len(l.byUse) || ofFlows != l.inTime.Len() || l.tokens != tokens[fmt.Sprint(i)] {
			t.Fatalf("level %d has %d flows of %d, %d attempts of %d, %d tokens of %d", i, len(l.flows), len(l.byUse), l.inTime.Len(), ofFlows, l.tokens, tokens[fmt.Sprint(i)])
		}
	}
	if n != len(all) || q.len() != n {
		t.Fatalf("%d wait, %d by the count, want %d", n, q.len(), len(all))
	}
}
