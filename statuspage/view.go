package statuspage

import (
	_ "embed"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/slo"
)

//go:embed page.html
var source string

var document = template.Must(template.New("page").Funcs(template.FuncMap{
	"list":    func(v view, calls []Call) list { return list{v, calls} },
	"at":      func(v view, t time.Time) moment { return moment{v, t} },
	"iso":     func(t time.Time) string { return t.Format(time.RFC3339) },
	"minute":  func(t time.Time) string { return t.Format("15:04") },
	"seconds": func(s float64) string { return strconv.FormatFloat(s, 'f', 2, 64) + " s" },
	"percent": func(share float64) string { return strconv.FormatFloat(100*share, 'f', 3, 64) + " %" },
	"bytes":   size,
}).Parse(source))

// A view is what the template shows.
type view struct {
	Snapshot
	Nonce, Lang string
}

// A list is one of the lists of calls.
type list struct {
	View  view
	Calls []Call
}

// A moment is a time to be shown.
type moment struct {
	View view
	Time time.Time
}

// T returns a text in the language of the view.
func (v view) T(english string) string {
	if v.Lang == "zh" {
		if chinese, ok := chinese[english]; ok {
			return chinese
		}
	}
	return english
}

// Word returns the word for a value of Class, Outcome, Fault, Verdict or Reason, or for a state.
func (v view) Word(value any) string {
	word := fmt.Sprint(value)
	if v.Lang == "zh" {
		if chinese, ok := words[word]; ok {
			return chinese
		}
	}
	return strings.ReplaceAll(word, "_", " ")
}

// A phrase is a part of the headline. Names stand apart, because they may be of any script.
type phrase struct {
	Text  string
	Names []string
}

// Headline says who serves, and who does not.
func (v view) Headline() []phrase {
	var unwell [3][]string
	for _, e := range v.Endpoints {
		if i := slices.Index([]State{StateDown, StatePaused, StateDegraded}, e.State); i >= 0 {
			unwell[i] = append(unwell[i], v.Named(e.Part, e.Name))
		}
	}
	var serving []string
	for _, share := range v.Recent.ServedBy {
		if name := v.Named(share.Part, share.Endpoint); !slices.Contains(unwell[0], name) && !slices.Contains(unwell[1], name) {
			serving = append(serving, name)
		}
	}
	var line []phrase
	switch {
	case v.State == StateDown:
		line = append(line, phrase{v.T("Users are not served"), nil})
	case v.Recent.Answered == 0:
		line = append(line, phrase{v.T("No calls in the last 5 minutes"), nil})
	case len(serving) == 0:
		line = append(line, phrase{v.T("Users are served"), nil})
	default:
		line = append(line, phrase{v.T("Users are served by "), some(serving)})
	}
	for i, text := range []string{"Down: ", "Paused: ", "Not well: "} {
		if len(unwell[i]) > 0 {
			line = append(line, phrase{v.T(text), some(unwell[i])})
		}
	}
	if len(line) == 1 && v.State == StateDegraded {
		line = append(line, phrase{v.T("Some calls failed"), nil})
	}
	return line
}

// some returns the first three names, and how many more there are.
func some(names []string) []string {
	if len(names) > 4 {
		return append(names[:3:3], "+ "+strconv.Itoa(len(names)-3))
	}
	return names
}

// Named returns the name of an endpoint, with that of its Part.
func (v view) Named(part, name string) string {
	switch {
	case name == cacheName:
		name = v.T(name)
	case name == "":
		return ""
	}
	if part != "" {
		return part + "/" + name
	}
	return name
}

// Clock returns the time of day, and the date if it is another one.
func (v view) Clock(t time.Time) string {
	if t.Truncate(24 * time.Hour).Equal(v.Time.Truncate(24 * time.Hour)) {
		return t.Format("15:04:05 UTC")
	}
	return t.Format("2006-01-02 15:04 UTC")
}

// Age says how long ago t was, or how far ahead it is.
func (v view) Age(t time.Time) string {
	d, form := v.Time.Sub(t), "%s ago"
	if d < 0 {
		d, form = -d, "in %s"
	}
	return fmt.Sprintf(v.T(form), v.Length(d.Truncate(time.Second)))
}

// Length returns a duration in its largest unit, and seconds below a minute.
func (v view) Length(d time.Duration) string {
	switch {
	case d < 0:
		return "−" + v.Length(-d)
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + v.T(" s")
	case d < 2*time.Hour && d != time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + v.T(" min")
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + v.T(" h")
	}
	return strconv.Itoa(int(d/(24*time.Hour))) + v.T(" d")
}

