package snippet

import (
	"slices"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/document"
)

func TestCheck(t *testing.T) {
	c, err := New(".", map[string]string{"resp": "*http.Response", "err": "error", "rand": "int"})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ text, want string }{
		"a file":                      {"package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc main() { fmt.Println() }\n", ""},
		"declarations":                {"type a struct{ r *http.Request }\n\nfunc f() int { return 1 }\n", ""},
		"declarations with imports":   {"import h \"net/http\"\n\nvar a h.Header\n", ""},
		"imports and statements":      {"import h \"net/http\"\nimport (\n\t\"math/rand\"\n)\n\nvar a h.Header\nrand.Int()\na = resp.Header\n", ""},
		"a line after imports":        {"import (\n\t\"fmt\"\n)\nfmt.None()\n", "snippet:4: undefined: fmt.None"},
		"statements":                  {"body, err := io.ReadAll(resp.Body)\nif err == nil {\n\tresp = nil\n}\n", ""},
		"an error returned":           {"if err != nil {\n\treturn err\n}\n", ""},
		"an answer returned":          {"return resp, err\n", ""},
		"one of several packages":     {"t := template.New(\"\").Funcs(template.FuncMap{})\ns := scanner.ErrorList{}\n", ""},
		"a name of a package":         {"http := resp.Header\nhttp.Get(\"a\")\n", ""},
		"nothing of a package":        {"http.None()\n", "snippet:1: undefined: http.None"},
		"nothing of several packages": {"x := 1\nscanner.None()\n", "snippet:2: undefined: scanner.None"},
		"an unknown package":          {"breakwater.New()\n", "snippet:1: undefined: breakwater"},
		"an unknown variable":         {"prompt = \"\"\n", "snippet:1: undefined: prompt"},
		"a type that does not fit":    {"\nresp.StatusCode = \"200\"\n", "snippet:2: cannot use"},
		"too few results":             {"x := resp.Body.Read(nil)\n", "snippet:1: assignment mismatch"},
		"no Go":                       {"x := := 1\n", "snippet:1: expected operand"},
		"no import of a file":         {"package main\n\nfunc main() { fmt.Println() }\n", "snippet:3: undefined: fmt"},
		"an unknown import":           {"package main\n\nimport _ \"example.com/none\"\n", "not among the packages"},
		"results that nobody wants":   {"return 1, 2, 3\n", "snippet:1: too many return values"},
	} {
		if err := c.Check(tt.text); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestCheckPage(t *testing.T) {
	c, err := New(".", nil)
	if err != nil {
		t.Fatal(err)
	}
	page := document.Parse("a.md", "# A\n```go\nx := 1\n```\n```text\nno Go\n```\n```diff\n-y := 1\n+y := time.None()\n```\n```go\nothers()\n```\n```go\nz\n```\n")
	got := c.CheckPage(page, func(code string) bool { return code != "others()\n" })
	want := []string{"a.md:8: snippet:1: undefined: time.None", "a.md:15: snippet:1: undefined: z"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestImports(t *testing.T) {
	got, err := Imports(".", ".")
	if err != nil || !slices.Contains(got, "go/types") {
		t.Errorf("%q, %v, want go/types among them", got, err)
	}
	if _, err := Imports(".", "./none"); err == nil {
		t.Error("a package that does not exist imports nothing, want an error")
	}
}

func TestAfterDiff(t *testing.T) {
	const diff = "@@ -1 +1 @@\n-a := 1\n+a := 2\n+\n b := a\n\nc := b\n"
	if got, want := afterDiff(diff), "a := 2\n\nb := a\n\nc := b\n"; !strings.HasSuffix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
