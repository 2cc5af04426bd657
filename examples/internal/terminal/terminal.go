// Package terminal is how the examples write: plain lines of at most 79 columns,
// and colour and a line that changes only where a person looks at a terminal.
package terminal

import (
	"os"
	"runtime"
	"strings"
	"unicode"
)

// Width is the most columns that a line has. The 80th stays empty, because some
// terminals begin a new line after it.
const Width = 79

// A Style says what an output can show. The zero Style writes plain text.
type Style struct {
	Live  bool // a line may be written again and again
	Color bool
}

// StyleOf returns the style for a file: everything on a terminal, no colour if
// NO_COLOR is set (https://no-color.org), and plain text elsewhere.
func StyleOf(f *os.File) Style {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return Style{}
	}
	term := os.Getenv("TERM")
	// Consoles of Windows that set no TERM may show escape sequences as text.
	escapes := term != "dumb" && (term != "" || runtime.GOOS != "windows")
	return Style{Live: true, Color: escapes && os.Getenv("NO_COLOR") == ""}
}

// Good, Bad, Wrong, Quiet and Strong colour a text by what it says.
func (s Style) Good(text string) string   { return s.paint("32", text) }
func (s Style) Bad(text string) string    { return s.paint("33", text) }
func (s Style) Wrong(text string) string  { return s.paint("1;31", text) }
func (s Style) Quiet(text string) string  { return s.paint("2", text) }
func (s Style) Strong(text string) string { return s.paint("1", text) }

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// A Folder breaks text that comes in pieces, between words where it can, so that
// no line is wider than Width. What a host sends may be any text, so control
// characters are left out. The zero Folder is ready.
type Folder struct {
	column int    // that the text has reached, without word
	gap    int    // spaces before word
	word   []rune // it may go on in the next piece
	wide   int    // columns of word
}

// Fold returns what can be written of the text so far.
func (f *Folder) Fold(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case r == '\n':
			out.WriteString(f.End())
			out.WriteByte('\n')
			f.column = 0
		case r == ' ' || r == '\t':
			out.WriteString(f.End())
			f.gap++
		case unicode.IsControl(r):
		default:
			f.word = append(f.word, r)
			f.wide += columns(r)
			if columns(r) == 2 || f.wide > Width-2 { // a line may end after each Chinese character
				out.WriteString(f.End())
			}
		}
	}
	return out.String()
}

// End returns the word that Fold has kept.
func (f *Folder) End() string {
	if len(f.word) == 0 {
		return ""
	}
	before := strings.Repeat(" ", f.gap)
	if f.column+f.gap+f.wide > Width {
		before, f.column = "\n", 0
	}
	f.column += f.wide
	if before != "\n" {
		f.column += f.gap
	}
	text := before + string(f.word)
	f.word, f.wide, f.gap = f.word[:0], 0, 0
	return text
}

// Fold returns a text, folded.
func Fold(text string) string {
	var f Folder
	return f.Fold(text) + f.End()
}

// columns returns how many columns of a terminal a character takes: two if it is
// Chinese, Japanese or Korean, or an emoji.
func columns(r rune) int {
	switch {
	case unicode.Is(unicode.Mn, r):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60,
		r >= 0x1f300 && r <= 0x1faff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}
