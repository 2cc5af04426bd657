package coalesce

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/outcome"
)

const (
	// minLockAge is the least time that a flight may show nothing before a caller with
	// little time makes another call. So a host that is down gets at most one such call a
	// second for each key.
	minLockAge = time.Second
	// maxUnanswered is how many flights with one key may be unanswered at once because
	// callers have little time. Beyond that, only Limits count.
	maxUnanswered = 6
	// maxFlights is how many flights one caller waits in at most.
	maxFlights = 3
	// leaveWait is how long the last caller to leave waits for the call to end. The call
	// ends at once if the layers below heed its context.
	leaveWait = 20 * time.Millisecond
)

// A Wait is one caller's way to an answer that others may share. It waits in one flight
// and, if that shows nothing for too long, in further ones, up to maxFlights. It takes the
// first answer that the caller may have. One goroutine uses it, and calls Join, Await,
// both again after NoAnswer, and Leave.
type Wait struct {
	group *Group
	ctx   context.Context // the caller's
	ask   Ask
	began time.Time // when it last called Join
	until time.Time // the caller's deadline; zero: there is none

	room     [maxFlights]*Follower
	in       []*Follower     // the flights that it waits in
	rejected []*Flight       // flights whose answer the caller could not have
	private  bool            // it shares nothing
	renewal  bool            // no caller waits for it: it gives up when a caller would make another call or use another flight
	retries  bool            // it has joined again after NoAnswer
	conflict bool            // a call with the same idempotency key and another request is under way
	news     <-chan struct{} // closed when another flight with the same key has more to give
	late     *time.Timer     // fires when another call may be made; nil: none may

	led    bool      // a call was made for it
	stored bool      // an answer was cached that is good enough
	taken  *Follower // the follower whose answer it has
	done   bool      // the caller closes taken
}

// A Result is the result of a Wait.
type Result int

const (
	NoAnswer   Result = iota // the caller could have none of the answers
	Taken                    // Take has taken one
	Stored                   // an answer was cached that is good enough
	CallerLeft               // the caller's context has ended
)

// Wait returns the Wait of a caller whose context is ctx.
func (g *Group) Wait(ctx context.Context, ask Ask) *Wait {
	return &Wait{group: g, ctx: ctx, ask: ask, private: ask.Private}
}

// deadlineOf calls the caller's own code, so it must not be called with a lock held.
func deadlineOf(ctx context.Context) time.Time {
	deadline, _ := ctx.Deadline()
	return deadline
}

// orNever returns a deadline, or the end of time if there is none.
func orNever(deadline time.Time) time.Time {
	if deadline.IsZero() {
		return time.Unix(1<<40, 0)
	}
	return deadline
}

// Join enters a flight under way, or a new one that the caller leads; a private one is
// never shared. It reports false if an answer was cached since the caller looked, or if the
// call Conflicts.
func (w *Wait) Join() bool {
	g := w.group
	w.began, w.until = time.Now(), deadlineOf(w.ctx)
	w.ask.Terms.until = orNever(w.until)
	w.stopTimer()
	w.retries = len(w.rejected) > 0
	g.mu.Lock()
	if w.conflict = g.conflictsLocked(&w.ask); w.conflict {
		g.mu.Unlock()
		return false
	}
	if w.private {
		f := g.newFlight(w.ctx, &w.ask, w.until, false)
		w.enterLocked(f.leader)
		g.mu.Unlock()
		w.lead(f)
		return true
	}
	s := w.joinLocked(true)
	if s == nil {
		s = w.joinLocked(false)
	}
	if s == nil { // a flight may have been answered between the two searches
		s = w.joinLocked(true)
	}
	if s != nil {
		w.late = time.NewTimer(w.lockAgeLocked(s.flight))
		w.enterLocked(s)
		g.mu.Unlock()
		return true
	}
	if w.ask.Changed() {
		g.mu.Unlock()
		return false
	}
	f := w.newLeadLocked()
	if oldest := w.joinOldestLocked(f); oldest != nil {
		w.enterLocked(oldest)
	}
	w.enterLocked(f.leader)
	g.mu.Unlock()
	w.lead(f)
	return true
}

