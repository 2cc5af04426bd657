// Package document reads the project's Markdown, so that tests can check it:
// sizes, links, snippets, and translations. It knows the Markdown that the
// project writes, also in the YAML of forms, and the anchors that GitHub gives
// it.
package document

import (
	"regexp"
	"strings"
)

// A Document is a page of Markdown.
type Document struct {
	Path     string // with slashes, from the root of the repository
	Text     string
	Headings []Heading
	Blocks   []Block
	Links    []Link
}

// A Heading begins a section.
type Heading struct {
	Level  int
	Text   string // as it is displayed, without markup
	Anchor string
	Line   int
	Figures
}

// A Block is fenced code.
type Block struct {
	Language string
	Text     string
	Line     int // of the fence that opens it
}

// A Link leads to a page, a file or an image.
type Link struct {
	Target string
	Image  bool
	Line   int
}

var (
	fence     = regexp.MustCompile("^( *)(```+|~~~+) *([^ `]*)[^`]*$")
	heading   = regexp.MustCompile(`^(#{1,6}) +(.*?)(?: +#+)? *$`)
	codeSpan  = regexp.MustCompile("``.+?``|`[^`]+`")
	inline    = regexp.MustCompile(`\]\(<?([^()<>\s]*(?:\([^()\s]*\)[^()<>\s]*)*)>?(?:\s+"[^"]*")?\)`)
	image     = regexp.MustCompile(`!\[[^\]]*\]\(<?([^()<>\s]+)>?(?:\s+"[^"]*")?\)`)
	reference = regexp.MustCompile(`^ {0,3}\[[^\]]+\]: *<?([^<>\s]+)>?`)
	yamlURL   = regexp.MustCompile(`^ *url: *(\S+)`)
	attribute = regexp.MustCompile(`\b(href|src|srcset)="([^"]*)"`)
	comment   = regexp.MustCompile(`(?s)<!--.*?-->`)
)

// Parse reads a page.
func Parse(path, text string) *Document {
	d := &Document{Path: path, Text: text}
	anchors := make(anchors)
	var opened string // the fence that has to be closed
	var indent int
	visible := comment.ReplaceAllStringFunc(text, func(hidden string) string {
		return strings.Repeat("\n", strings.Count(hidden, "\n"))
	})
	for i, line := range strings.Split(visible, "\n") {
		line = strings.TrimSuffix(line, "\r")
		mark := fence.FindStringSubmatch(line)
		switch {
		case opened != "" && mark != nil && mark[3] == "" && strings.HasPrefix(mark[2], opened):
			opened = ""
		case opened != "":
			block := &d.Blocks[len(d.Blocks)-1]
			block.Text += cutIndent(line, indent) + "\n"
		case mark != nil:
			opened, indent = mark[2], len(mark[1])
			d.Blocks = append(d.Blocks, Block{Language: mark[3], Line: i + 1})
		default:
			d.readProse(line, i+1, anchors)
		}
	}
	return d
}

// readProse reads a line that is not code.
func (d *Document) readProse(line string, n int, anchors anchors) {
	if h := heading.FindStringSubmatch(line); h != nil {
		text := plain(h[2])
		d.Headings = append(d.Headings, Heading{Level: len(h[1]), Text: text, Anchor: anchors.next(text), Line: n, Figures: make(Figures)})
	}
	if len(d.Headings) > 0 {
		d.Headings[len(d.Headings)-1].add(line)
	}
	line = codeSpan.ReplaceAllString(line, "`")
	for _, m := range image.FindAllStringSubmatch(line, -1) {
		d.Links = append(d.Links, Link{m[1], true, n})
	}
	for _, m := range inline.FindAllStringSubmatch(image.ReplaceAllString(line, "!"), -1) {
		d.Links = append(d.Links, Link{m[1], false, n})
	}
	for _, alone := range []*regexp.Regexp{reference, yamlURL} {
		if m := alone.FindStringSubmatch(line); m != nil {
			d.Links = append(d.Links, Link{m[1], false, n})
		}
	}
	for _, m := range attribute.FindAllStringSubmatch(line, -1) {
		for target := range strings.SplitSeq(m[2], ",") { // a srcset has several
			target, _, _ = strings.Cut(strings.TrimSpace(target), " ")
			d.Links = append(d.Links, Link{target, m[1] != "href", n})
		}
	}
}

// cutIndent takes the indent of a fence from a line of its block.
func cutIndent(line string, indent int) string {
	for indent > 0 && strings.HasPrefix(line, " ") {
		line, indent = line[1:], indent-1
	}
	return line
}
