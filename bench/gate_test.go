package main

import (
	"errors"
	"testing"
)

func TestBound(t *testing.T) {
	for _, tt := range []struct {
		bound  bound
		figure float64
		want   bool
	}{
		{bound{value: 10, exact: true}, 10, true},
		{bound{value: 10, exact: true}, 11, false},
		{bound{value: 1}, 1.15, true},
		{bound{value: 1}, 1.16, false},
		{bound{value: 0.8, least: true}, 0.68, true},
		{bound{value: 0.8, least: true}, 0.67, false},
	} {
		if got := tt.bound.holds(tt.figure); got != tt.want {
			t.Errorf("%+v holds for %v: %v, want %v", tt.bound, tt.figure, got, tt.want)
		}
	}
}

// The gate fails if a bound is broken, or if nothing was measured for it.
func TestReport(t *testing.T) {
	figures := make(map[string][]float64)
	for _, b := range bounds {
		figures[b.what] = []float64{b.value, b.value, b.value * 3}
	}
	if err := report(figures); err != nil {
		t.Errorf("every bound holds: %v", err)
	}
	figures[bounds[0].what] = []float64{bounds[0].value + 1}
	if err := report(figures); !errors.Is(err, errSlower) {
		t.Errorf("a bound is broken: %v, want %v", err, errSlower)
	}
	delete(figures, bounds[1].what)
	if err := report(figures); err == nil || errors.Is(err, errSlower) {
		t.Errorf("a figure is missing: %v, want an error that says so", err)
	}
}

// Allocations and bytes do not depend on the machine, so each test run looks at them.
func TestExactFigures(t *testing.T) {
	figures, err := exactFigures()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bounds {
		if b.exact && (len(figures[b.what]) != 1 || !b.holds(figures[b.what][0])) {
			t.Errorf("%s: %v, want at most %v", b.what, figures[b.what], b.value)
		}
	}
}

// A sample of streams has what the bounds are about.
func TestSample(t *testing.T) {
	s := make(sample)
	s.ofStreams()
	if len(s) != 2 {
		t.Errorf("the sample of streams has %v", s.names())
	}
}
