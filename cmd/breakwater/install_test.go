package main

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"
)

// TestInstall does what go install does for those who have no clone: the modules come from a module
// proxy, here a folder, and no go.work ties them.
func TestInstall(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the command with nothing in the build cache of these paths")
	}
	const root, version = "github.com/breakwater-go/breakwater", "v0.1.0"
	proxy := t.TempDir()
	for _, folder := range []string{"", "prombreakwater", "schema", "cmd/breakwater"} {
		publish(t, proxy, module.Version{Path: path.Join(root, folder), Version: version}, filepath.Join("../..", folder))
	}
	usual, err := exec.Command("go", "env", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	bin, cache := t.TempDir(), t.TempDir()
	env := append(os.Environ(), "GOBIN="+bin, "GOWORK=off", "GOFLAGS=-modcacherw", "GONOSUMDB="+root, "GOMODCACHE="+cache,
		"GOPROXY=file://"+filepath.ToSlash(proxy)+","+strings.TrimSpace(string(usual)))
	install := exec.CommandContext(t.Context(), "go", "install", root+"/cmd/breakwater@"+version)
	install.Dir, install.Env = t.TempDir(), env
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "breakwater"), "--version").Output()
	if err != nil || !strings.HasPrefix(string(out), "breakwater "+version) {
		t.Errorf("--version says %q, %v, want %s", out, err, version)
	}
}

// publish writes a module as a proxy has it: https://go.dev/ref/mod#goproxy-protocol.
func publish(t *testing.T, proxy string, m module.Version, folder string) {
	t.Helper()
	at := filepath.Join(proxy, filepath.FromSlash(m.Path), "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"list": []byte(m.Version + "\n"), m.Version + ".mod": mod, m.Version + ".info": []byte(`{"Version":"` + m.Version + `"}`),
	} {
		if err := os.WriteFile(filepath.Join(at, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	zip, err := os.Create(filepath.Join(at, m.Version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	if err := modzip.CreateFromDir(zip, m, folder); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
}
