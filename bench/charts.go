package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/breakwater-go/breakwater/bench/internal/charts"
	"github.com/breakwater-go/breakwater/bench/internal/results"
)

const (
	measured = "testdata"         // what was measured, seen from this folder
	pictures = "../docs/pictures" // and what is drawn from that
)

// drawCharts draws the pictures of the documents.
func drawCharts(from, to string) error {
	files, err := charted(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(to, f.Name)
		if err := os.WriteFile(path, f.SVG, 0o644); err != nil {
			return err
		}
		fmt.Printf("%s, %d bytes\n", path, len(f.SVG))
	}
	return nil
}

func charted(from string) ([]charts.File, error) {
	var (
		faults     results.Faults
		overhead   results.Overhead
		outage     results.Outage
		quickstart results.Recording
	)
	for name, into := range map[string]any{"faults": &faults, "overhead": &overhead, "outage": &outage, "quickstart": &quickstart} {
		if err := results.Load(from, name, into); err != nil {
			return nil, err
		}
	}
	return charts.Draw(faults, overhead, outage, quickstart), nil
}
