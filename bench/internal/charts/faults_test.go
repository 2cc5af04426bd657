package charts

import (
	"slices"
	"strings"
	"testing"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A fault that is in no group is in no picture.
func TestEveryFaultIsInOneGroup(t *testing.T) {
	var grouped, want []string
	for _, g := range faultGroups {
		grouped = append(grouped, g.faults...)
	}
	for _, f := range kit.Faults() {
		name, _, _ := strings.Cut(f.String(), "(")
		want = append(want, name)
	}
	slices.Sort(grouped)
	slices.Sort(want)
	if !slices.Equal(grouped, want) {
		t.Errorf("the groups have %q, the kit has %q", grouped, want)
	}
}
