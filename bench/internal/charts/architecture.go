package charts

import (
	"fmt"
	"strings"
)

const (
	wallLeft, wallRight = 220.0, 380.0 // breakwater, between the harbour and the sea
	hostLeft            = 452.0
	seaLevel            = 268.0
	pictureHigh         = 346.0
)

// architecture shows what stands where: the calls of a program pass breakwater,
// which asks a host, another one, or its cache.
func architecture(th theme) []byte {
	c := new(canvas)
	title := "When a host breaks, another one answers"
	c.text(margin, 36, "title", title)
	c.styles = append(c.styles,
		".far{opacity:.16}.near{opacity:.24}\n", // the sea, twice
		".card{fill:"+th.panel+";stroke:"+th.line+";stroke-width:1.5}\n",
		".on-wall{fill:"+th.onRight+"}.name{font-size:19px;font-weight:600}.dashed{stroke-dasharray:6 5}\n",
	)
	sea(c)

	c.rect(margin, 104, 136, 92, 10, "card")
	c.text(84, 138, "mid head", "Your program")
	c.text(84, 161, "mid muted", "http.Client")
	c.text(84, 180, "mid muted", "or any SDK")
	arrow(c, "right", 156, 138, wallLeft-6, 138, "")
	arrow(c, "right", wallLeft-4, 164, 160, 164, "")

	c.rect(wallLeft, 60, wallRight-wallLeft, pictureHigh-60, 10, "right")
	middle := (wallLeft + wallRight) / 2
	c.text(middle, 98, "mid on-wall name", "breakwater")
	for i, line := range []string{"checks every answer", "retries, fails over", "continues streams", "opens circuits", "keeps to limits"} {
		c.text(middle, 140+float64(i)*27, "mid on-wall", line)
	}

	for i, host := range []struct{ name, does, class, sign string }{
		{"DeepSeek", "busy or silent", "failed", "✗"},
		{"Backup", "answers instead", "right", "✓"},
		{"Cache", "when all are down", "stale", "✓"},
	} {
		y := 60 + float64(i)*66
		c.rect(hostLeft, y, width-margin-hostLeft, 56, 10, "card")
		c.text(hostLeft+66, y+24, "mid head", host.name)
		c.text(hostLeft+66, y+44, "mid muted small", host.does)
		arrow(c, host.class, wallRight+4, y+28, hostLeft-6, y+28, host.sign)
	}

	c.text((margin+wallLeft)/2, 304, "mid head", "Calm")
	c.text((margin+wallLeft)/2, 325, "mid small", "an answer, or a clear error")
	c.text((wallRight+width-margin)/2+4, 304, "mid head", "Rough")
	c.text((wallRight+width-margin)/2+4, 325, "mid small", "429, 503, silence, cut streams")
	return c.render(pictureHigh, title,
		"Your program sends its calls to breakwater. breakwater asks DeepSeek, which is busy or silent, then a backup, which answers, or its cache.", th)
}

// sea is calm before the wall and rough after it.
func sea(c *canvas) {
	for i, class := range []string{"right far", "right near"} {
		level, shift := seaLevel+float64(i)*12, float64(i)*22
		c.path(waves(0, wallLeft+10, level+2, 3, 74, shift), class)
		c.path(waves(wallRight-10, width, level, 26-8*float64(i), 52, shift), class)
	}
}

// waves fills the water between two places, or a little more, below a wavy line.
func waves(from, to, level, high, long, shift float64) string {
	var d strings.Builder
	fmt.Fprintf(&d, "M%s %s", num(from), num(pictureHigh))
	fmt.Fprintf(&d, "V%sq%s %s %s 0", num(level), num((long-shift)/4), num(-high), num((long-shift)/2))
	x := from + (long-shift)/2
	for sign := 1.0; x < to; sign = -sign {
		fmt.Fprintf(&d, "q%s %s %s 0", num(long/4), num(sign*high), num(long/2))
		x += long / 2
	}
	fmt.Fprintf(&d, "V%sz", num(pictureHigh))
	return d.String()
}

// arrow draws a level arrow; where it stands for an attempt, with the sign of
// its outcome in the middle.
func arrow(c *canvas, class string, x1, y1, x2, y2 float64, sign string) {
	line := "line-" + class
	if class == "failed" {
		line += " dashed"
	}
	back := 7.0
	if x2 > x1 {
		back = -back
	}
	c.path(fmt.Sprintf("M%s %sH%s", num(x1), num(y1), num(x2)), line)
	c.path(fmt.Sprintf("M%s %sL%s %sl%s %s", num(x2+back), num(y2-6), num(x2), num(y2), num(back), "6"), "line-"+class)
	if sign != "" {
		c.circle((x1+x2)/2-3, y1, 11, class)
		c.text((x1+x2)/2-3, y1+5.5, "mid on-"+class, sign)
	}
}
