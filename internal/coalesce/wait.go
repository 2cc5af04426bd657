package coalesce

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

const (
	// minLockAge is the least time that a flight has to show something, however
	// little time a caller has left: a host that is down gets no more than one call
	// for the same in that time.
	minLockAge = time.Second
	// maxUnanswered is how many flights for the same may be unanswered at once for the
	// sake of callers with little time. Beyond that, only Limits count.
	maxUnanswered = 6
	// maxFlights is in how many flights one caller waits at most.
	maxFlights = 3
	// leaveWait is how long the last caller to leave waits until the call ends. It
	// does so at once if what is below heeds its context.
	leaveWait = 20 * time.Millisecond
)

// A Wait is one caller's way to an answer that others may share. It waits in one
// flight and, if that shows nothing for too long, in another beside it, up to
// maxFlights in all. It takes the first answer that is the caller's to have. One
// goroutine uses it, in this order: Join, Await, both again after NoAnswer, Leave.
type Wait struct {
	group *Group
	ctx   context.Context // the caller's
	ask   Ask
	began time.Time // when it last boarded
	until time.Time // the caller's deadline; zero: there is none

	room     [maxFlights]*Follower
	in       []*Follower     // where it waits
	rejected []*Flight       // where it has waited in vain: what came was others'
	private  bool            // it shares nothing
	renewal  bool            // nobody waits for it: it gives up where a caller would ask anew or go on elsewhere
	retries  bool            // it has boarded after it had waited in vain
	news     <-chan struct{} // closed when another flight for the same has more to give
	late     *time.Timer     // runs out when it may ask anew; nil: it may not

	led    bool      // a call was made for it
	stored bool      // an answer has been kept that will do
	taken  *Follower // whose answer it has
	done   bool      // and the caller is to close that
}

// A Result is how a Wait comes out.
type Result int

const (
	NoAnswer   Result = iota // none of the answers was the caller's to have
	Taken                    // Take has one
	Stored                   // an answer has been kept that will do
	CallerLeft               // the caller's context has ended
)

// Wait returns the Wait of a caller whose context is ctx.
func (g *Group) Wait(ctx context.Context, ask Ask) *Wait {
	return &Wait{group: g, ctx: ctx, ask: ask, private: ask.Private}
}

// deadlineOf runs the caller's own code, so it must not run under a lock.
func deadlineOf(ctx context.Context) time.Time {
	deadline, _ := ctx.Deadline()
	return deadline
}

