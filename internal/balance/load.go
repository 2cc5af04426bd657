package balance

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// decayTime is the time constant by which a long wait is forgotten: after that time,
	// about a third of it is left. So a target that was slow is tried again.
	decayTime = 10 * time.Second
	// quickWait is the wait below which all targets count as equally quick.
	quickWait = 100 * time.Millisecond
	// failedWait is the wait that the first failure counts as. Each further one doubles
	// it.
	failedWait = time.Second
)

// A Load measures how busy and how slow a target is: the number of open attempts, and a
// peak-sensitive moving average of the time to the first payload (peak EWMA).
type Load struct {
	open atomic.Int64
	sent atomic.Int64

	mu   sync.Mutex // guards what follows
	wait float64    // for the first payload, in seconds: rises at once, falls with decayTime
	mean float64    // likewise, of recent samples, however long ago: see means
	at   time.Time  // of the latest sample
}

// Begin counts an attempt.
func (l *Load) Begin() { l.open.Add(1) }

// Send counts an attempt whose request has begun to leave.
func (l *Load) Send() { l.sent.Add(1) }

// End ends an attempt: its response was read to the end, or will not be. sent says whether
// Send was called for it.
func (l *Load) End(sent bool) {
	l.open.Add(-1)
	if sent {
		l.sent.Add(-1)
	}
}

// Open returns how many attempts have begun and not ended.
func (l *Load) Open() int64 { return l.open.Load() }

// Sent returns how many of the open attempts have begun to leave.
func (l *Load) Sent() int64 { return l.sent.Load() }

// Sample records the time that an attempt took to its first payload.
func (l *Load) Sample(wait time.Duration, now time.Time) { l.sample(wait.Seconds(), now) }

// Fail records that an attempt failed after this time. A target that fails fast must not
// look fast, so each failure counts as a long wait.
func (l *Load) Fail(after time.Duration, now time.Time) {
	doubled := min(2*l.waitAt(now), time.Duration(math.MaxInt64).Seconds())
	l.sample(max(after.Seconds(), failedWait.Seconds(), doubled), now)
	l.mu.Lock()
	l.mean = max(l.mean, l.wait)
	l.mu.Unlock()
}

func (l *Load) sample(wait float64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := decay(now.Sub(l.at))
	l.wait = max(wait, l.wait*left+wait*(1-left))
	if l.mean += (wait - l.mean) / 8; l.at.IsZero() {
		l.mean = wait
	}
	l.at = now
}

// cost returns what one more attempt would cost at this target, for comparison with
// others.
func (l *Load) cost(now time.Time) float64 {
	return float64(l.open.Load()+1) * max(l.waitAt(now), quickWait.Seconds())
}

// means returns the mean of recent waits, as far as it tells targets apart: as it was at the
// latest sample, and what is left of it now. It is infinite and nothing if there is none. A
// mean tells targets apart of which one gets many more attempts: that one's longest recent
// wait is longer by chance.
func (l *Load) means(now time.Time) (shown, left float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.IsZero() {
		return math.Inf(1), quickWait.Seconds()
	}
	return max(l.mean, quickWait.Seconds()), max(l.mean*decay(now.Sub(l.at)), quickWait.Seconds())
}

func (l *Load) waitAt(now time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wait * decay(now.Sub(l.at))
}

// decay returns the share of a sample that is left after d.
func decay(d time.Duration) float64 {
	if d <= 0 {
		return 1
	}
	return math.Exp(-float64(d) / float64(decayTime))
}
