package statuspage

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/slo"
)

func get(p *Page, accept, language string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/status", nil)
	r.Header.Set("Accept", accept)
	r.Header.Set("Accept-Language", language)
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

// An outage of the first endpoint shows as such, with the trail of the call that went elsewhere.
func TestPage_ShowsAnOutage(t *testing.T) {
	fleet, err := breakwatertest.NewFleet(breakwatertest.DeepSeek("primary"), breakwatertest.SiliconFlow("backup"))
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	page := New()
	tracker, err := slo.New(slo.Objectives{})
	if err != nil {
		t.Fatal(err)
	}
	primary, backup := breakwater.DeepSeek("sk-secret"), breakwater.SiliconFlow("sk-secret")
	primary.Name, primary.URL = "primary", fleet.Server("primary").URL()
	backup.Name, backup.URL = "backup", fleet.Server("backup").URL()
	tr, err := breakwater.New(breakwater.WithEndpoints(primary), breakwater.WithBackup(backup), breakwater.WithObserver(page.Observe), breakwater.WithObserver(tracker.Observe))
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	page.Watch(tr, tracker)
	if s := page.Snapshot(); s.State != StateIdle || s.Observed {
		t.Errorf("before any call: %s, observed %v", s.State, s.Observed)
	}
	call := func() {
		t.Helper()
		req, err := breakwatertest.ChatRequest(context.Background(), primary.URL, "sk-secret", "deepseek-chat", "a private prompt", false)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	call()
	if s := page.Snapshot(); s.State != StateOK || s.Recent.Answered != 1 || len(s.Recent.ServedBy) != 1 || s.Recent.ServedBy[0].Endpoint != "primary" {
		t.Errorf("after an answer: %s, %+v", s.State, s.Recent)
	}
	fleet.Server("primary").Break(breakwatertest.Refused())
	for range 6 {
		call()
	}
	s := page.Snapshot()
	if s.State != StateDegraded || s.Endpoints[0].State != StateDown || s.Endpoints[0].Since.IsZero() || s.Endpoints[0].Reason == "" || s.Endpoints[1].State != StateOK {
		t.Errorf("in the outage: %s, %+v", s.State, s.Endpoints)
	}
	if n := len(s.Failovers); n != 6 || len(s.Failovers[5].Trail) < 2 || s.Failovers[5].Trail[0].Class != string(breakwater.ClassUnreachable) {
		t.Errorf("%d failovers: %+v", n, s.Failovers)
	}
	for _, accept := range []string{"text/html", "application/json"} {
		w := get(page, accept, "en")
		for _, secret := range []string{"sk-secret", "private prompt", "127.0.0.1", "0001-01-01"} {
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("%s shows %q", accept, secret)
			}
		}
		if !strings.Contains(w.Body.String(), "unreachable") || w.Header().Get("Cache-Control") != "no-store" || !strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d %v %s", accept, w.Code, w.Header(), w.Body)
		}
	}
	if body := get(page, "application/json", "").Body.Bytes(); !json.Valid(body) {
		t.Errorf("no JSON: %s", body)
	}
	if body := get(page, "", "zh-CN,zh;q=0.9,en;q=0.8").Body.String(); !strings.Contains(body, `lang="zh"`) || !strings.Contains(body, "正在提供服务") {
		t.Error("no Chinese page")
	}
}

// Names that callers choose change nothing around them, and are bounded.
func TestPage_HostileNames(t *testing.T) {
	page := New()
	for i := range 10_000 {
		name := "<script>alert(1)</script>\u202e\x00" + strings.Repeat("x", i)
		call := string(rune('a'+i%26)) + name
		for _, kind := range []breakwater.Kind{breakwater.KindAttempt, breakwater.KindCircuit, breakwater.KindEnd} {
			page.Observe(context.Background(), breakwater.Event{Kind: kind, Time: time.Now(), Call: call, Endpoint: name, Model: name, Attempt: 1, To: "open",
				Class: breakwater.ClassUnavailable, Outcome: breakwater.Outcome(breakwater.ClassUnavailable), Fault: breakwater.FaultHost})
		}
	}
	if len(page.endpoints) > maxEndpoints+1 || len(page.circuits) > maxCircuits || len(page.failures) > maxCalls || len(page.open) > maxOpen {
		t.Error("a bound does not hold")
	}
	body := get(page, "text/html", "").Body.String()
	if strings.Contains(body, "<script>alert") || strings.Contains(body, "\u202e") || len(body) > 300_000 {
		t.Errorf("hostile names get through, %d bytes", len(body))
	}
}

func TestPage_Methods(t *testing.T) {
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405, "DELETE": 405} {
		w := httptest.NewRecorder()
		New().ServeHTTP(w, httptest.NewRequest(method, "/status", nil))
		if w.Code != want || method == "HEAD" && w.Body.Len() > 0 {
			t.Errorf("%s: %d, %d bytes", method, w.Code, w.Body.Len())
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	page := New()
	e := breakwater.Event{Time: time.Now(), Call: "c", Endpoint: "deepseek", Model: "deepseek-chat", Attempt: 1, Class: breakwater.ClassOK, Outcome: breakwater.OutcomeOK, FirstToken: time.Second, Elapsed: time.Second}
	b.ReportAllocs()
	for b.Loop() {
		for _, e.Kind = range []breakwater.Kind{breakwater.KindAttempt, breakwater.KindCommit, breakwater.KindCall, breakwater.KindEnd} {
			page.Observe(context.Background(), e)
		}
	}
}
