package doctor

import (
	"bytes"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/diagnose"
)

func TestWrap(t *testing.T) {
	for _, text := range []string{
		"", "word", "The connection that counts is the one to the proxy, and nothing else is of interest here.",
		"服务方过载，在排队中放弃了调用。请暂时使用其他端点，breakwater 会把它当作失败（见文档）。",
		"https://a-very-long-host-name.example.com/with/a/path/that/does/not/end/anywhere/at/all",
	} {
		for _, width := range []int{10, 20, 60} {
			lines := wrap(text, width)
			for _, line := range lines {
				if columns(line) > width {
					t.Errorf("%q has %d columns, want %d at most", line, columns(line), width)
				}
				if strings.HasPrefix(line, "，") || strings.HasPrefix(line, "。") {
					t.Errorf("%q begins with the end of a sentence", line)
				}
			}
			if got, want := strings.ReplaceAll(strings.Join(lines, ""), " ", ""), strings.ReplaceAll(text, " ", ""); got != want {
				t.Errorf("%q became %q", want, got)
			}
		}
	}
}

// Every stage, state, verdict, severity and layer has a word in each language.
func TestWords(t *testing.T) {
	for _, language := range []diagnose.Language{diagnose.English, diagnose.Chinese} {
		for _, name := range diagnose.StageNames {
			if stageNames[language][name] == "" {
				t.Errorf("%s: %s has no name", language, name)
			}
		}
		for state := range marks {
			if states[language][state] == "" {
				t.Errorf("%s: %s has no word", language, state)
			}
		}
		if len(verdicts[language]) != 3 || len(severities[language]) != 3 || len(layers[language]) != 3 || labels[language].seen == "" {
			t.Errorf("%s lacks words", language)
		}
	}
}

// The lines of a terminal are written over, and removed at the end.
func TestLive(t *testing.T) {
	var out bytes.Buffer
	l := &live{w: &out, style: style{true}, language: diagnose.English, names: []string{"deepseek", "a-name-that-is-longer-than-all"}, longest: 24, width: 79, marks: make([]string, 2), under: make([]string, 2)}
	l.note(0, diagnose.Stage{Name: diagnose.StageDNS, State: diagnose.Running})
	l.note(0, diagnose.Stage{Name: diagnose.StageDNS, State: diagnose.Failed})
	l.note(1, diagnose.Stage{Name: diagnose.StageDNS, State: diagnose.Passed})
	l.done(0, diagnose.Report{Verdict: diagnose.Down})
	l.end()
	text := out.String()
	if !strings.HasSuffix(text, "\x1b[2A\x1b[J") || !strings.Contains(text, "\x1b[31mx\x1b[0m") || !strings.Contains(text, "down") {
		t.Errorf("%q", text)
	}
	for line := range strings.Lines(text) {
		if clean := strings.NewReplacer("\x1b[K", "", "\x1b[2A", "", "\r", "", "\n", "").Replace(plain(line)); columns(clean) > 79 {
			t.Errorf("%d columns: %q", columns(clean), clean)
		}
	}
}

// NO_COLOR and dumb terminals are heeded; what is no terminal has no colours.
func TestStyle(t *testing.T) {
	var out bytes.Buffer
	if newStyle(&out, func(string) (string, bool) { return "", false }).colours {
		t.Error("a buffer has colours")
	}
	if got := (style{}).in(red, "x"); got != "x" {
		t.Errorf("%q", got)
	}
}
