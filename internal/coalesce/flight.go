// Package coalesce lets callers who ask for the same share one call while it is
// under way, and its answer byte by byte. It makes no call by itself: see Call.
//
// A Flight is one call that is shared. It is open until it is run, started while
// the call is made, then whole or live: the answer has come in one piece, or comes
// in bit by bit. A live answer that grows too large to be held from its beginning
// has it sliding. At last it is ended. A flight that is not run is abandoned.
// The Followers of a Flight read the same bytes, each at its own pace.
//
// A Group lists the flights by what they are for. A Wait is one caller's way to an
// answer through the flights of a Group: it decides which of them the caller may
// share, and when the caller asks anew.
//
// The cache layer is the one user of this package.
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

// A Call is what a flight makes for all who wait in it.
type Call interface {
	// Start makes the call. It runs once, on the flight's own goroutine. What panics
	// in it panics in the leader.
	Start() (Source, error)
	// Keep keeps a whole answer that may be kept, unless it is not worth that, and
	// reports whether it did. It runs when the answer's last byte has come.
	Keep(answer []byte) bool
	// LastEvent returns the event that tells a reader what its stream broke off in;
	// nil: none. said is the host's own event, if the reader may have that; open says
	// that the reader has a part of an event. It runs under a lock.
	LastEvent(said []byte, err error, open bool) []byte
	// Release lets go of what the call was made with: nothing more is done for it.
	Release()
}

// A Source is what came for a call. Nothing but Failed counts where Start
// returns an error.
type Source struct {
	Body io.ReadCloser

	Whole bool   // all of the answer is in Data; Body is only closed
	Data  []byte // nobody changes it
	End   error  // that Data ends in; io.EOF if nothing is missing

	Success bool // it says that it is an answer, and no refusal
	Judged  bool // it is known to be one; else it may be what was said to one credential
	Events  bool // it is a stream of events
	AsAsked bool // it has the format that the flight asked for
	Failed  bool // it says that nobody could answer
}

// A state is how far a flight has come.
type state uint8

const (
	open      state = iota // nobody has run it yet
	started                // the call is made
	whole                  // the answer is there, in one piece
	live                   // the answer comes in
	sliding                // it does, and is not held from its beginning: nobody joins any more
	ended                  // nothing more comes
	abandoned              // nor did anything, for nobody has run it
)

// A Flight is one call that several callers share while it is under way. It has
// a context of its own, which ends when the last follower has left, and a
// goroutine of its own, which reads the answer at the pace of the fastest
// follower: it reads on when somebody has read all there is. Each follower reads
// the flight's bytes from the first one on. An answer that may be kept is kept
// from these bytes, at its terminator.
type Flight struct {
	Completion Completion // whoever hands the answer over tells it

	group   *Group
	key     key.Key
	terms   Terms
	limits  Limits
	call    Call
	leader  *Follower
	renewal bool // nobody waits for it
	began   time.Time
	ctx     context.Context
	cancel  context.CancelCauseFunc

	// Guarded by the group's mu.
	closed bool   // nobody joins it any more
	peers  *peers // the flights that it is listed with; nil: it is not listed

	answered chan struct{} // closed when source and err are known
	source   Source
	err      error

	mu        sync.Mutex // guards what follows
	state     state
	more      sync.Cond // something came, or nothing more will
	want      sync.Cond // somebody has read all there is, or all have left
	followers map[*Follower]struct{}
	leftErr   error         // what the context of the last follower ended in, if it left for that
	latest    time.Time     // of the followers' deadlines
	timeless  bool          // a follower has no deadline
	hungry    bool          // somebody waits for more than there is
	waiters   int           // followers that wait for all of the answer
	settled   chan struct{} // closed when all of it is there, or is not to be had; nil: nobody has waited for that
	body      io.Closer     // nil: nothing to close, or somebody closes it
	data      []byte        // from base on
	base      int64
	slid      bool      // the answer's beginning may be missing from data
	size      int64     // of the whole answer; 0: not known yet
	reach     Reach     // as known when the latest of data came
	payloads  int       // that had come then
	quietFrom time.Time // somebody waits for payload since then; zero: nobody does, or none was waited for since the last
	end       error     // what data ends in; nil: more may come
	panicked  any       // what a reader is to panic with
}

