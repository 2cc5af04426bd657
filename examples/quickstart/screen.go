package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/examples/internal/terminal"
)

// A screen shows the outage: a message, a table that grows by a line a phase,
// and the message again, with figures. On a terminal, the line of the phase under
// way counts along.
type screen struct {
	out     io.Writer
	style   terminal.Style
	details bool // show attempts, circuits and percentiles, too
	phases  [][contenders]*tally
}

// The columns of the table: the phase, and three counts for each contender.
const (
	phaseWidth = 31
	countWidth = 5
	groupWidth = 3*countWidth + 1
)

func (s *screen) begin(p pace) {
	s.line(s.style.Strong("breakwater keeps calls answered while LLM hosts fail. See it, in 40 seconds."))
	s.line(fmt.Sprintf("Three clients ask fake hosts the same %d questions, half of them as streams,", p.calls()*len(outage)))
	s.line(fmt.Sprintf("and wait at most %v for an answer. breakwater has its cache on.", patience))
	s.line("")
	s.names()
	units := fmt.Sprintf("%*s%*s%*s", countWidth, "ok", countWidth, "fail", groupWidth-2*countWidth, "WRONG")
	s.line(s.style.Quiet(pad("phase", phaseWidth) + strings.Repeat(units, contenders)))
}

// names writes who has which columns.
func (s *screen) names() {
	for i := range contenderNames[0] {
		text := strings.Repeat(" ", phaseWidth)
		for _, name := range contenderNames {
			text += fmt.Sprintf("%*s", groupWidth, name[i])
		}
		s.line(text)
	}
}

// phaseUnderWay writes the live line, over the one before.
func (s *screen) phaseUnderWay(number int, left time.Duration, now [contenders]counts) {
	if !s.style.Live {
		return
	}
	wait := " .."
	if left > 0 {
		wait = fmt.Sprintf(" %ds", (left+time.Second-1)/time.Second)
	}
	fmt.Fprint(s.out, "\r", s.row(nameOf(number)+wait, now))
}

func (s *screen) phaseOver(number int, sums [contenders]*tally) {
	s.phases = append(s.phases, sums)
	if s.style.Live {
		fmt.Fprint(s.out, "\r")
	}
	s.line(s.row(nameOf(number), countsOf(sums)))
}

// interrupted leaves the live line as it is.
func (s *screen) interrupted() {
	if s.style.Live {
		s.line("")
	}
}

// end writes the sums, what they say, and what to do next.
func (s *screen) end(all [contenders]*tally) {
	s.line(s.row("total", countsOf(all)))
	s.line("")
	if s.details {
		s.showDetails(all)
	}
	sums := countsOf(all)
	ours, theirs := sums[withBackup], sums[bare]
	calls := ours.ok + ours.failed + ours.wrong
	message := fmt.Sprintf("breakwater with a backup: %d of %d calls answered, %d wrong.", ours.ok, calls, ours.wrong)
	if judge(all) == nil {
		s.line(s.style.Strong(s.style.Good(message)))
	} else {
		s.line(s.style.Wrong(message))
	}
	s.line(fmt.Sprintf("%d got an error: no host was up, and the cache had no answer.", all[withBackup].told))
	if missed := len(all[withBackup].missed); missed > 0 {
		s.line(s.style.Wrong(fmt.Sprintf("%d got an error, although a host or the cache could answer.", missed)))
	}
	s.line(fmt.Sprintf("A bare client with 3 retries: %d answered, %d WRONG (cut short, no error).", theirs.ok, theirs.wrong))
	s.line("")
	s.line(s.style.Strong("Next") + "  go get github.com/breakwater-go/breakwater, then docs/getting-started.md")
	s.line("      With DEEPSEEK_API_KEY set, this asks the real API. -v shows more.")
}

func (s *screen) showDetails(all [contenders]*tally) {
	s.line(s.style.Strong("breakwater with a backup"))
	s.line(s.style.Quiet(pad("phase", phaseWidth) + " cache stale failover  attempts  circuits"))
	detail := func(name string, t *tally) {
		s.line(strings.TrimRight(fmt.Sprintf("%s%6d%6d%9d%10.2f  %s", pad(name, phaseWidth), t.fromCache, t.stale, t.failedOver, t.attemptsPerCall(), t.opened), " "))
	}
	for i, sums := range s.phases {
		detail(nameOf(i), sums[withBackup])
	}
	detail("total", all[withBackup])
	s.line("cache: ok, from the cache. stale: likewise, but older than its TTL.")
	s.line("failover: calls that went to both hosts.")
	s.line("attempts: for each call that went to a host.")
	s.line("circuits: of these hosts, a circuit was open at some time in the phase.")
	s.line("")

	s.line(s.style.Strong("Time to the end of a call, in ms"))
	s.names()
	s.line(s.style.Quiet(pad("phase", phaseWidth) + strings.Repeat(fmt.Sprintf("%*s%*s", groupWidth-6, "p50", 6, "p99"), contenders)))
	times := func(name string, sums [contenders]*tally) {
		text := pad(name, phaseWidth)
		for _, t := range sums {
			text += fmt.Sprintf("%*d%*d", groupWidth-6, t.quantile(0.5).Milliseconds(), 6, t.quantile(0.99).Milliseconds())
		}
		s.line(text)
	}
	for i, sums := range s.phases {
		times(nameOf(i), sums)
	}
	times("total", all)
	s.line("")
}

// row is one line of the table. Counts of 0 are hardly to be seen.
func (s *screen) row(name string, of [contenders]counts) string {
	text := pad(name, phaseWidth)
	for _, c := range of {
		text += s.count(c.ok, countWidth, s.style.Good) + s.count(c.failed, countWidth, s.style.Bad) +
			s.count(c.wrong, groupWidth-2*countWidth, s.style.Wrong)
	}
	return text
}

func (s *screen) count(n, width int, paint func(string) string) string {
	text := strconv.Itoa(n)
	if n == 0 {
		text, paint = "-", s.style.Quiet
	}
	return strings.Repeat(" ", width-len(text)) + paint(text)
}

func (s *screen) line(text string) { fmt.Fprintln(s.out, text) }

func nameOf(number int) string { return fmt.Sprintf("%d %s", number+1, outage[number].name) }

func pad(text string, width int) string { return fmt.Sprintf("%-*s", width, text) }

func countsOf(sums [contenders]*tally) (of [contenders]counts) {
	for i, t := range sums {
		of[i] = t.counts()
	}
	return of
}
