// Package keysource asks a user's function for the key of an endpoint, and reads keys from
// files. It knows which keys hosts have refused, and neither calls nor requests.
//
// Nothing is cached: the function is asked for each attempt, and caches as it likes.
// Attempts that ask at the same time share one invocation. The function is user code, which
// may panic, hang and return anything. So it runs on a goroutine of its own, with a context
// that belongs to none of those who wait.
package keysource

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/mistake"
	"github.com/breakwater-go/breakwater/internal/outcome"
)

const (
	// Bound is how long an invocation may take. It leaves time for a request to a token
	// server with retries; a caller's deadline is often not much longer.
	Bound = 10 * time.Second

	// maxRunning is how many invocations of one function there may be at once. More than
	// two are under way only if some of them hang: one without a rejected key, and one with.
	maxRunning = 4

	// maxKey is the most bytes that a key may have. Tokens have a few thousand, and most
	// servers take no headers above 64 KiB.
	maxKey = 64 << 10

	// maxRefused is how many refused keys are remembered.
	maxRefused = 8
)

// A Func returns the key of an endpoint. rejected is the key that the host has just refused,
// or empty.
type Func = func(ctx context.Context, rejected string) (string, error)

// A Closer ends what waits for the functions of all Sources that it has made. NewCloser makes
// one. It is safe for concurrent use.
type Closer struct{ closes atomic.Pointer[chan struct{}] }

// NewCloser returns a Closer.
func NewCloser() *Closer {
	c := &Closer{}
	c.Close()
	return c
}

// Close ends what waits for the functions, and the contexts that these have got. Later calls of
// Get ask them again.
func (c *Closer) Close() {
	next := make(chan struct{})
	if last := c.closes.Swap(&next); last != nil {
		close(*last)
	}
}

// New returns a Source that Close concerns.
func (c *Closer) New(ask Func) *Source {
	s := New(ask)
	s.closer = c
	return s
}

// closed returns a channel that is closed with c; nil: there is none.
func (c *Closer) closed() <-chan struct{} {
	if c == nil {
		return nil
	}
	return *c.closes.Load()
}

// A Source is a function with what is known of its keys. It is safe for concurrent use. New
// makes one.
type Source struct {
	ask    Func
	start  func()  // run, as a value that is made only once
	closer *Closer // nil: none

	anyRefused atomic.Bool // len(refused) > 0, for Worked

	mu      sync.Mutex // guards what follows
	pending []*invocation
	running []*invocation // the function has not returned, whether or not somebody waits
	timer   *time.Timer   // calls expire; nil: there was no invocation yet
	armed   bool          // timer is running
	spare   chan struct{} // of an invocation that is over, for another; nil: there is none
	given   string        // the key that the function gave last
	refused []string      // the latest last
}

// New returns the Source of a function.
func New(ask Func) *Source {
	s := &Source{ask: ask}
	s.start = s.run
	return s
}

// An invocation is one call of the function. It is the context that the function gets: it
// ends when all who waited have left, at the bound, and when the function has returned. It
// has no values, because it belongs to several calls.
type invocation struct {
	source   *Source
	rejected string
	ends     time.Time     // the bound
	done     chan struct{} // has a token for those who wait, once key and err are set; each hands it on

	// The source's mu guards what follows.
	waiting int
	settled bool          // key and err are set
	left    bool          // all who waited have left before it was settled
	cause   error         // why the context ended; nil: it has not
	ended   chan struct{} // closed when the context ends; nil: nobody has asked for it
	key     string
	err     error
}

// Get returns the key that the function gives. Its error is an outcome.ErrKeyFunc, or the
// cause of ctx's end: who leaves is not kept by a function that hangs.
func (s *Source) Get(ctx context.Context, now time.Time, rejected string) (string, error) {
	closed := s.closer.closed()
	for {
		i, afresh, err := s.join(now, rejected)
		if err != nil {
			return "", err
		}
		select {
		case <-i.done:
			s.hear(i)
		case <-closed:
			s.leave(i)
			return "", ErrClosed
		case <-ctx.Done():
			s.leave(i)
			return "", context.Cause(ctx)
		}
		if i.err == nil || afresh {
			return i.key, i.err
		}
		// It had lost its context before: only now can the function be asked again.
		now = time.Now()
	}
}

// join returns the invocation for a rejected key, and begins it if there is none. afresh is
// false if its context had ended already, because all who waited had left.
func (s *Source) join(now time.Time, rejected string) (i *invocation, afresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.running {
		switch {
		case i.rejected != rejected:
		case i.settled:
			return nil, false, errHangs
		default:
			i.waiting++
			return i, !i.left, nil
		}
	}
	if len(s.running) >= maxRunning {
		return nil, false, errHangs
	}
	i = &invocation{source: s, rejected: rejected, ends: now.Add(Bound), done: s.spare, waiting: 1}
	if s.spare = nil; i.done == nil {
		i.done = make(chan struct{}, 1)
	}
	s.running, s.pending = append(s.running, i), append(s.pending, i)
	if !s.armed {
		s.armLocked(Bound)
	}
	go s.start()
	return i, true, nil
}

