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
	first, second, _ := strings.Cut(out.String(), "> second question\n")
	if !strings.Contains(first, "(breakwater: answer truncated)") || strings.Contains(first, kit.Answer("first question")) {
		t.Errorf("the cut stream does not end in its error:\n%s", first)
	}
	if second != kit.Answer("second question")+"\n(whole)\n" {
		t.Errorf("the whole stream is shown as\n%s", second)
	}
}
