// Package coalesce lets calls with the same key share one call while it is under way, and
// its answer byte by byte. It makes no call by itself: see Call.
//
// A Flight is one shared call. Its states are:
//
// - open: it has not been run yet; - started: the call is being made; - whole or live: the
// answer has come in one piece, or comes in parts; - sliding: a live answer has grown too
// large to be held from its beginning; - ended: nothing more comes; - abandoned: it was
// never run.
//
// The Followers of a Flight read the same bytes, each at its own pace.
//
// A Group lists the flights by key. A Wait is one caller's way to an answer through the
// flights of a Group: it decides which of them the caller may share, and when another call
// is made.
//
// All types but Wait and Renewal are safe for concurrent use. The cache layer is the only
// user of this package.
package coalesce

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A Call is what a flight makes for all its followers.
type Call interface {
	// Start makes the call. It runs once, on the flight's own goroutine. If it panics, the
	// leader panics with the same value.
	Start() (Source, error)
	// Keep caches a complete answer, unless that is not worth keeping, and reports whether
	// it did. It is called when the answer's last byte has come. forOthers says that calls
	// with the same content may be answered with it.
	Keep(answer []byte, forOthers bool) bool
	// LastEvent returns the event that tells a reader why its stream broke; nil: none.
	// said is the host's own event, if the reader may have it. open says that the reader
	// has only a part of an event. It is called with a lock held.
	LastEvent(said []byte, err error, open bool) []byte
	// IsSent reports whether the request was sent, so that its answer may cost. It is called
	// with a lock held.
	IsSent() bool
	// Release drops the request that the call was made with, which is not needed any more.
	Release()
}

// A Source is what a call brings. If Start returns an error, only Failed counts.
type Source struct {
	Body io.ReadCloser

	Whole bool   // Data is the complete answer; Body needs only a Close
	Data  []byte // must not be changed
	End   error  // the error after Data; io.EOF if nothing is missing

	Success bool // it claims to be an answer, not a refusal
	Judged  bool // it was checked to be an answer; otherwise it may be meant for one credential only
	Events  bool // it is a stream of events
	AsAsked bool // it has the format that the flight asked for
	Failed  bool // no endpoint could answer
	Flawed  bool // it is a flawed answer, because no attempt brought a better one
	Limited bool // Failed, because a limit of the application's own left no time for it
}

// A state is the state of a flight.
type state uint8

const (
	open      state = iota // not run yet
	started                // the call is being made
	whole                  // the answer has come in one piece
	live                   // the answer comes in parts
	sliding                // as live, but the answer's beginning was dropped: nobody can join
	ended                  // nothing more comes
	abandoned              // never run
)

// A Flight is one call that several callers share while it is under way. Its context ends
// when the last follower has left, or Limits.Linger later. Its goroutine reads the answer at the pace of the
// fastest follower: it reads on when one follower has read everything. Each follower reads
// the answer from the first byte on. If the answer may be cached, it is cached from these
// bytes at its terminator.
type Flight struct {
	Completion Completion // told by whoever hands the answer over

	group   *Group
	key     key.Key
	terms   Terms
	limits  Limits
	call    Call
	leader  *Follower
	renewal bool    // no caller waits for it
	print   key.Key // of its request, if its key is an idempotency key
	began   time.Time
	ctx     context.Context
	cancel  context.CancelCauseFunc

	background func(task func(context.Context)) bool // runs a task without a caller

	// The group's mu guards the following.
	closed bool   // nobody can join any more
	peers  *peers // the list that it is in; nil: it is not listed

	answered chan struct{} // closed when source and err are known
	source   Source
	err      error

	mu        sync.Mutex // guards what follows
	state     state
	more      sync.Cond // signals that bytes have come, or that none will
	want      sync.Cond // signals that a follower has read everything, or that all have left
	followers map[*Follower]struct{}
	over      chan struct{} // closed when the flight has lingered without a follower; nil: it does not
	leftErr   error         // the error of the last follower's context, if that made it leave
	latest    time.Time     // of the followers' deadlines
	timeless  bool          // a follower has no deadline
	hungry    bool          // a follower waits for more bytes
	waiters   int           // followers that wait for the complete answer
	settled   chan struct{} // closed when the answer is complete, or cannot be; nil: no one has waited for that
	body      io.Closer     // nil: there is nothing to close, or another goroutine closes it
	data      []byte        // of the answer, from base on
	base      int64
	slid      bool      // the answer's beginning may be missing from data
	size      int64     // of the complete answer; 0: not known yet
	reach     Reach     // when the latest bytes of data came
	payloads  int       // number of payloads at that time
	quietFrom time.Time // since when a follower waits for payload; zero: none does
	end       error     // the error after data; nil: more may come
	panicked  any       // the value that a reader must panic with
}

