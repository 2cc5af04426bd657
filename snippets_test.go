package breakwater

import (
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/snippet"
)

// The Go code of the documents compiles, and so does what their diffs make of
// code. The snippets of docs/clients.md need SDKs: compat's TestSnippets checks
// them.
func TestDocuments_SnippetsCompile(t *testing.T) {
	pages := documents(t)
	checker, err := snippet.New(".", snippet.Scope, ".", "./breakwatertest", "./storetest")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for name, page := range pages {
		if rewritten[name] || name == "docs/clients.md" || name == "docs/zh-CN/clients.md" {
			continue
		}
		for _, block := range page.Blocks {
			code := block.Text
			switch block.Language {
			case "go":
			case "diff":
				code = snippet.AfterDiff(code)
			default:
				continue
			}
			checked++
			if err := checker.Check(code); err != nil {
				t.Errorf("%s:%d: %v", name, block.Line, err)
			}
		}
	}
	t.Logf("%d snippets were checked", checked)
}
