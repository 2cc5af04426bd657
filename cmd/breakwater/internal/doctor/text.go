package doctor

import (
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/breakwater-go/breakwater/diagnose"
)

var stageNames = map[diagnose.Language]map[diagnose.StageName]string{
	diagnose.English: {
		diagnose.StageConfig: "settings", diagnose.StageKeyForm: "key form", diagnose.StageProxy: "proxy", diagnose.StageDNS: "DNS", diagnose.StageTCP: "TCP",
		diagnose.StageTLS: "TLS", diagnose.StageHTTP: "HTTP", diagnose.StageClock: "clock", diagnose.StageKey: "key", diagnose.StageBalance: "balance",
		diagnose.StageModel: "model", diagnose.StageJSON: "JSON", diagnose.StageStream: "stream", diagnose.StageStatus: "status page",
	},
	diagnose.Chinese: {
		diagnose.StageConfig: "配置", diagnose.StageKeyForm: "密钥格式", diagnose.StageProxy: "代理", diagnose.StageDNS: "DNS", diagnose.StageTCP: "TCP",
		diagnose.StageTLS: "TLS", diagnose.StageHTTP: "HTTP", diagnose.StageClock: "时钟", diagnose.StageKey: "密钥", diagnose.StageBalance: "余额",
		diagnose.StageModel: "模型", diagnose.StageJSON: "JSON", diagnose.StageStream: "流", diagnose.StageStatus: "状态页",
	},
}

var states = map[diagnose.Language]map[diagnose.State]string{
	diagnose.English: {diagnose.Passed: "ok", diagnose.Doubtful: "warn", diagnose.Failed: "FAIL", diagnose.Skipped: "-"},
	diagnose.Chinese: {diagnose.Passed: "正常", diagnose.Doubtful: "注意", diagnose.Failed: "失败", diagnose.Skipped: "-"},
}

// marks are the states in one column.
var marks = map[diagnose.State]string{diagnose.Passed: ".", diagnose.Doubtful: "!", diagnose.Failed: "x", diagnose.Skipped: "-"}

var verdicts = map[diagnose.Language]map[diagnose.Verdict]string{
	diagnose.English: {diagnose.Well: "well", diagnose.Degraded: "degraded", diagnose.Down: "down"},
	diagnose.Chinese: {diagnose.Well: "正常", diagnose.Degraded: "异常", diagnose.Down: "中断"},
}

var severities = map[diagnose.Language]map[diagnose.Severity]string{
	diagnose.English: {diagnose.Error: "ERROR", diagnose.Warning: "WARNING", diagnose.Note: "NOTE"},
	diagnose.Chinese: {diagnose.Error: "错误", diagnose.Warning: "警告", diagnose.Note: "提示"},
}

var layers = map[diagnose.Language]map[diagnose.Layer]string{
	diagnose.English: {diagnose.Connection: "connection", diagnose.Protocol: "protocol", diagnose.Application: "application"},
	diagnose.Chinese: {diagnose.Connection: "连接层", diagnose.Protocol: "协议层", diagnose.Application: "应用层"},
}

// labels are the words before the texts of a finding, and before the last line.
var labels = map[diagnose.Language]struct{ seen, means, next, overall string }{
	diagnose.English: {"seen", "means", "next", "All endpoints together"},
	diagnose.Chinese: {"看到", "含义", "建议", "所有端点合计"},
}

// A style colours texts, or leaves them.
type style struct{ colours bool }

// newStyle returns the style of a writer: colours for a terminal, unless NO_COLOR is set
// (https://no-color.org) or the terminal is dumb.
func newStyle(w io.Writer, env func(string) (string, bool)) style {
	no, _ := env("NO_COLOR")
	kind, _ := env("TERM")
	return style{isTerminal(w) && no == "" && kind != "dumb"}
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	grey   = "90"
	bold   = "1"
)

func (s style) in(colour, text string) string {
	if !s.colours || text == "" || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s style) state(state diagnose.State, text string) string {
	return s.in(map[diagnose.State]string{diagnose.Passed: green, diagnose.Doubtful: yellow, diagnose.Failed: red}[state], text)
}

func (s style) verdict(v diagnose.Verdict, text string) string {
	return s.in(map[diagnose.Verdict]string{diagnose.Well: green, diagnose.Degraded: yellow, diagnose.Down: red}[v], text)
}

func (s style) severity(v diagnose.Severity, text string) string {
	return s.in(map[diagnose.Severity]string{diagnose.Error: red, diagnose.Warning: yellow, diagnose.Note: bold}[v], text)
}

// writeText writes the reports, each with its stages and then what was found.
func writeText(w io.Writer, reports []diagnose.Report, s style, language diagnose.Language) {
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(w)
		}
		writeReport(w, r, s)
	}
	if len(reports) > 1 {
		v := diagnose.Overall(reports...)
		fmt.Fprintf(w, "\n%s: %s\n", labels[language].overall, s.verdict(v, verdicts[language][v]))
	}
}

