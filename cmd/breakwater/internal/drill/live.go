package drill

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode"
)

// columns is the most that a line has. The 80th column of a terminal stays empty, because some
// begin a new line after it.
const columns = 79

// A Style says what an output can show. The zero Style is plain lines.
type Style struct {
	Live  bool // lines may be written again
	Color bool
}

// StyleOf returns the style for a terminal. large says that the live view fits on it. Colour is left
// out if NO_COLOR is set (https://no-color.org).
func StyleOf(env func(string) (string, bool), large bool) Style {
	term, _ := env("TERM")
	// Consoles of Windows that set no TERM may show escape sequences as text.
	if term == "dumb" || term == "" && runtime.GOOS == "windows" {
		return Style{}
	}
	none, _ := env("NO_COLOR")
	return Style{Live: large, Color: none == ""}
}

func (s Style) good(text string) string   { return s.paint("32", text) }
func (s Style) bad(text string) string    { return s.paint("33", text) }
func (s Style) wrong(text string) string  { return s.paint("1;31", text) }
func (s Style) quiet(text string) string  { return s.paint("2", text) }
func (s Style) strong(text string) string { return s.paint("1", text) }

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// A screen shows a drill: a block of lines that is written again and again on a terminal, and a
// line for each turn and each few seconds elsewhere.
type screen struct {
	out   io.Writer
	style Style

	script *Script
	broken map[string]string // what is broken now, by host
	lines  int               // of the block
	last   time.Duration     // when a plain line was written
}

// NewScreen returns a Viewer that writes to out.
func NewScreen(out io.Writer, style Style) Viewer {
	return &screen{out: out, style: style, broken: make(map[string]string)}
}

func (s *screen) Begin(script *Script) {
	s.script = script
	s.write(s.style.strong(clip(script.Title, columns)))
	for _, line := range fold(script.Shows, columns) {
		s.write(line)
	}
	s.write("")
}

func (s *screen) Turn(at time.Duration, a Act, begins bool) {
	text := fmt.Sprintf("%s  %s is well again", clock(at), a.Host)
	delete(s.broken, a.Host)
	if begins {
		s.broken[a.Host] = a.String()
		text = fmt.Sprintf("%s  %s: %s", clock(at), a.Host, a)
	}
	if !s.style.Live {
		s.write(clip(text, columns))
	}
}

// plainEvery is how often a pipe gets a line.
const plainEvery = 5 * time.Second

func (s *screen) Tick(at time.Duration, now []glance) {
	if !s.style.Live {
		if at-s.last >= plainEvery {
			s.last = at
			for _, g := range now {
				s.write(clip(clock(at)+"  "+g.plain(), columns))
			}
		}
		return
	}
	s.block(s.frame(at, now))
}

func (s *screen) Done() {
	s.lines = 0 // the block stays
	s.write("")
}

// frame returns the lines of the live view.
func (s *screen) frame(at time.Duration, now []glance) []string {
	st := s.style
	var lines []string
	shown := min(at, s.script.Duration)
	lines = append(lines, s.bar(shown))
	what := st.good("all hosts are well")
	if at >= s.script.Duration {
		what = st.quiet("no new calls; waiting for the last answers")
	} else if len(s.broken) > 0 {
		var parts []string
		for host, text := range s.broken {
			parts = append(parts, host+": "+text)
		}
		slices.Sort(parts)
		what = st.bad(clip("broken: "+strings.Join(parts, "; "), columns))
	}
	lines = append(lines, what, "", st.quiet(fmt.Sprintf("%-12s%9s%9s%7s%7s%7s  %s", "", "answered", "failed", "WRONG", "open", "P99", "who answers now")))
	for _, g := range now {
		lines = append(lines, fmt.Sprintf("%-12s%s%s%s%7d%7s  %s", g.client,
			count(g.answered, 9, st.good), count(g.failed, 9, st.bad), count(g.wrong, 7, st.wrong), g.open, firstText99(g.p99),
			clip(g.who(columns-53), columns-53)))
	}
	if g := now[0]; g.client == WithBreakwater {
		lines = append(lines, "", st.quiet("circuits    ")+clip(g.states(), columns-12))
	}
	return lines
}

