package circuit

import (
	"strings"
	"testing"
	"time"
)

// The first report counts, and of later ones a failure.
func TestPermit_ReportsOnce(t *testing.T) {
	for _, tt := range []struct {
		reports string // of one attempt, again and again
		open    bool
	}{
		{"F", false},
		{"FFFFF", true}, // each a failure more
		{"SFFFFF", true},
		{"FSSSSSSSS", false},
		{"SSFF", false},
		{"NFFFFF", true},
		{"INNNNN", false},
	} {
		t.Run(tt.reports, func(t *testing.T) {
			inWorld(t, with(func(p *Policy) { p.Consecutive, p.MinRequests = 0, 5 }), func(t *testing.T, w *world) {
				p := w.allowed()
				for _, letter := range tt.reports {
					p.Report(map[rune]Outcome{'F': Failure, 'S': Success, 'N': Neutral, 'I': Inconclusive}[letter])
				}
				if s := w.c.Status(time.Now()); s.State == Open != tt.open {
					t.Errorf("the circuit is %s, want open: %v", s.State, tt.open)
				}
			})
		})
	}
}

// Who was refused, or never asked, has nothing to report.
func TestPermit_Refused(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		w.play("FFFFF")
		var refused, unused Permit
		if w.c.Allow(&refused, time.Now(), false) {
			t.Fatal("an open circuit let an attempt pass")
		}
		for _, p := range []*Permit{&refused, &unused} {
			if p.Probing() {
				t.Error("what was refused probes")
			}
			p.Report(Success)
			p.Report(Failure)
		}
		w.stands("behind reports of what was refused", Open, 5*time.Second)
		if l := unused.Latency(0); l.Usual() != 0 {
			t.Error("something is known where no circuit was asked")
		}
		unused.Latency(0).Add(time.Second)
		refused.Latency(1).Add(2 * time.Second)
		if got := w.c.Latency(1).Usual(); got != 2*time.Second || w.c.Latency(0).Usual() != 0 {
			t.Errorf("usual %v, want the 2s that the permit took, and of that kind alone", got)
		}
	})
}

// Failures count in the order in which attempts began: a host that refuses at
// once and answers late does not fail in a row.
func TestPermit_QuickFailuresAreNotInARow(t *testing.T) {
	inWorld(t, with(func(p *Policy) { p.FailureRate = 0 }), func(t *testing.T, w *world) {
		for range 3 {
			var slow []*Permit
			for range 4 { // of each five, four fail at once and one takes its time
				slow = append(slow, w.allowed())
				w.play("FFFF")
			}
			time.Sleep(time.Second)
			for _, p := range slow {
				end(p, 'S')
			}
		}
		w.stands("behind 48 quick failures among 12 slow successes", Closed, 0)
		w.play("FFFFF")
		if s := w.c.Status(time.Now()); s.State != Closed {
			t.Errorf("five in a row where four of five fail anyway: %s, want closed", s.State)
		}
	})
}

// Attempts without a result that began before a failure count as results: quick
// failures are not all there is.
func TestPermit_OutstandingCount(t *testing.T) {
	inWorld(t, with(func(p *Policy) { p.Consecutive = 0 }), func(t *testing.T, w *world) {
		var slow []*Permit
		for range 21 {
			slow = append(slow, w.allowed())
		}
		w.play(strings.Repeat("F", 20))
		w.stands("20 failures behind 21 that have not failed", Closed, 0)
		w.play("F")
		w.stands("21 failures behind 21 that have not failed", Open, 5*time.Second)
		for _, p := range slow {
			p.Report(Neutral)
		}
	})
}
