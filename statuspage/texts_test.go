package statuspage

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/breakwater-go/breakwater"
)

// Every text of the page has its Chinese one, and there is no other.
func TestTexts(t *testing.T) {
	code, err := os.ReadFile("view.go")
	if err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	for _, call := range regexp.MustCompile(`\.T\(?\s*("[^"]+")`).FindAllStringSubmatch(source+string(code), -1) {
		text, err := strconv.Unquote(call[1])
		if err != nil {
			t.Fatal(err)
		}
		used[text] = true
	}
	for _, text := range []string{"%s ago", "in %s", "Down: ", "Paused: ", "Not well: ", cacheName} { // these are in variables
		used[text] = true
	}
	for text := range used {
		if chinese[text] == "" {
			t.Errorf("%q has no Chinese text", text)
		}
		if strings.Count(text, "%") != strings.Count(chinese[text], "%") {
			t.Errorf("%q and %q do not have the same values", text, chinese[text])
		}
	}
	for text := range chinese {
		if !used[text] {
			t.Errorf("nothing shows %q", text)
		}
	}
	if n := len(used); n < 60 {
		t.Errorf("only %d texts were found", n)
	}
}

// Every value that the page may show has a word, and there is no other.
func TestWords(t *testing.T) {
	known := make(map[string]bool)
	for _, file := range []string{"../trail.go", "snapshot.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			kind, _ := spec.Type.(*ast.Ident)
			value, _ := spec.Values[0].(*ast.BasicLit)
			if kind == nil || value == nil {
				return true
			}
			switch kind.Name {
			case "Class", "Outcome", "Fault", "Verdict", "State":
				word, _ := strconv.Unquote(value.Value)
				known[word] = true
			}
			return true
		})
	}
	if n := len(known); n < 40 {
		t.Fatalf("only %d values were found", n)
	}
	for _, reason := range []breakwater.Reason{breakwater.ReasonCircuit, breakwater.ReasonPaused, breakwater.ReasonQuarantine, breakwater.ReasonLimit, breakwater.ReasonSpill, breakwater.ReasonShift} {
		known[string(reason)] = true
	}
	for _, state := range []string{"closed", "half-open", "open"} {
		known[state] = true
	}
	for word := range known {
		if !strings.ContainsFunc(words[word], func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
			t.Errorf("%q has no Chinese word", word)
		}
	}
	for word := range words {
		if !known[word] {
			t.Errorf("no constant is %q", word)
		}
	}
}
