package compat

import (
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/snippet"
)

// The code of the page on clients compiles. That for genkit is checked in genkit's module.
func TestSnippets(t *testing.T) {
	snippet.TestPage(t, "..", "docs/clients.md", func(code string) bool { return !strings.Contains(code, "genkit") })
}
