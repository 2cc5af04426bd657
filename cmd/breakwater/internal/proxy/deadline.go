package proxy

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// timeouts are the headers by which the SDKs of OpenAI and Anthropic say how many seconds they wait:
// those for Node and Go the first, those for Python the second.
var timeouts = []string{"X-Stainless-Timeout", "X-Stainless-Read-Timeout"}

// patienceOf returns how long a client waits for the answer to begin; 0: it did not say.
//
// SDKs end the wait when the headers arrive, or count it anew with each byte. So it is no limit
// for an answer that has begun.
func patienceOf(h http.Header) time.Duration {
	for _, name := range timeouts {
		if len(h[name]) != 1 {
			continue
		}
		seconds, err := strconv.ParseFloat(h[name][0], 64)
		if err == nil && seconds > 0 && seconds <= math.MaxInt32 {
			return time.Duration(seconds * float64(time.Second))
		}
	}
	return 0
}

// An until is a context with a deadline that can be lifted.
type until struct {
	context.Context
	cancel context.CancelCauseFunc
	at     time.Time // zero: there is none
	lifted atomic.Bool
	timer  *time.Timer
}

// withPatience returns a context that ends with the parent, or after d unless it is lifted. d is
// 0 if there is no deadline.
//
// SDKs cut the fraction off: for 1.9 s they say 1. So a whole number of seconds is the deadline by which
// backups are asked, but the context ends a second later: the client shall be the one that ends the wait,
// with its own error.
func withPatience(parent context.Context, d time.Duration) *until {
	u := new(until)
	u.Context, u.cancel = context.WithCancelCause(parent)
	if d > 0 {
		u.at = time.Now().Add(d)
		if d%time.Second == 0 {
			d += time.Second
		}
		u.timer = time.AfterFunc(d, func() {
			if !u.lifted.Load() {
				u.cancel(context.DeadlineExceeded)
			}
		})
	}
	return u
}

// Deadline returns the deadline, unless it was lifted.
func (u *until) Deadline() (time.Time, bool) {
	if u.at.IsZero() || u.lifted.Load() {
		return u.Context.Deadline()
	}
	return u.at, true
}

// Err tells a deadline from a cancel.
func (u *until) Err() error {
	err := u.Context.Err()
	if err != nil && context.Cause(u.Context) == context.DeadlineExceeded {
		return context.DeadlineExceeded
	}
	return err
}

// lift removes the deadline.
func (u *until) lift() {
	u.lifted.Store(true)
	if u.timer != nil {
		u.timer.Stop()
	}
}

// end ends the context.
func (u *until) end() {
	u.lift()
	u.cancel(nil)
}
