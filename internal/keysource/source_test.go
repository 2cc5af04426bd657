package keysource

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

func get(s *Source, ctx context.Context, rejected string) (string, error) {
	return s.Get(ctx, time.Now(), rejected)
}

// Those who ask at the same time share one invocation, for each rejected key; those who ask
// later get another one.
func TestSource_Shares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began atomic.Int32
		s := New(func(_ context.Context, rejected string) (string, error) {
			n := began.Add(1)
			time.Sleep(time.Second)
			return fmt.Sprint("sk-", n, rejected), nil
		})
		var all sync.WaitGroup
		got := make(map[string]int)
		var mu sync.Mutex
		for i := range 30 {
			all.Go(func() {
				rejected := []string{"", "-a", "-b"}[i%3]
				key, err := get(s, t.Context(), rejected)
				if err != nil || !strings.HasSuffix(key, rejected) {
					t.Error(key, err)
				}
				mu.Lock()
				got[key]++
				mu.Unlock()
			})
		}
		all.Wait()
		if len(got) != 3 || began.Load() != 3 {
			t.Errorf("%d invocations, keys %v", began.Load(), got)
		}
		if key, err := get(s, t.Context(), ""); key != "sk-4" || err != nil {
			t.Errorf("later: %q, %v", key, err)
		}
	})
}

// The context ends when the last one who waits has left, and not sooner. It has no values of
// theirs, and the bound as its deadline.
func TestSource_ContextOfItsOwn(t *testing.T) {
	type ofCaller struct{}
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Bool
		s := New(func(ctx context.Context, _ string) (string, error) {
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != Bound || ctx.Err() != nil || ctx.Value(ofCaller{}) != nil {
				t.Errorf("the context ends in %v, %v; has %v", time.Until(deadline), ctx.Err(), ctx.Value(ofCaller{}))
			}
			child, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			<-child.Done()
			ended.Store(true)
			return "", child.Err()
		})
		left := errors.New("left")
		first, leave := context.WithCancelCause(context.WithValue(t.Context(), ofCaller{}, 1))
		second, leaveToo := context.WithTimeout(t.Context(), 3*time.Second)
		defer leaveToo()
		time.AfterFunc(time.Second, func() { leave(left) })
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := get(s, first, ""); err != left {
				t.Errorf("%v, want the cause of the context's end", err)
			}
			if ended.Load() {
				t.Error("the context has ended while somebody waits")
			}
		})
		both.Go(func() {
			if _, err := get(s, second, ""); err != context.DeadlineExceeded {
				t.Error(err)
			}
		})
		both.Wait()
		synctest.Wait()
		if !ended.Load() {
			t.Error("the context goes on although nobody waits")
		}
	})
}

// A context that the function keeps ends when the function has returned.
func TestSource_ContextEndsWithTheFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept, after := make(chan context.Context, 2), make(chan struct{})
		s := New(func(ctx context.Context, rejected string) (string, error) {
			if rejected != "" {
				context.AfterFunc(ctx, func() { close(after) })
			}
			kept <- ctx
			return "sk", nil
		})
		for _, rejected := range []string{"", "sk-old"} {
			get(s, t.Context(), rejected)
			ctx := <-kept
			<-ctx.Done()
			if ctx.Err() != context.Canceled {
				t.Error(ctx.Err())
			}
		}
		<-after
	})
}

