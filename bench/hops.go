package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A hop is what stands between callers and the host: a proxy, or nothing.
type hop struct {
	name string
	url  string // where callers send their requests
	pids func() []int
}

// startHops starts a host, whose streams have an event each pause, and what is compared as a proxy
// before it. The first hop is none, the second one is nginx, unless it is not installed.
func startHops(folder string, pause time.Duration) (hops []hop, stop func(), err error) {
	var stops []func()
	stop = sync.OnceFunc(func() {
		for _, end := range slices.Backward(stops) {
			end()
		}
	})
	onFailure = stop
	add := func(h hop, end func(), err error) error {
		if err == nil {
			hops, stops = append(hops, h), append(stops, end)
		}
		return err
	}
	if err := add(startSelf("none", "host", pause.String())); err != nil {
		return nil, stop, err
	}
	host := hops[0].url
	hops[0].pids = func() []int { return nil } // the host is no proxy
	if err := add(startNginx(folder, host)); err != nil {
		fmt.Printf("Without nginx: %v.\n\n", err)
	}
	if err := add(startSelf("net/http", "forward", host)); err != nil {
		return nil, stop, err
	}
	return hops, stop, add(startBreakwater(folder, host))
}

// startSelf starts this program in a process of its own, with arguments that make it a server.
func startSelf(name string, args ...string) (hop, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return hop{}, nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // it ends with its input
	if err != nil {
		return hop{}, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return hop{}, nil, err
	}
	if err := cmd.Start(); err != nil {
		return hop{}, nil, err
	}
	stop := func() { in.Close(); cmd.Wait() }
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return hop{}, nil, err
	}
	return hop{name: name, url: strings.TrimSpace(line), pids: func() []int { return []int{cmd.Process.Pid} }}, stop, nil
}

// serveAs is such a process: it serves until its input ends.
func serveAs(args []string) error {
	var handler http.Handler
	if args[0] == "host" {
		pause, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		handler = llmHost(pause)
	} else {
		to, err := url.Parse(args[1])
		if err != nil {
			return err
		}
		handler = forwarding(to)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + listener.Addr().String())
	go http.Serve(listener, handler)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// forwarding is the least that a proxy in Go can be: the standard library's.
func forwarding(to *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			// Without this, the end of a body that is read late breaks the stream off.
			body, err := io.ReadAll(r.Out.Body)
			check(err)
			r.Out.Body = io.NopCloser(bytes.NewReader(body))
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: callers, DisableCompression: true},
		ErrorLog:  log.New(io.Discard, "", 0), // it tells of clients that left
	}
}

// llmHost is a host: it answers after 20 ms, and streams an event each pause, with the time when it was
// sent, in microseconds.
func llmHost(pause time.Duration) http.HandlerFunc {
	answer := []byte(`{"id":"1","object":"chat.completion","model":"deepseek-flash","choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("A breakwater is a wall. ", 60) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":500,"completion_tokens":360,"total_tokens":860}}`)
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if !bytes.Contains(body, []byte(`"stream":true`)) {
			time.Sleep(20 * time.Millisecond)
			w.Header().Set("Content-Type", "application/json")
			w.Write(answer)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		flusher, ticks := http.NewResponseController(w), time.NewTicker(pause)
		for {
			fmt.Fprintf(w, "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"model\":\"deepseek-flash\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%d \"},\"finish_reason\":null}]}\n\n", time.Now().UnixMicro())
			if flusher.Flush() != nil {
				return
			}
			select {
			case <-ticks.C:
			case <-r.Context().Done():
				return
			}
		}
	}
}

// startNginx starts nginx as a plain reverse proxy that passes events on at once.
func startNginx(folder, host string) (hop, func(), error) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		return hop{}, nil, err
	}
	listen := freeAddress()
	conf := filepath.Join(folder, "nginx.conf")
	err = os.WriteFile(conf, fmt.Appendf(nil, `
worker_processes auto;
worker_rlimit_nofile 16384;
daemon off;
pid %[1]s/nginx.pid;
error_log %[1]s/nginx-error.log;
events { worker_connections 8192; }
http {
	access_log %[1]s/nginx-access.log;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	upstream host { server %[2]s; keepalive 128; }
	server {
		listen %[3]s;
		location / {
			proxy_pass http://host;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_buffering off;
			proxy_read_timeout 600s;
		}
	}
}
`, folder, strings.TrimPrefix(host, "http://"), listen), 0o644)
	if err != nil {
		return hop{}, nil, err
	}
	cmd := exec.Command(program, "-c", conf, "-p", folder)
	cmd.Stderr = os.Stderr
	h := hop{name: "nginx", url: "http://" + listen, pids: func() []int { return family(cmd.Process.Pid) }}
	return h, func() { endProcess(cmd) }, start(cmd, listen)
}

// startBreakwater builds the command and starts it as a proxy.
func startBreakwater(folder, host string) (hop, func(), error) {
	program := filepath.Join(folder, "breakwater")
	build := exec.Command("go", "build", "-o", program, "./cmd/breakwater")
	build.Dir = ".."
	build.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GOWORK=") })
	if out, err := build.CombinedOutput(); err != nil {
		return hop{}, nil, fmt.Errorf("%w: %s", err, out)
	}
	listen := freeAddress()
	file := filepath.Join(folder, "breakwater.yaml")
	text := fmt.Sprintf("server:\n  listen: %s\nendpoints:\n  - url: %s/v1\n    key: sk-of-the-bench\n", listen, host)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return hop{}, nil, err
	}
	log, err := os.Create(filepath.Join(folder, "breakwater.log"))
	if err != nil {
		return hop{}, nil, err
	}
	cmd := exec.Command(program, "proxy", "--config", file)
	cmd.Stdout, cmd.Stderr = log, log
	h := hop{name: "breakwater", url: "http://" + listen, pids: func() []int { return []int{cmd.Process.Pid} }}
	return h, func() { endProcess(cmd) }, start(cmd, listen)
}

// start starts a proxy and waits until it listens.
func start(cmd *exec.Cmd, listen string) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	for range 100 {
		if conn, err := net.Dial("tcp", listen); err == nil {
			return conn.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	endProcess(cmd)
	return fmt.Errorf("%s does not listen on %s", cmd.Path, listen)
}

func endProcess(cmd *exec.Cmd) {
	cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		cmd.Process.Kill()
	}
}

// freeAddress returns an address on loopback that nobody listens on.
func freeAddress() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer listener.Close()
	return listener.Addr().String()
}

// family returns a process and its children.
func family(pid int) []int {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	check(err)
	pids := []int{pid}
	for child := range strings.FieldsSeq(string(children)) {
		n, err := strconv.Atoi(child)
		check(err)
		pids = append(pids, n)
	}
	return pids
}

// cpuOf returns what processes have taken of all cores, as the kernel counts it: in hundredths of
// a second.
func cpuOf(pids []int) (sum time.Duration) {
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		check(err)
		_, after, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(after)
		for _, field := range fields[11:13] { // utime and stime: proc(5)
			ticks, err := strconv.ParseInt(field, 10, 64)
			check(err)
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum
}

// rss returns the memory that processes have, in bytes. What they share counts once for each.
func rss(pids []int) (sum int64) {
	for _, pid := range pids {
		statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		check(err)
		pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
		check(err)
		sum += pages * int64(os.Getpagesize())
	}
	return sum
}

// onFailure ends the processes that were started. A panic on another goroutine runs no defer of main's.
var onFailure = func() {}

// check ends the measurement: a figure beside an error means nothing.
func check(err error) {
	if err != nil {
		onFailure()
		panic(err)
	}
}
