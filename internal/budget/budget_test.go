package budget

import (
	"testing"
	"time"
)

func TestTake(t *testing.T) {
	b := New(0.2, 10)
	at := func(s float64) time.Time { return b.epoch.Add(time.Duration(s * float64(time.Second))) }
	take := func(now time.Time, n int) (taken int) {
		for range n {
			if b.Take(now) {
				taken++
			}
		}
		return taken
	}
	if got := take(at(0), 20); got != 10 {
		t.Errorf("without calls: took %d, want the floor of 10", got)
	}
	for range 100 {
		b.Call(at(1))
	}
	if got := take(at(2), 50); got != 20 {
		t.Errorf("after 100 calls: took %d more, want 20", got)
	}
	if got := take(at(59.5), 50); got != 0 {
		t.Errorf("within the minute: took %d more, want 0", got)
	}
	if got := take(at(61), 50); got != 0 {
		t.Errorf("with the calls out of the window and 20 extras in it: took %d, want 0", got)
	}
	if got := take(at(63), 50); got != 10 {
		t.Errorf("with all out of the window: took %d, want 10", got)
	}
	if got := take(at(600), 50); got != 10 {
		t.Errorf("after a long rest: took %d, want 10", got)
	}
	b.Return(at(600))
	b.Return(at(600))
	if got := take(at(601), 50); got != 2 {
		t.Errorf("after 2 were given back: took %d, want 2", got)
	}
	take(at(700), 1)
	b.Return(at(601)) // it no longer counts
	if got := take(at(700), 50); got != 9 {
		t.Errorf("after one was given back that no longer counts: took %d, want 9", got)
	}
}
