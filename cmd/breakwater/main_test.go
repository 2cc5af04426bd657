package main

import (
	"bytes"
	"strings"
	"testing"
)

// runs runs a command line as a shell would, and returns what it prints.
func runs(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, &out, &errs)
	return status, out.String(), errs.String()
}

func TestCommand_Usage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"healthchek"}, `unknown command "healthchek"`},
		{[]string{"--colour"}, "unknown flag: --colour"},
	} {
		status, stdout, stderr := runs(t, tt.args...)
		if status != statusUsage || stdout != "" || !strings.Contains(stderr, tt.want) || !strings.Contains(stderr, "--help") {
			t.Errorf("%q: status %d, stdout %q, stderr %q, want %d and %q", tt.args, status, stdout, stderr, statusUsage, tt.want)
		}
	}
}

func TestCommand_Help(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"help"}, {"--version"}} {
		status, stdout, stderr := runs(t, args...)
		if status != statusOK || stderr != "" || !strings.Contains(stdout, "breakwater") {
			t.Errorf("%q: status %d, stdout %q, stderr %q", args, status, stdout, stderr)
		}
		for line := range strings.Lines(stdout) {
			if len(line) > 80 {
				t.Errorf("%q: a line of %d columns: %s", args, len(line)-1, line)
			}
		}
	}
}
