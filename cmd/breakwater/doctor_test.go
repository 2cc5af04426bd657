package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/diagnose"
)

const doctorsKey = "sk-0123456789abcdef0123456789abcdef"

// runDoctorWith runs doctor with an environment, as a shell would.
func runDoctorWith(t *testing.T, env map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := newDoctorWith(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	var out, errs bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	err := cmd.ExecuteContext(t.Context())
	var ran *statusError
	switch {
	case err == nil:
		status = statusOK
	case asStatus(err, &ran):
		status = ran.status
	default:
		status = statusUsage
		fmt.Fprintln(&errs, err)
	}
	return status, out.String(), errs.String()
}

func asStatus(err error, ran **statusError) bool {
	s, ok := err.(*statusError)
	*ran = s
	return ok
}

// doctorsFleet has a host that is well and one that may be broken, and a configuration of both.
func doctorsFleet(t *testing.T) (fleet *breakwatertest.Fleet, file string) {
	t.Helper()
	fleet, err := breakwatertest.NewFleet(breakwatertest.DeepSeek("primary"), breakwatertest.SiliconFlow("backup"), breakwatertest.VLLM("local"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Close)
	file = filepath.Join(t.TempDir(), "breakwater.yaml")
	text := fmt.Sprintf(`endpoints:
  - name: primary
    host: deepseek
    url: %s
    key: ${THE_KEY}
backups:
  - name: backup
    host: siliconflow
    url: %s
    key: ${THE_KEY}
    models: {deepseek-flash: deepseek-flash}
`, fleet.Server("primary").URL(), fleet.Server("backup").URL())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return fleet, file
}

// The exit status says how it is with all endpoints, and text and JSON how with each.
func TestDoctor_ExitStatus(t *testing.T) {
	fleet, file := doctorsFleet(t)
	env := map[string]string{"THE_KEY": doctorsKey}
	for _, tt := range []struct {
		name            string
		primary, backup breakwatertest.Fault
		status          int
		want            string
	}{
		{"well", breakwatertest.Fault{}, breakwatertest.Fault{}, statusOK, "All endpoints together: well"},
		{"a backup serves", breakwatertest.Busy(), breakwatertest.Fault{}, statusDegraded, "All endpoints together: degraded"},
		{"slow down", breakwatertest.TooManyRequests("1"), breakwatertest.Fault{}, statusDegraded, "application  rate-limited"},
		{"down", breakwatertest.Unauthorized(), breakwatertest.Refused(), statusDown, "connection  tcp-refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, fault := range map[string]breakwatertest.Fault{"primary": tt.primary, "backup": tt.backup} {
				if fault.Name() != "" {
					fleet.Server(name).Break(fault)
				}
			}
			defer fleet.Server("primary").Heal()
			defer fleet.Server("backup").Heal()
			status, stdout, stderr := runDoctorWith(t, env, "--config", file, "--spend")
			if status != tt.status || !strings.Contains(stdout, tt.want) {
				t.Errorf("status %d, want %d and %q:\n%s%s", status, tt.status, tt.want, stdout, stderr)
			}
			checkLines(t, stdout)
			if strings.Contains(stdout+stderr, doctorsKey) || strings.Contains(stdout+stderr, "\x1b") {
				t.Errorf("a key, or a colour outside a terminal:\n%s%s", stdout, stderr)
			}
			if !strings.Contains(stderr, "primary: TCP: ok") {
				t.Errorf("progress: %s", stderr)
			}
			status, stdout, stderr = runDoctorWith(t, env, "--config", file, "--spend", "--json")
			if status != tt.status || stderr != "" {
				t.Errorf("with --json: status %d, %s", status, stderr)
			}
			checkDocument(t, stdout)
		})
	}
}

// checkLines checks that no line has more than 79 columns.
func checkLines(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		n := 0
		for _, r := range strings.TrimRight(line, "\n") {
			n++
			if r >= 0x2e80 && r != '…' {
				n++
			}
		}
		if n > 79 || strings.TrimRight(line, " \n") != strings.TrimRight(line, "\n") {
			t.Errorf("a line of %d columns: %q", n, line)
		}
	}
}