// newFlight readies a flight for a caller, its leader. Its context has the values
// of parent, but does not end with it.
func (g *Group) newFlight(parent context.Context, ask *Ask, until time.Time, renewal bool) *Flight {
	f := &Flight{
		group: g, key: ask.Key, terms: ask.Terms, limits: ask.Limits, renewal: renewal, began: time.Now(),
		answered: make(chan struct{}), followers: make(map[*Follower]struct{}, 1),
	}
	f.more.L, f.want.L = &f.mu, &f.mu
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	f.ctx, f.cancel = &flightContext{ctx, f}, cancel
	f.call = ask.Make(f)
	f.leader = f.admitLocked(ask.Terms, until)
	return f
}

// Context is the flight's own, for its Call.
func (f *Flight) Context() context.Context { return f.ctx }

// A flightContext ends when the last follower has left, in what that one's
// context ended in. Its deadline is the latest of theirs.
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

// join takes in another follower, until its deadline, unless it is too late for
// that. A flight that has an answer to fall back on may give up early, so who has
// none does not join it.
func (f *Flight) join(t Terms, until time.Time) *Follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	isJoinable := (f.state <= started || f.state == live) && f.end == nil && len(f.followers) > 0
	if !isJoinable || f.terms.Fallback && !t.Fallback {
		return nil
	}
	return f.admitLocked(t, until)
}

func (f *Flight) admitLocked(t Terms, until time.Time) *Follower {
	s := &Follower{flight: f, terms: t}
	f.followers[s] = struct{}{}
	f.timeless = f.timeless || until.IsZero()
	if until.After(f.latest) {
		f.latest = until
	}
	return s
}

// begin moves an open flight to another state. It reports false if the flight is
// not open any more.
func (f *Flight) begin(to state) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != open {
		return false
	}
	f.state = to
	return true
}

// run makes the call and brings its answer in, unless the flight is abandoned.
// It returns when nothing more is done for the flight.
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

// abandon fails the followers of a flight that has not been run, nor will be.
func (f *Flight) abandon() {
	if f.begin(abandoned) {
		f.finish(nil)
	}
}

// publish tells the followers what came.
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
	f.settleLocked()
	f.mu.Unlock()
	close(f.answered)
}

// minRead is how much room there is at least for a read of the body.
const minRead = 512

// copyBody brings in the rest of the body, as fast as somebody reads.
func (f *Flight) copyBody(body io.Reader) {
	for f.isWanted() {
		f.mu.Lock()
		f.data = slices.Grow(f.data, minRead) // what is behind its end is this goroutine's
		room := f.data[len(f.data):cap(f.data)]
		f.mu.Unlock()
		n, err := body.Read(room)
		if err != nil {
			f.closeBody() // before anybody sees the end
		}
		f.take(n, err)
	}
}

// isWanted waits until somebody wants more of the answer, and reports whether
// anybody will. Behind the terminator nobody need: several SDKs stop reading
// there without a Close, and the connection is to be let go of.
func (f *Flight) isWanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.hungry && f.waiters == 0 && f.size == 0 && len(f.followers) > 0 && f.end == nil {
		f.want.Wait()
	}
	return len(f.followers) > 0 && f.end == nil
}

// maxTail is how many bytes may follow an answer before it is let go of.
const maxTail = 64 << 10

// take takes in n more bytes of the body, and what it ended in.
func (f *Flight) take(n int, err error) {
	data := f.data[:len(f.data)+n] // only this goroutine writes it
	now := f.Completion.mark()
	if now.size > f.base+int64(len(data)) {
		now.size = 0 // its last bytes are still to come
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
		f.end = io.EOF // what goes on behind the answer is nobody's
	case now.size > 0:
		f.size = now.size
	}
	f.settleLocked()
	f.more.Broadcast()
}

// keep keeps the answer, if it is one to be kept, and reports whether it did.
func (f *Flight) keep(answer []byte) bool {
	return f.Completion.isKeepable() && f.call.Keep(answer)
}

