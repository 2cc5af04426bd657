package circuit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// halfOpen opens the circuit and waits until it may be probed.
func (w *world) halfOpen() {
	w.play("FFFFF")
	time.Sleep(5 * time.Second)
}

// A slow probe lets another attempt follow every 3s, and its success closes the circuit.
func TestProbe_SlowLetsOthersFollow(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		w.halfOpen()
		start := time.Now()
		var times []int
		var all []*Permit
		for n := range 12 { // one a second
			if n == 10 {
				all[0].Report(Success)
				w.stands("after the first probe's success", Closed, 0)
			}
			if p := w.ask(); p != nil {
				times = append(times, int(time.Since(start).Seconds()))
				all = append(all, p)
			}
			if _, probes := w.set.InUse(); probes > 1 {
				t.Errorf("%d probes at %ds, want one that is shared", probes, n)
			}
			time.Sleep(time.Second)
		}
		if got := fmt.Sprint(times); got != "[0 3 6 9 10 11]" {
			t.Errorf("attempts at %s, want one every 3s until the first succeeds, then all", got)
		}
		for _, p := range all[1:] {
			p.Report(Success)
		}
	})
}

// If attempts share a probe, the first outcome is the outcome of all. An attempt that
// ends without a result leaves the probe to the others.
func TestProbe_FirstOutcomeCounts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		plays  string // how the second attempt that shares the probe ends, then the third, then the first
		states [3]string
	}{
		{"the second succeeds", "SNN", [3]string{Closed, Closed, Closed}},
		{"the second fails", "FNN", [3]string{Open, Open, Open}},
		{"the second fails, the others, too", "FFF", [3]string{Open, Open, Open}},
		{"the second fails, and the third shows that the host is well", "FSN", [3]string{Open, Closed, Closed}},
		{"the second leaves, the third succeeds", "NSF", [3]string{HalfOpen, Closed, Closed}},
		{"the second leaves, the third fails", "NFN", [3]string{HalfOpen, Open, Open}},
		{"the others leave, the first succeeds", "NNS", [3]string{HalfOpen, HalfOpen, Closed}},
		{"all leave", "NNN", [3]string{HalfOpen, HalfOpen, HalfOpen}},
		{"the second had too little time", "INN", [3]string{Open, Open, HalfOpen}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, byDefault, func(t *testing.T, w *world) {
				w.halfOpen()
				var all []*Permit
				for range 3 {
					all = append(all, w.allowed())
					time.Sleep(ProbeGrace)
				}
				known := false
				for n, letter := range tt.plays {
					probe := all[0].probe
					end(all[(n+1)%3], letter)
					if known = known || letter == 'S' || letter == 'F' || n == 2; probe != nil && probe.Done() != known {
						t.Errorf("after %s the outcome is known: %v, want %v", tt.plays[:n+1], probe.Done(), known)
					}
					if s := w.c.Status(time.Now()); s.State != tt.states[n] {
						t.Errorf("after %s the circuit is %s, want %s", tt.plays[:n+1], s.State, tt.states[n])
					}
					time.Sleep(2500 * time.Millisecond)
				}
			})
		})
	}
}

// An attempt that still shares a probe whose outcome is known counts on its own.
func TestProbe_FollowersAreResults(t *testing.T) {
	policy := with(func(p *Policy) { p.Consecutive = 1 })
	inWorld(t, policy, func(t *testing.T, w *world) {
		w.play("F")
		time.Sleep(5 * time.Second)
		first := w.allowed()
		time.Sleep(ProbeGrace)
		second := w.allowed()
		first.Report(Success)
		w.stands("after the probe", Closed, 0)
		if !second.Probing() {
			t.Error("the attempt that followed is not a probe")
		}
		second.Report(Failure)
		w.stands("after the failure of the attempt that followed", Open, 5*time.Second)
	})
}

