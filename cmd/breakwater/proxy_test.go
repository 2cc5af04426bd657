package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// asCommand makes the test binary the command, so that tests have a process to send signals to.
const asCommand = "BREAKWATER_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// A process is the command as a process of its own.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	mu   sync.Mutex // guards said
	said bytes.Buffer
	over chan error
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// start runs the command until the test ends.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(self, args...), over: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), asCommand+"=1")
	p.cmd.Stderr = p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.over <- p.cmd.Wait() }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.over
	})
	return p
}

// startProxy runs a proxy and waits until it listens.
func startProxy(t *testing.T, args ...string) *process {
	t.Helper()
	p := start(t, append([]string{"proxy", "--listen", "127.0.0.1:0"}, args...)...)
	p.await(`msg=listening address=(\S+)`, 1)
	p.url = "http://" + regexp.MustCompile(`msg=listening address=(\S+)`).FindStringSubmatch(p.log())[1]
	return p
}

// await waits until the log has n lines that match.
func (p *process) await(pattern string, n int) {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(time.Minute); len(re.FindAllString(p.log(), n)) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("the log has not %d times %s:\n%s", n, pattern, p.log())
		}
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// status waits for the end of the process and returns its exit status.
func (p *process) status() int {
	err := <-p.over
	p.over <- err
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

// fleet starts two hosts.
func fleet(t *testing.T) (primary, backup *kit.Server) {
	t.Helper()
	f, err := kit.NewFleet(kit.DeepSeek("primary"), kit.SiliconFlow("backup"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f.Server("primary"), f.Server("backup")
}

// write replaces a file as an editor does.
func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// configOf returns a file with these hosts, the first one first.
func configOf(hosts ...*kit.Server) string {
	text := "endpoints:\n"
	for i, h := range hosts {
		if i == 1 {
			text += "backups:\n"
		}
		kind := map[string]string{"primary": "deepseek", "backup": "siliconflow"}[h.Name()]
		text += fmt.Sprintf("  - {host: %s, name: %s, url: %q, key: sk-%s-12345678}\n", kind, h.Name(), h.URL(), h.Name())
	}
	return text
}

// clients call a proxy again and again until stop is called, in each protocol, as JSON and as streams.
type clients struct {
	stop     func()
	answered atomic.Int64
	begun    atomic.Int64 // streams that are under way
	mu       sync.Mutex   // guards the rest
	lost     []string     // calls without a whole answer that had begun
	refused  []string     // calls that got no answer at all
}

func (p *process) clients(n int) *clients {
	c := new(clients)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range n {
		transport := &http.Transport{}
		if i%2 == 1 {
			var protocols http.Protocols
			protocols.SetUnencryptedHTTP2(true)
			transport.Protocols = &protocols
		}
		wire := []kit.Wire{kit.Chat, kit.Messages}[i/2%2]
		stream := i/4%2 == 0
		all.Go(func() {
			defer transport.CloseIdleConnections()
			for k := 0; ctx.Err() == nil; k++ {
				c.call(transport, wire, p.url, fmt.Sprintf("%d-%d", i, k), stream)
			}
		})
	}
	c.stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	p.t.Cleanup(c.stop)
	return c
}

// call makes one call and notes what comes of it.
func (c *clients) call(transport http.RoundTripper, wire kit.Wire, url, prompt string, stream bool) {
	note := func(where *[]string, err any) {
		c.mu.Lock()
		*where = append(*where, fmt.Sprintf("%v %s, stream %v: %v", wire, prompt, stream, err))
		c.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	req, err := wire.Request(context.Background(), url, "k", "deepseek-flash", prompt, stream)
	if err != nil {
		panic(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		note(&c.refused, err)
		return
	}
	c.begun.Add(1)
	defer c.begun.Add(-1)
	reply, err := kit.ReadAnswer(resp)
	if err != nil || reply.Content != kit.Answer(prompt) || stream && !reply.Done {
		note(&c.lost, fmt.Sprint(resp.Status, reply, err))
		return
	}
	c.answered.Add(1)
}

// A configuration that is read again, a hundred times and each time another one, costs no call.
func TestProxy_ReloadUnderLoad(t *testing.T) {
	primary, backup := fleet(t)
	for _, h := range []*kit.Server{primary, backup} {
		h.SetPace(kit.Pace{PerToken: 2 * time.Millisecond})
	}
	file := filepath.Join(t.TempDir(), "breakwater.yaml")
	versions := []string{configOf(primary, backup), configOf(backup, primary), configOf(primary), configOf(backup) + "retry: {attempts: 2}\n"}
	write(t, file, versions[0])
	p := startProxy(t, "--config", file)
	c := p.clients(16)
	const times = 100
	for i := range times {
		for least := c.answered.Load() + 10; c.answered.Load() < least; {
			time.Sleep(time.Millisecond)
		}
		write(t, file, versions[(i+1)%len(versions)])
		p.signal(syscall.SIGHUP)
		p.await(`in use" why=SIGHUP`, i+1)
	}
	before := c.answered.Load()
	write(t, file, versions[0]+"retries: {}\n")
	p.signal(syscall.SIGHUP)
	p.await(`the old one stays" why=SIGHUP err=.*breakwater.yaml:`, 1)
	for c.answered.Load() < before+50 {
		time.Sleep(time.Millisecond)
	}
	c.stop()
	if len(c.lost)+len(c.refused) > 0 {
		t.Errorf("of %d calls, %d were lost and %d refused: %q %q", c.answered.Load(), len(c.lost), len(c.refused), c.lost, c.refused)
	}
	if len(primary.Requests()) == 0 || len(backup.Requests()) == 0 {
		t.Error("the configurations made no difference")
	}
	if got := metricsOf(t, p); !strings.Contains(got, "breakwater_proxy_last_reload_successful 0\n") || !strings.Contains(got, `breakwater_proxy_reloads_total{result="failed"}`) {
		t.Errorf("the metrics do not tell that the last configuration was refused")
	}
	t.Logf("%d calls during %d reloads", c.answered.Load(), times)
}

func metricsOf(t *testing.T, p *process) string {
	t.Helper()
	resp, err := http.Get(p.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Kubernetes puts a new folder beside the old one and replaces a link to it. The file itself is a link that stays.
func TestProxy_NoticesAReplacedLink(t *testing.T) {
	primary, backup := fleet(t)
	folder := t.TempDir()
	for i, text := range []string{configOf(primary), configOf(backup)} {
		at := filepath.Join(folder, fmt.Sprintf("..version%d", i))
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(at, "breakwater.yaml"), text)
	}
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..version0", "..data")
	link("..data/breakwater.yaml", "breakwater.yaml")
	p := startProxy(t, "--config", filepath.Join(folder, "breakwater.yaml"))
	link("..version1", "..data_tmp")
	if err := os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")); err != nil {
		t.Fatal(err)
	}
	p.await(`in use" why="the file changed"`, 1)
	var c clients
	c.call(http.DefaultTransport, kit.Chat, p.url, "hello", false)
	if c.answered.Load() != 1 || len(backup.Requests()) == 0 {
		t.Errorf("the call was not answered by the new endpoint: %q %q", c.lost, c.refused)
	}
}

// SIGTERM ends no stream that has begun, and the exit status says so.
func TestProxy_TermUnderLoad(t *testing.T) {
	primary, _ := fleet(t)
	primary.SetPace(kit.Pace{PerToken: 10 * time.Millisecond})
	file := filepath.Join(t.TempDir(), "breakwater.yaml")
	write(t, file, configOf(primary))
	p := startProxy(t, "--config", file, "--drain", "60s")
	c := p.clients(32)
	for c.answered.Load() < 100 || c.begun.Load() < 8 {
		time.Sleep(time.Millisecond)
	}
	p.signal(syscall.SIGTERM)
	if status := p.status(); status != statusOK {
		t.Errorf("exit status %d: %s", status, p.log())
	}
	c.stop()
	if len(c.lost) > 0 {
		t.Errorf("of %d calls, %d were cut: %q", c.answered.Load(), len(c.lost), c.lost)
	}
	p.await("stopped: no call was cut", 1)
	t.Logf("%d calls were answered, %d found nobody after the end", c.answered.Load(), len(c.refused))
}

// When the time to drain is over, or with a second SIGTERM, streams end in an event that says so and an
// error, and the exit status is 1.
func TestProxy_TermEndsStreams(t *testing.T) {
	for _, tt := range []struct {
		name, drain string
		signals     int
	}{{"the time is over", "100ms", 1}, {"a second signal", "10m", 2}} {
		t.Run(tt.name, func(t *testing.T) {
			primary, _ := fleet(t)
			primary.Break(kit.StallStream(2))
			file := filepath.Join(t.TempDir(), "breakwater.yaml")
			write(t, file, configOf(primary))
			p := startProxy(t, "--config", file, "--drain", tt.drain)
			resp := p.stream(http.DefaultTransport)
			p.signal(syscall.SIGTERM)
			p.await("waiting for calls under way", 1)
			if tt.signals == 2 {
				p.signal(syscall.SIGTERM)
			}
			got, err := io.ReadAll(resp.Body)
			if err == nil || !strings.Contains(string(got), "shutting_down") {
				t.Errorf("the stream ended with %v after %s", err, got)
			}
			if status := p.status(); status != statusDegraded {
				t.Errorf("exit status %d: %s", status, p.log())
			}
		})
	}
}

// stream begins a stream.
func (p *process) stream(transport http.RoundTripper) *http.Response {
	p.t.Helper()
	req, err := kit.ChatRequest(p.t.Context(), p.url, "k", "deepseek-flash", "hello", true)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// A proxy that is killed leaves its clients with an error, never with an answer that looks whole.
func TestProxy_Kill(t *testing.T) {
	primary, _ := fleet(t)
	primary.Break(kit.StallStream(2))
	file := filepath.Join(t.TempDir(), "breakwater.yaml")
	write(t, file, configOf(primary))
	p := startProxy(t, "--config", file)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	var streams []*http.Response
	for _, transport := range []*http.Transport{{}, {Protocols: &protocols}} {
		defer transport.CloseIdleConnections()
		streams = append(streams, p.stream(transport))
	}
	p.signal(syscall.SIGKILL)
	for _, resp := range streams {
		if got, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: the stream ended cleanly: %s", resp.Proto, got)
		}
	}
}

// What is wrong at the start is said with what to do, and has an exit status.
func TestProxy_DoesNotStart(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	primary, _ := fleet(t)
	folder := t.TempDir()
	good, wrong := filepath.Join(folder, "good.yaml"), filepath.Join(folder, "wrong.yaml")
	write(t, good, configOf(primary))
	write(t, wrong, configOf(primary)+"server: {lissten: 1}\n")
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--config", good, "--listen", "0.0.0.0:0"}, statusUsage, "openssl rand -hex 24"},
		{[]string{"--config", good, "--listen", "[::]:0"}, statusUsage, "0 is not a loopback address"},
		{[]string{"--config", good, "--listen", busy.Addr().String()}, statusDown, "address already in use"},
		{[]string{"--config", good, "--drain", "-1s"}, statusUsage, "drain"},
		{[]string{"--config", good, "--log", "xml"}, statusUsage, "text, json or off"},
		{[]string{"--config", wrong}, statusUsage, "wrong.yaml:3:"},
		{[]string{"--config", filepath.Join(folder, "none.yaml")}, statusUsage, "none.yaml"},
		{[]string{"here.yaml"}, statusUsage, "here.yaml"},
	} {
		status, _, stderr := runs(t, append([]string{"proxy"}, tt.args...)...)
		if status != tt.status || !strings.Contains(stderr, tt.want) || strings.Contains(stderr, "sk-primary") {
			t.Errorf("%q: status %d, %s; want %d and %q", tt.args, status, stderr, tt.status, tt.want)
		}
	}
}

// Without a file, the keys in the environment are enough.
func TestProxy_FromTheEnvironment(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("DEEPSEEK_API_KEY", "sk-environment-12345678")
	p := startProxy(t)
	resp, err := http.Get(p.url + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || strings.Contains(p.log(), "sk-environment") {
		t.Errorf("%s: %s", resp.Status, p.log())
	}
}

// Who sets GOGC or GOMEMLIMIT gets what that says.
func TestProxy_SpareGarbage(t *testing.T) {
	for _, tt := range []struct {
		gogc, limit string
		want        int
	}{{"", "", spare}, {"50", "", 0}, {"", "64MiB", 0}} {
		t.Setenv("GOGC", tt.gogc)
		t.Setenv("GOMEMLIMIT", tt.limit)
		if got := len(spareGarbage()); got != tt.want {
			t.Errorf("GOGC=%s GOMEMLIMIT=%s: %d bytes, want %d", tt.gogc, tt.limit, got, tt.want)
		}
	}
}