// A function that does not return is left alone at the bound. It is not started again before
// it has returned, and then it is.
func TestSource_Hangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began atomic.Int32
		release := make(chan struct{})
		s := New(func(context.Context, string) (string, error) {
			began.Add(1)
			<-release
			return "sk", nil
		})
		start := time.Now()
		_, err := get(s, t.Context(), "")
		if !errors.Is(err, outcome.ErrKeyFunc) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != Bound {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		for range 100 {
			if _, err := get(s, t.Context(), ""); err != errHangs || time.Since(start) != Bound {
				t.Fatalf("%v after %v", err, time.Since(start))
			}
		}
		for i := range 100 { // other rejected keys hang, too
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			get(s, ctx, fmt.Sprint("sk-", i))
			cancel()
		}
		if n := began.Load(); n != maxRunning {
			t.Errorf("%d invocations hang", n)
		}
		close(release)
		synctest.Wait()
		if key, err := get(s, t.Context(), ""); key != "sk" || err != nil {
			t.Errorf("later: %q, %v", key, err)
		}
	})
}

// Who comes when all others have left waits for the function to return. What it gives is as
// good as any; an error it may have because of its context, so it is asked anew.
func TestSource_ComesWhenAllHaveLeft(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var began atomic.Int32
			s := New(func(context.Context, string) (string, error) {
				n := began.Add(1)
				time.Sleep(2 * time.Second)
				if n == 1 && fails {
					return "", context.Canceled
				}
				return fmt.Sprint("sk-", n), nil
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			get(s, ctx, "")
			start, want := time.Now(), "sk-1 1s"
			if fails {
				want = "sk-2 3s"
			}
			key, err := get(s, t.Context(), "")
			if got := fmt.Sprint(key, " ", time.Since(start)); got != want || err != nil {
				t.Errorf("%s, %v, want %s", got, err, want)
			}
		})
	}
}

// Close ends what waits. What comes later is served.
func TestSource_Close(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closer := NewCloser()
		s := closer.New(func(ctx context.Context, _ string) (string, error) {
			if time.Now().Unix()%2 == 0 {
				<-ctx.Done()
			}
			return "sk", ctx.Err()
		})
		time.AfterFunc(time.Second, closer.Close)
		if _, err := get(s, t.Context(), ""); err != ErrClosed {
			t.Error(err)
		}
		synctest.Wait()
		if key, err := get(s, t.Context(), ""); key != "sk" || err != nil {
			t.Errorf("later: %q, %v", key, err)
		}
	})
}

// What cannot be a key is named, and never quoted.
func TestSource_Errors(t *testing.T) {
	secret := errors.New("5ec4e7")
	for name, tt := range map[string]struct {
		ask  Func
		want string
	}{
		"an error":         {func(context.Context, string) (string, error) { return "5ec4e7", secret }, "KeyFunc failed"},
		"an error of ours": {func(context.Context, string) (string, error) { return "", outcome.Error("the file is empty") }, "KeyFunc failed: the file is empty"},
		"a panic":          {func(context.Context, string) (string, error) { panic("5ec4e7") }, "KeyFunc panicked"},
		"a panic with nil": {func(context.Context, string) (string, error) { panic(nil) }, "KeyFunc panicked"},
		"an exit":          {func(context.Context, string) (string, error) { runtime.Goexit(); return "", nil }, "KeyFunc ended its goroutine"},
		"nothing":          {func(context.Context, string) (string, error) { return "", nil }, "KeyFunc gave a key that is empty"},
		"blanks":           {func(context.Context, string) (string, error) { return "  ", nil }, "KeyFunc gave a key that is blank"},
		"a blank around":   {func(context.Context, string) (string, error) { return "5ec4e7\t", nil }, "KeyFunc gave a key that has blanks around it: use strings.TrimSpace"},
		"a line break":     {func(context.Context, string) (string, error) { return "5ec\n4e7", nil }, "KeyFunc gave a key that has a line break: if it comes from a file, use strings.TrimSpace"},
		"a zero byte":      {func(context.Context, string) (string, error) { return "5ec\x004e7", nil }, "KeyFunc gave a key that has a line break or control character in it"},
	} {
		_, err := get(New(tt.ask), t.Context(), "")
		if err == nil || err.Error() != "breakwater: "+tt.want || outcome.LogText(err) != tt.want || !errors.Is(err, outcome.ErrKeyFunc) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		if name == "an error" && !errors.Is(err, secret) {
			t.Errorf("%v is not the function's error", err)
		}
	}
}

