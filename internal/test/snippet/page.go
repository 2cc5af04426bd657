package snippet

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/document"
)

// TestPage checks the snippets of one page that own selects, in the module of the current
// folder. They may use some packages: without any given, those that the module's examples use.
// root is the path to the repository.
func TestPage(t *testing.T, root, path string, own func(code string) bool, packages ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) == 0 {
		if packages, err = Imports(".", "./examples/..."); err != nil {
			t.Fatal(err)
		}
	}
	checker, err := New(".", Scope, packages...)
	if err != nil {
		t.Fatal(err)
	}
	for _, failure := range checker.CheckPage(document.Parse(path, string(text)), own) {
		t.Error(failure)
	}
}
