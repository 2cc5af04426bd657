package circuit

import (
	"testing"
	"time"
)

// The mean and the deviation are those of RFC 6298.
func TestLatency(t *testing.T) {
	var l Latency
	if got := l.Usual(); got != 0 {
		t.Errorf("Usual() = %v before the first sample, want 0", got)
	}
	for _, tt := range []struct{ took, usual time.Duration }{
		{4 * time.Second, 4 * time.Second}, // R, and R/2 four times, but none took longer than R
		{4 * time.Second, 4 * time.Second},
		{12 * time.Second, 12 * time.Second}, // 5s, and 3.125s four times
		{0, 11250 * time.Millisecond},        // the longest is forgotten by sixteenths
	} {
		l.Add(tt.took)
		if got := l.Usual(); got != tt.usual {
			t.Errorf("Usual() = %v after %v, want %v", got, tt.took, tt.usual)
		}
	}
	l = Latency{}
	l.Add(20 * time.Second)
	for range 40 {
		l.Add(2 * time.Second)
	}
	if got := l.Usual().Round(time.Millisecond); got != 2775*time.Millisecond { // the mean of 2.086s, and four times 172ms
		t.Errorf("Usual() = %v after 20s and 40 times 2s, want 2.775s", got)
	}
	for range 100 {
		l.Add(time.Millisecond)
	}
	if got := l.Usual(); got != minLatency {
		t.Errorf("Usual() = %v after many of a millisecond, want %v", got, minLatency)
	}
}

// A sample of zero counts as a sample.
func TestLatency_OfNothing(t *testing.T) {
	var l Latency
	l.Add(0)
	if got := l.Usual(); got != minLatency {
		t.Errorf("Usual() = %v after 0s, want %v", got, minLatency)
	}
}