// Spent says how much of the budget is spent, and what is left of it.
func (v view) Spent(b slo.Budget) string {
	spent := strconv.FormatFloat(100*b.Spent, 'f', 0, 64) + " %"
	if b.Left < 0 {
		return fmt.Sprintf(v.T("%s spent: the objective is missed"), spent)
	}
	return fmt.Sprintf(v.T("%s spent, %s of outage left"), spent, v.Length(b.Left))
}

// Money returns a cost for people.
func (v view) Money(c *Cost) string {
	amount := func(f float64) string {
		if f >= 1 || f == 0 {
			return strconv.FormatFloat(f, 'f', 2, 64)
		}
		return strconv.FormatFloat(f, 'g', 2, 64)
	}
	text := amount(c.Amount) + " " + c.Currency
	if c.Estimated > 0 {
		text += fmt.Sprintf(v.T(", %s of it estimated"), amount(c.Estimated))
	}
	if c.Unknown > 0 {
		text += fmt.Sprintf(v.T(", %d attempts not known"), c.Unknown)
	}
	return text
}

// Findings are what probes have found wrong, for people.
func (v view) Findings(h *Health) (wrong []string) {
	if h.Reachable == breakwater.FindingNo {
		wrong = append(wrong, v.T("cannot be reached"))
	}
	if h.Credential == breakwater.FindingNo {
		wrong = append(wrong, v.T("key rejected"))
	}
	if h.Funds == breakwater.FindingNo {
		wrong = append(wrong, v.T("no funds"))
	}
	if len(h.Missing) > 0 {
		wrong = append(wrong, fmt.Sprintf(v.T("models not listed: %s"), strings.Join(h.Missing, v.T(", "))))
	}
	return wrong
}

// Left returns a balance for people, with how long it lasts.
func (v view) Left(b *Balance) string {
	text := strconv.FormatFloat(b.Amount, 'f', 2, 64) + " " + b.Currency
	if b.Left > 0 {
		text += fmt.Sprintf(v.T(", for about %s"), v.Length(time.Duration(b.Left*float64(time.Second))))
	}
	return text
}

// size returns a number of bytes for people.
func size(n int64) string {
	f, unit := float64(n), "B"
	for _, larger := range []string{"KiB", "MiB", "GiB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, larger
	}
	if unit == "B" {
		return strconv.FormatInt(n, 10) + " B"
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " " + unit
}

// A bar is a minute in the chart of calls.
type bar struct{ X, Answered, Failed, Y, YFailed float64 }

// Bars returns the chart of calls, 120 units high.
func (v view) Bars() (bars []bar) {
	most := float64(v.Most())
	for i, m := range v.Hour.Minutes {
		a, f := 120*float64(m.Answered)/most, 120*float64(m.Failed)/most
		bars = append(bars, bar{float64(i * 10), a, f, 120 - a, 120 - a - f})
	}
	return bars
}

// Busy returns the minutes with calls, the latest first.
func (v view) Busy() (busy []Minute) {
	for _, m := range slices.Backward(v.Hour.Minutes) {
		if m.Answered+m.Failed > 0 {
			busy = append(busy, m)
		}
	}
	return busy
}

// Most returns the most calls of a minute, and 1 if there were none.
func (v view) Most() uint64 {
	most := uint64(1)
	for _, m := range v.Hour.Minutes {
		most = max(most, m.Answered+m.Failed)
	}
	return most
}

// Slowest returns the largest P99 of a minute in seconds.
func (v view) Slowest() float64 {
	most := 0.001
	for _, m := range v.Hour.Minutes {
		if m.FirstToken != nil {
			most = max(most, m.FirstToken.P99)
		}
	}
	return most
}

// Line returns the path of a percentile, 120 units high. Minutes without calls interrupt it.
func (v view) Line(which string) string {
	var path strings.Builder
	drawn := false
	for i, m := range v.Hour.Minutes {
		if m.FirstToken == nil {
			drawn = false
			continue
		}
		s := map[string]float64{"p50": m.FirstToken.P50, "p95": m.FirstToken.P95, "p99": m.FirstToken.P99}[which]
		y := 120 - 116*s/v.Slowest() // the line has a width, too
		if !drawn {
			fmt.Fprintf(&path, "M%d %.1fh8", i*10, y) // a minute alone is seen, too
		} else {
			fmt.Fprintf(&path, "L%d %.1f", i*10+8, y)
		}
		drawn = true
	}
	return path.String()
}
