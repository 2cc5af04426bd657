package breakwater

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The documents promise nothing without a test, and each test that they name
// exists in some module of the repository.
func TestDocuments_NameTestsThatExist(t *testing.T) {
	defined := make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range function.FindAllStringSubmatch(string(text), -1) {
			defined[name[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	documents, _ := filepath.Glob("*.md")
	more, _ := filepath.Glob("docs/*.md")
	named := regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	for _, document := range append(documents, more...) {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range named.FindAllString(string(text), -1) {
			if !defined[name] {
				t.Errorf("%s names %s, which does not exist", document, name)
			}
		}
	}
	if !defined["FuzzOrigin"] {
		t.Error("no tests were found: nothing was tested")
	}
}