// Callers that have no other endpoint probe at most once a second, and wait for a probe
// that is under way. Their failures do not change the pause.
func TestProbe_Forced(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		next := func(when string, under bool, want time.Duration) *Probe {
			t.Helper()
			p, wait := w.c.NextProbe(time.Now())
			if (p != nil) != under || wait != want {
				t.Errorf("%s: a probe under way %v, %v to wait, want %v, %v", when, p != nil, wait, under, want)
			}
			return p
		}
		w.play("FFFFF")
		time.Sleep(time.Millisecond)
		next("open", false, 0)
		forced := w.force()
		if forced == nil || !forced.Probing() {
			t.Fatalf("forced: %+v, want a probe", forced)
		}
		under := next("probed", true, ProbeGrace)
		if w.force() != nil {
			t.Error("a second probe was let through")
		}
		time.Sleep(time.Second)
		if under.Done() {
			t.Error("the outcome of a probe under way is known")
		}
		next("probed for a second", true, ProbeGrace-time.Second)
		time.Sleep(ProbeGrace - time.Second)
		next("the probe is slow", false, 0)
		forced.Report(Failure)
		if !under.Done() {
			t.Error("the outcome of a probe that failed is not known")
		}
		w.stands("after the forced probe", Open, 2*time.Second-time.Millisecond)
		next("probed long ago", false, afterOpening)
		time.Sleep(afterOpening)
		next("a moment later", false, 0)
		w.force().Report(Failure)
		next("after the second probe", false, ForcedEvery)
		time.Sleep(300 * time.Millisecond)
		next("a little later", false, ForcedEvery-300*time.Millisecond)
		left := 1700*time.Millisecond - time.Millisecond - 2
		w.stands("after two forced probes", Open, left)
		w.allowedAfter(left).Report(Failure)
		w.stands("a probe failed after the pause", Open, 10*time.Second)
		time.Sleep(time.Second)
		end(w.force(), 'S')
		w.stands("recovered", Closed, 0)
	})
}

// When the pause is over, anybody may probe, however short a time ago a probe was forced.
func TestProbe_ForcedBeforeThePauseEnds(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		w.play("FFFFF")
		time.Sleep(4900 * time.Millisecond)
		w.force().Report(Failure)
		if _, wait := w.c.NextProbe(time.Now()); wait != 100*time.Millisecond {
			t.Errorf("the next probe is due in %v, want 100ms", wait)
		}
	})
}

// A probe knows how long it took. A circuit knows for a second which probe has closed it.
func TestProbe_ClosesTheCircuit(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		w.halfOpen()
		p := w.allowed()
		probe, _ := w.c.NextProbe(time.Now())
		time.Sleep(2 * time.Second)
		if w.c.ClosedBy(time.Now()) != nil {
			t.Error("a circuit that is half-open has been closed")
		}
		p.Report(Success)
		if w.c.ClosedBy(time.Now()) != probe {
			t.Error("the probe did not close the circuit")
		}
		closed := time.Now()
		time.Sleep(time.Millisecond)
		if at, took := probe.Ended(); !at.Equal(closed) || took != 2*time.Second {
			t.Errorf("it ended at %v after %v, want %v, 2s", at, took, closed)
		}
		time.Sleep(ForcedEvery)
		if w.c.ClosedBy(time.Now()) != nil {
			t.Error("a circuit that has closed a second ago has just closed")
		}
		var none *Circuit
		if none.ClosedBy(time.Now()) != nil {
			t.Error("a circuit that does not exist has been closed")
		}
	})
}

// If several probes are allowed, the next one need not wait for the first.
func TestProbe_NextOfSeveral(t *testing.T) {
	inWorld(t, with(func(p *Policy) { p.Probes = 2 }), func(t *testing.T, w *world) {
		w.halfOpen()
		first := w.allowed()
		if p, wait := w.c.NextProbe(time.Now()); p != nil || wait != 0 {
			t.Errorf("one of two probes is under way: wait %v for %v", wait, p)
		}
		second := w.allowed()
		if p, wait := w.c.NextProbe(time.Now()); p != second.probe || wait != ProbeGrace {
			t.Errorf("two of two probes are under way: wait %v for %v, want %v for the latest", wait, p, ProbeGrace)
		}
		first.Report(Neutral)
		second.Report(Neutral)
	})
}

