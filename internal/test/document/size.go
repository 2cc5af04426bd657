package document

import (
	"fmt"
	"strings"
	"unicode"
)

// tabWidth is how GitHub and pkg.go.dev display a tab in code.
const tabWidth = 4

// Words counts as wc -w does.
func (d *Document) Words() int { return len(strings.Fields(d.Text)) }

// Lines counts as wc -l does.
func (d *Document) Lines() int { return strings.Count(d.Text, "\n") }

// WideLines returns the lines of code that take more than so many columns.
func (d *Document) WideLines(most int) (wide []string) {
	for _, block := range d.Blocks {
		n := block.Line
		for line := range strings.Lines(block.Text) {
			n++
			if c := columns(strings.TrimSuffix(line, "\n")); c > most {
				wide = append(wide, fmt.Sprintf("%s:%d: %d columns of code, want at most %d", d.Path, n, c, most))
			}
		}
	}
	return wide
}

// columns returns the width of a line of code in a font of fixed width.
func columns(line string) (n int) {
	for _, r := range line {
		switch {
		case r == '\t':
			n += tabWidth - n%tabWidth
		case unicode.In(r, unicode.M):
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul), r >= 0x3000 && r <= 0x303f, r >= 0xff01 && r <= 0xff60:
			n += 2
		default:
			n++
		}
	}
	return n
}
