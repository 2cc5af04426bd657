package prombreakwater

import (
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/snippet"
)

// The code of the page on metrics that needs Prometheus compiles.
func TestSnippets(t *testing.T) {
	own := func(code string) bool { return strings.Contains(code, "prombreakwater.") }
	snippet.TestPage(t, "..", "docs/metrics.md", own, ".", "github.com/breakwater-go/breakwater", "github.com/prometheus/client_golang/prometheus")
}
