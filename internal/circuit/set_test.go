package circuit

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Each model has its own circuit. Lookup does not make one.
func TestSet_ByModel(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		if w.set.Lookup("n") != nil {
			t.Error("there is a circuit that nobody has asked for")
		}
		n := w.set.Get("n")
		if n == w.c || w.set.Get("n") != n || w.set.Lookup("n") != n || w.set.Lookup("m") != w.c {
			t.Error("two models share a circuit, or one has two")
		}
		if w.set.AnyOpen(time.Now()) {
			t.Error("a circuit is open")
		}
		w.play("FFFFF")
		if !w.set.AnyOpen(time.Now()) {
			t.Error("no circuit is open")
		}
		want := []Status{{"m", Open, time.Now().Add(5 * time.Second)}, {Model: "n", State: Closed}}
		if got := w.set.Status(time.Now()); !slices.Equal(got, want) {
			t.Errorf("status %+v, want %+v", got, want)
		}
	})
}

func TestSet_Off(t *testing.T) {
	set := NewSet(Settings{Policy: with(func(p *Policy) { p.FailureRate, p.Consecutive = 0, 0 })})
	if c := set.Get("m"); c != nil {
		t.Errorf("Get = %+v, want none", c)
	}
	if s := set.Status(time.Now()); s != nil {
		t.Errorf("status %+v, want none", s)
	}
}

// OnChange is called once for each change of state, in order.
func TestSet_TellsChanges(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		w.play("FFFFF")
		w.play("FFF")
		time.Sleep(5 * time.Second)
		w.play("F")
		time.Sleep(10 * time.Second)
		w.c.Status(time.Now())
		w.play("S")
		want := "m closed-open 5s, m open-half-open 0s, m half-open-open 10s, m open-half-open 0s, m half-open-closed 0s"
		if got := strings.Join(w.told, ", "); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	})
}

// OnChange may call the Set, because no lock is held while it runs.
func TestSet_OnChangeMayCallBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		var set *Set
		set = NewSet(Settings{Policy: byDefault, OnChange: func(c Change) {
			told++
			set.Status(time.Now())
			set.InUse()
			set.AnyOpen(time.Now())
			var p Permit
			if set.Get(c.Model).Allow(&p, time.Now(), false) {
				p.Report(Neutral)
			}
			set.Get(c.Model + "'").NextProbe(time.Now())
		}})
		w := &world{t: t, set: set, c: set.Get("m")}
		w.halfOpen()
		w.play("S")
		if told != 3 {
			t.Errorf("told %d changes, want 3", told)
		}
	})
}

// If OnChange panics, the report still counts, its place is given back, and OnChange is
// called for the next change.
func TestSet_OnChangePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		panics, told := true, 0
		set := NewSet(Settings{
			Policy: byDefault,
			Jitter: func(d time.Duration) time.Duration { return d },
			OnChange: func(Change) {
				told++
				if panics {
					panic("boom")
				}
			},
		})
		w := &world{t: t, set: set, c: set.Get("m")}
		panicking := func(f func()) {
			t.Helper()
			defer func() {
				t.Helper()
				if recover() == nil {
					t.Error("OnChange did not panic, so nothing was tested")
				}
			}()
			f()
		}
		w.play("FFFF")
		panicking(func() { w.play("F") })
		w.stands("a panic as it opens", Open, 5*time.Second)
		time.Sleep(5 * time.Second)
		var p Permit
		if !w.c.Allow(&p, time.Now(), false) {
			t.Fatal("the probe was refused")
		}
		panicking(w.c.Flush) // delivers the change to half-open
		panicking(p.Commit)
		p.Report(Success)
		w.stands("a panic as it closes", Closed, 0)
		if permits, probes := set.InUse(); permits != 0 || probes != 0 {
			t.Errorf("%d permits and %d probes are left", permits, probes)
		}
		panics = false
		w.play("FFFFF")
		if told != 4 {
			t.Errorf("told %d changes, want 4", told)
		}
	})
}

// A model keeps its circuit while it is in use, while the circuit is open, or if it has
// served, however many other names callers make up.
func TestSet_Bounded(t *testing.T) {
	for _, letter := range "SFBNI" {
		t.Run(string(letter), func(t *testing.T) {
			inWorld(t, byDefault, func(t *testing.T, w *world) {
				in := func(model string) *world { return &world{t: t, set: w.set, c: w.set.Get(model)} }
				held := in("held").allowed()
				in("sick").play("FFFFF")
				in("well").play("S")
				before := make(map[string]*Circuit)
				for _, model := range []string{"held", "sick", "well"} {
					before[model] = w.set.Lookup(model)
				}
				for n := range 3 * MaxCircuits {
					in(fmt.Sprint("garbage-", n)).play(string(letter))
					if n%50 == 0 {
						in("well").play("S")
					}
					if all := len(w.set.Status(time.Now())); all > MaxCircuits {
						t.Fatalf("%d circuits, want at most %d", all, MaxCircuits)
					}
				}
				for model, c := range before {
					if w.set.Lookup(model) != c {
						t.Errorf("%s has another circuit than before", model)
					}
				}
				held.Report(Neutral)
			})
		})
	}
}

