package circuit

import (
	"sync"
	"time"
)

// Kinds is the number of kinds of calls that each circuit keeps a Latency for. The caller
// decides what they are.
const Kinds = 6

// A Latency estimates the time that a model takes to its first payload, by the recent mean
// and deviation, as TCP estimates round trips (RFC 6298). A nil Latency knows nothing and
// records nothing.
type Latency struct {
	mu              sync.Mutex // guards what follows
	mean, deviation time.Duration
	longest         time.Duration // recently: if it exceeds a later sample, it shrinks by a sixteenth of the difference
}

// minLatency is the least known value that Usual returns, as in RFC 6298, section 2.4.
const minLatency = time.Second

// Add records the time that one attempt took.
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

// Usual returns the time that an attempt usually takes at most, which is no longer than
// the longest recent one. It returns 0 if nothing is known.
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
