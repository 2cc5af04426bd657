package breakwater

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A Store keeps entries for several processes. What it returns is checked: an
// entry that is not whole is a miss, and an error or a delay costs an event,
// never the call. It must be safe for concurrent use. Package storetest has
// tests for one.
type Store interface {
	// Get returns the entry kept under key, or nil if there is none.
	Get(ctx context.Context, key string) ([]byte, error)
	// Set keeps an entry under key for at least keep.
	Set(ctx context.Context, key string, entry []byte, keep time.Duration) error
}

const (
	storeWait = 250 * time.Millisecond // for a Store to answer
	storeRest = 5 * time.Second        // that one gets which did not
	maxStored = 64                     // calls of a Store under way at once
)

const (
	errStoreSlow  = outcome.Error("the Store did not answer in time")
	errStoreBusy  = outcome.Error("too many calls of the Store are under way")
	errStoreRests = outcome.Error("the Store rests")
)

// A stockroom is a Store as the cache uses it: one that does not answer keeps
// nobody for longer than storeWait, whether or not it heeds its context, and
// is left alone for a while.
type stockroom struct {
	store    Store
	t        *Transport
	underWay chan struct{} // as many as there are
	rests    atomic.Int64  // until then, from begun
	begun    time.Time
}

func newStockroom(t *Transport, s Store) *stockroom {
	if s == nil {
		return nil
	}
	return &stockroom{store: s, t: t, underWay: make(chan struct{}, maxStored), begun: time.Now()}
}

// get looks an entry up for a call.
func (s *stockroom) get(c *call, key string) *entry {
	if s == nil {
		return nil
	}
	var stored []byte
	err := s.do(c, func(ctx context.Context) (err error) {
		stored, err = s.store.Get(ctx, key)
		return err
	})
	if err != nil {
		return s.failed(c, err)
	}
	if stored == nil {
		return nil
	}
	e, err := decodeEntry(key, stored, time.Now())
	if err != nil {
		return s.failed(c, err)
	}
	e.Header = keptHeader(e.Header, c.sought.scope.Shared()) // an older version may have kept more
	return e
}

// set keeps an entry, behind the caller's back: the caller may have left with
// its answer, which is no reason to lose it. Close waits for it.
func (s *stockroom) set(c *call, key string, e *entry, keep time.Duration) {
	if s == nil {
		return
	}
	s.t.background.Go(func(context.Context) {
		stored := e.encode(key)
		err := s.do(context.WithoutCancel(c), func(ctx context.Context) error { return s.store.Set(ctx, key, stored, keep) })
		if err != nil {
			s.failed(c, err)
		}
	})
}

// failed tells of a failure, unless it has been told or is the caller's.
func (s *stockroom) failed(c *call, err error) *entry {
	if err == errStoreRests || err == context.Cause(c) {
		return nil
	}
	if _, own := err.(outcome.Error); !own {
		err = outcome.Quiet(err)
	}
	s.t.emit(c, Event{Kind: KindCacheError, Err: err})
	return nil
}

// do calls the Store and waits for it within bounds.
func (s *stockroom) do(ctx context.Context, call func(context.Context) error) error {
	if int64(time.Since(s.begun)) < s.rests.Load() {
		return errStoreRests
	}
	select {
	case s.underWay <- struct{}{}:
	default:
		return errStoreBusy
	}
	ctx, cancel := context.WithTimeoutCause(ctx, storeWait, errStoreSlow)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			<-s.underWay
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
	if context.Cause(ctx) == errStoreSlow {
		s.rests.Store(int64(time.Since(s.begun) + storeRest))
		return errStoreSlow
	}
	return context.Cause(ctx)
}
