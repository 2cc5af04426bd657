package circuit

import (
	"strings"
	"testing"
	"time"
)

// The first report counts. Of later reports, only failures count.
func TestPermit_ReportsOnce(t *testing.T) {
	for _, tt := range []struct {
		reports string // the reports of one attempt
		open    bool
	}{
		{"F", false},
		{"FFFFF", true}, // each report is another failure
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

// The reports of a Permit count for nothing if it was refused or never used.
func TestPermit_Refused(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		w.play("FFFFF")
		var refused, unused Permit
		if w.c.Allow(&refused, time.Now(), false) {
			t.Fatal("an open circuit let an attempt pass")
		}
		for _, p := range []*Permit{&refused, &unused} {
			if p.Probing() {
				t.Error("a refused permit is a probe")
			}
			p.Report(Success)
			p.Report(Failure)
		}
		w.stands("after reports of refused permits", Open, 5*time.Second)
		if l := unused.Latency(0); l.Usual() != 0 {
			t.Error("a permit that was never used has a latency")
		}
		unused.Latency(0).Add(time.Second)
		refused.Latency(1).Add(2 * time.Second)
		if got := w.c.Latency(1).Usual(); got != 2*time.Second || w.c.Latency(0).Usual() != 0 {
			t.Errorf("usual %v, want the 2s that the permit took, and of that kind alone", got)
		}
	})
}

// Failures are consecutive by the order in which their attempts began. So a host that
// refuses some attempts at once and answers others slowly has no consecutive failures.
func TestPermit_QuickFailuresAreNotInARow(t *testing.T) {
	inWorld(t, with(func(p *Policy) { p.FailureRate = 0 }), func(t *testing.T, w *world) {
		for range 3 {
			var slow []*Permit
			for range 4 { // of five attempts, four fail at once and one is slow
				slow = append(slow, w.allowed())
				w.play("FFFF")
			}
			time.Sleep(time.Second)
			for _, p := range slow {
				end(p, 'S')
			}
		}
		w.stands("after 48 quick failures among 12 slow successes", Closed, 0)
		w.play("FFFFF")
		if s := w.c.Status(time.Now()); s.State != Closed {
			t.Errorf("five in a row where four of five fail anyway: %s, want closed", s.State)
		}
	})
}

// Attempts that began before a failure and have no result yet count as results.
// Otherwise quick failures would seem to be the only results.
func TestPermit_OutstandingCount(t *testing.T) {
	inWorld(t, with(func(p *Policy) { p.Consecutive = 0 }), func(t *testing.T, w *world) {
		var slow []*Permit
		for range 21 {
			slow = append(slow, w.allowed())
		}
		w.play(strings.Repeat("F", 20))
		w.stands("20 failures after 21 that have not failed", Closed, 0)
		w.play("F")
		w.stands("21 failures after 21 that have not failed", Open, 5*time.Second)
		for _, p := range slow {
			p.Report(Neutral)
		}
	})
}
