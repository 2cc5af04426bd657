package snippet

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/document"
)

// TestPage checks the snippets of one page that own selects, in the module of the current
// folder. They may use the packages that the module's examples use. root is the path to
// the repository.
func TestPage(t *testing.T, root, path string, own func(code string) bool) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	imports, err := Imports(".", "./examples/...")
	if err != nil {
		t.Fatal(err)
	}
	checker, err := New(".", Scope, imports...)
	if err != nil {
		t.Fatal(err)
	}
	for _, failure := range checker.CheckPage(document.Parse(path, string(text)), own) {
		t.Error(failure)
	}
}