// Which refusals concern the key that the function gives now.
func TestSource_Refused(t *testing.T) {
	key := "k1"
	s := New(func(context.Context, string) (string, error) { return key, nil })
	give := func(k string) { key = k; get(s, t.Context(), "") }
	steps := []struct {
		do   func() bool
		want bool
	}{
		{func() bool { give("k1"); return s.Refused("k1") }, true},
		{func() bool { give("k2"); return s.Refused("k1") }, false}, // an old key, late
		{func() bool { return s.Refused("k2") }, true},              // the new one, too
		{func() bool { s.Worked("k2"); return s.Refused("k1") }, false},
		{func() bool { give("k1"); return s.Refused("k0") }, true}, // k1 is still refused
		{func() bool { s.Worked("k1"); return s.Refused("k0") }, false},
	}
	for i, step := range steps {
		if got := step.do(); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
	for i := range 1000 { // it is bounded
		s.Refused(fmt.Sprint(i))
	}
	if len(s.refused) != maxRefused {
		t.Errorf("%d refused keys are kept", len(s.refused))
	}
}

// Whatever the function does, and whoever leaves when: everybody returns in time, with a key
// or an error, no more than maxRunning invocations run, at most one for each rejected key,
// and none is left.
func TestSource_WhateverHappens(t *testing.T) {
	seeds := 200
	if testing.Short() {
		seeds = 20
	}
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 22))
			var mu sync.Mutex
			running := make(map[string]int)
			most := 0
			between := func(n int) time.Duration { // in milliseconds
				mu.Lock()
				defer mu.Unlock()
				return time.Duration(random.IntN(n)) * time.Millisecond
			}
			closer := NewCloser()
			s := closer.New(func(ctx context.Context, rejected string) (string, error) {
				mu.Lock()
				running[rejected]++
				all := 0
				for _, n := range running {
					all += n
				}
				most = max(most, all)
				if running[rejected] > 1 {
					t.Errorf("seed %d: two invocations for %q", seed, rejected)
				}
				mu.Unlock()
				defer func() {
					mu.Lock()
					running[rejected]--
					mu.Unlock()
				}()
				switch what := between(8); what / time.Millisecond {
				case 0:
					panic("in KeyFunc")
				case 1:
					time.Sleep(between(30_000)) // heeds nothing
				case 2:
					<-ctx.Done()
					return "", ctx.Err()
				case 3:
					return "sk\n", nil
				case 4:
					runtime.Goexit()
				case 5:
					time.Sleep(between(500))
				}
				return "sk-" + rejected, nil
			})
			var all sync.WaitGroup
			for range 200 {
				all.Go(func() {
					time.Sleep(between(60_000))
					ctx, cancel := context.WithTimeout(t.Context(), between(15_000))
					defer cancel()
					rejected := []string{"", "a", "b", "c", "d", "e"}[between(6)/time.Millisecond]
					began := time.Now()
					deadline, _ := ctx.Deadline()
					key, err := get(s, ctx, rejected)
					switch {
					case time.Now().After(deadline):
						t.Errorf("seed %d: it returned %v after its deadline", seed, time.Since(deadline))
					case time.Since(began) > 2*Bound:
						t.Errorf("seed %d: it took %v", seed, time.Since(began))
					case err == nil && key != "sk-"+rejected, err != nil && !errors.Is(err, outcome.ErrKeyFunc) && err != context.DeadlineExceeded:
						t.Errorf("seed %d: %q, %v", seed, key, err)
					}
				})
			}
			all.Wait()
			closer.Close()
			time.Sleep(time.Minute)
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.running)+len(s.pending) > 0 || most > maxRunning {
				t.Errorf("seed %d: %d are left, %d ran at once", seed, len(s.running), most)
			}
		})
	}
}
