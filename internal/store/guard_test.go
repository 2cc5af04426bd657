package store

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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

// No more than maxCalls of a Store are under way at once, heeding its context or not.
func TestGuard_CallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := guard(funcs{get: func(context.Context, string) ([]byte, error) { <-release; return nil, nil }})
		for range maxCalls {
			go g.Get(t.Context(), testKey)
		}
		synctest.Wait()
		if e := g.Get(t.Context(), testKey); e != nil {
			t.Errorf("Get() = %+v, want nothing", e)
		}
		if told := g.reports(); len(told) != 1 || told[0] != ErrBusy {
			t.Errorf("reported %v, want %v", told, ErrBusy)
		}
		close(release)
		synctest.Wait()
		if g.Get(t.Context(), testKey); g.reports() != nil {
			t.Error("a Store that has answered is still busy")
		}
	})
}
