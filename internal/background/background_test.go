package background

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestGroup_CloseEndsTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var mu sync.Mutex
		ended := 0
		for range 3 {
			started := g.Go(func(ctx context.Context) {
				<-ctx.Done()
				mu.Lock()
				defer mu.Unlock()
				ended++
			})
			if !started {
				t.Error("a task was not started")
			}
			synctest.Wait()
		}
		began := time.Now()
		g.Close()
		if ended != 3 || time.Since(began) != 0 {
			t.Errorf("%d of 3 tasks had ended after %v, want all at once", ended, time.Since(began))
		}
		if g.Go(func(context.Context) { t.Error("a task ran after Close") }) {
			t.Error("a task was started after Close")
		}
	})
}

func TestGroup_CloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		release := make(chan struct{})
		g.Go(func(context.Context) { <-release }) // heeds no context
		g.Go(func(context.Context) { g.Close() }) // waits for itself
		began := time.Now()
		g.Close()
		if took := time.Since(began); took > CloseWait {
			t.Errorf("Close took %v, want at most %v", took, CloseWait)
		}
		close(release)
	})
}

func TestGroup_CloseWithoutTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		g.Close()
		g.Close()
	})
}

func TestGroup_PanicsEndTheirTaskAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var other atomic.Bool
		g.Go(func(context.Context) { panic("an Observer's") })
		g.Go(func(context.Context) { other.Store(true) })
		synctest.Wait()
		if !other.Load() {
			t.Error("the other task did not run")
		}
		g.Close()
	})
}
