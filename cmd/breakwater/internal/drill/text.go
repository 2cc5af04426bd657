package drill

import (
	"fmt"
	"io"
	"strings"
)

// WriteText writes what a person at a terminal wants to know at the end of a drill: the objectives,
// each fault, and both clients side by side.
func (r *Report) WriteText(w io.Writer, st Style) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	main := &r.Clients[0]
	switch {
	case r.Stopped:
		line("%s", st.bad(fmt.Sprintf("Ended after %s of %s: it says nothing about the rest.", secondsText(r.Played), secondsText(r.Planned))))
	case r.Held:
		line("%s", st.strong(st.good("Held: "+main.sentence())))
	default:
		line("%s", st.strong(st.wrong("Missed: "+main.sentence())))
	}
	for _, text := range fold(r.busy(), columns) {
		line("%s", st.bad(text))
	}
	line("")
	line("       %s", st.quiet(r.objectiveRow("objective", "", func(c *ClientReport) string { return c.Client + "  " })))
	for i, o := range main.Objectives {
		mark := st.good("held  ")
		if !o.Held {
			mark = st.wrong("MISSED")
		}
		line("%s %s", mark, r.objectiveRow(titles[o.Name], o.limitText(), func(c *ClientReport) string {
			own := c.Objectives[i]
			if !own.Held {
				return own.measuredText() + " ✗"
			}
			return own.measuredText() + "  "
		}))
	}
	line("")
	if len(r.Faults) > 0 {
		line("%s", st.quiet(fmt.Sprintf("%-24s%12s%12s%14s%17s", "fault", "detected", "recovered", "not answered", "requests a call")))
	}
	for i, f := range r.Faults {
		line("%s", clip(fmt.Sprintf("%s to %s  %s: %s", clockOf(f.At), clockOf(f.At+f.For), f.Host, f.Text), columns))
		for _, c := range r.Clients {
			one := c.Faults[i]
			line("  %-22s%12s%12s%14d%17.2f", c.Client, one.detectText(), one.recoverText(), one.NotAnswered, one.Amplification)
		}
	}
	for _, c := range r.Clients {
		if len(c.Why) == 0 {
			continue
		}
		line("")
		line("%s", st.quiet("why calls of "+c.Client+" were not answered"))
		for i, why := range c.Why {
			if i == 5 {
				line("%8s  and %d other reasons", "", len(c.Why)-i)
				break
			}
			line("%8d  %s", why.Calls, clip(why.Why, columns-10))
		}
	}
	for _, c := range r.Clients {
		for i, one := range c.Complaints {
			if i == 0 {
				line("")
				line("%s", st.quiet("what the hosts say of "+c.Client))
			}
			line("%8d  %s: %s", one.Times, one.Host, one.What)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// sentence says what became of the calls.
func (c *ClientReport) sentence() string {
	text := fmt.Sprintf("%d of %d calls answered", c.Answered, c.Calls)
	if c.Stale > 0 {
		text += fmt.Sprintf(" (%d with a stale answer)", c.Stale)
	}
	if c.Failed > 0 {
		text += fmt.Sprintf(", %d failed", c.Failed)
	}
	if c.Wrong > 0 {
		text += fmt.Sprintf(", %d wrong without an error", c.Wrong)
	}
	return text + "."
}

// objectiveRow aligns a row of the table of objectives, behind a mark.
func (r *Report) objectiveRow(name, limit string, of func(*ClientReport) string) string {
	row := fmt.Sprintf("%-26s%13s", name, limit)
	for i := range r.Clients {
		row += fmt.Sprintf("%16s", of(&r.Clients[i]))
	}
	return strings.TrimRight(row, " ")
}

func (f FaultResponse) detectText() string {
	switch {
	case !f.Met:
		return "not met"
	case !f.Detectable:
		return "-"
	}
	return f.Detect.text()
}

func (f FaultResponse) recoverText() string {
	if !f.TookCalls {
		return "-"
	}
	return f.Recover.text()
}

func clockOf(s float64) string { return fmt.Sprintf("%02d:%02d", int(s)/60, int(s)%60) }
