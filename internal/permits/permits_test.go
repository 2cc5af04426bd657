package permits

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestPool_Acquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		p := New(1)
		if err := p.Acquire(ctx, 0); err != nil {
			t.Fatal(err)
		}
		if err := p.Acquire(ctx, 0); err != ErrFull {
			t.Errorf("Acquire of a full pool without a wait = %v, want ErrFull", err)
		}
		start := time.Now()
		if err := p.Acquire(ctx, time.Second); err != ErrFull || time.Since(start) != time.Second {
			t.Errorf("Acquire of a full pool = %v after %v, want ErrFull after 1s", err, time.Since(start))
		}
		gone, cancel := context.WithCancelCause(ctx)
		left := errors.New("left")
		time.AfterFunc(time.Second, func() { cancel(left) })
		if err := p.Acquire(gone, time.Hour); err != left {
			t.Errorf("Acquire of a caller who leaves = %v, want its cause", err)
		}
		p.Release(0)
		if used, waiting := p.InUse(); used != 0 || waiting != 0 {
			t.Errorf("InUse() = %d, %d at the end, want 0, 0", used, waiting)
		}
	})
}

func TestPool_ServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(1)
		if err := p.Acquire(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		order := make(chan int, 100)
		for i := range 100 {
			go func() {
				if err := p.Acquire(t.Context(), time.Hour); err != nil {
					t.Error(err)
				}
				order <- i
				p.Release(0)
			}()
			synctest.Wait() // so that they arrive in order
		}
		p.Release(0)
		var served []int
		for range 100 {
			served = append(served, <-order)
		}
		if !slices.IsSorted(served) {
			t.Errorf("served %v, want the order of arrival", served)
		}
	})
}

// A permit granted to a caller who leaves at that moment goes on to the next.
func TestPool_GrantMeetsCancel(t *testing.T) {
	for range 1000 {
		p := New(1)
		if err := p.Acquire(context.Background(), 0); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- p.Acquire(ctx, time.Hour) }()
		go cancel()
		p.Release(0)
		if err := <-done; err == nil {
			p.Release(0)
		}
		if used, waiting := p.InUse(); used != 0 || waiting != 0 {
			t.Fatalf("InUse() = %d, %d, want 0, 0", used, waiting)
		}
	}
}

// A pool that grows serves as many waiters as there is room for; one that shrinks
// takes nothing back, and hands nothing out until it is small enough.
func TestPool_Resize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(1)
		p.Acquire(t.Context(), 0)
		for range 3 {
			go p.Acquire(t.Context(), time.Hour)
		}
		synctest.Wait()
		check := func(when string, used, waiting int, free bool) {
			t.Helper()
			synctest.Wait()
			if u, w := p.InUse(); u != used || w != waiting || p.Free() != free {
				t.Errorf("%s: %d used, %d waiting, free %v; want %d, %d, %v", when, u, w, p.Free(), used, waiting, free)
			}
		}
		check("full", 1, 3, false)
		p.Resize(3)
		check("grown by two", 3, 1, false)
		p.Resize(1)
		p.Release(0)
		check("shrunk, and one given back", 2, 1, false)
		p.Release(0)
		check("and another", 1, 1, false)
		p.Resize(Unlimited)
		check("without a bound", 2, 0, true)
	})
}

func TestPool_Expected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(2)
		if got := p.Expected(); got != 0 {
			t.Errorf("a free pool expects a wait of %v", got)
		}
		p.Acquire(t.Context(), 0)
		p.Acquire(t.Context(), 0)
		if got := p.Expected(); got != 0 {
			t.Errorf("before any permit came back, it expects a wait of %v, want 0: it is not known", got)
		}
		p.Release(8 * time.Second)
		p.Acquire(t.Context(), 0)
		if got := p.Expected(); got != 2*time.Second {
			t.Errorf("of two permits held for 8s each, it expects one in %v, want 2s", got)
		}
		go p.Acquire(t.Context(), time.Hour)
		synctest.Wait()
		if got := p.Expected(); got != 6*time.Second {
			t.Errorf("behind one waiter, it expects %v, want 6s", got)
		}
		if err := p.Acquire(t.Context(), 5*time.Second); err != ErrFull {
			t.Errorf("Acquire of what takes longer than the wait = %v, want ErrFull at once", err)
		}
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Acquire(soon, time.Hour); err != ErrFull {
			t.Errorf("Acquire of what takes longer than the deadline = %v, want ErrFull at once", err)
		}
		p.Release(1<<63 - 1)
		p.Acquire(t.Context(), 0)
		for range 100 {
			p.Release(1<<63 - 1)
			p.Acquire(t.Context(), 0)
		}
		if got := p.Expected(); got <= 0 {
			t.Errorf("held for ever, it expects %v, want a very long wait", got)
		}
		p.Release(0)
		p.Release(0)
	})
}