// Conflicts reports whether Join found a call under way with the same idempotency key and
// another request.
func (w *Wait) Conflicts() bool { return w.conflict }

// InRenewal reports whether no caller waits for the flight that this one entered first.
func (w *Wait) InRenewal() bool { return w.in[0].flight.renewal }

// HasLed reports whether a call was made for this caller.
func (w *Wait) HasLed() bool { return w.led }

// Shares reports whether another caller leads the flight whose answer was taken.
func (w *Wait) Shares() bool { return w.taken != nil && !w.taken.Leads() }

// joinLocked joins a flight with the same key that the caller may share, that it is not
// in, and that has not been quiet for too long: the youngest one that is answered, or the
// youngest one that is not.
func (w *Wait) joinLocked(answered bool) *Follower {
	now := time.Now()
	flights := w.group.flightsLocked(w.ask.Key)
	for _, form := range w.ask.Forms {
		for _, f := range slices.Backward(flights) {
			isIn := slices.ContainsFunc(w.in, func(s *Follower) bool { return s.flight == f })
			waits := !f.isAnswered() && f.terms.Urgency < w.ask.Terms.Urgency && w.ask.Print == (key.Key{}) // perhaps behind calls that this one would pass
			if f.terms.Form != form || f.closed || isIn || waits || f.isAnswered() != answered || !w.mayHave(f) || f.quiet(now) >= w.lockAgeLocked(f) {
				continue
			}
			if s := f.join(w.ask.Terms, w.until); s != nil {
				return s
			}
		}
	}
	return nil
}

// joinOldestLocked joins the oldest flight with the same key that is not answered, in
// addition to the caller's own. So a call that takes longer than each caller has time for
// is kept alive by all of them in turn, for as long as it may show nothing.
func (w *Wait) joinOldestLocked(own *Flight) *Follower {
	now := time.Now()
	flights := w.group.flightsLocked(w.ask.Key)
	for _, form := range w.ask.Forms {
		for _, f := range flights {
			if f.terms.Form == form && f != own && !f.closed && !f.isAnswered() && w.mayHave(f) && f.quiet(now) < f.patience() {
				return f.join(w.ask.Terms, w.until)
			}
		}
	}
	return nil
}

// mayHave reports whether the caller may have the answer of f, as far as that is known. A
// caller that got no answer waits once more, but only with callers of the same terms,
// whose failure will be its own, too. So a host that is down gets one call of each kind,
// and no caller waits for one after the other.
func (w *Wait) mayHave(f *Flight) bool {
	t := w.ask.Terms
	switch {
	case slices.Contains(w.rejected, f), f.isAnswered() && !f.suits(t):
		return false
	case w.retries:
		return f.terms.Form == t.Form && f.terms.Attempts >= t.Attempts && f.terms.Update >= t.Update && f.terms.Credential == t.Credential
	}
	return true
}

// lockAgeLocked returns how long f may show nothing new before the caller makes another
// call: the time in its Limits, but at most half of the time that the caller had. Compare
// nginx's proxy_cache_lock_age and proxy_cache_lock_timeout. With an idempotency key, only
// its Limits count: whoever gives one would rather ask again later than pay twice.
func (w *Wait) lockAgeLocked(f *Flight) time.Duration {
	age := f.patience()
	if w.until.IsZero() || w.ask.Print != (key.Key{}) {
		return age
	}
	unanswered := 0
	for _, other := range w.group.flightsLocked(f.key) {
		if other.terms.Form == f.terms.Form && !other.closed && !other.isAnswered() && !other.isDeserted() {
			unanswered++
		}
	}
	if unanswered < maxUnanswered {
		age = min(age, max(w.until.Sub(w.began)/2, minLockAge))
	}
	return age
}

// newLeadLocked makes a flight that the caller leads and others can join.
func (w *Wait) newLeadLocked() *Flight {
	f := w.group.newFlight(w.ctx, &w.ask, w.until, false)
	w.group.listLocked(f)
	return f
}

