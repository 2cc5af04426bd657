package drill

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// The picture: its width in units that are pixels on a wide screen, and where time begins and
// ends in it.
const (
	pictureWide = 720.0
	timeLeft    = 104.0
	timeRight   = pictureWide - 20
	pictureSide = 20.0
)

// picture is the style sheet. Blue, amber and vermilion differ in lightness, too, so that people
// who see no red or no green can tell them apart. The reader's system chooses light or dark.
const pictureStyle = `svg{--page:#fff;--ink:#1f2328;--muted:#59636e;--line:#d1d9e0;--lane:#eef1f4;--right:#0b63a5;--failed:#f2c14e;--wrong:#c8371b;--fault:#f3d9d3;--faultink:#7a2412;--bare:#8c959f}
@media (prefers-color-scheme:dark){svg{--page:#0d1117;--ink:#f0f6fc;--muted:#9da7b3;--line:#3d444d;--lane:#1c2128;--right:#2f81d6;--failed:#c99a2e;--wrong:#e5533a;--fault:#4a211a;--faultink:#ffb4a3;--bare:#7d8590}}
text{font:14px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Liberation Sans",sans-serif;fill:var(--ink)}
.title{font-size:20px;font-weight:600}
.head{font-weight:600}
.muted{fill:var(--muted)}
.small{font-size:12px}
.mid{text-anchor:middle}
.end{text-anchor:end}
.page{fill:var(--page)}
.right{fill:var(--right)}
.failed{fill:var(--failed)}
.wrong{fill:var(--wrong)}
.fault{fill:var(--fault)}
.bare{fill:var(--bare)}
.onfault{fill:var(--faultink);font-size:12px}
.lane{fill:var(--lane)}
.closed{fill:var(--line)}
.crisp{shape-rendering:crispEdges}
.rule{stroke:var(--line);stroke-width:1;fill:none}
.limit{stroke:var(--muted);stroke-width:1;stroke-dasharray:4 4;fill:none}
.line0{stroke:var(--right);stroke-width:2;fill:none;stroke-linejoin:round}
.line1{stroke:var(--bare);stroke-width:2;fill:none;stroke-linejoin:round}
`

// A picture is an SVG picture in the making.
type picture struct {
	b      strings.Builder
	report *Report
	whole  float64 // seconds that the width stands for
}

