package circuit

import (
	"math/rand/v2"
	"testing"
)

// The numbers of consecutive failures and of outstanding attempts are those of a simple
// model that keeps all attempts.
func TestConsecutive_AgainstAModel(t *testing.T) {
	type attempt struct {
		p       Permit
		outcome Outcome
		ended   bool
	}
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(2, seed))
		var c consecutive
		var all, open []*attempt
		var failures []*attempt // an attempt may be in it twice
		for range 400 {
			if len(open) == 0 || random.IntN(5) < 2 {
				a := &attempt{}
				c.begin(&a.p)
				all, open = append(all, a), append(open, a)
				continue
			}
			var failing *attempt
			if a := all[random.IntN(len(all))]; a.ended && a.outcome == Success && random.IntN(3) == 0 {
				c.fail(&a.p) // it broke later
				failing = a
			} else {
				at := random.IntN(min(len(open), 10))
				a := open[at]
				open = append(open[:at], open[at+1:]...)
				a.ended, a.outcome = true, []Outcome{Neutral, Success, Failure, Failure, Failure}[random.IntN(5)]
				c.end(&a.p, a.outcome)
				if a.outcome == Failure {
					failing = a
				}
			}
			if failing == nil {
				continue
			}
			failures = append(failures, failing)
			better, outstanding := uint64(0), 0
			for _, a := range all {
				if a.ended && a.outcome == Success {
					better = max(better, a.p.seq)
				}
				if !a.ended && a.p.seq < failing.p.seq {
					better = max(better, a.p.seq)
					outstanding++
				}
			}
			length := 0
			for _, a := range failures {
				if a.p.seq > better {
					length++
				}
			}
			if c.length != length || c.outstanding != outstanding || c.open != len(open) {
				t.Fatalf("seed %d: %d in a row, %d outstanding, %d open, want %d, %d, %d", seed, c.length, c.outstanding, c.open, length, outstanding, len(open))
			}
		}
	}
}
