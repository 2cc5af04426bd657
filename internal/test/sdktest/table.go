package sdktest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Columns is the head of the table in docs/clients.md, whose rows Run checks. With
// UPDATE_TABLE=1 in the environment it writes them instead.
const Columns = "| client | as with the plain transport | behaviours | error in an outage | cut stream | rescued streams | 400 keep-alives | cache | limits | cancel | requests per call in an outage |"

func checkRow(t *testing.T, cells []string) {
	t.Helper()
	path := page(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	row := "| " + strings.Join(cells, " | ") + " |"
	lines := strings.Split(string(text), "\n")
	head := -1
	for i, line := range lines {
		switch {
		case line == Columns:
			head = i
		case head >= 0 && strings.HasPrefix(line, "| "+cells[0]+" |"):
			if line == row {
				return
			}
			if os.Getenv("UPDATE_TABLE") == "" {
				t.Errorf("docs/clients.md says\n%s\nit is\n%s", line, row)
				return
			}
			lines[i] = row
			write(t, path, lines)
			return
		case head >= 0 && line == "":
			if os.Getenv("UPDATE_TABLE") == "" {
				t.Errorf("the table has no row %s", row)
				return
			}
			lines = append(lines[:i], append([]string{row}, lines[i:]...)...)
			write(t, path, lines)
			return
		}
	}
	t.Errorf("%s has no table with the head\n%s", path, Columns)
}

func write(t *testing.T, path string, lines []string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
}

// page finds the page on clients above the module whose tests run.
func page(t *testing.T) string {
	t.Helper()
	for _, root := range []string{"..", "../.."} {
		path := filepath.Join(root, "docs", "clients.md")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatal("no docs/clients.md above")
	return ""
}
