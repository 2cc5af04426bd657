package store

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A Store keeps entries for several processes. It is the root's Store.
type Store interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Set(ctx context.Context, key string, entry []byte, keep time.Duration) error
}

const (
	maxWait   = 250 * time.Millisecond // how long to wait for the Store
	restFor   = 5 * time.Second        // how long not to ask it after it was too slow
	maxReads  = 128                    // Gets at once
	maxWrites = 16                     // Sets at once

	// Sets that wait for others, and the size of their entries in memory.
	maxQueued      = 1024
	maxQueuedBytes = 64 << 20
)

// Errors of a Guard.
const (
	ErrSlow    = outcome.Error("the Store did not answer in time")
	ErrBusy    = outcome.Error("too many calls of the Store are under way")
	errResting = outcome.Error("the Store rests")
)

// Hooks are the functions that a Guard's owner provides.
type Hooks struct {
	// Go runs a task on a goroutine, and reports whether it was started. The task's context
	// ends when no further one will be started.
	Go func(task func(context.Context)) bool
	// OnError is called for each failure. The text of err quotes nothing.
	OnError func(ctx context.Context, err error)
}

// A Guard calls a Store within bounds. If the Store does not answer within maxWait,
// whether or not it heeds its context, that is a miss, and the Store is not asked for
// restFor. If it fails, panics or returns an incomplete entry, that is a miss, too. Calls
// beyond maxReads and maxWrites wait for those under way. A Guard is safe for concurrent
// use. The nil Guard keeps nothing.
type Guard struct {
	store         Store
	hooks         Hooks
	reads, writes chan struct{} // one element for each call of the Store
	begun         time.Time
	rests         atomic.Int64 // until when the Store is not asked, in ns since begun
	returned      atomic.Int64 // when a call of the Store came back, in ns since begun

	mu      sync.Mutex // guards what follows
	lookups map[string]*lookup
	queue   []write
	bytes   int64     // size of the entries in queue
	writers int       // goroutines that write what is in queue
	stopAt  time.Time // when writing ends; zero: there may be further tasks
}

// A lookup is a Get under way, for all who ask for its key meanwhile.
type lookup struct {
	callers int // that wait for it; the Guard's mu guards it
	cancel  context.CancelFunc
	done    chan struct{}

	// Once done is closed.
	entry *Entry // nil: none
	err   error
}

// A write is a Set that is to be made.
type write struct {
	ctx  context.Context
	key  string
	e    *Entry
	keep time.Duration
}

// NewGuard returns a Guard of s, or nil if s is nil.
func NewGuard(s Store, hooks Hooks) *Guard {
	if s == nil {
		return nil
	}
	return &Guard{
		store: s, hooks: hooks, reads: make(chan struct{}, maxReads), writes: make(chan struct{}, maxWrites),
		begun: time.Now(), lookups: make(map[string]*lookup),
	}
}

// Get returns the entry stored under key, or nil. It must not be changed, because all who
// ask for a key at the same time get the same one.
func (g *Guard) Get(ctx context.Context, key string) *Entry {
	if g == nil || g.isResting() {
		return nil
	}
	g.mu.Lock()
	l, joins := g.lookups[key]
	if !joins {
		l = &lookup{done: make(chan struct{})}
		g.lookups[key] = l
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		l.cancel = cancel
		go g.look(own, key, l)
	}
	l.callers++
	g.mu.Unlock()
	select {
	case <-l.done:
	case <-ctx.Done():
		g.leave(key, l)
		return nil
	}
	if !joins {
		g.report(ctx, l.err)
	}
	return l.entry
}

// leave ends a look-up for which nobody waits any more.
func (g *Guard) leave(key string, l *lookup) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.callers--; l.callers == 0 {
		g.forgetLocked(key, l)
		l.cancel()
	}
}

// forgetLocked takes a look-up out of those that may be joined.
func (g *Guard) forgetLocked(key string, l *lookup) {
	if g.lookups[key] == l {
		delete(g.lookups, key)
	}
}

// look asks the Store for an entry.
func (g *Guard) look(ctx context.Context, key string, l *lookup) {
	defer l.cancel()
	var stored []byte
	l.err = g.do(ctx, g.reads, func(ctx context.Context) (err error) {
		stored, err = g.store.Get(ctx, key)
		return err
	})
	if l.err == nil && stored != nil { // otherwise a late Get may still set stored
		l.entry, l.err = Decode(key, stored, time.Now())
	}
	g.mu.Lock()
	g.forgetLocked(key, l)
	g.mu.Unlock()
	close(l.done)
}

