package breakwater

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/document"
)

// documents returns all pages of the repository. In the module cache, what they
// link to is missing.
func documents(t *testing.T) document.Set {
	if !hasModule("compat") {
		t.Skip("the other modules of the repository are not here")
	}
	pages, err := document.ParseAll(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	if pages["README.md"] == nil || len(pages) < 10 {
		t.Fatalf("of the pages only %q were found", pages.Paths())
	}
	return pages
}

// inDocs reports whether a page is of the manual: a README, or in docs.
func inDocs(page *document.Document) bool {
	return strings.HasPrefix(page.Path, "README") || strings.HasPrefix(page.Path, "docs/")
}

// originalOf returns the path of the page that a page translates, or "".
func originalOf(page string) string {
	switch {
	case page == "README.zh-CN.md":
		return "README.md"
	case strings.HasPrefix(page, "docs/zh-CN/"):
		return "docs/" + strings.TrimPrefix(page, "docs/zh-CN/")
	}
	return ""
}

// A page is read in five to ten minutes, and its code fits a narrow window. A
// translation is as long as its original makes it.
func TestDocuments_AreShort(t *testing.T) {
	for name, page := range documents(t) {
		if !inDocs(page) {
			continue
		}
		most := 1500
		if name == "README.md" {
			most = 1200
			if lines := page.Lines(); lines > 200 {
				t.Errorf("%s has %d lines, want at most 200", name, lines)
			}
		}
		if words := page.Words(); words > most && originalOf(name) == "" {
			t.Errorf("%s has %d words, want at most %d", name, words, most)
		}
		for _, wide := range page.WideLines(79) {
			t.Error(wide)
		}
	}
}

// A page begins with its title, and has one.
func TestDocuments_BeginWithTheirTitle(t *testing.T) {
	for name, page := range documents(t) {
		var titles []int
		for _, h := range page.Headings {
			if h.Level == 1 {
				titles = append(titles, h.Line)
			}
		}
		if path.Ext(name) == ".md" && !strings.HasPrefix(name, ".github/") && !slices.Equal(titles, []int{1}) {
			t.Errorf("%s has titles in the lines %d, want one in line 1", name, titles)
		}
	}
}

func TestDocuments_PackageCommentIsShort(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	if words := len(strings.Fields(file.Doc.Text())); words > 900 {
		t.Errorf("doc.go has %d words, want at most 900", words)
	}
}

func TestDocuments_LinksLeadSomewhere(t *testing.T) {
	pages := documents(t)
	for _, page := range pages {
		for _, broken := range pages.BrokenLinks(page, os.DirFS(".")) {
			t.Error(broken)
		}
	}
}

// The index of the documents has each page, but those of a folder that a page
// of the same name has. The Chinese README is the index of the Chinese ones.
func TestDocuments_AreInTheIndex(t *testing.T) {
	pages := documents(t)
	for name := range pages {
		index := "docs/README.md"
		switch within := pages[path.Dir(name)+".md"]; {
		case !strings.HasPrefix(name, "docs/"), name == index:
			continue
		case strings.HasPrefix(name, "docs/zh-CN/"):
			index = "README.zh-CN.md"
		case within != nil:
			index = within.Path
		}
		if page := pages[index]; page != nil && !page.LeadsTo(name) {
			t.Errorf("%s has no link to %s", index, name)
		}
	}
}

// The documents ask for the Go that the module asks for.
func TestDocuments_NameTheGoVersion(t *testing.T) {
	module, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := "Go " + string(regexp.MustCompile(`(?m)^go (1\.\d+)`).FindSubmatch(module)[1])
	for name, page := range documents(t) {
		for _, got := range regexp.MustCompile(`\bGo 1\.\d+`).FindAllString(page.Text, -1) {
			if got != want {
				t.Errorf("%s names %s, want %s", name, got, want)
			}
		}
	}
}

// A translation has the sections, code, figures and pictures of its original.
func TestDocuments_TranslationsSayTheSame(t *testing.T) {
	pages := documents(t)
	for name, page := range pages {
		original := originalOf(name)
		if original == "" {
			continue
		}
		if pages[original] == nil {
			t.Errorf("%s translates %s, which does not exist", name, original)
			continue
		}
		for _, difference := range document.Differences(pages[original], page) {
			t.Error(difference)
		}
	}
}

// The documents promise nothing without a test, and each test that they name
// exists in some module of the repository.
func TestDocuments_NameTestsThatExist(t *testing.T) {
	pages := documents(t)
	defined := definedTests(t)
	named := regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	for name, page := range pages {
		for _, test := range named.FindAllString(page.Text, -1) {
			if !defined[test] && test != "TestX" { // any test
				t.Errorf("%s names %s, which does not exist", name, test)
			}
		}
	}
	if !defined["FuzzOrigin"] || defined["TestX"] {
		t.Error("not the tests of the repository were found")
	}
}

// definedTests returns the names of the tests of all modules, and the parts of
// names that several tests share, which -run selects: TestA of TestA_B.
func definedTests(t *testing.T) map[string]bool {
	defined := make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range function.FindAllStringSubmatch(string(text), -1) {
			defined[name[1]] = true
			group, _, _ := strings.Cut(name[1], "_")
			defined[group] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return defined
}
