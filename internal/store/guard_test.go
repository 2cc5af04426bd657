package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/outcome"
)

// funcs are a Store.
type funcs struct {
	get func(context.Context, string) ([]byte, error)
	set func(context.Context, string, []byte, time.Duration) error
}

func (f funcs) Get(ctx context.Context, key string) ([]byte, error) { return f.get(ctx, key) }

func (f funcs) Set(ctx context.Context, key string, entry []byte, keep time.Duration) error {
	return f.set(ctx, key, entry, keep)
}

// A guarded is a Guard with what it has reported.
type guarded struct {
	*Guard
	mu   sync.Mutex
	told []error
}

func guard(s Store) *guarded {
	g := &guarded{}
	g.Guard = NewGuard(s, Hooks{
		Go: func(task func(context.Context)) bool { go task(context.Background()); return true },
		OnError: func(_ context.Context, err error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.told = append(g.told, err)
		},
	})
	return g
}

func (g *guarded) reports() []error {
	g.mu.Lock()
	defer g.mu.Unlock()
	told := g.told
	g.told = nil
	return told
}

var anEntry = &Entry{Header: http.Header{}, Body: []byte("answer")}

// What is kept comes back, and no Store keeps nothing.
func TestGuard_Keeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, kept := map[string][]byte{}, time.Duration(0)
		var late error
		g := guard(funcs{
			func(_ context.Context, key string) ([]byte, error) { return all[key], nil },
			func(ctx context.Context, key string, entry []byte, keep time.Duration) error {
				all[key], kept, late = entry, keep, ctx.Err()
				return nil
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // who has its answer may have left
		g.Set(ctx, testKey, anEntry, time.Hour)
		synctest.Wait()
		if kept != time.Hour || late != nil {
			t.Errorf("kept for %v in a context with %v, want an hour and a live one", kept, late)
		}
		if e := g.Get(t.Context(), testKey); e == nil || string(e.Body) != "answer" {
			t.Errorf("Get() = %+v, want what was kept", e)
		}
		if e := g.Get(t.Context(), testKey[1:]); e != nil {
			t.Errorf("Get() of another key = %+v, want nothing", e)
		}
		if told := g.reports(); told != nil {
			t.Errorf("reported %v, want nothing", told)
		}
		none := NewGuard(nil, Hooks{})
		if none.Set(t.Context(), testKey, anEntry, time.Hour); none.Get(t.Context(), testKey) != nil {
			t.Error("without a Store something was kept")
		}
	})
}

// An error, a lie or a delay of the Store is a miss within maxWait, and reported
// without what it may quote.
func TestGuard_StoreFails(t *testing.T) {
	broken := errors.New("redis://user:secret@host")
	hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, tt := range []struct {
		name  string
		call  func(context.Context) ([]byte, error)
		takes time.Duration
		want  error
	}{
		{"errors", func(context.Context) ([]byte, error) { return nil, broken }, 0, broken},
		{"error with an entry", func(context.Context) ([]byte, error) { return anEntry.Encode(testKey), broken }, 0, broken},
		{"hangs", func(ctx context.Context) ([]byte, error) { return nil, hangs(ctx) }, maxWait, ErrSlow},
		{"hangs whatever its context says", func(context.Context) ([]byte, error) { time.Sleep(time.Minute); return nil, nil }, maxWait, ErrSlow},
		{"panics", func(context.Context) ([]byte, error) { panic("store") }, 0, outcome.ErrPanic},
		{"lies", func(context.Context) ([]byte, error) { return []byte("hello"), nil }, 0, errCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := guard(funcs{
					func(ctx context.Context, _ string) ([]byte, error) { return tt.call(ctx) },
					func(ctx context.Context, _ string, _ []byte, _ time.Duration) error {
						_, err := tt.call(ctx)
						return err
					},
				})
				start := time.Now()
				if e := g.Get(t.Context(), testKey); e != nil {
					t.Errorf("Get() = %+v, want nothing", e)
				}
				if took := time.Since(start); took != tt.takes {
					t.Errorf("Get() took %v, want %v", took, tt.takes)
				}
				if told := g.reports(); len(told) != 1 || !errors.Is(told[0], tt.want) || told[0].Error() == broken.Error() {
					t.Errorf("reported %v, want one that is %v and quotes nothing", told, tt.want)
				}
				if tt.want == ErrSlow { // nobody asks it for a while, which is no news
					start := time.Now()
					if g.Get(t.Context(), testKey); time.Since(start) != 0 || g.reports() != nil {
						t.Error("a Store that rests was asked")
					}
					time.Sleep(restFor)
				}
				g.Set(t.Context(), testKey, anEntry, time.Hour)
				time.Sleep(2 * maxWait)
				synctest.Wait()
				if told := g.reports(); tt.want != errCorrupt && (len(told) != 1 || !errors.Is(told[0], tt.want)) {
					t.Errorf("Set() reported %v, want %v", told, tt.want)
				}
				time.Sleep(2 * time.Minute) // until the last call of the Store has come back
			})
		})
	}
}

