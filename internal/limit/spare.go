package limit

import "time"

// AcquireSpare is Acquire for an attempt for which no caller waits. It takes only what
// callers leave: nobody waits, such attempts hold at most half of the permits, and half of
// each bucket stays. It never waits itself.
//
// If a caller has to wait for a permit later, giveWay is called, once at most and without a
// lock. It ends the attempt, or reports false if callers wait for that meanwhile, too.
func (l *Limiter) AcquireSpare(lease *Lease, use Use, giveWay func() bool) error {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	tokens := l.tokens.of(use)
	if !l.hasSpareLocked(now, tokens) || !l.takeLocked(now, tokens, false) {
		wait, of := l.leastWaitLocked(now, tokens, use.Caller)
		return l.refusalLocked(now, wait, of, use.Caller)
	}
	*lease = Lease{limiter: l, since: now, tokens: tokens, use: use, spare: l.spare.PushBack(giveWay)}
	return nil
}

func (l *Limiter) hasSpareLocked(now time.Time, tokens int) bool {
	switch {
	case l.waiting.len() > 0, l.permits > 0 && l.spare.Len() >= max(l.permits/2, 1):
		return false
	}
	left := min(l.tokens.burst/2, l.tokens.burst-min(tokens, l.tokens.burst)) // what is more than half can only be taken of all
	return l.attempts.wait(now, float64(1+l.attempts.burst/2)) == 0 && l.learned.wait(now, float64(1+l.learned.bucket.burst/2)) == 0 && l.tokens.wait(now, tokens, left) == 0
}

// makeRoom ends an attempt that holds a spare permit, if a caller waits for one.
func (l *Limiter) makeRoom() {
	for {
		l.mu.Lock()
		latest := l.spare.Back()
		if latest == nil || l.waiting.len() == 0 || !l.isFullLocked() {
			l.mu.Unlock()
			return
		}
		giveWay := l.spare.Remove(latest).(func() bool)
		l.mu.Unlock()
		if giveWay() {
			return
		}
	}
}
