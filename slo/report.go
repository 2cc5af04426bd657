package slo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// A Report says how well calls were answered until Time.
type Report struct {
	Time       time.Time        `json:"time"`
	Since      time.Time        `json:"since"` // when the Tracker was made: windows that are longer know no more
	Objectives Objectives       `json:"objectives"`
	Windows    []Window         `json:"windows"` // the last 5 minutes, 1 hour, 6 hours and 30 days
	Budget     Budget           `json:"budget"`
	Endpoints  []EndpointReport `json:"endpoints"` // by name
}

// An EndpointReport is about the attempts at one endpoint.
type EndpointReport struct {
	Endpoint string   `json:"endpoint"`
	Windows  []Window `json:"windows"`
}

// A Window is what ended in a length of time until now. It is exact to one slot: 10 s of 5 minutes,
// 1 minute of 1 hour, 5 minutes of 6 hours, 6 hours of 30 days.
type Window struct {
	Length time.Duration `json:"-"`

	Answered uint64 `json:"answered"` // in full
	Failed   uint64 `json:"failed"`   // by the fault of a host, the network or this program
	Mistaken uint64 `json:"mistaken"` // by the caller's own mistake; counts for nothing
	Canceled uint64 `json:"canceled"` // left by the caller; counts for nothing

	BurnRate     float64     `json:"burn_rate"` // how often the budget of 30 days would be spent in 30 days at this window's rate of failures
	FirstPayload Percentiles `json:"first_payload"`
	Whole        Percentiles `json:"whole"`
}

// Percentiles are of the answers of a window, and 0 if there were none. They err by at
// most [Resolution] of their value.
type Percentiles struct{ P50, P95, P99 time.Duration }

// MarshalJSON writes seconds.
func (p Percentiles) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		P50 float64 `json:"p50_seconds"`
		P95 float64 `json:"p95_seconds"`
		P99 float64 `json:"p99_seconds"`
	}{p.P50.Seconds(), p.P95.Seconds(), p.P99.Seconds()})
}

// MarshalJSON writes the length in seconds, and the shares.
func (w Window) MarshalJSON() ([]byte, error) {
	type plain Window
	return json.Marshal(struct {
		Seconds      float64 `json:"seconds"`
		Availability float64 `json:"availability"`
		plain
	}{w.Length.Seconds(), w.Availability(), plain(w)})
}

// Availability is the share of calls that were answered in full, of those that counted; 1 if
// there were none.
func (w Window) Availability() float64 {
	if w.Answered+w.Failed == 0 {
		return 1
	}
	return float64(w.Answered) / float64(w.Answered+w.Failed)
}

// ErrorShare is 1 - Availability.
func (w Window) ErrorShare() float64 {
	if w.Answered+w.Failed == 0 {
		return 0
	}
	return float64(w.Failed) / float64(w.Answered+w.Failed)
}

// A Budget is the error budget of 30 days: what the objective of availability lets fail.
type Budget struct {
	Spent float64       `json:"spent"` // share of it that is spent; above 1: the objective is missed
	Left  time.Duration `json:"-"`     // of full outage at the average rate of calls; negative: the objective is missed
}

// MarshalJSON writes minutes.
func (b Budget) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Spent   float64 `json:"spent"`
		Minutes float64 `json:"left_minutes"`
	}{b.Spent, b.Left.Minutes()})
}

// WriteText writes the report as aligned plain text, for a terminal or a log.
func (r Report) WriteText(w io.Writer) error { return r.write(w, false) }

// WriteMarkdown writes the report as Markdown.
func (r Report) WriteMarkdown(w io.Writer) error { return r.write(w, true) }

