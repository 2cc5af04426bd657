package drill

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// wideScript has texts that are longer than a line, and control characters.
func wideScript(t *testing.T) *Script {
	t.Helper()
	s := parsed(t, "title: \""+strings.Repeat("很长 ", 60)+"\"\nshows: \""+strings.Repeat("long ", 60)+"\\x1b[31m\\a\\u202e\"\n"+twoHosts+
		"timeline:\n  - {at: 5s, for: 6s, host: primary, fault: concurrency_limit, limit: 1000, retry_after: 24h, probability: 12.345%}\n")
	return s
}

// TestScreen_Live: no line is wider than 79 columns, whatever it shows, and each block is written
// over the one before.
func TestScreen_Live(t *testing.T) {
	for _, color := range []bool{true, false} {
		s := wideScript(t)
		var out bytes.Buffer
		v := NewScreen(&out, Style{Live: true, Color: color})
		v.Begin(s)
		by, circuits := map[string]int{}, map[string]string{}
		for i := range 20 {
			by[fmt.Sprintf("host-with-a-long-name-%d", i)] = i
			circuits[fmt.Sprintf("host-with-a-long-name-%d", i)] = "half-open"
		}
		now := []glance{
			{client: WithBreakwater, answered: 1_000_000, failed: 1_000_000, wrong: 100_000, open: 5000, p99: time.Hour, by: by, circuits: circuits},
			{client: BareClient},
		}
		v.Tick(0, now)
		v.Turn(5*time.Second, s.Timeline[0], true)
		v.Tick(7*time.Second, now)
		v.Turn(11*time.Second, s.Timeline[0], false)
		v.Tick(21*time.Second, now)
		v.Done()
		text := out.String()
		if color != strings.Contains(text, "\x1b[32m") || strings.ContainsAny(text, "\a\u202e") || strings.Contains(text, "\x1b[31m\a") {
			t.Errorf("colour is %v: %q", color, text)
		}
		if n := strings.Count(text, "\x1b[8A"); n != 2 {
			t.Errorf("the block was written over %d times, want 2: %q", n, text)
		}
		for _, want := range []string{"broken: primary: concurrency_limit", "all hosts are well", "waiting for the last answers", "nobody answers", "00:07 of 00:20"} {
			if !strings.Contains(plainText(text), want) {
				t.Errorf("the view does not say %q", want)
			}
		}
		checkWidth(t, plainText(text))
	}
}

// TestScreen_Plain writes lines for a pipe: turns, and counts every five seconds.
func TestScreen_Plain(t *testing.T) {
	s := wideScript(t)
	var out bytes.Buffer
	v := NewScreen(&out, Style{})
	v.Begin(s)
	for i := range 80 {
		if i == 20 {
			v.Turn(5*time.Second, s.Timeline[0], true)
		}
		v.Tick(time.Duration(i)*250*time.Millisecond, []glance{{client: WithBreakwater, answered: i, by: map[string]int{"primary": 1, "backup": 2}}})
	}
	v.Done()
	text := out.String()
	if strings.ContainsAny(text, "\x1b\r\a") || strings.Count(text, "  breakwater ") != 3 || strings.Count(text, "00:05  primary: concurrency_limit") != 1 {
		t.Errorf("%q", text)
	}
	if !strings.Contains(text, "00:05  breakwater 20 ok, 0 failed, 0 wrong; backup 67%, primary 33%\n") {
		t.Errorf("%s", text)
	}
	checkWidth(t, text)
}

func TestStyleOf(t *testing.T) {
	for _, tt := range []struct {
		env   map[string]string
		large bool
		want  Style
	}{
		{map[string]string{"TERM": "xterm"}, true, Style{Live: true, Color: true}},
		{map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, true, Style{Live: true}},
		{map[string]string{"TERM": "xterm", "NO_COLOR": ""}, true, Style{Live: true, Color: true}},
		{map[string]string{"TERM": "dumb"}, true, Style{}},
		{map[string]string{"TERM": "xterm"}, false, Style{Color: true}},
	} {
		env := func(name string) (string, bool) { v, ok := tt.env[name]; return v, ok }
		if got := StyleOf(env, tt.large); got != tt.want {
			t.Errorf("StyleOf(%v, %v) = %+v, want %+v", tt.env, tt.large, got, tt.want)
		}
	}
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// plainText is what a terminal shows.
func plainText(text string) string {
	return strings.ReplaceAll(escapes.ReplaceAllString(text, ""), "\r", "")
}

func checkWidth(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		n := 0
		for _, r := range strings.TrimRight(line, "\n") {
			n += wide(r)
		}
		if n > columns {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}
