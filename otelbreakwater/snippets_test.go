package otelbreakwater

import (
	"os"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/document"
	"github.com/breakwater-go/breakwater/internal/test/snippet"
)

// The code of the page on tracing compiles.
func TestSnippets(t *testing.T) {
	text, err := os.ReadFile("../docs/tracing.md")
	if err != nil {
		t.Fatal(err)
	}
	checker, err := snippet.New(".", snippet.Scope, ".", "github.com/breakwater-go/breakwater", "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp")
	if err != nil {
		t.Fatal(err)
	}
	for _, failure := range checker.CheckPage(document.Parse("docs/tracing.md", string(text)), func(code string) bool { return strings.Contains(code, "breakwater.") }) {
		t.Error(failure)
	}
}