// write writes the report's two tables and its summary.
func (r Report) write(w io.Writer, markdown bool) error {
	var b strings.Builder
	heading := func(text string) {
		if markdown {
			text = "## " + text + "\n"
		}
		fmt.Fprintf(&b, "%s\n", text)
	}
	heading("Calls")
	table(&b, markdown, r.rows("", r.Windows))
	fmt.Fprintf(&b, "\nObjective: %s of the calls of 30 days answered. %s\n", percent(r.Objectives.Availability), r.Budget)
	for _, line := range r.Missed() {
		fmt.Fprintf(&b, "%s\n", line)
	}
	if len(r.Endpoints) > 0 {
		b.WriteString("\n")
		heading("Attempts by endpoint")
		var rows [][]string
		for _, e := range r.Endpoints {
			rows = append(rows, r.rows(e.Endpoint, e.Windows)...)
		}
		table(&b, markdown, rows)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// header names the columns of both tables.
var header = []string{"", "window", "availability", "answered", "failed", "mistaken", "canceled", "burn rate", "first payload P50", "P95", "P99", "whole P50", "P95", "P99"}

// rows returns the rows of a table, one for each window in which something ended.
func (r Report) rows(name string, windows []Window) (rows [][]string) {
	for _, w := range windows {
		row := []string{name, length(w.Length), percent(w.Availability())}
		for _, n := range []uint64{w.Answered, w.Failed, w.Mistaken, w.Canceled} {
			row = append(row, fmt.Sprint(n))
		}
		row = append(row, fmt.Sprintf("%.1f", w.BurnRate))
		for _, p := range []Percentiles{w.FirstPayload, w.Whole} {
			row = append(row, seconds(p.P50), seconds(p.P95), seconds(p.P99))
		}
		rows = append(rows, row)
	}
	return rows
}

// Missed says which objectives are missed, in which window; nothing if all are met.
func (r Report) Missed() (all []string) {
	add := func(missed bool, format string, args ...any) {
		if missed {
			all = append(all, fmt.Sprintf("Missed: "+format, args...))
		}
	}
	month := r.Windows[len(r.Windows)-1]
	add(month.Availability() < r.Objectives.Availability, "availability over 30 d is %s, the objective is %s", percent(month.Availability()), percent(r.Objectives.Availability))
	for _, w := range r.Windows {
		add(w.ErrorShare() > r.Objectives.ErrorShare, "errors over %s are %s, the objective is %s", length(w.Length), percent(w.ErrorShare()), percent(r.Objectives.ErrorShare))
		first, whole := r.Objectives.FirstPayload, r.Objectives.Whole
		add(first > 0 && w.FirstPayload.P99 > first, "P99 to the first payload over %s is %s, the objective is %s", length(w.Length), seconds(w.FirstPayload.P99), seconds(first))
		add(whole > 0 && w.Whole.P99 > whole, "P99 to the end over %s is %s, the objective is %s", length(w.Length), seconds(w.Whole.P99), seconds(whole))
	}
	return all
}

// String says how much of the budget is left.
func (b Budget) String() string {
	if b.Left < 0 {
		return fmt.Sprintf("The error budget of 30 d is overspent: %.0f %%.", 100*b.Spent)
	}
	return fmt.Sprintf("Of its error budget %.0f %% are spent; %.1f min are left.", 100*b.Spent, b.Left.Minutes())
}

// table writes rows below the header.
func table(b *strings.Builder, markdown bool, rows [][]string) {
	rows = append([][]string{header}, rows...)
	if !markdown {
		t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, row := range rows {
			fmt.Fprintln(t, strings.Join(row, "\t")+"\t")
		}
		t.Flush()
		return
	}
	for i, row := range rows {
		for j := range row {
			row[j] = strings.NewReplacer("|", `\|`, "\n", " ").Replace(row[j])
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(b, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
}

// percent writes a share with as many digits as an objective of 99.95 % needs.
func percent(share float64) string { return fmt.Sprintf("%.3f %%", 100*share) }

// seconds writes a duration of an answer; empty: there was none.
func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%.3g s", d.Seconds())
}

// length writes the length of a window.
func length(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%d d", d/(24*time.Hour))
	case d >= time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d min", d/time.Minute)
}