// Await returns as soon as the outcome of the probe is known, and the circuit has
// changed its state by then.
func TestProbe_Await(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		w.halfOpen()
		p := w.allowed()
		probe, most := w.c.NextProbe(time.Now())
		start := time.Now()
		waits := make(chan time.Duration, 1)
		go func() {
			if err := probe.Await(t.Context(), most); err != nil {
				t.Error(err)
			}
			waits <- time.Since(start)
			w.stands("when the wait is over", Closed, 0)
		}()
		time.Sleep(time.Second)
		p.Report(Success)
		if took := <-waits; took != time.Second || !probe.Done() {
			t.Errorf("the wait took %v, and the outcome is known: %v; want 1s, true", took, probe.Done())
		}
		synctest.Wait()
	})
}

func TestProbe_AwaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probe, start := newProbe(time.Now()), time.Now()
		if err := probe.Await(t.Context(), time.Second); err != nil || time.Since(start) != time.Second {
			t.Errorf("Await = %v after %v, want nil after 1s", err, time.Since(start))
		}
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		if err := probe.Await(ctx, time.Minute); err != gone || time.Since(start) != 2*time.Second {
			t.Errorf("Await = %v after %v, want the context's cause after 2s", err, time.Since(start))
		}
	})
}

// A caller that is refused because of a probe sees that probe, so that it can wait for it.
func TestProbe_IsSeenByWhoIsRefused(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		for range 2000 {
			w.play("FFFFF")
			time.Sleep(time.Until(w.c.Status(time.Now()).Until))
			var all sync.WaitGroup
			var passed, unseen atomic.Int32
			probe := new(Permit)
			for range 4 {
				all.Go(func() {
					p := new(Permit)
					if w.c.Allow(p, time.Now(), false) {
						passed.Add(1)
						probe = p
					} else if seen, _ := w.c.NextProbe(time.Now()); seen == nil {
						unseen.Add(1)
					}
				})
			}
			all.Wait()
			if passed.Load() != 1 || unseen.Load() > 0 {
				t.Fatalf("%d probes, and %d were refused that saw none; want 1 and 0", passed.Load(), unseen.Load())
			}
			probe.Report(Success)
		}
	})
}

// If Standing says that the circuit is ready, a probe passes. So the probe before must
// hold its place until gobreaker knows its outcome.
func TestProbe_KeepsItsPlaceToTheEnd(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		w.halfOpen()
		probe := w.allowed()
		for range 5000 {
			ended := make(chan struct{})
			go func() {
				probe.Report(Neutral)
				close(ended)
			}()
			for !w.c.Standing(time.Now(), 0).Ready {
				runtime.Gosched()
			}
			probe = new(Permit)
			if !w.c.Allow(probe, time.Now(), false) {
				t.Fatal("the circuit was ready but refused the probe")
			}
			<-ended
		}
		probe.Report(Neutral)
	})
}

// With several probes, one that has succeeded keeps its place until the circuit closes,
// because gobreaker counts it.
func TestProbe_SuccessKeepsItsPlace(t *testing.T) {
	inWorld(t, with(func(p *Policy) { p.Probes = 3 }), func(t *testing.T, w *world) {
		w.halfOpen()
		w.allowed().Report(Success)
		second, third := w.allowed(), w.allowed()
		if w.c.Standing(time.Now(), 0).Ready || w.ask() != nil {
			t.Error("with a success and two probes under way, the circuit is ready for a fourth")
		}
		second.Report(Neutral)
		if !w.c.Standing(time.Now(), 0).Ready {
			t.Error("a probe ended without a result, but the circuit is not ready")
		}
		second = w.allowed()
		second.Report(Success)
		third.Report(Success)
		w.stands("after three successes", Closed, 0)
	})
}

// So does the success of an attempt that followed a probe and ends after it.
func TestProbe_FollowersSuccessKeepsAPlace(t *testing.T) {
	inWorld(t, with(func(p *Policy) { p.Probes = 3 }), func(t *testing.T, w *world) {
		w.halfOpen()
		first := w.allowed()
		time.Sleep(ProbeGrace)
		follower := w.allowed()
		first.Report(Success)
		follower.Report(Success)
		third := w.allowed()
		if w.c.Standing(time.Now(), 0).Ready || w.ask() != nil {
			t.Error("beside two successes and a probe, the circuit is ready for a fourth")
		}
		third.Report(Success)
		w.stands("after three successes", Closed, 0)
	})
}