// The caller's own end is no failure of the Store.
func TestGuard_TheCallersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guard(funcs{get: func(ctx context.Context, _ string) ([]byte, error) { <-ctx.Done(); return nil, context.Cause(ctx) }})
		ctx, cancel := context.WithTimeout(t.Context(), maxWait/2)
		defer cancel()
		if e := g.Get(ctx, testKey); e != nil || g.reports() != nil {
			t.Errorf("Get() = %+v, want nothing, and no report", e)
		}
	})
}

// No more than maxReads and maxWrites are under way at once, heeding their context or not.
// A Store that is stuck is asked again only after it has rested, and holds nobody for longer
// than maxWait.
func TestGuard_CallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads, writes atomic.Int32
		release := make(chan struct{})
		g := guard(funcs{
			func(context.Context, string) ([]byte, error) { reads.Add(1); <-release; return nil, nil },
			func(context.Context, string, []byte, time.Duration) error { writes.Add(1); <-release; return nil },
		})
		for round := range 3 {
			start := time.Now()
			var callers sync.WaitGroup
			for n := range 3 * maxReads {
				callers.Go(func() {
					if e := g.Get(t.Context(), keyOf(round*1000+n)); e != nil || time.Since(start) != maxWait {
						t.Errorf("Get() = %+v after %v, want nothing after %v", e, time.Since(start), maxWait)
					}
				})
				g.Set(t.Context(), keyOf(n), anEntry, time.Hour)
			}
			callers.Wait()
			synctest.Wait()
			if r, w := reads.Load(), writes.Load(); r != maxReads || w != maxWrites {
				t.Errorf("%d Gets and %d Sets are under way, want %d and %d", r, w, maxReads, maxWrites)
			}
			for _, err := range g.reports() {
				if err != ErrSlow {
					t.Errorf("reported %v, want %v", err, ErrSlow)
				}
			}
			g.Get(t.Context(), testKey)
			if g.Set(t.Context(), testKey, anEntry, time.Hour); time.Since(start) != maxWait || g.reports() != nil {
				t.Errorf("a Store that rests was asked, or told of")
			}
			synctest.Wait()
			if len(g.queue) != 0 || g.bytes != 0 || g.writers != 0 || len(g.lookups) != 0 {
				t.Errorf("left: %d writes of %d bytes, %d writers, %d look-ups", len(g.queue), g.bytes, g.writers, len(g.lookups))
			}
			time.Sleep(restFor)
		}
		close(release)
		synctest.Wait()
		if g.Get(t.Context(), testKey); g.reports() != nil {
			t.Error("a Store that has answered is still busy")
		}
	})
}

func keyOf(n int) string { return fmt.Sprintf("%064x", n) }

// A Store that answers is asked for each of a burst, within maxWait, and once for each key
// at a time.
func TestGuard_Burst(t *testing.T) {
	const takes = 5 * time.Millisecond
	for _, tt := range []struct {
		name     string
		callers  int
		keyOf    func(n int) string
		asked    int
		answered int
		within   time.Duration
		want     error
	}{
		{"300 keys", 300, keyOf, 300, 300, 25 * time.Millisecond, nil},
		{"one key", 300, func(int) string { return keyOf(7) }, 1, 300, takes, nil},
		{"more than it can answer", 10_000, keyOf, 51 * maxReads, 49 * maxReads, maxWait, ErrBusy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked, answered atomic.Int32
				g := guard(funcs{get: func(_ context.Context, key string) ([]byte, error) {
					asked.Add(1)
					time.Sleep(takes)
					return anEntry.Encode(key), nil
				}})
				var callers sync.WaitGroup
				for n := range tt.callers {
					callers.Go(func() {
						start := time.Now()
						if g.Get(t.Context(), tt.keyOf(n)) != nil {
							answered.Add(1)
						}
						if took := time.Since(start); took > tt.within {
							t.Errorf("Get() took %v, want %v at most", took, tt.within)
						}
					})
				}
				callers.Wait()
				told := g.reports()
				if int(asked.Load()) > tt.asked || int(answered.Load()) < tt.answered || (len(told) > 0) != (tt.want != nil) {
					t.Errorf("%d Gets, %d answered, told %d; want at most %d, at least %d, %v", asked.Load(), answered.Load(), len(told), tt.asked, tt.answered, tt.want)
				}
				for _, err := range told {
					if err != tt.want {
						t.Fatalf("reported %v, want %v", err, tt.want)
					}
				}
				if e := g.Get(t.Context(), testKey); e == nil {
					t.Error("a Store that answers was not asked")
				}
			})
		})
	}
}

