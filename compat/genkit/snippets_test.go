package genkit

import (
	"os"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/document"
	"github.com/breakwater-go/breakwater/internal/test/snippet"
)

// The page on clients has code for genkit that compiles.
func TestSnippets(t *testing.T) {
	const path = "docs/clients.md"
	text, err := os.ReadFile("../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	imports, err := snippet.Imports(".", "./examples/...")
	if err != nil {
		t.Fatal(err)
	}
	checker, err := snippet.New(".", snippet.Scope, imports...)
	if err != nil {
		t.Fatal(err)
	}
	page := document.Parse(path, string(text))
	for _, failure := range checker.CheckPage(page, func(code string) bool { return strings.Contains(code, "genkit") }) {
		t.Error(failure)
	}
}
