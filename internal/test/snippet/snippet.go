// Package snippet type-checks the Go code of documents against the packages of
// a module. A snippet is a file, declarations, or statements. Imports that it
// leaves out are found by the names of the packages.
package snippet

import (
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"iter"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/breakwater-go/breakwater/internal/test/document"
)

// Scope has the variables that the snippets of the project use without
// declaring them.
var Scope = map[string]string{
	"ctx": "context.Context", "req": "*http.Request", "resp": "*http.Response", "err": "error",
	"key": "string", "otherKey": "string", "prompt": "string",
	"client": "*http.Client", "t": "*breakwater.Transport", "logger": "*slog.Logger",
}

// A Checker knows the packages that snippets may use.
type Checker struct {
	fset  *token.FileSet
	from  types.Importer
	names map[string]string   // of packages by their paths
	paths map[string][]string // of packages by their names
	scope map[string]string   // types by the names of variables
}

// New returns a Checker that knows the standard library and the packages that
// the patterns of go list name in a module's folder. The scope has the types of
// the variables that each snippet without a package clause finds declared.
func New(module string, scope map[string]string, patterns ...string) (*Checker, error) {
	const format = "{{.ImportPath}} {{.Name}} {{.DepOnly}} {{.Export}}"
	list := exec.Command("go", append([]string{"list", "-export", "-deps", "-f", format, "std"}, patterns...)...)
	list.Dir, list.Env = module, append(os.Environ(), "GOWORK=off")
	out, err := list.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return nil, err
	}
	compiled := make(map[string]string)
	c := &Checker{fset: token.NewFileSet(), names: make(map[string]string), paths: make(map[string][]string), scope: scope}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 4 { // unsafe, which is not compiled
			continue
		}
		path, name := fields[0], fields[1]
		c.names[path], compiled[path] = name, fields[3]
		if within := strings.Split(path, "/"); fields[2] == "false" && !slices.Contains(within, "internal") && !slices.Contains(within, "vendor") {
			c.paths[name] = append(c.paths[name], path)
		}
	}
	c.from = importer.ForCompiler(c.fset, "gc", func(path string) (io.ReadCloser, error) {
		if compiled[path] == "" {
			return nil, errors.New("not among the packages that snippets may use")
		}
		return os.Open(compiled[path])
	})
	return c, nil
}

// Imports returns what the packages that patterns name import, to be given to
// New: snippets may then use what programs use.
func Imports(module string, patterns ...string) ([]string, error) {
	list := exec.Command("go", append([]string{"list", "-f", `{{join .Imports "\n"}}`}, patterns...)...)
	list.Dir, list.Env = module, append(os.Environ(), "GOWORK=off")
	out, err := list.Output()
	imports := strings.Fields(string(out))
	slices.Sort(imports)
	return slices.Compact(imports), err
}

// CheckPage checks the snippets of a page that are Go, or a diff of Go, and
// that a test takes for its own. It returns what does not compile.
func (c *Checker) CheckPage(page *document.Document, own func(code string) bool) (failures []string) {
	for _, block := range page.Blocks {
		code := block.Text
		switch block.Language {
		case "go":
		case "diff":
			code = afterDiff(code)
		default:
			continue
		}
		if !own(code) {
			continue
		}
		if err := c.Check(code); err != nil {
			failures = append(failures, fmt.Sprintf("%s:%d: %v", page.Path, block.Line, err))
		}
	}
	return failures
}

// afterDiff returns what a diff makes of a text.
func afterDiff(diff string) string {
	var after strings.Builder
	for line := range strings.Lines(diff) {
		switch line[0] {
		case '-':
		case '+', ' ':
			after.WriteString(line[1:])
		default:
			after.WriteString(line)
		}
	}
	return after.String()
}

// Check returns why a snippet does not compile, by its lines. It may leave
// variables and imports unused, and statements may return an error, or what a
// RoundTripper returns.
func (c *Checker) Check(text string) error {
	if strings.HasPrefix(strings.TrimSpace(text), "package ") {
		return c.check("//line snippet:1\n" + text)
	}
	imports, text := cutImports(text)
	scope := c.declare(imports)
	if _, err := c.parse("package p; " + imports + text); err == nil { // declarations
		return c.complete(imports, text+scope)
	}
	var first error
	for _, results := range []string{"", "error", "(*http.Response, error)"} {
		err := c.complete(imports, "\nfunc _() "+results+" {"+text+"panic(0)\n}\n"+scope)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

var leadingImports = regexp.MustCompile(`^(\s*import (\([^)]*\)|[^\n]*)\n)+`)

// cutImports cuts a snippet after its imports. What is left says by which line
// it begins, and where it ends.
func cutImports(text string) (imports, rest string) {
	imports = leadingImports.FindString(text)
	rest = fmt.Sprintf("\n//line snippet:%d\n%s\n//line the scope:1\n", strings.Count(imports, "\n")+1, text[len(imports):])
	return "\n//line snippet:1\n" + imports, rest
}

// declare returns the declarations of the scope, but those in whose place a
// snippet imports a package.
func (c *Checker) declare(imports string) (scope string) {
	taken := make(map[string]bool)
	if file, err := c.parse("package p; " + imports); err == nil {
		taken = c.imported(file)
	}
	for name, kind := range c.scope {
		if !taken[name] {
			scope += "var " + name + " " + kind + "\n"
		}
	}
	return scope
}

// complete checks a file that lacks its package clause and some imports.
func (c *Checker) complete(imports, text string) error {
	file, err := c.parse("package p; " + imports + text)
	if err != nil {
		return err
	}
	var first error
	for more := range c.imports(c.missing(file)) {
		err := c.check("package p; " + more + imports + text)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// imported returns the names by which a file imports packages.
func (c *Checker) imported(file *ast.File) map[string]bool {
	names := make(map[string]bool)
	for _, spec := range file.Imports {
		if spec.Name != nil {
			names[spec.Name.Name] = true
		} else {
			names[c.names[strings.Trim(spec.Path.Value, `"`)]] = true
		}
	}
	return names
}

// missing returns the names of packages that a file uses and does not import.
func (c *Checker) missing(file *ast.File) (missing []string) {
	unresolved := make(map[*ast.Ident]bool)
	for _, id := range file.Unresolved {
		unresolved[id] = true
	}
	found := c.imported(file)
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := s.X.(*ast.Ident); ok && unresolved[id] && !found[id.Name] && c.paths[id.Name] != nil {
				found[id.Name] = true
				missing = append(missing, id.Name)
			}
		}
		return true
	})
	return missing
}

// imports returns the declarations that import packages of these names: more
// than one, where several packages have a name.
func (c *Checker) imports(names []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if len(names) == 0 {
			yield("")
			return
		}
		for rest := range c.imports(names[1:]) {
			for _, path := range c.paths[names[0]] {
				if !yield(fmt.Sprintf("import %s %q; %s", names[0], path, rest)) {
					return
				}
			}
		}
	}
}

func (c *Checker) parse(text string) (*ast.File, error) {
	return parser.ParseFile(c.fset, "", text, 0)
}

// check checks a whole file.
func (c *Checker) check(text string) error {
	file, err := c.parse(text)
	if err != nil {
		return err
	}
	var first error
	config := types.Config{Importer: c.from, Error: func(err error) {
		if e, ok := err.(types.Error); first == nil && (!ok || !e.Soft) { // unused is soft
			first = err
		}
	}}
	config.Check("p", c.fset, []*ast.File{file}, nil)
	return first
}
