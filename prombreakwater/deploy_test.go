package prombreakwater

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// tool returns the path of a program of Debian's package prometheus.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: apt-get install prometheus", name)
	}
	return path
}

// The alert rules are well-formed, and fire when they should.
func TestDeploy_Alerts(t *testing.T) {
	promtool := tool(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = filepath.Join("..", "deploy", "prometheus")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// What a scrape gives is what promtool accepts.
func TestDeploy_CheckMetrics(t *testing.T) {
	promtool := tool(t, "promtool")
	s := newService(t)
	resp, err := http.Get(s.metrics.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = resp.Body
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// A real Prometheus scrapes a service, and each query of the board and each rule finds data.
func TestDeploy_BoardShowsData(t *testing.T) {
	server := tool(t, "prometheus")
	s := newService(t)
	dir := t.TempDir()
	config := fmt.Sprintf(`{"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [%q], "scrape_configs": [{"job_name": "shop", "static_configs": [{"targets": [%q]}]}]}`,
		absolute(t, "../deploy/prometheus/alerts.yml"), s.metrics.Listener.Addr())
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	at := freeAddress(t)
	cmd := exec.CommandContext(t.Context(), server, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+at, "--log.level=error")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			t.Log("prometheus: ", lines.Text())
		}
		cmd.Wait()
	}()
	defer func() { cmd.Process.Kill(); <-ended }()

	queries := boardQueries(t)
	if len(queries) < 30 {
		t.Fatalf("%d queries on the board", len(queries))
	}
	var missing []string
	for range 60 { // scrapes: each try has more samples
		s.ask(t)
		time.Sleep(time.Second) // a real Prometheus lives in real time
		missing = missing[:0]
		for _, q := range queries {
			if n, err := count(t.Context(), at, q); err != nil || n == 0 {
				missing = append(missing, fmt.Sprintf("%s: %d series, %v", q, n, err))
			}
		}
		if n, _ := count(t.Context(), at, "breakwater:errors:ratio_rate5m"); n == 0 {
			missing = append(missing, "the recording rules")
		}
		if len(missing) == 0 {
			return
		}
	}
	t.Errorf("no data for\n%s", strings.Join(missing, "\n"))
}

// boardQueries returns the queries of the board's panels, with its variables replaced.
func boardQueries(t *testing.T) (queries []string) {
	t.Helper()
	data, err := os.ReadFile("../deploy/grafana/breakwater.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	variables := regexp.MustCompile(`\$(job|endpoint|model)\b`)
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			q := variables.ReplaceAllString(target.Expr, ".*")
			queries = append(queries, strings.NewReplacer("$__rate_interval", "30s", "$__range", "5m").Replace(q))
		}
	}
	return queries
}

// count returns how many series a query has.
func count(ctx context.Context, at, query string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+"/api/v1/query?query="+url.QueryEscape(query), nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []any }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Status != "success" {
		return 0, fmt.Errorf("%s", answer.Error)
	}
	return len(answer.Data.Result), nil
}

// A service uses breakwater in front of fake hosts, one of which fails now and then, and
// gives its metrics.
type service struct {
	metrics *httptest.Server
	fleet   *kit.Fleet
	rt      *breakwater.Transport
	asked   int
}

func newService(t *testing.T) *service {
	t.Helper()
	fleet, err := kit.NewFleet(kit.DeepSeek("primary"), kit.DeepSeek("backup"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Close)
	base := fleet.Transport()
	t.Cleanup(base.CloseIdleConnections)
	metrics := New()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics)
	s := &service{fleet: fleet, metrics: httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))}
	t.Cleanup(s.metrics.Close)
	s.rt, err = breakwater.New(breakwater.WithBase(base), breakwater.WithObserver(metrics.Observe),
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "primary", URL: fleet.Server("primary").URL(), APIKey: "sk-1", Host: breakwater.HostDeepSeek, Price: breakwater.DeepSeek("").Price}),
		breakwater.WithBackup(breakwater.Endpoint{Name: "backup", URL: fleet.Server("backup").URL(), APIKey: "sk-2", Host: breakwater.HostDeepSeek}),
		breakwater.WithRateLimit(breakwater.RatePolicy{InFlight: 8}), breakwater.WithCache(breakwater.CachePolicy{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.rt.Close() })
	metrics.Watch(s.rt)
	s.ask(t)
	return s
}

// ask makes some calls: good ones, some that find a kept answer, and some while a host fails.
func (s *service) ask(t *testing.T) {
	for n := range 6 {
		s.asked++
		if n == 2 {
			s.fleet.Server("primary").BreakNext(1, kit.Status(http.StatusServiceUnavailable, "application/json", "{}"))
		}
		ask(t, s.rt, s.fleet.Server("primary").URL(), fmt.Sprint(s.asked/2), n%2 == 0)
	}
	for _, name := range []string{"primary", "backup"} {
		s.fleet.Server(name).BreakNext(1, kit.Status(http.StatusBadRequest, "application/json", "{}"))
	}
	ask(t, s.rt, s.fleet.Server("primary").URL(), fmt.Sprint("refused ", s.asked), false)
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