// newFlight makes a flight for a caller, its leader. Its context has the values of parent,
// but does not end with parent.
func (g *Group) newFlight(parent context.Context, ask *Ask, until time.Time, renewal bool) *Flight {
	f := &Flight{
		group: g, key: ask.Key, print: ask.Print, terms: ask.Terms, limits: ask.Limits, background: ask.Background, renewal: renewal, began: time.Now(),
		answered: make(chan struct{}), followers: make(map[*Follower]struct{}, 1),
	}
	f.more.L, f.want.L = &f.mu, &f.mu
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	f.ctx, f.cancel = &flightContext{ctx, f}, cancel
	f.call = ask.Make(f)
	f.terms.until = orNever(until)
	f.leader = f.admitLocked(f.terms, until)
	return f
}

// Context returns the flight's own context, for its Call.
func (f *Flight) Context() context.Context { return f.ctx }

// A flightContext ends when the last follower has left, with the error of that follower's
// context. Its deadline is the latest of the followers'.
type flightContext struct {
	context.Context
	flight *Flight
}

func (c *flightContext) Deadline() (time.Time, bool) {
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	return c.flight.latest, !c.flight.timeless
}

func (c *flightContext) Err() error {
	err := c.Context.Err()
	if err == nil {
		return nil
	}
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	if c.flight.leftErr != nil {
		return c.flight.leftErr
	}
	return err
}

// join adds a follower with the deadline until; it returns nil if it is too late for that.
// A flight with a fallback may give up early, so a caller without one cannot join it.
func (f *Flight) join(t Terms, until time.Time) *Follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	isJoinable := (f.state <= started || f.state == live) && f.end == nil && !f.isLeftLocked()
	if !isJoinable || f.terms.Fallback && !t.Fallback {
		return nil
	}
	return f.admitLocked(t, until)
}

func (f *Flight) admitLocked(t Terms, until time.Time) *Follower {
	s := &Follower{flight: f, terms: t}
	f.followers[s] = struct{}{}
	f.endLingerLocked()
	f.timeless = f.timeless || until.IsZero()
	if until.After(f.latest) {
		f.latest = until
	}
	return s
}

// begin moves an open flight to another state. It reports false if the flight is not open.
func (f *Flight) begin(to state) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != open {
		return false
	}
	f.state = to
	return true
}

// run makes the call and reads its answer, unless the flight was abandoned. It returns
// when nothing more is done for the flight.
func (f *Flight) run() {
	if !f.begin(started) {
		return
	}
	defer func() { f.finish(recover()) }()
	source, err := f.call.Start()
	f.publish(source, err)
	if err == nil && source.Success && !source.Failed {
		f.group.announce(f)
	}
	if err == nil && !source.Whole {
		f.copyBody(source.Body)
	}
}

// abandon fails the waiting followers if the flight was never run.
func (f *Flight) abandon() {
	if f.begin(abandoned) {
		f.finish(nil)
	}
}

// publish gives the result of the call to the followers.
func (f *Flight) publish(source Source, err error) {
	reach := f.Completion.mark().reach
	if reach == LeaderOnly {
		f.group.close(f)
	}
	if err == nil && source.Whole {
		f.keep(source.Data)
	}
	f.mu.Lock()
	f.source, f.err, f.reach = source, err, reach
	if source.Body != nil {
		f.body = source.Body
	}
	switch {
	case err != nil:
		f.state, f.end = whole, err
	case source.Whole:
		f.state, f.data, f.size, f.end = whole, source.Data, int64(len(source.Data)), source.End
	default:
		f.state = live
	}
	f.recheckLingerLocked()
	f.settleLocked()
	f.mu.Unlock()
	close(f.answered)
}

// minRead is the least space for a read of the body.
const minRead = 512

// copyBody reads the rest of the body, as fast as the fastest follower.
func (f *Flight) copyBody(body io.Reader) {
	for f.isWanted() {
		f.mu.Lock()
		f.data = slices.Grow(f.data, minRead) // the space after its end belongs to this goroutine
		room := f.data[len(f.data):cap(f.data)]
		f.mu.Unlock()
		n, err := body.Read(room)
		if err != nil {
			f.closeBody() // before a reader sees the end
		}
		f.take(n, err)
	}
}

