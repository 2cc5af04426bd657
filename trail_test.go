package breakwater

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// classConstants returns the constants of type Class in a file, by their names
// without the prefix. documented reports whether each has a comment.
func classConstants(t *testing.T, path, prefix string) (values map[string]string, documented bool) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	values, documented = make(map[string]string), true
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Class" {
			name := spec.Names[0].Name
			if len(name) <= len(prefix) || name[:len(prefix)] != prefix {
				t.Errorf("%s: the name of %s does not begin with %s", path, name, prefix)
				return true
			}
			values[name[len(prefix):]] = spec.Values[0].(*ast.BasicLit).Value
			documented = documented && spec.Comment != nil
		}
		return true
	})
	return values, documented
}

// The classes that users see are those of the table, by the same names and
// values, and each is documented.
func TestClass_ConstantsAreThoseOfTheTable(t *testing.T) {
	public, documented := classConstants(t, "trail.go", "Class")
	internal, _ := classConstants(t, "internal/outcome/class.go", "")
	if !documented {
		t.Error("trail.go: a class has no comment")
	}
	for name, value := range internal {
		if public[name] != value {
			t.Errorf("Class%s is %s in trail.go, want %s", name, public[name], value)
		}
	}
	for name := range public {
		if internal[name] == "" {
			t.Errorf("Class%s is not in internal/outcome", name)
		}
	}
	if len(internal) == 0 {
		t.Error("internal/outcome has no classes")
	}
}