// checkDocument checks JSON by the schema of each report.
func checkDocument(t *testing.T, text string) {
	t.Helper()
	var doc struct {
		Version   int
		Verdict   string
		Endpoints []json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil || doc.Version != diagnose.Version || doc.Verdict == "" || len(doc.Endpoints) == 0 {
		t.Fatalf("%v: %s", err, text)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(diagnose.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("report.json", parsed); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("report.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range doc.Endpoints {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(one))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%v\n%s", err, one)
		}
	}
}

func TestDoctor_Chinese(t *testing.T) {
	fleet, file := doctorsFleet(t)
	fleet.Server("primary").Break(breakwatertest.InsufficientBalance())
	for _, how := range [][]string{{"--lang", "zh"}, nil} {
		env := map[string]string{"THE_KEY": doctorsKey, "LANG": "zh_CN.UTF-8"}
		status, stdout, _ := runDoctorWith(t, env, append(how, "--config", file)...)
		if status != statusDegraded || !strings.Contains(stdout, "服务方说该账户余额不足。") || !strings.Contains(stdout, "应用层  no-funds") {
			t.Errorf("status %d:\n%s", status, stdout)
		}
		checkLines(t, stdout)
	}
}

// A URL gets the key of its own host's variable, and no other one.
func TestDoctor_KeysOfURLs(t *testing.T) {
	env := func(name string) (string, bool) {
		v := map[string]string{"DEEPSEEK_API_KEY": "sk-of-deepseek", "SILICONFLOW_API_KEY": "sk-of-siliconflow", "SILICONFLOW_CN_API_KEY": "sk-of-siliconflow-cn", "AWS_BEARER_TOKEN_BEDROCK": "ABSK", "AWS_REGION": "us-east-1"}[name]
		return v, v != ""
	}
	for _, tt := range []struct{ url, key, variable string }{
		{"https://api.deepseek.com", "sk-of-deepseek", "DEEPSEEK_API_KEY"},
		{"https://api.deepseek.com/anthropic", "sk-of-deepseek", "DEEPSEEK_API_KEY"},
		{"https://API.deepseek.com/v1", "sk-of-deepseek", "DEEPSEEK_API_KEY"},
		{"https://api.siliconflow.com/v1", "sk-of-siliconflow", "SILICONFLOW_API_KEY"},
		{"https://api.siliconflow.cn/v1", "sk-of-siliconflow-cn", "SILICONFLOW_CN_API_KEY"},
		{"https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1", "ABSK", "AWS_BEARER_TOKEN_BEDROCK"},
		{"https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1", "", ""},
		{"http://api.deepseek.com", "", ""},
		{"https://api.deepseek.com:8443", "", ""},
		{"https://api.deepseek.com.evil.example", "", ""},
		{"https://evil.example/api.deepseek.com", "", ""},
		{"https://openrouter.ai/api/v1", "", "OPENROUTER_API_KEY"},
		{"http://127.0.0.1:8000/v1", "", ""},
	} {
		p, err := targetAt(tt.url, env)
		if err != nil || p.Endpoint.APIKey != tt.key || p.Variable != tt.variable {
			t.Errorf("%s gets %q from %q (%v), want %q from %q", tt.url, p.Endpoint.APIKey, p.Variable, err, tt.key, tt.variable)
		}
	}
}

// --endpoint may name a server of one's own; it is asked without a key.
func TestDoctor_OwnServer(t *testing.T) {
	fleet, _ := doctorsFleet(t)
	env := map[string]string{"DEEPSEEK_API_KEY": doctorsKey}
	status, stdout, stderr := runDoctorWith(t, env, "--spend", "--endpoint", fleet.Server("local").URL())
	if status != statusOK || !strings.Contains(stdout, "tokens in") {
		t.Errorf("status %d:\n%s%s", status, stdout, stderr)
	}
	for _, r := range fleet.Server("local").Requests() {
		if r.Key != "" {
			t.Errorf("%s got a key", r.Path)
		}
	}
	status, stdout, _ = runDoctorWith(t, env, "--endpoint", fleet.Server("primary").URL())
	if status != statusDown || !strings.Contains(stdout, "key-missing") {
		t.Errorf("status %d:\n%s", status, stdout)
	}
}

func TestDoctor_Help(t *testing.T) {
	status, stdout, stderr := runs(t, "doctor", "--help")
	if status != statusOK || stderr != "" || !strings.Contains(stdout, "DEEPSEEK_API_KEY") {
		t.Errorf("status %d, %s%s", status, stdout, stderr)
	}
	for line := range strings.Lines(stdout) {
		if n := len(strings.TrimRight(line, "\n")); n > 79 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
}

func TestDoctor_Usage(t *testing.T) {
	_, file := doctorsFleet(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--lang", "de"}, "want en or zh"},
		{[]string{"--timeout", "5ms"}, "--timeout: 5ms: want 100ms to"},
		{[]string{"--wire", "soap"}, "one of chat, fim"},
		{[]string{"--endpoint", "api.deepseek.com"}, "such as https://api.deepseek.com"},
		{[]string{"--endpoint", "https://user:" + doctorsKey + "@api.deepseek.com"}, "has a user"},
		{[]string{"--nameserver", "dns"}, "is no address"},
		{[]string{"--config", file, "--endpoint", "https://x.example"}, "none of the others can be"},
		{[]string{"--config", filepath.Join(t.TempDir(), "none.yaml")}, "cannot be read"},
		{[]string{"api.deepseek.com"}, "unknown command"},
	} {
		status, stdout, stderr := runDoctorWith(t, nil, tt.args...)
		if status != statusUsage || stdout != "" || !strings.Contains(stderr, tt.want) || strings.Contains(stderr, doctorsKey) {
			t.Errorf("%q: status %d, %q %q, want %d and %q", tt.args, status, stdout, stderr, statusUsage, tt.want)
		}
	}
}
