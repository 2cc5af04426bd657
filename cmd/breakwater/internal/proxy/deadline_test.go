package proxy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A client that waits for 1.9 s says 1: backups are asked within 1 s, but the client ends the wait.
func TestPatience_WholeSeconds(t *testing.T) {
	for said, ends := range map[time.Duration]time.Duration{
		time.Second: 2 * time.Second, 10 * time.Minute: 10*time.Minute + time.Second,
		500 * time.Millisecond: 500 * time.Millisecond, 1250 * time.Millisecond: 1250 * time.Millisecond,
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx := withPatience(t.Context(), said)
			defer ctx.end()
			if at, ok := ctx.Deadline(); !ok || time.Until(at) != said {
				t.Errorf("%v: the deadline is in %v", said, time.Until(at))
			}
			time.Sleep(ends - time.Nanosecond)
			if err := ctx.Err(); err != nil {
				t.Errorf("%v: it ends before %v: %v", said, ends, err)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v: after %v: %v", said, ends, err)
			}
		})
	}
}
