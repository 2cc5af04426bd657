package circuit

import (
	"sync"
	"time"
)

// Kinds is how many kinds of calls have a Latency of their own at each circuit.
// What they are is for the caller to say.
const Kinds = 6

// A Latency estimates how long a model takes to its first payload: the mean and
// the deviation of late, as TCP keeps them of round trips (RFC 6298). A nil
// Latency knows nothing and learns nothing.
type Latency struct {
	mu              sync.Mutex // guards what follows
	mean, deviation time.Duration
	longest         time.Duration // of late: what exceeds later samples fades by a sixteenth with each
}

// minLatency is the least that Usual returns of what is known, as in RFC 6298,
// section 2.4.
const minLatency = time.Second

// Add adds the time that one attempt took.
func (l *Latency) Add(d time.Duration) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mean == 0 {
		l.mean, l.deviation, l.longest = max(d, 1), d/2, d
		return
	}
	l.longest = max(d, l.longest-(l.longest-d)/16)
	l.deviation += ((d - l.mean).Abs() - l.deviation) / 4
	l.mean = max(l.mean+(d-l.mean)/8, 1)
}

// Usual returns how long an attempt may take before it takes longer than usual:
// not longer than the longest of late. It returns 0 as long as nothing is known.
func (l *Latency) Usual() time.Duration {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mean == 0 {
		return 0
	}
	return max(min(l.mean+4*l.deviation, l.longest), minLatency)
}
