package within

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestBounds_Has(t *testing.T) {
	local := &Place{Name: "local", Region: "eu", Tags: []string{"premises", "gpu"}}
	for _, tt := range []struct {
		lists Bounds
		want  bool
	}{
		{nil, true},
		{Bounds{{"local"}}, true},
		{Bounds{{"eu"}}, true},
		{Bounds{{"gpu"}}, true},
		{Bounds{{"cloud", "premises"}}, true},
		{Bounds{{"eu"}, {"gpu"}}, true},
		{Bounds{{"eu"}, {"cloud"}}, false},
		{Bounds{{"cloud"}}, false},
		{Bounds{{"Local"}}, false}, // words are compared exactly
		{Bounds{{"loca"}}, false},
		{Bounds{{" eu"}}, false},
		{Bounds{{}}, false},
		{Bounds{{"eu"}, {}}, false},
		{Bounds{{""}}, false},
	} {
		if got := tt.lists.Has(local); got != tt.want {
			t.Errorf("%q allow local: %v, want %v", tt.lists, got, tt.want)
		}
	}
	if (Bounds{{""}}).Has(&Place{Name: "bare"}) {
		t.Error("an empty word stands for a place without a region")
	}
}

// What comes later never widens the bounds, and changes none of those before.
func TestBounds_OnlyNarrow(t *testing.T) {
	given := []string{"eu", "us"}
	outer := Bounds(nil).AndOneOf(given)
	given[0] = "everywhere"
	first, second := outer.AndOneOf([]string{"gpu"}), outer.AndOneOf([]string{"cpu"})
	for want, got := range map[string]Bounds{
		`[["eu" "us"]]`:                 outer,
		`[["eu" "us"] ["gpu"]]`:         first,
		`[["eu" "us"] ["cpu"]]`:         second,
		`[["eu" "us"] ["gpu"] ["cpu"]]`: first.And(second),
		`[["eu" "us"] []]`:              outer.AndOneOf([]string{}),
	} {
		if said := fmt.Sprintf("%q", got); said != want {
			t.Errorf("got %s, want %s", said, want)
		}
	}
	if got := outer.And(nil); !slices.EqualFunc(got, outer, slices.Equal) || Bounds(nil).And(nil) != nil {
		t.Errorf("no further bounds made it %q", got)
	}
	again := first
	for range 100 {
		again = again.And(again).AndOneOf([]string{"gpu"})
	}
	if len(again) != 2 {
		t.Errorf("the same bounds again and again are %d lists", len(again))
	}
	if !first.Has(&Place{Name: strings.Repeat("x", 9), Region: "us", Tags: []string{"gpu"}}) {
		t.Error("a place that has a word of each list is not within")
	}
}