// enterLocked makes the caller wait in one more flight.
func (w *Wait) enterLocked(s *Follower) {
	if w.in == nil {
		w.in = w.room[:0]
	}
	w.in = append(w.in, s)
	w.watchLocked()
}

// watchLocked watches for other flights with more to give.
func (w *Wait) watchLocked() {
	w.news = nil
	if all := w.in[0].flight.peers; all != nil {
		if all.news == nil {
			all.news = make(chan struct{})
		}
		w.news = all.news
	}
}

func (w *Wait) watch() {
	w.group.mu.Lock()
	defer w.group.mu.Unlock()
	w.watchLocked()
}

// lead runs a flight that the caller leads.
func (w *Wait) lead(f *Flight) {
	w.led = true
	runs := false
	defer func() {
		if !runs { // OnLead panicked: nobody must wait for this flight
			f.abandon()
		}
	}()
	w.ask.OnLead()
	runs = true
	go f.run()
}

// Await waits for an answer. With CallerLeft, the error is the cause of the context's end.
// If the call panics, its leader panics.
func (w *Wait) Await() (Result, error) {
	for len(w.in) > 0 && !w.stored {
		var late <-chan time.Time
		if w.late != nil {
			late = w.late.C
		}
		taken := false
		select {
		case <-w.ready(0):
			taken = w.take(0)
		case <-w.ready(1):
			taken = w.take(1)
		case <-w.ready(2):
			taken = w.take(2)
		case <-w.news:
			w.hearNews()
		case <-late:
			w.askAnew()
		case <-w.ctx.Done():
			w.leaveAll(w.ctx.Err(), context.Cause(w.ctx))
			return CallerLeft, context.Cause(w.ctx)
		}
		if taken {
			return Taken, nil
		}
	}
	if w.stored {
		return Stored, nil
	}
	return NoAnswer, nil
}

// ready returns a channel that is closed when the caller's flight i has an answer, or the
// complete one if the caller waits for that; nil: there is no such flight.
func (w *Wait) ready(i int) <-chan struct{} {
	switch {
	case i >= len(w.in):
		return nil
	case w.in[i].all:
		return w.in[i].flight.settled
	}
	return w.in[i].flight.answered
}

// take takes the answer of a flight, if the caller may have it. If the caller needs the
// complete answer, it waits on.
func (w *Wait) take(i int) (taken bool) {
	s := w.in[i]
	f, leads := s.flight, s.Leads()
	if leads {
		if panicked := f.takePanic(); panicked != nil {
			panic(panicked)
		}
	}
	switch {
	case !leads && !f.suits(w.ask.Terms):
	case len(w.in) > 1 && (f.err != nil || f.source.Failed): // another flight may succeed
	case !leads && !s.all && f.err == nil && f.source.Success && !f.cameFor(w.ask.Terms.Form):
		s.waitForAll()
		return false
	default:
		taken = w.ask.Take(s)
	}
	if taken {
		w.taken = s
	} else {
		s.Close()
		// A caller that cannot share this answer, or that got no answer again, had better
		// make its own call.
		w.private = w.private || f.Completion.mark().reach == LeaderOnly || w.retries
		w.rejected = append(w.rejected, f)
	}
	w.in = slices.Delete(w.in, i, i+1)
	return taken
}

// hearNews looks for another flight that has more to give.
func (w *Wait) hearNews() {
	if w.isReady() {
		w.watch()
		return
	}
	if w.renewal {
		w.leaveAll(context.Canceled, outcome.ErrClosed)
		return
	}
	w.watch()
	if w.isStored() || len(w.in) == maxFlights {
		return
	}
	w.group.mu.Lock()
	defer w.group.mu.Unlock()
	if s := w.joinLocked(true); s != nil {
		w.enterLocked(s)
	}
}

// isReady reports whether one of the caller's flights has an answer.
func (w *Wait) isReady() bool {
	for i := range w.in {
		if isClosed(w.ready(i)) {
			return true
		}
	}
	return false
}

