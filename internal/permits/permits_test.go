package permits

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestAcquire(t *testing.T) {
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

func TestServedInOrder(t *testing.T) {
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
func TestGrantMeetsCancel(t *testing.T) {
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
