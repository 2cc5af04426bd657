package drill

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// WriteMarkdown writes the report for people. picture is the name of the SVG beside it, or empty.
func (r *Report) WriteMarkdown(w io.Writer, picture string) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	main := &r.Clients[0]
	line("# Drill: %s", inMarkdown(r.Title))
	line("")
	line("%s %s", r.verdict(), main.sentence())
	line("")
	if text := r.busy(); text != "" {
		line("**%s**", text)
		line("")
	}
	if r.Shows != "" {
		line("%s", inMarkdown(strings.Join(strings.Fields(r.Shows), " ")))
		line("")
	}
	line("Played on %s for %s of %s, %s, seed %d.", r.Started.Format(time.RFC3339), secondsText(r.Played), secondsText(r.Planned), inMarkdown(r.Place), r.Seed)
	line("")
	if picture != "" {
		line("![The drill over time: faults, circuits, calls and the time to the first token](%s)", picture)
		line("")
	}
	r.objectivesTable(line)
	r.faultsTable(line)
	r.callsTable(line)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) verdict() string {
	switch {
	case r.Stopped:
		return "**Ended early.**"
	case r.Held:
		return "**Held.**"
	}
	return "**Missed.**"
}

// columnsOf writes a row with a cell for each client.
func (r *Report) columnsOf(first string, of func(*ClientReport) string) string {
	row := "| " + first + " |"
	for i := range r.Clients {
		row += " " + of(&r.Clients[i]) + " |"
	}
	return row
}

func (r *Report) objectivesTable(line func(string, ...any)) {
	line("## Objectives")
	line("")
	line("%s", r.columnsOf("objective | limit", func(c *ClientReport) string { return c.Client }))
	line("|---|---:|%s", strings.Repeat("---:|", len(r.Clients)))
	for i, o := range r.Clients[0].Objectives {
		line("%s", r.columnsOf(titles[o.Name]+" | "+o.limitText(), func(c *ClientReport) string {
			own := c.Objectives[i]
			if own.Held {
				return own.measuredText()
			}
			return "**" + own.measuredText() + "** missed"
		}))
	}
	line("")
}

func (r *Report) faultsTable(line func(string, ...any)) {
	if len(r.Faults) == 0 {
		return
	}
	line("## Faults")
	line("")
	line("| from | to | host | fault | client | detected after | recovered after | calls not answered | last of them after | requests at the host, per call |")
	line("|---:|---:|---|---|---|---:|---:|---:|---:|---:|")
	for i, f := range r.Faults {
		for j := range r.Clients {
			one := r.Clients[j].Faults[i]
			last := "–"
			if one.NotAnswered > 0 {
				last = secondsText(one.LastFailure)
			}
			line("| %s s | %s s | %s | %s | %s | %s | %s | %d | %s | %.2f |", unit(f.At), unit(f.At+f.For), f.Host, inMarkdown(f.Text),
				r.Clients[j].Client, one.detectText(), one.recoverText(), one.NotAnswered, last, one.Amplification)
		}
	}
	line("")
	line("*Detected*: until calls were kept away from the host. *Recovered*: from the end of the fault until the host answered its usual share again.")
	line("")
}

func (r *Report) callsTable(line func(string, ...any)) {
	line("## Calls")
	line("")
	line("%s", r.columnsOf("", func(c *ClientReport) string { return c.Client }))
	line("|---|%s", strings.Repeat("---:|", len(r.Clients)))
	number := func(name string, of func(*ClientReport) int) {
		line("%s", r.columnsOf(name, func(c *ClientReport) string { return fmt.Sprint(of(c)) }))
	}
	number("calls", func(c *ClientReport) int { return c.Calls })
	number("answered", func(c *ClientReport) int { return c.Answered })
	number("failed", func(c *ClientReport) int { return c.Failed })
	number("wrong, no error", func(c *ClientReport) int { return c.Wrong })
	number("requests to hosts", func(c *ClientReport) int { return c.Requests })
	for _, one := range []struct {
		name string
		of   func(*ClientReport) Percentiles
	}{
		{"first token", func(c *ClientReport) Percentiles { return c.FirstToken }},
		{"whole answer", func(c *ClientReport) Percentiles { return c.Whole }},
	} {
		line("%s", r.columnsOf(one.name+", P50 / P99", func(c *ClientReport) string {
			p := one.of(c)
			return secondsText(p.P50) + " / " + secondsText(p.P99)
		}))
	}
	line("%s", r.columnsOf("answered by", func(c *ClientReport) string {
		var parts []string
		for _, host := range slices.Sorted(maps.Keys(c.AnsweredBy)) {
			parts = append(parts, fmt.Sprintf("%s %d", host, c.AnsweredBy[host]))
		}
		return strings.Join(parts, ", ")
	}))
	for i := range r.Clients {
		c := &r.Clients[i]
		if len(c.Why) == 0 {
			continue
		}
		line("")
		line("Why calls of %s were not answered:", c.Client)
		line("")
		for _, why := range c.Why {
			line("- %d: %s", why.Calls, inMarkdown(why.Why))
		}
	}
	for i := range r.Clients {
		c := &r.Clients[i]
		for j, one := range c.Complaints {
			if j == 0 {
				line("")
				line("What the hosts say of %s:", c.Client)
				line("")
			}
			line("- %d: %s: %s", one.Times, one.Host, one.What)
		}
	}
}

// inMarkdown keeps a text of a script from being read as Markdown or HTML.
func inMarkdown(text string) string {
	text = clip(strings.Join(strings.Fields(text), " "), len(text))
	return strings.NewReplacer("<", "&lt;", "|", "\\|", "`", "'", "*", "\\*", "[", "\\[", "]", "\\]", "_", "\\_").Replace(text)
}
