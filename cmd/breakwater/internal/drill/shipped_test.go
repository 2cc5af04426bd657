package drill

import (
	"bytes"
	"os"
	"strings"
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
			for _, s := range []*Script{&quick, whole} {
				if testing.Short() && s == whole {
					continue
				}
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
				if len(ours.Complaints) > 0 {
					t.Errorf("the hosts complain of breakwater: %+v", ours.Complaints)
				}
				if len(r.Faults) != len(s.Timeline) || ours.Unfinished != 0 {
					t.Errorf("%d faults and %d calls unfinished, want %d and 0", len(r.Faults), ours.Unfinished, len(s.Timeline))
				}
			}
		})
	}
}

// TestShipped_Document plays the script of docs/drill/scripts.md. The page has all keys of its table of
// objectives.
func TestShipped_Document(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/drill/scripts.md")
	if err != nil {
		t.Skip("the module stands alone: ", err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	text, _, _ := strings.Cut(rest, "```")
	r := playInBubble(t, parsed(t, text), WithBreakwater, BareClient)
	if !r.Held || r.Clients[1].Held {
		var b bytes.Buffer
		_ = r.WriteText(&b, Style{})
		t.Errorf("the script of the page:\n%s", &b)
	}
	for name := range titles {
		if !strings.Contains(string(page), "| `"+name+"` |") {
			t.Errorf("the page does not explain the objective %s", name)
		}
	}
	for _, persona := range Personas() {
		if !strings.Contains(string(page), persona) {
			t.Errorf("the page does not name the persona %s", persona)
		}
	}
}
