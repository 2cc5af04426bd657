package limit

import (
	"container/list"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/aimd"
	"github.com/breakwater-go/breakwater/internal/bounded"
)

// A Limiter bounds the attempts on one model of one account. A nil Limiter limits nothing;
// all of its methods but Acquire, AcquireSpare and CountsTokens may be called.
//
// Attempts that cannot begin at once wait in one queue. The one whose turn it is begins as
// soon as there is all that it needs: a permit, an attempt and its tokens. Nobody holds
// anything while it waits, and none that has its turn later begins before, so large attempts
// get their turn among small ones.
type Limiter struct {
	policy atomic.Pointer[Policy] // changed with mu locked
	used   atomic.Int64           // see bounded.Map

	mu        sync.Mutex  // guards what follows
	adaptive  *aimd.Limit // the number of permits; nil: it does not change
	payer     string      // whose credentials what is learned concerns
	rekeyed   time.Time   // when the payer changed last
	permits   int         // 0: unlimited
	open      int         // attempts under way
	moved     time.Time   // when the latest of them began or ended
	refused   bool        // the host has refused an attempt, and none has ended since
	attempts  bucket
	shift     time.Time // no attempt begins before: see shiftLocked
	learned   learned
	window    window
	tokens    quota
	waiting   queue
	fairness  fairness
	turn      *time.Timer // when the buckets may have what the head needs
	turnIsSet bool
	holds     holds
	spare     list.List // of func() bool: see AcquireSpare
}

// New returns a limiter that is in no table, and that nothing is learned for.
func New(p Policy) *Limiter {
	p.Fixed = true
	return newLimiter(p, "")
}

func newLimiter(p Policy, payer string) *Limiter {
	l := &Limiter{permits: p.InFlight, payer: payer}
	l.policy.Store(&p)
	if p.Adaptive {
		l.adaptive = aimd.New(p.InFlight)
	}
	if p.PerSecond > 0 {
		l.attempts = newBucket(p.PerSecond, p.Burst)
	}
	if p.TokensPerMinute > 0 {
		l.tokens = newQuota(p.TokensPerMinute)
	}
	return l
}

// Follow lets a limiter that New made follow another policy from now on. What is open, waits
// or was used counts on.
func (l *Limiter) Follow(p Policy) {
	p.Fixed = true
	l.follow(p, "")
}

// follow lets the limiter follow another policy from now on. What is open, waits or was used
// counts on. What was learned is forgotten, because it was learned beside the old policy; so
// it is if the policy is the same and the payer another one.
func (l *Limiter) follow(p Policy, payer string) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.policy.Load()
	if *old == p && l.payer == payer {
		return
	}
	if l.payer != payer {
		l.payer, l.rekeyed = payer, now
	}
	l.policy.Store(&p)
	if p.PerSecond != old.PerSecond || p.Burst != old.Burst {
		l.attempts.set(now, p.PerSecond, p.Burst)
	}
	if p.TokensPerMinute != old.TokensPerMinute {
		l.tokens.set(now, p.TokensPerMinute)
		l.waiting.estimate(l.tokens.of)
	}
	l.adaptive, l.permits = nil, p.InFlight
	if p.Adaptive {
		l.adaptive = aimd.New(p.InFlight)
	}
	l.learned, l.window, l.shift, l.refused = learned{}, window{uncounted: l.window.uncounted}, time.Time{}, false
	if l.waiting.len() > 0 {
		l.admitLocked(now)
	}
}

// Free reports whether an attempt would not have to wait now.
func (l *Limiter) Free(now time.Time) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting.len() == 0 && !l.isFullLocked() && l.attemptWaitLocked(now, 1) == 0 && l.tokens.wait(now, 1, 0) == 0
}

// isFullLocked reports whether as many attempts are under way as may be. If a host that takes
// no more than the permits has just refused one, that one's permit is of no use before
// another one ends.
func (l *Limiter) isFullLocked() bool {
	open, permits := l.open+l.window.uncounted, l.permits
	if l.window.bound && l.refused && open > 0 {
		permits--
	}
	return l.permits != 0 && open >= permits
}

// Expected returns about how long an attempt of a caller that came now would wait. It is an
// estimate for those who can choose between hosts, and no reason to refuse.
func (l *Limiter) Expected(now time.Time, c Caller) time.Duration {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	wait, _ := l.leastWaitLocked(now, 1, c)
	return max(wait, l.permitWaitLocked(now, c))
}