// WriteSVG draws the drill over time: what was broken and what the circuits did, what became of the
// calls of each second, and the time to the first token.
func (r *Report) WriteSVG(w io.Writer) error {
	p := &picture{report: r, whole: math.Max(1, math.Ceil(r.Played))}
	verdict := "Held: "
	switch {
	case r.Stopped:
		verdict = "Ended early: "
	case !r.Held:
		verdict = "Missed: "
	}
	p.text(pictureSide, 34, "title", clip(r.Title, 70))
	verdict += r.Clients[0].sentence()
	if len(r.Clients) > 1 {
		verdict += fmt.Sprintf(" By a bare client: %d, and %d wrong.", r.Clients[1].Answered, r.Clients[1].Wrong)
	}
	p.text(pictureSide, 56, "muted", verdict)
	y := p.lanes(76)
	for i := range r.Clients {
		y = p.strip(y+8, &r.Clients[i])
	}
	y = p.latency(y + 8)
	y = p.axis(y)
	y = p.legend(y + 6)
	height := y + 12
	desc := p.describe()
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="0 0 %[1]s %[2]s" role="img" aria-labelledby="title desc">
<title id="title">%s</title>
<desc id="desc">%s</desc>
<style>
%s</style>
<rect width="%[1]s" height="%[2]s" rx="8" class="page"/>
%[6]s</svg>
`, unit(pictureWide), unit(height), escape(r.Title), escape(desc), pictureStyle, p.b.String())
	return err
}

// describe says in words what the picture shows, for those who cannot see it.
func (p *picture) describe() string {
	var parts []string
	for _, f := range p.report.Faults {
		parts = append(parts, fmt.Sprintf("From %s s to %s s, %s: %s.", unit(f.At), unit(f.At+f.For), f.Host, f.Text))
	}
	for i := range p.report.Clients {
		c := &p.report.Clients[i]
		parts = append(parts, fmt.Sprintf("%s: %s The 99th percentile of the time to the first token is %s.", c.Client, c.sentence(), secondsText(c.FirstToken.P99)))
	}
	return strings.Join(parts, " ")
}

// lanes draws a lane for each host: its faults, and below them its circuit.
func (p *picture) lanes(y float64) float64 {
	for _, host := range p.report.Hosts {
		p.text(pictureSide, y+15, "head", clip(host, 11))
		p.rect(timeLeft, y, timeRight-timeLeft, 20, "lane", "")
		for i, f := range p.report.Faults {
			if f.Host != host {
				continue
			}
			x, wide := p.x(f.At), p.x(f.At+f.For)-p.x(f.At)
			p.rect(x, y, wide, 20, "fault", fmt.Sprintf("%s from %s s to %s s", f.Text, unit(f.At), unit(f.At+f.For)))
			if p.fits(f) {
				p.text(x+4, y+14, "onfault", f.Text)
			} else {
				p.text(x+wide/2, y+14, "onfault mid", strconv.Itoa(i+1))
			}
		}
		y += 23
		if c := &p.report.Clients[0]; c.Client == WithBreakwater {
			p.circuit(y, host, c)
			y += 9
		}
		y += 5
	}
	return p.key(y)
}

// fits reports whether the text of a fault fits into its band.
func (p *picture) fits(f FaultReport) bool {
	return 7*float64(len([]rune(f.Text)))+8 <= p.x(f.At+f.For)-p.x(f.At)
}

// mostKeys is how many faults the picture explains in words. The report has all of them.
const mostKeys = 12

// key says which faults the numbers stand for.
func (p *picture) key(y float64) float64 {
	n := 0
	for i, f := range p.report.Faults {
		if p.fits(f) || n == mostKeys {
			continue
		}
		n++
		p.text(timeLeft, y+12, "small", clip(fmt.Sprintf("%d  %s", i+1, f.Text), 84))
		y += 17
	}
	return y
}

// circuit draws when the circuit of a host was open or half-open, and when it was paused.
func (p *picture) circuit(y float64, host string, c *ClientReport) {
	p.rect(timeLeft, y, timeRight-timeLeft, 6, "closed crisp", "")
	state, since := "closed", 0.0
	draw := func(to float64) {
		class := map[string]string{"open": "wrong crisp", "half-open": "failed crisp"}[state]
		if class != "" && to > since {
			p.rect(p.x(since), y, math.Max(1.5, p.x(to)-p.x(since)), 6, class, fmt.Sprintf("circuit %s from %s s to %s s", state, unit(since), unit(to)))
		}
	}
	for _, change := range c.Circuits {
		switch {
		case change.Host != host:
		case change.To == pauseBegan:
			to := math.Min(p.whole, change.At+change.For)
			p.rect(p.x(change.At), y, math.Max(1.5, p.x(to)-p.x(change.At)), 6, "bare crisp", fmt.Sprintf("paused from %s s to %s s", unit(change.At), unit(to)))
		default:
			draw(change.At)
			state, since = change.To, change.At
		}
	}
	draw(p.whole)
}

const stripHigh = 70.0

// strip draws a column for each second, divided as its calls ended.
func (p *picture) strip(y float64, c *ClientReport) float64 {
	p.text(pictureSide, y+14, "head", "calls of "+c.Client)
	p.text(timeRight, y+14, "end", fmt.Sprintf("answered %d · failed %d · wrong %d", c.Answered, c.Failed, c.Wrong))
	y += 22
	most := 1
	for _, s := range c.Seconds {
		most = max(most, s.Answered+s.Failed+s.Wrong)
	}
	p.text(timeLeft-6, y+10, "muted small end", strconv.Itoa(most)+" a s")
	p.text(timeLeft-6, y+stripHigh, "muted small end", "0")
	for i := 0; i < len(c.Seconds); {
		s := c.Seconds[i]
		n := 1 // seconds of which the same came share a shape
		for i+n < len(c.Seconds) && s.sameAs(c.Seconds[i+n]) {
			n++
		}
		from, to := p.x(float64(i)), p.x(math.Min(p.whole, float64(i+n)))
		bottom := y + stripHigh
		for _, part := range []struct {
			class string
			n     int
		}{{"right", s.Answered}, {"failed", s.Failed}, {"wrong", s.Wrong}} {
			if part.n == 0 {
				continue
			}
			high := stripHigh * float64(part.n) / float64(most)
			bottom -= high
			p.rect(from, bottom, to-from, high, part.class+" crisp", "")
		}
		i += n
	}
	p.path(fmt.Sprintf("M%s %sH%s", unit(timeLeft), unit(y+stripHigh+.5), unit(timeRight)), "rule")
	return y + stripHigh + 6
}

func (s Second) sameAs(o Second) bool {
	return s.Answered == o.Answered && s.Failed == o.Failed && s.Wrong == o.Wrong
}

const latencyHigh = 60.0

// latency draws the 99th percentile of the time to the first token of each second.
func (p *picture) latency(y float64) float64 {
	p.text(pictureSide, y+14, "head", "P99 to first token of each second")
	most := 0.1
	for _, c := range p.report.Clients {
		for _, s := range c.Seconds {
			most = math.Max(most, s.P99)
		}
	}
	var limit float64
	for _, o := range p.report.Clients[0].Objectives {
		if o.Name == "first_token_p99" {
			limit = o.Limit
		}
	}
	most = math.Max(most, math.Min(limit, 3*most)) * 1.05
	if len(p.report.Clients) > 1 {
		p.path(fmt.Sprintf("M%s %sh18", unit(timeRight-190), unit(y+10)), "line0")
		p.text(timeRight-168, y+14, "small", p.report.Clients[0].Client)
		p.path(fmt.Sprintf("M%s %sh18", unit(timeRight-80), unit(y+10)), "line1")
		p.text(timeRight-58, y+14, "small", p.report.Clients[1].Client)
	}
	y += 22
	at := func(v float64) float64 { return y + latencyHigh*(1-v/most) }
	p.text(timeLeft-6, y+10, "muted small end", secondsText(roundTo2(most/1.05)))
	p.text(timeLeft-6, y+latencyHigh, "muted small end", "0")
	if limit > 0 && limit <= most {
		p.path(fmt.Sprintf("M%s %sH%s", unit(timeLeft), unit(at(limit)), unit(timeRight)), "limit")
		p.text(timeRight, at(limit)+13, "muted small end", "objective "+secondsText(limit))
	}
	for i, c := range p.report.Clients {
		d, drawing := "", false
		for _, s := range c.Seconds {
			if s.P99 == 0 { // nobody was answered
				drawing = false
				continue
			}
			x0, x1 := p.x(float64(s.Second)), p.x(math.Min(p.whole, float64(s.Second+1)))
			verb := "L"
			if !drawing {
				verb = "M"
			}
			d += fmt.Sprintf("%s%s %sH%s", verb, unit(x0), unit(at(s.P99)), unit(x1))
			drawing = true
		}
		if d != "" {
			p.path(d, fmt.Sprintf("line%d", i%2))
		}
	}
	p.path(fmt.Sprintf("M%s %sH%s", unit(timeLeft), unit(y+latencyHigh+.5), unit(timeRight)), "rule")
	return y + latencyHigh
}

func (p *picture) axis(y float64) float64 {
	step := 1.0
	for _, s := range []float64{2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600} {
		if p.whole/step <= 12 {
			break
		}
		step = s
	}
	for t := 0.0; t <= p.whole; t += step {
		p.path(fmt.Sprintf("M%s %sv4", unit(p.x(t)), unit(y+1)), "rule")
		label := unit(t) + " s"
		if p.whole > 300 {
			label = clockOf(t)
		}
		p.text(p.x(t), y+18, "muted small mid", label)
	}
	return y + 24
}

func (p *picture) legend(y float64) float64 {
	x := pictureSide
	for _, e := range []struct {
		class, means string
		wide         float64
	}{
		{"right", "answered", 88}, {"failed", "failed; circuit half-open", 176}, {"wrong", "wrong, no error; circuit open", 204}, {"fault", "fault", 64}, {"bare", "paused", 70},
	} {
		p.rect(x, y, 12, 12, e.class, "")
		p.text(x+17, y+11, "small", e.means)
		x += e.wide
	}
	y += 30
	p.text(pictureSide, y, "muted small", fmt.Sprintf("%s · %s · seed %d · breakwater drill %s", clip(p.report.Place, 40), p.report.Started.Format("2006-01-02"), p.report.Seed, p.report.Script))
	return y + 4
}

// x is where a second is in the picture.
func (p *picture) x(second float64) float64 {
	return timeLeft + (timeRight-timeLeft)*second/p.whole
}

// rect draws a rectangle; title is shown where a pointer rests on it.
func (p *picture) rect(x, y, wide, high float64, class, title string) {
	fmt.Fprintf(&p.b, `<rect x="%s" y="%s" width="%s" height="%s" class="%s"`, unit(x), unit(y), unit(wide), unit(high), class)
	if title == "" {
		p.b.WriteString("/>\n")
		return
	}
	fmt.Fprintf(&p.b, "><title>%s</title></rect>\n", escape(title))
}

func (p *picture) path(d, class string) {
	fmt.Fprintf(&p.b, `<path d="%s" class="%s"/>`+"\n", d, class)
}

func (p *picture) text(x, y float64, class, text string) {
	if text != "" {
		fmt.Fprintf(&p.b, `<text x="%s" y="%s" class="%s">%s</text>`+"\n", unit(x), unit(y), class, escape(text))
	}
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}

// unit writes a number as short as a tenth needs.
func unit(v float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
}

func roundTo2(v float64) float64 { return math.Round(v*100) / 100 }