// If more models are in use at once than circuits are kept, none shares the circuit of
// another.
func TestSet_AllInUse(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		var all []*Permit
		ask := func(n int) {
			p := new(Permit)
			if !w.set.Get(fmt.Sprint(n)).Allow(p, time.Now(), false) {
				t.Fatalf("model %d was refused", n)
			}
			all = append(all, p)
		}
		for n := range MaxCircuits + 20 {
			ask(n)
		}
		if permits, _ := w.set.InUse(); permits != len(all) || len(w.set.Status(time.Now())) != len(all) {
			t.Errorf("%d circuits and %d permits of %d models in use", len(w.set.Status(time.Now())), permits, len(all))
		}
		for _, p := range all {
			p.Report(Success)
		}
		ask(-1)
		all[len(all)-1].Report(Success)
		if n := len(w.set.Status(time.Now())); n > MaxCircuits {
			t.Errorf("%d circuits after all attempts have ended, want at most %d", n, MaxCircuits)
		}
	})
}

// After many concurrent attempts with random ends, no permit and no probe is left.
func TestSet_AttemptsLeakNothing(t *testing.T) {
	const workers, each, enough = 8, 25_000, 2000
	set := NewSet(Settings{Policy: with(func(p *Policy) { p.Probes, p.OpenFor, p.MaxOpenFor = 3, 50*time.Microsecond, 200*time.Microsecond })})
	c := set.Get("m")
	var passed, followed, refused atomic.Int64
	var callers sync.WaitGroup
	for worker := range workers {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for n := 0; n < each || n < 100*each && passed.Load() < enough; n++ { // a busy machine lets fewer pass
				var p Permit
				now := time.Now().Add(time.Duration(random.IntN(2)) * ProbeGrace) // sometimes later, when probes count as slow
				if !c.Allow(&p, now, random.IntN(4) == 0) {
					refused.Add(1)
					p.Report(Failure) // must not count
					c.Flush()
					continue
				}
				passed.Add(1)
				if p.Probing() {
					followed.Add(1)
				}
				c.Flush()
				if random.IntN(16) == 0 { // otherwise attempts would not overlap on a busy core
					runtime.Gosched()
				}
				if random.IntN(3) > 0 {
					p.Commit() // it may still break
				}
				p.Report(Outcome(random.IntN(4)))
				if random.IntN(4) == 0 {
					p.Report(Outcome(random.IntN(4)))
				}
			}
		})
	}
	callers.Wait()
	if permits, probes := set.InUse(); permits != 0 || probes != 0 || c.consecutive.first != nil || c.consecutive.last != nil {
		t.Errorf("%d attempts and %d probes are left at the circuit", permits, probes)
	}
	var p Permit
	if !c.Allow(&p, time.Now().Add(time.Minute), true) {
		t.Error("the circuit allows no probe any more")
	}
	p.Report(Success)
	if passed.Load() < enough || refused.Load() == 0 || followed.Load() == 0 {
		t.Errorf("%d passed, %d of them probes, %d were refused: nothing was tested", passed.Load(), followed.Load(), refused.Load())
	}
}

// A circuit opens with another one, for the rest of its pause, and closes by its own probe.
func TestCircuit_OpenWith(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		began := time.Now()
		time.Sleep(time.Second)
		w.play("FFFFF")
		other := w.set.Get("other")
		if w.set.OpenedSince(began, time.Now(), "m") != nil || w.set.OpenedSince(time.Now(), time.Now(), "other") != nil {
			t.Error("a circuit is found that is left out, or that opened before")
		}
		time.Sleep(time.Second)
		until := time.Now().Add(4 * time.Second)
		for range 2 { // once is enough
			open := w.set.OpenedSince(began, time.Now(), "other")
			if open != w.c {
				t.Fatal("the open circuit is not found")
			}
			other.OpenWith(open, time.Now())
		}
		want := []Status{{"m", Open, until}, {"other", Open, until}}
		if got := w.set.Status(time.Now()); !slices.Equal(got, want) {
			t.Errorf("status %+v, want %+v", got, want)
		}
		if other.Standing(time.Now(), 0).Ready {
			t.Error("it lets attempts pass")
		}
		var forced Permit
		if !other.Allow(&forced, time.Now(), true) {
			t.Fatal("it lets nobody probe")
		}
		forced.Commit()
		if s := other.Status(time.Now()); s.State != Closed || w.c.Status(time.Now()).State != Open {
			t.Errorf("its probe succeeded, and it is %s, want closed, the other one open", s.State)
		}
		time.Sleep(4 * time.Second)
		other.OpenWith(w.c, time.Now())
		if s := other.Status(time.Now()); s.State != Closed {
			t.Errorf("the pause of the other one is over, and it is %s, want closed", s.State)
		}
	})
}

// However many circuits open with one another, no permit or probe is left.
func TestCircuit_OpenWithLeaksNothing(t *testing.T) {
	set := NewSet(Settings{Policy: with(func(p *Policy) { p.Consecutive, p.OpenFor = 1, time.Microsecond })})
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for n := range 2000 {
				c := set.Get([]string{"m", "other"}[(worker+n)%2])
				if open := set.OpenedSince(time.Time{}, time.Now(), "other"); open != nil {
					set.Get("other").OpenWith(open, time.Now())
				}
				var p Permit
				if c.Allow(&p, time.Now(), n%7 == 0) {
					if n%3 == 0 {
						p.Commit()
					}
					p.Report([]Outcome{Success, Failure, Neutral}[n%3])
				}
			}
		})
	}
	all.Wait()
	if permits, probes := set.InUse(); permits != 0 || probes != 0 {
		t.Errorf("%d permits and %d probes are left", permits, probes)
	}
	time.Sleep(time.Millisecond)
	for _, model := range []string{"m", "other"} {
		var p Permit
		if !set.Get(model).Allow(&p, time.Now().Add(time.Hour), true) {
			t.Errorf("%s lets nobody pass", model)
			continue
		}
		p.Commit()
		p.Report(Success)
	}
}