// permitWaitLocked returns about how long it takes until a permit is free for one of a caller
// that comes now; 0: not known.
func (l *Limiter) permitWaitLocked(now time.Time, c Caller) time.Duration {
	if l.permits == 0 || l.waiting.len() == 0 && !l.isFullLocked() {
		return 0
	}
	// With so many permits, one comes back in each permits-th part of the time that it is
	// held, and the first after about half of that.
	usual := l.holds.usual()
	ahead := l.waiting.ahead(c)
	wait := seconds((float64(ahead.attempts+ahead.late) + 0.5) * usual.Seconds() / float64(l.permits))
	if idle := now.Sub(l.moved); idle > usual { // those who hold them take longer than usual, for as long again
		return max(wait, idle)
	}
	return wait
}

// leastWaitLocked returns how long an attempt of a caller that comes now has to wait at least
// for the buckets, because of those in front of it, and for which.
func (l *Limiter) leastWaitLocked(now time.Time, tokens int, c Caller) (time.Duration, string) {
	ahead := l.waiting.ahead(c)
	attempts, forTokens := l.attemptWaitLocked(now, ahead.attempts+1), l.tokens.wait(now, tokens, ahead.tokens)
	if forTokens > attempts {
		return forTokens, TokensPerMinute
	}
	return attempts, PerSecond
}

// attemptWaitLocked returns how long it takes until n attempts may begin, by the rates alone.
func (l *Limiter) attemptWaitLocked(now time.Time, n int) time.Duration {
	return max(l.attempts.wait(now, float64(n)), l.learned.wait(now, float64(n)), l.shift.Sub(now), 0)
}

// Admits reports whether an attempt of a caller that has to wait would probably get its turn
// while its caller has time left.
func (l *Limiter) Admits(now time.Time, left time.Duration, c Caller) bool {
	if l == nil {
		return true
	}
	wait := l.Expected(now, c)
	return l.policy.Load().MaxWait > 0 && wait <= l.policy.Load().MaxWait && wait < left
}

// Spills reports whether what has to wait may go to another host instead: the policy allows
// it, or the host has taught the limit by its refusals, so that this is no limit of the
// user's.
func (l *Limiter) Spills() bool {
	if l == nil || l.policy.Load().Spill {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	return l.permits != l.policy.Load().InFlight && l.isFullLocked() || l.learned.wait(now, 1) > l.attempts.wait(now, 1)
}

// CountsTokens reports whether the limiter bounds tokens, so that Acquire needs their number.
func (l *Limiter) CountsTokens() bool { return l.policy.Load().TokensPerMinute > 0 }

// Adapts reports whether fewer attempts are rest enough for a host that has just refused
// one, so that it needs no pause: the number of permits or the rate can still be lowered.
func (l *Limiter) Adapts() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.adaptive != nil && l.adaptive.Size() != 1 || l.learned.rate != nil && !l.learned.rate.Watches() && !l.learned.rate.TakesNothing()
}

// Paces reports whether attempts begin at a rate that the host is known to take.
func (l *Limiter) Paces() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.learned.rate != nil && l.learned.rate.PerSecond() > 0 && !l.learned.rate.TakesNothing()
}

// Doubts reports whether a host that takes less than it did may take nothing at all.
func (l *Limiter) Doubts() bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.learned.rate != nil && l.learned.rate.Doubts()
}

// A Use says what an attempt needs.
type Use struct {
	Prompt int           // tokens, by an estimate
	Answer int           // tokens at most; 0: not known, so the recent answers count
	Waited time.Duration // for other limits, before: it counts against MaxWait
	Caller Caller

	// The following are for what is learned.
	Rested    time.Duration // how long the call has waited for pauses
	Again     bool          // the call has asked for a turn before
	Throttled bool          // a host has refused the call although it had its turn
	Host      Host          // nil: only the limiter's attempts are under way there
}

// Acquire waits for what an attempt with these tokens needs, at most for MaxWait, and fills
// lease, which must be empty. It returns an *Error, at once if MaxWait or ctx's deadline
// would end before its turn in any case, or the cause of ctx's end.
//
// An attempt whose tokens alone take longer to come back may wait for so much longer.
func (l *Limiter) Acquire(ctx context.Context, lease *Lease, use Use) error {
	now := time.Now()
	l.mu.Lock()
	tokens := l.tokens.of(use)
	if !use.Again {
		l.learned.ask(now)
	}
	ok, cost := l.waiting.len() == 0 && l.takeLocked(now, tokens, false), 0.0
	if ok {
		cost = l.chargeLocked(now, use.Caller, tokens)
	}
	open := l.openLocked(use.Host)
	l.mu.Unlock()
	if ok {
		*lease = Lease{limiter: l, since: now, tokens: tokens, open: open, use: use, cost: cost}
		return nil
	}
	most := l.policy.Load().MaxWait - use.Waited
	w := waiter{Caller: use.Caller, use: use, tokens: tokens, most: most - min(use.Rested, most/2), since: now.Add(-use.Waited - use.Rested)}
	done := ctx.Done() // before it has a place: a context may panic
	w.deadline, _ = ctx.Deadline()
	if err := l.enqueue(&w, use); err != nil {
		return err
	}
	l.makeRoom()
	if err := l.await(ctx, done, &w); err != nil {
		return err
	}
	*lease = Lease{limiter: l, since: w.at, tokens: w.tokens, open: w.open, use: use, cost: w.cost}
	return nil
}

