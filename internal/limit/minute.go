package limit

import (
	"math"
	"time"
)

// A quota bounds the tokens of a minute. The zero quota limits nothing.
//
// No sliding minute gets more than the limit: minute counts them. A bucket alone would let
// through twice as much in the first minute after an idle one. The bucket spreads the
// tokens: half of the minute's may go at once, and what comes after that goes at the pace
// at which the bucket fills. Without it, a burst would be followed by a pause of a minute,
// and the next burst.
type quota struct {
	bucket
	limit  int
	minute *minute
	// behind says that the minute makes the head of the queue wait, and not the bucket. What
	// flows into the bucket meanwhile is lost, or it would be the next burst.
	behind bool

	// answer is how many tokens answers have recently had to attempts that did not say how
	// many they may have, by the hosts' counts.
	answer float64
}

func newQuota(perMinute int) quota {
	return quota{bucket: newBucket(float64(perMinute)/60, (perMinute-1)/2+1), limit: perMinute, minute: new(minute)}
}

// set changes the limit. A quota that limited nothing before has no tokens to give at once.
// If perMinute is 0, the quota limits nothing from now on.
func (q *quota) set(now time.Time, perMinute int) {
	if perMinute == 0 {
		*q = quota{answer: q.answer}
		return
	}
	of := newQuota(perMinute)
	q.bucket.set(now, of.perSecond, of.burst)
	if q.limit = perMinute; q.minute == nil {
		q.minute = of.minute
	}
}

// of returns how many tokens an attempt reserves. An answer counts for no more than half
// of a minute, because answers are hardly ever as long as they may be. What it takes
// beyond that is charged at its end.
func (q *quota) of(u Use) int {
	if q.limiter == nil {
		return 0
	}
	answer := u.Answer
	if answer <= 0 {
		answer = int(q.answer)
	}
	prompt := min(max(u.Prompt, 0), q.limit)
	return max(prompt+min(answer, q.burst, q.limit-prompt), 1)
}

// learn notes how many tokens an attempt has used that did not say how many its answer may
// have.
func (q *quota) learn(u Use, used int) {
	const weight = 0.1 // of the latest
	answer := float64(max(used-u.Prompt, 0))
	if q.answer == 0 {
		q.answer = answer
	}
	q.answer += weight * (min(answer, float64(q.limit)) - q.answer)
}

// wait returns how long it takes until n tokens can be taken behind others that take ahead.
func (q *quota) wait(now time.Time, n, ahead int) time.Duration {
	if q.limiter == nil {
		return 0
	}
	wait := q.bucket.wait(now, float64(ahead)+float64(min(n, q.burst)))
	return max(wait, q.minute.wait(now, float64(ahead)+float64(n), float64(q.limit)))
}

// take takes n tokens if they are there.
func (q *quota) take(now time.Time, n int) bool {
	if q.limiter == nil {
		return true
	}
	if q.minute.wait(now, float64(n), float64(q.limit)) > 0 {
		q.behind = q.behind || q.bucket.wait(now, float64(min(n, q.burst))) == 0
		return false
	}
	if !q.bucket.take(now, n) {
		return false
	}
	if left := q.limiter.TokensAt(now); q.behind && left >= 1 {
		q.bucket.spend(now, int(left))
	}
	q.behind = false
	q.minute.add(now, float64(n))
	return true
}

// force takes n tokens, on credit if need be.
func (q *quota) force(now time.Time, n int) {
	if q.limiter != nil {
		q.bucket.spend(now, n)
		q.minute.add(now, float64(n))
	}
}

// settle replaces the n tokens that were reserved at began by the used ones. A host's count
// takes no more than ten minutes of tokens.
func (q *quota) settle(now, began time.Time, n, used int) {
	if q.limiter == nil {
		return // the limit is off by now
	}
	more := used - n
	if more > 0 {
		const minutes = 10
		if q.limit <= more/minutes {
			more = minutes * q.limit
		}
		q.minute.add(now, float64(more))
	} else {
		q.minute.remove(now, began, float64(-more))
	}
	q.bucket.spend(now, more)
}

// isNew reports whether the quota is as a new one.
func (q *quota) isNew(now time.Time) bool {
	return q.limiter == nil || q.isFull(now) && q.inUse(now) == 0
}

// inUse returns how many tokens the last minute has.
func (q *quota) inUse(now time.Time) int {
	q.minute.advance(now)
	return int(min(q.minute.sum, math.MaxInt/2))
}

const (
	slot  = time.Second / 2
	slots = int64(time.Minute/slot) + 1 // those that a minute may touch
)

// A minute counts what was taken in the last minute.
type minute struct {
	start time.Time // of slot 0
	last  int64     // the slot of the latest look
	taken [slots]float64
	sum   float64
}

// advance forgets what was taken more than a minute ago, and returns now's slot.
func (m *minute) advance(now time.Time) int64 {
	if m.start.IsZero() {
		m.start = now
	}
	at := max(int64(now.Sub(m.start)/slot), m.last) // never back: callers have read the clock before they got the lock
	if at-m.last >= slots {
		m.taken, m.sum, m.last = [slots]float64{}, 0, at
	}
	for m.last < at {
		m.last++
		old := &m.taken[m.last%slots]
		m.sum -= *old
		*old = 0
	}
	return at
}

// wait returns how long it takes until n more are within limit, if nobody takes any; 0: they
// are now. If n is more than limit, it returns the time that it takes at least.
func (m *minute) wait(now time.Time, n, limit float64) time.Duration {
	at := m.advance(now)
	n = min(n, limit)
	left := m.sum
	for i := range slots {
		if left+n <= limit || left <= 0 {
			if i == 0 {
				return 0
			}
			return m.start.Add(time.Duration(at+i) * slot).Sub(now) // when slot at-slots+i is forgotten
		}
		left -= m.taken[(at+1+i)%slots]
	}
	return m.start.Add(time.Duration(at+slots) * slot).Sub(now)
}

func (m *minute) add(now time.Time, n float64) {
	at := m.advance(now)
	m.taken[at%slots] += n
	m.sum += n
}

// remove takes back what was added at began, unless that is forgotten.
func (m *minute) remove(now, began time.Time, n float64) {
	at, of := m.advance(now), int64(began.Sub(m.start)/slot)
	if of < 0 || at-of >= slots {
		return
	}
	m.taken[of%slots] -= n
	m.sum -= n
}
