package document

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

var (
	linked   = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
	emphasis = regexp.MustCompile(`\*+([^*]+)\*+`)
	tag      = regexp.MustCompile(`<[^>]*>`)
)

// plain returns a heading's text as it is displayed.
func plain(text string) string {
	var b strings.Builder
	for text != "" {
		code := codeSpan.FindStringIndex(text)
		if code == nil {
			code = []int{len(text), len(text)}
		}
		words := linked.ReplaceAllString(text[:code[0]], "$1")
		b.WriteString(tag.ReplaceAllString(emphasis.ReplaceAllString(words, "$1"), ""))
		b.WriteString(strings.Trim(text[code[0]:code[1]], "`"))
		text = text[code[1]:]
	}
	return strings.TrimSpace(strings.ReplaceAll(b.String(), `\`, ""))
}

// anchors counts the headings of a page that have the same words.
type anchors map[string]int

// next returns the anchor that GitHub gives to the next heading of a page: its
// letters, digits, underscores and hyphens, with a hyphen for each space. A
// heading that comes again gets a number.
func (a anchors) next(text string) string {
	anchor := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Pc):
			return unicode.ToLower(r)
		}
		return -1
	}, text)
	n := a[anchor]
	a[anchor]++
	if n > 0 {
		return fmt.Sprintf("%s-%d", anchor, n)
	}
	return anchor
}
