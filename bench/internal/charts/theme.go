package charts

import (
	"fmt"
	"strings"
)

// A theme is the palette of all pictures, in the light or in the dark.
type theme struct {
	name string

	page, panel, ink, muted, line string
	right, stale, failed, wrong   string // what became of a call
	onRight, onStale, onFailed    string // signs on these
	onWrong                       string
	other                         string // clients that are not breakwater
	rightInk, failedInk, wrongInk string // the colours of texts
}

// Blue, light blue, amber and vermilion differ in lightness, too, so that people
// who see no red or no green can tell them apart; signs say the same again.
//
// Each theme has a file of its own, to be chosen by <picture> in a page. A media
// query inside one file would follow the reader's system, while GitHub lets
// readers choose a theme for the site: then the picture would be dark on a
// light page.
var themes = []theme{
	{
		name: "light",
		page: "#ffffff", panel: "#f6f8fa", ink: "#1f2328", muted: "#59636e", line: "#d1d9e0",
		right: "#0b63a5", stale: "#7cc4ec", failed: "#f2c14e", wrong: "#c8371b",
		onRight: "#ffffff", onStale: "#06304f", onFailed: "#3d2b00", onWrong: "#ffffff",
		other: "#8c959f", rightInk: "#0b63a5", failedInk: "#8a5a00", wrongInk: "#c8371b",
	},
	{
		name: "dark",
		page: "#0d1117", panel: "#161b22", ink: "#f0f6fc", muted: "#9da7b3", line: "#3d444d",
		right: "#2f81d6", stale: "#a5d8f5", failed: "#c99a2e", wrong: "#e5533a",
		onRight: "#ffffff", onStale: "#06304f", onFailed: "#1f1500", onWrong: "#ffffff",
		other: "#6e7681", rightInk: "#58a6ff", failedInk: "#e3b341", wrongInk: "#ff7b66",
	},
}

const (
	sans = `system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Liberation Sans",sans-serif`
	mono = `ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono","DejaVu Sans Mono",monospace`
)

// styleSheet has a class for each colour as a filling (right), as a line
// (line-right) and as that of signs on it (on-right), and classes of text.
func (th theme) styleSheet() string {
	var b strings.Builder
	fmt.Fprintf(&b, "text{font:15px %s;fill:%s}\n", sans, th.ink)
	fmt.Fprintf(&b, ".title{font-size:21px;font-weight:600}\n.head{font-weight:600}\n.muted{fill:%s}\n.small{font-size:14px}\n", th.muted)
	b.WriteString(".mid{text-anchor:middle}\n.end{text-anchor:end}\n")
	for _, c := range []struct{ name, colour, on string }{
		{"page", th.page, ""}, {"panel", th.panel, ""}, {"line", th.line, ""}, {"other", th.other, ""}, {"ink", th.ink, ""},
		{"right", th.right, th.onRight}, {"stale", th.stale, th.onStale}, {"failed", th.failed, th.onFailed}, {"wrong", th.wrong, th.onWrong},
	} {
		fmt.Fprintf(&b, ".%s{fill:%s}\n.line-%[1]s{fill:none;stroke:%[2]s;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}\n", c.name, c.colour)
		if c.on != "" {
			fmt.Fprintf(&b, ".on-%s{fill:%s;font-weight:600}\n", c.name, c.on)
		}
	}
	return b.String()
}