// askAnew makes the caller wait in a second flight if the first has been quiet for too
// long: in another one with the same key or, if all are quiet, in one that it leads.
func (w *Wait) askAnew() {
	if w.renewal {
		w.leaveAll(context.DeadlineExceeded, context.DeadlineExceeded)
		return
	}
	if w.isStored() || len(w.in) > 1 {
		w.late = nil
		return
	}
	g, first := w.group, w.in[0].flight
	g.mu.Lock()
	if rest := w.lockAgeLocked(first) - first.quiet(time.Now()); rest > 0 {
		g.mu.Unlock()
		w.late.Reset(rest)
		return
	}
	w.late = nil
	if s := w.joinLocked(false); s != nil {
		w.enterLocked(s)
		g.mu.Unlock()
		return
	}
	f := w.newLeadLocked()
	w.enterLocked(f.leader)
	g.mu.Unlock()
	w.lead(f)
}

// isStored reports whether an answer was cached meanwhile that is good enough.
func (w *Wait) isStored() bool {
	w.stored = w.stored || w.ask.Stored()
	return w.stored
}

// HandOver gives the answer that was taken to the caller, which must close it.
func (w *Wait) HandOver() { w.done = true }

// Leave takes the caller out of all flights that it still waits in, and closes the answer
// that it has taken, unless HandOver was called.
func (w *Wait) Leave() {
	w.stopTimer()
	w.leaveAll(nil, nil)
	if w.taken != nil && !w.done {
		w.taken.Close()
	}
}

func (w *Wait) stopTimer() {
	if w.late != nil {
		w.late.Stop()
		w.late = nil
	}
}

// leaveAll takes the caller out of all flights. err is the error of its context, and cause
// the cause; nil: it leaves by itself.
func (w *Wait) leaveAll(err, cause error) {
	if len(w.in) == 0 {
		return
	}
	soon, cancel := context.WithTimeout(context.Background(), leaveWait)
	defer cancel()
	for _, s := range w.in {
		if err != nil {
			s.leave(err, cause)
		} else {
			s.Close()
		}
		if !s.flight.isDeserted() {
			continue
		}
		select {
		case <-s.flight.answered:
		case <-soon.Done():
		}
	}
	w.in = nil
}

// A Renewal is a flight that is run in the background.
type Renewal struct {
	wait   *Wait
	flight *Flight
}

// Renew makes a flight that is run in the background and ends with ctx. listed says that
// others may join it; Renew then returns nil if another flight with the same key and form
// is under way and has not been quiet for too long. Take is not called. Whoever calls
// Renew must call Run or Drop on the result.
func (g *Group) Renew(ctx context.Context, ask Ask, listed bool) *Renewal {
	ask.Take = func(*Follower) bool { return true }
	f := g.newRenewal(ctx, &ask, deadlineOf(ctx), listed)
	if f == nil {
		return nil
	}
	w := &Wait{group: g, ctx: ctx, ask: ask, renewal: true}
	w.in = append(w.room[:0], f.leader)
	return &Renewal{wait: w, flight: f}
}

// IsAnswered reports whether the renewal has shown anything, or has ended.
func (r *Renewal) IsAnswered() bool { return r.flight.isAnswered() }

// Drop fails the callers that have joined a renewal that will not be run.
func (r *Renewal) Drop() { r.flight.abandon() }

// Run makes the call and reads its answer. It returns when the renewal has ended, or was
// given up because it showed nothing for too long or because another flight with the same
// key has answered.
func (r *Renewal) Run() {
	w, f := r.wait, r.flight
	defer f.abandon() // in case OnLead panics
	defer w.Leave()
	w.late = time.NewTimer(f.patience())
	w.watch()
	w.ask.OnLead()
	go f.run()
	if result, _ := w.Await(); result == Taken && f.err == nil && !f.source.Whole {
		f.leader.Watch(w.ctx, nil)
		io.Copy(io.Discard, f.leader)
	}
}