// hear hands the token on that says that an invocation is settled.
func (s *Source) hear(i *invocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.waiting--; i.waiting > 0 {
		i.done <- struct{}{}
	} else {
		s.spare = i.done
	}
}

// leave ends the context of an invocation that nobody waits for any more.
func (s *Source) leave(i *invocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch i.waiting--; {
	case i.waiting > 0:
	case i.settled:
		<-i.done
		s.spare = i.done
	default:
		i.left = true
		i.endLocked(context.Canceled)
	}
}

// run makes one of the pending invocations.
func (s *Source) run() {
	s.mu.Lock()
	last := len(s.pending) - 1
	i := s.pending[last]
	s.pending[last], s.pending = nil, s.pending[:last]
	s.mu.Unlock()
	key, err := "", errExits // it stays so if the function calls runtime.Goexit
	defer func() {
		if recover() != nil {
			key, err = "", errPanics
		}
		s.finish(i, key, err)
	}()
	key, err = s.ask(i, i.rejected)
	if err != nil {
		key, err = "", outcome.WithoutKey("failed", err)
	} else if wrong := s.check(key); wrong != "" {
		key, err = "", outcome.WithoutKey("gave a key that "+wrong, nil)
	}
}

// check returns what is wrong with a key. It looks only at a key that is new.
func (s *Source) check(key string) string {
	s.mu.Lock()
	known := key == s.given
	s.mu.Unlock()
	switch {
	case key == "":
		return "is empty"
	case known:
		return ""
	case len(key) > maxKey:
		return "is longer than 64 KiB"
	}
	return mistake.Key(key)
}

// finish notes that the function has returned.
func (s *Source) finish(i *invocation, key string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = slices.DeleteFunc(s.running, func(other *invocation) bool { return other == i })
	if !i.settled {
		if err == nil && key != s.given {
			s.given = key
		}
		i.settleLocked(key, err)
	}
	i.endLocked(context.Canceled)
}

// expire ends the invocations that have taken too long. Their functions may still run.
func (s *Source) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	now := time.Now()
	for _, i := range s.running {
		switch left := i.ends.Sub(now); {
		case i.settled:
		case left <= 0:
			i.settleLocked("", errLate)
			i.endLocked(context.DeadlineExceeded)
		case !s.armed: // the first of them ends first
			s.armLocked(left)
		}
	}
}

// armLocked makes expire run after d. The timer is not stopped when all is well, because
// that would cost more than one firing for nothing every ten seconds.
func (s *Source) armLocked(d time.Duration) {
	s.armed = true
	if s.timer == nil {
		s.timer = time.AfterFunc(d, s.expire)
	} else {
		s.timer.Reset(d)
	}
}

// Refused notes that the host has refused a key. It reports whether that concerns the key
// that the function gives now: a late refusal of an old one says nothing about a new one.
func (s *Source) Refused(key string) (current bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key != "" && !slices.Contains(s.refused, key) {
		if len(s.refused) >= maxRefused {
			s.refused = slices.Delete(s.refused, 0, 1)
		}
		s.refused = append(s.refused, key)
		s.anyRefused.Store(true)
	}
	return slices.Contains(s.refused, s.given)
}

// Worked notes that the host has taken a key.
func (s *Source) Worked(key string) {
	if !s.anyRefused.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = slices.DeleteFunc(s.refused, func(other string) bool { return other == key })
	s.anyRefused.Store(len(s.refused) > 0)
}

// settleLocked tells those who wait what the function gave.
func (i *invocation) settleLocked(key string, err error) {
	if i.key, i.err, i.settled = key, err, true; i.waiting > 0 {
		i.done <- struct{}{}
	}
}

// endLocked ends the context. Its first cause stays.
func (i *invocation) endLocked(cause error) {
	if i.cause != nil {
		return
	}
	i.cause = cause
	if i.ended != nil {
		close(i.ended)
	}
}

// Deadline, Done, Err and Value make the invocation the function's context.
func (i *invocation) Deadline() (time.Time, bool) { return i.ends, true }

func (i *invocation) Done() <-chan struct{} {
	i.source.mu.Lock()
	defer i.source.mu.Unlock()
	if i.ended == nil {
		i.ended = make(chan struct{})
		if i.cause != nil {
			close(i.ended)
		}
	}
	return i.ended
}

func (i *invocation) Err() error {
	i.source.mu.Lock()
	defer i.source.mu.Unlock()
	return i.cause
}

func (i *invocation) Value(any) any { return nil }

// The errors of the package. All of them are outcome.ErrKeyFunc.
var (
	errLate   = outcome.WithoutKey("gave no key within 10s", context.DeadlineExceeded)
	errHangs  = outcome.WithoutKey("has not returned for more than 10s", context.DeadlineExceeded)
	errPanics = outcome.WithoutKey("panicked", nil)
	errExits  = outcome.WithoutKey("ended its goroutine", nil)

	// ErrClosed means that nobody waits for the function any more. It says nothing of the function.
	ErrClosed = outcome.WithoutKey("was asked until Close", nil)
)
