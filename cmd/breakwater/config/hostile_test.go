package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/breakwater-go/breakwater"
)

// Files that would take much memory or time are refused.
func TestLoad_HostileFiles(t *testing.T) {
	aliases := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for level := 'b'; level < 'p'; level++ {
		aliases += fmt.Sprintf("%c: &%c [%s]\n", level, level, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", level-1), 9), ", "))
	}
	for _, tt := range []struct{ name, text, want string }{
		{"too long", strings.Repeat("#", MaxFile+1), "has more than 1 MiB"},
		{"too deep, flow", strings.Repeat("[", 100_000), "is nested more than 24 levels deep"},
		{"too deep, block", strings.Repeat("a:\n", 1) + deep(200), "is nested more than 24 levels deep"},
		{"many values", "endpoints: [{host: ollama, tags: [" + strings.Repeat("x,", 100_000) + "x]}]\n", "more than 20000 values"},
		{"aliases of aliases", strings.ReplaceAll(aliases, "a: &a", "endpoints: &a") + "backups: *o\n", ""},
		{"an alias of tags, many times", "endpoints: [{host: ollama, tags: &t [" + strings.Repeat("x,", 200) + "x]}" + strings.Repeat(", {host: ollama, tags: *t}", 500) + "]\n", "more than 20000 values"},
		{"merges of merges", "endpoints:\n  - &e0 {host: ollama}\n" + merges(400), "more than 20000 values"},
		{"a merge of itself", "endpoints:\n  - &e {host: ollama, <<: *e}\n", ""},
		{"many mistakes", "endpoints: [" + strings.Repeat("{}, ", 1000) + "]\n", "has neither host nor url"},
		{"a long key", "endpoints: [{host: ollama}]\n" + strings.Repeat("x", 1000) + ": 1\n", "there is no such key"},
		{"NUL", "endpoints: [{host: ollama, name: \"a\\0b\"}]\n", "not printable ASCII"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(tt.text), env())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse = %.300v, want %q", err, tt.want)
			}
			var errs Errors
			if errors.As(err, &errs) && len(errs) > maxTold || err != nil && len(err.Error()) > 64<<10 {
				t.Errorf("%d mistakes, %d bytes", len(errs), len(err.Error()))
			}
		})
	}
}

func deep(levels int) string {
	var b strings.Builder
	for i := 1; i < levels; i++ {
		fmt.Fprintf(&b, "%sa:\n", strings.Repeat(" ", i))
	}
	return b.String()
}

func merges(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "  - &e%d {<<: [%s]}\n", i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*e%d, ", i-1), 3), ", "))
	}
	return b.String()
}

func TestLoad_Files(t *testing.T) {
	folder := t.TempDir()
	var errs Errors
	if _, err := Load(filepath.Join(folder, "none.yaml"), env()); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &errs) || errs[0].Line != 0 {
		t.Errorf("a file that does not exist: %v", err)
	}
	if _, err := Load(folder, env()); err == nil {
		t.Error("a folder is loaded")
	}
	path := filepath.Join(folder, "breakwater.yaml")
	for name, text := range map[string]string{"breakwater.yaml": "endpoints: [{host: deepseek, key: \"file:sub/key\"}]\n", "sub/key": "sk-1\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := Load(path, env())
	if err != nil || cfg.Endpoints[0].APIKey != "sk-1" {
		t.Errorf("Load = %v, %v", cfg, err)
	}
	if err := os.WriteFile(filepath.Join(folder, "sub/key"), make([]byte, maxSecret+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, env()); err == nil || !strings.Contains(err.Error(), "more than 64 KiB") {
		t.Errorf("a key of 64 KiB: %v", err)
	}
}

// Load neither panics nor hangs. What it takes, the library takes, and the printed form is
// taken again.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.yaml", example} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	vars := func(name string) (string, bool) { return "value-of-" + name, len(name)%3 > 0 }
	secrets := func(path string) (string, error) {
		if len(path)%5 == 0 {
			return "", fs.ErrNotExist
		}
		return "a-secret-of-a-file\n", nil
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := load("f.yaml", text, vars, secrets)
		if err != nil {
			for _, mistake := range err.(Errors) {
				if mistake.Problem == "" || mistake.Line < 0 || !utf8.ValidString(mistake.Error()) {
					t.Errorf("%+v", mistake)
				}
			}
			return
		}
		tr, err := breakwater.New(cfg.Options()...)
		if err != nil {
			t.Fatal(err)
		}
		tr.Close()
		printed, err := cfg.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := load("f.yaml", printed, vars, secrets)
		if err != nil {
			if strings.Contains(string(printed), redacted) || strings.Contains(string(printed), "${") || strings.Contains(string(printed), "file:") {
				return
			}
			t.Fatalf("the printed form is refused: %v\n%s", err, printed)
		}
		if second, _ := again.YAML(); string(second) != string(printed) {
			t.Errorf("printed again:\n%s\nbefore:\n%s", second, printed)
		}
	})
}