// Take is Acquire for an attempt that begins in any case, also where there is not all that it
// needs. What it takes is missing for others.
func (l *Limiter) Take(lease *Lease, use Use) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	tokens := l.tokens.of(use)
	l.tokens.force(now, tokens)
	l.attempts.spend(now, 1)
	l.open++
	l.moved = now
	*lease = Lease{limiter: l, since: now, tokens: tokens, open: l.open, use: use, cost: l.chargeLocked(now, use.Caller, tokens)}
}

// A Host says how many attempts have begun there and not ended, those that wait for this
// limiter included.
type Host interface{ Open() int64 }

// openLocked returns how many attempts are under way at the host.
func (l *Limiter) openLocked(h Host) int {
	if h == nil {
		return l.open
	}
	return int(h.Open()) - l.waiting.len()
}

// takeLocked takes what an attempt needs, if there is all of it.
func (l *Limiter) takeLocked(now time.Time, tokens int, queued bool) bool {
	if l.isFullLocked() || l.attemptWaitLocked(now, 1) > 0 || !l.tokens.take(now, tokens) {
		return false
	}
	l.attempts.spend(now, 1)
	l.learned.send(now, queued)
	l.open++
	l.moved = now
	l.window.sent++
	return true
}

// enqueue adds w to the queue, unless it cannot get its turn in time.
func (l *Limiter) enqueue(w *waiter, use Use) error {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	wait, of := l.leastWaitLocked(now, w.tokens, w.Caller)
	if w.most <= 0 || wait > l.learned.longest(w.most, use) && !l.isLarge(w.tokens) || !w.deadline.IsZero() && wait >= w.deadline.Sub(now) {
		return l.refusalLocked(now, wait, of, w.Caller)
	}
	w.granted = make(chan struct{})
	if l.fairness.used == nil && w.Tenant != "" {
		l.fairness.begin(now)
	}
	l.fairness.tick(now, l.waiting.len() > 0)
	l.waiting.add(w, l.fairness.start(w.Tenant))
	l.admitLocked(now)
	return nil
}

// isLarge reports whether so many tokens alone take MaxWait to come back. Such an attempt
// waits for MaxWait, and then, once nobody waits longer, for as long as its tokens need.
// Otherwise it could never begin while others use the limit.
func (l *Limiter) isLarge(tokens int) bool {
	return tokens > 0 && l.tokens.perSecond > 0 && seconds(float64(tokens)/l.tokens.perSecond) >= l.policy.Load().MaxWait
}

// await waits until w has got what it needs, ctx ends, or its time in the queue does.
func (l *Limiter) await(ctx context.Context, done <-chan struct{}, w *waiter) error {
	timer := time.NewTimer(w.most)
	defer timer.Stop()
	for {
		select {
		case <-w.granted:
			return nil
		case <-timer.C:
			more, err := l.giveUp(w)
			if more <= 0 {
				return err
			}
			timer.Reset(more)
		case <-done:
			l.leave(w)
			return context.Cause(ctx)
		}
	}
}

// giveUp takes w out of the queue at the end of its time there, unless its turn is now, or
// it has waited longest and may wait longer.
func (l *Limiter) giveUp(w *waiter) (more time.Duration, err error) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admitLocked(now)
	if !w.at.IsZero() {
		return 0, nil
	}
	isNext := l.waiting.next(now, l.neededLocked()) == w
	if l.isLarge(w.tokens) && (isNext || l.waiting.isOldest(w)) {
		more := l.tokens.wait(now, w.tokens, 0)
		if !isNext { // it is passed some times at most
			more = max(more, time.Second)
		}
		if more > 0 {
			return more, nil
		}
	}
	l.waiting.remove(w)
	l.admitLocked(now)
	wait, of := l.leastWaitLocked(now, w.tokens, w.Caller)
	return 0, l.refusalLocked(now, wait, of, w.Caller)
}

// leave takes w out of the queue, or returns what it has got at this moment.
func (l *Limiter) leave(w *waiter) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.at.IsZero() {
		l.waiting.remove(w)
	} else {
		l.putBackLocked(now, w.at, w.tokens)
	}
	l.admitLocked(now)
}