// isWanted waits until a follower needs more bytes, and reports whether to read on. After
// the terminator it does not wait: several SDKs stop reading there without a Close, and
// the connection must be released.
func (f *Flight) isWanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.hungry && f.waiters == 0 && f.size == 0 && len(f.followers) > 0 && f.end == nil {
		f.want.Wait()
	}
	return !f.isLeftLocked() && f.end == nil
}

// maxTail is how many bytes may follow a complete answer before reading stops.
const maxTail = 64 << 10

// take appends n more bytes of the body, and notes its error.
func (f *Flight) take(n int, err error) {
	data := f.data[:len(f.data)+n] // only this goroutine writes data
	now := f.Completion.mark()
	if now.size > f.base+int64(len(data)) {
		now.size = 0 // the last bytes of the answer have not been read yet
	}
	if now.size > 0 && f.size == 0 && f.base == 0 && f.keep(data[:now.size]) {
		defer f.group.announce(f)
	}
	slides := f.size == 0 && now.size == 0 && int64(len(data)) > f.limits.Held
	if slides || now.reach > f.reach {
		f.group.close(f)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.reach > f.reach {
		f.narrowLocked(now.reach)
	}
	before := f.base + int64(len(f.data))
	f.data, f.end, f.hungry = data, err, false
	if now.payloads != f.payloads || !f.source.Judged && n > 0 {
		f.payloads, f.quietFrom = now.payloads, time.Time{}
		if f.waiters > 0 {
			f.quietFrom = time.Now()
		}
	}
	switch {
	case slides:
		f.slideLocked(before)
	case f.size > 0 && f.base+int64(len(data)) > f.size+maxTail:
		f.end = io.EOF // what follows the answer is not read
	case now.size > 0:
		f.size = now.size
	}
	f.recheckLingerLocked()
	f.settleLocked()
	f.more.Broadcast()
}

// keep caches the answer if it may be cached, and reports whether it did.
func (f *Flight) keep(answer []byte) bool {
	finished, keepable := f.Completion.worth()
	return finished && f.call.Keep(answer, keepable)
}

var (
	errBehind    = errors.New("breakwater: too far behind the others who share the answer")
	errNotShared = errors.New("breakwater: what the answer goes on with is not to be shared")
)

// narrowLocked drops the followers that must not have more of the answer. They read what
// came before, and then an error.
func (f *Flight) narrowLocked(reach Reach) {
	f.reach = reach
	for s := range f.followers {
		if s != f.leader && !f.suits(s.terms) {
			f.dropLocked(s, outcome.Broken(outcome.ErrTruncated, errNotShared), f.data[s.from():])
		}
	}
}

// slideLocked frees the bytes that all followers have read. It drops followers that wait
// for the complete answer, and followers that are too far behind others. A follower that
// had read everything before the latest bytes came is not behind.
func (f *Flight) slideLocked(before int64) {
	f.state, f.slid = sliding, true
	total := f.base + int64(len(f.data))
	isBehind := func(s *Follower) bool { return total-s.at > f.limits.Held && s.at < before }
	alone := true // no follower keeps up, so none is behind another
	for s := range f.followers {
		if s.all {
			f.dropLocked(s, outcome.Broken(outcome.ErrTruncated, errBehind), nil)
			continue
		}
		alone = alone && isBehind(s)
	}
	slowest := total
	for s := range f.followers {
		if !alone && isBehind(s) {
			f.dropLocked(s, outcome.Broken(outcome.ErrTruncated, errBehind), s.restOfEvent())
			continue
		}
		slowest = min(slowest, s.at)
	}
	if n := slowest - f.base; n > int64(len(f.data))/2 {
		f.data = f.data[:copy(f.data, f.data[n:])]
		f.base = slowest
	}
}

// settleLocked tells the followers that wait for the complete answer, if that is there or
// cannot be had.
func (f *Flight) settleLocked() {
	if f.settled != nil && !isClosed(f.settled) && f.isSettledLocked() {
		close(f.settled)
	}
}

func (f *Flight) isSettledLocked() bool {
	return f.slid || f.size > 0 || f.end != nil || f.reach == LeaderOnly || f.state > started && !f.source.Judged
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// isAnswered reports whether the result of the call is known.
func (f *Flight) isAnswered() bool { return isClosed(f.answered) }

// IsJoined reports whether callers besides the leader wait for the flight.
func (f *Flight) IsJoined() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, leads := f.followers[f.leader]
	return len(f.followers) > 1 || len(f.followers) == 1 && !leads
}

// isDeserted reports whether all followers have left, and the flight does not linger.
func (f *Flight) isDeserted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.isLeftLocked()
}

