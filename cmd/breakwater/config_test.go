package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater/cmd/breakwater/config"
)

// inFolder makes a folder of files the working directory.
func inFolder(t *testing.T, files map[string]string) {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(folder)
}

// withoutKeys unsets all variables with keys.
func withoutKeys(t *testing.T) {
	for _, v := range config.Variables() {
		t.Setenv(v.Name, "")
	}
}

const goodFile = `
endpoints:
  - host: deepseek
    key: ${DEEPSEEK_API_KEY}
backups:
  - host: siliconflow
    key: not-a-real-key-1
cache: {ttl: 1m}
`

func TestConfigCheck(t *testing.T) {
	withoutKeys(t)
	t.Setenv("DEEPSEEK_API_KEY", "sk-not-a-real-key")
	inFolder(t, map[string]string{
		"good.yaml": goodFile,
		"bad.yaml":  "endpoints:\n  - host: deepsek\n    key: x\nretry: {patience: 30}\n",
	})
	for _, tt := range []struct {
		name           string
		args           []string
		status         int
		stdout, stderr string // a part
	}{
		{"a good file", []string{"good.yaml"}, statusOK, "backup 1    siliconflow  https://api.siliconflow.com/v1\n  policies    cache\n", ""},
		{"a bad file", []string{"bad.yaml"}, statusUsage, "", "bad.yaml:2:11: endpoints[0].host: is \"deepsek\": did you mean deepseek?\n" +
			"bad.yaml:4:19: retry.patience: is \"30\", a number without a unit: want a duration such as 30s\n2 mistakes\n"},
		{"no such file", []string{"none.yaml"}, statusUsage, "", "none.yaml: cannot be read: "},
		{"the environment", nil, statusOK, "environment: nothing is wrong\n  endpoints   deepseek  https://api.deepseek.com\n", ""},
		{"two files", []string{"good.yaml", "bad.yaml"}, statusUsage, "", "accepts at most 1 arg"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := runs(t, append([]string{"config", "check"}, tt.args...)...)
			if status != tt.status || !strings.Contains(stdout, tt.stdout) || (tt.stdout == "") != (stdout == "") || !strings.Contains(stderr, tt.stderr) || (tt.stderr == "") != (stderr == "") {
				t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
			}
		})
	}
	if err := os.Rename("good.yaml", configFile); err != nil {
		t.Fatal(err)
	}
	if status, stdout, _ := runs(t, "config", "check"); status != statusOK || !strings.HasPrefix(stdout, "breakwater.yaml: ") {
		t.Errorf("in a folder with %s: status %d, stdout %q", configFile, status, stdout)
	}
	withoutKeys(t)
	if err := os.Remove(configFile); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := runs(t, "config", "check"); status != statusUsage || !strings.Contains(stderr, "DEEPSEEK_API_KEY") {
		t.Errorf("without a key: status %d, stderr %q", status, stderr)
	}
}

func TestConfigPrint(t *testing.T) {
	t.Setenv("DEEPSEEK_API_KEY", "sk-not-a-real-key")
	inFolder(t, map[string]string{configFile: goodFile})
	status, stdout, stderr := runs(t, "config", "print")
	if status != statusOK || stderr != "" {
		t.Fatalf("status %d, stderr %q", status, stderr)
	}
	for _, want := range []string{"key: ${DEEPSEEK_API_KEY}", "key: (redacted)", "ttl: 1m", "first_token: 30s", "listen: 127.0.0.1:8787"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not printed in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "not-a-real-key") {
		t.Errorf("a key is printed:\n%s", stdout)
	}
}

// A file of the standard input is read as one with a name is.
func TestConfig_StandardInput(t *testing.T) {
	t.Setenv("DEEPSEEK_API_KEY", "sk-not-a-real-key")
	for text, want := range map[string]int{goodFile: statusOK, "endpoints: 3\n": statusUsage, "": statusUsage} {
		root, stderr := newRoot(), new(bytes.Buffer)
		root.SetArgs([]string{"config", "check", "-"})
		root.SetIn(strings.NewReader(text))
		root.SetOut(new(bytes.Buffer))
		root.SetErr(stderr)
		if err := root.Execute(); (err == nil) != (want == statusOK) {
			t.Errorf("%q: %v, %s", text, err, stderr)
		}
	}
}

func TestConfigSchema(t *testing.T) {
	status, stdout, _ := runs(t, "config", "schema")
	if status != statusOK || !json.Valid([]byte(stdout)) {
		t.Errorf("status %d, stdout %q", status, stdout)
	}
}
