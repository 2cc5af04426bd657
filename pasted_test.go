package breakwater

import (
	"encoding/json"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/document"
	"github.com/breakwater-go/breakwater/internal/test/internet"
)

// A new folder, a new module, and a page's program pasted into it: it runs, and
// prints the answer; with a backup, also while the first host is down. It asks
// hosts by their real names, and gets to fakes.
func TestDocuments_ProgramsRunWhenPasted(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		t.Skip("programs take no certificates from SSL_CERT_FILE here")
	}
	pages := documents(t)
	for _, name := range []string{"README.md", "docs/getting-started.md"} {
		page := pages[name]
		t.Run(name, func(t *testing.T) {
			code := programOf(page)
			if code == "" {
				t.Fatal("the page has no program")
			}
			program := build(t, code)
			t.Run("all well", func(t *testing.T) { answers(t, program, "deepseek") })
			if strings.Contains(code, "WithBackup") {
				t.Run("the first host is down", func(t *testing.T) { answers(t, program, "siliconflow", "deepseek") })
			}
		})
	}
}

// programOf returns the first program of a page.
func programOf(page *document.Document) string {
	for _, block := range page.Blocks {
		if block.Language == "go" && strings.HasPrefix(block.Text, "package main\n") {
			return block.Text
		}
	}
	return ""
}

// build makes a program of a single file, in a module of its own.
func build(t *testing.T, code string) (program string) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.go": code,
		"go.mod": "module example.com/pasted\n\ngo 1.26.0\n\nrequire github.com/breakwater-go/breakwater v0.0.0\n\n" +
			"replace github.com/breakwater-go/breakwater => " + root + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", "pasted", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, "pasted")
}

// answers runs a program while some hosts are down, and tests that it prints
// what the one host answered to what it asked, and that each got its own key.
func answers(t *testing.T, program, from string, down ...string) {
	fleet, err := kit.NewFleet(kit.DeepSeek("deepseek"), kit.SiliconFlow("siliconflow"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Close)
	for _, name := range down {
		fleet.Server(name).Break(kit.Busy())
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), internet.Environment(t, map[string]http.Handler{
		mustURL(t, DeepSeek("").URL).Host:    handing(t, fleet, "deepseek"),
		mustURL(t, SiliconFlow("").URL).Host: handing(t, fleet, "siliconflow"),
	})...)
	cmd.Env = append(cmd.Env, "DEEPSEEK_API_KEY=key-of-deepseek", "SILICONFLOW_API_KEY=key-of-siliconflow")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, server := range fleet.Servers() {
		for _, request := range server.Requests() {
			if want := "key-of-" + server.Name(); request.Key != want {
				t.Errorf("%s was asked with the key %q, want %q", server.Name(), request.Key, want)
			}
		}
	}
	served := fleet.Server(from).Requests()
	if len(served) == 0 {
		t.Fatalf("%s was not asked; the program printed %s", from, out)
	}
	want := kit.Answer(gjson.GetBytes(served[len(served)-1].Body, "messages.@reverse.0.content").String())
	quoted, _ := json.Marshal(want)
	if !strings.Contains(string(out), want) && !strings.Contains(string(out), string(quoted)) {
		t.Errorf("the program printed %s, want %q in it", out, want)
	}
}

// handing hands requests to a host of a fleet.
func handing(t *testing.T, fleet *kit.Fleet, name string) http.Handler {
	to, err := url.Parse(fleet.Server(name).URL())
	if err != nil {
		t.Fatal(err)
	}
	wire := fleet.Transport()
	t.Cleanup(wire.CloseIdleConnections)
	return &httputil.ReverseProxy{Transport: wire, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
	}}
}
