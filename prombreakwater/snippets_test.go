package prombreakwater

import (
	"os"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/document"
	"github.com/breakwater-go/breakwater/internal/test/snippet"
)

// The code of the page on metrics that needs Prometheus compiles.
func TestSnippets(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	checker, err := snippet.New(".", snippet.Scope, ".", "github.com/breakwater-go/breakwater", "github.com/prometheus/client_golang/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	ours := func(code string) bool { return strings.Contains(code, "prombreakwater.") }
	for _, failure := range checker.CheckPage(document.Parse("docs/metrics.md", string(text)), ours) {
		t.Error(failure)
	}
}
