package otelbreakwater

import (
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/snippet"
)

// The code of the page on tracing compiles.
func TestSnippets(t *testing.T) {
	own := func(code string) bool { return strings.Contains(code, "breakwater.") }
	snippet.TestPage(t, "..", "docs/tracing.md", own, ".", "github.com/breakwater-go/breakwater", "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp")
}
