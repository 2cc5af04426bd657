package circuit

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// lined has n callers wait in a line, who have waited for the time that since returns, and
// returns when each went.
func lined(t *testing.T, l *Line, n int, g Growth, since func(n int) time.Duration) (went []time.Duration) {
	t.Helper()
	start := time.Now()
	at := make(chan time.Duration, n)
	for i := range n {
		go func() {
			if came, err := l.Wait(t.Context(), start.Add(-since(i)), g, time.Time{}); !came || err != nil {
				t.Errorf("the turn came: %v, %v", came, err)
			}
			at <- time.Since(start)
		}()
	}
	for range n {
		went = append(went, <-at)
	}
	return went
}

// within returns how many went in each second.
func within(went []time.Duration) (seconds []int) {
	for _, d := range went {
		for len(seconds) <= int(d/time.Second) {
			seconds = append(seconds, 0)
		}
		seconds[d/time.Second]++
	}
	return seconds
}

// takes has a circuit serve so many attempts a second for ten seconds.
func (w *world) takes(perSecond int) {
	for range 10 * perSecond {
		w.play("S")
		time.Sleep(time.Second / time.Duration(perSecond))
	}
}

// Where nothing is known of the host, or it was not away, those who wait go in a growth.
func TestLine_Growth(t *testing.T) {
	for _, away := range []bool{false, true} {
		inWorld(t, byDefault, func(t *testing.T, w *world) {
			if !away {
				w.takes(10)
			}
			g := Growth{Began: time.Now(), AtOnce: 4, Step: time.Second, Away: away}
			went := lined(t, &w.c.line, 15, g, func(int) time.Duration { return time.Second })
			for i, want := range map[int]time.Duration{0: 0, 3: 0, 7: time.Second} {
				if went[i] != want {
					t.Errorf("away %v: number %d went after %v, want %v", away, i, went[i], want)
				}
			}
			if last := went[14]; last <= time.Second || last > 2*time.Second {
				t.Errorf("away %v: the last of fifteen went after %v, want a second step", away, last)
			}
		})
	}
}

// A host that was away gets little more than it is known to take, together with those who
// come now. Those who wait get a third of that whatever comes.
func TestLine_Pace(t *testing.T) {
	for _, tt := range []struct{ takes, comes, least, most int }{
		{20, 0, 19, 26},
		{20, 15, 4, 12},
		{20, 20, 4, 7},
		{20, 100, 4, 6},
		{200, 200, 45, 70},
	} {
		inWorld(t, byDefault, func(t *testing.T, w *world) {
			w.takes(tt.takes)
			done := make(chan struct{})
			defer close(done)
			if tt.comes > 0 {
				go func() {
					for {
						select {
						case <-done:
							return
						case <-time.After(time.Second / time.Duration(tt.comes)):
							w.play("S")
						}
					}
				}()
			}
			g := Growth{Began: time.Now(), AtOnce: 1, Step: 50 * time.Millisecond, Away: true}
			went := within(lined(t, &w.c.line, 5*tt.takes, g, func(n int) time.Duration {
				return 20*time.Second - 10*time.Second*time.Duration(n)/time.Duration(5*tt.takes)
			}))
			for second, n := range went[1 : len(went)-1] {
				if n < tt.least || n > tt.most {
					t.Errorf("the host takes %d, %d come: %d of those who wait went in second %d, want %d to %d", tt.takes, tt.comes, n, second+1, tt.least, tt.most)
				}
			}
		})
	}
}

// Where the host has answered nobody yet, the rate at which they came who wait is what it
// had to take.
func TestLine_PaceOfThoseWhoCame(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		g := Growth{Began: time.Now(), AtOnce: 1, Step: 50 * time.Millisecond, Away: true}
		went := within(lined(t, &w.c.line, 400, g, func(n int) time.Duration {
			return 20*time.Second - time.Duration(n)*50*time.Millisecond // 20 a second
		}))
		for _, n := range went {
			if n > 26 {
				t.Fatalf("by second, those went who came at 20 a second: %v; want at most 26", went)
			}
		}
	})
}

// Who has waited longest goes first. Who leaves takes nobody's turn.
func TestLine_Order(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		start := time.Now()
		left := errors.New("left")
		order := make(chan int, 4)
		g := Growth{Began: start, AtOnce: 1, Step: time.Second}
		for n, wait := range []time.Duration{9, 1, 3, 2, 4} {
			ctx, limit, wants := t.Context(), time.Time{}, true
			switch n {
			case 2:
				limit, wants = start.Add(time.Millisecond), false
			case 3:
				ctx = endingWith(t, left)
				wants = false
			}
			go func() {
				came, err := w.c.line.Wait(ctx, start.Add(-wait*time.Second), g, limit)
				if came != wants || n == 3 && err != left || n != 3 && err != nil {
					t.Errorf("%d: the turn came: %v, %v", n, came, err)
				}
				if came {
					order <- n
				}
			}()
			synctest.Wait()
		}
		for _, want := range []int{0, 4, 1} {
			if n := <-order; n != want {
				t.Errorf("number %d went, want %d", n, want)
			}
		}
		if took := time.Since(start); took != time.Duration(math.Log2(3)*float64(time.Second)) {
			t.Errorf("three went in %v, want that of three", took)
		}
	})
}

// A context that panics leaves nothing in the line that others would stand behind.
func TestLine_ContextPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Line
		g := Growth{Began: time.Now(), AtOnce: 1, Step: time.Second}
		func() {
			defer func() { recover() }()
			l.Wait(panicking{t.Context()}, time.Now().Add(-time.Minute), g, time.Time{})
			t.Error("nothing panicked")
		}()
		if came, err := l.Wait(t.Context(), time.Now(), g, time.Now().Add(time.Minute)); !came || err != nil {
			t.Errorf("the next one's turn came: %v, %v", came, err)
		}
	})
}

// A panicking context is one of the user's whose Done panics.
type panicking struct{ context.Context }

func (panicking) Done() <-chan struct{} { panic("Done") }

// endingWith returns a context that ends in a millisecond with that cause.
func endingWith(t *testing.T, cause error) context.Context {
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(time.Millisecond, func() { cancel(cause) })
	return ctx
}

// A meter tells the rate of a load that comes at random, not its highest second; and the
// rate of a line without a discount.
func TestMeter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, perSecond := range []float64{1, 10, 100, 1000} {
		var m meter
		now := time.Unix(1e9, 0)
		for end := now.Add(time.Minute); now.Before(end); {
			m.add(now, false)
			now = now.Add(seconds(random.ExpFloat64() / perSecond))
		}
		if got := m.most(now); got < 0.5*perSecond || got > 1.2*perSecond {
			t.Errorf("%v a second: at most %v", perSecond, got)
		}
		if got := m.most(now.Add(meterFor + time.Minute)); got != 0 {
			t.Errorf("%v a second are known long after: %v", perSecond, got)
		}
	}
	var m meter
	now := time.Unix(1e9, 0)
	for range 100 {
		m.add(now, true)
		now = now.Add(time.Second / 20)
	}
	m.add(now.Add(-time.Hour), true) // too late
	if got := m.most(now); math.Abs(got-20) > 1 {
		t.Errorf("a line of 20 a second: at most %v", got)
	}
}
