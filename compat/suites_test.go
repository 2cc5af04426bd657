package compat

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A suite is the tests of an SDK's root package, in the version that is pinned
// here.
type suite struct {
	module      string
	testPackage string
	env         []string // for its tests
	passes      int      // tests, at the least: fewer would mean that the suite did not run
	skips       int      // tests, at the most
	skipped     string   // what they are
	differs     []string // tests that fail with breakwater beneath

	// Some take minutes, and modules that only the suite needs: they run with
	// SUITES=all in the environment.
	onlyWithAll bool
}

var suites = []suite{
	// The server of these two answers with neither a text nor a finish_reason. That is no answer:
	// breakwater tries again, and ends in an error.
	{module: "github.com/sashabaranov/go-openai", testPackage: "openai_test", passes: 163, differs: []string{"TestO1ModelChatCompletions", "TestO3ModelChatCompletions"}},
	{module: "github.com/openai/openai-go/v3", testPackage: "openai_test", passes: 376, onlyWithAll: true,
		env: []string{"SKIP_MOCK_TESTS=true"}, skips: 328, skipped: "326 against a mock server of OpenAI's specification, 1 of Windows, 1 of permissions that do not bind root"},
	{module: "github.com/cohesion-org/deepseek-go", testPackage: "deepseek_test", passes: 40, onlyWithAll: true,
		skips: 5, skipped: "they ask a running Ollama"},
}

// beneath goes into a suite and puts breakwater beneath it: the SDKs' clients
// use http.DefaultTransport, which they look up at each call or when they are
// made.
const beneath = `package %s

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
	fmt.Printf("breakwater had %%d calls\n", transport.Status().Calls)
	os.Exit(code)
}
`

// The SDKs' own tests cannot tell breakwater from the plain transport, but for those that differs names.
func TestSuites(t *testing.T) {
	for _, s := range suites {
		t.Run(s.module, func(t *testing.T) {
			if s.onlyWithAll && os.Getenv("SUITES") != "all" {
				t.Skip("this suite takes minutes, and modules of its own: SUITES=all runs it")
			}
			s.runs(t)
		})
	}
}

func (s suite) runs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "suite")
	if err := os.CopyFS(dir, os.DirFS(moduleDir(t, s.module))); err != nil {
		t.Fatal(err)
	}
	plain, _ := s.run(t, dir)
	s.putBeneath(t, dir)
	guarded, output := s.run(t, dir)

	if len(guarded) != len(plain) {
		t.Errorf("the suite has %d tests, and %d with breakwater beneath", len(plain), len(guarded))
	}
	count := make(map[string]int)
	for name, result := range plain {
		count[result]++
		want := result
		if slices.Contains(s.differs, name) {
			want = "fail"
		}
		if result == "fail" || guarded[name] != want {
			t.Errorf("%s: %q with the plain transport, %q with breakwater beneath", name, result, guarded[name])
		}
	}
	if count["pass"] < s.passes || count["skip"] > s.skips {
		t.Errorf("%d tests passed and %d were skipped, want %d or more and %d or less", count["pass"], count["skip"], s.passes, s.skips)
	}
	calls := regexp.MustCompile(`breakwater had (\d+) calls`).FindStringSubmatch(output)
	if calls == nil {
		t.Fatalf("breakwater was not beneath the suite:\n%s", output)
	}
	// Only inference is counted, the rest passes through.
	if n, _ := strconv.Atoi(calls[1]); n == 0 {
		t.Error("breakwater had no call of the suite's")
	}
	if t.Failed() {
		t.Log(output)
	}
	t.Logf("%d tests passed either way, %d were skipped (%s); %s inference calls through breakwater",
		count["pass"], count["skip"], cmp.Or(s.skipped, "none"), calls[1])
}

// putBeneath adds breakwater and its requirements to the module in dir. With
// its go.sum nothing needs to be looked up.
func (s suite) putBeneath(t *testing.T, dir string) {
	t.Helper()
	const module = "github.com/breakwater-go/breakwater"
	root := moduleDir(t, module)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"go.sum":                append(own, sums...),
		"zz_breakwater_test.go": fmt.Appendf(nil, beneath, s.testPackage),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	goTool(t, dir, nil, "mod", "edit", "-require="+module+"@v0.0.0", "-replace="+module+"="+root)
}

// run runs the tests of the package in dir. It returns the result of each that
// is no subtest, and what they printed.
func (s suite) run(t *testing.T, dir string) (results map[string]string, output string) {
	t.Helper()
	results = make(map[string]string)
	var printed strings.Builder
	events := json.NewDecoder(bytes.NewReader(goTool(t, dir, s.env, "test", "-mod=mod", "-count=1", "-json", ".")))
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
	return strings.TrimSpace(string(goTool(t, ".", nil, "list", "-m", "-f", "{{.Dir}}", module)))
}

// goTool runs the go command in dir, with env beside our own environment.
// Tests that fail are the caller's to find in its output; all other failures
// end the test.
func goTool(t *testing.T, dir string, env []string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), leadsAway), append(env, "GOWORK=off")...)
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

// leadsAway tells the variables with which an SDK's tests would go to a real
// API, or elsewhere than to what they start themselves.
func leadsAway(variable string) bool {
	return slices.ContainsFunc([]string{"OPENAI_", "DEEPSEEK_", "OPENROUTER_", "TEST_"}, func(prefix string) bool {
		return strings.HasPrefix(variable, prefix)
	})
}
