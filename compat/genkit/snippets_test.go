package genkit

import (
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/snippet"
)

// The code for genkit on the page on clients compiles.
func TestSnippets(t *testing.T) {
	snippet.TestPage(t, "../..", "docs/clients.md", func(code string) bool { return strings.Contains(code, "genkit") })
}
