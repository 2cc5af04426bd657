package limit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever leaves the queue, the place closes up at once: the next caller waits for as long
// as if nobody had come.
func TestLimit_LeaversKeepNoPlace(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy Policy
		first  Use           // takes what is there
		next   Use           // of the leavers, and of the one who comes then
		wait   time.Duration // of that one
	}{
		{"per second", Policy{PerSecond: 1, Burst: 1, MaxWait: time.Minute}, Use{}, Use{}, time.Second},
		{"tokens per minute", Policy{TokensPerMinute: 6000, MaxWait: time.Minute}, Use{Answer: 6000}, Use{Prompt: 100}, time.Second},
	} {
		for name, order := range map[string]func(n int) int{
			"first first": func(n int) int { return n },
			"last first":  func(n int) int { return 15 - n },
			"any":         func(int) int { return rand.IntN(15) },
			"at once":     func(int) int { return 0 },
		} {
			bubble(t, tt.name+"/"+name, func(t *testing.T) {
				l, start := of(tt.policy), time.Now()
				if err := l.Acquire(t.Context(), new(Lease), tt.first); err != nil {
					t.Fatal(err)
				}
				var leavers sync.WaitGroup
				for n := range 15 {
					leavers.Go(func() {
						time.Sleep(time.Duration(n) * time.Millisecond)
						ctx, cancel := context.WithCancel(t.Context())
						time.AfterFunc(200*time.Millisecond+time.Duration(order(n))*time.Millisecond, cancel)
						if err := l.Acquire(ctx, new(Lease), tt.next); !errors.Is(err, context.Canceled) {
							t.Errorf("Acquire = %v, want the cancel", err)
						}
					})
				}
				time.Sleep(100 * time.Millisecond)
				if _, waiting := l.InUse(); waiting != 15 {
					t.Errorf("%d wait, want 15", waiting)
				}
				leavers.Wait()
				if err := l.Acquire(t.Context(), new(Lease), tt.next); err != nil || time.Since(start) != tt.wait {
					t.Errorf("the next one has %v after %v, want a lease after %v", err, time.Since(start), tt.wait)
				}
			})
		}
	}
}

// Those behind a leaver who was to be next do not wait for its turn to be over.
func TestLimit_LeaverAtTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, start := of(Policy{TokensPerMinute: 6000, MaxWait: time.Minute}), time.Now()
		if err := l.Acquire(t.Context(), new(Lease), Use{Answer: 6000}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		callers.Go(func() { l.Acquire(ctx, new(Lease), Use{Prompt: 2000}) })
		synctest.Wait()
		callers.Go(func() {
			if err := l.Acquire(t.Context(), new(Lease), Use{Prompt: 200}); err != nil || time.Since(start) != 5*time.Second {
				t.Errorf("the one behind has %v after %v, want a lease at 5s", err, time.Since(start))
			}
		})
		time.Sleep(5 * time.Second)
		cancel()
		callers.Wait()
	})
}

// The rate can change while callers wait.
func TestLimit_RateChanges(t *testing.T) {
	begin := func(l *Limiter, n int) (times func() string) {
		var mu sync.Mutex
		var callers sync.WaitGroup
		var got []time.Duration
		start := time.Now()
		for range n {
			callers.Go(func() {
				if err := l.Acquire(context.Background(), new(Lease), Use{}); err != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				got = append(got, time.Since(start))
			})
			synctest.Wait()
		}
		return func() string { callers.Wait(); return fmt.Sprint(got) }
	}
	for _, tt := range []struct {
		name      string
		policy    Policy
		perSecond float64 // after 500ms
		burst     int
		want      string
	}{
		{"faster", Policy{PerSecond: 1, Burst: 1, MaxWait: time.Minute}, 10, 1, "[0s 550ms 650ms 750ms]"},
		{"slower", Policy{PerSecond: 1, Burst: 1, MaxWait: time.Minute}, 0.5, 1, "[0s 1.5s 3.5s 5.5s]"},
		{"no longer", Policy{PerSecond: 1, Burst: 1, MaxWait: time.Minute}, 0, 0, "[0s 500ms 500ms 500ms]"},
		{"a larger burst", Policy{PerSecond: 1, Burst: 1, MaxWait: time.Minute}, 1, 3, "[0s 1s 2s 3s]"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			l := of(tt.policy)
			times := begin(l, 4)
			time.Sleep(500 * time.Millisecond)
			setRate(l, tt.perSecond, tt.burst)
			if got := times(); got != tt.want {
				t.Errorf("attempts at %s, want %s", got, tt.want)
			}
		})
	}
}

