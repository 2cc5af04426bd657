package breakwater

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A fileGraph has the files that each file of the root uses, and one name that
// shows it.
type fileGraph map[string]map[string]string

// TestArchitecture_Files keeps the root's files in floors: none uses a name of a
// file that uses one of its own, directly or through others.
func TestArchitecture_Files(t *testing.T) {
	if testing.Short() {
		t.Skip("it may have to compile what the root imports")
	}
	graph := filesUsed(t)
	if len(graph) > 25 {
		t.Errorf("the root has %d files of code, want at most 25", len(graph))
	}
	for _, cycle := range graph.cycles() {
		t.Errorf("these files use each other: %s", strings.Join(cycle, " "))
		for _, from := range cycle {
			for to, name := range graph[from] {
				if slices.Contains(cycle, to) {
					t.Logf("%s uses %s of %s", from, name, to)
				}
			}
		}
	}
}

// exports returns where the compiler has put the types of each package that the
// root imports.
func exports(t *testing.T) map[string]string {
	list, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for line := range strings.Lines(string(list)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return files
}

// filesUsed type-checks the root.
func filesUsed(t *testing.T) fileGraph {
	compiled := exports(t)
	open := func(path string) (io.ReadCloser, error) { return os.Open(compiled[path]) }
	fset := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	graph := make(fileGraph)
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") || name == "doc.go" {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
		graph[name] = make(map[string]string)
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", open)}
	pkg, err := config.Check("breakwater", fset, files, info)
	if err != nil {
		t.Fatal(err)
	}
	for use, object := range info.Uses {
		if object.Pkg() != pkg {
			continue
		}
		from, to := fset.Position(use.Pos()).Filename, fset.Position(object.Pos()).Filename
		if from != to {
			graph[from][to] = object.Name()
		}
	}
	return graph
}

// cycles returns the groups of files that use each other.
func (g fileGraph) cycles() (cycles [][]string) {
	reach := make(map[string]map[string]bool)
	for from := range g {
		seen := make(map[string]bool)
		var walk func(string)
		walk = func(at string) {
			for to := range g[at] {
				if !seen[to] {
					seen[to] = true
					walk(to)
				}
			}
		}
		walk(from)
		reach[from] = seen
	}
	done := make(map[string]bool)
	for from := range g {
		if done[from] || !reach[from][from] {
			continue
		}
		var cycle []string
		for to := range reach[from] {
			if reach[to][from] {
				cycle = append(cycle, to)
				done[to] = true
			}
		}
		slices.Sort(cycle)
		cycles = append(cycles, cycle)
	}
	return cycles
}

// TestArchitecture_Layers keeps what the root stands on from it, and its layers
// from the Transport.
func TestArchitecture_Layers(t *testing.T) {
	err := filepath.WalkDir("internal", func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == filepath.Join("internal", "test"): // what stands on the root
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			if spec.Path.Value == `"github.com/breakwater-go/breakwater"` {
				t.Errorf("%s imports the root", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob("*.go")
	for _, name := range names {
		if name == "client.go" || name == "status.go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if star, ok := n.(*ast.StarExpr); ok {
				if id, ok := star.X.(*ast.Ident); ok && id.Name == "Transport" {
					t.Errorf("%s names *Transport", name)
				}
			}
			return true
		})
	}
}

// longFunctions may be longer or branch more than others, for the reason given.
var longFunctions = map[string]string{}

// TestArchitecture_Functions bounds what one has to keep in mind at a time: 80
// lines, and 20 ways through a function (McCabe's cyclomatic complexity).
func TestArchitecture_Functions(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && hasModule(path):
			return filepath.SkipDir
		case d.IsDir(), !strings.HasSuffix(path, ".go"), strings.HasSuffix(path, "_test.go"):
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || longFunctions[path+":"+f.Name.Name] != "" {
				continue
			}
			if lines := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1; lines > 80 {
				t.Errorf("%s: %s has %d lines, want at most 80", path, f.Name.Name, lines)
			}
			if n := complexity(f); n > 20 {
				t.Errorf("%s: %s has a complexity of %d, want at most 20", path, f.Name.Name, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// hasModule reports whether a folder is a module of its own.
func hasModule(path string) bool {
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	return err == nil
}

// complexity counts the ways through a function.
func complexity(f *ast.FuncDecl) int {
	ways := 1
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			ways++
		case *ast.CaseClause:
			if n.List != nil {
				ways++
			}
		case *ast.CommClause:
			if n.Comm != nil {
				ways++
			}
		case *ast.BinaryExpr:
			if n.Op == token.LAND || n.Op == token.LOR {
				ways++
			}
		}
		return true
	})
	return ways
}
