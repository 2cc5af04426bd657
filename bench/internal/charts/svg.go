package charts

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
)

// width is that of pictures, in units that are pixels on a wide screen. On
// a phone, 360 pixels wide, a text of 15 units is still 9 pixels high.
const width = 600

// A canvas is an SVG picture in the making. Shapes name their colours by class,
// so that pictures of two themes differ in their style sheets alone.
type canvas struct {
	wide   int // 0: width
	shapes strings.Builder
	styles []string // beside the theme's
}

// An attr is an attribute of an element.
type attr struct{ name, value string }

func (c *canvas) rect(x, y, w, h, radius float64, class string) {
	c.element("rect", "", attr{"x", num(x)}, attr{"y", num(y)}, attr{"width", num(w)}, attr{"height", num(h)}, attr{"rx", num(radius)}, attr{"class", class})
}

func (c *canvas) circle(x, y, r float64, class string) {
	c.element("circle", "", attr{"cx", num(x)}, attr{"cy", num(y)}, attr{"r", num(r)}, attr{"class", class})
}

// path draws along d, in the language of SVG's paths.
func (c *canvas) path(d, class string) { c.element("path", "", attr{"d", d}, attr{"class", class}) }

// text writes from x on, on the base line y. The classes mid and end have it
// stand around x, and end there.
func (c *canvas) text(x, y float64, class, s string) {
	c.element("text", s, attr{"x", num(x)}, attr{"y", num(y)}, attr{"class", class})
}

// element writes an element with a text, which may be empty.
func (c *canvas) element(name, text string, attrs ...attr) {
	c.open(name, attrs...)
	c.shapes.WriteString(escape(text))
	c.shut(name)
}

// open begins an element that shut ends.
func (c *canvas) open(name string, attrs ...attr) {
	c.shapes.WriteString("<" + name)
	for _, a := range attrs {
		if a.value != "" && a != (attr{"rx", "0"}) {
			fmt.Fprintf(&c.shapes, ` %s="%s"`, a.name, escape(a.value))
		}
	}
	c.shapes.WriteString(">")
}

func (c *canvas) shut(name string) { c.shapes.WriteString("</" + name + ">\n") }

// render returns the picture with the title and description that screen
// readers tell.
func (c *canvas) render(height float64, title, description string, th theme) []byte {
	wide := cmp.Or(c.wide, width)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%s" viewBox="0 0 %[1]d %[2]s" role="img" aria-labelledby="title desc">`+"\n", wide, num(height))
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n", escape(title), escape(description))
	fmt.Fprintf(&b, "<style>\n%s%s</style>\n", th.styleSheet(), strings.Join(c.styles, ""))
	fmt.Fprintf(&b, "<rect width=\"%d\" height=\"%s\" rx=\"8\" class=\"page\"/>\n", wide, num(height))
	return []byte(b.String() + c.shapes.String() + "</svg>\n")
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}

// num writes a number as short as a tenth of a unit needs.
func num(v float64) string {
	s := strconv.FormatFloat(v, 'f', 1, 64)
	return strings.TrimSuffix(s, ".0")
}