// setRate changes the rate, as learning does.
func setRate(l *Limiter, perSecond float64, burst int) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts.set(now, perSecond, max(burst, 1))
	l.admitLocked(now)
}

// A refusal says which limit it was, how full, and when there is room.
func TestLimit_Refusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy Policy
		use    Use // of each of two attempts before
		next   Use
		want   Error
	}{
		{"in flight", Policy{InFlight: 2}, Use{}, Use{}, Error{InFlight, 2, 2, 0, 0}},
		{"per second", Policy{PerSecond: 0.5, Burst: 2}, Use{}, Use{}, Error{PerSecond, 2, 2, 0, 2 * time.Second}},
		{"tokens", Policy{TokensPerMinute: 6000}, Use{Prompt: 1500}, Use{Prompt: 100}, Error{TokensPerMinute, 3000, 6000, 0, time.Second}},
		{"the minute", Policy{TokensPerMinute: 6000}, Use{Prompt: 1500}, Use{Prompt: 3500}, Error{TokensPerMinute, 3000, 6000, 0, time.Minute + slot}},
		{"the longest of them", Policy{PerSecond: 0.5, Burst: 2, TokensPerMinute: 6000}, Use{Prompt: 1500}, Use{Prompt: 100}, Error{PerSecond, 2, 2, 0, 2 * time.Second}},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			l := of(tt.policy)
			for range 2 {
				if err := l.Acquire(t.Context(), new(Lease), tt.use); err != nil {
					t.Fatal(err)
				}
			}
			err := l.Acquire(t.Context(), new(Lease), tt.next)
			var got *Error
			if !errors.As(err, &got) || *got != tt.want || !errors.Is(err, ErrLimited) {
				t.Errorf("Acquire = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// A permit granted to a caller who leaves at that moment goes on to the next.
func TestLimit_GrantMeetsCancel(t *testing.T) {
	for range 1000 {
		l := of(Policy{InFlight: 1, PerSecond: 1e9, Burst: 1e9, TokensPerMinute: 6000, MaxWait: time.Hour})
		held := new(Lease)
		if err := l.Acquire(t.Context(), held, Use{Prompt: 1}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		lease := new(Lease)
		go func() { done <- l.Acquire(ctx, lease, Use{Prompt: 1}) }()
		go cancel()
		held.End(Result{})
		if err := <-done; err == nil {
			lease.End(Result{})
		}
		if open, waiting := l.InUse(); open != 0 || waiting != 0 || l.tokens.minute.sum != 0 {
			t.Fatalf("%d open, %d waiting, %v tokens, want none", open, waiting, l.tokens.minute.sum)
		}
	}
}

// A limit that rises lets in as many waiters as there is room for; one that falls takes
// nothing back, and lets nobody in until there is room.
func TestLimit_PermitsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := of(Policy{InFlight: 10, Adaptive: true, MaxWait: time.Hour})
		var leases []*Lease
		for range 10 {
			leases = append(leases, acquire(t, l))
		}
		end := func(r Result) { leases[0].End(r); leases = leases[1:] }
		time.Sleep(time.Minute)
		end(Result{Refused: true, Begun: time.Now(), Stated: 3}) // nine are open, of three
		for range 2 {
			go l.Acquire(t.Context(), new(Lease), Use{})
		}
		for len(leases) > 3 {
			end(Result{})
		}
		synctest.Wait()
		if open, waiting := l.InUse(); open != 3 || waiting != 2 {
			t.Errorf("%d open, %d waiting, want 3 and 2", open, waiting)
		}
		time.Sleep(time.Minute)
		end(Result{Served: true})
		synctest.Wait()
		if open, waiting := l.InUse(); open < 3 || waiting != 4-open {
			t.Errorf("%d open, %d waiting, want more: what is served raises the limit", open, waiting)
		}
	})
}

// A context that panics leaves nothing in the queue.
func TestLimit_PanicsLeakNothing(t *testing.T) {
	for _, method := range []string{"Done", "Deadline"} {
		l := of(Policy{InFlight: 1, MaxWait: time.Hour})
		held := acquire(t, l)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", method)
				}
			}()
			l.Acquire(panicking{context.Background(), method}, new(Lease), Use{})
		}()
		held.End(Result{})
		if open, waiting := l.InUse(); open != 0 || waiting != 0 {
			t.Errorf("%s: %d open, %d waiting, want none", method, open, waiting)
		}
	}
}

type panicking struct {
	context.Context
	method string
}

func (p panicking) Done() <-chan struct{} {
	if p.method == "Done" {
		panic("Done")
	}
	return p.Context.Done()
}

func (p panicking) Deadline() (time.Time, bool) {
	if p.method == "Deadline" {
		panic("Deadline")
	}
	return p.Context.Deadline()
}