// Join enters a flight that is under way, or one of the caller's own, which
// nobody joins if the caller is to be alone. It reports false if an answer has
// been kept since the caller looked.
func (w *Wait) Join() bool {
	g := w.group
	w.began, w.until = time.Now(), deadlineOf(w.ctx)
	w.stopTimer()
	w.retries = len(w.rejected) > 0
	g.mu.Lock()
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
	if s == nil { // a flight may have answered between the two looks
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

// InRenewal reports whether the flight that the caller has boarded first is one
// for which nobody waits.
func (w *Wait) InRenewal() bool { return w.in[0].flight.renewal }

// HasLed reports whether a call was made for this caller.
func (w *Wait) HasLed() bool { return w.led }

// Shares reports whether the answer taken is of a flight that another leads.
func (w *Wait) Shares() bool { return w.taken != nil && !w.taken.Leads() }

// joinLocked joins a flight for the same, if there is one beside those that the
// caller is in, that it can share, and that has not been quiet for too long: the
// youngest that is answered, or the youngest that is not.
func (w *Wait) joinLocked(answered bool) *Follower {
	now := time.Now()
	flights := w.group.flightsLocked(w.ask.Key)
	for _, form := range w.ask.Forms {
		for _, f := range slices.Backward(flights) {
			isIn := slices.ContainsFunc(w.in, func(s *Follower) bool { return s.flight == f })
			if f.terms.Form != form || f.closed || isIn || f.isAnswered() != answered || !w.mayHave(f) || f.quiet(now) >= w.lockAgeLocked(f) {
				continue
			}
			if s := f.join(w.ask.Terms, w.until); s != nil {
				return s
			}
		}
	}
	return nil
}

// joinOldestLocked joins the oldest flight for the same that is not answered,
// beside the caller's own. What takes longer than each caller has time for is kept
// up by all of them in turn, for as long as it may show nothing.
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

// mayHave reports whether what comes in f may be the caller's, as far as that is
// known. A caller that has waited in vain waits once more, where others of its
// kind do: a failure will be its own, too. So a host that is down gets one call of
// each kind, and nobody waits for one after the other.
func (w *Wait) mayHave(f *Flight) bool {
	t := w.ask.Terms
	switch {
	case slices.Contains(w.rejected, f), f.isAnswered() && !f.suits(t):
		return false
	case w.retries:
		return f.terms.Form == t.Form && f.terms.Attempts >= t.Attempts && f.terms.Credential == t.Credential
	}
	return true
}

// lockAgeLocked is how long f may show nothing new before the caller asks anew:
// as long as its Limits say, and at most half of the time that the caller came
// with. Compare nginx's proxy_cache_lock_age and proxy_cache_lock_timeout.
func (w *Wait) lockAgeLocked(f *Flight) time.Duration {
	age := f.patience()
	if w.until.IsZero() {
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

// newLeadLocked readies a flight that the caller leads and that others may join.
func (w *Wait) newLeadLocked() *Flight {
	f := w.group.newFlight(w.ctx, &w.ask, w.until, false)
	w.group.listLocked(f)
	return f
}

// enterLocked has the caller wait in one more flight.
func (w *Wait) enterLocked(s *Follower) {
	if w.in == nil {
		w.in = w.room[:0]
	}
	w.in = append(w.in, s)
	w.watchLocked()
}

// watchLocked looks out for other flights that have more to give.
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

// lead runs a flight of the caller's own, in which it waits.
func (w *Wait) lead(f *Flight) {
	w.led = true
	runs := false
	defer func() {
		if !runs { // OnLead panics: nobody is to wait for what does not come
			f.abandon()
		}
	}()
	w.ask.OnLead()
	runs = true
	go f.run()
}

// Await waits for an answer. The error is that of Left, the cause of the caller's
// end. A panic of the call's is the leader's.
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

// ready is closed when there is an answer in one of the caller's flights, or all
// of it if the caller waits for that; nil: there is no such flight.
func (w *Wait) ready(i int) <-chan struct{} {
	switch {
	case i >= len(w.in):
		return nil
	case w.in[i].all:
		return w.in[i].flight.settled
	}
	return w.in[i].flight.answered
}

// take takes a flight's answer, if it is the caller's to have. A caller that has
// to have all of it goes on waiting for that.
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
	case len(w.in) > 1 && (f.err != nil || f.source.Failed): // the other may be well
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
		// Who waits for what is not to be shared, or in vain again, had better ask alone.
		w.private = w.private || f.Completion.mark().reach == LeaderOnly || w.retries
		w.rejected = append(w.rejected, f)
	}
	w.in = slices.Delete(w.in, i, i+1)
	return taken
}

// hearNews has the caller go on where another flight has more to give.
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

// isReady reports whether there is an answer in one of the caller's flights.
func (w *Wait) isReady() bool {
	for i := range w.in {
		if isClosed(w.ready(i)) {
			return true
		}
	}
	return false
}

// askAnew has the caller wait in a second flight, if the first has been quiet for
// too long: in another for the same or, if all are quiet, in one of its own.
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

// isStored looks whether an answer has been kept meanwhile that will do.
func (w *Wait) isStored() bool {
	w.stored = w.stored || w.ask.Stored()
	return w.stored
}

// HandOver makes over to the caller what has been taken: the caller closes that.
func (w *Wait) HandOver() { w.done = true }

// Leave takes the caller out of all flights that it is still in, and out of that
// whose answer it has taken if it has not been made over to it.
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

// leaveAll has the caller wait nowhere any more. Its context has ended in err, for
// that cause; nil: it goes by itself.
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

// A Renewal is a flight that is run behind everybody's back.
type Renewal struct {
	wait   *Wait
	flight *Flight
}

// Renew readies a flight behind everybody's back, which ends with ctx. listed says
// that others may join it; then Renew returns nil if another flight for the same,
// in the same form, is under way and has not been quiet for too long. Take is not
// asked. Whoever calls Renew must Run or Drop what it returns.
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

// Drop fails those who have joined a renewal that is not run.
func (r *Renewal) Drop() { r.flight.abandon() }

// Run makes the call and reads what comes. It returns when the renewal has ended
// or been given up: because it shows nothing for too long, or because another
// flight for the same has answered.
func (r *Renewal) Run() {
	w, f := r.wait, r.flight
	defer f.abandon() // if OnLead panics
	defer w.Leave()
	w.late = time.NewTimer(f.patience())
	w.watch()
	w.ask.OnLead()
	go f.run()
	if result, _ := w.Await(); result == Taken && f.err == nil && !f.source.Whole {
		f.leader.Watch(w.ctx)
		io.Copy(io.Discard, f.leader)
	}
}
