package genkit

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// The example runs offline, and gets its answer from the backup.
func TestExample(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "run", "./examples/genkit")
	cmd.Env = append(os.Environ(), "GOWORK=off", "DEEPSEEK_API_KEY=")
	out, err := cmd.CombinedOutput()
	if text := string(out); err != nil || !strings.Contains(text, kit.Answer("what is a breakwater?")) || !strings.Contains(text, "backup: ok, accept") {
		t.Errorf("it said %s, %v", text, err)
	}
}
