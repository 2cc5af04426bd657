package drill

import (
	"bytes"
	"testing"
)

// TestShipped_Scripts plays each script that comes with the command, in virtual time. breakwater
// must hold all objectives, in the long and in the short form; a bare client must miss some.
func TestShipped_Scripts(t *testing.T) {
	for _, shipped := range AllShipped() {
		t.Run(shipped.Name, func(t *testing.T) {
			whole, err := Parse(shipped.File, shipped.Text)
			if err != nil {
				t.Fatal(err)
			}
			quick := whole.Quickly()
			for _, s := range []*Script{whole, &quick} {
				r := playInBubble(t, s, WithBreakwater, BareClient)
				ours, bare := r.Clients[0], r.Clients[1]
				if !ours.Held || !r.Held {
					var b bytes.Buffer
					_ = r.WriteText(&b, Style{})
					t.Errorf("with breakwater, in %v:\n%s", s.Duration, &b)
				}
				if bare.Held || bare.Availability >= 0.95 && bare.FirstToken.P99 < 2 {
					t.Errorf("a bare client held it, in %v: %+v", s.Duration, bare.Objectives)
				}
				if len(r.Faults) != len(s.Timeline) || ours.Unfinished != 0 {
					t.Errorf("%d faults and %d calls unfinished, want %d and 0", len(r.Faults), ours.Unfinished, len(s.Timeline))
				}
			}
		})
	}
}
