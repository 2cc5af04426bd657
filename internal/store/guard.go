package store

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A Store keeps entries for several processes. It is the root's Store.
type Store interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Set(ctx context.Context, key string, entry []byte, keep time.Duration) error
}

const (
	maxWait  = 250 * time.Millisecond // how long to wait for the Store
	restFor  = 5 * time.Second        // how long not to ask it after it was too slow
	maxCalls = 64                     // of the Store at once
)

// Errors of a Guard.
const (
	ErrSlow    = outcome.Error("the Store did not answer in time")
	ErrBusy    = outcome.Error("too many calls of the Store are under way")
	errResting = outcome.Error("the Store rests")
)

// Hooks are the functions that a Guard's owner provides.
type Hooks struct {
	// Go runs a task on a goroutine, and reports whether it was started.
	Go func(task func(context.Context)) bool
	// OnError is called for each failure, except those caused by the end of ctx. The text
	// of err quotes nothing.
	OnError func(ctx context.Context, err error)
}

// A Guard calls a Store within bounds. If the Store does not answer within maxWait,
// whether or not it heeds its context, that is a miss, and the Store is not asked for
// restFor. If it fails, panics or returns an incomplete entry, that is a miss, too. A
// Guard is safe for concurrent use. The nil Guard keeps nothing.
type Guard struct {
	store Store
	hooks Hooks
	calls chan struct{} // one element for each call of the Store
	begun time.Time
	rests atomic.Int64 // until when the Store is not asked, in ns since begun
}

// NewGuard returns a Guard of s, or nil if s is nil.
func NewGuard(s Store, hooks Hooks) *Guard {
	if s == nil {
		return nil
	}
	return &Guard{store: s, hooks: hooks, calls: make(chan struct{}, maxCalls), begun: time.Now()}
}

// Get returns the entry stored under key, or nil.
func (g *Guard) Get(ctx context.Context, key string) *Entry {
	if g == nil {
		return nil
	}
	var stored []byte
	err := g.do(ctx, func(ctx context.Context) (err error) {
		stored, err = g.store.Get(ctx, key)
		return err
	})
	if err != nil {
		g.report(ctx, err)
		return nil
	}
	if stored == nil {
		return nil
	}
	e, err := Decode(key, stored, time.Now())
	if err != nil {
		g.report(ctx, err)
		return nil
	}
	return e
}

// Set stores an entry under key for at least keep. It does not wait. The end of ctx does
// not stop it, because a caller that leaves with its answer is no reason to lose the
// entry.
func (g *Guard) Set(ctx context.Context, key string, e *Entry, keep time.Duration) {
	if g == nil {
		return
	}
	g.hooks.Go(func(context.Context) {
		stored := e.Encode(key)
		err := g.do(context.WithoutCancel(ctx), func(ctx context.Context) error { return g.store.Set(ctx, key, stored, keep) })
		if err != nil {
			g.report(ctx, err)
		}
	})
}

// report passes on a failure, unless the Store is not being asked, which was reported, or
// the end of ctx caused it.
func (g *Guard) report(ctx context.Context, err error) {
	if err == errResting || err == context.Cause(ctx) {
		return
	}
	if _, own := err.(outcome.Error); !own {
		err = outcome.Quiet(err)
	}
	g.hooks.OnError(ctx, err)
}

// do calls the Store and waits for its answer, within bounds.
func (g *Guard) do(ctx context.Context, call func(context.Context) error) error {
	if int64(time.Since(g.begun)) < g.rests.Load() {
		return errResting
	}
	select {
	case g.calls <- struct{}{}:
	default:
		return ErrBusy
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxWait, ErrSlow)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			<-g.calls
			if p := recover(); p != nil {
				done <- outcome.ErrPanic
			}
		}()
		done <- call(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	if context.Cause(ctx) == ErrSlow {
		g.rests.Store(int64(time.Since(g.begun) + restFor))
		return ErrSlow
	}
	return context.Cause(ctx)
}
