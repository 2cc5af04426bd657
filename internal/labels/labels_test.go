package labels

import (
	"fmt"
	"sync"
	"testing"
)

// The first names that come are taken; those beyond the bounds are one.
func TestNames_AreBounded(t *testing.T) {
	var n Names
	endpoints, models := make(map[string]bool), make(map[[2]string]bool)
	for i := range 10_000 {
		endpoint, model := n.Pair(fmt.Sprint("e", i%1000), fmt.Sprint("m", i), true)
		endpoints[endpoint], models[[2]string{endpoint, model}] = true, true
	}
	if len(endpoints) != MaxEndpoints+1 || len(models) > MaxPairs+MaxEndpoints+1 {
		t.Errorf("%d endpoints, %d pairs", len(endpoints), len(models))
	}
	if e, m := n.Pair("e0", "m0", false); e != "e0" || m != "m0" {
		t.Errorf("the first pair is %s and %s", e, m)
	}
}

// A name that is not admitted takes no place.
func TestNames_Admit(t *testing.T) {
	var n Names
	for i := range 1000 {
		if _, model := n.Pair("a", fmt.Sprint(i), false); model != Other {
			t.Fatalf("%d is %s", i, model)
		}
	}
	if _, model := n.Pair("a", "real", true); model != "real" {
		t.Errorf("the first that is admitted is %s", model)
	}
}

// Those who come at once get no more names than there are.
func TestNames_AtOnce(t *testing.T) {
	var n Names
	var mu sync.Mutex
	got := make(map[string]bool)
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 100 {
				_, model := n.Pair("a", fmt.Sprint(w, i), true)
				mu.Lock()
				got[model] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(got) != MaxPairs+1 {
		t.Errorf("%d models", len(got))
	}
}
