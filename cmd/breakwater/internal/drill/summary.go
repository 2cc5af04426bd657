package drill

import (
	"fmt"
	"strings"
	"time"
)

// Summary says what a script does.
func (s *Script) Summary() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s", clip(s.Title, columns))
	for _, text := range fold(s.Shows, columns) {
		line("%s", text)
	}
	line("")
	load := fmt.Sprintf("%v calls a second", s.Load.PerSecond)
	if s.Load.Callers > 0 {
		load = fmt.Sprintf("%d callers, one call after the other", s.Load.Callers)
	}
	line("For %v: %s, %s of them streams; callers wait %v.", s.Duration, load, percentText(s.Load.Streams), s.Load.Deadline)
	for _, h := range s.Hosts {
		kind := "first tier"
		if h.Backup {
			kind = "backup"
		}
		line("  host %-12s %s, like %s", h.Name, kind, h.Persona)
	}
	for _, a := range s.Timeline {
		line("  %s to %s  %s: %s", clock(a.At), clock(a.End()), a.Host, a)
	}
	line("Objectives:")
	c := new(ClientReport)
	limits, _ := judge(s.Objectives, c)
	for _, o := range limits {
		line("  %-26s%s", titles[o.Name], o.limitText())
	}
	return b.String()
}

// Longest is how long the drill takes at most, with the last answers.
func (s *Script) Longest() time.Duration { return s.Duration + s.Load.Deadline }
