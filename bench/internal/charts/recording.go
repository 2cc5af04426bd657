package charts

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/breakwater-go/breakwater/bench/internal/results"
)

const (
	screenWide = 760
	charWide   = (screenWide - 2*margin) / 80.0
	lineHigh   = 21.0
	firstLine  = 62.0
	faster     = 4    // than life
	begins     = 800  // milliseconds after the command
	rests      = 6000 // milliseconds at the end, before it begins again
)

// A version is what a line of the screen shows from a time to another, in
// milliseconds of the picture.
type version struct {
	line     int
	runs     []run
	from, to int64
}

const forEver = -1

// recording plays what a terminal showed. Each version of each line is shown for
// its time. A reader who wants no motion, or whose viewer knows none, sees the
// last screen.
func recording(m results.Recording, th theme) []byte {
	c := &canvas{wide: screenWide}
	versions, lines, ends := versionsOf(m)
	height := firstLine + lineHigh*float64(lines) + 16
	lasts := ends + rests
	c.styles = append(c.styles, fmt.Sprintf(`.term text{font:14.5px %s}
.bold{font-weight:700}.dim{fill:%s}.good{fill:%s}.poor{fill:%s}.bad{fill:%s}
.frame{fill:%s;stroke:%s}
.v{animation-duration:%dms;animation-timing-function:step-end;animation-iteration-count:infinite}
.gone{opacity:0}
@media (prefers-reduced-motion:reduce){.v{animation:none}}
`, mono, th.muted, th.rightInk, th.failedInk, th.wrongInk, th.panel, th.line, lasts))

	c.rect(.5, .5, screenWide-1, height-1, 8, "frame")
	c.path(fmt.Sprintf("M1 36H%d", screenWide-1), "line-line")
	for i, class := range []string{"wrong", "failed", "right"} {
		c.circle(margin+6+18*float64(i), 18.5, 5, class)
	}
	c.text(screenWide/2, 23.5, "mid muted", fmt.Sprintf("quickstart, %d times as fast", faster))
	c.open("g", attr{"class", "term"})
	c.line(0, []run{{0, "dim", "$"}, {2, "bold", m.Program}}, "", "")
	times := make(map[[2]int64]string) // the names of keyframes
	for _, v := range versions {
		name, ok := times[[2]int64{v.from, v.to}]
		if !ok {
			name = fmt.Sprintf("t%d", len(times))
			times[[2]int64{v.from, v.to}] = name
			c.styles = append(c.styles, keyframes(name, v.from, v.to, lasts))
		}
		class := "v"
		if v.to != forEver {
			class = "v gone"
		}
		c.line(v.line+1, v.runs, class, name)
	}
	c.shut("g")
	return c.render(height, "A recording of "+m.Program, lastScreen(versions), th)
}

// line writes a line of the screen.
func (c *canvas) line(number int, runs []run, class, keyframes string) {
	style := ""
	if keyframes != "" {
		style = "animation-name:" + keyframes
	}
	c.open("text", attr{"y", num(firstLine + lineHigh*float64(number))}, attr{"class", class}, attr{"style", style})
	for _, r := range runs {
		c.open("tspan", attr{"x", num(margin + charWide*float64(r.column))},
			attr{"textLength", num(charWide * float64(utf8.RuneCountInString(r.text)))}, attr{"class", r.class})
		c.shapes.WriteString(escape(r.text) + "</tspan>")
	}
	c.shut("text")
}

// keyframes shows something from a time to another.
func keyframes(name string, from, to, lasts int64) string {
	share := func(at int64) float64 { return 100 * float64(at) / float64(lasts) }
	gone := ""
	if to != forEver {
		gone = fmt.Sprintf("%.2f%%{opacity:0}", share(to))
	}
	return fmt.Sprintf("@keyframes %s{0%%{opacity:0}%.2f%%{opacity:1}%s}\n", name, share(from), gone)
}

// versionsOf plays a recording: what each line shows and when, how many lines
// there are besides that of the command, and when the last one has been written.
func versionsOf(m results.Recording) (versions []version, lines int, ends int64) {
	var t terminal
	latest := make(map[int]int) // versions by their line
	for _, w := range m.Writes {
		now := begins + w.At/faster
		t.write(w.Text)
		for i, row := range t.rows {
			runs := runsOf(row)
			at, ok := latest[i]
			if ok && slices.Equal(versions[at].runs, runs) || len(runs) == 0 && !ok {
				continue
			}
			if ok {
				versions[at].to = now
			}
			latest[i] = len(versions)
			versions = append(versions, version{i, runs, now, forEver})
			lines, ends = max(lines, i+1), now
		}
	}
	versions = slices.DeleteFunc(versions, func(v version) bool { return v.from == v.to })
	return versions, lines + 1, ends
}

// lastScreen is what remains, as a text.
func lastScreen(versions []version) (text string) {
	for _, v := range versions {
		if v.to != forEver {
			continue
		}
		for _, r := range v.runs {
			text += r.text + " "
		}
		text += "\n"
	}
	return text
}