// Set stores an entry under key for at least keep. It does not wait. The end of ctx does
// not stop it, because a caller that leaves with its answer is no reason to lose the
// entry.
func (g *Guard) Set(ctx context.Context, key string, e *Entry, keep time.Duration) {
	if g == nil || g.isResting() {
		return
	}
	ctx = context.WithoutCancel(ctx)
	g.mu.Lock()
	if len(g.queue) >= maxQueued || g.bytes+e.Size() > maxQueuedBytes {
		g.mu.Unlock()
		g.report(ctx, ErrBusy)
		return
	}
	g.queue = append(g.queue, write{ctx, key, e, keep})
	g.bytes += e.Size()
	more := g.writers < maxWrites
	if more {
		g.writers++
	}
	g.mu.Unlock()
	if more {
		g.startWriter()
	}
}

// startWriter starts a goroutine that is counted in writers.
func (g *Guard) startWriter() {
	if g.hooks.Go(g.writeAll) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.writers--; g.writers == 0 {
		g.clearLocked()
	}
}

// clearLocked drops what is not written yet.
func (g *Guard) clearLocked() { g.queue, g.bytes = nil, 0 }

// writeAll writes what is in the queue.
func (g *Guard) writeAll(closed context.Context) {
	finished := false
	defer func() {
		if !finished { // OnError panicked: somebody else has to write the rest
			g.startWriter()
		}
	}()
	for {
		w, ok := g.next(closed)
		if !ok {
			finished = true
			return
		}
		stored := w.e.Encode(w.key)
		g.report(w.ctx, g.do(w.ctx, g.writes, func(ctx context.Context) error { return g.store.Set(ctx, w.key, stored, w.keep) }))
	}
}

// next takes the first write out of the queue. If there is none, or the time is up, next
// reports false, and the writer is no longer counted.
func (g *Guard) next(closed context.Context) (w write, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if closed.Err() != nil {
		now := time.Now()
		if g.stopAt.IsZero() {
			g.stopAt = now.Add(background.CloseWait)
		}
		if !now.Before(g.stopAt) {
			g.clearLocked()
		}
	}
	if len(g.queue) == 0 {
		g.writers--
		g.clearLocked() // so that an old burst holds no memory
		return w, false
	}
	w, g.queue[0] = g.queue[0], write{}
	g.queue = g.queue[1:]
	g.bytes -= w.e.Size()
	return w, true
}

// report passes on a failure, unless the Store is not being asked, which was reported.
func (g *Guard) report(ctx context.Context, err error) {
	if err == nil || err == errResting {
		return
	}
	if _, own := err.(outcome.Error); !own {
		err = outcome.Quiet(err)
	}
	g.hooks.OnError(ctx, err)
}

func (g *Guard) isResting() bool { return g.now() < g.rests.Load() }

func (g *Guard) now() int64 { return int64(time.Since(g.begun)) }

// do calls the Store, when one of the calls that may be made at once is free, and waits for
// its answer, at most maxWait in all.
func (g *Guard) do(ctx context.Context, calls chan struct{}, call func(context.Context) error) error {
	if g.isResting() {
		return errResting
	}
	began := g.now()
	ctx, cancel := context.WithTimeoutCause(ctx, maxWait, ErrSlow)
	defer cancel()
	atOnce := true
	select {
	case calls <- struct{}{}:
	default:
		atOnce = false
		select {
		case calls <- struct{}{}:
		case <-ctx.Done():
			return g.late(ctx, began, atOnce)
		}
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			g.returned.Store(g.now())
			<-calls
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
		return g.late(ctx, began, atOnce)
	}
}

// late returns the error of a call that began then and whose context has ended. If the time
// was up, the Store rests, unless it answers others, so that this call may have waited for
// its turn only.
func (g *Guard) late(ctx context.Context, began int64, atOnce bool) error {
	switch {
	case context.Cause(ctx) != ErrSlow:
		return context.Cause(ctx)
	case !atOnce && g.returned.Load() > began:
		return ErrBusy
	}
	g.rests.Store(g.now() + int64(restFor))
	return ErrSlow
}
