package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v4"
)

// Whatever prints a configuration, or an error of one, shows no secret.
func TestSecrets_AreNeverShown(t *testing.T) {
	const secret = "Zq7SECRETxy8Pw2LmNv"
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "key.txt"), []byte(secret+"-file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(`
endpoints:
  - host: deepseek
    key: ${KEY}
    header: {Authorization: "Bearer SECRET-header", X-Plain: SECRET-plain}
  - {host: deepseek, name: literal, key: SECRET-literal}
  - {host: deepseek, name: file, key: "file:key.txt"}
  - {host: deepseek, name: default, key: "${NOT_SET:-SECRET-default}"}
  - {host: deepseek, name: mixed, key: "SECRET-${KEY}"}
server:
  clients:
    - {name: a, token: SECRET-token-of-a-client}
    - {name: b, token: "${TOKEN}"}
`, "SECRET", secret)
	vars := env("KEY", secret+"-key", "TOKEN", secret+"-token-of-another")
	cfg, err := Parse(filepath.Join(folder, "breakwater.yaml"), []byte(text), vars)
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Endpoints[2].APIKey; got != secret+"-file" {
		t.Errorf("the key of a file is %q", got)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("loaded", "config", cfg, "value", *cfg)
	asYAML, err := cfg.YAML()
	if err != nil {
		t.Fatal(err)
	}
	dumped, err := yaml.Dump(cfg)
	if err != nil {
		t.Fatal(err)
	}
	marshaled, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		cfg.String(), cfg.GoString(), fmt.Sprint(cfg), fmt.Sprintf("%v %+v %#v %s %q %d", cfg, *cfg, *cfg, cfg, cfg, *cfg),
		fmt.Sprintf("%+v %#v", cfg.Server, cfg.Server), fmt.Sprintf("%+v %#v", cfg.Endpoints, cfg.Backups),
		log.String(), string(asYAML), string(dumped), string(marshaled),
	} {
		if strings.Contains(shown, secret) {
			t.Errorf("a secret is shown: %s", shown)
		}
	}
	for _, want := range []string{"key: ${KEY}", "key: file:" + filepath.Join(folder, "key.txt"), "key: ${NOT_SET}", "token: ${TOKEN}", "key: (redacted)"} {
		if !strings.Contains(string(asYAML), want) {
			t.Errorf("%q is not printed in\n%s", want, asYAML)
		}
	}

	// Each line of the file is broken in turn: no error has a secret either.
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		for _, broken := range []string{line + "]", line + ": x", " " + line, strings.Replace(line, ":", "", 1), strings.Replace(line, "key:", "weight:", 1), strings.Replace(line, "token:", "priority:", 1), strings.Replace(line, ": ", ": *", 1), strings.Replace(line, "name:", "host:", 1)} {
			all := append(append(append([]string{}, lines[:i]...), broken), lines[i+1:]...)
			if _, err := Parse(filepath.Join(folder, "b.yaml"), []byte(strings.Join(all, "\n")), vars); err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("line %d as %q: the error has a secret: %v", i+1, broken, err)
			}
		}
	}
}

// A key that was set in the file before takes its effect with Update, and a scope is the same
// function after each Load, so that the cache stays.
func TestScope_IsTheSameFunction(t *testing.T) {
	load := func() *Config {
		return parse(t, "endpoints: [{host: ollama}]\ncache: {scope: shared}\n")
	}
	if a, b := load(), load(); fmt.Sprintf("%p", a.Cache.Scope) != fmt.Sprintf("%p", b.Cache.Scope) {
		t.Error("each Load makes another scope")
	}
}

func TestClient_Scope(t *testing.T) {
	const file = `
endpoints: [{host: ollama}]
cache: %s
server: {clients: [{name: a, tenant: t, token: 0123456789abcdef}, {name: b, scope: own, token: 1123456789abcdef}]}
`
	for cache, want := range map[string]string{"off": "tenant t", "{}": "tenant t", "{scope: tenant}": "tenant t", "{scope: shared}": "shared", "{scope: caller}": "client a"} {
		cfg := parse(t, fmt.Sprintf(file, cache))
		if got := cfg.Server.Clients[0].Scope; got != want || cfg.Server.Clients[1].Scope != "own" {
			t.Errorf("cache: %s: the scopes are %q and %q, want %q and own", cache, got, cfg.Server.Clients[1].Scope, want)
		}
	}
}