// bar shows how far the drill is, and where its faults are.
func (s *screen) bar(at time.Duration) string {
	label := fmt.Sprintf(" %s of %s", clock(at), clock(s.script.Duration))
	wide := columns - len(label)
	var b strings.Builder
	for i := range wide {
		t := time.Duration((float64(i) + 0.5) / float64(wide) * float64(s.script.Duration))
		broken := slices.ContainsFunc(s.script.Timeline, func(a Act) bool { return t >= a.At && t < a.End() })
		switch past := t <= at; {
		case past && broken:
			b.WriteString(s.style.bad("#"))
		case past:
			b.WriteString(s.style.good("="))
		case broken:
			b.WriteString(s.style.quiet("x"))
		default:
			b.WriteString(s.style.quiet("-"))
		}
	}
	return b.String() + label
}

// block writes lines over those of the block before.
func (s *screen) block(lines []string) {
	var b strings.Builder
	if s.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.lines)
	}
	for _, line := range lines {
		b.WriteString("\r\x1b[K" + line + "\n")
	}
	for range s.lines - len(lines) {
		b.WriteString("\r\x1b[K\n")
	}
	s.lines = max(s.lines, len(lines))
	_, _ = io.WriteString(s.out, b.String()) // a view that nobody can see ends no drill
}

func (s *screen) write(line string) { fmt.Fprintln(s.out, line) }

// plain is a line about a client for a pipe.
func (g glance) plain() string {
	text := fmt.Sprintf("%-10s %d ok, %d failed, %d wrong; ", g.client, g.answered, g.failed, g.wrong)
	if p := firstText99(g.p99); p != "-" {
		text += "P99 " + p + "; "
	}
	return text + g.who(columns-7-len(text)) // behind the time
}

// who says who answered in the last seconds, the first ones of them in so many columns.
func (g glance) who(most int) string {
	all := 0
	for _, n := range g.by {
		all += n
	}
	if all == 0 {
		return "nobody answers"
	}
	hosts := slices.SortedFunc(maps.Keys(g.by), func(a, b string) int { return cmp.Or(g.by[b]-g.by[a], cmp.Compare(a, b)) })
	text := ""
	for i, host := range hosts {
		part := fmt.Sprintf("%s %d%%", host, (100*g.by[host]+all/2)/all)
		if i > 0 {
			part = ", " + part
		}
		if i > 0 && len(text)+len(part) > most {
			break
		}
		text += part
	}
	return text
}

// states are the circuits that were ever open.
func (g glance) states() string {
	if len(g.circuits) == 0 {
		return "all closed"
	}
	var parts []string
	for host, state := range g.circuits {
		parts = append(parts, host+" "+state)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func firstText99(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < time.Second:
		return fmt.Sprintf("%dms", max(1, d.Milliseconds()))
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

func count(n, width int, paint func(string) string) string {
	text := fmt.Sprint(n)
	pad := strings.Repeat(" ", max(0, width-len(text)))
	if n == 0 {
		return pad + text
	}
	return pad + paint(text)
}

func clock(d time.Duration) string {
	d = d.Round(100 * time.Millisecond) // a tick comes a little late or soon
	return fmt.Sprintf("%02d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

// wide returns the columns of a character: two if it is Chinese, Japanese or Korean.
func wide(r rune) int {
	switch {
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0x1f300 && r <= 0x1faff:
		return 2
	}
	return 1
}

// clip shortens a text to so many columns. Characters that control a terminal or the direction of
// the text, which a script may have, are left out.
func clip(text string, most int) string {
	var b strings.Builder
	at := 0
	for _, r := range text {
		if unicode.In(r, unicode.Cc, unicode.Cf) {
			continue
		}
		if at += wide(r); at > most {
			return strings.TrimSuffix(b.String(), " ")
		}
		b.WriteRune(r)
	}
	return b.String()
}

// fold breaks a text into lines between words.
func fold(text string, most int) (lines []string) {
	line, at := "", 0
	for word := range strings.FieldsSeq(text) {
		word = clip(word, most)
		n := 0
		for _, r := range word {
			n += wide(r)
		}
		if at > 0 && at+1+n > most {
			lines, line, at = append(lines, line), "", 0
		}
		if at > 0 {
			line, at = line+" ", at+1
		}
		line, at = line+word, at+n
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