// patience returns how long the flight may show nothing new.
func (f *Flight) patience() time.Duration {
	if f.isAnswered() {
		return f.limits.Stall
	}
	return f.limits.First
}

// quiet returns how long the flight has shown nothing new although a follower waits.
func (f *Flight) quiet(now time.Time) time.Duration {
	if !f.isAnswered() {
		return now.Sub(f.began)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.quietFrom.IsZero() || f.size > 0 || f.end != nil {
		return 0
	}
	return now.Sub(f.quietFrom)
}

// suits reports whether a caller with the terms t, who is not the leader, may have the
// flight's answer. An answer that was judged is for everybody. All else may be an error,
// whatever it claims, and is only for callers with the same credential. What is restricted
// to the leader must not be used for another call at all: RFC 9111, section 5.2.2.5.
func (f *Flight) suits(t Terms) bool {
	reach := f.Completion.mark().reach
	switch {
	case f.err != nil && !f.source.Failed, reach == LeaderOnly:
		return false
	case (f.source.Failed || f.source.Flawed) && (f.terms.Attempts < t.Attempts || f.terms.Update < t.Update): // more attempts, or newer options, might have helped
		return false
	case f.source.Limited && (f.renewal || f.terms.until.Before(t.until) || f.terms.Tenant != t.Tenant): // a caller may wait, or for longer, or has a part of its own
		return false
	case !f.source.Judged, f.source.Failed, reach == SameCredential:
		return t.Credential == f.terms.Credential
	}
	return true
}

// cameFor reports whether a caller that wants this form can have the answer without
// conversion.
func (f *Flight) cameFor(form int) bool { return form == f.terms.Form && f.source.AsAsked }

// finish ends the flight, after its answer or without one.
func (f *Flight) finish(panicked any) {
	f.group.remove(f)
	func() {
		defer func() {
			if p := recover(); p != nil && panicked == nil { // the next reader panics with it
				panicked = p
			}
		}()
		f.closeBody()
	}()
	f.cancel(outcome.ErrClosed)
	f.call.Release()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.panicked = panicked
	if f.state != abandoned {
		f.state = ended
	}
	f.endLingerLocked()
	if f.end == nil {
		f.end = outcome.Broken(outcome.ErrTruncated, outcome.ErrPanic) // if a follower is left to read it
	}
	f.freeLocked()
	f.settleLocked()
	f.more.Broadcast()
	if !f.isAnswered() {
		f.err = outcome.ErrPanic
		close(f.answered)
	}
}

// freeLocked frees the answer when no follower is left, because a response that a caller
// keeps refers to the flight.
func (f *Flight) freeLocked() {
	if f.state >= ended && len(f.followers) == 0 {
		f.data = nil
		f.Completion.Break(nil)
	}
}

// closeBody closes the body once. It does not wait for another goroutine that closes it.
func (f *Flight) closeBody() {
	f.mu.Lock()
	body := f.body
	f.body = nil
	f.mu.Unlock()
	if body != nil {
		body.Close()
	}
}

// takePanic returns the value that the call has panicked with, once.
func (f *Flight) takePanic() any {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.panicked
	f.panicked = nil
	return p
}

// dropLocked removes a follower, which reads what is left for it and then err.
func (f *Flight) dropLocked(s *Follower, err error, left []byte) {
	f.removeLocked(s)
	if s.all {
		left = nil
	}
	s.endLocked(err, bytes.Clone(left))
}

func (f *Flight) removeLocked(s *Follower) {
	if s.all && !s.gone {
		f.waiters--
	}
	s.gone = true
	delete(f.followers, s)
}

// waitLocked waits for more bytes.
func (f *Flight) waitLocked() {
	f.hungry = true
	f.awaitPayloadLocked()
	f.want.Signal()
	f.more.Wait()
}

// awaitPayloadLocked notes since when a follower waits for payload.
func (f *Flight) awaitPayloadLocked() {
	if f.quietFrom.IsZero() {
		f.quietFrom = time.Now()
	}
}
