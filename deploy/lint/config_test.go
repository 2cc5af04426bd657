package lint

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// outside returns the environment without what ./test.sh sets: the command needs go.work.
func outside() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GOWORK=") })
}

// program builds the command, once.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(tempFolder, "breakwater")
	build := exec.Command("go", "build", "-o", path, "./cmd/breakwater")
	build.Dir = "../.."
	build.Env = outside()
	out, err := build.CombinedOutput()
	if err != nil {
		return string(out), err
	}
	return path, nil
})

// A secret's file, which is on no machine of a test.
var secretFile = regexp.MustCompile(`file:\S+`)

// requireConfig fails if the proxy would refuse a configuration.
func requireConfig(t *testing.T, from string, config []byte) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatalf("%v\n%s", err, path)
	}
	folder := t.TempDir()
	key, file := filepath.Join(folder, "key"), filepath.Join(folder, "breakwater.yaml")
	write(t, key, "sk-"+strings.Repeat("0123456789abcdef", 4))
	write(t, file, secretFile.ReplaceAllLiteralString(string(config), "file:"+key))
	if len(bytes.TrimSpace(config)) == 0 {
		t.Errorf("%s has no breakwater.yaml", from)
		return
	}
	out, err := exec.CommandContext(t.Context(), path, "config", "check", file).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", from, err, out)
	}
}
