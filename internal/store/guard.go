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
	maxWait  = 250 * time.Millisecond // for the Store to answer
	restFor  = 5 * time.Second        // after it did not
	maxCalls = 64                     // of the Store, under way at once
)

// Errors of a Guard.
const (
	ErrSlow    = outcome.Error("the Store did not answer in time")
	ErrBusy    = outcome.Error("too many calls of the Store are under way")
	errResting = outcome.Error("the Store rests")
)

// Hooks are what a Guard needs of its owner.
type Hooks struct {
	// Go runs a task on a goroutine of its own, and reports whether it does.
	Go func(task func(context.Context)) bool
	// OnError is told of each failure but those that the end of ctx explains. The
	// text of err quotes nothing.
	OnError func(ctx context.Context, err error)
}

// A Guard calls a Store within bounds. A Store that does not answer within
// maxWait, whether or not it heeds its context, is a miss, and then rests: for
// restFor nobody asks it. A Store that fails, panics or returns what is not a
// whole entry is a miss, too. A Guard is safe for concurrent use. The nil Guard
// keeps nothing.
type Guard struct {
	store Store
	hooks Hooks
	calls chan struct{} // one element for each call under way
	begun time.Time
	rests atomic.Int64 // the Store rests until then, in ns since begun
}

// NewGuard returns a Guard of s, nil if s is nil.
func NewGuard(s Store, hooks Hooks) *Guard {
	if s == nil {
		return nil
	}
	return &Guard{store: s, hooks: hooks, calls: make(chan struct{}, maxCalls), begun: time.Now()}
}

// Get returns the entry kept under key, nil if there is none to be had.
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

// Set keeps an entry under key for at least keep. It does not wait until that is
// done. The end of ctx does not end it: that the caller has left with its answer
// is no reason to lose it.
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

// report tells of a failure. A Store that rests has been told of, and what the
// end of ctx explains is no failure of the Store's.
func (g *Guard) report(ctx context.Context, err error) {
	if err == errResting || err == context.Cause(ctx) {
		return
	}
	if _, own := err.(outcome.Error); !own {
		err = outcome.Quiet(err)
	}
	g.hooks.OnError(ctx, err)
}

// do calls the Store and waits until it has answered, within bounds.
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
