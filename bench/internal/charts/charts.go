// Package charts draws the pictures of the documents from what bench has
// measured: SVG in two themes, text as text, and nothing from elsewhere.
package charts

import (
	"fmt"

	"github.com/breakwater-go/breakwater/bench/internal/results"
)

// A File is a picture in one theme.
type File struct {
	Name string
	SVG  []byte
}

// Draw draws all pictures from what was measured.
func Draw(faults results.Faults, overhead results.Overhead, outage results.Outage, quickstart results.Recording) []File {
	var files []File
	for _, th := range themes {
		for _, p := range []struct {
			name string
			svg  []byte
		}{
			{"architecture", architecture(th)},
			{"faults", faultGrid(faults, th)},
			{"overhead", overheadBars(overhead, th)},
			{"outage", outageTimeline(outage, th)},
			{"quickstart", recording(quickstart, th)},
		} {
			files = append(files, File{p.name + "-" + th.name + ".svg", p.svg})
		}
	}
	return files
}

const margin = 16

// heading writes the message of a chart, and what it shows in so many lines. It
// returns where the chart may begin.
func heading(c *canvas, title string, lines ...string) (y float64) {
	c.text(margin, 34, "title", title)
	y = 36
	for _, line := range lines {
		y += 20
		c.text(margin, y, "muted", line)
	}
	return y + 12
}

// footing says where the figures come from, and returns the picture's height.
func footing(c *canvas, y float64, from results.Source) (height float64) {
	c.text(margin, y+20, "muted small", fmt.Sprintf("%s · %s · %s · %s", from.Command, from.Date, from.Go, from.Machine))
	return y + 34
}

// A legend explains a colour and its sign.
type legend struct{ class, sign, means string }

var (
	legendRight  = legend{"right", string(results.Right), "right answer"}
	legendStale  = legend{"stale", "≈", "stale answer"}
	legendFailed = legend{"failed", string(results.Failed), "error"}
	legendWrong  = legend{"wrong", string(results.Wrong), "wrong, and no error"}
)

// explain writes legends side by side, each in a column of its own.
func explain(c *canvas, y float64, at []float64, entries ...legend) {
	for i, e := range entries {
		c.rect(at[i], y, 20, 20, 4, e.class)
		c.text(at[i]+10, y+15.5, "mid on-"+e.class, e.sign)
		c.text(at[i]+27, y+15, "", e.means)
	}
}

func percent(part, whole int) string { return fmt.Sprintf("%d %%", (100*part+whole/2)/whole) }
