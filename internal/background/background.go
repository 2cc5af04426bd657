// Package background runs what a Transport does by itself: writes to a Store,
// renewals, recoveries of panics on goroutines that have no caller. A Group is open
// until Close ends its tasks' context; afterwards it starts none. It is safe for
// concurrent use, also by its own tasks.
package background

import (
	"context"
	"sync"
	"time"
)

// CloseWait bounds how long Close waits for tasks.
const CloseWait = time.Second

// A Group is a number of tasks. Its zero value is ready.
type Group struct {
	mu     sync.Mutex // guards what follows
	closed bool
	ctx    context.Context // ends with Close; nil: there was no task yet
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// Go runs task on a goroutine and reports whether it was started; after Close it is
// not. task must return soon after its context is done. A panic in it ends it
// alone.
func (g *Group) Go(task func(context.Context)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	if g.ctx == nil {
		g.ctx, g.cancel = context.WithCancel(context.Background())
	}
	ctx := g.ctx
	g.tasks.Go(Recovered(func() { task(ctx) }))
	return true
}

// Close ends the tasks' context and waits, at most CloseWait, until they have
// returned: a task may call Close itself, or not heed its context.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	if g.cancel != nil {
		g.cancel()
	}
	g.mu.Unlock()
	done := make(chan struct{})
	go func() {
		g.tasks.Wait()
		close(done)
	}()
	timer := time.NewTimer(CloseWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// Recovered wraps do for a goroutine that has no caller: a panic in user code
// there, an Observer's or a body's, must not crash the process.
func Recovered(do func()) func() {
	return func() {
		defer func() { _ = recover() }()
		do()
	}
}
