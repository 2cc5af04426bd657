package lint

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const unit = "../systemd/breakwater.service"

// analyze runs systemd-analyze on the unit, whose program is one that this machine has.
func analyze(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	program, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "breakwater.service")
	write(t, file, strings.ReplaceAll(string(read(t, unit)), "/usr/local/bin/breakwater", program))
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", append(args, file)...).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze %s: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestSystemd_Verifies(t *testing.T) {
	if out := analyze(t, "verify"); strings.TrimSpace(out) != "" {
		t.Errorf("it says:\n%s", out)
	}
}

// TestSystemd_Exposure bounds what the unit may do, on systemd's scale from 0 to 10.
func TestSystemd_Exposure(t *testing.T) {
	out := analyze(t, "security", "--offline=yes", "--no-pager")
	found := regexp.MustCompile(`exposure level for \S+: ([\d.]+)`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no level in:\n%s", out)
	}
	if level, err := strconv.ParseFloat(found[1], 64); err != nil || level > 1.5 {
		t.Errorf("the exposure level is %s, want at most 1.5\n%s", found[1], out)
	}
}
