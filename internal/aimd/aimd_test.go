package aimd

import (
	"testing"
	"time"
)

var start = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

func TestLimit(t *testing.T) {
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	l := New(Unlimited)
	if got := l.Served(at(0), 100); got != Unlimited {
		t.Errorf("before a refusal the size is %d, want none", got)
	}
	if got := l.Refused(at(1), at(0.9), 101, 0); got != 100 {
		t.Errorf("refused with 101 open, the size is %d, want 100", got)
	}
	if got := l.Refused(at(1.1), at(0.95), 100, 0); got != 100 {
		t.Errorf("a refusal of what was sent before the step gives %d, want 100", got)
	}
	if got := l.Refused(at(2.2), at(2.15), 90, 0); got != 95 {
		t.Errorf("refused again, the size is %d, want 95", got)
	}
	if got := l.Refused(at(3.3), at(3.2), 50, 39); got != 39 {
		t.Errorf("told 39 with 50 open, the size is %d, want 39", got)
	}
	if got := l.Refused(at(4.4), at(4.3), 10, 39); got != 37 {
		t.Errorf("told 39 with 10 open, the size is %d, want 37: others have the rest", got)
	}
	if got := l.Served(at(5), 2); got != 37 {
		t.Errorf("hardly used, the size is %d, want 37", got)
	}
	for range 38 {
		l.Served(at(5), 37)
	}
	if got := l.Size(); got != 38 {
		t.Errorf("after a round of 37 served, the size is %d, want 38", got)
	}
	l = New(Unlimited)
	l.Refused(at(5), at(4.9), 3, 0)
	for range 20 {
		l.Served(at(6), l.Size())
	}
	if got := l.Size(); got < 5 {
		t.Errorf("a limit of 2 that is used up has grown to %d only", got)
	}
	l = New(Unlimited)
	l.Refused(at(6), at(5.9), 1, 0)
	if l.Size() != 1 {
		t.Errorf("refused alone, the size is %d, want 1", l.Size())
	}
	for range 7 {
		l.Served(at(6).Add(quiet+1), l.Size())
	}
	if got := l.Size(); got != 8 {
		t.Errorf("quiet again, behind 7 served the size is %d, want 8", got)
	}
	l = New(Unlimited)
	l.Refused(at(20), at(19.9), 1, 0)
	if got := l.Served(at(20).Add(forgets), 1); got != 2 {
		t.Errorf("ten minutes without a refusal, the size is %d, want 2", got)
	}
	if got := l.Served(at(21).Add(forgets), 1); got != Unlimited {
		t.Errorf("more than ten minutes without a refusal, the size is %d, want none", got)
	}
}

func TestNeverAboveMax(t *testing.T) {
	l := New(5)
	if l.Size() != 5 {
		t.Errorf("Size() = %d, want 5", l.Size())
	}
	l.Refused(start, start.Add(-1), 5, 100)
	for i := range 10000 {
		if got := l.Served(start.Add(time.Duration(i)*100*time.Millisecond), 5); got > 5 {
			t.Fatalf("the size is %d, want at most 5", got)
		}
	}
	if l.Size() != 5 {
		t.Errorf("after all that was served the size is %d, want 5 again", l.Size())
	}
}
