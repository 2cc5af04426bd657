package breakwater

import (
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/snippet"
)

// The Go code of the documents compiles, and so does what their diffs make of
// code. The snippets of the page on clients need SDKs: TestSnippets of the
// modules compat and compat/genkit checks them. Those that need Prometheus or
// OpenTelemetry are checked by their modules, and that of the configuration is an example of its package.
func TestDocuments_SnippetsCompile(t *testing.T) {
	pages := documents(t)
	checker, err := snippet.New(".", snippet.Scope, ".", "./breakwatertest", "./storetest", "./slo", "./statuspage", "./chaos", "./diagnose")
	if err != nil {
		t.Fatal(err)
	}
	for name, page := range pages {
		if name == "docs/clients.md" {
			continue
		}
		for _, failure := range checker.CheckPage(page, func(code string) bool {
			return !strings.Contains(code, "prombreakwater.") && !strings.Contains(code, "otelbreakwater.") && !strings.Contains(code, "config.Load")
		}) {
			t.Error(failure)
		}
	}
}
