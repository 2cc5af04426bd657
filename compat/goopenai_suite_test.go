package compat

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const goOpenAIModule = "github.com/sashabaranov/go-openai"

// suiteSize is how many tests go-openai's root package had when it was pinned.
// Fewer would mean that the suite did not run.
const suiteSize = 163

// beneath goes into go-openai's own suite and puts breakwater beneath it: its
// clients use http.DefaultTransport, which they look up at each call.
const beneath = `package openai_test

import (
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/breakwater-go/breakwater"
)

func TestMain(m *testing.M) {
	transport, err := breakwater.New()
	if err != nil {
		panic(err)
	}
	http.DefaultTransport = transport
	code := m.Run()
	fmt.Printf("breakwater had %d calls\n", transport.Status().Calls)
	os.Exit(code)
}
`

// go-openai's own tests cannot tell breakwater from the plain transport.
func TestGoOpenAISuite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "go-openai")
	if err := os.CopyFS(dir, os.DirFS(moduleDir(t, goOpenAIModule))); err != nil {
		t.Fatal(err)
	}
	plain, _ := runSuite(t, dir)

	putBeneath(t, dir)
	guarded, output := runSuite(t, dir)

	if len(plain) < suiteSize || len(guarded) != len(plain) {
		t.Errorf("the suite has %d tests, and %d with breakwater beneath, want %d or more", len(plain), len(guarded), suiteSize)
	}
	for name, result := range plain {
		if result != "pass" || guarded[name] != "pass" {
			t.Errorf("%s: %q with the plain transport, %q with breakwater beneath", name, result, guarded[name])
		}
	}
	calls := regexp.MustCompile(`breakwater had (\d+) calls`).FindStringSubmatch(output)
	if calls == nil {
		t.Fatalf("breakwater was not beneath the suite:\n%s", output)
	}
	// Only chat completions are counted, the rest passes through.
	if n, _ := strconv.Atoi(calls[1]); n == 0 {
		t.Error("breakwater had no call of the suite's")
	}
	if t.Failed() {
		t.Log(output)
	}
	t.Logf("%d tests, %s inference calls through breakwater", len(guarded), calls[1])
}

// putBeneath adds breakwater and its requirements to the module in dir. With
// its go.sum nothing needs to be looked up.
func putBeneath(t *testing.T, dir string) {
	t.Helper()
	const module = "github.com/breakwater-go/breakwater"
	root := moduleDir(t, module)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"go.sum": sums, "zz_breakwater_test.go": []byte(beneath)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	goTool(t, dir, "mod", "edit", "-require="+module+"@v0.0.0", "-replace="+module+"="+root)
}

// runSuite runs the tests of the package in dir. It returns the result of each
// that is no subtest, and what they printed.
func runSuite(t *testing.T, dir string) (results map[string]string, output string) {
	t.Helper()
	results = make(map[string]string)
	var printed strings.Builder
	events := json.NewDecoder(bytes.NewReader(goTool(t, dir, "test", "-mod=mod", "-count=1", "-json", ".")))
	for events.More() {
		var e struct{ Action, Test, Output string }
		if err := events.Decode(&e); err != nil {
			t.Fatal(err)
		}
		printed.WriteString(e.Output)
		switch e.Action {
		case "pass", "fail", "skip":
			if e.Test != "" && !strings.Contains(e.Test, "/") {
				results[e.Test] = e.Action
			}
		}
	}
	return results, printed.String()
}

func moduleDir(t *testing.T, module string) string {
	t.Helper()
	return strings.TrimSpace(string(goTool(t, ".", "list", "-m", "-f", "{{.Dir}}", module)))
}

// goTool runs the go command in dir. Tests that fail are the caller's to find
// in its output; all other failures end the test.
func goTool(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if stderr.Len() > 0 {
		t.Logf("go %s: %s", strings.Join(args, " "), stderr.String())
	}
	if err != nil && args[0] != "test" {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return out
}
