package main

import (
	"strings"
	"testing"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	rescued, cut, _ := strings.Cut(out.String(), "(whole)\n> "+question+"\n")
	if got := strings.Replace(rescued, "|", "", 1); got != "> "+question+"\n"+kit.Answer(question)+"\n" || got == rescued {
		t.Errorf("the rescued stream is shown as\n%s", rescued)
	}
	if !strings.HasSuffix(cut, "(breakwater: answer truncated)\n") || strings.Contains(cut, kit.Answer(question)) {
		t.Errorf("the cut stream does not end in its error:\n%s", cut)
	}
}
