package compat

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// Every example runs offline, and gets its answer from the backup.
func TestExamples(t *testing.T) {
	mains, err := filepath.Glob("examples/*/main.go")
	if err != nil || len(mains) < 9 {
		t.Fatalf("%d examples, %v", len(mains), err)
	}
	for _, main := range mains {
		dir := filepath.Dir(main)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "go", "run", "./"+dir)
			cmd.Env = append(os.Environ(), "GOWORK=off", "DEEPSEEK_API_KEY=")
			out, err := cmd.CombinedOutput()
			if text := string(out); err != nil || !strings.Contains(text, kit.Answer("what is a breakwater?")) || !strings.Contains(text, "backup: ok, accept") {
				t.Errorf("it said %s, %v", text, err)
			}
		})
	}
}
