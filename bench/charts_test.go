package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/bench/internal/results"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// The pictures that are checked in are those of the figures that are checked in.
func TestChartsAreDrawnFromTheFigures(t *testing.T) {
	files, err := charted(measured)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"drill.svg"} // drawn by breakwater drill --report
	for _, f := range files {
		names = append(names, f.Name)
		got, err := os.ReadFile(filepath.Join(pictures, f.Name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, f.SVG) {
			t.Errorf("%s is not what `go run . charts` draws", f.Name)
		}
	}
	there, err := filepath.Glob(filepath.Join(pictures, "*.svg")) // others are pictures of a screen
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if !slices.Contains(names, filepath.Base(path)) {
			t.Errorf("%s is drawn by nothing", path)
		}
	}
}

func TestCharts(t *testing.T) {
	files, err := charted(measured)
	if err != nil {
		t.Fatal(err)
	}
	saysWhat := map[string]struct {
		most  int // bytes
		texts []string
	}{
		"architecture": {20 << 10, []string{"Your program", "breakwater", "DeepSeek", "Backup", "Cache"}},
		"faults":       {40 << 10, []string{"What reached the caller when the host broke", "failsafe-go", "Silence", "go run . faults"}},
		"overhead":     {20 << 10, []string{"2 KB request", "200 KB request", "go-retryablehttp", "heimdall", "hand-made chain", "go run . overhead"}},
		"outage":       {30 << 10, []string{"http.Client", "all hosts", "stale answer", "go run . outage"}},
		"quickstart":   {150 << 10, []string{"go run ./examples/quickstart", "WRONG", "answered"}},
	}
	for _, f := range files {
		name, theme, _ := strings.Cut(strings.TrimSuffix(f.Name, ".svg"), "-")
		want, ok := saysWhat[name]
		if !ok || theme != "light" && theme != "dark" {
			t.Errorf("a picture named %s", f.Name)
			continue
		}
		if len(f.SVG) > want.most {
			t.Errorf("%s has %d bytes, want at most %d", f.Name, len(f.SVG), want.most)
		}
		texts := textsOf(t, f.Name, f.SVG)
		for _, text := range want.texts {
			if !slices.Contains(texts, text) && !strings.Contains(strings.Join(texts, "\n"), text) {
				t.Errorf("%s does not say %q", f.Name, text)
			}
		}
	}
}

// Nothing may be loaded, run or linked to from a picture.
var foreign = regexp.MustCompile(`(?i)https?://|href|url\(|@import|<script|<image|<foreignObject|\son\w+=`)

// textsOf returns the texts of a picture that is well-formed and stands alone.
func textsOf(t *testing.T, name string, svg []byte) (texts []string) {
	t.Helper()
	alone := strings.Replace(string(svg), ` xmlns="http://www.w3.org/2000/svg"`, "", 1)
	if found := foreign.FindString(alone); found != "" {
		t.Errorf("%s has %q", name, found)
	}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return texts
		}
		if text, ok := token.(xml.CharData); ok {
			texts = append(texts, string(text))
		}
	}
}

// The figures are of the faults that the kit has today.
func TestFiguresHaveAllFaults(t *testing.T) {
	var kept results.Faults
	if err := results.Load(measured, "faults", &kept); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, row := range kept.Rows {
		got = append(got, row.Fault)
	}
	for _, f := range kit.Faults() {
		name, _, _ := strings.Cut(f.String(), "(")
		want = append(want, name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("figures of %q, the kit has %q: measure again with `go run . -save faults`", got, want)
	}
}