var (
	errBehind    = errors.New("breakwater: too far behind the others who share the answer")
	errNotShared = errors.New("breakwater: what the answer goes on with is not to be shared")
)

// narrowLocked ends the part of followers who may have no more of the answer:
// they read what came before, and then an error.
func (f *Flight) narrowLocked(reach Reach) {
	f.reach = reach
	for s := range f.followers {
		if s != f.leader && !f.suits(s.terms) {
			f.dropLocked(s, outcome.Broken(outcome.ErrTruncated, errNotShared), f.data[s.from():])
		}
	}
}

// slideLocked lets go of what everybody has read, of followers who wait for all
// of the answer, and of followers who are too far behind somebody else. Who was
// level before the latest bytes came is not behind.
func (f *Flight) slideLocked(before int64) {
	f.state, f.slid = sliding, true
	total := f.base + int64(len(f.data))
	isBehind := func(s *Follower) bool { return total-s.at > f.limits.Held && s.at < before }
	alone := true // who is slow, for nobody keeps up
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

// settleLocked tells the followers who wait for all of the answer, if that is
// there or is not to be had.
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

// isAnswered reports whether it is known what came.
func (f *Flight) isAnswered() bool { return isClosed(f.answered) }

// isDeserted reports whether all followers have left.
func (f *Flight) isDeserted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.followers) == 0
}

// patience is how long the flight may show nothing new, whoever waits.
func (f *Flight) patience() time.Duration {
	if f.isAnswered() {
		return f.limits.Stall
	}
	return f.limits.First
}

// quiet is how long the flight has shown nothing new, though somebody waits.
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

// suits reports whether what came may be had by a caller with such terms, who does
// not lead. What was said to one credential is nobody else's, except for what is
// judged an answer: that is everybody's. What came otherwise may be an error,
// whatever it says of itself. What goes to the leader only is not to be used for
// another call at all: RFC 9111, section 5.2.2.5.
func (f *Flight) suits(t Terms) bool {
	reach := f.Completion.mark().reach
	switch {
	case f.err != nil && !f.source.Failed, reach == LeaderOnly:
		return false
	case f.source.Failed && f.terms.Attempts < t.Attempts: // more might have helped
		return false
	case !f.source.Judged, f.source.Failed, reach == SameCredential:
		return t.Credential == f.terms.Credential
	}
	return true
}

// cameFor reports whether a caller that wants that form can have the answer as it
// comes.
func (f *Flight) cameFor(form int) bool { return form == f.terms.Form && f.source.AsAsked }

// finish is the end of the flight: of the answer, or of the call before there was
// one.
func (f *Flight) finish(panicked any) {
	f.group.remove(f)
	func() {
		defer func() {
			if p := recover(); p != nil && panicked == nil { // who reads next panics with it
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
	if f.end == nil {
		f.end = outcome.Broken(outcome.ErrTruncated, outcome.ErrPanic) // if anybody is left to see it
	}
	f.freeLocked()
	f.settleLocked()
	f.more.Broadcast()
	if !f.isAnswered() {
		f.err = outcome.ErrPanic
		close(f.answered)
	}
}

// freeLocked lets go of the answer when nobody is left to read it: a response
// that its caller keeps leads here.
func (f *Flight) freeLocked() {
	if f.state >= ended && len(f.followers) == 0 {
		f.data = nil
		f.Completion.Break(nil)
	}
}

// closeBody closes the body, once. Nobody waits for another who does.
func (f *Flight) closeBody() {
	f.mu.Lock()
	body := f.body
	f.body = nil
	f.mu.Unlock()
	if body != nil {
		body.Close()
	}
}

// takePanic returns what the call has panicked with, to one who asks.
func (f *Flight) takePanic() any {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.panicked
	f.panicked = nil
	return p
}

// dropLocked ends the part of a follower, who reads what is left for it, and then
// err.
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

// waitLocked waits for more.
func (f *Flight) waitLocked() {
	f.hungry = true
	f.awaitPayloadLocked()
	f.want.Signal()
	f.more.Wait()
}

// awaitPayloadLocked notes since when somebody waits for payload.
func (f *Flight) awaitPayloadLocked() {
	if f.quietFrom.IsZero() {
		f.quietFrom = time.Now()
	}
}