// cancel takes a lease back whose attempt was not sent.
func (l *Limiter) cancel(lease *Lease) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if lease.spare != nil {
		l.spare.Remove(lease.spare)
	}
	l.putBackLocked(now, lease.since, lease.tokens)
	l.admitLocked(now)
}

// putBackLocked returns what an attempt that was not sent took then.
func (l *Limiter) putBackLocked(now, then time.Time, tokens int) {
	l.attempts.spend(now, -1)
	l.learned.unsend(now)
	if tokens > 0 {
		l.tokens.settle(now, then, tokens, 0)
	}
	l.open--
	l.moved = now
}

// admitLocked lets those begin whose turn it is, and sets the timer for the next one.
func (l *Limiter) admitLocked(now time.Time) {
	for {
		w := l.waiting.next(now, l.neededLocked())
		if w == nil || l.isFullLocked() {
			l.setTurn(0)
			return
		}
		if !l.takeLocked(now, w.tokens, true) {
			l.setTurn(max(l.attemptWaitLocked(now, 1), l.tokens.wait(now, w.tokens, 0)))
			return
		}
		l.grantLocked(now, w)
		w.at, w.open = now, l.openLocked(w.use.Host)
		close(w.granted)
	}
}

// neededLocked returns how much time an attempt should have left when it begins.
func (l *Limiter) neededLocked() time.Duration { return l.holds.needed(l.permits != 0) }

// setTurn sets the timer for the next turn; 0: another event brings it.
func (l *Limiter) setTurn(wait time.Duration) {
	switch {
	case wait <= 0:
		if l.turnIsSet {
			l.turn.Stop()
		}
		l.turnIsSet = false
		return
	case l.turn == nil:
		l.turn = time.AfterFunc(wait, l.turnCame)
	default:
		l.turn.Reset(wait)
	}
	l.turnIsSet = true
}

func (l *Limiter) turnCame() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admitLocked(time.Now())
}

// release takes a lease back, and learns from how its attempt ended.
func (l *Limiter) release(lease *Lease, r Result, used int) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if lease.since.Before(l.rekeyed) { // a refusal was said to a key that is replaced
		r.Refused, r.Throttled = false, false
	}
	switch {
	case r.Served:
		l.holds.add(now.Sub(lease.since))
		l.window.end(lease.open)
	case r.Late:
		l.holds.add(unended)
	}
	switch {
	case l.adaptive == nil:
	case r.Served:
		l.permits = l.adaptive.Served(now, l.open)
	case r.Refused:
		if l.window.bound && r.Stated == 0 {
			r.Stated = max(r.Throttle.Open-1, 0)
		}
		l.permits = l.adaptive.Refused(now, lease.since, max(l.open+l.window.uncounted, r.Throttle.Open), r.Stated)
	}
	if l.refused = r.Throttled; l.refused {
		l.attempts.slip(now)
		l.shiftLocked(now)
		l.learnLocked(now, r.Throttle)
	}
	l.open--
	l.moved = now
	l.settleLocked(now, lease, used)
	if lease.spare != nil {
		l.spare.Remove(lease.spare)
	}
	if lease.tokens > 0 {
		l.tokens.settle(now, lease.since, lease.tokens, used)
		if r.Tokens > 0 && lease.use.Answer <= 0 {
			l.tokens.learn(lease.use, r.Tokens)
		}
	}
	if l.waiting.len() > 0 {
		l.admitLocked(now)
	}
}

// shiftLocked shifts the times at which attempts begin, if they are more than a second
// apart. Processes that have the same rate and begin at the same time would send at the same
// time for ever, and be refused.
func (l *Limiter) shiftLocked(now time.Time) {
	if p := l.policy.Load().PerSecond; p > 0 && p < 1 {
		l.shift = now.Add(seconds(rand.Float64() / p))
	}
}

// InUse returns how many attempts are under way, and how many wait.
func (l *Limiter) InUse() (open, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.waiting.len()
}

// status returns the state of the limiter of a model.
func (l *Limiter) status(model string) Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{Model: model, InFlight: l.open, Waiting: l.waiting.len(), MaxInFlight: l.permits, PerSecond: l.attempts.perSecond}
	if learned := l.learned.bucket.perSecond; learned > 0 && (s.PerSecond == 0 || learned < s.PerSecond) {
		s.PerSecond = learned
	}
	return s
}

// worth returns what would be lost with the limiter. A limiter that is not used, has full
// buckets and has learned nothing is worth no more than a new one.
func (l *Limiter) worth() bounded.Worth {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	return bounded.Worth{
		Used:  l.used.Load(),
		Busy:  l.open > 0 || l.waiting.len() > 0,
		Known: !l.attempts.isFull(now) || !l.tokens.isNew(now) || l.permits != l.policy.Load().InFlight || l.learned.rate != nil,
	}
}
