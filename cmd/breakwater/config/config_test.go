package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater"
)

// env returns a lookup of variables for Load, in pairs.
func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func parse(t *testing.T, text string, vars ...string) *Config {
	t.Helper()
	cfg, err := Parse("breakwater.yaml", []byte(text), env(vars...))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestLoad_FirstFile(t *testing.T) {
	cfg := parse(t, `
endpoints:
  - host: deepseek
    key: ${DEEPSEEK_API_KEY}
backups:
  - host: siliconflow
    key: sf-key-1
    weight: 2
    tags: [abroad]
  - - host: vllm
      url: http://127.0.0.1:8000/v1
    - host: openai
      url: https://llm.example.com/v1
      name: gateway
      key: ${GATEWAY_KEY:-gw-1}
stream: {first_token: 10s, rescue: restart, hedge: off, max_buffer: 4MiB, schema: true, require_format: true}
retry:
  patience: off
cache: off
server:
  listen: 127.0.0.1:9999
  limits: {write_time: 5s}
  clients:
    - name: search
      token: 0123456789abcdef
      priority: interactive
      limits: {in_flight: 5}
`, "DEEPSEEK_API_KEY", "sk-1")
	if e := cfg.Endpoints[0]; e.Name != "deepseek" || e.APIKey != "sk-1" || len(e.Models) == 0 && e.URL == "" {
		t.Errorf("endpoint = %v", e)
	}
	if len(cfg.Backups) != 2 || cfg.Backups[0][0].Weight != 2 || !cfg.Backups[1][0].Keyless || cfg.Backups[1][1].APIKey != "gw-1" {
		t.Errorf("backups = %v", cfg.Backups)
	}
	s := cfg.Stream
	if s.FirstToken != 10*time.Second || s.Rescue != breakwater.RescueRestart || s.Hedge != breakwater.Off || s.MaxBuffer != 4<<20 || s.Schema == nil {
		t.Errorf("stream = %+v", s)
	}
	if cfg.Retry.Patience != breakwater.Off || cfg.Cache != nil || cfg.Server.Limits.WriteTime != 5*time.Second || cfg.Server.Drain != 30*time.Second || cfg.Server.Listen != "127.0.0.1:9999" {
		t.Errorf("config = %+v", cfg)
	}
	if c := cfg.Server.Clients[0]; !c.Has("0123456789abcdef") || c.Has("0123456789abcdeg") || c.Tenant != "search" || c.Priority != 1 || c.Limits.InFlight != 5 {
		t.Errorf("client = %+v", c)
	}
	tr, err := breakwater.New(cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	tr.Close()
}

// Each field of the library's policies has a key, or a reason why it has none: a new field
// cannot be forgotten.
func TestSections_EveryFieldHasAKey(t *testing.T) {
	for of, s := range sections {
		for _, k := range s.keys {
			if k.kind == nil {
				t.Errorf("%s has a type that nothing reads", k.field)
			}
		}
		for i := range of.NumField() {
			f := of.Field(i)
			id := of.Name() + "." + f.Name
			has := absent[id] != "" || id == "Endpoint.Host"
			for _, k := range s.keys {
				has = has || k.field == id
			}
			if !has && f.IsExported() {
				t.Errorf("%s has no key", id)
			}
		}
	}
	for id := range absent {
		owner, field, _ := strings.Cut(id, ".")
		known := false
		for of := range sections {
			_, has := of.FieldByName(field)
			known = known || of.Name() == owner && has
		}
		if !known {
			t.Errorf("absent has %s, which does not exist", id)
		}
	}
	if _, all := reflect.TypeFor[Config]().FieldByName("Server"); !all {
		t.Error("Config has no Server")
	}
}

func TestFromEnv(t *testing.T) {
	cfg, err := FromEnv(env("SILICONFLOW_API_KEY", "sf", "DEEPSEEK_API_KEY", "sk-1", "ARK_API_KEY", ""))
	if err != nil || len(cfg.Endpoints) != 1 || cfg.Endpoints[0].Name != "deepseek" || len(cfg.Backups) != 1 || cfg.Backups[0][0].Name != "siliconflow" {
		t.Errorf("FromEnv = %v, %v", cfg, err)
	}
	if cfg, err := FromEnv(env("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key", "AWS_REGION", "us-east-1")); err != nil || cfg.Endpoints[0].URL != "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1" {
		t.Errorf("Bedrock: %v, %v", cfg, err)
	}
	if _, err := FromEnv(env("AWS_BEARER_TOKEN_BEDROCK", "bedrock-key")); err == nil {
		t.Error("Bedrock without a region is taken")
	}
	for key, want := range map[string]string{"'sk-1'": "DEEPSEEK_API_KEY: key has quotes around it", "sk-1\n": "DEEPSEEK_API_KEY: key "} {
		_, err := FromEnv(env("DEEPSEEK_API_KEY", key))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "sk-1") {
			t.Errorf("%q: %v, want %q", key, err, want)
		}
	}
	if _, err := FromEnv(env()); err == nil || !strings.Contains(err.Error(), "DEEPSEEK_API_KEY") {
		t.Errorf("without keys: %v", err)
	}
}

// KeyOf names the variables of hosts that a file knows.
func TestVariables(t *testing.T) {
	for _, v := range Variables() {
		if presetOf(v.Host) == nil || KeyOf(v.Host) != v.Name {
			t.Errorf("%+v: KeyOf = %q", v, KeyOf(v.Host))
		}
	}
	if KeyOf("vllm") != "" {
		t.Error("vLLM has a variable")
	}
}

// Each option of the library has a section, and each preset a host, or a reason why it has none.
func TestSections_HaveAllOptionsAndPresets(t *testing.T) {
	code := map[string]bool{"WithObserver": true, "WithMiddleware": true, "WithAttemptMiddleware": true, "WithBase": true}
	byToken := map[string]bool{"AzureEntra": true, "BedrockToken": true} // key_file stands for their functions
	source, err := os.ReadFile("endpoint.go")
	if err != nil {
		t.Fatal(err)
	}
	options, made := 0, 0
	for _, file := range []string{"../../../options.go", "../../../endpoint.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !fn.Name.IsExported() || fn.Type.Results == nil {
				continue
			}
			name := fn.Name.Name
			switch result, _ := fn.Type.Results.List[0].Type.(*ast.Ident); {
			case result == nil:
			case result.Name == "Option":
				options++
				if sectionsOf[name] == "" && !code[name] {
					t.Errorf("%s has no section", name)
				}
			case result.Name == "Endpoint":
				made++
				if !strings.Contains(string(source), "breakwater."+name) && !byToken[name] {
					t.Errorf("%s has no host", name)
				}
			}
		}
	}
	if options < 15 || made < 20 {
		t.Errorf("found %d options and %d presets in the source", options, made)
	}
}
