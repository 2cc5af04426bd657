package npm

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

const document = "../../docs/clients-node.md"

// packages are those of a client, as the document names it.
var packages = map[string][]string{
	"openai": {"openai"}, "anthropic": {"@anthropic-ai/sdk"}, "vercel": {"ai", "@ai-sdk/deepseek"}, "langchain": {"@langchain/deepseek"},
}

// TestDocument compares the tables of the document with what is tested. UPDATE_TABLE=1 writes them.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	want := string(text)
	for name, table := range map[string]string{"results": results(t), "differences": differences()} {
		begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
		i, j := strings.Index(want, begin), strings.Index(want, end)
		if i < 0 || j < i {
			t.Fatalf("%s has no %s…%s", document, begin, end)
		}
		want = want[:i] + begin + "\n" + table + "\n" + want[j:]
	}
	if want == string(text) {
		return
	}
	if os.Getenv("UPDATE_TABLE") == "" {
		t.Fatalf("%s is not up to date: UPDATE_TABLE=1 GOWORK=off go test -run TestDocument .", document)
	}
	if err := os.WriteFile(document, []byte(want), 0o666); err != nil {
		t.Fatal(err)
	}
}

// results is the table of the clients.
func results(t *testing.T) string {
	text, err := os.ReadFile("package.json")
	if err != nil {
		t.Fatal(err)
	}
	var wanted struct {
		Dependencies map[string]string `json:"dependencies"`
	}
	if err := json.Unmarshal(text, &wanted); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| client | the same | deliberate | outage | error | requests |\n|---|---|---|---|---|---|\n")
	for _, c := range clients {
		var names []string
		for _, p := range packages[c.name] {
			names = append(names, p+" "+wanted.Dependencies[p])
		}
		answered, failed := 0, 0
		for _, o := range outages() {
			for _, action := range outageActions {
				if o.ends(action, c.name == "anthropic") {
					failed++
				} else {
					answered++
				}
			}
		}
		n, most := retries[c.name], ""
		if !c.obeys {
			most = "≤ "
		}
		fmt.Fprintf(&b, "| %s | %d calls | %d | %d | %d | %s%d (%d) |\n", strings.Join(names, ", "),
			len(common)+len(c.can)+len(refused())+len(left()), len(deliberate()), answered, failed, most, n[1], n[0])
	}
	return b.String()
}

// differences is the table of the deliberate ones.
func differences() string {
	var b strings.Builder
	b.WriteString("| the host | why the client sees something else |\n|---|---|\n")
	for _, p := range deliberate() {
		fmt.Fprintf(&b, "| %s | %s |\n", p.name, p.differs)
	}
	return b.String()
}