// Who leaves takes the look-up from nobody.
func TestGuard_LookupsOutliveTheirCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guard(funcs{get: func(ctx context.Context, key string) ([]byte, error) {
			time.Sleep(maxWait / 2)
			return anEntry.Encode(key), ctx.Err()
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var first, second *Entry
		var callers sync.WaitGroup
		callers.Go(func() { first = g.Get(ctx, testKey) })
		synctest.Wait()
		callers.Go(func() { second = g.Get(t.Context(), testKey) })
		synctest.Wait()
		cancel()
		if callers.Wait(); first != nil || second == nil || g.reports() != nil {
			t.Errorf("the first got %v, the second %v, want nothing and the entry", first, second)
		}
	})
}

// Writes wait for others within bounds.
func TestGuard_WritesAreQueued(t *testing.T) {
	big := &Entry{Header: http.Header{}, Body: make([]byte, 1<<20)}
	for _, tt := range []struct {
		name  string
		e     *Entry
		n     int
		least int // written
		told  bool
	}{
		{"300", anEntry, 300, 300, false},
		{"too many", anEntry, 2 * maxQueued, maxQueued, true},
		{"too large", big, 100, maxQueuedBytes/(1<<20) - 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				kept, open, most := map[string]bool{}, 0, 0
				g := guard(funcs{set: func(_ context.Context, key string, _ []byte, _ time.Duration) error {
					mu.Lock()
					open++
					most = max(most, open)
					mu.Unlock()
					time.Sleep(5 * time.Millisecond)
					mu.Lock()
					defer mu.Unlock()
					open--
					kept[key] = true
					return nil
				}})
				for n := range tt.n {
					g.Set(t.Context(), keyOf(n), tt.e, time.Hour)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				told := g.reports()
				if len(kept) < tt.least || (len(told) > 0) != tt.told || len(kept)+len(told) != tt.n || most > maxWrites || len(g.queue) != 0 || g.bytes != 0 {
					t.Errorf("%d of %d are kept, at least %d wanted; %d errors, %d at once", len(kept), tt.n, tt.least, len(told), most)
				}
				for _, err := range told {
					if err != ErrBusy {
						t.Errorf("reported %v, want %v", err, ErrBusy)
					}
				}
			})
		})
	}
}

// Who hears of failures may panic: the other writes are made.
func TestGuard_WritesOutlivePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept atomic.Int32
		g := NewGuard(funcs{set: func(_ context.Context, key string, _ []byte, _ time.Duration) error {
			if key < keyOf(100) {
				return errors.New("broken")
			}
			kept.Add(1)
			return nil
		}}, Hooks{
			Go: func(task func(context.Context)) bool {
				go background.Recovered(func() { task(t.Context()) })()
				return true
			},
			OnError: func(context.Context, error) { panic("observer") },
		})
		for n := range 300 {
			g.Set(t.Context(), keyOf(n), anEntry, time.Hour)
		}
		synctest.Wait()
		if kept.Load() != 200 || g.writers != 0 {
			t.Errorf("%d are kept, %d writers are left, want 200 and none", kept.Load(), g.writers)
		}
	})
}

// Close ends writing soon, also if the Store is slow.
func TestGuard_WritesEndWithTheirTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tasks background.Group
		var kept atomic.Int32
		g := NewGuard(funcs{set: func(context.Context, string, []byte, time.Duration) error {
			time.Sleep(maxWait * 4 / 5)
			kept.Add(1)
			return nil
		}}, Hooks{Go: tasks.Go, OnError: func(context.Context, error) {}})
		for n := range 1000 {
			g.Set(t.Context(), keyOf(n), anEntry, time.Hour)
		}
		start := time.Now()
		tasks.Close()
		g.Set(t.Context(), testKey, anEntry, time.Hour)
		time.Sleep(maxWait)
		synctest.Wait()
		if n := kept.Load(); n < 5*maxWrites || time.Since(start) > background.CloseWait+maxWait || g.writers != 0 || len(g.queue) != 0 {
			t.Errorf("%d are kept after %v, %d writers are left, %d are queued", n, time.Since(start), g.writers, len(g.queue))
		}
	})
}
