package main

import (
	"strings"
	"testing"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

func TestAskFakes(t *testing.T) {
	var out strings.Builder
	if err := askFakes(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), kit.Answer(question)); got != 2 {
		t.Errorf("the answer was printed %d times, want plain and streaming", got)
	}
	for _, line := range []string{"primary, unavailable, then ", "second, ok, then accept"} {
		if strings.Count(out.String(), line) < 2 {
			t.Errorf("no %q in both trails", line)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
