package document

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestAnchors takes GitHub's word for what an anchor is.
func TestAnchors(t *testing.T) {
	d := Parse("a.md", "# Breakwater's `Off`, and *more*\n\n## What it costs\n## What it costs\n## [A link](b.md) & an end\n```sh\n# no heading\n```\n"+
		"## 流式输出，中断之后（续写）\n## snake_case: 1.5 × 2\n## What it costs #\n<!--\n## hidden\n-->\n")
	want := []string{"breakwaters-off-and-more", "what-it-costs", "what-it-costs-1", "a-link--an-end", "流式输出中断之后续写", "snake_case-15--2", "what-it-costs-2"}
	var got []string
	for _, h := range d.Headings {
		got = append(got, h.Anchor)
	}
	if !slices.Equal(got, want) {
		t.Errorf("anchors %q, want %q", got, want)
	}
}

func TestParse_BlocksAndLinks(t *testing.T) {
	d := Parse("a.md", "[a](b.md \"title\") and ![picture](c.svg), `[no](link.md)`\n[![badge](d.svg)](https://e)\n\n1. code:\n   ```go\n   x := 1\n   ~~~\n   ```\n"+
		"<source srcset=\"f.svg, g.svg 2x\"><img src=\"h.svg\">\n[i]: j.md\n    url: m.md\n````text\n```\n[none](here.md)\n````\n[`k`](l(1).md)\n")
	var links []string
	for _, link := range d.Links {
		name := link.Target
		if link.Image {
			name = "!" + name
		}
		links = append(links, name)
	}
	if want := "!c.svg b.md !d.svg https://e !f.svg !g.svg !h.svg j.md m.md l(1).md"; strings.Join(links, " ") != want {
		t.Errorf("links %q, want %q", links, want)
	}
	if want := []Block{{"go", "x := 1\n~~~\n", 5}, {"text", "```\n[none](here.md)\n", 12}}; !slices.Equal(d.Blocks, want) {
		t.Errorf("blocks %+v, want %+v", d.Blocks, want)
	}
}

func TestBrokenLinks(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	repository := fstest.MapFS{
		"README.md": file("# Title\n## Twice\n## Twice\n"), "docs/a.md": file("# Ä\n## 缓存\n"),
		"docs/p.svg": file("<svg/>"), ".github/f.yml": file("url: x"), "main.go": file("package main"), "testdata/bad.md": file("[x](no.md)"),
	}
	pages, err := ParseAll(repository)
	if err != nil || len(pages) != 3 {
		t.Fatalf("%d pages, %v, want 3", len(pages), err)
	}
	for target, want := range map[string]string{
		"#ä": "", "#缓存": "", "#%E7%BC%93%E5%AD%98": "", "../README.md#twice-1": "", "p.svg": "", "..": "", "../main.go#L1-L2": "", "https://example.com/#x": "", files + "docs/a.md#缓存": "", "mailto:a@b.c": "",
		"#Ä": "no such heading", "#ä-1": "no such heading", "../README.md#twice-2": "no such heading", "b.md": "no such file", "A.md": "no such file", "../../issues": "no such file",
		files + "a.md": "no such file", files + "README.md#x": "no such heading", "/README.md": "slash", "http://example.com": "no https", "https:": "no https", "../main.go#main": "no page", "": "empty", "%zz": "invalid URL",
	} {
		broken := pages.BrokenLinks(&Document{Path: "docs/a.md", Links: []Link{{Target: target, Line: 3}}}, repository)
		if got := strings.Join(broken, "\n"); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q is broken because of %q, want %q", target, got, want)
		}
	}
}

func TestLeadsTo(t *testing.T) {
	d := Parse("docs/a.md", "[b](b.md#x) [c](../c.md) [d]("+files+"d/) `[e](e.md)` [f](https://f.md)\n")
	for name, want := range map[string]bool{"docs/b.md": true, "c.md": true, "d": true, "docs/e.md": false, "b.md": false, "f.md": false, "docs/a.md": false} {
		if got := d.LeadsTo(name); got != want {
			t.Errorf("a link leads to %s: %v, want %v", name, got, want)
		}
	}
}

func TestSizes(t *testing.T) {
	d := Parse("a.md", "# One two\n\n```go\nif x {\n\ty := \"缓存\" // é\n}\n```\n")
	if d.Words() != 14 || d.Lines() != 7 {
		t.Errorf("%d words and %d lines, want 14 and 7", d.Words(), d.Lines())
	}
	if got := d.WideLines(20); len(got) != 0 {
		t.Errorf("too wide: %q, want none", got)
	}
	if got := d.WideLines(19); len(got) != 1 || !strings.HasPrefix(got[0], "a.md:5: 20 columns") {
		t.Errorf("too wide: %q, want line 5", got)
	}
}

func TestDifferences(t *testing.T) {
	const original = "# Title\n1,200 words, at 0.5, see [x](p2.md)\n## Use\n```go\nx() // 3 times\n```\n![p](p.svg)\n"
	const translation = "# 标题\n0.5，1200 个词\n## 使用\n```go\nx() // 三次\n```\n![图](q.svg)\n"
	for name, tt := range map[string]struct{ old, new, want string }{
		"equal":             {"", "", ""},
		"a figure missing":  {"0.5，", "", "leaves out 0.5"},
		"another figure":    {"1200", "1300", "names 1300"},
		"no section":        {"## 使用\n", "", `no section for "Use"`},
		"another level":     {"## 使用", "### 使用", "level 3"},
		"one more section":  {"## 使用", "## 使用\n## 更多", "no original"},
		"other code":        {"x()", "y()", "not that of"},
		"another language":  {"```go", "```sh", "not that of"},
		"no code":           {"```go\nx() // 三次\n```\n", "", "left out"},
		"more code":         {"![图]", "```go\n```\n![图]", "no original"},
		"an image missing":  {"![图](q.svg)\n", "", "0 images, want 1"},
		"a figure in place": {"0.5，1200 个词\n## 使用", "1200 个词\n## 使用 0.5", "names 0.5"},
	} {
		got := strings.Join(Differences(Parse("en.md", original), Parse("zh.md", strings.Replace(translation, tt.old, tt.new, 1))), "\n")
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
