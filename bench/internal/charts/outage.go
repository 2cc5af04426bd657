package charts

import (
	"fmt"
	"strings"

	"github.com/breakwater-go/breakwater/bench/internal/results"
)

const (
	timelineHigh = 84.0 // of all calls of a second
	timelineWide = width - 2*margin
)

// outageTimeline has a column for each second, divided as its calls ended, and
// such a strip for each client.
func outageTimeline(m results.Outage, th theme) []byte {
	c := &canvas{styles: []string{".crisp{shape-rendering:crispEdges}\n"}} // no seams between seconds
	first, last := m.Clients[0], m.Clients[len(m.Clients)-1]
	answered := func(a results.Answers) string { return percent(sum(a.Right)+sum(a.Stale), callsOf(a)) }
	title := fmt.Sprintf("%s right without breakwater, %s with it", answered(first), answered(last))
	seconds := len(first.Right)
	y := heading(c, title,
		"One outage, and what became of the calls of each second. Each client makes",
		fmt.Sprintf("%d a second. Half are streamed; half ask what was asked before.", m.CallsPerSecond))
	explain(c, y, []float64{margin, 148, 282, 364}, legendRight, legendStale, legendFailed, legendWrong)
	y += 44
	column := timelineWide / float64(seconds)
	for _, ph := range m.Phases {
		from, to := margin+column*float64(ph.From), margin+column*float64(ph.To)
		for i, line := range twoLines(ph.Name) {
			c.text((from+to)/2, y+float64(i)*17, "mid small", line)
		}
	}
	for _, ph := range m.Phases[1:] {
		c.path(fmt.Sprintf("M%s %sV%s", num(margin+column*float64(ph.From)), num(y-14), num(y+22)), "line-line")
	}
	y += 26
	for _, client := range m.Clients {
		c.text(margin, y+16, "head", stripHead(client.Client))
		c.text(width-margin, y+16, "end", sumsOf(client))
		y += 24
		for _, ph := range m.Phases {
			strip(c, y, column, ph, client)
		}
		y += timelineHigh + 10
	}
	for _, ph := range m.Phases {
		c.text(margin+column*float64(ph.From), y+8, "muted small", fmt.Sprintf("%d s", ph.From))
	}
	return c.render(footing(c, y+14, m.Source), title, "Three strips over time, one for each client, coloured by what its callers got.", th)
}

// stripHead says what a client is.
func stripHead(client string) string {
	switch client {
	case "bare":
		return "http.Client"
	case "go-retryablehttp":
		return "with go-retryablehttp, three tries"
	}
	return "with " + client
}

// strip draws a client's seconds in one phase. Seconds of which the same came
// share a shape.
func strip(c *canvas, y, column float64, ph results.Phase, a results.Answers) {
	parts := []struct {
		class, sign string
		counts      []int
	}{
		{"right", legendRight.sign, a.Right}, {"stale", legendStale.sign, a.Stale},
		{"failed", legendFailed.sign, a.Failed}, {"wrong", legendWrong.sign, a.Wrong},
	}
	same := func(i, j int) bool {
		return a.Right[i] == a.Right[j] && a.Stale[i] == a.Stale[j] && a.Failed[i] == a.Failed[j] && a.Wrong[i] == a.Wrong[j]
	}
	for from, to := ph.From, ph.From; from < ph.To; from = to {
		for to < ph.To && same(from, to) {
			to++
		}
		x, w, bottom := margin+column*float64(from), column*float64(to-from), y+timelineHigh
		if to == ph.To {
			w -= 2 // a gap between phases
		}
		whole := a.Right[from] + a.Stale[from] + a.Failed[from] + a.Wrong[from]
		for _, part := range parts {
			if part.counts[from] == 0 {
				continue
			}
			h := timelineHigh * float64(part.counts[from]) / float64(whole)
			bottom -= h
			c.rect(x, bottom, w, h, 0, part.class+" crisp")
			if w > 20 && h > 20 {
				c.text(x+w/2, bottom+h/2+5.5, "mid on-"+part.class, part.sign)
			}
		}
	}
}

func sum(counts []int) (n int) {
	for _, v := range counts {
		n += v
	}
	return n
}

func callsOf(a results.Answers) int {
	return sum(a.Right) + sum(a.Stale) + sum(a.Failed) + sum(a.Wrong)
}

// sumsOf says what became of a client's calls.
func sumsOf(a results.Answers) string {
	calls, stale := callsOf(a), ""
	if n := sum(a.Stale); n > 0 {
		stale = fmt.Sprintf(" (%s stale)", percent(n, calls))
	}
	return fmt.Sprintf("right %s%s · wrong %s", percent(sum(a.Right)+sum(a.Stale), calls), stale, percent(sum(a.Wrong), calls))
}

// twoLines breaks a name in the middle.
func twoLines(name string) []string {
	words := strings.Fields(name)
	half := (len(words) + 1) / 2
	return []string{strings.Join(words[:half], " "), strings.Join(words[half:], " ")}
}
