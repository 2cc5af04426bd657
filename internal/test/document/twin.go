package document

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Figures are the numbers that a section names.
type Figures map[string]bool

var (
	number = regexp.MustCompile(`\d[\d,]*(?:\.\d+)*`)
	target = regexp.MustCompile(`\]\([^)]*\)|<[^>]*>|https?://\S*`)
)

// add notes the figures of a line. Addresses have none.
func (f Figures) add(line string) {
	for _, n := range number.FindAllString(target.ReplaceAllString(line, " "), -1) {
		f[strings.ReplaceAll(n, ",", "")] = true
	}
}

// Differences returns in what a translation differs from the original: in the
// order and levels of its sections, their figures, the code, and the number of
// images. Comments in code may be translated.
func Differences(original, translation *Document) (differences []string) {
	differ := func(line int, format string, args ...any) {
		differences = append(differences, fmt.Sprintf("%s:%d: %s", translation.Path, line, fmt.Sprintf(format, args...)))
	}
	sections := translation.Headings
	for i, want := range original.Headings {
		if i == len(sections) {
			differ(translation.Lines(), "no section for %q", want.Text)
			break
		}
		got := sections[i]
		if got.Level != want.Level {
			differ(got.Line, "a section of level %d, %q, stands for one of level %d, %q", got.Level, got.Text, want.Level, want.Text)
			return differences // the following sections are not each other's
		}
		if missing := without(want.Figures, got.Figures); len(missing) > 0 {
			differ(got.Line, "the section %q leaves out %s", got.Text, strings.Join(missing, ", "))
		}
		if more := without(got.Figures, want.Figures); len(more) > 0 {
			differ(got.Line, "the section %q names %s, which %q does not", got.Text, strings.Join(more, ", "), want.Text)
		}
	}
	if len(sections) > len(original.Headings) {
		more := sections[len(original.Headings)]
		differ(more.Line, "the section %q has no original", more.Text)
	}
	for i, want := range original.Blocks {
		if i == len(translation.Blocks) {
			differ(translation.Lines(), "the code of %s:%d is left out", original.Path, want.Line)
			break
		}
		if got := translation.Blocks[i]; got.Language != want.Language || got.withoutComments() != want.withoutComments() {
			differ(got.Line, "the code is not that of %s:%d", original.Path, want.Line)
		}
	}
	if len(translation.Blocks) > len(original.Blocks) {
		differ(translation.Blocks[len(original.Blocks)].Line, "the code has no original")
	}
	if got, want := translation.images(), original.images(); got != want {
		differ(translation.Lines(), "%d images, want %d", got, want)
	}
	return differences
}

// without returns the figures of a that b has not, in order.
func without(a, b Figures) (missing []string) {
	for _, n := range slices.Sorted(maps.Keys(a)) {
		if !b[n] {
			missing = append(missing, n)
		}
	}
	return missing
}

func (d *Document) images() (n int) {
	for _, link := range d.Links {
		if link.Image {
			n++
		}
	}
	return n
}

// comments are how a language marks them: the mark stands first on its line,
// or after a space.
var comments = map[string]*regexp.Regexp{
	"go":   regexp.MustCompile(`(?m)(^|\s+)//.*$`),
	"diff": regexp.MustCompile(`(?m)(^[-+ ]?|\s+)//.*$`),
	"sh":   regexp.MustCompile(`(?m)(^|\s+)#.*$`),
}

func (b Block) withoutComments() string {
	if mark := comments[b.Language]; mark != nil {
		return mark.ReplaceAllString(b.Text, "")
	}
	return b.Text
}
