package charts

import (
	"slices"
	"strings"
)

// A terminal shows what a program writes: text, \r, \n and colours. Other
// control sequences are left out.
type terminal struct {
	rows   [][]glyph
	column int
	class  string // of what comes next
}

// A glyph is a character and its class.
type glyph struct {
	char  rune
	class string
}

func (t *terminal) write(text string) {
	for text != "" {
		if codes, rest, ok := cutEscape(text); ok {
			t.colour(codes)
			text = rest
			continue
		}
		char := []rune(text)[0]
		text = text[len(string(char)):]
		switch {
		case char == '\n':
			t.rows, t.column = append(t.rows, nil), 0
		case char == '\r':
			t.column = 0
		case char >= ' ':
			t.put(glyph{char, t.class})
		}
	}
}

func (t *terminal) put(g glyph) {
	if len(t.rows) == 0 {
		t.rows = append(t.rows, nil)
	}
	last := len(t.rows) - 1
	row := t.rows[last]
	for len(row) <= t.column {
		row = append(row, glyph{' ', ""})
	}
	row[t.column] = g
	t.rows[last] = row
	t.column++
}

// cutEscape cuts a sequence that sets colours, if the text begins with one.
func cutEscape(text string) (codes, rest string, ok bool) {
	after, ok := strings.CutPrefix(text, "\x1b[")
	if !ok {
		return "", text, false
	}
	end := strings.IndexFunc(after, func(r rune) bool { return r >= '@' && r <= '~' })
	if end < 0 {
		return "", "", true
	}
	if after[end] != 'm' {
		return "-", after[end+1:], true
	}
	return after[:end], after[end+1:], true
}

// colour takes the codes of ECMA-48, 8.3.117 (SGR).
func (t *terminal) colour(codes string) {
	classes := strings.Fields(t.class)
	for code := range strings.SplitSeq(codes, ";") {
		name, ok := map[string]string{"1": "bold", "2": "dim", "31": "bad", "32": "good", "33": "poor"}[code]
		switch {
		case code == "0" || code == "":
			classes = nil
		case ok && !slices.Contains(classes, name):
			classes = append(classes, name)
		}
	}
	t.class = strings.Join(classes, " ")
}

// A run is text of one class that begins in a column.
type run struct {
	column      int
	class, text string
}

// runsOf cuts a row where the class changes and where several spaces are, so
// that each piece stands in its column in whatever font.
func runsOf(row []glyph) (runs []run) {
	fresh := true // the next character begins a run
	for i, g := range row {
		switch {
		case g.char == ' ' && (fresh || i+1 == len(row) || row[i+1].char == ' ' || row[i+1].class != g.class):
			fresh = true
		case fresh || runs[len(runs)-1].class != g.class:
			runs = append(runs, run{i, g.class, string(g.char)})
			fresh = false
		default:
			runs[len(runs)-1].text += string(g.char)
		}
	}
	return runs
}