func writeReport(w io.Writer, r diagnose.Report, s style) {
	verdict := verdicts[r.Language][r.Verdict]
	took := spoken(r.Took.Duration())
	room := maxWidth - columns(verdict) - columns(took) - 4
	head := r.Endpoint
	if r.URL != "" && hostOf(r.URL) != r.Endpoint {
		head += "  " + r.URL
	} else if r.URL != "" {
		head = r.URL
	}
	head = cut(head, room)
	fmt.Fprintf(w, "%s%s  %s  %s\n", s.in(bold, head), spaces(room-columns(head)), s.verdict(r.Verdict, verdict), s.in(grey, took))
	names := 0
	for _, stage := range r.Stages {
		names = max(names, columns(stageNames[r.Language][stage.Name]))
	}
	for _, stage := range r.Stages {
		writeStage(w, r.Language, stage, names, s)
	}
	for _, f := range r.Findings {
		fmt.Fprintln(w)
		writeFinding(w, r.Language, f, s)
	}
}

const (
	stateColumns = 4
	tookColumns  = 7
)

func writeStage(w io.Writer, language diagnose.Language, stage diagnose.Stage, names int, s style) {
	state := states[language][stage.State]
	took := ""
	if stage.Took.Duration() >= time.Millisecond {
		took = spoken(stage.Took.Duration())
	}
	room := maxWidth - 2 - names - 2 - stateColumns - 2 - tookColumns
	text := cut(stage.Text, room)
	line := fmt.Sprintf("  %s  %s%s  %s", pad(stageNames[language][stage.Name], names), s.state(stage.State, state), spaces(stateColumns-columns(state)), text)
	if took != "" {
		line += spaces(room-columns(text)+tookColumns-columns(took)) + s.in(grey, took)
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}

func writeFinding(w io.Writer, language diagnose.Language, f diagnose.Finding, s style) {
	fmt.Fprintf(w, "  %s  %s  %s\n", s.severity(f.Severity, severities[language][f.Severity]), layers[language][f.Layer], f.Code)
	l := labels[language]
	width := max(columns(l.seen), columns(l.means), columns(l.next))
	for _, part := range [][2]string{{l.seen, f.Seen}, {l.means, f.Means}, {l.next, f.Next}} {
		label := part[0]
		for _, line := range wrap(part[1], maxWidth-4-width-2) {
			fmt.Fprintf(w, "    %s  %s\n", s.in(grey, pad(label, width)), line)
			label = ""
		}
	}
}

// wrap breaks a text into lines of a width: between words, and between Chinese characters.
func wrap(text string, width int) (lines []string) {
	line, used := "", 0
	for _, word := range pieces(text) {
		n := columns(word)
		if used > 0 && used+columns(strings.TrimRight(word, " ")) > width {
			lines = append(lines, strings.TrimRight(line, " "))
			line, used = "", 0
		}
		for columns(strings.TrimRight(word, " ")) > width { // longer than a line
			head := cutHard(word, width)
			lines = append(lines, head)
			word = word[len(head):]
			n = columns(word)
		}
		line += word
		used += n
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return lines
}

// pieces splits a text where a line may end: behind blanks, and around wide characters, but not
// before those that end a sentence.
func pieces(text string) (all []string) {
	start := 0
	wide := false
	for i, r := range text {
		breaks := i > start && (text[i-1] == ' ' || (wide || isWide(r)) && !strings.ContainsRune("，。、；：？！）》”", r))
		if breaks {
			all = append(all, text[start:i])
			start = i
		}
		wide = isWide(r) && !strings.ContainsRune("（《“", r)
	}
	if start < len(text) {
		all = append(all, text[start:])
	}
	return all
}

// isWide reports whether a character takes two columns (Unicode Standard Annex 11, W and F).
func isWide(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana) || r >= 0x3000 && r <= 0x303f || r >= 0xff00 && r <= 0xff60 || r >= 0xffe0 && r <= 0xffe6
}

// columns returns how many columns a text takes.
func columns(text string) (n int) {
	for _, r := range text {
		n++
		if isWide(r) {
			n++
		}
	}
	return n
}

// cut shortens a text to a width.
func cut(text string, width int) string {
	if columns(text) <= width {
		return text
	}
	if width < 1 {
		return ""
	}
	return cutHard(text, width-1) + "…"
}

// cutHard returns as much of a text as fits into a width, at least one character.
func cutHard(text string, width int) string {
	used := 0
	for i, r := range text {
		if used += columns(string(r)); used > width && i > 0 {
			return text[:i]
		}
	}
	return text
}

func pad(text string, width int) string { return text + spaces(width-columns(text)) }

func spaces(n int) string { return strings.Repeat(" ", max(n, 0)) }

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// plain removes colours.
func plain(text string) string { return escapes.ReplaceAllString(text, "") }

func hostOf(text string) string {
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		return u.Host
	}
	return text
}

// spoken returns a duration with as many digits as anybody reads.
func spoken(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}
