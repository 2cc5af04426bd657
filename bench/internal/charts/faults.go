package charts

import (
	"fmt"
	"strings"

	"github.com/breakwater-go/breakwater/bench/internal/results"
)

// faultGroups are the kinds of faults, the commonest first. Every fault is in one.
var faultGroups = []struct {
	name   string
	faults []string
}{
	{"No connection", []string{"Refused", "NoSuchHost", "BadCertificate", "Reset", "GoAway", "RefusedStream", "HeaderBomb"}},
	{"5xx or redirect", []string{"Redirect", "Status", "ServerError", "Busy", "HTMLError", "EmptyError"}},
	{"Rate limit (429)", []string{"TooManyRequests", "TooManyRequestsMS", "ConcurrencyLimit", "QuotaThrottle"}},
	{"Silence", []string{"BlackHole", "SlowHeaders", "QueueForever", "BlankThenClose", "Silence"}},
	{"Error in a 200", []string{"ErrorInside", "ErrorStringInside", "FlatErrorInside", "OutOfResources", "ErrorFrame", "HTMLInside", "EmptyInside"}},
	{"Answer cut short", []string{"CutJSON", "MalformedJSON", "CutStream", "GoAwayMidway", "MalformedEvent", "EndStream"}},
	{"Answer stalls", []string{"StallStream", "StallKeepAlive"}},
	{"Key, funds, model", []string{"Unauthorized", "PlainUnauthorized", "InsufficientBalance", "Overdue", "ModelNotFound", "RetiredModel"}},
	{"Odd but complete", []string{"IdleClosed", "NoContinue", "ManyKeepAlives", "NoDone", "CRLF", "NoSpace", "ByteByByte", "SlowBody", "Glued", "SplitAnywhere", "Gzip", "GzipBomb", "Huge", "HugeEvent"}},
	{"Request refused", []string{"ContextLength", "ContentFilter", "MissingReasoning"}},
}

// A share counts calls by what became of them.
type share map[results.Outcome]int

var outcomeOrder = []legend{legendRight, legendFailed, legendWrong}

const (
	gridLeft    = 162.0
	gridPitch   = 85.0
	gridCell    = 81.0
	gridRow     = 25.0
	gridBarHigh = 22.0
)

// faultGrid has a row for each kind of fault and a column for each client. A
// cell is divided as the calls of that kind ended.
func faultGrid(m results.Faults, th theme) []byte {
	c := new(canvas)
	title := "What reached the caller when the host broke"
	y := heading(c, title,
		fmt.Sprintf("%d faults, each met by one JSON call and one streamed call; callers", len(m.Rows)),
		fmt.Sprintf("wait %s. With several outcomes in one kind, the cell is divided.", strings.Replace(m.Patience, "s", " s", 1)))
	explain(c, y, []float64{margin, 160, 252}, legendRight, legendFailed, legendWrong)
	y += 48
	for i, name := range m.Clients {
		x := gridLeft + float64(i)*gridPitch + gridCell/2
		class := "mid small"
		if name == "breakwater" || name == withBackup {
			class += " head"
		}
		for j, line := range columnHead(name) {
			c.text(x, y+float64(j)*17, class, line)
		}
	}
	y += 30
	y = faultPanel(c, y, "The fault passes: it meets the first attempt only", m, func(row results.FaultRow) [][2]results.Outcome { return row.Once })
	y = faultPanel(c, y+14, "The fault stays", m, func(row results.FaultRow) [][2]results.Outcome { return row.Lasting })
	height := footing(c, y, m.Source)
	return c.render(height, title, "A grid of kinds of faults and clients. breakwater with a backup gets the right answer most often, and never a wrong one.", th)
}

const withBackup = "breakwater and a backup"

// columnHead breaks a client's name for a narrow column.
func columnHead(name string) []string {
	switch name {
	case "go-retryablehttp":
		return []string{"go-retry-", "ablehttp"}
	case withBackup:
		return []string{"breakwater", "+ backup"}
	case "bare":
		return []string{"bare", "client"}
	}
	return []string{name}
}

func faultPanel(c *canvas, y float64, title string, m results.Faults, of func(results.FaultRow) [][2]results.Outcome) float64 {
	c.text(margin, y+16, "head", title)
	y += 26
	rows := make(map[string][][2]results.Outcome)
	for _, row := range m.Rows {
		rows[row.Fault] = of(row)
	}
	totals := make([]share, len(m.Clients))
	for i := range totals {
		totals[i] = make(share)
	}
	for _, group := range faultGroups {
		c.text(margin, y+16, "", group.name)
		for i := range m.Clients {
			cell := make(share)
			for _, fault := range group.faults {
				for _, got := range rows[fault][i] {
					cell[got]++
					totals[i][got]++
				}
			}
			divided(c, gridLeft+float64(i)*gridPitch, y, cell)
		}
		y += gridRow
	}
	c.path(fmt.Sprintf("M%d %s H%d", margin, num(y+2), width-margin), "line-line")
	for i, o := range []legend{legendRight, legendWrong} {
		base := y + 22 + 21*float64(i)
		c.text(margin, base, "head", []string{"Right answers", "Wrong, no error"}[i])
		for j, total := range totals {
			c.text(gridLeft+float64(j)*gridPitch+gridCell/2, base, "mid head", percent(total[results.Outcome(o.sign)], 2*len(m.Rows)))
		}
	}
	return y + 52
}

// divided draws a cell, divided as the calls ended; no part is too small for
// its sign.
func divided(c *canvas, x, y float64, calls share) {
	const least = 16
	whole := 0
	for _, n := range calls {
		whole += n
	}
	small := func(n int) bool { return n > 0 && gridCell*float64(n) < least*float64(whole) }
	wide, shared := gridCell, whole // what parts that are not small divide among them
	for _, n := range calls {
		if small(n) {
			wide -= least
			shared -= n
		}
	}
	for _, o := range outcomeOrder {
		n := calls[results.Outcome(o.sign)]
		if n == 0 {
			continue
		}
		w := wide * float64(n) / float64(shared)
		if small(n) {
			w = least
		}
		c.rect(x, y, w, gridBarHigh, 0, o.class)
		c.text(x+w/2, y+16.5, "mid on-"+o.class, o.sign)
		x += w
	}
}
